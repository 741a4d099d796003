import inspect
import json
import math
from pathlib import Path

import pytest
import torch

from fixed_records import assert_fixed
from wherenot.metrics import (
    add_noise,
    conditional_accuracy,
    group_accuracy,
    noisy,
    top_k_correct,
    worst_group_accuracy,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "cases.json").read_text())


def slow_top_k(logits, targets, k):
    """Pick the best remaining class k times, the first one on ties."""
    correct = []
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        remaining, picked = list(range(len(row))), []
        for _ in range(k):
            best = remaining[0]
            for label in remaining:
                if row[label] > row[best]:
                    best = label
            remaining.remove(best)
            picked.append(best)
        correct.append(target in picked)
    return torch.tensor(correct)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_matches_repeated_argmax_with_many_ties(k):
    generator = torch.Generator().manual_seed(k)
    logits = torch.randint(0, 3, (200, 5), generator=generator).double()
    targets = torch.randint(0, 5, (200,), generator=generator)
    assert torch.equal(top_k_correct(logits, targets, k), slow_top_k(logits, targets, k))


def test_top_1_agrees_with_argmax():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 3, (100, 4), generator=generator).float()
    targets = torch.randint(0, 4, (100,), generator=generator)
    assert torch.equal(top_k_correct(logits, targets, 1), logits.argmax(dim=1) == targets)


def test_top_k_of_no_image_is_empty():
    assert top_k_correct(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), 1).shape == (0,)


