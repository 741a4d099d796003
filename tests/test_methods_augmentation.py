import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from toys import RecordingModel, SmallBatchNormNet, seeded
from wherenot.methods import BackgroundSwap, Batch, BoxGuided, Method
from wherenot.methods.augmentation import bounding_box, derangement
from wherenot.priors import Prior

METHODS = [BackgroundSwap(), BoxGuided()]


def make_batch(count=5, without=(1,), size=8):
    """Every pixel of every image is another number."""
    images = torch.arange(count * 3 * size * size, dtype=torch.float32).view(count, 3, size, size) / 100
    priors = [None if i in without else Prior.from_boxes([[i % 3, 1, i % 3 + 3, 6]], size, size) for i in range(count)]
    return Batch(images=images, targets=torch.arange(count) % 3, logits=torch.zeros(count, 3), priors=priors)


def recorder():
    return RecordingModel(seeded(SmallBatchNormNet))


# -- background swap --------------------------------------------------------------------------------------------------


def test_off_the_prior_every_image_shows_one_other_in_its_place():
    batch, model = make_batch(), recorder()
    others_of = {0: set(), 2: set(), 3: set(), 4: set()}
    for step in range(1, 61):
        model.shown.clear()
        BackgroundSwap()(model, batch, step)
        donors = []
        for row, shown in zip([0, 2, 3, 4], model.shown, strict=True):
            inside = batch.priors[row].evidence_allowed()
            assert torch.equal(shown[:, inside], batch.images[row][:, inside])
            [donor] = [i for i, image in enumerate(batch.images) if torch.equal(shown[:, ~inside], image[:, ~inside])]
            donors.append(donor)
            others_of[row].add(donor)
        assert len(set(donors)) == 4  # no image is lent twice
    assert others_of == {row: {0, 1, 2, 3, 4} - {row} for row in others_of}


def test_a_derangement_keeps_nothing_and_is_uniform():
    generator = torch.Generator().manual_seed(0)
    seen = [tuple(derangement(4, generator).tolist()) for _ in range(600)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in seen)
    assert not any(place == item for order in seen for place, item in enumerate(order))
    counts = [seen.count(order) for order in set(seen)]
    assert len(counts) == 6  # the cycles of four
    assert min(counts) > 60
    assert derangement(1, generator).tolist() == [0]


def test_a_batch_of_one_has_no_other_image():
    model = recorder()
    terms = BackgroundSwap()(model, make_batch(count=1, without=()), 1)
    assert terms.loss.item() == 0
    assert terms.log == {"background_swap_images": 0.0}
    assert not model.shown


def test_a_forbidden_area_is_what_is_swapped():
    batch, model = make_batch(count=2, without=()), recorder()
    corner = Prior.from_boxes([[0, 0, 2, 2]], 8, 8, forbidden=True)
    batch = Batch(images=batch.images, targets=batch.targets, logits=batch.logits, priors=[corner, None])
    BackgroundSwap()(model, batch, 1)
    [shown] = model.shown
    assert torch.equal(shown[:, :2, :2], batch.images[1][:, :2, :2])
    assert torch.equal(shown[:, 2:], batch.images[0][:, 2:])


# -- box-guided crops -------------------------------------------------------------------------------------------------


