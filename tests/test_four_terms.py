import numpy as np
import pytest
import torch

import reference
from toys import SmallBatchNormNet, seeded
from wherenot.evidence import Evidence
from wherenot.explain import explain
from wherenot.four_terms import FourTermScore
from wherenot.masking import show
from wherenot.objective import FourTermObjective
from wherenot.regions import Grid
from wherenot.search import Bidirectional, Exact, Lazy, Scoped

WEIGHTS = (0.3, 0.4, 2.0, 1.0)  # confidence, effectiveness, consistency, collaboration
OBJECTIVE = FourTermObjective(*WEIGHTS)


def model_and_image(seed=0):
    model = seeded(SmallBatchNormNet, seed)
    model.eval()
    return model, torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 3


def slow(model, image, target, regions=6):
    """Probabilities and features of subsets, one image at a time."""
    labels = torch.from_numpy(Grid(2, regions // 2)(np.zeros((8, 8, 3), np.uint8)))[None]
    fill = image.mean((2, 3), keepdim=True).expand_as(image)

    def shown(subset):
        keep = torch.tensor([[region in subset for region in range(regions)]])
        return show(image, labels, torch.tensor([0]), keep, fill)

    @torch.no_grad()
    def probabilities(subset):
        return model(shown(subset)).double().softmax(1)[0].tolist()

    @torch.no_grad()
    def feature(region):
        return model.norm(model.conv(shown({region}))).relu().flatten().double().tolist()

    features = [feature(region) for region in range(regions)]
    everything = frozenset(range(regions))
    value = lambda subset: reference.four_terms(probabilities, features, set(subset), everything, target, WEIGHTS)  # noqa: E731
    effect = lambda subset: WEIGHTS[1] * reference.effectiveness(features, subset)  # noqa: E731
    return value, effect


@pytest.mark.parametrize("seed", range(3))
def test_exact_four_terms_against_the_slow_reference(seed):
    model, image = model_and_image(seed)
    [evidence] = explain(model, image, torch.tensor([1]), regions=Grid(2, 3), objective=OBJECTIVE, search=Exact(1))
    value, _ = slow(model, image, 1)
    order = []
    while len(order) < 6:
        order.append(max((c for c in range(6) if c not in order), key=lambda c: value([*order, c])))
    assert evidence.order.tolist() == order
    assert evidence.values == pytest.approx([value(order[: rank + 1]) for rank in range(6)], abs=1e-5)
    assert evidence.empty_value == pytest.approx(value([]), abs=1e-5)
    assert evidence.full_value == pytest.approx(evidence.values[-1])
    assert evidence.map().max() == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_bidirectional_four_terms_against_the_slow_reference(seed):
    model, image = model_and_image(seed)
    [evidence] = explain(
        model, image, torch.tensor([1]), regions=Grid(2, 3), objective=OBJECTIVE, search=Bidirectional(3)
    )
    value, effect = slow(model, image, 1)
    assert evidence.order.tolist() == reference.bidirectional_order(value, 6, 3, effect)


def test_scoped_and_lazy_take_four_terms():
    model, image = model_and_image()
    value, _ = slow(model, image, 1)
    for search in (Scoped(2, 3), Lazy()):
        [evidence] = explain(model, image, torch.tensor([1]), regions=Grid(2, 3), objective=OBJECTIVE, search=search)
        order = evidence.order.tolist()
        assert sorted(order) == list(range(6))
        assert evidence.values == pytest.approx([value(order[: rank + 1]) for rank in range(6)], abs=1e-5)


def test_no_hook_stays_and_the_feature_is_the_heads():
    model, image = model_and_image()
    labels = torch.from_numpy(Grid(2, 2)(np.zeros((8, 8, 3), np.uint8)))[None]
    score = FourTermScore(model, image, labels, torch.tensor([0]), torch.zeros_like(image))
    reading = score(torch.tensor([0]), torch.ones(1, 4, dtype=torch.bool))[0]
    with torch.no_grad():
        feature = model.norm(model.conv(image)).relu().flatten()
        p = model(image).softmax(1)[0]
    assert reading[0].item() == pytest.approx(p[0].item(), abs=1e-6)
    assert torch.allclose(reading[2:], feature, atol=1e-6)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_without_a_linear_head_is_named():
    with pytest.raises(ValueError, match=r"do not come from an nn\.Linear"):
        explain(lambda images: images.mean((2, 3)), torch.rand(1, 3, 8, 8), regions=Grid(2, 2), objective=OBJECTIVE)


def test_several_targets_are_refused():
    model, image = model_and_image()
    with pytest.raises(ValueError, match="one target at a time"):
        explain(model, image, torch.tensor([[0, 1]]), regions=Grid(2, 2), objective=OBJECTIVE)


def test_evidence_with_four_terms_is_saved_and_loaded(tmp_path):
    model, image = model_and_image()
    [evidence] = explain(model, image, torch.tensor([1]), regions=Grid(2, 2), objective=OBJECTIVE)
    evidence.save(tmp_path / "one")
    loaded = Evidence.load(tmp_path / "one")
    assert loaded.objective == OBJECTIVE
    assert np.array_equal(loaded.map(), evidence.map())
