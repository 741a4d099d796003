import json
from pathlib import Path

import pytest
import torch
from torch import nn

from wherenot.maps import grad_cam_map, input_gradient, max_normalized
from wherenot.methods.base import Batch, Method
from wherenot.methods.map_penalty import inside_on_grid
from wherenot.methods.megl import MEGL, megl_loss
from wherenot.methods.rrr import RRR, rrr_loss
from wherenot.methods.xil import XIL, xil_loss
from wherenot.priors import Prior

GOLDEN = json.loads((Path(__file__).parent / "golden" / "cases.json").read_text())

METHODS = [
    RRR(weight=0.5),
    RRR(weight=0.5, form="sum_log_prob"),
    RRR(weight=0.5, form="log_prob"),
    XIL(weight=0.5),
    XIL(weight=0.5, layer="0"),
    MEGL(weight=0.5),
]


def cnn():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.GELU(),
        nn.Dropout(0.5),
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(96, 5),
    ).double()
    model[1].running_mean.normal_()
    return model


def make_batch(model, size=4, without=(1,), seed=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 2, 8, 8, dtype=torch.float64, generator=generator)
    targets = torch.randint(5, (size,), generator=generator)
    priors = [Prior.from_boxes([[i % 4, 1, i % 4 + 4, 6]], 8, 8) for i in range(size)]
    return Batch(
        images=images,
        targets=targets,
        logits=model(images),
        priors=[None if i in without else prior for i, prior in enumerate(priors)],
    )


def rows_of(batch, rows):
    return Batch(
        images=batch.images[rows],
        targets=batch.targets[rows],
        logits=batch.logits[rows],
        priors=[batch.priors[row] for row in rows],
    )


def differences(model, value):
    """The derivative of `value()` along one random direction in weight space, by central differences."""
    parameters, step, ends = list(model.parameters()), 1e-6, []
    directions = [torch.randn_like(p) for p in parameters]
    for shift in (step, -2 * step):
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter += shift * direction
        ends.append(value().item())
    return directions, (ends[0] - ends[1]) / (2 * step)


# -- RRR --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "key"),
    [("mean_logit", "official_mean"), ("sum_log_prob", "ross2017_sum"), ("log_prob", "logprob_y_sum")],
)
def test_rrr_golden(form, key):
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[0.5, -1.0, 0.25, 2.0], [-0.5, 1.0, 0.75, -1.0]]))
    images = torch.tensor([1.0, 0.5, -0.5, 0.2], dtype=torch.float64).reshape(1, 1, 1, 4)
    batch = Batch(
        images=images,
        targets=torch.tensor([0]),
        logits=model(images),
        priors=[Prior.from_mask(torch.tensor([[True, False, False, True]]))],
    )
    terms = RRR(form=form)(model, batch, 1)
    assert terms.log == {"rrr": pytest.approx(GOLDEN["G14_rrr"][key], abs=1e-6), "rrr_images": 1.0}
    assert terms.loss.item() == pytest.approx(0.1 * GOLDEN["G14_rrr"][key], abs=1e-6)


@pytest.mark.parametrize("form", ["mean_logit", "sum_log_prob", "log_prob"])
def test_rrr_loss_equals_loops(form):
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(3, 2, 4, 5, dtype=torch.float64, generator=generator)
    inside = torch.rand(3, 4, 5, generator=generator) > 0.6
    total = 0.0
    for b in range(3):
        for c in range(2):
            for i in range(4):
                for j in range(5):
                    total += (0.0 if inside[b, i, j] else gradient[b, c, i, j].item()) ** 2
    expected = total / (3 * 2 * 4 * 5) if form == "mean_logit" else total / 3
    assert rrr_loss(gradient, inside, form=form).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.usefixtures("unhooked")
