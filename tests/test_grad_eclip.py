import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wherenot.grad_eclip
from golden_cases import GOLDEN
from toys import SmallBatchNormNet, seeded
from vits import CastsItself, Logits, family, images
from wherenot.grad_eclip import find_patch_attention, grad_eclip, grad_eclip_map
from wherenot.maps import grad_cam_map, max_normalized
from wherenot.methods.map_penalty import gradient_map

FAMILIES = ["ViT", "DeiT", "DeiTTeacher", "CLIP", "CLIPZeroShot", "Siglip", "Dinov2", "Dinov2WithRegisters"]
TARGETS = torch.tensor([0, 2, 1, 0])


def hooks_of(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


# -- the formula ------------------------------------------------------------------------------------------------------


def test_golden():
    case = GOLDEN["G16_grad_eclip"]
    gradient, query = torch.tensor([[[0.5, -1.0]]]).double(), torch.tensor([[[1.0, 1.0]]]).double()
    key = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [0.0, -1.0]]]).double()
    value = torch.tensor([[[1.0, 0.2], [0.3, -0.5], [2.0, 1.5]]]).double()
    found = grad_eclip(gradient, query, key, value)
    assert found[0].tolist() == pytest.approx(case["raw_eps"], abs=1e-6)
    assert max_normalized(found[:, None])[0, 0].tolist() == pytest.approx(case["norm"], abs=1e-6)
    same_key = torch.ones_like(key)  # no patch is more like the query than another: none is looked at
    assert grad_eclip(gradient, query, same_key, value)[0].tolist() == [0, 0, 0]


def slow(gradient, query, key, value):
    """The map of one image, token by token, on lists."""

    def dot(one, other):
        return sum(a * b for a, b in zip(one, other, strict=True))

    total = [0.0] * len(key)
    for g, q in zip(gradient, query, strict=True):
        cosines = [dot(q, k) / (dot(q, q) * dot(k, k)) ** 0.5 for k in key]
        low, high = min(cosines), max(cosines)
        for i, v in enumerate(value):
            total[i] += dot(g, v) * (cosines[i] - low) / (high - low + 1e-6)
    return [max(t, 0.0) for t in total]


def random_tokens(batch=3, rows=2, patches=5, width=4, size=6):
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, rows, width), (batch, rows, size), (batch, patches, size), (batch, patches, width)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def test_equals_loops():
    tokens = random_tokens()
    found = grad_eclip(*tokens)
    for index, map_of_one in enumerate(found):
        assert map_of_one.tolist() == pytest.approx(slow(*(part[index].tolist() for part in tokens)), abs=1e-12)
    assert (found == 0).any()
    assert (found > 0).any()


def test_gradcheck_and_what_is_held_fixed():
    gradient, query, key, value = random_tokens(batch=2)
    gradient, value = gradient.requires_grad_(), value.requires_grad_()
    assert torch.autograd.gradcheck(lambda g, v: grad_eclip(g, query, key, v), (gradient, value))
    query, key = query.requires_grad_(), key.requires_grad_()
    grad_eclip(gradient, query, key, value).sum().backward()
    assert query.grad is None
    assert key.grad is None


@pytest.mark.usefixtures("unhooked")
def test_shapes_that_do_not_belong_together_are_refused():
    gradient, query, key, value = random_tokens()
    for wrong in (query[:, :1], query[..., :3], query[:1]):
        with pytest.raises(ValueError, match=r"grad_eclip: gradient .* must be"):
            grad_eclip(gradient, wrong, key, value)
    for wrong in (value[:, :1], value[..., :3], value[:1]):
        with pytest.raises(ValueError, match="grad_eclip: the value is"):
            grad_eclip(gradient, query, key, wrong)


# -- the map of a model, against slow, independent computations -------------------------------------------------------


def last_block(model, name, shown):
    """Tokens that enter the last block, its norm and its attention."""
    if name == "ViT":
        vit = model.model.vit
        return vit.layers[0](vit.embeddings(shown)), vit.layers[1].layernorm_before, vit.layers[1].attention
    vision = model.clip.vision_model if name == "CLIPZeroShot" else model.model.vision_model
    first, last = vision.encoder.layers
    return first(vision.pre_layrnorm(vision.embeddings(shown)), None), last.layer_norm1, last.self_attn


