"""Learned priors: what a linear model on features makes of few, wrong and no annotations."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from toys import RecordingModel
from vits import family
from wherenot.priors import Prior
from wherenot.spreading import spread as module
from wherenot.spreading.feature_grids import FeatureGrid
from wherenot.spreading.lessons import Lesson
from wherenot.spreading.ridge import Ridge
from wherenot.spreading.spread import _auc, _best_radius, spread_priors

SIDE = 24


class Colours(nn.Module):
    """Two convolutions that pass on colours; on full and half resolution."""

    def __init__(self):
        super().__init__()
        self.fine = nn.Conv2d(3, 3, 1, bias=False)
        self.pool = nn.AvgPool2d(2)
        self.coarse = nn.Conv2d(3, 3, 1, bias=False)
        for conv in (self.fine, self.coarse):
            conv.weight.data = torch.eye(3)[..., None, None]

    def forward(self, images):
        return self.coarse(self.pool(self.fine(images))).mean((2, 3))


def scenes(count, seed=0):
    """Red squares on green and blue noise, and where they are."""
    random = np.random.default_rng(seed)
    images = torch.from_numpy(random.random((count, 3, SIDE, SIDE))).float() * 0.5
    images[:, 0] *= 0.2
    boxes = []
    for image in images:
        top, left = random.integers(1, SIDE - 11, 2).tolist()
        image[0, top : top + 10, left : left + 10] = 1.0
        boxes.append((left, top, left + 10, top + 10))
    return images, boxes


def drawn(box, dx=0, dy=0):
    x0, y0, x1, y1 = box
    shifted = [max(0, x0 + dx), max(0, y0 + dy), min(SIDE, x1 + dx), min(SIDE, y1 + dy)]
    return Prior.from_boxes([shifted], SIDE, SIDE)


def areas(priors):
    lesson = Lesson(priors)
    return torch.stack([lesson.areas(index) for index in range(len(priors))])


def overlap(one, other):
    return float((one.allowed & other.allowed).sum() / (one.allowed | other.allowed).sum())


def test_a_few_annotations_are_found_in_all_other_images():
    images, boxes = scenes(30)
    priors = [drawn(box) if index < 4 else None for index, box in enumerate(boxes)]
    spread = spread_priors(Colours(), images, priors, batch_size=7)
    assert spread.learned == [False] * 4 + [True] * 26
    assert all(one is other for one, other in zip(spread.priors[:4], priors[:4], strict=True))
    assert np.mean([overlap(p, drawn(box)) for p, box in zip(spread.priors, boxes, strict=True)]) > 0.9
    assert spread.agreement[:4].min() > 0.99
    assert spread.agreement[4:].isnan().all()
    assert spread.summary() == {"given": 4, "kept": 4, "replaced": 0, "added": 26, "agreement": 1.0}


def test_random_faults_average_out():
    images, boxes = scenes(60)
    random = np.random.default_rng(1)
    ways = [((-5, 0), (5, 0), (0, -5), (0, 5))[way] for way in random.integers(4, size=60)]
    priors = [drawn(box, *way) for box, way in zip(boxes, ways, strict=True)]
    before = np.mean([overlap(p, drawn(box)) for p, box in zip(priors, boxes, strict=True)])
    spread = spread_priors(Colours(), images, priors)
    after = np.mean([overlap(p, drawn(box)) for p, box in zip(spread.priors, boxes, strict=True)])
    assert before < 0.4
    assert after > 0.85
    assert sum(spread.learned) > 50


def test_drawn_priors_end_where_objects_do():
    """Although the network sees cells of eight pixels."""
    images, boxes = scenes(30)
    priors = [drawn(box) if index < 10 else None for index, box in enumerate(boxes)]
    coarse = nn.Sequential(nn.AvgPool2d(2), Colours())  # asked for its two grids: 12 and 6 cells a side
    spread = spread_priors(coarse, images, priors)
    assert np.mean([overlap(p, drawn(box)) for p, box in zip(spread.priors[10:], boxes[10:], strict=True)]) > 0.9


def test_borders_are_looked_for_where_the_given_priors_have_them():
    """Along the edges of the image if priors run there, and nowhere else if they do not."""
    images, boxes = scenes(6)
    snug, wide = ([drawn((x0 - g, y0 - g, x1 + g, y1 + g)) for x0, y0, x1, y1 in boxes] for g in (0, 3))
    cells = nn.functional.avg_pool2d(torch.stack([prior.allowed.float() for prior in snug]), 6)
    assert _best_radius(2 * cells - 1, images, areas(snug)) in (2, 4)
    pixels = torch.stack([prior.allowed.float() for prior in wide])
    assert _best_radius(2 * pixels - 1, images, areas(wide)) == 0


@pytest.mark.parametrize("grown", [-2, 0, 2])
def test_drawn_priors_are_as_large_as_the_given_ones(grown):
    images, boxes = scenes(30)
    given = [(x0 - grown, y0 - grown, x1 + grown, y1 + grown) for x0, y0, x1, y1 in boxes[:15]]
    priors = [drawn(box) for box in given] + [None] * 15
    spread = spread_priors(Colours(), images, priors)
    areas = [float(prior.allowed.float().mean()) for prior in spread.priors]
    assert sum(areas[15:]) == pytest.approx(sum(areas[:15]), rel=0.1)


@pytest.mark.parametrize("grown", [-1, 1])
def test_sizes_are_those_of_all_given_ones_together(grown):
    """Small objects stay smaller than large ones, and all are drawn as closely or widely as the given ones are."""
    images, boxes = scenes(40)
    boxes = [(x0, y0, x0 + 5, y0 + 5) if i % 2 == 0 else (x0, y0, x1, y1) for i, (x0, y0, x1, y1) in enumerate(boxes)]
    for image, (x0, y0, x1, y1) in zip(images, boxes, strict=True):
        image[0] = image[0].clamp_max(0.1)
        image[0, y0:y1, x0:x1] = 1.0
    wide = [drawn((x0 - grown, y0 - grown, x1 + grown, y1 + grown)) for x0, y0, x1, y1 in boxes]
    spread = spread_priors(Colours(), images, wide[:20] + [None] * 20)
    areas = torch.tensor([float(prior.allowed.sum()) for prior in spread.priors[20:]])
    wanted = torch.tensor([float(prior.allowed.sum()) for prior in wide[20:]])
    assert float(areas.sum() / wanted.sum()) == pytest.approx(1, abs=0.12)
    assert areas[::2].max() < areas[1::2].min()


def test_no_image_gets_less_than_the_smallest_or_more_than_the_largest():
    """Also one where everything looks like the object, and one where nothing does."""
    images, boxes = scenes(12)
    images[10, 0] += torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 0.2 + 1.0
    images[11, 0] = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 0.1
    grown = (0, 1, -1, 0, 0, 1, 0, 0)
    given = [(x0 - g, y0, x1, y1) for g, (x0, y0, x1, y1) in zip(grown, boxes, strict=False)]
    priors = [drawn(box) for box in given] + [None] * 4
    spread = spread_priors(Colours(), images, priors)
    areas = [int(prior.allowed.sum()) for prior in spread.priors]
    assert (min(areas[:8]), max(areas[:8])) == (90, 110)
    assert 110 >= areas[10] > 105 > 95 > areas[11] >= 88  # thresholds are shared by a few neighbours


def test_one_careless_annotator_among_careful_ones_is_overruled():
    images, boxes = scenes(20)
    priors = [drawn(box) for box in boxes]
    priors[3] = Prior.from_boxes([[0, 0, 4, SIDE]], SIDE, SIDE) if boxes[3][0] > 6 else drawn(boxes[3], 0, 9)
    spread = spread_priors(Colours(), images, priors)
    assert [index for index, new in enumerate(spread.learned) if new] == [3]
    assert overlap(spread.priors[3], drawn(boxes[3])) > 0.9


@pytest.mark.parametrize(("trusted", "learned"), [(0.0, 0), (1.1, 20)])
def test_trust_goes_from_all_to_none(trusted, learned):
    images, boxes = scenes(20)
    spread = spread_priors(Colours(), images, [drawn(box, 5) for box in boxes], trusted=trusted)
    assert sum(spread.learned) == learned


def test_nothing_to_learn_from():
    images, boxes = scenes(3)
    for priors in ([None] * 3, [drawn(boxes[0]), None, None]):
        spread = spread_priors(Colours(), images, priors)
        assert all(one is other for one, other in zip(spread.priors, priors, strict=True))
        assert not any(spread.learned)
    assert spread_priors(Colours(), images, [None] * 3).summary()["agreement"] is None
    with pytest.raises(ValueError, match="no images"):
        spread_priors(Colours(), images, [])


def stamped(count, size=4):
    """Scenes with a green stamp in a corner, never on the object, and where it is."""
    images, boxes = scenes(count)
    stamps = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for index, (image, (x0, y0, x1, y1)) in enumerate(zip(images, boxes, strict=True)):
        top, left = (0 if y0 > SIDE - y1 else SIDE - size), (0 if x0 > SIDE - x1 else SIDE - size)
        stamps[index, top : top + size, left : left + size] = True
        image[:, stamps[index]] = torch.tensor([0.0, 1.0, 0.0])[:, None]
    return images, boxes, stamps & ~torch.stack([drawn(box).allowed for box in boxes])


def test_where_not_is_found_in_all_other_images():
    """From a few priors that say nothing of where evidence may lie."""
    images, _, stamps = stamped(20)
    priors = [Prior.from_mask(stamp, forbidden=True) if index < 4 else None for index, stamp in enumerate(stamps)]
    spread = spread_priors(Colours(), images, priors)
    assert spread.learned == [False] * 4 + [True] * 16
    assert all(prior.allowed is None for prior in spread.priors)
    found = [prior.forbidden for prior in spread.priors]
    assert np.mean([float((f & s).sum() / (f | s).sum()) for f, s in zip(found, stamps, strict=True)]) > 0.9


def test_what_a_person_forbade_stays_forbidden():
    """Whether the rest of the prior is replaced, missing or learned from."""
    images, boxes = scenes(20)
    half = [Prior.from_boxes([[x0, y0, x0 + 5, y1]], SIDE, SIDE, forbidden=True).forbidden for x0, y0, _, y1 in boxes]
    priors = [drawn(box) for box in boxes]
    priors[3] = Prior.from_boxes([[0, 0, 4, SIDE]], SIDE, SIDE) if boxes[3][0] > 6 else drawn(boxes[3], 0, 9)
    priors[3] = Prior(priors[3].allowed & ~half[3], forbidden=half[3])
    priors[4] = Prior(forbidden=half[4])
    spread = spread_priors(Colours(), images, priors)
    assert [index for index, new in enumerate(spread.learned) if new] == [3, 4]
    for index in (3, 4):
        assert (spread.priors[index].forbidden == half[index]).all()
        assert overlap(spread.priors[index], drawn(boxes[index])) > 0.9
    assert spread.summary() | {"agreement": 0} == {"given": 20, "kept": 18, "replaced": 1, "added": 1, "agreement": 0}


def test_where_not_teaches_beside_where():
    """Stamps of the object's colour are told from it only by those who forbade them."""
    images, boxes, stamps = stamped(20)
    for image, stamp in zip(images, stamps, strict=True):
        image[:, stamp] = torch.tensor([1.0, 0.0, 0.9])[:, None]
    priors = [drawn(box) if index < 4 else None for index, box in enumerate(boxes)]
    warned = [Prior.from_mask(stamp, forbidden=True) for stamp in stamps[4:8]]
    blind = scenes(20)[0]
    for index in range(4):
        images[index] = blind[index]  # who marked objects never saw a stamp
    taken = []
    for given in (priors, [*priors[:4], *warned, *priors[8:]]):
        new = spread_priors(Colours(), images, given).priors
        taken.append(np.mean([float(new[i].evidence_allowed()[stamps[i]].float().mean()) for i in range(8, 20)]))
    assert taken[0] > 0.9
    assert taken[1] < 0.1


