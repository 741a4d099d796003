"""RRR, XIL, MEGL and Model Guidance on vision transformers."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from vits import CastsItself, family, images
from wherenot.grad_eclip import grad_eclip_map
from wherenot.maps import grad_cam_map
from wherenot.methods.base import Batch
from wherenot.methods.map_penalty import inside_on_grid
from wherenot.methods.megl import MEGL, megl_loss
from wherenot.methods.model_guidance import ModelGuidance, energy_loss, l1_loss, ppce_loss, rrr_star_loss
from wherenot.methods.rrr import RRR
from wherenot.methods.xil import XIL, xil_loss
from wherenot.priors import Prior

GUIDANCE = {"energy": energy_loss, "l1": l1_loss, "rrr_star": rrr_star_loss, "ppce": ppce_loss}
ON_MAPS = [XIL(weight=1.0), MEGL(weight=1.0), *(ModelGuidance(weight=1.0, localization=name) for name in GUIDANCE)]
MODELS = ["ViT", "CLIP", "CLIPZeroShot"]


def make_batch(model, count=3, without=(), dtype=torch.float32):
    shown = images(count).to(dtype)
    priors = [None if i in without else Prior.from_boxes([[4 * i, 8, 4 * i + 14, 30]], 32, 32) for i in range(count)]
    with torch.no_grad():
        logits = model(shown)
    return Batch(images=shown, targets=torch.arange(count) % 3, logits=logits, priors=priors)


def gradient_of(method, model, batch):
    """The gradient of the method's loss by all weights, as one vector."""
    model.zero_grad()
    method(model, batch, 1).loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).clone()


def derivative_by_differences(model, value):
    """Along one random direction in weight space: the direction and the derivative."""
    generator, step, ends = torch.Generator().manual_seed(0), 1e-6, []
    parameters = [p for p in model.parameters() if p.grad is not None]
    directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    for shift in (step, -2 * step):
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter += shift * direction
        ends.append(value().item())
    return torch.cat([direction.flatten() for direction in directions]), (ends[0] - ends[1]) / (2 * step)


# -- RRR: the second derivative of attention --------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["mean_logit", "sum_log_prob", "log_prob"])
@pytest.mark.parametrize("name", MODELS)
def test_rrr_trains_through_attention(name, form):
    method, model = RRR(weight=1.0, form=form), family(name, scale=5.0).double()
    batch = make_batch(model, dtype=torch.float64)
    exact = gradient_of(method, model, batch)
    direction, expected = derivative_by_differences(model, lambda: method(model, batch, 1).loss)
    assert (exact @ direction).item() == pytest.approx(expected, rel=1e-5)
    assert abs(expected) > 1e-8


@pytest.mark.parametrize("name", MODELS)
def test_rrr_by_fused_attention_equals_rrr_by_plain_attention(name):
    fused, plain = family(name, scale=5.0), family(name, attention="eager", scale=5.0)
    assert {m.config._attn_implementation for m in fused.modules() if hasattr(m, "config")} == {"sdpa"}
    assert {m.config._attn_implementation for m in plain.modules() if hasattr(m, "config")} == {"eager"}
    one, two = (gradient_of(RRR(weight=1.0), model, make_batch(model)) for model in (fused, plain))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4 * two.abs().max().item())
    assert two.abs().max() > 1e-9


@pytest.mark.parametrize("method", [RRR(weight=1.0), RRR(weight=1.0, form="sum_log_prob"), *ON_MAPS], ids=repr)
@pytest.mark.parametrize("name", ["ViT", "CLIP"])
def test_autocast_around_a_method_changes_nothing(name, method):
    model = family(name)
    batch = make_batch(model)
    expected = gradient_of(method, model, batch)
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(batch.images)  # its casts of the weights are remembered until autocast ends
        terms = method(model, batch, 1)
    terms.loss.backward()
    assert terms.loss.dtype == torch.float32
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7 * expected.abs().max().item())


@pytest.mark.parametrize("method", [RRR(weight=1.0), XIL(weight=1.0), ModelGuidance(weight=1.0)], ids=repr)
@pytest.mark.parametrize("name", ["ViT", "CLIP"])
def test_a_model_that_casts_for_itself_learns_nearly_the_same(name, method):
    model = family(name)
    batch = make_batch(model)
    expected = gradient_of(method, model, batch)
    found = gradient_of(method, CastsItself(model), batch)
    assert F.cosine_similarity(found, expected, dim=0) > 0.98
    assert found.norm() == pytest.approx(expected.norm().item(), rel=0.05)


# -- XIL, MEGL and Model Guidance: Grad-ECLIP -------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_methods_are_their_losses_of_grad_eclip(name):
    model = family(name)
    batch = make_batch(model, without=(1,))
    rows = [0, 2]
    evidence = grad_eclip_map(model, batch.images[rows], batch.targets[rows])
    inside = torch.stack([batch.priors[row].evidence_allowed() for row in rows])
    patches = inside[:, ::8, ::8]  # the prior as the first pixel of each patch sees it
    assert torch.equal(inside_on_grid(inside, 4, 4), patches)
    full = F.interpolate(evidence[:, None], size=(32, 32), mode="bilinear", align_corners=False)[:, 0]
    expected = {"xil": xil_loss(evidence, patches), "megl": megl_loss(evidence, patches)}
    for method in ON_MAPS:
        value = expected.get(method.name)
        value = GUIDANCE[method.localization](full, inside) if value is None else value
        terms = replace(method, weight=3.0)(model, batch, 1)
        torch.testing.assert_close(terms.loss, 3 * value)
        assert terms.log == {method.name: pytest.approx(value.item()), f"{method.name}_images": 2.0}
        assert value.item() > 1e-3


def test_a_named_layer_still_means_grad_cam():
    model = family("ViT")
    batch, layer = make_batch(model), "embeddings.patch_embeddings.projection"
    evidence = grad_cam_map(model, batch.images, batch.targets, layer)
    inside = torch.stack([prior.evidence_allowed() for prior in batch.priors])
    terms = XIL(weight=1.0, layer=layer)(model, batch, 1)
    torch.testing.assert_close(terms.loss, xil_loss(evidence, inside_on_grid(inside, 4, 4)))


@pytest.mark.parametrize("method", ON_MAPS, ids=repr)
@pytest.mark.parametrize("name", ["ViT", "CLIP"])
def test_every_image_of_the_batch_is_penalised_and_training_lowers_it(name, method):
    model = family(name).train()
    batch = make_batch(model)
    for row in range(3):
        one = replace(batch, priors=[prior if row == i else None for i, prior in enumerate(batch.priors)])
        assert gradient_of(method, model, one).abs().max() > 0
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    values = []
    for step in range(1, 16):
        terms = method(model, batch, step)
        values.append(terms.log[method.name])
        optimizer.zero_grad()
        terms.loss.backward()
        optimizer.step()
    assert values[-1] < 0.95 * values[0]
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
