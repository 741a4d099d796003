"""How sure we can be of a number: bootstrap intervals over samples, and t-intervals over training seeds.

Every bootstrap here resamples whole samples with replacement and reads the interval off the percentiles. Samples are
put in a fixed order first, so the same seed gives the same interval whatever order the records came in. Of more than
20,000 samples each resample draws 20,000, and its distance from the value is scaled by sqrt(20,000 / samples), which is
exact in the limit for means, ratios and medians (the m out of n bootstrap; Bickel, Goetze and van Zwet, Statistica
Sinica 1997).

Local axes: ``R`` resamples, ``B`` samples, ``G`` groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_RESAMPLED_VALUES = 4_000_000  # drawn at once, so that memory does not grow with resamples * samples
_REDRAWN = 20_000  # of more samples, this many are drawn per resample; 2000 resamples of a million take minutes


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A number with its confidence interval.

    Attributes:
        value: The statistic of the samples that were used; nan if there were none.
        low: Lower end, in the unit of `value`.
        high: Upper end.
        n: Samples (for `over_seeds`, seeds) used.
        missing: Those left out because their value was nan.

    Example:
        >>> Interval(value=0.75, low=0.7, high=0.8, n=300)
        Interval(value=0.75, low=0.7, high=0.8, n=300, missing=0)
    """

    value: float
    low: float
    high: float
    n: int
    missing: int = 0


@runtime_checkable
class Statistic(Protocol):
    """A number computed from samples, for many resamples at once."""

    def __call__(self, samples: Float[np.ndarray, "R B"], /) -> Float[np.ndarray, " R"]:
        """Return the statistic of each row."""
        ...


def mean(samples: Float[np.ndarray, "R B"], /) -> Float[np.ndarray, " R"]:
    """Mean of each row: the default `Statistic`.

    Example:
        >>> mean(np.array([[1.0, 2.0], [0.0, 0.0]]))
        array([1.5, 0. ])
    """
    return samples.mean(axis=-1)


def bootstrap_interval(
    values: Float[Tensor, " B"] | Bool[Tensor, " B"],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
    statistic: Statistic = mean,
) -> Interval:
    """Percentile-bootstrap interval of a statistic of independent samples.

    It covers the choice of samples only, not the training seed (`over_seeds`). It tends to be too narrow below some 20
    samples, and has zero width where all values agree, however few they are.

    Args:
        values: One value per sample; booleans count as 0 and 1. nan marks a sample without a value. A failure that
            should lower the mean must arrive as 0, not as nan.
        seed: Seed of the resampling.
        level: Share of resamples inside the interval, in (0, 1).
        resamples: How many times to resample.
        statistic: What to compute of each resample.

    Returns:
        The statistic with its interval. One sample gives `low == high == value`; no sample gives nan throughout.

    Raises:
        ValueError: If a value is infinite, or `level` or `resamples` is out of range.

    Example:
        >>> bootstrap_interval(torch.tensor([True, True, False, True]), seed=0)
        Interval(value=0.75, low=0.25, high=1.0, n=4, missing=0)
        >>> bootstrap_interval(torch.tensor([0.5, float("nan")]), seed=0)
        Interval(value=0.5, low=0.5, high=0.5, n=1, missing=1)

    References:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    samples_B1, missing = _used("bootstrap_interval", values)
    return _bootstrap("bootstrap_interval", samples_B1[:, 0], missing, statistic, seed, level, resamples)


def paired_difference(
    a: Float[Tensor, " B"] | Bool[Tensor, " B"],
    b: Float[Tensor, " B"] | Bool[Tensor, " B"],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Percentile-bootstrap interval of `mean(a - b)`, for two runs on the same samples.

    Positive where `a` has the larger values. Pairs are resampled together, so that samples which are hard for both runs
    cancel: the interval is narrower than the two runs' own intervals suggest, and the one to read when asking
    whether they differ. An interval that holds 0 does not show a difference.

    Args:
        a: One value per sample of the first run; booleans count as 0 and 1.
        b: The second run, the same sample in each row: join by sample id first. nan in either marks a missing pair.
        seed: Seed of the resampling.
        level: Share of resamples inside the interval, in (0, 1).
        resamples: How many times to resample.

    Returns:
        The mean difference with its interval; `n` and `missing` count pairs. One pair gives `low == high == value`; no
        pair gives nan throughout.

    Raises:
        ValueError: If the lengths differ, a value is infinite, or `level` or `resamples` is out of range.

    Example:
        >>> a = torch.tensor([True, True, True, False])
        >>> b = torch.tensor([True, False, False, False])
        >>> paired_difference(a, b, seed=0)
        Interval(value=0.5, low=0.0, high=1.0, n=4, missing=0)
    """
    samples_B2, missing = _used("paired_difference", a, b)
    differences_B = samples_B2[:, 0] - samples_B2[:, 1]
    return _bootstrap("paired_difference", differences_B, missing, mean, seed, level, resamples)