def test_ignored_pixels_teach_nothing():
    images, boxes = scenes(20)
    for ignored in (False, True):
        priors = []
        for x0, y0, x1, y1 in boxes[:8]:
            part = drawn((x0, y0, x1, y0 + 4))
            rest = Prior.from_boxes([[x0, y0 + 4, x1, y1]], SIDE, SIDE).allowed
            priors.append(part.with_ignore(rest) if ignored else part)
        spread = spread_priors(Colours(), images, priors + [None] * 12)
        assert (spread.agreement[:8].min() > 0.99) == ignored


def test_what_would_allow_nothing_or_everything_is_none():
    images, boxes = scenes(6)
    images[5] = torch.tensor([0.0, 0.25, 0.25])[:, None, None]
    images[4] = torch.tensor([1.0, 0.25, 0.25])[:, None, None]
    priors = [drawn(box) for box in boxes[:4]] + [None, None]
    assert spread_priors(Colours(), images, priors).priors[4:] == [None, None]


def test_batches_and_company_do_not_matter():
    images, boxes = scenes(12)
    priors = [drawn(box, 2) if index % 2 else None for index, box in enumerate(boxes)]
    whole = spread_priors(Colours(), images, priors)
    parts = spread_priors(Colours(), images, priors, batch_size=5)
    assert whole.learned == parts.learned
    for one, other in zip(whole.priors, parts.priors, strict=True):
        assert (one.allowed == other.allowed).all()


