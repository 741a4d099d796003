import inspect
import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from wherenot.metrics import area_axis, deletion_auc, highest_confidence, insertion_auc

GOLDEN = json.loads((Path(__file__).parent / "golden" / "cases.json").read_text())
SHARES = [0.1, 0.2, 0.3, 0.4]  # of G08's regions 0..3
G07, G08 = GOLDEN["G07_greedy"], GOLDEN["G08_auc"]


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def golden_axis():
    return area_axis(double([SHARES[region] for region in G08["order"]]))


def slow_area(scores, axis):
    return sum(
        (right - left) * (low + high) / 2
        for (left, right), (low, high) in zip(pairwise(axis), pairwise(scores), strict=True)
    )


def random_curve(seed, num_regions=12):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(1, 100, (num_regions,), generator=generator)
    return area_axis(pixels / pixels.sum()), torch.rand(num_regions, generator=generator, dtype=torch.float64)


def test_axis_golden():
    assert golden_axis().tolist() == pytest.approx([0, *G08["region_area"]], abs=1e-12)


def test_curves_golden():
    assert insertion_auc(G07["p_empty"], double(G07["ins"]), golden_axis()) == pytest.approx(
        G08["insertion_auc"], abs=1e-6
    )
    assert deletion_auc(G07["p_full"], double(G07["dele"]), golden_axis()) == pytest.approx(
        G08["deletion_auc"], abs=1e-6
    )
    assert highest_confidence(G07["p_empty"], double(G07["ins"])) == G08["avg_highest"]


def test_the_rank_axis_would_give_another_number():
    by_rank = insertion_auc(G07["p_empty"], double(G07["ins"]), torch.linspace(0, 1, 5, dtype=torch.float64))
    assert by_rank == pytest.approx(G08["insertion_auc_rank_axis"], abs=1e-6)
    assert abs(by_rank - G08["insertion_auc"]) > 0.04


@pytest.mark.parametrize("auc", [insertion_auc, deletion_auc])
@pytest.mark.parametrize("seed", range(5))
def test_auc_matches_a_loop(auc, seed):
    axis, scores = random_curve(seed)
    assert auc(0.3, scores, axis) == pytest.approx(slow_area([0.3, *scores.tolist()], axis.tolist()), abs=1e-12)


@pytest.mark.parametrize("auc", [insertion_auc, deletion_auc])
def test_auc_of_a_constant_is_the_constant_and_the_area_is_linear(auc):
    axis, scores = random_curve(7)
    assert auc(0.4, torch.full_like(scores, 0.4), axis) == pytest.approx(0.4)
    assert auc(0.6, 2 * scores, axis) == pytest.approx(2 * auc(0.3, scores, axis))
    assert auc(1.3, scores + 1, axis) == pytest.approx(1 + auc(0.3, scores, axis))


def test_deletion_equals_insertion_of_the_reverse_order():
    axis, scores = random_curve(8)
    reverse_axis = area_axis(axis.diff().flip(0))
    reverse_scores = torch.cat([scores[:-1].flip(0), double([0.9])])
    assert deletion_auc(0.9, scores, axis) == pytest.approx(
        insertion_auc(float(scores[-1]), reverse_scores, reverse_axis)
    )


def test_revealing_what_matters_first_scores_higher():
    axis = area_axis(double([0.25, 0.75]))
    assert insertion_auc(0.0, double([1.0, 1.0]), axis) == 0.875
    assert insertion_auc(0.0, double([0.0, 1.0]), axis) == 0.375
    assert deletion_auc(1.0, double([0.0, 0.0]), axis) == 0.125


def test_highest_confidence_includes_the_empty_image_and_short_orders():
    assert highest_confidence(0.9, double([0.5, 0.6])) == 0.9
    assert highest_confidence(0.1, double([0.5, 0.6])) == 0.6
    assert highest_confidence(0.9, double([])) == 0.9


def test_float32_shares_of_many_regions_still_reach_one():
    pixels = torch.randint(1, 2000, (500,), generator=torch.Generator().manual_seed(1))
    axis = area_axis(pixels.float() / pixels.sum())
    assert insertion_auc(1.0, torch.ones(500), axis) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("auc", [insertion_auc, deletion_auc])
def test_an_order_cut_short_is_refused_with_advice(auc):
    axis = area_axis(double([0.2, 0.15]))
    with pytest.raises(
        ValueError, match=rf"{auc.__name__}: the order covers 0\.35 .*search the whole order, or report"
    ):
        auc(0.0, double([0.5, 0.6]), axis)


def test_a_region_without_area_and_rounding_are_no_mistakes():
    axis = area_axis(double([0.0, 0.50002, 0.5, 0.00003]))
    assert axis.tolist() == pytest.approx([0, 0, 0.50002, 1.00002, 1.00005])
    assert insertion_auc(0.5, double([0.5] * 4), axis) == pytest.approx(0.5, abs=1e-4)
    assert deletion_auc(0.5, double([0.5]), double([0.0, 0.99995])) == pytest.approx(0.5, abs=1e-4)
    for end in (0.9998, 1.0002):
        with pytest.raises(ValueError, match="of the image and areas over different spans"):
            deletion_auc(0.5, double([0.5]), double([0.0, end]))
    with pytest.raises(ValueError, match=r"the areas sum to 1\.0002"):
        area_axis(double([0.5, 0.5002]))


def test_axes_that_are_no_areas_are_refused():
    with pytest.raises(ValueError, match="negative or NaN"):
        area_axis(double([0.5, -0.1]))
    with pytest.raises(ValueError, match="negative or NaN"):
        area_axis(double([0.5, math.nan]))
    with pytest.raises(ValueError, match="sum to 300"):
        area_axis(double([100.0, 200.0]))


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ([0.5, 1.0], "2 scores need 3 areas, got \\(2,\\)"),
        ([0.0, 0.2, 0.5, 1.0], "2 scores need 3 areas, got \\(4,\\)"),
        ([-0.1, 0.5, 1.0], "must start at 0"),
        ([0.1, 0.5, 1.0], "must start at 0"),
        ([0.0, 1.2, 1.0], "never decrease"),
        ([0.0, math.nan, 1.0], "never decrease"),
        ([0.0, 0.5, math.nan], "never decrease"),
        ([0.0, 50.0, 100.0], "covers 100 of the image"),
    ],
)
def test_curves_refuse_other_axes(axis, message):
    with pytest.raises(ValueError, match=f"insertion_auc: .*{message}"):
        inspect.unwrap(insertion_auc)(0.0, double([0.5, 0.6]), double(axis))


def test_scores_that_are_not_finite_are_named():
    axis = area_axis(double([0.5, 0.5]))
    with pytest.raises(ValueError, match="deletion_auc: the score of step 2 is nan"):
        deletion_auc(0.9, double([0.5, math.nan]), axis)
    with pytest.raises(ValueError, match="deletion_auc: the score of step 1 is nan"):
        deletion_auc(0.9, double([math.nan, math.inf]), axis)
    with pytest.raises(ValueError, match="highest_confidence: the start value is inf"):
        highest_confidence(math.inf, double([0.5]))
