import inspect
import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from wherenot.metrics import (
    energy_pointing,
    iou,
    pointing_argmax,
    pointing_coverage,
    pointing_expected,
    pointing_touch,
    region_coverage,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "cases.json").read_text())
ON_MAPS = [pointing_argmax, pointing_expected, pointing_touch, energy_pointing, iou]


def rectangle(shape, rows, columns):
    plane = torch.zeros(1, *shape, dtype=torch.bool)
    plane[0, rows, columns] = True
    return plane


S1 = rectangle((6, 6), slice(0, 3), slice(0, 4))
PRIOR = rectangle((6, 6), slice(2, 6), slice(2, 6))
A = torch.tensor(
    [[[0.5, -0.2, 0.0, 0.1], [0.3, 0.9, 0.4, 0.0], [-0.1, 0.6, 1.0, 0.2], [0.0, 0.1, 0.2, -0.4]]], dtype=torch.float64
)
BOX = rectangle((4, 4), slice(1, 3), slice(1, 3))


def slow(name, values, inside, ignore, threshold=0.5, tolerance=0.0):
    """One image in plain loops, following each metric's sentence."""
    pixels = [
        (row, column) for row in range(len(values)) for column in range(len(values[0])) if not ignore[row][column]
    ]
    prior = [(row, column) for row, column in pixels if inside[row][column]]
    positive = {(row, column): max(values[row][column], 0.0) for row, column in pixels}
    top = max(values[row][column] for row, column in pixels)
    maximal = [(row, column) for row, column in pixels if values[row][column] == top]
    if name == "pointing_argmax":
        return any(math.dist(maximal[0], pixel) <= tolerance for pixel in prior)
    if name == "pointing_expected":
        return sum(pixel in prior for pixel in maximal) / len(maximal)
    if name == "pointing_touch":
        return any(pixel in prior for pixel in maximal)
    if name == "energy_pointing":
        total = sum(positive.values())
        return sum(positive[pixel] for pixel in prior) / total if total else math.nan
    low, high = min(positive.values()), max(positive.values())
    selected = [pixel for pixel in pixels if high > low and (positive[pixel] - low) / (high - low) > threshold]
    return len(set(selected) & set(prior)) / len(set(selected) | set(prior))


@pytest.fixture
def random_case():
    """Maps with ties and negative values, priors and ignored pixels, 40 images of 5x6."""
    generator = torch.Generator().manual_seed(11)
    maps = torch.randint(-4, 5, (40, 5, 6), generator=generator).double()
    maps[0], maps[1] = 2.0, -1.0
    inside = torch.rand(40, 5, 6, generator=generator) < 0.4
    ignore = torch.rand(40, 5, 6, generator=generator) < 0.2
    inside[:, 0, 0], ignore[:, 0, 0] = True, False
    return maps, inside, ignore


@pytest.mark.parametrize("metric", ON_MAPS)
@pytest.mark.parametrize("with_ignore", [False, True])
def test_metrics_on_maps_match_loops(metric, with_ignore, random_case):
    maps, inside, ignore = random_case
    ignore = ignore if with_ignore else torch.zeros_like(ignore)
    result = metric(maps, inside, ignore=ignore) if with_ignore else metric(maps, inside)
    expected = [
        slow(metric.__name__, *(plane[index].tolist() for plane in (maps, inside, ignore)))
        for index in range(len(maps))
    ]
    torch.testing.assert_close(result.double(), torch.tensor(expected).double(), equal_nan=True)


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 1.5, 2.0, 3.0])
def test_pointing_argmax_tolerance_matches_loops(tolerance, random_case):
    maps, inside, ignore = random_case
    inside = inside & (torch.arange(6) > 3)
    inside[:, 4, 5] = True
    ignore[:, 4, 5] = False
    result = pointing_argmax(maps, inside, tolerance, ignore=ignore)
    expected = [
        slow("pointing_argmax", *(plane[index].tolist() for plane in (maps, inside, ignore)), tolerance=tolerance)
        for index in range(len(maps))
    ]
    assert result.tolist() == expected


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.8])
def test_iou_threshold_matches_loops(threshold, random_case):
    maps, inside, ignore = random_case
    expected = [
        slow("iou", *(plane[index].tolist() for plane in (maps, inside, ignore)), threshold=threshold)
        for index in range(len(maps))
    ]
    assert iou(maps, inside, threshold, ignore=ignore).tolist() == pytest.approx(expected)


