import inspect
import math
import random

import numpy as np
import pytest
import torch

from fixed_records import assert_fixed
from wherenot.metrics import (
    Interval,
    bootstrap_interval,
    over_seeds,
    paired_difference,
    ratio_interval,
    statistics,
    worst_group_accuracy,
    worst_group_interval,
)


def slow_percentile(values, share):
    """Linear interpolation between order statistics."""
    ordered, position = sorted(values), share * (len(values) - 1)
    below = math.floor(position)
    above = min(below + 1, len(values) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def slow_interval(rows, statistic, level=0.95, resamples=4000):
    """Resample the rows one by one with another generator: equal to the tested interval up to chance."""
    source, results = random.Random(0), []
    for _ in range(resamples):
        result = statistic([rows[source.randrange(len(rows))] for _ in rows])
        if result is not None:
            results.append(result)
    return slow_percentile(results, (1 - level) / 2), slow_percentile(results, (1 + level) / 2)


def sample(seed, size=40):
    return torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def is_nan(interval):
    return all(math.isnan(number) for number in (interval.value, interval.low, interval.high))


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_bootstrap_matches_a_loop(level):
    values = sample(0)
    interval = bootstrap_interval(values, seed=1, level=level, resamples=4000)
    low, high = slow_interval(values.tolist(), lambda rows: sum(rows) / len(rows), level)
    assert interval.value == pytest.approx(values.mean().item())
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.01)
    assert interval.low < interval.value < interval.high
    assert (interval.n, interval.missing) == (40, 0)


def test_bootstrap_of_another_statistic():
    values = sample(1)

    def median(samples_RB):
        return np.median(samples_RB, axis=-1)

    interval = bootstrap_interval(values, seed=1, statistic=median, resamples=4000)
    low, high = slow_interval(values.tolist(), lambda rows: float(np.median(rows)))
    assert interval.value == pytest.approx(float(np.median(values)))
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.02)


def test_a_95_percent_interval_holds_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    draws = torch.from_numpy(rng.random((300, 60)) < 0.7)
    intervals = [bootstrap_interval(draw, seed=0, resamples=500) for draw in draws]
    held = sum(interval.low <= 0.7 <= interval.high for interval in intervals)
    assert 0.91 <= held / 300 <= 0.98


def test_an_interval_is_a_record():
    assert_fixed(Interval(value=0.5, low=0.4, high=0.6, n=3))


def test_booleans_count_as_zero_and_one():
    correct = sample(2) < 0.6
    assert bootstrap_interval(correct, seed=0) == bootstrap_interval(correct.double(), seed=0)


def test_nan_is_left_out_and_counted():
    values = sample(3)
    holes = torch.cat([values[:10], torch.tensor([math.nan, math.nan], dtype=torch.float64), values[10:]])
    full, holed = bootstrap_interval(values, seed=0), bootstrap_interval(holes, seed=0)
    assert (holed.value, holed.low, holed.high, holed.n) == (full.value, full.low, full.high, 40)
    assert holed.missing == 2


def test_no_sample_and_one_sample():
    nothing = bootstrap_interval(torch.tensor([math.nan]), seed=0)
    assert is_nan(nothing)
    assert (nothing.n, nothing.missing) == (0, 1)
    assert is_nan(bootstrap_interval(torch.zeros(0), seed=0))
    assert bootstrap_interval(torch.tensor([0.5]), seed=0) == Interval(value=0.5, low=0.5, high=0.5, n=1)


def test_same_seed_same_interval_and_the_global_generator_is_left_alone():
    values, state = sample(4), np.random.get_state()[1].copy()  # noqa: NPY002
    first = bootstrap_interval(values, seed=5)
    assert bootstrap_interval(values, seed=5) == first
    assert bootstrap_interval(values, seed=6) != first
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_the_order_of_samples_changes_nothing():
    a, b = sample(6), sample(7)
    correct, hit, groups = a < 0.7, b < 0.5, ["land" if value < 0.3 else "water" for value in b.tolist()]
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    shuffled_groups = [groups[index] for index in order.tolist()]
    assert bootstrap_interval(a[order], seed=0) == bootstrap_interval(a, seed=0)
    assert paired_difference(a[order], b[order], seed=0) == paired_difference(a, b, seed=0)
    assert ratio_interval((correct & hit)[order], hit[order], seed=0) == ratio_interval(correct & hit, hit, seed=0)
    assert worst_group_interval(correct[order], shuffled_groups, seed=0) == worst_group_interval(
        correct, groups, seed=0
    )


def test_the_interval_scales_with_the_values():
    values = sample(8)
    base, scaled = bootstrap_interval(values, seed=0), bootstrap_interval(4 * values + 1, seed=0)
    assert (scaled.value, scaled.low, scaled.high) == pytest.approx(
        (4 * base.value + 1, 4 * base.low + 1, 4 * base.high + 1)
    )


