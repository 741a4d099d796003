import gc
import json
import weakref
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wherenot.maps import (
    grad_cam,
    grad_cam_map,
    input_gradient,
    last_feature_layer,
    max_normalized,
    min_max,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "cases.json").read_text())


def cnn(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.GELU(),
        nn.Dropout(0.5),
        nn.Conv2d(4, 3, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(27, 5),
    ).double()
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2.0)
    return model


def batch(size=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 2, 6, 6, dtype=torch.float64, generator=generator)
    return images, torch.randint(5, (size,), generator=generator)


class Attention(nn.Module):
    """Four tokens of one image attend to each other."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(2, 12, 3, stride=3)
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        tokens = self.embed(images).flatten(2).transpose(1, 2)
        # Contiguous, else no fused kernel takes them.
        query, key, value = (part[:, None].contiguous() for part in tokens.chunk(3, -1))
        return self.head(F.scaled_dot_product_attention(query, key, value)[:, 0].mean(1))


def directional_derivatives(model, value):
    """The derivative of `value()` along one random direction in weight space: by autograd and by differences."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    directions = [torch.randn_like(p) for p in parameters]
    gradients = torch.autograd.grad(value(), parameters, allow_unused=True)
    exact = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True) if g is not None)
    step, ends = 1e-6, []
    for sign in (1, -1):
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter += sign * step * direction
        ends.append(value().detach())
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter -= sign * step * direction
    return exact, (ends[0] - ends[1]) / (2 * step)


def num_hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


# -- golden numbers ---------------------------------------------------------------------------------------------------


def test_grad_cam_golden():
    activation = torch.tensor([[[[1.0, 2.0], [0.0, 1.0]], [[0.5, 0.0], [1.0, 2.0]]]], dtype=torch.float64)
    gradient = torch.tensor([[[[0.2, 0.4], [0.1, 0.3]], [[-0.2, 0.0], [-0.4, -0.2]]]], dtype=torch.float64)
    case = GOLDEN["G17_gradcam"]
    cam = grad_cam(activation, gradient)
    assert cam[0].tolist() == [pytest.approx(row, abs=1e-6) for row in case["cam"]]
    assert min_max(cam)[0].tolist() == [pytest.approx(row, abs=1e-6) for row in case["norm"]]


def test_input_gradient_golden():
    weight = torch.tensor([[0.5, -1.0, 0.25, 2.0], [-0.5, 1.0, 0.75, -1.0]], dtype=torch.float64)
    images = torch.tensor([1.0, 0.5, -0.5, 0.2], dtype=torch.float64).reshape(1, 1, 1, 4)
    gradients = {
        of: input_gradient(lambda x: x.flatten(1) @ weight.T, images, torch.tensor([0]), of=of).flatten().tolist()
        for of in ("logit", "log_prob", "sum_log_prob")
    }
    case = GOLDEN["G14_rrr"]
    assert gradients["logit"] == weight[0].tolist()
    assert gradients["sum_log_prob"] == pytest.approx(case["grad_sumlogp"], abs=1e-6)
    assert gradients["log_prob"] == pytest.approx(((weight[0] - weight[1]) * case["probs"][1]).tolist(), abs=1e-6)


# -- against slow, independent computations ---------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["logit", "log_prob", "sum_log_prob"])
def test_input_gradient_equals_differences(of):
    model, (images, targets) = cnn(), batch(2)
    gradient = input_gradient(model, images, targets, of=of)
    model.eval()

    def score(shown, index):
        logits = model(shown)[index]
        if of == "logit":
            return logits[targets[index]]
        log_probs = logits - logits.exp().sum().log()
        return log_probs[targets[index]] if of == "log_prob" else log_probs.sum()

    step = 1e-6
    with torch.no_grad():
        for index, place in [(0, (0, 0, 0)), (0, (1, 3, 4)), (1, (0, 5, 5)), (1, (1, 2, 1))]:
            more, less = images.clone(), images.clone()
            more[(index, *place)] += step
            less[(index, *place)] -= step
            expected = (score(more, index) - score(less, index)) / (2 * step)
            assert gradient[(index, *place)].item() == pytest.approx(expected.item(), abs=1e-8, rel=1e-6)