def test_point_games_golden():
    golden, heat = GOLDEN["G10_point_game"], S1.float()
    assert float(region_coverage(S1, PRIOR)) == pytest.approx(golden["cov"], abs=1e-6)
    assert bool(pointing_coverage(S1, PRIOR)) is golden["pg02"]
    assert bool(pointing_coverage(S1, PRIOR, 0.16)) is True
    assert bool(pointing_touch(heat, PRIOR)) is golden["eagle_any_hit"]
    assert bool(pointing_argmax(heat, PRIOR)) is golden["classic_first_argmax_hit"]
    assert float(pointing_expected(heat, PRIOR)) == pytest.approx(golden["expected_uniform_tie"], abs=1e-6)
    assert bool(pointing_argmax(heat, PRIOR, 15.0)) is golden["zhang_tol15_hit"]


def test_pointing_tolerance_of_case_x10():
    heat = S1.float()
    assert pointing_argmax(heat, PRIOR, 2.0).tolist() == [False]
    assert pointing_argmax(heat, PRIOR, 3.0).tolist() == [True]


@pytest.mark.parametrize("top_left", [-0.2, -2.0])
def test_energy_and_iou_golden_ignore_negative_evidence(top_left):
    golden, signed = GOLDEN["G13_model_guidance"], A.clone()
    signed[0, 0, 1] = top_left
    assert float(energy_pointing(signed, BOX)) == pytest.approx(golden["epg"], abs=1e-6)
    assert 1 - float(energy_pointing(signed, BOX)) == pytest.approx(golden["energy_loss"], abs=1e-6)
    assert float(iou(signed, BOX)) == golden["iou_05"] == golden["inter"] / golden["union"]


def test_coverage_equal_to_the_threshold_is_a_miss_for_every_fraction():
    for size in range(1, 60):
        top_region = torch.zeros(1, 1, 60, dtype=torch.bool)
        top_region[..., :size] = True
        for covered in range(1, size):
            inside = torch.zeros_like(top_region)
            inside[..., :covered] = True
            share = float(Fraction(covered, size))
            assert not pointing_coverage(top_region, inside, share)
            assert pointing_coverage(top_region, inside, share - 1e-4)


def test_coverage_matches_counting_with_ignored_pixels():
    generator = torch.Generator().manual_seed(2)
    top_region, inside, ignore = torch.rand(3, 50, 6, 6, generator=generator) < 0.4
    top_region[:, 0, 0] = inside[:, 0, 0] = True
    ignore[:, 0, 0] = False
    expected = []
    for index in range(50):
        region = {tuple(pixel) for pixel in (top_region[index] & ~ignore[index]).nonzero().tolist()}
        prior = {tuple(pixel) for pixel in inside[index].nonzero().tolist()}
        expected.append(len(region & prior) / len(region))
    assert region_coverage(top_region, inside, ignore=ignore).tolist() == pytest.approx(expected)
    assert pointing_coverage(top_region, inside, ignore=ignore).tolist() == [share > 0.2 for share in expected]


def test_an_ignored_pixel_is_neither_region_nor_prior():
    ignore = torch.zeros_like(S1)
    ignore[0, 0] = True  # leaves 8 pixels of S1, 2 of them in the prior
    assert region_coverage(S1, PRIOR, ignore=ignore).tolist() == [0.25]
    ignore[0, 2, 2] = True  # in both: 1 of 7
    assert region_coverage(S1, PRIOR, ignore=ignore).tolist() == pytest.approx([1 / 7])


def test_a_wholly_ignored_region_has_no_coverage_and_misses():
    assert region_coverage(S1, PRIOR, ignore=S1).isnan().tolist() == [True]
    assert pointing_coverage(S1, PRIOR, 0.0, ignore=S1).tolist() == [False]


@pytest.mark.parametrize("metric", ON_MAPS)
@pytest.mark.parametrize("scale", [2.0**-140, 2.0**-10, 2.0**100, 2.0**124])
def test_a_positive_factor_changes_nothing(metric, scale, random_case):
    maps, inside, ignore = random_case
    maps = maps.float()
    result = metric(maps * scale, inside, ignore=ignore)
    torch.testing.assert_close(result, metric(maps, inside, ignore=ignore), equal_nan=True, rtol=1e-6, atol=0)


@pytest.mark.parametrize("metric", ON_MAPS)
def test_an_image_does_not_depend_on_its_batch(metric, random_case):
    maps, inside, ignore = random_case
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    whole = metric(maps, inside, ignore=ignore)
    shuffled = metric(maps[order], inside[order], ignore=ignore[order])
    torch.testing.assert_close(shuffled, whole[order], equal_nan=True, rtol=0, atol=0)
    alone = torch.cat([metric(maps[[i]], inside[[i]], ignore=ignore[[i]]) for i in range(40)])
    torch.testing.assert_close(alone, whole, equal_nan=True, rtol=0, atol=0)