def test_rrr_refuses_what_would_broadcast_and_what_it_does_not_know():
    gradient, inside = torch.ones(2, 3, 4, 4), torch.ones(2, 4, 4, dtype=torch.bool)
    for wrong in (inside[:1], inside[:, :1], inside[:, :, :1]):
        with pytest.raises(ValueError, match="rrr_loss: the gradient is"):
            rrr_loss(gradient, wrong)
    with pytest.raises(ValueError, match="rrr_loss: form must be one of"):
        rrr_loss(gradient, inside, form="mean")
    with pytest.raises(ValueError, match="RRR: form must be one of"):
        RRR(form="mean")


@pytest.mark.parametrize("form", ["mean_logit", "sum_log_prob", "log_prob"])
def test_rrr_trains_a_vision_transformer(form):
    import transformers

    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=16,
        patch_size=4,
        num_channels=2,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        hidden_dropout_prob=0.1,
        num_labels=5,
    )
    vit = transformers.ViTForImageClassification(config)
    assert vit.config._attn_implementation == "sdpa"

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.vit = vit

        def forward(self, images):
            return self.vit(images).logits

    model = Logits()
    images = torch.randn(2, 2, 16, 16)
    batch = Batch(
        images=images,
        targets=torch.tensor([0, 3]),
        logits=model(images),
        priors=[Prior.from_boxes([[2, 2, 9, 9]], 16, 16), None],
    )
    RRR(form=form)(model, batch, 1).loss.backward()
    attention = [p for name, p in model.named_parameters() if "q_proj.weight" in name or "query.weight" in name]
    assert len(attention) == 2
    assert all(p.grad.abs().max() > 0 for p in attention)

    model.double()
    batch = Batch(images=images.double(), targets=batch.targets, logits=batch.logits, priors=batch.priors)
    model.zero_grad()
    RRR(form=form)(model, batch, 1).loss.backward()
    torch.manual_seed(2)
    directions, expected = differences(model, lambda: RRR(form=form)(model, batch, 1).loss)
    exact = sum(
        (p.grad * d).sum().item() for p, d in zip(model.parameters(), directions, strict=True) if p.grad is not None
    )
    assert exact == pytest.approx(expected, rel=1e-5)


# -- XIL and MEGL -----------------------------------------------------------------------------------------------------