def test_drawing_a_few_at_a_time_still_draws_all(monkeypatch):
    monkeypatch.setattr(statistics, "_RESAMPLED_VALUES", 100)
    chunks = list(statistics._draws(40, 7, seed=0))
    assert [chunk.shape for chunk in chunks] == [(2, 40), (2, 40), (2, 40), (1, 40)]
    assert len({row.tobytes() for chunk in chunks for row in chunk}) == 7
    assert {int(index) for chunk in chunks for index in chunk.ravel()} == set(range(40))


def test_ratio_matches_a_loop_that_resamples_both_together():
    correct, hit = sample(9) < 0.6, sample(10) < 0.3
    rows = [(float(c and h), float(h)) for c, h in zip(correct.tolist(), hit.tolist(), strict=True)]

    def rate(drawn):
        hits = sum(row[1] for row in drawn)
        return sum(row[0] for row in drawn) / hits if hits else None

    interval = ratio_interval(correct & hit, hit, seed=0, resamples=4000)
    assert interval.value == pytest.approx(rate(rows))
    assert (interval.low, interval.high) == pytest.approx(slow_interval(rows, rate), abs=0.03)
    assert interval.n == 40


def test_ratio_over_clusters_is_wider_than_over_samples_that_repeat():
    values = (sample(11, 30) < 0.5).double()
    repeated = values.repeat_interleave(4)
    clusters = ratio_interval(4 * values, torch.full((30,), 4.0, dtype=torch.float64), seed=0)
    naive = bootstrap_interval(repeated, seed=0)
    assert clusters.value == naive.value
    assert clusters.high - clusters.low == pytest.approx(2 * (naive.high - naive.low), rel=0.15)


def test_ratio_where_the_condition_is_rare_or_never_holds():
    never = torch.zeros(5, dtype=torch.bool)
    interval = ratio_interval(never, never, seed=0)
    assert is_nan(interval)
    assert (interval.n, interval.missing) == (5, 0)
    once = torch.tensor([True, False, False, False])
    assert ratio_interval(once, once, seed=0) == Interval(value=1.0, low=1.0, high=1.0, n=4)
    without_last = next(seed for seed in range(50) if 3 not in np.random.default_rng(seed).integers(4, size=(1, 4)))
    unlucky = ratio_interval(once, once, seed=without_last, resamples=1)  # the hit, sorted last, is not drawn
    assert unlucky.value == 1
    assert math.isnan(unlucky.low)
    assert math.isnan(unlucky.high)


def test_ratio_knows_no_unit():
    top, bottom = sample(17), sample(18)
    plain, small = ratio_interval(top, bottom, seed=0), ratio_interval(top / 1000, bottom / 1000, seed=0)
    assert (small.value, small.low, small.high) == pytest.approx((plain.value, plain.low, plain.high))


def test_two_thousand_resamples_unless_told_otherwise():
    a, b, correct = sample(19), sample(20), sample(21, 20_000) < 0.7
    for interval in (
        lambda **given: worst_group_interval(correct, ["a", "b"] * 10_000, seed=0, level=0.99, **given),
        lambda **given: bootstrap_interval(a, seed=0, **given),
        lambda **given: paired_difference(a, b, seed=0, **given),
        lambda **given: ratio_interval(a, b, seed=0, **given),
    ):
        assert interval() == interval(resamples=2000)
        assert interval() != interval(resamples=1999)
        assert interval() != interval(resamples=2001)


def test_ratio_counts_rows_with_nan_on_either_side():
    top = torch.tensor([1.0, math.nan, 0.0, 1.0])
    bottom = torch.tensor([1.0, 1.0, 1.0, math.nan])
    interval = ratio_interval(top, bottom, seed=0)
    assert (interval.value, interval.n, interval.missing) == (0.5, 2, 2)


def test_worst_group_matches_a_loop_within_groups():
    correct = sample(12, 60) < 0.7
    groups = ["ab"[index % 2] for index in range(60)]
    interval = worst_group_interval(correct, groups, seed=0, resamples=4000)
    source, worst = random.Random(0), []
    members = [correct[start::2].tolist() for start in (0, 1)]
    for _ in range(4000):
        worst.append(min(sum(source.choices(right, k=len(right))) / len(right) for right in members))
    assert interval.value == pytest.approx(worst_group_accuracy(correct, groups))
    assert interval.low == pytest.approx(slow_percentile(worst, 0.025), abs=0.04)
    assert interval.high == pytest.approx(slow_percentile(worst, 0.975), abs=0.04)
    assert interval.n == 60


def test_worst_group_degenerate_cases():
    assert is_nan(worst_group_interval(torch.zeros(0, dtype=torch.bool), [], seed=0))
    one = worst_group_interval(torch.tensor([True, True, False]), ["a", "a", "b"], seed=0)
    assert one == Interval(value=0.0, low=0.0, high=0.0, n=3)


def test_paired_difference_cancels_what_both_runs_share():
    hard, noise = sample(13, 200), 0.01 * sample(14, 200)
    a, b = hard + noise + 0.05, hard
    interval = paired_difference(a, b, seed=0)
    assert interval.value == pytest.approx(float((a - b).mean()))
    assert interval.low > 0.05
    assert interval.high - interval.low < 0.1 * (bootstrap_interval(a, seed=0).high - bootstrap_interval(a, seed=0).low)
    low, high = slow_interval((a - b).tolist(), lambda rows: sum(rows) / len(rows), resamples=2000)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)