class Asked:
    """Notes which images were asked for."""

    def __init__(self, images):
        self.images, self.seen = images, []

    def __getitem__(self, indices):
        self.seen += indices
        return self.images[indices]


@pytest.mark.parametrize("most", [16, 4096])
def test_of_many_images_only_some_are_kept_and_each_is_asked_for_once(monkeypatch, most):
    images, boxes = scenes(60)
    priors = [drawn(box) if index % 2 else None for index, box in enumerate(boxes)]
    priors[7] = Prior.from_boxes([[0, 0, 4, SIDE]], SIDE, SIDE) if boxes[7][0] > 6 else drawn(boxes[7], 0, 9)
    monkeypatch.setattr(module, "_KEPT_BYTES", 0)
    monkeypatch.setattr(module, "_FEWEST_KEPT", most)
    kept, fit = [], module._fit
    monkeypatch.setattr(module, "_fit", lambda features, *more: kept.append(len(features)) or fit(features, *more))
    asked, counted = Asked(images), []
    spread = spread_priors(Colours(), asked, priors, batch_size=7, on_images=counted.append)
    assert sorted(asked.seen) == [0, *range(60)]
    assert sum(counted) == 60
    assert kept[0] <= most
    assert [index for index in range(1, 60, 2) if spread.learned[index]] == [7]
    assert spread.agreement.isnan().tolist() == [True, False] * 30
    assert np.mean([overlap(p, drawn(box)) for p, box in zip(spread.priors, boxes, strict=True)]) > 0.9


