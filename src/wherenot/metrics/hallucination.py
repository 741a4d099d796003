"""How little of an image has to be hidden until a wrong answer becomes right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

_WORD = re.compile(r"(?:(?<!\w)-)?\d+(?:[.,]\d+)*(?!\w)|\w+(?:['\u2019]\w+)*")  # -3.5, can't


def answer_agrees(answer: str, label: str) -> bool:
    """Whether an answer begins with the words of the right one: "No, there is none." gives "no".

    Case, punctuation and blanks do not count; words count whole.

    Args:
        answer: What was said.
        label: The right answer.

    Returns:
        False for an answer without a word.

    Raises:
        ValueError: If the label has no word: every answer would begin with it.

    Example:
        >>> answer_agrees("No, there is none.", "no"), answer_agrees("Nothing.", "no"), answer_agrees("(b) left", "(B)")
        (True, False, True)

    References:
        EAGLE's evaluation compares the first letters with "No" or "Yes"; there "Nothing" and "Not sure" are "No", too.
    """
    wanted = _WORD.findall(label.casefold())
    if not wanted:
        raise ValueError(f"answer_agrees: the label {label!r} has no word; give the right answer.")
    return _WORD.findall(answer.casefold())[: len(wanted)] == wanted


def removed_area(area: Float[Tensor, " K"], corrected: Bool[Tensor, " K"]) -> float | None:
    """Smallest share of the image whose removal corrects an answer, along one order of its regions.

    The answers are looked through from the whole image backwards, region after region of the least important ones
    hidden; the first right one counts, whatever the answers to smaller parts are.

    Args:
        area: Share of the image that each prefix of the order shows, rising, in (0, 1].
        corrected: Whether the answer given that prefix is right.

    Returns:
        A share in [0, 1), 0 if the answer to the whole image is right already; None if no answer is.

    Raises:
        ValueError: If the lengths differ, or the areas do not rise to the whole image: without it no removal is known
            to be the smallest.

    Example:
        >>> import torch
        >>> area = torch.tensor([0.25, 0.5, 1.0])
        >>> removed_area(area, torch.tensor([False, True, False])), removed_area(area, torch.tensor([False] * 3))
        (0.5, None)

    References:
        EAGLE, the region behind AMCR and CSR.
    """
    if area.shape != corrected.shape:
        raise ValueError(
            f"removed_area: {len(area)} areas and {len(corrected)} answers; pass one of each for each prefix."
        )
    if not (len(area) and area[0] > 0 and (area.diff() >= 0).all() and abs(float(area[-1]) - 1) < 1e-6):
        raise ValueError(f"removed_area: areas {area.tolist()} do not rise to 1, the whole image; pass every prefix.")
    right = corrected.nonzero()
    return 1 - float(area[right[-1]]) if len(right) else None


def mean_removed_area(removed: Sequence[float | None]) -> float:
    """Average minimal correction region (AMCR): mean share of the image whose removal corrects an answer.

    Lower is better: little had to be hidden. An answer that nothing corrects counts as 1, the whole image.

    Args:
        removed: One share per wrong answer (`removed_area`), None where nothing corrected it.

    Returns:
        A share in [0, 1]; nan without answers.

    Raises:
        ValueError: If a share is outside of [0, 1].

    Example:
        >>> mean_removed_area([0.25, None])
        0.625

    References:
        EAGLE, AMCR.
    """
    areas = [1.0 if share is None else share for share in _checked("mean_removed_area", removed)]
    return sum(areas) / len(areas) if areas else float("nan")


def correction_rate(
    removed: Sequence[float | None], within: float = 0.1, *, over: Literal["all", "corrected"] = "all"
) -> float:
    """Correction success rate (CSR): share of wrong answers that removing little of the image corrects.

    Args:
        removed: One share per wrong answer (`removed_area`), None where nothing corrected it.
        within: The most that may be removed, a share in [0, 1]; exactly as much still counts. It belongs in the name:
            ``correction_rate@0.1``.
        over: What is counted against: ``all`` wrong answers, or those alone that something ``corrected``, as EAGLE's
            code does; a method that corrects a single answer can have a rate of 1 then.

    Returns:
        A share in [0, 1]; nan if there is nothing to count against.

    Raises:
        ValueError: If a share or `within` is outside of [0, 1].

    Example:
        >>> correction_rate([0.05, 0.5, None]), correction_rate([0.05, 0.5, None], over="corrected")
        (0.3333333333333333, 0.5)

    References:
        EAGLE, CSR@10%: ``over="corrected"``.
    """
    if not 0 <= within <= 1:
        raise ValueError(f"correction_rate: within={within}; pass a share in [0, 1].")
    shares = _checked("correction_rate", removed)
    corrected = [share for share in shares if share is not None]
    counted = len(shares) if over == "all" else len(corrected)
    # 1 - 0.7 is a little more than 0.3.
    return sum(share <= within + 1e-6 for share in corrected) / counted if counted else float("nan")


def _checked(name: str, removed: Sequence[float | None]) -> Sequence[float | None]:
    for share in removed:
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"{name}: {share} is no share of an image; pass numbers in [0, 1], None for a failure.")
    return removed