def heads_by_hand(query, key, value, heads=2):
    joined = []
    for q, k, v in zip(query.chunk(heads, -1), key.chunk(heads, -1), value.chunk(heads, -1), strict=True):
        scores = (q @ k.transpose(1, 2)) / q.shape[-1] ** 0.5
        joined.append((scores.exp() / scores.exp().sum(-1, keepdim=True)) @ v)
    return torch.cat(joined, -1)


def logits_given(model, projection, out, shown):
    """The model's logits if the heads of the last block had given `out`."""
    handle = projection.register_forward_pre_hook(lambda _module, _inputs: (out,))
    logits = model(shown.expand(len(out), -1, -1, -1))
    handle.remove()
    return logits


@pytest.mark.parametrize("name", ["ViT", "CLIP", "CLIPZeroShot"])
def test_map_equals_differences_with_the_model_s_own_heads(name):
    model, shown = family(name).double(), images(2).double()
    targets = TARGETS[:2]
    found = grad_eclip_map(model, shown, targets).detach()
    with torch.no_grad():
        tokens, norm, attention = last_block(model, name, shown)
        query, key, value = (getattr(attention, part)(norm(tokens)) for part in ("q_proj", "k_proj", "v_proj"))
        out, projection = heads_by_hand(query, key, value), find_patch_attention(model, shown).out_proj
        # What we believe to be the attention output is what the model computes with.
        torch.testing.assert_close(logits_given(model, projection, out, shown), model(shown))
        # The class token alone for ViT and zero-shot CLIP, as in the paper; every token where patches are averaged.
        rows = range(1) if name != "CLIP" else range(17)
        query, key = (part @ projection.weight.T + projection.bias for part in (query, key))
        step = 1e-6
        for index in range(2):
            gradient = torch.zeros(len(rows), 16, dtype=torch.float64)
            for row in rows:
                moved = out[index].repeat(32, 1, 1)
                moved[:16, row] += step * torch.eye(16)
                moved[16:, row] -= step * torch.eye(16)
                scores = logits_given(model, projection, moved, shown[index : index + 1])[:, targets[index]]
                gradient[row] = (scores[:16] - scores[16:]) / (2 * step)
            expected = slow(
                gradient.tolist(), query[index, rows].tolist(), key[index, 1:].tolist(), value[index, 1:].tolist()
            )
            assert found[index].flatten().tolist() == pytest.approx(expected, abs=1e-7, rel=1e-5)
            assert max(expected) > 1e-3


def test_the_class_token_of_averaging_clip_says_nothing():
    # The trap that the sum over tokens is there for: a map of the class token alone would be all zero.
    model, shown = family("CLIP"), images(2)
    assert (grad_eclip_map(model, shown, TARGETS[:2]).amax((1, 2)) > 1e-3).all()
    attention = find_patch_attention(model, shown)
    taken = []
    handle = attention.out_proj.register_forward_pre_hook(lambda _module, inputs: taken.append(inputs[0]))
    (gradient,) = torch.autograd.grad(model(shown)[:, 0].sum(), taken[0])
    handle.remove()
    assert (gradient[:, 0] == 0).all()


