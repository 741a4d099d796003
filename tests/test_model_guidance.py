import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from wherenot.maps import grad_cam_map
from wherenot.methods.base import Batch, Method
from wherenot.methods.model_guidance import ModelGuidance, energy_loss, l1_loss, ppce_loss, rrr_star_loss
from wherenot.priors import Prior

GOLDEN = json.loads((Path(__file__).parent / "golden" / "cases.json").read_text())["G13_model_guidance"]
LOSSES = {"energy": energy_loss, "l1": l1_loss, "rrr_star": rrr_star_loss, "ppce": ppce_loss}


def random_maps(size=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    attribution = torch.randn(size, 5, 6, dtype=torch.float64, generator=generator)
    return attribution, torch.rand(size, 5, 6, generator=generator) > 0.6


def slow(localization, attribution, inside):
    """The loss of one image, pixel by pixel, on lists."""
    positive = [max(a, 0.0) for a in attribution]
    peak, strongest = max(positive), max(abs(a) for a in attribution)
    pixels = list(zip(attribution, positive, inside, strict=True))
    if localization == "energy":
        return 1 - sum(p for _, p, m in pixels if m) / sum(positive)
    if localization == "l1":
        return sum(abs(p / peak - m) for _, p, m in pixels) / len(pixels)
    if localization == "rrr_star":
        return sum((a / strongest) ** 2 for a, _, m in pixels if not m)
    costs = [-max(math.log(p / peak), -100) if p > 0 else 100 for _, p, m in pixels if m]
    return sum(costs) / len(costs)


# -- the four losses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("second", "rrr_star"), [(-0.2, GOLDEN["RRRstar"]), (-2.0, 1.1525)])
def test_golden(second, rrr_star):
    rows = [[0.5, second, 0.0, 0.1], [0.3, 0.9, 0.4, 0.0], [-0.1, 0.6, 1.0, 0.2], [0.0, 0.1, 0.2, -0.4]]
    attribution = torch.tensor([rows], dtype=torch.float64)
    inside = Prior.from_boxes([[1, 1, 3, 3]], 4, 4).evidence_allowed()[None]
    assert energy_loss(attribution, inside).item() == pytest.approx(GOLDEN["energy_loss"], abs=1e-6)
    assert l1_loss(attribution, inside).item() == pytest.approx(GOLDEN["L1"], abs=1e-6)
    assert rrr_star_loss(attribution, inside).item() == pytest.approx(rrr_star, abs=1e-6)
    assert ppce_loss(attribution, inside).item() == pytest.approx(GOLDEN["PPCE"], abs=1e-6)


@pytest.mark.parametrize("localization", LOSSES)
def test_equals_loops(localization):
    attribution, inside = random_maps()
    attribution[0] *= 100  # normalisation is per image
    each = [
        slow(localization, a.flatten().tolist(), m.flatten().tolist()) for a, m in zip(attribution, inside, strict=True)
    ]
    assert LOSSES[localization](attribution, inside).item() == pytest.approx(sum(each) / 4, abs=1e-12)


@pytest.mark.parametrize("localization", LOSSES)
@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e6])
def test_scaling_a_map_changes_nothing(localization, scale):
    attribution, inside = random_maps()
    loss = LOSSES[localization]
    torch.testing.assert_close(loss(scale * attribution, inside), loss(attribution, inside), atol=0, rtol=1e-12)


@pytest.mark.parametrize("localization", LOSSES)
def test_gradcheck(localization):
    attribution, inside = random_maps(2)
    attribution = attribution.clamp_min(-0.5) if localization == "rrr_star" else attribution.abs() + 0.01
    loss = LOSSES[localization]
    assert torch.autograd.gradcheck(lambda a: loss(a, inside), attribution.requires_grad_())
    signed = random_maps(2, seed=1)[0].requires_grad_()
    if localization != "ppce":  # its cap of 100 is a cliff for pixels without evidence
        assert torch.autograd.gradcheck(lambda a: loss(a, inside), signed)