def test_what_is_kept_of_many(monkeypatch):
    """Enough of either kind to learn from, also where one is rare."""
    where, where_not = drawn((1, 1, 5, 5)), Prior.from_boxes([[0, 0, 2, 2]], SIDE, SIDE, forbidden=True)
    lesson = Lesson([where_not] * 100 + [where, where] + [None] * 500)
    taught, sampled = lesson.taught(40), lesson.sampled(40)
    assert set(taught[:2]) == {100, 101}
    assert len(taught) == len(set(taught)) == 12
    assert set(taught[2:]) < set(range(100))
    assert len(sampled) == len(set(sampled)) == 20
    assert sum(index >= 102 for index in sampled) > 10
    assert sorted(lesson.taught(602)) == [*range(102)]
    assert sorted(lesson.sampled(602)) == [*range(602)]


def test_the_order_of_images_does_not_decide_who_teaches_whom():
    """Four classes that take turns are in every one of the four folds, and in whatever is chosen of many."""
    lesson = Lesson([drawn((1, 1, 5, 5))] * 400)
    taught = lesson.taught(400)
    for fold in range(4):
        assert min(torch.bincount(torch.tensor(taught[fold::4]) % 4)) > 10
    assert min(torch.bincount(torch.tensor(lesson.taught(160)) % 10)) > 0


def test_the_two_that_say_where_are_judged_by_each_other():
    """Wherever they stand among those who say where not."""
    images, boxes, stamps = stamped(12)
    for one, two in ((0, 4), (0, 1), (3, 11)):
        priors = [Prior.from_mask(stamp, forbidden=True) for stamp in stamps]
        priors[one], priors[two] = drawn(boxes[one]), drawn(boxes[two])
        spread = spread_priors(Colours(), images, priors)
        assert spread.agreement[[one, two]].min() > 0.9
        assert not spread.learned[one]
        assert not spread.learned[two]