def ratio_interval(
    numerator: Float[Tensor, " B"] | Bool[Tensor, " B"],
    denominator: Float[Tensor, " B"] | Bool[Tensor, " B"],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Percentile-bootstrap interval of a ratio of sums: `sum(numerator) / sum(denominator)`.

    For a conditional rate such as accuracy given hit, pass `correct & hit` and `hit`. Both are resampled together,
    because how many samples meet the condition is itself a matter of chance. For a mean over samples that come in
    clusters (one image under several labels), pass one row per cluster: its sum and its size.

    Args:
        numerator: One value per sample; booleans count as 0 and 1.
        denominator: One value >= 0 per sample, the same sample in each row. nan in either marks a missing sample.
        seed: Seed of the resampling.
        level: Share of resamples inside the interval, in (0, 1).
        resamples: How many times to resample. Resamples whose denominator sums to 0 have no ratio and are left out; if
            none remains, `low` and `high` are nan.

    Returns:
        The ratio with its interval; `n` counts samples, not those that meet the condition. nan throughout if the
        denominator sums to 0, as it does without samples; zero width if a single sample meets the condition.

    Raises:
        ValueError: If the lengths differ, a value is infinite, a denominator is negative, or `level` or `resamples` is
            out of range.

    Example:
        >>> correct = torch.tensor([True, False, True, True])
        >>> hit = torch.tensor([True, True, False, False])
        >>> ratio_interval(correct & hit, hit, seed=0)
        Interval(value=0.5, low=0.0, high=1.0, n=4, missing=0)
    """
    _check("ratio_interval", level, resamples)
    samples_B2, missing = _used("ratio_interval", numerator, denominator)
    if (samples_B2[:, 1] < 0).any():
        raise ValueError(f"ratio_interval: a denominator is {samples_B2[:, 1].min():.3g}; pass values >= 0.")
    top, bottom = samples_B2.sum(axis=0)
    if bottom == 0:
        return Interval(value=np.nan, low=np.nan, high=np.nan, n=len(samples_B2), missing=missing)
    sums_R2 = np.concatenate([samples_B2[rows_RB].sum(axis=1) for rows_RB in _draws(len(samples_B2), resamples, seed)])
    sums_R2 = sums_R2[sums_R2[:, 1] > 0]
    low, high = _percentiles(_spread_of_all(sums_R2[:, 0] / sums_R2[:, 1], top / bottom, len(samples_B2)), level)
    return Interval(value=float(top / bottom), low=low, high=high, n=len(samples_B2), missing=missing)


def worst_group_interval(
    correct: Bool[Tensor, " B"],
    groups: Sequence[str],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Percentile-bootstrap interval of the worst group's accuracy.

    Samples are redrawn within their group, so that no group vanishes from a resample, and each resample takes its own
    worst group. The minimum of several noisy rates lies below the lowest of their true values on average, more so
    with many small groups: the interval reaches further down than up.

    Args:
        correct: Whether the prediction is right.
        groups: The group of each sample.
        seed: Seed of the resampling.
        level: Share of resamples inside the interval, in (0, 1).
        resamples: How many times to resample.

    Returns:
        The worst group's accuracy with its interval; `n` counts the samples of all groups. nan throughout without
        samples.

    Raises:
        ValueError: If the lengths differ, or `level` or `resamples` is out of range.

    Example:
        >>> correct = torch.tensor([True, True, False, True])
        >>> worst_group_interval(correct, ["land", "land", "water", "water"], seed=0)
        Interval(value=0.5, low=0.0, high=1.0, n=4, missing=0)
    """
    _check("worst_group_interval", level, resamples)
    if len(correct) != len(groups):
        raise ValueError(
            f"worst_group_interval: {len(correct)} samples but {len(groups)} groups; pass one group name per sample."
        )
    if not len(correct):
        return Interval(value=np.nan, low=np.nan, high=np.nan, n=0)
    group_names, group_of_B = np.unique(np.asarray(groups), return_inverse=True)
    size_G = np.bincount(group_of_B, minlength=len(group_names))
    rate_G = np.bincount(group_of_B, weights=correct.double().cpu().numpy()) / size_G
    # Redrawing n of n booleans leaves a binomial number of true ones.
    worst_R = (np.random.default_rng(seed).binomial(size_G, rate_G, (resamples, len(size_G))) / size_G).min(axis=1)
    low, high = _percentiles(worst_R, level)
    return Interval(value=float(rate_G.min()), low=low, high=high, n=len(correct))


def over_seeds(values: Sequence[float], *, level: float = 0.95) -> Interval:
    r"""Mean over training seeds with its Student t interval: $\bar v \pm t_{n-1} \, s / \sqrt{n}$.

    It covers what changes with the seed (initialisation, data order), not the choice of test samples. With three seeds
    the factor t is 4.3: a difference of two such means needs to be large to be seen.

    Args:
        values: One number per seed; nan marks a run that gave none.
        level: Confidence, in (0, 1).

    Returns:
        The mean with its interval; `n` counts seeds. One seed says nothing about the spread: its `low` and `high` are
        nan. Without seeds all three are.

    Raises:
        ValueError: If a value is infinite or `level` is out of range.

    Example:
        >>> interval = over_seeds([0.5, 0.6, 0.7])
        >>> f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}], n={interval.n}"
        '0.600 [0.352, 0.848], n=3'

    References:
        Student, "The Probable Error of a Mean", Biometrika 1908.
    """
    from scipy.special import stdtrit  # costs half a second, and only this function needs it

    _check("over_seeds", level)
    samples_B1, missing = _used("over_seeds", torch.tensor(values, dtype=torch.float64))
    num_seeds = len(samples_B1)
    value = float(samples_B1.mean()) if num_seeds else np.nan
    if num_seeds < 2:
        return Interval(value=value, low=np.nan, high=np.nan, n=num_seeds, missing=missing)
    quantile = float(stdtrit(num_seeds - 1, (1 + level) / 2))
    margin = quantile * float(samples_B1.std(ddof=1)) / num_seeds**0.5
    return Interval(value=value, low=value - margin, high=value + margin, n=num_seeds, missing=missing)


def _check(name: str, level: float, resamples: int = 1) -> None:
    if not 0 < level < 1:
        raise ValueError(f"{name}: level={level}; pass a share in (0, 1), such as 0.95.")
    if resamples < 1:
        raise ValueError(f"{name}: resamples={resamples}; pass at least 1, better 1000 or more.")


def _used(name: str, *columns: Tensor) -> tuple[Float[np.ndarray, "B _"], int]:
    """Put the columns side by side; return the rows without nan, in an order of their own, and how many had one."""
    if len({column.shape for column in columns}) > 1:
        shapes = " and ".join(str(tuple(column.shape)) for column in columns)
        raise ValueError(f"{name}: lengths {shapes} differ; pass the same samples in the same order.")
    rows = torch.stack([column.detach().double().cpu() for column in columns], dim=1).numpy()
    if np.isinf(rows).any():
        index = int(np.flatnonzero(np.isinf(rows).any(axis=1))[0])
        raise ValueError(f"{name}: sample {index} is infinite: {rows[index].tolist()}; pass nan if it has no value.")
    used = rows[~np.isnan(rows).any(axis=1)]
    return used[np.lexsort(used.T)], len(rows) - len(used)


def _bootstrap(
    name: str,
    samples: Float[np.ndarray, " B"],
    missing: int,
    statistic: Statistic,
    seed: int,
    level: float,
    resamples: int,
) -> Interval:
    _check(name, level, resamples)
    if not len(samples):
        return Interval(value=np.nan, low=np.nan, high=np.nan, n=0, missing=missing)
    resampled_R = np.concatenate([statistic(samples[rows_RB]) for rows_RB in _draws(len(samples), resamples, seed)])
    value = float(statistic(samples[None])[0])
    low, high = _percentiles(_spread_of_all(resampled_R, value, len(samples)), level)
    return Interval(value=value, low=low, high=high, n=len(samples), missing=missing)


def _draws(num_samples: int, resamples: int, seed: int) -> Iterator[Int[np.ndarray, "R B"]]:
    """Yield row numbers drawn with replacement, `resamples` rows of them in all, a bounded number at a time."""
    rng = np.random.default_rng(seed)
    redrawn = min(num_samples, _REDRAWN)
    at_once = max(1, _RESAMPLED_VALUES // redrawn)
    for start in range(0, resamples, at_once):
        yield rng.integers(num_samples, size=(min(at_once, resamples - start), redrawn))


def _spread_of_all(resampled: Float[np.ndarray, " R"], value: float, num_samples: int) -> Float[np.ndarray, " R"]:
    """Bring resamples of fewer samples to the spread of resamples of all: it falls with the root of their number."""
    return resampled if num_samples <= _REDRAWN else value + (resampled - value) * (_REDRAWN / num_samples) ** 0.5


def _percentiles(resampled: Float[np.ndarray, " R"], level: float) -> tuple[float, float]:
    if not len(resampled):
        return np.nan, np.nan
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
