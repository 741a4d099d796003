"""Which of an agent's salient regions lies off the target: the loop of the paper's second algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool

Test: TypeAlias = Literal["overlap", "strict", "coverage"]

ENOUGH = 0.75
"""Share of the target from which on a region covers it."""


def first_violation(
    regions: Sequence[Bool[np.ndarray, "H W"]],
    target: Bool[np.ndarray, "H W"],
    *,
    test: Test = "overlap",
    tau: float = 0.15,
    forbidden: Bool[np.ndarray, "H W"] | None = None,
) -> int | None:
    r"""Walk down the regions, most salient first, until one is off the target or one covers it.

    Args:
        regions: What is asked about, such as the top two.
        target: What should carry the decision.
        test: ``strict``: a region is off if it is no part of the target. ``coverage``: if it covers less than 3/4 of
            it. ``overlap``: if $|S \cap B| / \min(|S|, |B|)$ is below tau.
        tau: For ``overlap``, in [0, 1].
        forbidden: Where a person said that nothing may be relied on: a region S that lies there, by
            $|S \cap F| / \min(|S|, |F|)$ of tau or more, is off whatever covered the target before it.

    Returns:
        Place of the first region that is off, before any has covered 3/4 of the target; None if there is none.

    Raises:
        ValueError: If the target or a region has no pixel.

    Example:
        >>> target = np.zeros((4, 4), bool)
        >>> target[:2] = True
        >>> first_violation([target, ~target], target), first_violation([~target, target], target)
        (None, 0)

    References:
        "Where Not to Learn", Algorithm 2 (``strict``) and appendix A.3 (``coverage``), which contradict each other. A
        superpixel is larger than an icon, so that ``strict`` always fires: hence ``overlap``.
    """
    if not target.any() or not all(region.any() for region in regions):
        raise ValueError("first_violation: target and regions need a pixel each.")
    is_covered = False
    for place, region in enumerate(regions):
        if forbidden is not None and forbidden.any() and _overlap(region, forbidden) >= tau:
            return place
        if is_covered:
            continue
        both = float((region & target).sum())
        covered = both / float(target.sum())
        off = {
            "strict": both < region.sum(),
            "coverage": covered < ENOUGH,
            "overlap": _overlap(region, target) < tau,
        }[test]
        if off:
            return place
        is_covered = covered >= ENOUGH
    return None


def _overlap(one: Bool[np.ndarray, "H W"], other: Bool[np.ndarray, "H W"]) -> float:
    return float((one & other).sum()) / float(min(one.sum(), other.sum()))