def test_grad_cam_equals_loops():
    generator = torch.Generator().manual_seed(0)
    activation = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=generator)
    gradient = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=generator)
    cam = grad_cam(activation, gradient)
    for b in range(2):
        for i in range(4):
            for j in range(5):
                total = 0.0
                for c in range(3):
                    mean = sum(gradient[b, c, y, x].item() for y in range(4) for x in range(5)) / 20
                    total += mean * activation[b, c, i, j].item()
                assert cam[b, i, j].item() == pytest.approx(max(total, 0.0), abs=1e-12)
    assert (cam == 0).any()
    assert (cam > 0).any()


def test_normalizations_equal_loops():
    maps = torch.rand(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 5 + 1
    for b in range(2):
        values = maps[b].flatten().tolist()
        low, high = min(values), max(values)
        assert min_max(maps)[b].flatten().tolist() == pytest.approx(
            [(v - low) / (high - low + 1e-6) for v in values], abs=1e-12
        )
        assert max_normalized(maps)[b].flatten().tolist() == pytest.approx(
            [v / (high + 1e-6) for v in values], abs=1e-12
        )


@pytest.mark.parametrize(("layer", "split"), [("4", 5), ("0", 1), (None, 6), ("2", 3)])
def test_grad_cam_map_equals_differences(layer, split):
    model, (images, targets) = cnn(), batch(2)
    found = grad_cam_map(model, images, targets, layer)
    model.eval()
    front, back = model[:split], model[split:]
    with torch.no_grad():
        activation, step = front(images), 1e-6
        gradient = torch.zeros_like(activation)
        for place in torch.cartesian_prod(*map(torch.arange, activation.shape)).tolist():
            ends = []
            for sign in (1, -1):
                moved = activation.clone()
                moved[tuple(place)] += sign * step
                ends.append(back(moved).softmax(-1).log()[place[0], targets[place[0]]])
            gradient[tuple(place)] = (ends[0] - ends[1]) / (2 * step)
        expected = (gradient.mean((2, 3))[:, :, None, None] * activation).sum(1).clamp_min(0)
    assert found.shape == expected.shape
    torch.testing.assert_close(found.detach(), expected, atol=1e-8, rtol=1e-6)
    assert (found > 0).any()


# -- second derivatives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["logit", "log_prob", "sum_log_prob"])
def test_input_gradient_trains_the_weights(of):
    model, (images, targets) = cnn(), batch()
    exact, expected = directional_derivatives(
        model, lambda: input_gradient(model, images, targets, of=of).square().sum()
    )
    assert exact.item() == pytest.approx(expected.item(), rel=1e-6)
    assert abs(exact.item()) > 1e-3


@pytest.mark.parametrize("layer", ["0", None])
def test_grad_cam_map_trains_the_weights_before_and_after_the_layer(layer):
    model, (images, targets) = cnn(), batch()
    exact, expected = directional_derivatives(model, lambda: grad_cam_map(model, images, targets, layer).square().sum())
    assert exact.item() == pytest.approx(expected.item(), rel=1e-6)
    grad_cam_map(model, images, targets, layer).square().sum().backward()
    assert all(model[i].weight.grad.abs().max() > 0 for i in (0, 4, 7))


def test_maps_train_through_fused_attention():
    model, (images, targets) = Attention().double(), batch()
    for found in (
        lambda: input_gradient(model, images, targets),
        lambda: grad_cam_map(model, images, targets, "embed"),
    ):
        exact, expected = directional_derivatives(model, lambda found=found: found().square().sum())
        assert exact.item() == pytest.approx(expected.item(), rel=1e-6)
        assert abs(exact.item()) > 1e-6


def test_gradcheck():
    generator = torch.Generator().manual_seed(0)
    activation, gradient = torch.randn(2, 2, 3, 2, 2, dtype=torch.float64, generator=generator)
    maps = torch.rand(2, 3, 3, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(grad_cam, (activation.requires_grad_(), gradient.requires_grad_()))
    assert torch.autograd.gradcheck(min_max, maps.requires_grad_())
    assert torch.autograd.gradcheck(max_normalized, maps)


# -- one image at a time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mapped", [input_gradient, grad_cam_map])
def test_neighbours_in_the_batch_do_not_matter(mapped):
    model, (images, targets) = cnn(), batch(4)
    together = mapped(model, images, targets)
    for index in range(4):
        alone = mapped(model, images[index : index + 1], targets[index : index + 1])[0]
        torch.testing.assert_close(together[index], alone, atol=1e-14, rtol=1e-12)
        assert together[index].abs().max() > 0
    backwards = mapped(model, images.flip(0), targets.flip(0))
    torch.testing.assert_close(together.flip(0), backwards, atol=1e-14, rtol=1e-12)


# -- nothing is left behind -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mapped", [input_gradient, grad_cam_map])
def test_model_and_arguments_are_left_as_found(mapped):
    model, (images, targets) = cnn(), batch()
    model.train()
    model[4].eval()
    modes = [m.training for m in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    images.requires_grad_()
    before = images.detach().clone()
    mapped(model, images, targets).sum().backward()
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert images.grad is None
    assert torch.equal(images.detach(), before)
    assert num_hooks(model) == 0
    plain = images.detach()
    mapped(model, plain, targets)
    assert not plain.requires_grad


@pytest.mark.parametrize("layer", ["0", None])
@pytest.mark.parametrize("fails_at", [1, 2])
def test_an_exception_passes_through_and_leaves_no_hook(layer, fails_at):
    model, (images, targets) = cnn(), batch()
    own = model[0].register_forward_hook(lambda *_: None)
    runs = []

    def fail(*_):
        runs.append(None)
        if len(runs) == fails_at:
            raise RuntimeError("out of order")

    model[6].register_forward_hook(fail)
    if (layer, fails_at) == ("0", 2):
        grad_cam_map(model, images, targets, layer)
    with pytest.raises(RuntimeError, match="out of order"):
        grad_cam_map(model, images, targets, layer)
    assert num_hooks(model) == 2
    assert model.training
    own.remove()
    assert num_hooks(model) == 1


def test_the_graph_goes_with_the_map():
    model, (images, targets) = cnn(), batch()
    seen = []
    model[5].register_forward_hook(lambda _module, _inputs, output: seen.append(weakref.ref(output)))
    found = grad_cam_map(model, images, targets)
    assert seen[-1]() is not None
    del found
    gc.collect()
    assert [ref() for ref in seen] == [None] * len(seen)


def test_the_task_gradient_is_not_touched():
    model, (images, targets) = cnn(), batch()
    for mapped in (input_gradient, grad_cam_map):
        mapped(model, images, targets)
        assert all(p.grad is None for p in model.parameters())


# -- surroundings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mapped", [input_gradient, grad_cam_map])
def test_same_map_under_no_grad_and_autocast(mapped):
    model, (images, targets) = cnn().float(), batch()
    images = images.float()
    expected = mapped(model, images, targets)
    with torch.no_grad():
        assert torch.equal(mapped(model, images, targets), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mapped(model, images, targets)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_half_precision_logits_are_raised_before_the_softmax():
    logits = torch.tensor([[11.0, 0.0]], dtype=torch.bfloat16)
    gradient = input_gradient(lambda x: x.flatten(1), logits[:, None, None], torch.tensor([0]), of="log_prob")
    # 1 - p is 1.67e-5; in bfloat16 p is 1.
    assert gradient.flatten()[0].item() == pytest.approx(1.67e-5, rel=0.01)


def test_an_in_place_activation_does_not_change_the_map():
    images, targets = batch()
    maps = []
    for inplace in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(inplace), nn.Flatten(), nn.Linear(96, 5)).double()
        maps.append(grad_cam_map(model, images, targets))
    assert torch.equal(*maps)
    assert (maps[0] > 0).any()


def test_a_frozen_backbone_still_has_a_map_that_trains_the_head():
    model, (images, targets) = cnn(), batch()
    expected = grad_cam_map(model, images, targets)
    model[:6].requires_grad_(False)
    found = grad_cam_map(model, images, targets)
    assert torch.equal(found, expected)
    found.sum().backward()
    assert model[7].weight.grad.abs().max() > 0


def test_of_a_layer_that_runs_twice_the_last_run_counts():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv2d(2, 2, 3, padding=1)
            self.head = nn.Linear(72, 5)

        def forward(self, images):
            return self.head(self.conv(self.conv(images).tanh()).tanh().flatten(1))

    model, (images, targets) = Twice().double(), batch()
    last = model.conv(model.conv(images).tanh())
    (gradient,) = torch.autograd.grad(F.cross_entropy(model.head(last.tanh().flatten(1)), targets), last)
    torch.testing.assert_close(grad_cam_map(model, images, targets), grad_cam(last, -3 * gradient))


# -- which layer ------------------------------------------------------------------------------------------------------


class Squeezed(nn.Module):
    """Registered in another order than run; the last convolution to run sees one position only."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Conv2d(4, 4, 1)
        self.late = nn.Conv2d(4, 4, 3, padding=1)
        self.early = nn.Conv2d(2, 4, 3, padding=1)
        self.unused = nn.Conv2d(2, 4, 3)

    def forward(self, images):
        features = self.late(self.early(images))
        return (features.mean((2, 3), keepdim=True) * self.gate(features.mean((2, 3), keepdim=True))).flatten(1)


class Block(nn.Module):
    """Adds and rectifies without a module of its own."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2))

    def forward(self, images):
        return (images + self.inner(images)).relu()


class Hybrid(nn.Module):
    """After the convolutions come attention weights and pooling: 4-D as well, but on other grids."""

    def __init__(self):
        super().__init__()
        self.block, self.weights, self.pool = Block(), nn.Softmax(-1), nn.MaxPool2d(2)

    def forward(self, images):
        features = self.block(images)
        tokens = features.flatten(2)[:, None]
        mixed = tokens @ self.weights(tokens.transpose(-1, -2) @ tokens)
        return self.pool(mixed.reshape(features.shape)).flatten(1)


def test_default_layer_is_the_last_on_the_grid_of_the_last_convolution():
    images, _ = batch()
    model = Squeezed().double()
    assert last_feature_layer(model, images) == "late"
    assert num_hooks(model) == 0
    assert last_feature_layer(cnn(), images) == "5"
    assert last_feature_layer(nn.Sequential(nn.Sequential(cnn())), images) == "0.0.5"
    assert last_feature_layer(Hybrid().double(), images) == "block"


def test_models_without_a_feature_map_are_refused():
    images, targets = batch()
    linear = nn.Sequential(nn.Flatten(), nn.Linear(72, 5)).double()
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 5, 1), nn.Flatten()).double()
    for model, message in [
        (linear, "Grad-CAM needs a CNN"),
        (Attention().double(), "patch embedding"),
        (pooled, "sees more than one position of a 6 x 6 image"),
    ]:
        with pytest.raises(ValueError, match=message):
            grad_cam_map(model, images, targets)
        assert num_hooks(model) == 0
    assert grad_cam_map(Attention().double(), images, targets, "embed").shape == (3, 2, 2)


def test_layers_that_do_not_serve_are_refused():
    images, targets = batch()
    with pytest.raises(ValueError, match=r"no layer 'layer4'.*last convolutions: 0, 4"):
        grad_cam_map(cnn(), images, targets, "layer4")
    with pytest.raises(ValueError, match="Grad-CAM needs a CNN: it has no convolution"):
        grad_cam_map(nn.Sequential(nn.Flatten(), nn.Linear(72, 5)).double(), images, targets, "layer4")
    with pytest.raises(ValueError, match="did not run its layer 'unused'"):
        grad_cam_map(Squeezed().double(), images, targets % 4, "unused")
    model = cnn()
    with pytest.raises(ValueError, match="layer '6' does not give"):
        grad_cam_map(model, images, targets, "6")
    assert num_hooks(model) == 0


@pytest.mark.usefixtures("unhooked")
def test_arguments_that_do_not_fit_are_refused():
    model, (images, targets) = cnn(), batch()
    for mapped in (input_gradient, grad_cam_map):
        with pytest.raises(ValueError, match="3 images need as many targets, got 2"):
            mapped(model, images, targets[:2])
    with pytest.raises(ValueError, match="`of` must be one of"):
        input_gradient(model, images, targets, of="loss")
    with pytest.raises(ValueError, match="must have the same shape"):
        grad_cam(torch.ones(1, 2, 3, 3), torch.ones(1, 2, 1, 1))


def test_a_layer_is_found_by_the_end_of_its_name_in_a_wrapped_model():
    inner = cnn()
    wrapped = nn.Sequential(nn.Identity(), inner)
    images = torch.rand(2, 2, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    targets = torch.tensor([0, 1])
    plain = grad_cam_map(inner, images, targets, "2")
    assert torch.equal(grad_cam_map(wrapped, images, targets, "1.2"), plain)
    assert torch.equal(grad_cam_map(wrapped, images, targets, "2"), plain)
    with pytest.raises(ValueError, match="has no layer 'no'"):
        grad_cam_map(wrapped, images, targets, "no")
