import numpy as np
import pytest
import torch
from torch import nn

from toys import seeded
from vits import PATCH, SIDE, family, images
from wherenot.dropping import Dropping, find_patch_tokens
from wherenot.explain import explain
from wherenot.regions import Grid, Slico
from wherenot.scoring import RegionScore, hiding


def grid(count=2):
    return torch.from_numpy(Grid(4, 4)(np.zeros((SIDE, SIDE, 3), np.uint8))).expand(count, -1, -1)


def score(model, batch, labels, **options):
    labels, hidden = hiding(model, batch, labels, "drop")
    return RegionScore(model, batch, labels, torch.tensor([0, 2])[: len(batch)], hidden, **options)


PLAIN = ["ViT", "DeiT", "CLIP", "Siglip", "Dinov2", "Dinov2WithRegisters"]


@pytest.mark.parametrize("name", PLAIN)
def test_visible_patches_alone_decide(name):
    model, batch, labels = family(name), images(), grid()
    asked = score(model, batch, labels)
    keep = torch.rand(12, 16, generator=torch.Generator().manual_seed(0)) < 0.5
    keep[0], keep[1] = True, True
    keep[1, 3] = False
    row = torch.arange(12) % 2
    plain = asked(row, keep)
    with torch.no_grad():
        full = model(batch).softmax(1)[0, 0]
    assert plain[0, 0].item() == pytest.approx(full.item(), abs=1e-6)
    hidden = torch.stack([~keep[5][labels[0]]] * 3)
    changed = batch.clone()
    changed[1][hidden] = 9.0
    assert score(model, changed, labels)(row, keep)[5].item() == pytest.approx(plain[5].item(), abs=1e-6)
    changed = batch.clone()
    changed[1][~hidden] += 1.0
    assert abs(score(model, changed, labels)(row, keep)[5].item() - plain[5].item()) > 1e-5
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_dropping_is_leaving_tokens_out():
    # What transformers does with the whole sequence, done by hand with a part of it.
    model, batch = family("ViT"), images(1)
    keep = torch.zeros(1, 16, dtype=torch.bool)
    keep[0, [1, 6, 15]] = True
    vit = model.model.vit
    with torch.no_grad():
        tokens = vit.embeddings(batch)[:, [0, 2, 7, 16]]
        for layer in vit.layers:
            tokens = layer(tokens)
            tokens = tokens[0] if isinstance(tokens, tuple) else tokens
        expected = model.model.classifier(vit.layernorm(tokens)[:, 0]).softmax(1)[0, 0]
    asked = score(model, batch, grid(1))(torch.tensor([0]), keep)
    assert asked[0, 0].item() == pytest.approx(expected.item(), abs=1e-6)


def test_nothing_visible_is_the_mean_colour():
    for name in PLAIN:
        model, batch = family(name), images(1)
        asked = score(model, batch, grid(1))(torch.tensor([0]), torch.zeros(1, 16, dtype=torch.bool))
        with torch.no_grad():
            mean = batch.mean((2, 3), keepdim=True).expand_as(batch)
            expected = model(mean).softmax(1)[0, 0]
        assert asked[0, 0].item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("name", ["Swin", "ResNet"])
def test_models_that_need_all_tokens_are_refused(name):
    with pytest.raises(ValueError, match="fill 'drop'"):
        explain(family(name), images(1), regions=Grid(4, 4), fill="drop")


def test_models_that_cannot_be_looked_into_are_refused():
    with pytest.raises(ValueError, match=r"needs an nn\.Module"):
        explain(lambda batch: batch.mean((2, 3)), images(1), torch.tensor([0]), regions=Grid(4, 4), fill="drop")


def test_a_convolution_that_mixes_patches_is_refused():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = family("ViT")
            self.blur = nn.Conv2d(3, 3, 9, padding=4)

        def forward(self, batch):
            return self.inner(self.blur(batch))

    with pytest.raises(ValueError, match="mixes patches before its layers"):
        explain(seeded(Mixing), images(1), regions=Grid(4, 4), fill="drop")


def test_regions_follow_the_patches():
    model, batch = family("ViT"), images()
    [one, two] = explain(model, batch, regions=Slico(9), fill="drop", max_regions=3)
    for evidence in (one, two):
        patches = evidence.labels.reshape(4, PATCH, 4, PATCH).transpose(0, 2, 1, 3).reshape(16, -1)
        assert (patches == patches[:, :1]).all()
        assert sorted(set(evidence.labels.ravel().tolist())) == list(range(evidence.num_regions))
        assert evidence.fill == "drop"
    tokens = find_patch_tokens(model, batch)
    assert (tokens.rows, tokens.columns, tokens.others) == (4, 4, 1)
    # Most of the patch belongs to region 1; on a tie the first region has it.
    labels = torch.zeros(1, SIDE, SIDE, dtype=torch.long)
    labels[0, :5, :PATCH], labels[0, :4, PATCH : 2 * PATCH] = 1, 2
    assert tokens.patch_labels(labels)[0].tolist() == [1, *[0] * 15]


@pytest.fixture(scope="module")
def plain():
    return explain(family("CLIP"), images(), regions=Grid(4, 4), fill="drop", chunk=5, max_regions=6)


@pytest.mark.parametrize("chunk", [1, 3, 64, "measure"])
def test_order_does_not_depend_on_the_chunk(plain, chunk):
    model, batch = family("CLIP"), images()
    other = explain(model, batch, regions=Grid(4, 4), fill="drop", chunk=chunk, max_regions=6)
    [alone] = explain(model, batch[1:], regions=Grid(4, 4), fill="drop", chunk=chunk, max_regions=6)
    for one, two in zip([*plain, plain[1]], [*other, alone], strict=True):
        assert one.order.tolist() == two.order.tolist()
        assert one.values == pytest.approx(two.values, abs=1e-5)


def test_gradients_flow_through_dropped_sequences():
    model, batch = family("ViT").train(), images()
    keep = torch.rand(6, 16, generator=torch.Generator().manual_seed(0)) < 0.4
    row = torch.tensor([0, 1, 0, 1, 0, 1])
    gradients = []
    for chunk in (1, 6):
        model.zero_grad()
        score(model, batch, grid(), chunk=chunk).odds(row, keep).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    for one, two in zip(*gradients, strict=True):
        assert torch.allclose(one, two, atol=1e-5)
    assert sum(float(gradient.abs().sum()) for gradient in gradients[0]) > 0


def test_rows_of_a_forward_have_equally_many_patches():
    tokens = find_patch_tokens(family("ViT"), images())
    labels = torch.tensor([[0] * 8 + [1] * 4 + [2] * 4])
    dropping = Dropping(tokens, labels, torch.zeros(1, 3, SIDE, SIDE))
    keep = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [0, 0, 0]]).bool()
    batches = dropping.batches(torch.zeros(6, dtype=torch.long), keep, chunk=1)
    assert sorted(sorted(batch.tolist()) for batch in batches) == [[0, 4], [1, 2], [3], [5]]
