"""Priors against golden numbers and slow loops that follow the definitions."""

import dataclasses
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wherenot.priors import Prior, allowed_pixels

GOLDEN = json.loads((Path(__file__).parent / "golden" / "cases.json").read_text())["G06_overlap"]
PHIS = ("coverage", "iou", "prior_fraction", "min")


def g06():
    """Region 0 of the golden case is rows 0..3, columns 0..4; the prior is rows 3..8, columns 2..7."""
    labels = torch.ones(10, 10, dtype=torch.long)
    labels[0:4, 0:5] = 0
    return labels, Prior.from_boxes([[2, 3, 8, 9]], 10, 10)


def random_case(seed, height=9, width=7, num_regions=5):
    generator = torch.Generator().manual_seed(seed)

    def coin(share):
        return torch.rand(height, width, generator=generator) < share

    labels = torch.randint(0, num_regions, (height, width), generator=generator)
    allowed, forbidden, ignore = coin(0.4), coin(0.2), coin(0.2)
    allowed[0, 0], forbidden[0, 0], ignore[0, 0] = True, False, False
    allowed[0, 1], forbidden[0, 1], ignore[0, 1] = False, True, False
    return labels, Prior(allowed, forbidden, ignore)


def slow_overlap(labels, area, ignore, num_regions, phi):
    values = []
    for region in range(num_regions):
        size = inside = prior = 0
        for row in range(labels.shape[0]):
            for column in range(labels.shape[1]):
                if ignore is not None and ignore[row, column]:
                    continue
                in_region = labels[row, column].item() == region
                in_prior = bool(area[row, column])
                size += in_region
                prior += in_prior
                inside += in_region and in_prior
        below = {"coverage": size, "iou": size + prior - inside, "prior_fraction": prior, "min": min(size, prior)}
        values.append(inside / below[phi] if size else 0.0)
    return values


# --- overlap and the two rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("phi", ["coverage", "iou", "prior_fraction"])
def test_g06_overlap(phi):
    labels, prior = g06()
    assert round(prior.overlap(labels, 2, phi)[0].item(), 6) == GOLDEN[phi]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("phi", ["coverage", "min"])  # X06: min is 3/20, too
def test_g06_tie_is_on_prior_and_strictly_off_in_every_precision(dtype, phi):
    labels, prior = g06()
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        off = prior.off_prior(labels, 2, phi=phi, tau=0.15)
        strictly_off = prior.off_prior(labels, 2, phi=phi, tau=0.15, strict=True)
    finally:
        torch.set_default_dtype(before)
    assert (not off[0]) is GOLDEN["core_on_prior"]
    assert (not strictly_off[0]) is GOLDEN["legacy_on_prior"]
    assert prior.overlap(labels, 2, phi)[0].item() == 0.15


@pytest.mark.parametrize("denominator", range(2, 60))
def test_every_tie_of_hundredths_reaches_tau(denominator):
    for numerator in range(1, denominator + 1):
        tau = numerator / denominator
        prior = Prior.from_boxes([[0, 0, numerator, 1]], 1, 60)
        labels = (torch.arange(60) >= denominator).long()[None]
        assert not prior.off_prior(labels, 2, tau=tau)[0]
        assert numerator == denominator or prior.off_prior(labels, 2, tau=tau, strict=True)[0]


def test_strict_is_the_formula_of_the_older_scripts():
    prior = Prior.from_boxes([[0, 0, 4, 1]], 1, 60)
    labels = (torch.arange(60) >= 20).long()[None]
    assert not prior.off_prior(labels, 2, tau=4 / (20 + 2e-6), strict=True)[0]  # just below 4 / (20 + 1e-6)
    assert prior.off_prior(labels, 2, tau=4 / (20 + 0.5e-6), strict=True)[0]  # just above it, though below 4 / 20


@pytest.mark.parametrize("phi", PHIS)
@pytest.mark.parametrize("seed", range(5))
def test_overlap_and_off_prior_agree_with_loops(seed, phi):
    labels, prior = random_case(seed)
    on_allowed = slow_overlap(labels, prior.allowed, prior.ignore, 7, phi)
    on_forbidden = slow_overlap(labels, prior.forbidden, prior.ignore, 7, phi)
    assert prior.overlap(labels, 7, phi).tolist() == on_allowed
    for tau in (0.05, 0.15, 0.3, 0.6, 1.0):
        off = [(on_allowed[r] < tau or on_forbidden[r] >= tau) and r < 5 for r in range(7)]
        assert prior.off_prior(labels, 7, phi=phi, tau=tau).tolist() == off


