r"""Which of a server's tokens spell an answer, and what each adds to it.

Servers write the same token differently: with or without its leading blank, as it stands in the vocabulary (``Ġcat``,
``▁cat``), and a part of a character as ``\ufffd`` or as nothing. What it stands for is found in the answer itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_VOCABULARY = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": "\n", "ĉ": "\t"})
_BROKEN = "\ufffd"  # what a part of a character decodes to


def plain(token: str) -> str:
    """The text of a token, whether a server gives that or the token's name in the vocabulary."""
    return token.translate(_VOCABULARY)


def spell(tokens: Sequence[str], answer: str) -> tuple[int, list[str]] | None:
    """Find the last tokens that spell an answer.

    Args:
        tokens: Texts of tokens as a server writes them; those before the answer may be anything.
        answer: What they end with, without blanks around it.

    Returns:
        The place of the first of them, and what each adds; joined these are the answer. A character in several tokens
        goes to the last of them. None if they do not spell it.

    Example:
        >>> spell(["<bot>", "A", "Ġdog", "."], "A dog.")
        (1, ['A', ' dog', '.'])
    """
    most = len(answer.encode(errors="replace"))  # a token has a byte at least
    for first in range(len(tokens) - 1, max(-1, len(tokens) - 1 - most), -1):
        if (pieces := _forward(tokens[first:], answer)) is None:
            continue
        # The first character of the answer may begin in tokens before the one that completes it.
        while _is_part(tokens[first]) and first > 0 and _is_part(tokens[first - 1]):
            first, pieces = first - 1, ["", *pieces]
        return first, pieces
    return None


def _forward(tokens: Sequence[str], answer: str) -> list[str] | None:
    """What each token adds to the answer, if they spell it from its beginning to its end."""
    pieces: list[str] = []
    at = broken = 0  # characters spelled; tokens just passed that are parts of characters
    for token in tokens:
        known = plain(token).strip(_BROKEN)
        broken += token.startswith(_BROKEN) or not token
        if not known:
            pieces.append("")
            continue
        if (found := _find(answer, known, at, broken)) is None:
            return None
        begins, ends = found
        if begins > at and not token.startswith(_BROKEN):
            pieces[-1] += answer[at:begins]
            at = begins
        pieces.append(answer[at:ends])
        at, broken = ends, int(token.endswith(_BROKEN))
    if _may_be_broken(answer[at:], broken):
        pieces[-1] += answer[at:]
        at = len(answer)
    return pieces if at == len(answer) else None


def _find(answer: str, known: str, at: int, broken: int) -> tuple[int, int] | None:
    """Where a token stands in the answer, from `at` on or after the characters that the broken tokens before it make.

    Returns:
        Where it begins, a lost blank before it included, and where it ends.
    """
    for skipped in range(broken + 1):
        if skipped and not _may_be_broken(answer[at : at + skipped], broken):
            break
        for text in dict.fromkeys((known, known.lstrip())):
            if text and answer.startswith(text, at + skipped):
                return at + skipped, at + skipped + len(text)
        rest = answer[at + skipped :]
        blank = len(rest) - len(rest.lstrip())
        if blank and known.strip() and rest.startswith(known, blank):
            return at + skipped, at + skipped + blank + len(known)
    return None


def next_piece(likeliest: Iterable[str], rest: str) -> tuple[str, str] | None:
    """The token, of some that may come next, which goes furthest into the rest of an answer.

    Args:
        likeliest: Texts of tokens.
        rest: What is still to be spelled.

    Returns:
        The token, and the part of the rest that it spells; None if none fits.

    Example:
        >>> next_piece([" a", " d", " dog", "dog"], " dog.")
        (' dog', ' dog')
    """
    best: tuple[str, str] | None = None
    for token in likeliest:
        if not token.strip(_BROKEN):
            continue
        if rest.startswith(token):
            spelled = token
        elif token.strip() and rest.lstrip().startswith(token.lstrip()):
            spelled = rest[: len(rest) - len(rest.lstrip()) + len(token.lstrip())]
        else:
            continue
        if best is None or (len(spelled), token == spelled) > (len(best[1]), best[0] == best[1]):
            best = token, spelled
    return best


def readable_alone(pieces: Sequence[str], tokens: Sequence[str]) -> list[bool]:
    """Whether each token begins and ends between two characters, so that what stands before it can be written.

    Args:
        pieces: What each adds to the answer.
        tokens: The same as a server writes them.
    """
    whole = [bool(piece and token) and _BROKEN not in token for piece, token in zip(pieces, tokens, strict=True)]
    begins = [True, *(bool(token) and not token.endswith(_BROKEN) for token in tokens)]
    return [fine and begin for fine, begin in zip(whole, begins[: len(whole)], strict=True)]


def _may_be_broken(text: str, tokens: int) -> bool:
    """Whether so many tokens may be parts of the characters of a text; an ASCII character has no parts."""
    return 0 < len(text) <= tokens and all(ord(character) > 127 for character in text)


def _is_part(token: str) -> bool:
    return not token.strip(_BROKEN)
