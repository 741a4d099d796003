"""Intervals of shares from counts alone, where the samples themselves were not kept."""

from __future__ import annotations

import math
from statistics import NormalDist

from wherenot.metrics.statistics import Interval


def share_interval(share: float, n: int, *, level: float = 0.95) -> Interval:
    r"""Wilson's interval of a share of independent samples.

    It keeps inside [0, 1] and has a width even where all samples agree, unlike a bootstrap interval. The mean of any
    measure in [0, 1] may be passed for the share: its variance is at most that of a share with the same mean (Bhatia
    and Davis), so the interval is then too wide rather than too narrow.

    Args:
        share: In [0, 1].
        n: Samples it was taken over.
        level: Confidence, in (0, 1).

    Returns:
        The share with its interval; without samples the interval is [0, 1].

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> interval = share_interval(1.0, 20)
        >>> f"{interval.low:.2f} {interval.high:.2f}"
        '0.84 1.00'

    References:
        Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927. Bhatia and Davis, "A
        Better Bound on the Variance", American Mathematical Monthly 2000.
    """
    if not 0 <= share <= 1 or n < 0 or not 0 < level < 1:
        raise ValueError(
            f"share_interval: share={share}, n={n}, level={level}; pass a share in [0, 1], a count of at least 0 and a "
            "level in (0, 1)."
        )
    if n == 0:
        return Interval(value=share, low=0.0, high=1.0, n=0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    margin = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # Rounding must not put the interval of 0 or 1 beside its share.
    return Interval(value=share, low=min(share, max(0.0, centre - margin)), high=max(share, centre + margin), n=n)


def share_drop(before: float, n_before: int, after: float, n_after: int, *, level: float = 0.95) -> Interval:
    r"""Newcombe's interval of `before - after`, the fall from one share to another of other samples.

    From Wilson's intervals $[l, u]$ of both: $d - \sqrt{(b - l_b)^2 + (u_a - a)^2}$ to
    $d + \sqrt{(u_b - b)^2 + (a - l_a)^2}$. For two shares of the same samples it is too wide, as it does not know which
    samples they have in common.

    Args:
        before: In [0, 1].
        n_before: Samples it was taken over.
        after: In [0, 1].
        n_after: Samples it was taken over.
        level: Confidence, in (0, 1).

    Returns:
        The fall with its interval, positive where `before` is larger; `n` counts the samples of both.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> fall = share_drop(56 / 70, 70, 48 / 80, 80)
        >>> f"{fall.value:.4f} [{fall.low:.4f}, {fall.high:.4f}]"
        '0.2000 [0.0524, 0.3339]'

    References:
        Newcombe, "Interval Estimation for the Difference Between Independent Proportions", Statistics in Medicine 1998,
        method 10; the example is its first.
    """
    first, second = (share_interval(share, n, level=level) for share, n in ((before, n_before), (after, n_after)))
    fall = before - after
    return Interval(
        value=fall,
        low=fall - math.hypot(before - first.low, second.high - after),
        high=fall + math.hypot(first.high - before, after - second.low),
        n=n_before + n_after,
    )
