"""A tokenizer small enough for tiny models, in which any text keeps its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Frequent pairs of letters: a word is several tokens, as in a real vocabulary, and not one for each letter.
_PAIRS = ("th", "he", "in", "er", "an", "re", "on", "at", "en", "nd", "st", "or", "te", "es", "it", "is", "ou", "ar")
_SPACE = "Ġ"  # how a byte-level vocabulary writes a blank


def tiny_tokenizer(
    special: Mapping[str, str], *, others: tuple[str, ...] = (), starts_with_bos: bool = False, **options: Any
) -> PreTrainedTokenizerFast:
    """Build a byte-level tokenizer with 256 bytes, a few merges and the special tokens of a family.

    Any text comes back as it was: whatever is no merge falls apart into its bytes.

    Args:
        special: Name to token: ``pad_token``, ``eos_token``, ``image_token``, ...; a processor finds it, and its id,
            as an attribute of that name (``tokenizer.image_token``, ``tokenizer.image_token_id``).
        others: Special tokens that have no name: tile marks, turn marks.
        starts_with_bos: Whether each text gets ``bos_token`` put before it, as Llama's and Gemma's do.
        options: For `PreTrainedTokenizerFast`: ``padding_side``, ...

    Example:
        >>> words = tiny_tokenizer({"pad_token": "<pad>", "eos_token": "</s>", "image_token": "<image>"})
        >>> words.tokenize("the <image>")
        ['th', 'e', 'Ġ', '<image>']
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    merges = [(pair[0], pair[1]) for pair in _PAIRS] + [(_SPACE, "a"), (_SPACE, "th"), ("in", "g")]
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet()) + [first + second for first, second in merges]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = dict.fromkeys([*special.values(), *others])
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    if starts_with_bos:
        bos = special["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    named = {name: token for name, token in special.items() if name in _KNOWN_TO_ALL}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        extra_special_tokens={name: token for name, token in special.items() if name not in named},
        **named,
        **options,
    )


def token_ids(words: PreTrainedTokenizerFast, *names: str) -> dict[str, Any]:
    """What a configuration wants to know of the tokenizer: ``eos_token_id``, ``image_token_id``, ...

    Example:
        >>> words = tiny_tokenizer({"pad_token": "<pad>", "image_token": "<image>"})
        >>> token_ids(words, "pad_token_id", "image_token_id")
        {'pad_token_id': 277, 'image_token_id': 278}
    """
    return {name: getattr(words, name) for name in names}


_KNOWN_TO_ALL = ("bos_token", "eos_token", "pad_token", "unk_token")