def test_clip_s_map_is_the_cosine_s_times_the_scale():
    scaled, cosine = (grad_eclip_map(family("CLIPZeroShot", scale=s), images(2), TARGETS[:2]) for s in (100.0, 1.0))
    torch.testing.assert_close(scaled, 100 * cosine, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(max_normalized(scaled), max_normalized(cosine), rtol=1e-3, atol=1e-4)


class OnePatch(nn.Module):
    """Its class token attends to patch `spot` and to nothing else; the logits are plus and minus that patch's mean."""

    def __init__(self, spot, scale=1e3):
        super().__init__()
        self.embed = nn.Conv2d(1, 3, 4, stride=4, bias=False)
        self.layers = nn.ModuleList([OnePatchBlock(scale)])
        self.spot = spot
        with torch.no_grad():
            self.embed.weight.zero_()
            self.embed.weight[0] = 1 / 16

    def forward(self, batch):
        patches = self.embed(batch).flatten(2).transpose(1, 2)
        place = F.one_hot(torch.tensor(1), 3) * (torch.arange(patches.shape[1]) == self.spot)[:, None]
        token = F.one_hot(torch.tensor([[2]]), 3).expand(len(batch), 1, 3)
        tokens = torch.cat([token.to(patches), patches + place], dim=1)
        seen = self.layers[0](tokens)[:, 0, 0]
        return torch.stack([seen, -seen], dim=1)


class OnePatchBlock(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(3, 3, bias=False) for _ in range(4))
        with torch.no_grad():
            for projection in (self.q_proj, self.k_proj, self.v_proj):
                projection.weight.zero_()
            self.q_proj.weight[1, 2] = scale  # the class token asks for the place
            self.k_proj.weight[1, 1] = 1
            self.v_proj.weight[0, 0] = 1
            self.out_proj.weight.copy_(torch.eye(3))

    def forward(self, tokens):
        query, key, value = self.q_proj(tokens), self.k_proj(tokens), self.v_proj(tokens)
        return self.out_proj((query @ key.transpose(1, 2)).softmax(-1) @ value)


@pytest.mark.parametrize("spot", [0, 5, 15])
def test_the_peak_is_on_the_patch_that_alone_decides(spot):
    model = seeded(lambda: OnePatch(spot))
    shown = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) + 0.5
    row, column = divmod(spot, 4)
    patch = (slice(None), slice(None), slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
    shown[patch] *= 0.1  # the others are brighter, and do not matter
    changed = torch.full_like(shown, 9.0)
    changed[patch] = shown[patch]
    assert torch.equal(model(shown), model(changed))
    found = grad_eclip_map(model, shown, torch.zeros(3, dtype=torch.long)).detach()
    expected = torch.zeros(3, 16)
    expected[:, spot] = shown[patch].mean((1, 2, 3))
    torch.testing.assert_close(found.flatten(1), expected, rtol=1e-5, atol=1e-6)
    against = grad_eclip_map(model, shown, torch.ones(3, dtype=torch.long))
    assert (against == 0).all()


# -- one image at a time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_neighbours_in_the_batch_do_not_matter(name):
    model, shown = family(name).double(), images(4).double()
    together = grad_eclip_map(model, shown, TARGETS)
    assert together.shape == (4, 4, 4)
    for index in range(4):
        alone = grad_eclip_map(model, shown[index : index + 1], TARGETS[index : index + 1])[0]
        torch.testing.assert_close(together[index], alone, atol=1e-12, rtol=1e-10)
        assert together[index].max() > 1e-3
    backwards = grad_eclip_map(model, shown.flip(0), TARGETS.flip(0))
    torch.testing.assert_close(together.flip(0), backwards, atol=1e-12, rtol=1e-10)


def test_patches_lie_where_they_are():
    model, shown = family("Dinov2WithRegisters"), images(1)
    wide = torch.cat([shown, shown[..., :16]], dim=3)
    assert grad_eclip_map(model, wide, TARGETS[:1]).shape == (1, 4, 6)
    attention = find_patch_attention(model, wide)
    assert (attention.rows, attention.columns, attention.others) == (4, 6, 5)


# -- second derivatives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ViT", "CLIP", "CLIPZeroShot"])
def test_the_map_trains_the_weights(name, monkeypatch):
    model, shown = family(name).double(), images(2).double()
    fixed = []
    original = wherenot.grad_eclip._similarity

    def once(query, key):
        fixed.append(original(query, key))
        return fixed[0]  # a weight, not trained: differences may not move it either

    monkeypatch.setattr(wherenot.grad_eclip, "_similarity", once)

    def value():
        return grad_eclip_map(model, shown, TARGETS[:2]).square().sum()

    parameters = [p for n, p in model.named_parameters() if not n.startswith("clip.text")]
    gradients = torch.autograd.grad(value(), parameters, allow_unused=True)
    generator = torch.Generator().manual_seed(0)
    directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    exact = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True) if g is not None)
    step, ends = 1e-6, []
    for shift in (step, -2 * step):
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter += shift * direction
        ends.append(value().detach())
    assert exact.item() == pytest.approx(((ends[0] - ends[1]) / (2 * step)).item(), rel=1e-5)
    assert abs(exact.item()) > 1e-5
    assert len(fixed) == 3


def test_a_frozen_backbone_has_the_same_map_and_trains_what_is_left():
    model, shown = family("ViT"), images(2)
    expected = grad_eclip_map(model, shown, TARGETS[:2])
    model.model.vit.requires_grad_(False)
    found = grad_eclip_map(model, shown, TARGETS[:2])
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert model.model.classifier.weight.grad.abs().max() > 0
    assert not any(p.requires_grad for p in model.model.vit.parameters())