@pytest.mark.parametrize(
    ("localization", "best", "worst", "worst_value"),
    [
        ("energy", [[2.0, 2.0], [0.0, -3.0]], [[0.0, -1.0], [2.0, 5.0]], 1.0),
        ("l1", [[2.0, 2.0], [0.0, -3.0]], [[0.0, -1.0], [5.0, 5.0]], 1.0),
        ("rrr_star", [[2.0, -2.0], [0.0, 0.0]], [[1.0, 1.0], [-5.0, 5.0]], 2.0),
        ("ppce", [[2.0, 2.0], [1.0, -3.0]], [[0.0, -1.0], [2.0, 5.0]], 100.0),
    ],
)
def test_extremes(localization, best, worst, worst_value):
    inside = torch.tensor([[[True, True], [False, False]]])
    assert LOSSES[localization](torch.tensor([best]), inside).item() == 0
    assert LOSSES[localization](torch.tensor([worst]), inside).item() == worst_value


@pytest.mark.parametrize(
    ("localization", "empty", "alone", "beside_another"),
    [
        ("energy", 0.0, 0.0, 0.25),  # only Energy leaves such an image out of the mean
        ("energy", -1.0, 0.0, 0.25),
        ("l1", 0.0, 0.5, (0.25 + 0.5) / 2),
        ("l1", -1.0, 0.5, (0.25 + 0.5) / 2),
        ("rrr_star", 0.0, 0.0, (0.25 + 0) / 2),
        ("ppce", 0.0, 100.0, (math.log(2) / 2 + 100) / 2),
        ("ppce", -1.0, 100.0, (math.log(2) / 2 + 100) / 2),
    ],
)
def test_an_image_without_evidence_moves_nothing(localization, empty, alone, beside_another):
    loss = LOSSES[localization]
    inside = torch.tensor([[[True, True], [False, False]]])
    attribution = torch.full((1, 2, 2), empty, requires_grad=True)
    value = loss(attribution, inside)
    value.backward()
    assert value.item() == alone
    assert torch.equal(attribution.grad, torch.zeros(1, 2, 2))
    both = torch.tensor([[[2.0, 1.0], [1.0, 0.0]], [[empty] * 2] * 2], requires_grad=True)
    value = loss(both, inside.expand(2, 2, 2))
    value.backward()
    assert value.item() == pytest.approx(beside_another)
    assert both.grad.isfinite().all()
    assert both.grad[0].abs().max() > 0
    assert torch.equal(both.grad[1], torch.zeros(2, 2))


@pytest.mark.parametrize("localization", LOSSES)
@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-30, 1e-12])
def test_the_gradient_stays_finite_where_next_to_no_evidence_is_left(localization, scale):
    attribution, inside = random_maps()
    attribution = (attribution.float() * scale).requires_grad_()
    # What reaches the weights is the map's gradient times numbers as small as the map.
    (gradient,) = torch.autograd.grad(LOSSES[localization](attribution, inside), attribution)
    assert gradient.isfinite().all()


def test_ppce_is_capped_and_its_gradient_is_finite():
    attribution = torch.tensor([[[1.0, 1e-60, 0.0, -1.0]]], dtype=torch.float64, requires_grad=True)
    value = ppce_loss(attribution, torch.ones(1, 1, 4, dtype=torch.bool))
    value.backward()
    assert value.item() == 75
    assert attribution.grad.isfinite().all()


@pytest.mark.usefixtures("unhooked")
@pytest.mark.parametrize("loss", LOSSES.values())
def test_priors_that_do_not_fit_are_refused(loss):
    attribution, inside = random_maps()
    for wrong in (inside[:1], inside[:, :1], inside[:, :, :1]):
        with pytest.raises(ValueError, match=f"{loss.__name__}: the map is"):
            loss(attribution, wrong)
    inside[2] = False
    with pytest.raises(ValueError, match=f"{loss.__name__}: a prior is empty"):
        loss(attribution, inside)