def test_energy_inside_and_outside_add_up(random_case):
    maps, inside, _ = random_case
    outside = ~inside
    outside[:, 4, 4], inside[:, 4, 4] = True, False
    total = energy_pointing(maps, inside) + energy_pointing(maps, outside)
    assert total.isnan().tolist() == (maps <= 0).flatten(1).all(dim=1).tolist()
    torch.testing.assert_close(total[~total.isnan()], torch.ones_like(total[~total.isnan()]))


def test_constant_maps():
    inside = rectangle((2, 4), 0, slice(0, 3))
    for level in (0.0, 1.0, -1.0):
        constant = torch.full((1, 2, 4), level)
        assert pointing_touch(constant, inside).tolist() == [True]
        assert pointing_expected(constant, inside).tolist() == [0.375]
        assert pointing_argmax(constant, ~inside).tolist() == [False]
        assert iou(constant, inside).tolist() == [0.0]
    assert energy_pointing(torch.full((1, 2, 4), 1.0), inside).tolist() == [0.375]
    assert energy_pointing(torch.full((1, 2, 4), -1.0), inside).isnan().tolist() == [True]


def test_touch_is_not_fooled_by_a_maximum_of_zero():
    heat = torch.tensor([[[0.0, -1.0, -2.0]]])
    inside = torch.tensor([[[False, True, False]]])
    assert pointing_touch(heat, inside).tolist() == [False]
    assert pointing_touch(heat - 1, inside).tolist() == [False]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_cut_the_sums(dtype):
    heat = torch.ones(1, 300, 300, dtype=dtype)
    assert float(energy_pointing(heat, rectangle((300, 300), slice(0, 100), slice(0, 300)))) == pytest.approx(1 / 3)


@pytest.mark.parametrize("metric", ON_MAPS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_maps_that_are_not_finite_are_named(metric, value):
    maps = A.repeat(3, 1, 1)
    maps[1:, 0, 0] = value
    with pytest.raises(ValueError, match=rf"{metric.__name__}: map\[1\] has NaN or infinite"):
        metric(maps, BOX.repeat(3, 1, 1))


@pytest.mark.parametrize("metric", [region_coverage, *ON_MAPS])
def test_priors_that_are_empty_or_of_another_shape_are_refused(metric):
    judged = S1.repeat(2, 1, 1) if metric is region_coverage else S1.float().repeat(2, 1, 1)
    inside = PRIOR.repeat(2, 1, 1)
    half = inside & torch.tensor([True, False])[:, None, None]
    unchecked = inspect.unwrap(metric)
    with pytest.raises(ValueError, match=rf"{metric.__name__}: inside\[1\] has no pixel"):
        metric(judged.repeat(2, 1, 1)[:3], torch.cat([half, half & ~half])[:3])
    with pytest.raises(ValueError, match=rf"{metric.__name__}: inside\[0\] has no pixel"):
        metric(judged, inside, ignore=inside)
    with pytest.raises(ValueError, match=r"\(2, 6, 6\), inside \(1, 6, 6\) must be one shape"):
        unchecked(judged, PRIOR)
    with pytest.raises(ValueError, match=r"ignore \(1, 6, 6\) must be one shape"):
        unchecked(judged, inside, ignore=PRIOR)
    with pytest.raises(ValueError, match=r"\(6, 6\), inside \(6, 6\) must be one shape"):
        unchecked(judged[0], inside[0])
    with pytest.raises(ValueError, match=r"torch\.uint8 .* must be boolean"):
        unchecked(judged, inside.byte())


def test_regions_thresholds_and_tolerances_are_checked():
    with pytest.raises(ValueError, match=r"top_region\[1\] has no pixel"):
        region_coverage(torch.cat([S1, S1 & ~S1, S1 & ~S1]), PRIOR.repeat(3, 1, 1))
    with pytest.raises(ValueError, match=r"top_region \(1, 6, 6\), inside \(2, 6, 6\)"):
        inspect.unwrap(region_coverage)(S1, PRIOR.repeat(2, 1, 1))
    for metric, judged, inside in ((pointing_coverage, S1, PRIOR), (iou, A, BOX)):
        for threshold in (20.0, 1.0, -0.1, math.nan):
            with pytest.raises(ValueError, match=rf"{metric.__name__}: threshold={threshold}"):
                metric(judged, inside, threshold)
    with pytest.raises(ValueError, match=r"tolerance_px=-1\.0"):
        pointing_argmax(A, BOX, -1.0)