@pytest.mark.parametrize("phi", PHIS)
def test_relabelling_regions_permutes_overlaps(phi):
    labels, prior = random_case(11)
    permutation = torch.tensor([3, 0, 4, 1, 2])
    renamed = permutation[labels]
    assert prior.overlap(renamed, 5, phi)[permutation].equal(prior.overlap(labels, 5, phi))
    assert prior.off_prior(renamed, 5, phi=phi)[permutation].equal(prior.off_prior(labels, 5, phi=phi))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotating_image_and_prior_together_changes_nothing(turns):
    labels, prior = random_case(12)
    turned = Prior(*(torch.rot90(grid, turns) for grid in (prior.allowed, prior.forbidden, prior.ignore)))
    assert turned.overlap(torch.rot90(labels, turns), 5).equal(prior.overlap(labels, 5))
    assert turned.off_prior(torch.rot90(labels, turns), 5).equal(prior.off_prior(labels, 5))


def test_ignored_pixels_count_neither_as_region_nor_as_prior():
    prior = Prior.from_boxes([[0, 0, 3, 1]], 1, 6)
    labels = torch.tensor([[0, 0, 1, 1, 1, 2]])
    ignoring = prior.with_ignore(torch.tensor([[True, False, False, True, False, True]]))
    assert ignoring.overlap(labels, 3).tolist() == [1.0, 0.5, 0.0]
    assert ignoring.overlap(labels, 3, "prior_fraction").tolist() == [0.5, 0.5, 0.0]
    assert ignoring.overlap(labels, 3, "iou").tolist() == [0.5, 1 / 3, 0.0]


def test_a_region_without_countable_pixels_is_never_off_prior():
    prior = Prior.from_boxes([[0, 0, 1, 1]], 1, 3).with_ignore(torch.tensor([[False, False, True]]))
    labels = torch.tensor([[0, 1, 2]])
    assert prior.overlap(labels, 5).tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
    for strict in (False, True):
        assert prior.off_prior(labels, 5, strict=strict).tolist() == [False, True, False, False, False]


def test_forbidden_alone_lets_evidence_lie_anywhere_else():
    prior = Prior.from_boxes([[0, 0, 3, 1]], 1, 40, forbidden=True)
    labels = torch.tensor([[0] * 20 + [1] * 20])
    for phi in PHIS:
        assert prior.overlap(labels, 3, phi).tolist() == [1.0, 1.0, 0.0]
        assert prior.overlap(torch.arange(40)[None], 41, phi).tolist() == [1.0] * 40 + [0.0]
    assert prior.off_prior(labels, 3, tau=0.15).tolist() == [True, False, False]  # the tie 3/20 reaches
    assert prior.off_prior(labels, 3, tau=0.15, strict=True).tolist() == [False, False, False]
    assert prior.off_prior(labels, 3, tau=0.16).tolist() == [False, False, False]


