"""The few hundred words of the tiny agent: what rendered screens ask for, and what it answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wherenot.gui.screens.elements import elements, phrases

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

STEP = 20
"""The agent's coordinates are multiples of this, in thousandths of the screen."""

_MARKS = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
_JSON = ('{"thought":"', '","POINT":[', '{"POINT":[', ",", "]}", "\n")


def agent_words() -> list[str]:
    """Everything the agent can read and say, each a token: names, uses, places, coordinates, what stands between.

    Example:
        >>> words = agent_words()
        >>> "Camera" in words, " is what is asked for; its icon is at the " in words, "160" in words, "150" in words
        (True, True, True, False)
    """
    english = phrases("en")
    templates = [
        english["thought"],
        *(asked for style in ("direct", "functional", "contrast") for asked in english[style]),
    ]
    between = [piece for template in templates for piece in re.split(r"\{\w+\}", template) if piece]
    named = [text for element in elements().values() for text in (element.labels["en"], element.uses["en"])]
    numbers = [str(number) for number in range(0, 1001, STEP)]
    return list(dict.fromkeys([*_MARKS, *_JSON, *between, *english["zones"], *named, *numbers]))


def agent_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of these words; the longest that fits is taken, and text comes back letter by letter.

    Example:
        >>> words = agent_tokenizer()
        >>> words.tokenize('Tap Playlist.</s>{"POINT":[160,40]}')
        ['Tap ', 'Playlist', '.', '</s>', '{"POINT":[', '160', ',', '40', ']}']
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = agent_words()
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    longest_first = sorted(words, key=len, reverse=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("|".join(map(re.escape, longest_first))), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in _MARKS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="right",
    )
