"""Which tokens of an answer are to be explained."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

SENSITIVE = 0.2
_THINKING = re.compile(r"\s*<think(?:ing)?>.*?</think(?:ing)?>\s*", re.DOTALL)
_THOUGHT_FIELDS = ("thought", "thinking")
_SPOKEN = re.compile(r"^[ \t]*Thought:\s*(.*?)\s*(?=^[ \t]*Action:|\Z)", re.DOTALL | re.MULTILINE)
_BEFORE_CALL = re.compile(r"\s*(\S.*?)\s*(?=<tool_call>)", re.DOTALL)
_PLACES = re.compile(r"-?\d+|(?=.*\d)-?\d*:-?\d*")


def check_choice(choice: str) -> None:
    """Refuse a choice of tokens that no answer could make sense of.

    Args:
        choice: As for `choose_tokens`.

    Raises:
        ValueError: If it cannot be read.

    Example:
        >>> check_choice("word:cat")
        >>> check_choice("regex:(")
        Traceback (most recent call last):
        ValueError: choose_tokens: '(' is no regular expression (missing ), unterminated subpattern at position 0).
    """
    kind, _, wanted = choice.partition(":")
    if kind in _SPANS and wanted:
        _SPANS[kind]("", wanted)
    elif choice not in ("all", "answer", "thought", "sensitive") and not _PLACES.fullmatch(choice):
        raise ValueError(
            f"choose_tokens: cannot read {choice!r}; write all, answer, thought, sensitive, word:WORD, "
            "regex:EXPRESSION, field:NAME, a place (3) or places (3:7)."
        )


def choose_tokens(
    pieces: Sequence[str],
    choice: str = "answer",
    *,
    full: Float[Tensor, " T"] | None = None,
    empty: Float[Tensor, " T"] | None = None,
) -> list[int]:
    """Find the tokens that a choice names.

    Args:
        pieces: The text of each token; joined they are the answer.
        choice: ``all``; ``thought`` (what is thought aloud: a ``<think>`` block at the beginning, a ``thought`` field
            of a JSON answer, what follows ``Thought:``, or what stands before a ``<tool_call>``); ``answer``
            (everything else); ``word:cat`` (each whole word "cat", in whatever case); ``regex:EXPRESSION``;
            ``field:POINT`` (the value of a field of a JSON answer, at any depth); ``3``, ``3:7`` (places, as in
            Python); ``sensitive`` (those whose probability falls by more than 0.2 when nothing of the image is
            visible).
        full: Probability of each token given the whole image; for ``sensitive`` only.
        empty: Given nothing of it.

    Returns:
        Places in the answer, rising, at least one.

    Raises:
        ValueError: If the choice cannot be read or names no token.

    Example:
        >>> pieces = ['{"a', '":', ' 12', '}']
        >>> choose_tokens(pieces, "field:a"), choose_tokens(pieces, "1:3"), choose_tokens(["A ", "ca", "t"], "word:cat")
        ([2], [1, 2], [1, 2])
    """
    check_choice(choice)
    text = "".join(pieces)
    kind, _, wanted = choice.partition(":")
    if choice == "all":
        chosen = list(range(len(pieces)))
    elif choice in ("answer", "thought"):
        thought = {place for span in _thoughts(text) for place in _overlapping(pieces, *span)}
        chosen = [place for place in range(len(pieces)) if (place in thought) == (choice == "thought")]
    elif choice == "sensitive":
        if full is None or empty is None:
            raise ValueError("choose_tokens: 'sensitive' needs each token's probability with and without the image.")
        chosen = [place for place in range(len(pieces)) if float(full[place] - empty[place]) > SENSITIVE]
    elif kind in _SPANS and wanted:
        chosen = sorted({place for span in _SPANS[kind](text, wanted) for place in _overlapping(pieces, *span)})
    else:
        chosen = _places(len(pieces), choice)
    if not chosen:
        raise ValueError(f"choose_tokens: {choice!r} names no token of the answer {text!r} ({len(pieces)} tokens).")
    return chosen


def _places(count: int, choice: str) -> list[int]:
    first, colon, last = choice.partition(":")
    if not colon:
        place = int(first)
        return [place % count] if -count <= place < count else []
    return list(range(count))[slice(int(first) if first else None, int(last) if last else None)]


def _word_spans(text: str, word: str) -> list[tuple[int, int]]:
    return _regex_spans(text, rf"(?i)(?<!\w){re.escape(word)}(?!\w)")


def _regex_spans(text: str, expression: str) -> list[tuple[int, int]]:
    try:
        return [match.span() for match in re.finditer(expression, text)]
    except re.error as error:
        raise ValueError(f"choose_tokens: {expression!r} is no regular expression ({error}).") from error


def _field_spans(text: str, name: str) -> list[tuple[int, int]]:
    """Where the values of a field stand, without the quotes of a string."""
    spans = []
    for match in re.finditer(re.escape(json.dumps(name, ensure_ascii=False)) + r"\s*:\s*", text):
        try:
            value, end = json.JSONDecoder().raw_decode(text, match.end())
        except json.JSONDecodeError:
            continue
        quote = isinstance(value, str)
        spans.append((match.end() + quote, end - quote))
    return spans


def _thoughts(text: str) -> list[tuple[int, int]]:
    if block := _THINKING.match(text):
        return [block.span()]
    if fields := [span for field in _THOUGHT_FIELDS for span in _field_spans(text, field)]:
        return fields
    spoken = _SPOKEN.search(text) or _BEFORE_CALL.match(text)
    return [spoken.span(1)] if spoken else []


def _overlapping(pieces: Sequence[str], start: int, end: int) -> list[int]:
    places, at = [], 0
    for place, piece in enumerate(pieces):
        if at < end and at + len(piece) > start and not _only_blank(piece, start - at):
            places.append(place)
        at += len(piece)
    return places


def _only_blank(piece: str, inside: int) -> bool:
    """Whether what a piece has of a span, from `inside` on, is blank, as the space before a number."""
    return not piece[max(inside, 0) :].strip()


_SPANS: dict[str, Callable[[str, str], list[tuple[int, int]]]] = {
    "word": _word_spans,
    "regex": _regex_spans,
    "field": _field_spans,
}
