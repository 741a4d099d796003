import math

import pytest
import torch
from torch.autograd import gradcheck

from golden_cases import GOLDEN
from toys import random_probabilities
from wherenot.losses import adaptive_log, deviation, reduced, redundancy, two_sided_redundancy
from wherenot.objective import EVALUATION, TRAINING


def column(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_deviation_golden():
    case = GOLDEN["G02_deviation"]
    p_ins, p_del = column(0.62, 0.48), column(0.35, 0.80)
    utility = TRAINING(p_ins, p_del)
    assert utility.tolist() == pytest.approx(case["per"], abs=1e-6)
    assert deviation(utility, "sum").item() == pytest.approx(case["sum"], abs=1e-6)
    assert deviation(utility).item() == pytest.approx(case["mean"], abs=1e-6)
    assert 0.5 * deviation(utility).item() == pytest.approx(case["weighted_mean"], abs=1e-6)
    assert deviation(EVALUATION(p_ins, p_del)).item() == pytest.approx(case["legacy_11"], abs=1e-6)


CASES = {
    "caseA": (0.7, 0.5, 0.2, 0.4),
    "caseB_mixed": (0.55, 0.50, 0.50, 0.40),
    "caseC_negative": (0.45, 0.5, 0.5, 0.45),
}


@pytest.mark.parametrize("name", CASES)
def test_redundancy_golden(name):
    case = GOLDEN["G03_redundancy"][name]
    ins_after, ins_before, del_after, del_before = (column(value) for value in CASES[name])
    core = redundancy(TRAINING(ins_after, del_after), TRAINING(ins_before, del_before))
    assert core.item() == pytest.approx(case["core"], abs=1e-6)
    for margin, key in ((0.0, "legacy_v2_nomargin"), (0.1, "legacy_v3_margin")):
        legacy = two_sided_redundancy(ins_after, ins_before, del_after, del_before, margin=margin)
        assert legacy.item() == pytest.approx(case[key], abs=1e-6)


def odds_of(probability):
    return torch.tensor([math.log(probability / (1 - probability)), 0.0], dtype=torch.float64, requires_grad=True)


def test_redundancy_gradient_golden():
    case = GOLDEN["G04_redundancy_grad"]
    logits = {name: odds_of(p) for name, p in zip(("ia", "da", "ib", "db"), (0.7, 0.2, 0.5, 0.4), strict=True)}
    p = {name: z.softmax(0)[:1] for name, z in logits.items()}
    after, before = TRAINING(p["ia"], p["da"]), TRAINING(p["ib"], p["db"])
    redundancy(after, before).backward(retain_graph=True)
    assert logits["ia"].grad.tolist() == pytest.approx(case["ins_after"], abs=1e-6)
    assert logits["da"].grad.tolist() == pytest.approx(case["del_after"], abs=1e-6)
    assert logits["ib"].grad is None
    assert logits["db"].grad is None
    redundancy(after, before, detach_before=False).backward()
    assert logits["ib"].grad.tolist() == pytest.approx(case["if_not_detached_ins_before"], abs=1e-6)
    assert logits["db"].grad.tolist() == pytest.approx(case["if_not_detached_del_before"], abs=1e-6)


def penalty(q, r, beta):
    """The curve alone: a gain q above a human gain of 0 with a full confidence of 1 - r."""
    return adaptive_log(column(q), column(0.0), column(1 - r), beta=float(beta))


def test_adaptive_log_golden():
    case = GOLDEN["G05_adaptive_log"]
    for beta in (1, 2, 4):
        assert penalty(0.1, 0.3, beta).item() == pytest.approx(case["pen"][str(beta)], abs=1e-6)
        q = torch.tensor([0.1], dtype=torch.float64, requires_grad=True)
        adaptive_log(q, column(0.0), column(0.7), beta=float(beta)).backward()
        assert (q.grad * q.detach()).item() == pytest.approx(case["w"][str(beta)], abs=1e-6)
    from_a = adaptive_log(column(0.6 / 3), column(0.1), column(0.95))
    assert from_a.item() == pytest.approx(case["from_G03A"]["beta2"], abs=1e-6)


def test_adaptive_log_of_no_excess_is_zero_with_zero_gradient():
    gain = torch.tensor([0.05, -0.2], dtype=torch.float64, requires_grad=True)
    loss = adaptive_log(gain, column(0.1, 0.0), column(0.7, 0.7))
    loss.backward()
    assert loss.item() == 0.0
    assert gain.grad.tolist() == [0.0, 0.0]


def test_total_loss_golden():
    case = GOLDEN["G25_total"]
    cross_entropy = -column(0.9, 0.8, 0.3, 0.6).log().mean()
    assert cross_entropy.item() == pytest.approx(case["ce_mean"], abs=1e-6)
    after, before = column(0.6, 0.0, 0.2), column(0.0, 0.0, 0.0)
    for reduction, key in (("mean", "core_mean_reduction"), ("sum", "paper_eq_sum"), ("batch", "sum_over_b")):
        total = (
            cross_entropy
            + 0.5 * deviation(column(1.89), reduction, batch_size=4)
            + 0.5 * redundancy(after, before, reduction, batch_size=4)
        )
        assert total.item() == pytest.approx(case[key], abs=1e-6)


def test_no_example_costs_nothing_but_stays_in_the_graph():
    empty = torch.zeros(0, requires_grad=True)
    for reduction in ("mean", "sum", "batch"):
        loss = deviation(empty, reduction, batch_size=4)
        assert loss.item() == 0.0
        loss.backward()


@pytest.mark.parametrize("reduction", ["mean", "sum", "batch"])
def test_gradcheck(reduction):
    p = [random_probabilities(5, seed).requires_grad_() for seed in range(4)]
    human, full = random_probabilities(5, 8) * 0.3, random_probabilities(5, 9)
    options = {"reduction": reduction, "batch_size": 7}
    assert gradcheck(lambda i, d: deviation(TRAINING(i, d), **options), (p[0], p[1]))
    assert gradcheck(lambda i, d: deviation(TRAINING.log_penalty(i.logit(), d.logit()), **options), (p[0], p[1]))
    assert gradcheck(
        lambda i, d, j, e: redundancy(TRAINING(i, d), TRAINING(j, e), **options, detach_before=False), tuple(p)
    )
    assert gradcheck(lambda i, d: two_sided_redundancy(i, p[2], d, p[3], margin=0.05, **options), (p[0], p[1]))
    for beta in (1.0, 2.0, 4.0):
        assert gradcheck(lambda g, beta=beta: adaptive_log(g, human, full, beta=beta, **options), (p[0],))


@pytest.mark.usefixtures("unhooked")
def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"redundancy.*\(2,\).*\(1,\)"):
        redundancy(column(1.0, 2.0), column(1.0))
    with pytest.raises(ValueError, match=r"redundancy.*\(1,\).*\(2,\)"):
        redundancy(column(1.0), column(1.0, 2.0))
    for place in (1, 2, 3):
        four = [column(0.5)] * 4
        four[place] = column(0.5, 0.5)
        with pytest.raises(ValueError, match="two_sided_redundancy: all arguments"):
            two_sided_redundancy(*four)
    for human, full in ((column(0.0, 0.0), column(0.5)), (column(0.0), column(0.5, 0.5))):
        with pytest.raises(ValueError, match="adaptive_log: all arguments"):
            adaptive_log(column(1.0), human, full)
    for size in (None, 0, -1):
        with pytest.raises(ValueError, match="batch size"):
            reduced(column(1.0), "batch", batch_size=size)
    with pytest.raises(ValueError, match="reduction must be"):
        reduced(column(1.0), "median")
    for beta in (0.0, -1.0):
        with pytest.raises(ValueError, match="beta"):
            adaptive_log(column(1.0), column(0.0), column(0.5), beta=beta)


def test_adaptive_log_has_a_reference_where_nothing_else_is_left():
    assert adaptive_log(column(1e-6), column(0.0), column(1.0)).item() == pytest.approx(math.log(2))


def test_one_image_is_a_batch_too():
    assert reduced(column(1.0, 2.0), "batch", batch_size=1).item() == 3.0
    assert reduced(column(4.0)).item() == 4.0
