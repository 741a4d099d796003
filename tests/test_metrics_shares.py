"""Intervals of shares: published numbers, coverage, edges."""

import math

import numpy as np
import pytest

from wherenot.metrics import Interval
from wherenot.metrics.shares import share_drop, share_interval


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_s_interval_as_published(right, n, low, high):
    """Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 1998, method 3."""
    interval = share_interval(right / n, n)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize(
    ("a", "m", "b", "n", "low", "high"),
    [
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (5, 56, 0, 29, -0.0381, 0.1926),
        (10, 10, 0, 10, 0.6075, 1.0),
    ],
)
def test_newcombe_s_interval_as_published(a, m, b, n, low, high):
    """The same, "Interval estimation for the difference between independent proportions", table II, method 10."""
    fall = share_drop(a / m, m, b / n, n)
    assert (fall.low, fall.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_intervals_hold_what_they_promise():
    rng = np.random.default_rng(0)
    drawn = rng.binomial(60, (0.9, 0.75), (2000, 2)) / 60
    falls = [share_drop(before, 60, after, 60) for before, after in drawn.tolist()]
    assert 0.93 < np.mean([fall.low <= 0.15 <= fall.high for fall in falls]) < 0.98


def test_the_mean_of_a_measure_between_0_and_1_is_held_too():
    rng = np.random.default_rng(0)
    means = rng.beta(2, 1, (2000, 50)).mean(1)
    assert np.mean([(i := share_interval(mean, 50)).low <= 2 / 3 <= i.high for mean in means.tolist()]) > 0.97


def test_edges():
    assert share_interval(0.3, 0) == Interval(value=0.3, low=0.0, high=1.0, n=0)
    assert share_interval(0.3, 10).n == 10
    assert share_drop(0.8, 30, 0.5, 90).n == 120
    for share in (0.0, 1.0, 0.5):
        interval = share_interval(share, 7)
        assert 0 <= interval.low <= share <= interval.high <= 1
    one, other = share_drop(0.8, 30, 0.5, 90), share_drop(0.5, 90, 0.8, 30)
    assert (one.low, one.high) == (pytest.approx(-other.high), pytest.approx(-other.low))
    assert share_interval(0.5, 10, level=0.99).low < share_interval(0.5, 10).low


@pytest.mark.parametrize(
    ("share", "n", "level"),
    [(1.1, 5, 0.95), (-0.1, 5, 0.95), (0.5, -1, 0.95), (0.5, 5, 1.0), (0.5, 5, 0.0), (0.5, 5, -0.5)],
)
def test_out_of_range(share, n, level):
    with pytest.raises(ValueError, match=f"share_interval: share={share}, n={n}, level={level}"):
        share_interval(share, n, level=level)
    with pytest.raises(ValueError, match="share_interval"):
        share_interval(math.nan, 5)