def test_forbidden_wins_over_allowed():
    prior = Prior.from_boxes([[0, 0, 4, 1]], 1, 8).with_forbidden(torch.arange(8)[None] < 2)
    assert prior.off_prior(torch.arange(8)[None] // 2, 4).tolist() == [True, False, True, True]
    assert prior.evidence_allowed().tolist() == [[False, False, True, True, False, False, False, False]]


def test_a_prior_is_never_changed_and_equals_only_itself():
    prior = Prior.from_boxes([[0, 0, 1, 1]], 2, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        prior.allowed = None
    assert prior in {prior}
    assert prior != Prior.from_boxes([[0, 0, 1, 1]], 2, 2)


# --- combining -------------------------------------------------------------------------------------------------------


def test_uniting_two_priors():
    left, right = Prior.from_boxes([[0, 0, 1, 1]], 1, 4), Prior.from_boxes([[1, 0, 2, 1]], 1, 4)
    not_third = Prior.from_boxes([[2, 0, 3, 1]], 1, 4, forbidden=True).with_ignore(torch.arange(4)[None] == 3)
    both = left | right | not_third
    assert both.allowed is not None
    assert both.allowed.tolist() == [[True, True, False, False]]
    assert both.forbidden is not None
    assert both.forbidden.tolist() == [[False, False, True, False]]
    assert both.ignore is not None
    assert both.ignore.tolist() == [[False, False, False, True]]
    twice = both.with_ignore(torch.arange(4)[None] == 0).ignore
    assert twice is not None
    assert twice.tolist() == [[True, False, False, True]]


def test_combining_leaves_the_prior_alone():
    prior = Prior.from_boxes([[0, 0, 2, 2]], 3, 3)
    before = prior.evidence_allowed().clone()
    prior.with_forbidden(torch.eye(3) > 0)
    prior.with_ignore(torch.eye(3) > 0)
    prior.dilate(1)
    prior.resize(2, 2)
    assert prior.evidence_allowed().equal(before)
    assert prior.forbidden is None
    assert prior.ignore is None


def test_allowed_pixels_stacks_and_fills_in():
    prior = Prior.from_boxes([[0, 0, 1, 1]], 2, 2)
    stacked = allowed_pixels([None, prior, None], 2, 2)
    assert stacked.tolist() == [[[True] * 2] * 2, [[True, False], [False, False]], [[True] * 2] * 2]
    assert allowed_pixels([], 2, 2).shape == (0, 2, 2)
    with pytest.raises(ValueError, match=r"allowed_pixels: priors of size \{1: \(2, 2\)\}, images of \(2, 3\)"):
        allowed_pixels([None, prior], 2, 3)


# --- resize and dilate -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(5, 5), (13, 4), (1, 1), (20, 31), (7, 9), (3, 40)])
def test_resize_samples_like_pillow_and_nearest_exact(size):
    allowed = torch.rand(9, 7, generator=torch.Generator().manual_seed(0)) < 0.5
    allowed[4, 3] = True  # the centre: sampled by 1 x 1, so nothing is lost
    resized = Prior(allowed).resize(*size).evidence_allowed()
    pillow = Image.fromarray(allowed.numpy().astype(np.uint8)).resize(size[::-1], Image.Resampling.NEAREST)
    torchs = torch.nn.functional.interpolate(allowed[None, None].double(), size, mode="nearest-exact")[0, 0] > 0
    assert resized.equal(torch.from_numpy(np.array(pillow) > 0))
    assert resized.equal(torchs)


def test_resize_takes_forbidden_and_ignore_along():
    labels, prior = random_case(3)
    del labels
    resized = prior.resize(18, 21)
    for name in ("allowed", "forbidden", "ignore"):
        big = getattr(prior, name).repeat_interleave(2, 0).repeat_interleave(3, 1)
        assert getattr(resized, name).equal(big)


def test_resize_back_to_the_same_size_changes_nothing():
    _, prior = random_case(4)
    for name in ("allowed", "forbidden", "ignore"):
        assert getattr(prior.resize(9, 7), name).equal(getattr(prior, name))


@pytest.mark.parametrize("at", [(0, 0), (3, 9), (9, 9), (4, 5), (7, 2)])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 4), (4, 3)])
def test_a_prior_of_one_pixel_survives_any_grid(at, size):
    allowed = torch.zeros(10, 10, dtype=torch.bool)
    allowed[at] = True
    resized = Prior(allowed).resize(*size).evidence_allowed()
    assert resized.any()
    for row in range(size[0]):
        for column in range(size[1]):
            rows = row * 10 / size[0] < at[0] + 1 and (row + 1) * 10 / size[0] > at[0]
            columns = column * 10 / size[1] < at[1] + 1 and (column + 1) * 10 / size[1] > at[1]
            assert not resized[row, column] or (rows and columns)  # only where the pixel really is


def test_resize_uses_any_overlap_only_when_nearest_loses_everything():
    column = torch.zeros(4, 4, dtype=torch.bool)
    column[:, 0] = True
    assert Prior(column).resize(2, 2).evidence_allowed().tolist() == [[True, False], [True, False]]
    column[1, 1] = True  # sampled
    assert Prior(column).resize(2, 2).evidence_allowed().tolist() == [[True, False], [False, False]]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("size", [(2, 3), (3, 2), (5, 4)])
