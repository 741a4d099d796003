"""Vision-language models of every family at a tiny size: the real classes, random weights, no download."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from wherenot.models.images_only import images_only
from wherenot.models.tiny_vlms.gemma import gemma3, paligemma
from wherenot.models.tiny_vlms.llava import llava, llava_onevision
from wherenot.models.tiny_vlms.qwen import qwen2_5_vl, qwen3_vl
from wherenot.models.tiny_vlms.tiles import idefics3, internvl, smolvlm

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

_LOUD, _QUIET = 2.0, 0.25  # standard deviations of the logits of tokens that are text, and of the others

_BUILDERS: dict[str, Callable[[], tuple[PreTrainedModel, ProcessorMixin]]] = {
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "llava": llava,
    "llava_onevision": llava_onevision,
    "internvl": internvl,
    "smolvlm": smolvlm,
    "idefics3": idefics3,
    "gemma3": gemma3,
    "paligemma": paligemma,
}

FAMILIES: tuple[str, ...] = tuple(_BUILDERS)


def tiny_vlm(family: str, *, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Build a vision-language model with about a hundred thousand weights, and its processor.

    It has the family's own model class, image processor, placeholder tokens and turns; the geometry is real (windows,
    tiles, dynamic resolution), the images are small. It knows nothing: its answers depend on the image, as those of a
    trained model do, and mean nothing.

    Weights are normal with variance one over the number of inputs, so that a signal keeps its size from the first
    patch to the last token; the output layer is twice as large, so that some tokens are likely, but not for tokens that
    are no printable text, so that no answer has a placeholder in it. With the families' own initialisation (0.02,
    Gemma 3's projection at zero) an image would change nothing one could measure.

    Args:
        family: One of `FAMILIES`.
        seed: Of the weights; the global generator is left as it is.

    Returns:
        The model, in float32 and eval mode, and the processor. Both can be saved with ``save_pretrained``.

    Raises:
        ValueError: If no family has that name, or transformers is not installed.

    Example:
        >>> model, processor = tiny_vlm("llava")
        >>> type(model).__name__, type(processor).__name__
        ('LlavaForConditionalGeneration', 'LlavaProcessor')
    """
    if family not in _BUILDERS:
        raise ValueError(f"tiny_vlm: unknown family {family!r}; choose one of: {', '.join(FAMILIES)}")
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise ValueError("tiny_vlm: needs transformers; run: pip install 'wherenot[hf]'") from error
    with torch.random.fork_rng(devices=[]), images_only():
        torch.manual_seed(seed)
        model, processor = _BUILDERS[family]()
        _draw(model, processor.tokenizer)
    return model.eval(), processor


@torch.no_grad()
def _draw(model: PreTrainedModel, words: PreTrainedTokenizerBase) -> None:
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.normal_(std=weight[0].numel() ** -0.5)
    says = torch.tensor([_LOUD if _is_text(words, token) else _QUIET for token in range(len(words))])
    head: Any = model.get_output_embeddings()
    head.weight.mul_(says[:, None])


def _is_text(words: PreTrainedTokenizerBase, token: int) -> bool:
    added = words.added_tokens_decoder.get(token)
    text = str(words.decode([token]))
    return text.isascii() and text.isprintable() and not (added is not None and added.special)
