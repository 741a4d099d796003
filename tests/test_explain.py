import itertools

import numpy as np
import pytest
import torch
from torch import nn

from toys import AdditiveModel, RecordingModel, SmallBatchNormNet, seeded
from wherenot import explain
from wherenot.masking import Normalization
from wherenot.objective import TRAINING
from wherenot.regions import Grid
from wherenot.scoring import RegionScore, evaluating
from wherenot.search import Exact, Scoped

WEIGHTS = [[0.9, 0.1, -0.4, 0.0], [0.3, 0.2, -0.4, 0.0], [0.0, 0.0, 0.7, 0.0], [0.0, 0.5, 0.1, -0.2]]
BLACK = torch.zeros(3, 1, 1)


def batch(count=3, side=8, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def net(seed=0):
    model = seeded(SmallBatchNormNet, seed)
    with torch.no_grad():
        model(batch(8, seed=9))  # statistics that are not those of a fresh network
    return model


def test_solved_on_paper():
    # Cells of the 2 x 2 grid weigh 1.5, -0.8, 0.5, 0.6 in log-odds, so this is the order of falling weight.
    [evidence] = explain(
        AdditiveModel(WEIGHTS), torch.ones(1, 3, 4, 4), torch.tensor([1]), regions=Grid(2, 2), fill=BLACK
    )
    assert evidence.order.tolist() == [0, 3, 2, 1]
    sigmoid = 1 / (1 + np.exp(-np.array([1.5, 2.1 - 0.2, 2.4 - 0.2 + 0.2, 1.6])))
    weights = np.array(WEIGHTS)
    cells = [weights[:2, :2].sum(), weights[:2, 2:].sum(), weights[2:, :2].sum(), weights[2:, 2:].sum()]
    odds = np.cumsum([cells[region] for region in evidence.order])
    assert evidence.insertion == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-6)
    assert evidence.insertion[0] == pytest.approx(sigmoid[0], abs=1e-6)
    assert evidence.deletion == pytest.approx(1 / (1 + np.exp(-(odds[-1] - odds))), abs=1e-6)
    assert evidence.empty == pytest.approx(0.5)
    assert evidence.full == pytest.approx(evidence.insertion[-1])
    assert evidence.forwards <= 4 * 5 + 2


def test_hidden_pixels_are_hidden():
    model = RecordingModel(AdditiveModel(np.random.default_rng(0).normal(size=(4, 4))))
    image = 1 + batch(1, side=4)
    labels = Grid(2, 2)(np.zeros((4, 4, 3), np.uint8))
    fill = torch.full((3, 4, 4), -7.0)
    explain(model, image, torch.tensor([1]), regions=torch.from_numpy(labels)[None], fill=fill, chunk=3)
    subsets = set()
    for shown in model.shown:
        visible = (shown != -7.0).all(0).numpy()
        assert ((shown == -7.0).all(0).numpy() == ~visible).all()
        cells = [visible[labels == region] for region in range(4)]
        assert all(cell.all() or not cell.any() for cell in cells)
        assert torch.equal(shown[:, torch.from_numpy(visible)], image[0][:, torch.from_numpy(visible)])
        subsets.add(tuple(bool(cell.any()) for cell in cells))
    assert {(True, False, False, False), (False, True, True, True)} <= subsets
    assert subsets >= {(True,) * 4, (False,) * 4}
    assert not any(model.modes)


@pytest.mark.parametrize("search", [Exact(), Scoped(3, 4)])
@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_order_does_not_depend_on_the_chunk(search, chunk):
    plain = explain(net(), batch(), regions=Grid(4, 4), search=search, chunk=7)
    other = explain(net(), batch(), regions=Grid(4, 4), search=search, chunk=chunk)
    for one, two in zip(plain, other, strict=True):
        assert one.order.tolist() == two.order.tolist()
        assert one.values == pytest.approx(two.values, abs=1e-5)
        assert one.forwards == two.forwards


def test_order_does_not_depend_on_neighbours():
    images = batch(4)
    together = explain(net(), images, regions=Grid(4, 4), objective=TRAINING, stop_above=0.9)
    for index, evidence in enumerate(together):
        [alone] = explain(net(), images[index : index + 1], regions=Grid(4, 4), objective=TRAINING, stop_above=0.9)
        assert alone.order.tolist() == evidence.order.tolist()
        assert alone.forwards == evidence.forwards


def test_relabelling_regions_relabels_the_order():
    labels = torch.from_numpy(Grid(4, 4)(np.zeros((8, 8, 3), np.uint8)))[None]
    names = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    [plain] = explain(net(), batch(1), regions=labels)
    [renamed] = explain(net(), batch(1), regions=names[labels])
    assert renamed.order.tolist() == names[torch.from_numpy(plain.order)].tolist()
    assert np.array_equal(renamed.map(), plain.map())


def test_images_with_different_numbers_of_regions():
    coarse = torch.from_numpy(Grid(2, 2)(np.zeros((8, 8, 3), np.uint8)))
    fine = torch.from_numpy(Grid(4, 4)(np.zeros((8, 8, 3), np.uint8)))
    first, second = explain(net(), batch(2), regions=torch.stack([coarse, fine]))
    assert (len(first.order), len(second.order)) == (4, 16)
    [alone] = explain(net(), batch(2)[:1], regions=coarse[None])
    assert first.order.tolist() == alone.order.tolist()


