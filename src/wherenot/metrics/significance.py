"""Whether differences over training seeds can be told from chance, and what several such questions at once cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def paired_t(differences: Sequence[float]) -> float:
    r"""Two-sided p-value of a paired t-test: how often chance alone makes a mean difference this large.

    $t = \bar d \, \sqrt n / s$ with $n - 1$ degrees of freedom. Below .05 exactly where the 95 % interval that
    `over_seeds` gives of the same differences leaves out 0.

    Args:
        differences: One per seed both methods share; nan marks a seed without one.

    Returns:
        In [0, 1]; nan below two seeds. Differences that are all alike give 0, or 1 if they are 0.

    Raises:
        ValueError: If a difference is infinite.

    Example:
        >>> round(paired_t([0.1, 0.2, 0.3]), 4)
        0.0742

    References:
        Student, "The Probable Error of a Mean", Biometrika 1908.
    """
    from scipy.special import stdtr  # costs half a second, and only this function needs it

    if any(math.isinf(value) for value in differences):
        raise ValueError(f"paired_t: a difference is infinite: {list(differences)}; pass nan if a seed has none.")
    used = np.array([value for value in differences if not math.isnan(value)], dtype=np.float64)
    if len(used) < 2:
        return math.nan
    mean, spread = float(used.mean()), float(used.std(ddof=1))
    if spread <= 1e-12 * abs(mean):  # alike but for rounding
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(len(used) - 1, -abs(mean) * len(used) ** 0.5 / spread))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment: below .05 while the chance of even one false claim in the whole family stays below .05.

    The smallest of m p-values is multiplied by m, the next by m - 1 and so on; none becomes smaller than the one
    before it, nor larger than 1.

    Args:
        p_values: The family, each in [0, 1]; nan asks no question and is not counted.

    Returns:
        Adjusted values in the same places; nan stays nan.

    Raises:
        ValueError: If a value is outside of [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    References:
        Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 1979.
    """
    for value in p_values:
        if not math.isnan(value) and not 0 <= value <= 1:
            raise ValueError(f"holm: {value} is no p-value; pass numbers in [0, 1].")
    asked = sorted((value, place) for place, value in enumerate(p_values) if not math.isnan(value))
    adjusted = [math.nan] * len(p_values)
    reached = 0.0
    for rank, (value, place) in enumerate(asked):
        reached = max(reached, min(1.0, (len(asked) - rank) * value))
        adjusted[place] = reached
    return adjusted