def test_arguments_and_model_stay_as_they_were():
    images, boxes = scenes(6)
    model = RecordingModel(Colours()).train()
    before, priors = images.clone(), [drawn(boxes[0]), drawn(boxes[1]), *[None] * 4]
    spread_priors(model, images, priors)
    assert (images == before).all()
    assert priors[2:] == [None] * 4
    assert model.training
    assert not any(model.modes)
    assert all(not module._forward_hooks for module in model.modules())


def test_ridge_is_the_weighted_least_squares_written_out():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 3, 4, 5, generator=generator)
    cells = torch.rand(6, 4, 5, generator=generator)
    for without in (None, 1):
        used = [index for index in range(6) if without is None or index % 3 != without]
        rows = features.movedim(1, -1).numpy().astype(float)
        rows = (rows - rows.mean((0, 1, 2))) / (rows.std((0, 1, 2), ddof=1) + 1e-6)
        rows = np.concatenate([rows, np.ones((6, 4, 5, 1))], -1)
        x, share = rows[used].reshape(-1, 4), cells[used].numpy().reshape(-1)
        # Every cell twice: once pulling to +1 with its share, once to -1 with the rest; both sides weigh 1.
        weight = np.concatenate([share / share.sum(), (1 - share) / (1 - share).sum()])
        target = np.concatenate([np.ones_like(share), -np.ones_like(share)])
        both = np.concatenate([x, x])
        gram = (both * weight[:, None]).T @ both + np.diag([0.1, 0.1, 0.1, 1e-9])
        expected = rows @ np.linalg.solve(gram, (both * weight[:, None]).T @ target)
        found = Ridge(features, [*range(6)], cells, 1 - cells, folds=3, ridge=0.1).fit(without)(features)
        assert torch.allclose(found, torch.from_numpy(expected).float(), atol=1e-4)


def test_agreement_is_the_area_under_the_roc_curve():
    random = np.random.default_rng(0)
    for _ in range(20):
        score = torch.from_numpy(random.integers(0, 5, (4, 4)).astype(float))
        inside = torch.from_numpy(random.random((4, 4)) < 0.4)
        if inside.any() and not inside.all():
            expected = roc_auc_score(inside.flatten(), score.flatten())
            assert _auc(score, inside, torch.ones_like(inside)) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["ViT", "CLIP", "Dinov2"])
def test_features_of_transformers_lie_on_the_patch_grid(name):
    model = family(name)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    grid = FeatureGrid(model, images)
    features = grid(images)
    assert features.shape == (3, 32, 4, 4)
    assert torch.allclose(grid(images[1:2]), features[1:2], atol=1e-5)
    changed = images.clone()
    changed[0, :, 8:16, 24:32] += 1.0
    moved = (grid(changed)[0] - features[0])[:16].norm(dim=0)
    assert moved.argmax() == 1 * 4 + 3


def test_features_of_a_cnn_come_from_its_two_coarsest_useful_grids():
    cnn = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(5, 6, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(6, 7, 3, padding=1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    images = torch.rand(2, 3, 24, 24)
    features = FeatureGrid(cnn, images)(images)
    assert features.shape == (2, 5 + 6, 12, 12)
    assert torch.equal(features[:, 6:], cnn[:4](images))


def test_cells_of_more_than_16_pixels_say_too_little():
    blocks = [nn.Sequential(nn.Conv2d(3, 3, 3, stride=2, padding=1), nn.ReLU()) for _ in range(5)]
    images = torch.rand(1, 3, 192, 200)
    features = FeatureGrid(nn.Sequential(*blocks), images)(images)
    assert features.shape == (1, 6, 24, 25)  # 8 and 16 pixels, not 32
    assert torch.equal(features[:, 3:], nn.Sequential(*blocks[:3])(images))


def test_a_network_whose_only_cells_are_large_is_asked_for_them():
    stem = nn.Sequential(nn.AvgPool2d(32), nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1))
    assert FeatureGrid(stem, torch.zeros(1, 3, 192, 192))(torch.zeros(2, 3, 192, 192)).shape == (2, 4, 6, 6)


def test_a_network_without_places_is_refused():
    with pytest.raises(ValueError, match="neither feature maps"):
        FeatureGrid(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(1, 3, 2, 2))