def test_resize_keeps_something_of_allowed_and_of_forbidden(seed, size):
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.randint(0, 30, (2,), generator=generator), torch.randperm(30, generator=generator)
    masks = torch.zeros(3, 30, 30, dtype=torch.bool)
    masks[0, rows[0], columns[0]] = True
    masks[1, rows[1], columns[1]] = True
    masks[2] = ~masks[0] & ~masks[1]
    prior = Prior(*masks)
    if (rows[0] * size[0] // 30, columns[0] * size[1] // 30) == (rows[1] * size[0] // 30, columns[1] * size[1] // 30):
        with pytest.raises(ValueError, match="too coarse to hold both"):  # both marks within one output pixel
            prior.resize(*size)
    else:
        resized = prior.resize(*size)
        assert resized.forbidden is not None
        assert resized.ignore is not None
        assert (resized.evidence_allowed() & ~resized.ignore).any()
        assert (resized.forbidden & ~resized.ignore).any()


def test_resize_opens_what_nearest_had_closed_and_no_more():
    masks = torch.zeros(3, 4, 4, dtype=torch.bool)
    masks[0, 0, 0] = True  # between the samples, which are rows and columns 1 and 3
    masks[1, 1, 1] = masks[1, 3, 3] = True
    masks[2, 1, 1] = masks[2, 1, 3] = True
    resized = Prior(*masks).resize(2, 2)
    assert [getattr(resized, name).tolist() for name in ("allowed", "forbidden", "ignore")] == [
        [[True, False], [False, False]],
        [[False, False], [False, True]],
        [[False, True], [False, False]],
    ]
    masks[1, 3, 3] = False
    masks[1, 2, 2] = True  # now forbidden lies between them, too
    resized = Prior(*masks).resize(2, 2)
    assert resized.forbidden.tolist() == [[False, False], [False, True]]
    assert resized.ignore.tolist() == [[False, True], [False, False]]


def test_a_threshold_of_0_asks_for_a_common_pixel():
    prior, labels = Prior.from_boxes([[0, 0, 1, 1]], 1, 3), torch.tensor([[0, 0, 1]])
    assert prior.off_prior(labels, 2, tau=0, strict=True).tolist() == [False, True]


def test_resize_may_take_a_speck_of_forbidden_out_of_a_large_allowed_area():
    speck = torch.zeros(8, 8, dtype=torch.bool)
    speck[0, 0] = True
    resized = Prior(~speck & (torch.arange(8) < 8), speck).resize(2, 2)
    assert resized.evidence_allowed().tolist() == [[False, True], [True, True]]


def test_resize_refuses_what_cannot_be():
    prior = Prior.from_boxes([[0, 0, 1, 1]], 2, 2).with_forbidden(torch.tensor([[False, True], [False, False]]))
    with pytest.raises(ValueError, match="1 x 1 is too coarse to hold both"):
        prior.resize(1, 1)
    with pytest.raises(ValueError, match=r"Prior.resize: height 0, width 3"):
        prior.resize(0, 3)


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 50])
def test_dilate_agrees_with_a_loop(radius):
    _, prior = random_case(6)
    sparse = Prior(torch.rand(9, 7, generator=torch.Generator().manual_seed(2)) < 0.05, prior.forbidden, prior.ignore)
    grown = sparse.dilate(radius)
    assert sparse.allowed is not None
    expected = torch.zeros_like(sparse.allowed)
    for row, column in sparse.allowed.nonzero().tolist():
        for i in range(9):
            for j in range(7):
                if max(abs(i - row), abs(j - column)) <= radius:
                    expected[i, j] = True
    assert grown.allowed is not None
    assert grown.allowed.equal(expected)
    assert grown.forbidden is prior.forbidden
    assert grown.ignore is prior.ignore


def test_dilate_without_allowed_or_with_a_negative_radius():
    prior = Prior.from_boxes([[0, 0, 1, 1]], 3, 3, forbidden=True)
    assert prior.dilate(1) is prior
    with pytest.raises(ValueError, match="radius_px is -1"):
        prior.dilate(-1)


# --- shapes ----------------------------------------------------------------------------------------------------------


def test_boxes_are_xyxy_half_open_and_united():
    inside = Prior.from_boxes([[1, 0, 3, 2], [4, 3, 5, 4]], 4, 5).evidence_allowed()
    expected = torch.zeros(4, 5, dtype=torch.bool)
    expected[0:2, 1:3] = True
    expected[3, 4] = True
    assert inside.equal(expected)
    assert Prior.from_boxes([[0.9, 0, 1.1, 1]], 1, 3).evidence_allowed().tolist() == [[True, True, False]]
    assert Prior.from_boxes([[0, 0, 5, 4]], 4, 5).evidence_allowed().all()


def test_polygon_agrees_with_a_loop_over_pixel_centres():
    polygon = [1.0, 0.5, 8.2, 2.0, 5.0, 9.5, 4.1, 3.3, 0.2, 7.0]  # not convex
    inside = Prior.from_polygons([polygon], 10, 9).evidence_allowed()
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    for row in range(10):
        for column in range(9):
            x, y, odd = column + 0.5, row + 0.5, False
            for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
                if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                    odd = not odd
            assert bool(inside[row, column]) is odd
    assert inside.sum() > 15


def test_polygons_with_the_corners_of_boxes_are_the_boxes():
    boxes = [[0, 0, 3, 2], [2, 1, 6, 5], [0, 4, 1, 5]]
    polygons = [[x0, y0, x1, y0, x1, y1, x0, y1] for x0, y0, x1, y1 in boxes]
    backwards = [[x0, y0, x0, y1, x1, y1, x1, y0] for x0, y0, x1, y1 in boxes]
    expected = Prior.from_boxes(boxes, 5, 6).evidence_allowed()
    assert Prior.from_polygons(polygons, 5, 6).evidence_allowed().equal(expected)
    assert Prior.from_polygons(backwards, 5, 6).evidence_allowed().equal(expected)