# -- nothing is left behind, nothing around matters -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ViT", "CLIP"])
def test_model_and_arguments_are_left_as_found(name):
    model, shown = family(name).train(), images(2).requires_grad_()
    list(model.modules())[-1].eval()
    modes = [m.training for m in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    before = shown.detach().clone()
    found = grad_eclip_map(model, shown, TARGETS[:2])
    assert all(p.grad is None for p in model.parameters())
    found.sum().backward()
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert shown.grad is None
    assert torch.equal(shown.detach(), before)
    assert hooks_of(model) == 0


@pytest.mark.parametrize("fails_at", [1, 2])
def test_an_exception_passes_through_and_leaves_no_hook(fails_at):
    model = family("ViT").train()
    runs = []

    def fail(*_):
        runs.append(None)
        if len(runs) == fails_at:
            raise RuntimeError("out of order")

    model.model.classifier.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of order"):
        grad_eclip_map(model, images(2), TARGETS[:2])
    assert hooks_of(model) == 1
    assert model.training


def test_the_graph_goes_with_the_map():
    model, seen = family("ViT"), []
    model.model.vit.layers[1].attention.o_proj.register_forward_hook(
        lambda _module, _inputs, output: seen.append(weakref.ref(output))
    )
    found = grad_eclip_map(model, images(2), TARGETS[:2])
    del found
    gc.collect()
    assert seen
    assert all(ref() is None for ref in seen)


def test_same_map_in_any_mode_under_no_grad_and_autocast():
    model, shown = family("ViT"), images(2)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    expected = grad_eclip_map(model, shown, TARGETS[:2])
    with torch.no_grad():
        found = grad_eclip_map(model.train(), shown, TARGETS[:2])
    assert torch.equal(found, expected)
    assert found.requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = grad_eclip_map(model, shown, TARGETS[:2])
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["ViT", "CLIP"])
def test_a_model_that_casts_for_itself_has_nearly_the_same_map(name):
    model, shown = family(name), images(4)
    expected = grad_eclip_map(model, shown, TARGETS)
    found = grad_eclip_map(CastsItself(model), shown, TARGETS)
    assert found.dtype == torch.float32
    assert F.cosine_similarity(found.flatten(1), expected.flatten(1)).min() > 0.98
    found.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


# -- which map --------------------------------------------------------------------------------------------------------


def test_the_architecture_decides_and_a_layer_overrules_it():
    vit, cnn = family("ViT"), seeded(SmallBatchNormNet).eval()
    shown, small = images(2), torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(gradient_map(vit, shown, TARGETS[:2]), grad_eclip_map(vit, shown, TARGETS[:2]))
    patches = "embeddings.patch_embeddings.projection"
    found = gradient_map(vit, shown, TARGETS[:2], patches)
    assert torch.equal(found, grad_cam_map(vit, shown, TARGETS[:2], patches))
    assert torch.equal(gradient_map(cnn, small, TARGETS[:2]), grad_cam_map(cnn, small, TARGETS[:2]))
    resnet = family("ResNet")
    assert torch.equal(gradient_map(resnet, shown, TARGETS[:2]), grad_cam_map(resnet, shown, TARGETS[:2]))


def test_a_model_without_such_attention_is_not_run_to_find_it():
    class Refusing(nn.Module):
        def forward(self, batch):
            raise AssertionError("was run")

    assert find_patch_attention(Refusing(), images(1)) is None


@pytest.mark.usefixtures("unhooked")
def test_what_has_no_map_is_refused():
    swin = family("Swin")
    with pytest.raises(ValueError, match="has no attention over patch tokens"):
        grad_eclip_map(swin, images(1), TARGETS[:1])
    with pytest.raises(ValueError, match="no convolution beyond a patch embedding"):
        gradient_map(swin, images(1), TARGETS[:1])
    with pytest.raises(ValueError, match="grad_eclip_map: 2 images need as many targets, got 1"):
        grad_eclip_map(family("ViT"), images(2), TARGETS[:1])
    assert hooks_of(swin) == 0


def test_a_later_attention_over_fewer_tokens_is_passed_by():
    class Pooled(Logits):
        """Ends in an attention of its own over one token."""

        def __init__(self, model):
            super().__init__(model)
            self.pool = seeded(lambda: OnePatchBlock(1.0))

        def forward(self, batch):
            return self.pool(super().forward(batch)[:, None])[:, 0]

    plain = family("ViT")
    model = Pooled(plain.model)
    with torch.no_grad():
        model.pool.v_proj.weight.copy_(torch.eye(3))
    assert find_patch_attention(model, images(1)).module is plain.model.vit.layers[1].attention
    torch.testing.assert_close(
        grad_eclip_map(model, images(2), TARGETS[:2]), grad_eclip_map(plain, images(2), TARGETS[:2])
    )