class Coordinates(nn.Module):
    """Keeps what it is shown, in a batch whose channels are each pixel's own column and row."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def forward(self, images):
        self.shown.extend(images)
        return torch.zeros(len(images), 3)


def coordinate_batch(box, count=1, height=16, width=24):
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    images = torch.stack([columns, rows, rows]).expand(count, -1, -1, -1).clone()
    priors = [Prior.from_boxes([box], height, width) for _ in range(count)]
    return Batch(
        images=images, targets=torch.zeros(count, dtype=torch.long), logits=torch.zeros(count, 3), priors=priors
    )


def crop_of(shown):
    """The crop that a coordinate image was resized from, by the slope and the middle of its two ramps."""
    found = []
    for ramp in (shown[0, 0], shown[1, :, 0]):
        size, middle = len(ramp), (len(ramp) - 1) // 2
        step = (ramp[middle + 1] - ramp[middle]).item()
        start = ramp[middle].item() - (middle + 0.5) * step
        found.append((start, start + size * step))
    (left, right), (top, bottom) = found
    return left, top, right, bottom


def test_crops_hold_the_box_and_reach_every_margin():
    box, model, method = [5, 3, 11, 9], Coordinates(), BoxGuided()
    batch = coordinate_batch(box, count=40)
    for step in range(1, 11):
        method(model, batch, step)
    sides = [set(), set(), set(), set()]
    for shown in model.shown:
        assert shown.shape == (3, 16, 24)
        crop = crop_of(shown)
        for side, at in zip(sides, crop, strict=True):
            assert at == pytest.approx(round(at), abs=1e-3)  # whole pixels
            side.add(round(at))
    assert sides == [set(range(6)), set(range(4)), set(range(11, 25)), set(range(9, 17))]


def test_a_crop_is_resized_by_half_pixel_bilinear_interpolation():
    batch, model = coordinate_batch([8, 4, 16, 12]), Coordinates()
    BoxGuided()(model, batch, 1)
    [shown] = model.shown
    left, top, right, bottom = (round(at) for at in crop_of(shown))
    crop = batch.images[:, :, top:bottom, left:right]
    assert crop[0, 0].numel() < 16 * 24
    torch.testing.assert_close(shown, F.interpolate(crop, size=(16, 24), mode="bilinear", align_corners=False)[0])


def test_a_box_as_large_as_the_image_leaves_it_as_it_is():
    batch, model = coordinate_batch([0, 0, 24, 16], count=2), Coordinates()
    BoxGuided()(model, batch, 1)
    assert torch.equal(torch.stack(model.shown), batch.images)


def test_a_crop_does_not_depend_on_who_else_has_a_prior():
    batch = make_batch(without=())
    everybody, somebody = recorder(), recorder()
    BoxGuided()(everybody, batch, 3)
    BoxGuided()(somebody, make_batch(without=(0, 1, 3)), 3)
    assert torch.equal(torch.stack(somebody.shown), torch.stack([everybody.shown[2], everybody.shown[4]]))


def test_bounding_box_equals_loops():
    inside = torch.rand(20, 7, 9, generator=torch.Generator().manual_seed(0)) > 0.93
    for one in inside[inside.flatten(1).any(1)]:
        places = [(x, y) for y in range(7) for x in range(9) if one[y, x]]
        columns, rows = zip(*places, strict=True)
        assert bounding_box(one) == (min(columns), min(rows), max(columns) + 1, max(rows) + 1)


# -- what both do -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_loss_is_the_cross_entropy_of_what_was_shown(method):
    assert isinstance(method, Method)
    batch, model = make_batch(), recorder().eval()
    terms = type(method)(weight=3.0)(model, batch, 2)
    rows = [0, 2, 3, 4]
    log_probs = model.model(torch.stack(model.shown)).log_softmax(1)
    expected = sum(-log_probs[i, batch.targets[row]].item() for i, row in enumerate(rows)) / 4
    assert terms.log == {method.name: pytest.approx(expected, rel=1e-5), f"{method.name}_images": 4.0}
    assert terms.loss.item() == pytest.approx(3 * expected, rel=1e-5)
    terms.loss.backward()
    assert model.model.head.weight.grad.abs().max() > 0


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_model_is_asked_once_in_its_own_mode_and_left_in_it(method):
    for training in (True, False):
        batch, model = make_batch(), recorder().train(training)
        images, priors = batch.images.clone(), list(batch.priors)
        before = model.model.norm.running_mean.clone()
        method(model, batch, 1)
        assert model.modes == [training]
        assert all(module.training == training for module in model.modules())
        assert torch.equal(model.model.norm.running_mean, before) != training
        assert torch.equal(batch.images, images)
        assert list(batch.priors) == priors


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_what_is_drawn_depends_on_seed_and_step_alone(method):
    def shown(seed, step):
        model = recorder()
        type(method)(seed=seed)(model, make_batch(), step)
        return torch.stack(model.shown)

    first = shown(0, 4)
    torch.manual_seed(5)
    assert torch.equal(shown(0, 4), first)
    assert not all(torch.equal(shown(seed, 4), first) for seed in (1, 2, 3))
    assert not all(torch.equal(shown(0, step), first) for step in (5, 6, 7))
    state = torch.random.get_rng_state()
    type(method)()(recorder().eval(), make_batch(), 1)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_nothing_to_say(method):
    model = recorder()
    nobody = make_batch(without=range(5))
    terms = method(model, nobody, 1)
    assert terms.loss.item() == 0
    assert terms.log == {f"{method.name}_images": 0.0}
    rare = type(method)(interval=3)
    assert [bool(rare(model, make_batch(), step).log) for step in range(1, 7)] == [False, False, True] * 2
    assert len(model.modes) == 2


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_settings_and_batches_that_do_not_fit_are_refused(method):
    kind = type(method)
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"{kind.__name__}: weight must be finite"):
            kind(weight=wrong)
    with pytest.raises(ValueError, match=f"{kind.__name__}: interval must be at least 1, got 0"):
        kind(interval=0)
    batch = make_batch()
    short = Batch(images=batch.images, targets=batch.targets, logits=batch.logits, priors=batch.priors[:3])
    with pytest.raises(ValueError, match=f"{kind.__name__}: 5 images need as many priors"):
        method(recorder(), short, 1)
    other = [*batch.priors[:4], Prior.from_boxes([[0, 0, 1, 1]], 4, 4)]
    with pytest.raises(ValueError, match="resize them first"):
        method(recorder(), Batch(images=batch.images, targets=batch.targets, logits=batch.logits, priors=other), 1)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_half_precision_logits_are_raised_before_the_softmax(method):
    class Half(nn.Module):
        def forward(self, images):
            return torch.tensor([[11.0, 0.0, 0.0]], dtype=torch.bfloat16).expand(len(images), 3)

    batch = make_batch(without=(1, 2, 4))
    batch = Batch(images=batch.images, targets=batch.targets * 0, logits=batch.logits, priors=batch.priors)
    terms = method(Half(), batch, 1)
    assert terms.loss.item() == pytest.approx(2 * math.exp(-11), rel=0.01)