# -- the method -------------------------------------------------------------------------------------------------------


def cnn():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.GELU(),
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(96, 5),
    ).double()


def make_batch(model, without=()):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 2, 8, 8, dtype=torch.float64, generator=generator)
    targets = torch.randint(5, (4,), generator=generator)
    priors = [None if i in without else Prior.from_boxes([[i, 1, i + 4, 6]], 8, 8) for i in range(4)]
    return Batch(images=images, targets=targets, logits=model(images), priors=priors)


def bilinear(grid, height, width):
    """Half-pixel bilinear upsampling by loops; beyond the outer centres the edge goes on."""
    rows, columns = grid.shape
    out = torch.zeros(height, width, dtype=grid.dtype)
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            for r in range(rows):
                for c in range(columns):
                    out[i, j] += max(0, 1 - abs(y - r)) * max(0, 1 - abs(x - c)) * grid[r, c]
    return out


@pytest.mark.parametrize("localization", LOSSES)
@pytest.mark.parametrize("layer", [None, "0"])
def test_method_is_its_loss_of_the_map_at_image_size(localization, layer):
    model = cnn()
    batch = make_batch(model, without=(2,))
    rows = [0, 1, 3]
    maps = grad_cam_map(model, batch.images[rows], batch.targets[rows], layer).detach()
    assert maps.shape[-1] == (8 if layer else 4)
    each = [
        slow(localization, bilinear(grid, 8, 8).flatten().tolist(), batch.priors[row].allowed.flatten().tolist())
        for grid, row in zip(maps, rows, strict=True)
    ]
    terms = ModelGuidance(weight=3.0, localization=localization, layer=layer)(model, batch, 1)
    assert terms.log == {
        "model_guidance": pytest.approx(sum(each) / 3, abs=1e-10),
        "model_guidance_images": 3.0,
    }
    assert terms.loss.item() == pytest.approx(sum(each), abs=1e-10)


@pytest.mark.parametrize("localization", LOSSES)
def test_the_loss_trains_the_weights(localization):
    model = cnn()
    batch, method = make_batch(model), ModelGuidance(weight=1.0, localization=localization)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    method(model, batch, 1).loss.backward()
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
    parameters = [p for p in model.parameters() if p.grad is not None]
    exact, step, ends = 0.0, 1e-7, []
    directions = [torch.randn_like(p) for p in parameters]
    for parameter, direction in zip(parameters, directions, strict=True):
        exact += (parameter.grad * direction).sum().item()
    for shift in (step, -2 * step):
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter += shift * direction
        ends.append(method(model, batch, 1).loss.item())
    assert exact == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)
    assert abs(exact) > 1e-3
    assert all(model[i].weight.grad.abs().max() > 0 for i in (0, 3, 6))


def test_training_moves_the_energy_inside():
    model = cnn()
    batch, method = make_batch(model), ModelGuidance(weight=1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    shares = []
    for step in range(1, 21):
        terms = method(model, batch, step)
        shares.append(terms.log["model_guidance"])
        optimizer.zero_grad()
        terms.loss.backward()
        optimizer.step()
    assert shares[-1] < 0.7 * shares[0]


@pytest.mark.usefixtures("unhooked")
def test_settings():
    assert isinstance(ModelGuidance(), Method)
    with pytest.raises(ValueError, match="ModelGuidance: localization must be one of"):
        ModelGuidance(localization="epg")
    with pytest.raises(ValueError, match="ModelGuidance: weight must be finite"):
        ModelGuidance(weight=-1.0)
    model = cnn()
    nobody = ModelGuidance()(model, make_batch(model, without=range(4)), 1)
    assert nobody.loss.item() == 0
    assert nobody.log == {"model_guidance_images": 0.0}