def test_a_star_that_crosses_itself_is_hollow():
    star = [5, 0, 8, 10, 0, 4, 10, 4, 2, 10]
    inside = Prior.from_polygons([star], 10, 10).evidence_allowed()
    assert not inside[5, 4]  # the pentagon in the middle, crossed twice
    assert inside[2, 4]  # the top spike


def test_rle_runs_down_the_columns():
    inside = Prior.from_rle({"size": [3, 4], "counts": [2, 3, 0, 1, 6]}).evidence_allowed()
    flat = [0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert inside.int().tolist() == [[flat[column * 3 + row] for column in range(4)] for row in range(3)]


@pytest.mark.parametrize("seed", range(5))
def test_compressed_rle_agrees_with_pycocotools(seed):
    from pycocotools import mask as coco

    inside = np.random.default_rng(seed).random((11, 6)) < 0.4
    packed = coco.encode(np.asfortranarray(inside.astype(np.uint8)))
    for counts in (packed["counts"], packed["counts"].decode()):
        prior = Prior.from_rle({"size": [11, 6], "counts": counts})
        assert prior.evidence_allowed().equal(torch.from_numpy(inside))
    for size in ([11, 7], [12, 6], [11, 5]):
        with pytest.raises(ValueError, match=r"do not describe"):
            Prior.from_rle({"size": size, "counts": packed["counts"]})
    with pytest.raises(ValueError, match=r"do not describe 11 x 6 pixels"):
        Prior.from_rle({"size": [11, 6], "counts": packed["counts"][:-3]})


@pytest.mark.parametrize("seed", range(4))
def test_compressed_rle_made_to_break_its_reader_is_refused(seed):
    """Of such strings a few hundred make pycocotools 2.0.11 write over the memory, and the process ends."""
    chance = random.Random(seed)
    for _ in range(500):
        counts = bytes(chance.randrange(0 if seed == 3 else 48, 112) for _ in range(chance.randrange(200)))
        with pytest.raises(ValueError, match=r"do not describe 16 x 24 pixels"):
            Prior.from_rle({"size": [16, 24], "counts": counts})


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [16, 24], "counts": [2**62, 2**62, 2**62, 2**62, 384]},  # 384 in 64 bits
        {"size": [16, 24], "counts": [10**400]},
        {"size": [16, 24], "counts": [[384]]},
        {"size": [16, 24], "counts": [384.0]},
        {"size": [16.0, 24.0], "counts": [384]},
        {"size": [True, True], "counts": [1]},
        {"size": 16, "counts": [384]},
        {"size": "ab", "counts": [384]},
    ],
)
def test_run_lengths_that_are_none(rle):
    with pytest.raises(ValueError, match=r"decode_rle: "):
        Prior.from_rle(rle)


def test_click_agrees_with_a_loop():
    for x, y, radius in [(3.2, 4.9, 2.5), (0, 0, 1), (6.99, 8.99, 3), (2.0, 2.0, 0), (3.5, 3.5, 2)]:
        inside = Prior.from_click(x, y, 9, 7, radius).evidence_allowed()
        for row in range(9):
            for column in range(7):
                near = (column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2 <= radius**2
                clicked = column <= x < column + 1 and row <= y < row + 1
                assert bool(inside[row, column]) is (near or clicked)


@pytest.mark.parametrize(
    "make",
    [
        lambda forbidden: Prior.from_mask(torch.tensor([[True, False]]), forbidden=forbidden),
        lambda forbidden: Prior.from_boxes([[0, 0, 1, 1]], 1, 2, forbidden=forbidden),
        lambda forbidden: Prior.from_polygons([[0, 0, 1, 0, 1, 1, 0, 1]], 1, 2, forbidden=forbidden),
        lambda forbidden: Prior.from_rle({"size": [1, 2], "counts": [0, 1, 1]}, forbidden=forbidden),
        lambda forbidden: Prior.from_click(0.5, 0.5, 1, 2, 0.2, forbidden=forbidden),
    ],
)
def test_each_constructor_makes_where_not_priors_too(make):
    assert make(False).evidence_allowed().tolist() == [[True, False]]
    assert make(False).forbidden is None
    assert make(True).evidence_allowed().tolist() == [[False, True]]
    assert make(True).allowed is None