def test_greedy_finds_the_best_single_region():
    model, image = net(), batch(1)
    [evidence] = explain(model, image, regions=Grid(2, 2), max_regions=1)
    labels = torch.from_numpy(evidence.labels)[None]
    score = RegionScore(
        model,
        image,
        labels,
        torch.tensor([evidence.target]),
        torch.zeros_like(image) + image.mean((2, 3), keepdim=True),
    )
    keeps = torch.tensor(list(itertools.product([False, True], repeat=4)))
    p = dict(
        zip(map(tuple, keeps.tolist()), score(torch.zeros(16, dtype=torch.long), keeps)[:, 0].tolist(), strict=True)
    )
    value = {
        region: p[tuple(i == region for i in range(4))] + 1 - p[tuple(i != region for i in range(4))]
        for region in range(4)
    }
    assert evidence.order[0] == max(value, key=value.get)
    assert evidence.values[0] == pytest.approx(max(value.values()), abs=1e-5)


def test_the_model_is_left_as_it_was():
    model, images = net().train(), batch()
    model.drop.eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = images.clone()
    explain(model, images, regions=Grid(2, 2))
    assert model.training
    assert model.norm.training
    assert not model.drop.training
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(images, before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_the_mode_comes_back_after_an_error():
    class Broken(nn.Module):
        def forward(self, images):
            raise RuntimeError("no")

    model = Broken().train()
    with pytest.raises(RuntimeError, match="no"):
        explain(model, batch(1), torch.tensor([0]), regions=Grid(2, 2))
    assert model.training
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert model.training


def test_running_out_of_memory_halves_the_chunk_and_goes_on():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net()
            self.sizes = []

        def forward(self, images):
            self.sizes.append(len(images))
            if len(images) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return self.inner(images)

    small, target = Small(), torch.tensor([0])
    [evidence] = explain(small, batch(1), target, regions=Grid(2, 2), chunk=16)
    [plain] = explain(net(), batch(1), target, regions=Grid(2, 2))
    assert evidence.order.tolist() == plain.order.tolist()
    assert evidence.forwards == plain.forwards
    first_fit = next(i for i, size in enumerate(small.sizes) if size <= 3)
    assert max(small.sizes[first_fit:]) <= 3


def test_memory_that_never_suffices_is_an_error():
    def hungry(images):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        explain(hungry, batch(1), torch.tensor([0]), regions=Grid(2, 2), chunk=4)


def test_blank_regions_tie_and_come_by_index():
    image = torch.zeros(1, 3, 8, 8)
    image[..., 2:4, 2:4] = 1.0
    [evidence] = explain(net(), image, regions=Grid(4, 4), fill=BLACK, chunk=3)
    blank = [region for region in evidence.order.tolist() if region != 5]
    assert blank == sorted(blank)


def test_a_normalised_model_needs_no_normalization():
    class Wrapped(nn.Module):
        normalization = Normalization((0.5,) * 3, (0.25,) * 3)

        def __init__(self):
            super().__init__()
            self.inner = net()

        def forward(self, images):
            return self.inner(images)

    given = explain(net(), batch(1), regions=Grid(2, 2), fill="black", normalization=Wrapped.normalization)
    taken = explain(Wrapped(), batch(1), regions=Grid(2, 2), fill="black")
    assert given[0].values == pytest.approx(taken[0].values)
    with pytest.raises(ValueError, match="normalisation"):
        explain(net(), batch(1), regions=Grid(2, 2), fill="black")


def test_progress_counts_every_forward():
    counts = []
    [evidence] = explain(net(), batch(1), torch.tensor([0]), regions=Grid(2, 2), on_forward=counts.append)
    assert sum(counts) == evidence.forwards


@pytest.mark.usefixtures("unhooked")
def test_wrong_label_maps_are_named():
    with pytest.raises(ValueError, match=r"label maps of shape \(1, 4, 4\)"):
        explain(net(), batch(1), regions=torch.zeros(1, 4, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="consecutive"):
        explain(net(), batch(1), regions=torch.full((1, 8, 8), 2))
    with pytest.raises(ValueError, match=r"targets must be in 0\.\.2"):
        explain(net(), batch(1), torch.tensor([7]), regions=Grid(2, 2))


def test_checkpointed_odds_have_the_same_gradient():
    model, images = net(), batch(2)
    labels = torch.from_numpy(Grid(2, 2)(np.zeros((8, 8, 3), np.uint8))).expand(2, 8, 8)
    image = torch.tensor([0, 1, 0, 1, 1])
    keep = torch.rand(5, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    gradients = []
    for chunk in (2, 5):
        model.train().zero_grad()
        score = RegionScore(model, images, labels, torch.tensor([0, 2]), torch.zeros_like(images), chunk=chunk)
        score.odds(image, keep).sum().backward()
        assert model.training
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for one, two in zip(*gradients, strict=True):
        assert torch.allclose(one, two, atol=1e-6)
    assert gradients[0][0].abs().sum() > 0