@pytest.mark.parametrize(
    ("logits", "targets", "k", "message"),
    [
        (torch.zeros(2, 3), [0, 1], 4, "k=4 with 3 classes"),
        (torch.zeros(2, 3), [0, 1], 0, "k=0 with 3 classes"),
        (torch.zeros(2, 3), [0, 3], 1, r"targets\[1\] is 3 with 3 classes"),
        (torch.zeros(3, 3), [0, -1, 9], 1, r"targets\[1\] is -1"),
        (torch.tensor([[0.0, 1.0], [math.nan, 0.0], [0.0, math.nan]]), [0, 0, 0], 1, r"logits\[1\] holds NaN"),
        (torch.zeros(1, 3), [0, 1], 1, r"need targets \(1,\), got \(2,\)"),
        (torch.zeros(2, 3), [0], 1, r"logits \(2, 3\) need targets \(2,\), got \(1,\)"),
    ],
)
def test_top_k_refuses(logits, targets, k, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(top_k_correct)(logits, torch.tensor(targets), k)


# G11's inputs, from its definition.
HIT = torch.tensor([1, 1, 0, 1, 0, 1, 0, 1], dtype=torch.bool)
CORRECT = torch.tensor([1, 0, 1, 1, 0, 1, 1, 1], dtype=torch.bool)


def test_conditional_accuracy_golden():
    golden, rates = GOLDEN["G11_conditional"], conditional_accuracy(CORRECT, HIT)
    assert rates.hit_rate == golden["pg"]
    assert rates.accuracy == golden["top1"]
    assert rates.accuracy_given_hit == pytest.approx(golden["acc_given_pg1"], abs=1e-6)
    assert rates.hit_given_correct == pytest.approx(golden["pg_given_correct"], abs=1e-6)
    assert rates.hit_given_wrong == pytest.approx(golden["pg_given_wrong"], abs=1e-6)
    assert rates.accuracy_given_miss == pytest.approx(2 / 3)


def test_rates_are_a_record():
    assert_fixed(conditional_accuracy(CORRECT, HIT))


def test_conditional_accuracy_obeys_total_probability_and_bayes():
    generator = torch.Generator().manual_seed(3)
    correct, hit = torch.rand(2, 300, generator=generator) < 0.6
    rates = conditional_accuracy(correct, hit)
    total = rates.hit_rate * rates.accuracy_given_hit + (1 - rates.hit_rate) * rates.accuracy_given_miss
    assert total == pytest.approx(rates.accuracy)
    assert rates.accuracy_given_hit * rates.hit_rate == pytest.approx(rates.hit_given_correct * rates.accuracy)
    order = torch.randperm(300, generator=generator)
    assert conditional_accuracy(correct[order], hit[order]) == rates


def test_conditional_accuracy_is_nan_only_where_the_condition_never_holds():
    always = torch.tensor([True, True])
    rates = conditional_accuracy(correct=always, hit=always)
    assert (rates.accuracy, rates.hit_rate, rates.accuracy_given_hit, rates.hit_given_correct) == (1, 1, 1, 1)
    assert math.isnan(rates.accuracy_given_miss)
    assert math.isnan(rates.hit_given_wrong)
    nothing = conditional_accuracy(always[:0], always[:0])
    assert math.isnan(nothing.accuracy)
    assert math.isnan(nothing.hit_rate)


def test_conditional_accuracy_refuses_other_lengths():
    with pytest.raises(ValueError, match=r"correct \(8,\) and hit \(7,\) differ"):
        inspect.unwrap(conditional_accuracy)(CORRECT, HIT[1:])
    with pytest.raises(ValueError, match=r"correct \(7,\) and hit \(8,\) differ"):
        inspect.unwrap(conditional_accuracy)(CORRECT[1:], HIT)


def test_group_accuracy_matches_a_loop_and_ignores_sample_order():
    generator = torch.Generator().manual_seed(5)
    correct = torch.rand(60, generator=generator) < 0.5
    groups = ["abc"[index] for index in torch.randint(0, 3, (60,), generator=generator).tolist()]
    expected = {}
    for name in "abc":
        right = [bool(is_correct) for is_correct, group in zip(correct, groups, strict=True) if group == name]
        expected[name] = right.count(True) / len(right)
    order = torch.randperm(60, generator=generator).tolist()
    assert group_accuracy(correct, groups) == expected
    assert list(group_accuracy(correct[order], [groups[index] for index in order]).items()) == list(expected.items())
    assert worst_group_accuracy(correct, groups) == min(expected.values()) < correct.double().mean()


def test_groups_without_samples_and_with_other_lengths():
    none = torch.zeros(0, dtype=torch.bool)
    assert group_accuracy(none, []) == {}
    assert math.isnan(worst_group_accuracy(none, []))
    with pytest.raises(ValueError, match="8 samples but 1 groups"):
        group_accuracy(CORRECT, ["land"])
    with pytest.raises(ValueError, match="8 samples but 9 groups"):
        group_accuracy(CORRECT, ["land"] * 9)


def test_noisy_golden_clips_before_the_normalisation():
    images = torch.tensor([0.02, 0.5, 0.97], dtype=torch.float64).reshape(1, 1, 1, 3)
    noise = torch.tensor([-1.0, 0.5, 1.0], dtype=torch.float64).reshape(1, 1, 1, 3)
    golden, given = GOLDEN["G21_noise"], (images.clone(), noise.clone())
    result = noisy(images, noise, golden["sigma"])
    assert result.flatten().tolist() == pytest.approx(golden["noisy"], abs=1e-6)
    assert ((result - 0.5) / 0.5).flatten().tolist() == pytest.approx(golden["hfvit_norm"], abs=1e-6)
    assert torch.equal(images, given[0])
    assert torch.equal(noise, given[1])


def test_black_and_white_are_pixels():
    ends = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    assert noisy(ends, torch.tensor([1.0, -1.0]).reshape(1, 1, 1, 2), 0.25).flatten().tolist() == [0.25, 0.75]
    with pytest.raises(ValueError, match="sigma=inf"):
        noisy(ends, ends, math.inf)


def test_add_noise_is_standard_normal_noise_times_sigma():
    images = torch.full((4, 3, 50, 50), 0.5, dtype=torch.float64)
    added = add_noise(images, 0.05, torch.Generator().manual_seed(1)) - images
    assert float(added.mean()) == pytest.approx(0, abs=1e-3)
    assert float(added.std()) == pytest.approx(0.05, rel=0.02)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(added + images, noisy(images, noise.double(), 0.05))


def test_add_noise_advances_its_generator_and_leaves_the_global_one():
    images, generator, state = torch.full((1, 1, 4, 4), 0.5), torch.Generator().manual_seed(1), torch.get_rng_state()
    assert not torch.equal(add_noise(images, 0.1, generator), add_noise(images, 0.1, generator))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(add_noise(images, 0.0, generator), images)


@pytest.mark.parametrize(
    ("value", "sigma", "message"),
    [
        (-0.5, 0.1, "span"),
        (1.5, 0.1, "span"),
        (math.nan, 0.1, "span"),
        (0.5, -0.1, "sigma=-0.1"),
        (0.5, math.nan, "nan"),
    ],
)
def test_noise_refuses_normalised_pixels_and_bad_sigma(value, sigma, message):
    with pytest.raises(ValueError, match=message):
        add_noise(torch.full((1, 1, 2, 2), value), sigma, torch.Generator())


def test_noisy_refuses_broadcasting():
    with pytest.raises(ValueError, match=r"images \(2, 3, 4, 4\) and noise \(1, 3, 4, 4\)"):
        inspect.unwrap(noisy)(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4), 0.1)
    with pytest.raises(ValueError, match=r"images \(1, 3, 4, 4\) and noise \(2, 3, 4, 4\)"):
        inspect.unwrap(noisy)(torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4), 0.1)
