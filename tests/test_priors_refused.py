"""What a prior refuses: empty and contradictory masks, bad geometry, thresholds and labels that do not fit."""

import pytest
import torch

from wherenot.priors import Prior

NOTHING, ALL = torch.zeros(2, 3, dtype=torch.bool), torch.ones(2, 3, dtype=torch.bool)


def two_regions():
    labels = torch.ones(10, 10, dtype=torch.long)
    labels[0:4, 0:5] = 0
    return labels, Prior.from_boxes([[2, 3, 8, 9]], 10, 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Prior(), "neither allowed nor forbidden is given"),
        (lambda: Prior(ignore=ALL), "neither allowed nor forbidden is given"),
        (lambda: Prior.from_mask(NOTHING), "an empty prior: allowed, of size \\(2, 3\\), has no True pixel at all"),
        (lambda: Prior.from_mask(NOTHING, forbidden=True), "an empty prior: forbidden"),
        (lambda: Prior(allowed=ALL, ignore=ALL), "allowed, of size .* has no True pixel outside ignore"),
        (lambda: Prior.from_mask(ALL, forbidden=True), "evidence may lie nowhere"),
        (lambda: Prior.from_mask(ALL).with_forbidden(ALL), "evidence may lie nowhere"),
        (lambda: Prior.from_mask(ALL).with_ignore(torch.ones(3, 2, dtype=torch.bool)), "resize one of them first"),
        (lambda: Prior.from_mask(ALL) | Prior.from_mask(torch.ones(1, 3, dtype=torch.bool)), "cannot unite sizes"),
        (lambda: Prior.from_boxes([], 2, 3), "empty prior"),
        (lambda: Prior.from_boxes([[0, 0, 4, 1]], 2, 3), r"box \[0, 0, 4, 1\] has no area or leaves the image"),
        (lambda: Prior.from_boxes([[-1, 0, 1, 1]], 2, 3), "leaves the image"),
        (lambda: Prior.from_boxes([[0, 0, 1, 3]], 2, 3), "leaves the image"),
        (lambda: Prior.from_boxes([[1, 0, 1, 1]], 2, 3), "has no area"),
        (lambda: Prior.from_boxes([[0, 1, 1, 0]], 2, 3), "has no area"),
        (lambda: Prior.from_boxes([[0, 0, 1]], 2, 3), "not four finite numbers"),
        (lambda: Prior.from_boxes([[0, 0, float("nan"), 1]], 2, 3), "not four finite numbers"),
        (lambda: Prior.from_boxes([[0, 0, 1, 1]], 0, 3), "height 0, width 3"),
        (lambda: Prior.from_polygons([[0, 0, 1, 1]], 2, 3), "three or more pairs"),
        (lambda: Prior.from_polygons([[0, 0, 1, 1, 0, 1, 2]], 2, 3), "three or more pairs"),
        (lambda: Prior.from_polygons([[0, 0, 1, 1, 0, float("inf")]], 2, 3), "finite numbers"),
        (lambda: Prior.from_polygons([[0, 0, 4, 0, 0, 1]], 2, 3), "leaves the image"),
        (lambda: Prior.from_polygons([[0, 0, 0.2, 0, 0, 0.2]], 2, 3), "empty prior"),
        (lambda: Prior.from_rle({"counts": [6]}), r"got the keys \['counts'\]"),
        (lambda: Prior.from_rle({"size": [2, 3], "counts": [1, 4]}), "add up to 2 x 3 = 6"),
        (lambda: Prior.from_rle({"size": [2, 3], "counts": [7, -1]}), "whole numbers >= 0"),
        (lambda: Prior.from_rle({"size": [2, 3], "counts": [1.5, 4.5]}), "whole numbers >= 0"),
        (lambda: Prior.from_rle({"size": [2, 3], "counts": [6]}), "empty prior"),
        (lambda: Prior.from_click(3, 0, 2, 3, 1), r"point \(3, 0\) is outside the image"),
        (lambda: Prior.from_click(0, -0.1, 2, 3, 1), "outside the image"),
        (lambda: Prior.from_click(float("nan"), 0, 2, 3, 1), "outside the image"),
        (lambda: Prior.from_click(0, 0, 2, 3, -1), "radius_px is -1"),
        (lambda: Prior.from_click(0, 0, 2, 3, float("inf")), "radius_px is inf"),
    ],
)
def test_bad_priors_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("forbidden", "message"),
    [
        (torch.ones(3, 2, dtype=torch.bool), "masks differ in size"),
        (torch.ones(2, 3), "forbidden is 2-D torch.float32"),
        (torch.ones(1, 2, 3, dtype=torch.bool), "forbidden is 3-D torch.bool"),
        (torch.ones(3, dtype=torch.bool), "forbidden is 1-D torch.bool"),
    ],
)
def test_the_constructor_checks_its_masks_without_the_type_checker(forbidden, message):
    prior = object.__new__(Prior)  # the type checker of the tests sits in __init__ and would come first
    for name, grid in {"allowed": ALL, "forbidden": forbidden, "ignore": None}.items():
        object.__setattr__(prior, name, grid)
    with pytest.raises(ValueError, match=message):
        prior.__post_init__()


@pytest.mark.parametrize(
    ("tau", "strict"), [(0, False), (1.01, False), (-0.1, True), (1, True), (float("nan"), False), (float("nan"), True)]
)
def test_tau_outside_its_range_is_refused(tau, strict):
    labels, prior = two_regions()
    with pytest.raises(ValueError, match="tau is"):
        prior.off_prior(labels, 2, tau=tau, strict=strict)


def test_labels_that_do_not_fit_are_refused():
    labels, prior = two_regions()
    with pytest.raises(ValueError, match=r"labels are \(9, 10\).*resize or move the prior"):
        prior.overlap(labels[1:], 2)
    with pytest.raises(ValueError, match="labels run from 0 to 1, num_regions is 1"):
        prior.overlap(labels, 1)
    with pytest.raises(ValueError, match="labels run from -1 to 0"):
        prior.off_prior(labels - 1, 2)