def test_xil_and_megl_golden():
    case = GOLDEN["G15_xil_megl"]
    evidence = torch.tensor([[[0.8, 0.1], [0.4, 0.0]]], dtype=torch.float64)
    inside = torch.tensor([[[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]]) > 0
    small = inside_on_grid(inside, 2, 2)
    assert small[0].double().tolist() == case["mask_nearest"]
    assert max_normalized(evidence)[0].tolist() == [pytest.approx(row, abs=1e-6) for row in case["E_norm"]]
    assert xil_loss(evidence, small).item() == pytest.approx(case["xil"], abs=1e-6)
    assert megl_loss(evidence, small).item() == pytest.approx(case["megl"], abs=1e-6)


def test_xil_and_megl_equal_loops():
    generator = torch.Generator().manual_seed(0)
    # The maps differ in scale and have no zero, so that each normalisation and its axis show.
    evidence = torch.rand(3, 4, 5, dtype=torch.float64, generator=generator) + 0.1
    evidence = evidence * torch.tensor([1.0, 1e-5, 50.0], dtype=torch.float64)[:, None, None]
    inside = torch.rand(3, 4, 5, generator=generator) > 0.6
    xil = megl = 0.0
    for b in range(3):
        values = evidence[b].flatten().tolist()
        shares = [v / (max(values) + 1e-6) for v in values]
        spread = max(shares) - min(shares) + 1e-6
        for share, is_inside in zip(shares, inside[b].flatten().tolist(), strict=True):
            xil += (1 - is_inside) * share / 60
            megl += abs((share - min(shares)) / spread - is_inside) / 60
    assert xil_loss(evidence, inside).item() == pytest.approx(xil, abs=1e-12)
    assert megl_loss(evidence, inside).item() == pytest.approx(megl, abs=1e-12)


def test_without_evidence_there_is_nothing_to_move():
    inside = torch.tensor([[[True, False], [False, False]]])
    for loss, expected in [(xil_loss, 0.0), (megl_loss, 0.25)]:
        activation = torch.full((1, 2, 2), -1.0, requires_grad=True)
        value = loss(activation.relu(), inside)
        value.backward()
        assert value.item() == expected
        assert torch.equal(activation.grad, torch.zeros(1, 2, 2))


@pytest.mark.usefixtures("unhooked")
def test_losses_refuse_what_would_broadcast():
    evidence, inside = torch.ones(2, 4, 4), torch.ones(2, 4, 4, dtype=torch.bool)
    for loss in (xil_loss, megl_loss):
        for wrong in (inside[:1], inside[:, :1], inside[:, :, :1]):
            with pytest.raises(ValueError, match=f"{loss.__name__}: the map is"):
                loss(evidence, wrong)


def test_gradcheck():
    generator = torch.Generator().manual_seed(0)
    evidence = torch.rand(2, 3, 3, dtype=torch.float64, generator=generator).requires_grad_()
    gradient = torch.randn(2, 2, 3, 3, dtype=torch.float64, generator=generator).requires_grad_()
    inside = torch.rand(2, 3, 3, generator=generator) > 0.5
    assert torch.autograd.gradcheck(lambda x: xil_loss(x, inside), evidence)
    assert torch.autograd.gradcheck(lambda x: megl_loss(x, inside), evidence)
    for form in ("mean_logit", "sum_log_prob", "log_prob"):
        assert torch.autograd.gradcheck(lambda x, form=form: rrr_loss(x, inside, form=form), gradient)


@pytest.mark.parametrize(("size", "grid"), [((8, 8), (4, 4)), ((10, 7), (3, 5)), ((4, 4), (6, 9)), ((5, 5), (5, 5))])
def test_inside_on_grid_equals_loops(size, grid):
    inside = torch.rand(4, *size, generator=torch.Generator().manual_seed(0)) > 0.5
    found = inside_on_grid(inside, *grid)
    for b in range(4):
        for i in range(grid[0]):
            for j in range(grid[1]):
                assert found[b, i, j] == inside[b, i * size[0] // grid[0], j * size[1] // grid[1]]


def test_no_prior_vanishes_on_a_small_grid():
    inside = torch.zeros(2, 8, 8, dtype=torch.bool)
    inside[0, 5, 2] = inside[1, 4, 4] = True
    found = inside_on_grid(inside, 2, 2)
    assert found.int().tolist() == [[[0, 0], [1, 0]], [[0, 0], [0, 1]]]


# -- what all of them do ----------------------------------------------------------------------------------------------


def test_methods_are_their_losses_of_their_maps():
    model = cnn()
    batch = make_batch(model, without=())
    inside = torch.stack([prior.evidence_allowed() for prior in batch.priors])
    gradient = input_gradient(model, batch.images, batch.targets)
    cam = grad_cam_map(model, batch.images, batch.targets)
    early_cam = grad_cam_map(model, batch.images, batch.targets, "0")
    for method, expected in [
        (RRR(weight=3.0), rrr_loss(gradient, inside)),
        (XIL(weight=3.0), xil_loss(cam, inside_on_grid(inside, 4, 4))),
        (XIL(weight=3.0, layer="0"), xil_loss(early_cam, inside)),
        (MEGL(weight=3.0), megl_loss(cam, inside_on_grid(inside, 4, 4))),
        (MEGL(weight=3.0, layer="0"), megl_loss(early_cam, inside)),
    ]:
        terms = method(model, batch, 1)
        torch.testing.assert_close(terms.loss, 3 * expected)
        assert terms.log == {method.name: pytest.approx(expected.item()), f"{method.name}_images": 4.0}
        assert expected.item() > 1e-6


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_images_without_a_prior_do_not_count(method):
    model = cnn()
    batch = make_batch(model, size=5, without=(1, 4))
    terms = method(model, batch, 1)
    assert terms.log[f"{method.name}_images"] == 3
    torch.testing.assert_close(terms.loss, method(model, rows_of(batch, [0, 2, 3]), 1).loss, atol=0, rtol=1e-12)
    alone = [method(model, rows_of(batch, [row]), 1).loss for row in (0, 2, 3)]
    torch.testing.assert_close(terms.loss, sum(alone) / 3, atol=0, rtol=1e-12)
    assert len({round(value.item(), 9) for value in alone}) == 3


class Recorder(nn.Module):
    """Counts the images it is shown."""

    def __init__(self):
        super().__init__()
        self.model = cnn()
        self.shown = 0

    def forward(self, images):
        self.shown += len(images)
        return self.model(images)


@pytest.mark.parametrize("method", METHODS[:4], ids=repr)
def test_nothing_to_say(method):
    model = Recorder()
    nobody, somebody = make_batch(model, without=range(4)), make_batch(model)
    model.shown = 0
    terms = method(model, nobody, 1)
    assert terms.loss.shape == ()
    assert terms.loss.item() == 0
    assert terms.log == {f"{method.name}_images": 0.0}
    rare = type(method)(weight=0.5, interval=3)
    acts = [bool(rare(model, somebody, step).log) for step in (1, 2)]
    assert model.shown == 0
    assert rare(model, somebody, 1).loss.item() == 0
    acts += [bool(rare(model, somebody, step).log) for step in (3, 4, 5, 6)]
    assert acts == [False, False, True, False, False, True]
    assert rare(model, somebody, 3).loss.item() > 0


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_loss_trains_the_weights(method):
    model = cnn()
    batch = make_batch(model)
    torch.manual_seed(3)
    gradients = torch.autograd.grad(method(model, batch, 1).loss, list(model.parameters()), allow_unused=True)
    directions, expected = differences(model, lambda: method(model, batch, 1).loss)
    exact = sum((g * d).sum().item() for g, d in zip(gradients, directions, strict=True) if g is not None)
    assert exact == pytest.approx(expected, rel=1e-5)
    assert abs(exact) > 1e-6


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_training_lowers_the_penalty(method):
    model = cnn()
    batch = make_batch(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    values = []
    for step in range(1, 11):
        terms = method(model, batch, step)
        values.append(terms.log[method.name])
        optimizer.zero_grad()
        terms.loss.backward()
        optimizer.step()
    assert values[-1] < 0.95 * values[0]


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_model_and_batch_are_left_as_found(method):
    assert isinstance(method, Method)
    model = cnn()
    batch = make_batch(model)
    model[4].eval()
    modes = [m.training for m in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    images, targets, priors = batch.images.clone(), batch.targets.clone(), list(batch.priors)
    terms = method(model, batch, 1)
    assert all(p.grad is None for p in model.parameters())
    (batch.logits.square().mean() + terms.loss).backward()  # the task's own graph is still whole
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
    assert torch.equal(batch.images, images)
    assert not batch.images.requires_grad
    assert torch.equal(batch.targets, targets)
    assert list(batch.priors) == priors


def test_settings_and_batches_that_do_not_fit_are_refused():
    model = cnn()
    batch = make_batch(model)
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="XIL: weight must be finite"):
            XIL(weight=wrong)
    with pytest.raises(ValueError, match="RRR: interval must be at least 1, got 0"):
        RRR(interval=0)
    short = Batch(images=batch.images, targets=batch.targets, logits=batch.logits, priors=batch.priors[:3])
    with pytest.raises(ValueError, match="MEGL: 4 images need as many priors"):
        MEGL()(model, short, 1)
    assert MEGL(weight=0.0)(model, batch, 1).loss.item() == 0
    assert MEGL(weight=0.0)(model, batch, 1).log["megl"] > 0
