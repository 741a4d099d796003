import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from wherenot.given_regions import from_boxes, from_masks
from wherenot.regions import Grid, OpenCVSlico, Seeds, Slico, parse_partition

CAT = np.asarray(Image.fromarray(skimage.data.cat()).resize((224, 224)))


@pytest.mark.parametrize("division", [50, 64, 36])
def test_opencv_slico_is_the_authors_call(division):
    # As they write it: region size from the division number, ruler 20, 20 iterations, pixels as OpenCV reads them.
    bgr = cv2.cvtColor(CAT, cv2.COLOR_RGB2BGR)
    side = int((224 * 224 / division) ** 0.5)
    slic = cv2.ximgproc.createSuperpixelSLIC(bgr, region_size=side, ruler=20.0)
    slic.iterate(20)
    assert np.array_equal(OpenCVSlico(division)(CAT), slic.getLabels())
    assert OpenCVSlico(division)(CAT).max() + 1 == slic.getNumberOfSuperpixels()


def test_seeds_are_limas_call():
    bgr = cv2.cvtColor(CAT, cv2.COLOR_RGB2BGR)
    seeds = cv2.ximgproc.createSuperpixelSEEDS(224, 224, 3, 50, 3)
    seeds.iterate(bgr, 10)
    labels = Seeds(50)(CAT)
    assert np.array_equal(labels, seeds.getLabels())
    assert labels.max() + 1 == 49


@pytest.mark.parametrize("text", ["opencv-slico:50", "seeds:50", "slico:50"])
def test_superpixels_of_an_image_smaller_than_the_partition(text):
    with pytest.raises(ValueError, match="50 regions do not fit into 6 x 8 pixels"):
        parse_partition(text)(CAT[:6, :8])


@pytest.mark.parametrize("kind", [Slico, OpenCVSlico, Seeds])
def test_superpixels_need_a_number(kind):
    with pytest.raises(ValueError, match="num_regions must be >= 1"):
        kind(0)


def test_without_the_contrib_module_the_way_out_is_named(monkeypatch):
    monkeypatch.delattr(cv2.ximgproc, "createSuperpixelSLIC")
    with pytest.raises(ValueError, match=r"wherenot\[opencv\]"):
        OpenCVSlico()(CAT)


def test_boxes_lie_on_cells():
    labels = from_boxes([[2, 2, 8, 8], [0, 0, 10, 4], [3, 3, 5, 5]], 10, 10, background=Grid(2, 1))
    assert labels[9, 0] == 4
    assert labels[4, 0] == 3  # the upper cell
    assert (labels[:2] == 1).all()
    # Of overlapping boxes the smaller one shows.
    assert labels[2, 2] == 0
    assert (labels[3:5, 3:5] == 2).all()
    assert (labels[5:8, 2:8] == 0).all()


def test_a_box_that_is_covered_has_no_region():
    labels = from_boxes([[0, 0, 4, 2], [0, 0, 2, 2], [2, 0, 4, 2]], 4, 4, background=Grid(1, 1))
    assert labels[:2].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]
    assert (labels[2:] == 2).all()


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([0, 0, 5], "four finite numbers"),
        ([0, 0, float("nan"), 2], "four finite numbers"),
        ([3, 0, 3, 2], "is empty or not inside"),
        ([0, 0, 11, 2], "is empty or not inside"),
        ([-1, 0, 3, 2], "is empty or not inside"),
    ],
)
def test_wrong_boxes_are_named(box, message):
    with pytest.raises(ValueError, match=f"box 1.*{message}"):
        from_boxes([[0, 0, 1, 1], box], 10, 10)


def test_overlapping_masks_become_disjoint():
    masks = np.zeros((4, 20, 100), bool)
    masks[0, :, :50] = True  # large; loses what it shares with the small one: a smaller part of it
    masks[1, 5:15, 40:60] = True
    masks[2, 0, 99] = True  # exactly 1 / 2000: not more than 0.0005
    labels = from_masks(masks)
    assert (labels[5:15, 40:60] == 1).all()
    assert (labels[:5, :50] == 0).all()
    assert (labels[:, 60:] == 2).all()
    assert labels.max() == 2


def test_masks_that_cover_everything_leave_no_rest():
    masks = np.stack([np.arange(40).reshape(4, 10) < 20, np.arange(40).reshape(4, 10) >= 20])
    assert from_masks(masks).max() == 1
    assert (from_masks(np.zeros((0, 4, 4), bool)) == 0).all()
    with pytest.raises(ValueError, match="at least one pixel"):
        from_masks(np.zeros((2, 0, 4), bool))
