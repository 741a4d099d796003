import dataclasses
import math

import pytest
import torch

import reference
from golden_cases import GOLDEN
from toys import random_probabilities
from wherenot.objective import (
    EVALUATION,
    TRAINING,
    FourTermObjective,
    Objective,
    confidence,
    effectiveness,
    log_odds,
)


def test_set_utility_golden():
    case = GOLDEN["G01_set_utility"]
    target = torch.tensor([0])
    p_ins = log_odds(torch.tensor([[2.0, 0.5, -1.0]]), target).sigmoid()
    p_del = log_odds(torch.tensor([[0.3, 0.1, 0.9]]), target).sigmoid()
    assert p_ins.item() == pytest.approx(case["p_ins"], abs=1e-6)
    assert p_del.item() == pytest.approx(case["p_del"], abs=1e-6)
    assert TRAINING(p_ins, p_del).item() == pytest.approx(case["F_21"], abs=2e-6)
    assert EVALUATION(p_ins, p_del).item() == pytest.approx(case["F_11"], abs=2e-6)
    assert TRAINING(p_ins, p_del).item() / TRAINING.maximum == pytest.approx(case["gain_norm"], abs=1e-6)


def test_four_terms_golden():
    case = GOLDEN["G18_lima4"]
    assert confidence(torch.tensor([[0.7, 0.2, 0.1]]).double()).item() == pytest.approx(case["confidence"], abs=1e-6)
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).double()
    keep = torch.tensor([[True, True, False], [True, True, True], [True, False, False], [False] * 3])
    assert effectiveness(features, keep).tolist() == pytest.approx(
        [case["eff_01"], case["eff_012"], case["eff_single"], 0.0], abs=1e-6
    )
    terms = [torch.tensor([value]).double() for value in (case["confidence"], case["eff_012"], 0.7, 0.25)]
    lima, smdl = FourTermObjective(), FourTermObjective(consistency=1.0)
    assert lima(*terms).item() == pytest.approx(case["F_paper_lambdas_0_05_20_1"], abs=1e-6)
    assert smdl(*terms).item() == pytest.approx(case["F_smdl_0_05_1_1"], abs=1e-6)


def test_each_of_the_four_terms_has_its_weight():
    terms = [torch.tensor([value]).double() for value in (0.5, 3.0, 0.25, 0.375)]
    weighted = FourTermObjective(confidence=2.0, effectiveness=0.5, consistency=8.0, collaboration=4.0)
    assert weighted(*terms).item() == 2 * 0.5 + 0.5 * 3 + 8 * 0.25 + 4 * (1 - 0.375)


@pytest.mark.parametrize("objective", [Objective(), FourTermObjective()])
def test_an_objective_is_never_changed(objective):
    for field in dataclasses.fields(objective):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(objective, field.name, 0.5)


def test_log_odds_agree_with_a_slow_softmax():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 5, generator=generator).double() * 4
    targets = torch.randint(5, (40,), generator=generator)
    slow = [
        reference.softmax_probability(row, target)
        for row, target in zip(logits.tolist(), targets.tolist(), strict=True)
    ]
    assert log_odds(logits, targets).sigmoid().tolist() == pytest.approx(slow, abs=1e-12)


def test_any_class_may_be_the_target():
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    odds = [log_odds(logits, torch.tensor([target])).sigmoid().item() for target in range(3)]
    assert odds == pytest.approx(logits[0].softmax(0).tolist())


def test_log_odds_keep_what_a_probability_loses():
    odds = log_odds(torch.tensor([[60.0, 0.0], [-60.0, 0.0]]), torch.tensor([0, 0]))
    assert odds.tolist() == [60.0, -60.0]


def test_half_precision_logits_are_raised():
    odds = log_odds(torch.tensor([[2.0, 0.5, -1.0]], dtype=torch.bfloat16), torch.tensor([0]))
    assert odds.dtype == torch.float32
    assert odds.sigmoid().item() == pytest.approx(0.785597, abs=1e-6)


def test_log_penalty_follows_its_definition_and_rises_with_the_value():
    p_ins, p_del = random_probabilities(200, seed=1), random_probabilities(200, seed=2)
    penalty = TRAINING.log_penalty(p_ins.logit(), p_del.logit())
    slow = [-2 * math.log(1 - i) - math.log(d) for i, d in zip(p_ins.tolist(), p_del.tolist(), strict=True)]
    assert penalty.tolist() == pytest.approx(slow, rel=1e-9)
    higher = TRAINING.log_penalty((p_ins + 1e-3).logit(), (p_del - 1e-3).logit())
    assert (higher > penalty).all()


def test_log_penalty_gradient_does_not_vanish_where_the_model_is_sure():
    odds = torch.tensor(12.0, requires_grad=True)
    Objective(1.0, 0.0).log_penalty(odds, torch.tensor(0.0)).backward()
    assert odds.grad.item() == pytest.approx(1.0, abs=1e-4)
    odds.grad = None
    odds.sigmoid().backward()
    assert odds.grad.item() < 1e-5


@pytest.mark.parametrize("weights", [(-0.5, 1.0), (1.0, -0.5), (0.0, 0.0)])
def test_impossible_weights(weights):
    with pytest.raises(ValueError, match="weights must be >= 0"):
        Objective(*weights)


@pytest.mark.parametrize(("logits", "target"), [([[1.0]], 0), ([[1.0, 2.0]], 2), ([[1.0, 2.0]], -1)])
def test_impossible_targets(logits, target):
    with pytest.raises(ValueError, match="log_odds"):
        log_odds(torch.tensor(logits), torch.tensor([target]))