def test_paired_difference_changes_sign_with_its_arguments_and_takes_booleans():
    a, b = sample(15, 80) < 0.8, sample(16, 80) < 0.5
    forth, back = paired_difference(a, b, seed=0), paired_difference(b, a, seed=0)
    assert forth.value == -back.value == pytest.approx(float(a.double().mean() - b.double().mean()))
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=0.03)


def test_paired_difference_leaves_out_pairs_with_a_hole():
    a = torch.tensor([1.0, math.nan, 0.5])
    b = torch.tensor([0.0, 1.0, math.nan])
    assert paired_difference(a, b, seed=0) == Interval(value=1.0, low=1.0, high=1.0, n=1, missing=2)


def test_over_seeds_matches_the_table_of_student_t():
    interval = over_seeds([1.0, 2.0, 3.0, 4.0, math.nan])
    margin = 3.182446 * math.sqrt(5 / 3) / 2  # t(0.975, 3 degrees of freedom) from printed tables
    assert interval.value == 2.5
    assert (interval.low, interval.high) == pytest.approx((2.5 - margin, 2.5 + margin), abs=1e-6)
    assert (interval.n, interval.missing) == (4, 1)
    ninety = over_seeds([1.0, 2.0, 3.0, 4.0], level=0.9)
    assert ninety.high - 2.5 == pytest.approx(2.353363 * math.sqrt(5 / 3) / 2, abs=1e-6)


def test_over_seeds_does_not_claim_to_know_the_spread_of_one():
    one = over_seeds([0.7])
    assert (one.value, one.n) == (0.7, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    nothing = over_seeds([])
    assert is_nan(nothing)
    assert nothing.n == 0


def test_over_seeds_is_symmetric_and_ignores_order():
    interval = over_seeds([0.2, 0.9, 0.4])
    assert over_seeds([0.9, 0.4, 0.2]) == interval
    assert interval.high - interval.value == pytest.approx(interval.value - interval.low)


VALUES, GROUPS = torch.tensor([True, False]), ["a", "b"]
ALL = {
    "bootstrap_interval": lambda **given: bootstrap_interval(VALUES, seed=0, **given),
    "ratio_interval": lambda **given: ratio_interval(VALUES, VALUES, seed=0, **given),
    "paired_difference": lambda **given: paired_difference(VALUES, VALUES, seed=0, **given),
    "worst_group_interval": lambda **given: worst_group_interval(VALUES, GROUPS, seed=0, **given),
    "over_seeds": lambda **given: over_seeds([0.1, 0.2], **given),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95.0, math.nan])
def test_levels_are_shares(name, level):
    with pytest.raises(ValueError, match=f"{name}: level="):
        ALL[name](level=level)


@pytest.mark.parametrize("name", [name for name in ALL if name != "over_seeds"])
def test_at_least_one_resample(name):
    with pytest.raises(ValueError, match=f"{name}: resamples=0"):
        ALL[name](resamples=0)


def test_infinite_values_negative_denominators_and_other_lengths_are_refused():
    infinite = torch.tensor([0.5, math.inf, -math.inf])
    with pytest.raises(ValueError, match="bootstrap_interval: sample 1 is infinite"):
        bootstrap_interval(infinite, seed=0)
    with pytest.raises(ValueError, match="over_seeds: sample 0 is infinite"):
        over_seeds([-math.inf, 0.5])
    with pytest.raises(ValueError, match=r"a denominator is -0.5"):
        ratio_interval(VALUES, torch.tensor([1.0, -0.5]), seed=0)
    for function in (paired_difference, ratio_interval):
        with pytest.raises(ValueError, match=rf"{function.__name__}: lengths \(2,\) and \(1,\) differ"):
            inspect.unwrap(function)(VALUES, VALUES[:1], seed=0)
    for groups in (["a"], ["a", "b", "b"]):
        with pytest.raises(ValueError, match=f"2 samples but {len(groups)} groups"):
            worst_group_interval(VALUES, groups, seed=0)


@pytest.mark.parametrize("redrawn", [50, 500])
def test_of_very_many_samples_fewer_are_redrawn_for_about_the_same_interval(monkeypatch, redrawn):
    values = torch.rand(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counted = (values > 0.7).double()

    def widths():
        median = bootstrap_interval(values, seed=1, statistic=lambda rows: np.median(rows, axis=-1))
        found = (bootstrap_interval(values, seed=1), ratio_interval(values * counted, counted, seed=1), median)
        assert all(each.low < each.value < each.high for each in found)
        return [(each.value, each.n, (each.high - each.low)) for each in found]

    whole = widths()
    monkeypatch.setattr("wherenot.metrics.statistics._REDRAWN", redrawn)
    for (value, n, width), (same, also, near) in zip(whole, widths(), strict=True):
        assert (value, n) == (same, also)
        assert near != width
        assert near == pytest.approx(width, rel=0.15)
