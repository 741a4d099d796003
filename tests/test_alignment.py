from dataclasses import replace

import numpy as np
import pytest
import torch

from golden_cases import GOLDEN
from toys import AdditiveModel, RecordingModel, SmallBatchNormNet, seeded
from wherenot import Alignment, Batch, Prior
from wherenot.losses import adaptive_log
from wherenot.methods import PRESETS, Counterfactual, RandomRegions
from wherenot.methods.controls import counterfactual_loss
from wherenot.methods.gate import confidently_right, eligible
from wherenot.objective import EVALUATION, TRAINING
from wherenot.regions import Grid

BLACK = torch.zeros(3, 1, 1)
# Log-odds of the four 2 x 2 cells of a 4 x 4 image: 1.5, -0.8, 0.5, 0.6.
WEIGHTS = [[0.9, 0.1, -0.4, 0.0], [0.3, 0.2, -0.4, 0.0], [0.0, 0.0, 0.5, 0.0], [0.0, 0.5, 0.1, 0.0]]
CELLS = (1.5, -0.8, 0.5, 0.6)
PAPER = Alignment(interval=1, partition=Grid(2, 2), fill=BLACK, confidence_above=0.6, stop_above=None)


def cell(*indices, forbidden=False):
    """A prior on some cells of the 2 x 2 grid."""
    boxes = [[2 * (index % 2), 2 * (index // 2), 2 * (index % 2) + 2, 2 * (index // 2) + 2] for index in indices]
    return Prior.from_boxes(boxes, 4, 4, forbidden=forbidden)


def batch_for(model, priors, targets=None):
    images = torch.ones(len(priors), 3, 4, 4)
    targets = torch.ones(len(priors), dtype=torch.long) if targets is None else targets
    return Batch(images=images, targets=targets, logits=model(images), priors=priors)


def sigmoid(odds):
    return 1 / (1 + np.exp(-odds))


def value(visible, a=2.0, b=1.0):
    inside = sum(CELLS[index] for index in visible)
    return a * sigmoid(inside) + b * (1 - sigmoid(sum(CELLS) - inside))


def test_gate_golden():
    probabilities = torch.tensor([[0.76, 0.24], [0.74, 0.26], [0.2, 0.8], [0.75, 0.25]])
    chosen = confidently_right(probabilities.log(), torch.zeros(4, dtype=torch.long)).nonzero()[:, 0].tolist()
    assert chosen == GOLDEN["G27_gate"]["selected"]
    # X27: a gate on the largest probability alone would take this one
    assert not confidently_right(torch.tensor([[0.1, 0.9]]).log(), torch.tensor([0])).any()
    # Eq. 5 as printed: any correct prediction, and no wrong one
    eager = confidently_right(torch.tensor([[0.4, 0.3, 0.3], [0.4, 0.3, 0.3]]).log(), torch.tensor([0, 1]), above=0.0)
    assert eager.tolist() == [True, False]


def test_only_images_with_a_prior_and_no_more_than_asked():
    logits = torch.tensor([[5.0, 0.0]] * 4)
    batch = Batch(
        images=torch.zeros(4, 3, 4, 4), targets=torch.zeros(4, dtype=torch.long), logits=logits,
        priors=[cell(0), None, cell(1), cell(2)],
    )  # fmt: skip
    assert eligible(batch, 0.75, None).tolist() == [0, 2, 3]
    assert eligible(batch, 0.75, 2).tolist() == [0, 2]


def test_losses_solved_on_paper():
    # Order 0, 3, 2, 1. With the prior on cell 3, the top region and ranks 3 and 4 are off-prior; rank 4 loses.
    model = AdditiveModel(WEIGHTS)
    terms = PAPER(model, batch_for(model, [cell(3)]), step=1)
    deviation = value([0])
    gains = [max(0.0, value([0, 3, 2]) - value([0, 3])), max(0.0, value([0, 3, 2, 1]) - value([0, 3, 2]))]
    assert terms.log["deviation"] == pytest.approx(deviation, abs=1e-5)
    assert terms.log["redundancy"] == pytest.approx(np.mean(gains), abs=1e-5)
    assert terms.loss.item() == pytest.approx(0.5 * deviation + 0.5 * np.mean(gains), abs=1e-5)
    assert terms.log["top_off_prior"] == 1.0
    assert terms.log["aligned"] == 1.0


def test_on_prior_evidence_costs_nothing():
    model = AdditiveModel(WEIGHTS)
    terms = PAPER(model, batch_for(model, [cell(0, 1, 2, 3)]), step=1)
    assert terms.loss.item() == 0.0
    assert terms.log["top_off_prior"] == 0.0


def test_forbidden_regions_are_penalised_and_others_not():
    model = AdditiveModel(WEIGHTS)
    only_top = PAPER(model, batch_for(model, [cell(0, forbidden=True)]), step=1)
    assert only_top.log["deviation"] == pytest.approx(value([0]), abs=1e-5)
    assert only_top.log["redundancy"] == 0.0


def test_log_form_solved_on_paper():
    model = AdditiveModel(WEIGHTS)
    terms = replace(PAPER, form="log")(model, batch_for(model, [cell(3)]), step=1)
    expected = -2 * np.log(1 - sigmoid(1.5)) - np.log(sigmoid(sum(CELLS) - 1.5))
    assert terms.log["deviation"] == pytest.approx(expected, abs=1e-5)


def test_adaptive_form_solved_on_paper():
    model = AdditiveModel(WEIGHTS)
    batch = batch_for(model, [cell(3)])
    terms = replace(PAPER, form="adaptive_log")(model, batch, step=1)
    human = max(0.0, (value([0, 3]) - value([0])) / 3)
    full = torch.tensor([sigmoid(sum(CELLS))])
    expected = adaptive_log(torch.tensor([value([0]) / 3]), torch.tensor([human]), full)
    assert terms.log["deviation"] == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("when", "prior", "expected"),
    [
        ("always", (3,), True),
        ("always", (0,), True),
        ("top_off_prior", (3,), True),
        ("top_off_prior", (0,), False),
        ("top_on_prior", (3,), False),
        ("top_on_prior", (0,), True),
    ],
)
def test_when_redundancy_counts(when, prior, expected):
    model = AdditiveModel(WEIGHTS)
    terms = replace(PAPER, redundancy_when=when)(model, batch_for(model, [cell(*prior)]), step=1)
    assert (terms.log["redundancy"] > 0) == expected


def test_reductions():
    model = AdditiveModel(WEIGHTS)
    batch = batch_for(model, [cell(3), cell(3), None, None])
    logs = {r: replace(PAPER, reduction=r)(model, batch, step=1).log["deviation"] for r in ("mean", "sum", "batch")}
    assert logs["sum"] == pytest.approx(2 * logs["mean"])
    assert logs["batch"] == pytest.approx(logs["sum"] / 4)


def test_before_is_held_constant_unless_asked():
    gradients = {}
    for detach in (True, False):
        model = AdditiveModel(WEIGHTS)
        align = replace(PAPER, deviation_weight=0.0, max_regions=2, detach_before=detach)
        align(model, batch_for(model, [cell(0)]), step=1).loss.backward()
        gradients[detach] = model.weights.grad.clone()
    # Rank 1 (cell 0) is part of both prefixes: held constant, only the longer one pulls at it.
    p = {name: sigmoid(odds) for name, odds in {"ia": 2.1, "da": -0.3, "ib": 1.5, "db": 0.3}.items()}
    slope = {name: q * (1 - q) for name, q in p.items()}
    assert gradients[True][0, 0].item() == pytest.approx(0.5 * 3 * 2 * slope["ia"] / 3, abs=1e-2)
    assert gradients[False][0, 0].item() == pytest.approx(0.5 * 2 * (slope["ia"] - slope["ib"]) * 3 / 3, abs=1e-2)


def test_interval_and_gate_leave_nothing_to_do():
    model = AdditiveModel(WEIGHTS)
    recording = RecordingModel(model)
    batch = batch_for(model, [cell(3)])
    assert replace(PAPER, interval=10)(recording, batch, step=9).loss.item() == 0.0
    wrong = batch_for(model, [cell(3)], torch.zeros(1, dtype=torch.long))
    assert PAPER(recording, wrong, step=1).log == {"aligned": 0.0}
    assert PAPER(recording, batch_for(model, [None]), step=1).loss.item() == 0.0
    assert recording.shown == []
    assert replace(PAPER, interval=10)(recording, batch, step=10).log["aligned"] == 1.0


def net_batch(count=6, seed=0):
    model = seeded(SmallBatchNormNet, seed)
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    logits = model.eval()(images)  # without dropout: the same targets every time
    model.train()
    priors = [Prior.from_boxes([[0, 0, 4, 4]], 8, 8)] * count
    return model, Batch(images=images, targets=logits.argmax(1), logits=logits, priors=priors)


NET = Alignment(interval=1, partition=Grid(4, 4), confidence_above=0.0, max_regions=4, form="log")


@pytest.mark.parametrize("form", ["probability", "log", "adaptive_log"])
def test_gradients_do_not_depend_on_the_chunk(form):
    gradients = []
    for chunk in (2, 3, 100):
        model, batch = net_batch()
        replace(NET, form=form, chunk=chunk)(model, batch, step=1).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert gradients[0].abs().sum() > 0
    for other in gradients[1:]:
        assert torch.allclose(gradients[0], other, atol=1e-6)


def test_alignment_leaves_mode_buffers_and_batch_alone():
    model, batch = net_batch()
    buffers = {name: tensor.clone() for name, tensor in model.named_buffers()}
    images = batch.images.clone()
    terms = NET(model, batch, step=1)
    terms.loss.backward()
    assert model.training
    assert all(torch.equal(buffers[name], tensor) for name, tensor in model.named_buffers())
    assert torch.equal(batch.images, images)
    assert terms.log["forwards"] > 0


def test_forwards_are_counted_exactly():
    model, batch = net_batch()
    recording = RecordingModel(model)
    assert NET(recording, batch, step=1).log["forwards"] == len(recording.shown)


def test_the_loss_moves_evidence_onto_the_prior():
    model = AdditiveModel(WEIGHTS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    align, first = replace(PAPER, form="log"), None
    for step in range(1, 60):
        batch = batch_for(model, [cell(3)])
        terms = align(model, batch, step)
        first = first or terms.log
        loss = torch.nn.functional.cross_entropy(batch.logits, batch.targets) + terms.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert first["top_off_prior"] == 1.0
    assert terms.log["top_off_prior"] == 0.0
    assert (model(torch.ones(1, 3, 4, 4)).argmax(1) == 1).all()


def test_paper_tables_preset():
    legacy = PRESETS["paper-tables"]
    assert (legacy.interval, legacy.max_regions, legacy.stop_above) == (6, 11, 0.75)
    model = AdditiveModel(WEIGHTS)
    align = replace(legacy, interval=1, partition=Grid(2, 2), fill=BLACK, confidence_above=0.6, stop_above=None)
    off = align(model, batch_for(model, [cell(3)]), step=1)
    assert off.log["deviation"] == pytest.approx(value([0], 1, 1), abs=1e-5)  # weighted 1:1, not 2:1
    assert off.log["redundancy"] == 0.0  # one loss or the other, never both
    on = align(model, batch_for(model, [cell(0)]), step=1)
    steps = [(1.5, 2.1), (2.1, 2.6), (2.6, 1.8)]
    gains = [
        max(0, sigmoid(after) - sigmoid(before) - 0.1)
        + max(0, sigmoid(sum(CELLS) - before) - sigmoid(sum(CELLS) - after) - 0.1)
        for before, after in steps
    ]
    assert on.log["redundancy"] == pytest.approx(np.mean(gains), abs=1e-5)
    with pytest.raises(ValueError, match="legacy"):
        replace(legacy, form="log")


def test_legacy_keeps_train_mode():
    model, batch = net_batch()
    recording = RecordingModel(model).train()
    replace(PRESETS["paper-tables"], interval=1, partition=Grid(4, 4), confidence_above=0.0)(recording, batch, step=1)
    assert all(recording.modes)
    recording.modes.clear()
    NET(recording, batch, step=1)
    assert not any(recording.modes)


def test_objective_presets():
    assert PRESETS["paper"].objective == TRAINING
    assert EVALUATION.maximum == 2.0


def test_random_regions_penalise_only_off_prior_regions():
    model = AdditiveModel(WEIGHTS)
    random = RandomRegions(weight=1.0, interval=1, partition=Grid(2, 2), fill=BLACK, confidence_above=0.6)
    recording = RecordingModel(model)
    terms = [random(recording, batch_for(model, [cell(3)] * 4), step) for step in range(1, 9)]
    shown = torch.stack(recording.shown)[:, 0, ::2, ::2].flatten(1) > 0
    insertions, deletions = shown[: len(shown) // 64 * 64].reshape(8, 2, 4, 4).unbind(1)
    assert not insertions[..., 3].any()
    assert insertions.any(-1).all()
    assert (insertions ^ deletions).all()
    assert len({tuple(row) for row in insertions.flatten(0, 1).tolist()}) > 3
    again = random(model, batch_for(model, [cell(3)] * 4), 1)
    assert again.loss.item() == terms[0].loss.item()
    assert random(model, batch_for(model, [cell(0, 1, 2, 3)]), 1).log == {"aligned": 0.0}


def test_counterfactual_solved_on_paper():
    model = AdditiveModel(WEIGHTS)
    method = Counterfactual(weight=2.0, interval=1, fill=BLACK, confidence_above=0.6)
    terms = method(model, batch_for(model, [cell(0)]), step=1)
    inside, outside = sigmoid(1.5), sigmoid(0.3)
    expected = -np.log(inside) - 0.5 * (np.log(outside) + np.log(1 - outside)) - np.log(2)
    assert terms.loss.item() == pytest.approx(2 * expected, abs=1e-5)
    terms.loss.backward()
    assert model.weights.grad.abs().sum() > 0


def test_counterfactual_gradcheck():
    generator = torch.Generator().manual_seed(0)
    inside, outside = (torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    targets = torch.tensor([0, 3, 1])
    assert torch.autograd.gradcheck(
        lambda i, o: counterfactual_loss(i.log_softmax(1), o.log_softmax(1), targets), (inside, outside)
    )
