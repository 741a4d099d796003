import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from wherenot.masking import Normalization
from wherenot.regions import Grid, Slico, consecutive, count_regions, label_maps, parse_partition, uint8_pixels

CAT = np.asarray(Image.fromarray(skimage.data.cat()).resize((224, 224)))


def test_slico_cuts_a_photograph_into_about_fifty_compact_regions():
    labels = Slico(50)(CAT)
    sizes = np.bincount(labels.ravel())
    assert labels.shape == (224, 224)
    assert 40 <= len(sizes) <= 60
    assert sizes.min() > 0
    assert np.median(sizes) == pytest.approx(224 * 224 / len(sizes), rel=0.3)
    for region in range(0, len(sizes), 7):
        rows, columns = np.nonzero(labels == region)
        assert rows.std() < 40
        assert columns.std() < 40


def test_slico_is_deterministic_and_follows_edges():
    assert np.array_equal(Slico(50)(CAT), Slico(50)(CAT.copy()))
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[:, 37:] = 255
    labels = Slico(16)(halves)
    assert not set(labels[:, :37].ravel()) & set(labels[:, 37:].ravel())


def test_slico_merges_small_regions_when_asked():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    merged = Slico(16, min_pixels=40)(noise)
    assert np.bincount(merged.ravel()).min() >= 40


def test_grid_cells_are_rectangles_of_nearly_one_size():
    labels = Grid(4, 3)(np.zeros((30, 28, 3), np.uint8))
    sizes = np.bincount(labels.ravel())
    assert len(sizes) == 12
    assert sizes.max() - sizes.min() <= 30
    rows, columns = np.nonzero(labels == 5)
    assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    with pytest.raises(ValueError, match="do not fit"):
        Grid(8, 8)(np.zeros((4, 40, 3), np.uint8))


def test_given_maps_are_renumbered_in_order():
    given = np.array([[300, -1], [7, 300]])
    assert consecutive(given).tolist() == [[2, 0], [1, 2]]
    with pytest.raises(ValueError, match="at least one pixel"):
        consecutive(np.zeros((0, 3), int))


def test_label_maps_see_the_pixels_behind_the_normalisation():
    normalization = Normalization((0.5,) * 3, (0.25,) * 3)
    pixels = torch.from_numpy(CAT.copy()).permute(2, 0, 1)[None].float() / 255
    batch = normalization.apply(pixels)
    assert np.array_equal(uint8_pixels(batch, normalization)[0], CAT)
    assert np.array_equal(label_maps(batch, Slico(50), normalization)[0].numpy(), Slico(50)(CAT))


def test_unnormalised_images_are_stretched_to_their_range():
    grey = torch.tensor([[[[-1.0, 3.0]]]])
    assert uint8_pixels(grey)[0].tolist() == [[[0, 0, 0], [255, 255, 255]]]
    assert uint8_pixels(torch.zeros(1, 3, 1, 1)).max() == 0
    with pytest.raises(ValueError, match="1 or 3 channels"):
        uint8_pixels(torch.zeros(1, 4, 2, 2))


def test_maps_with_gaps_are_refused():
    with pytest.raises(ValueError, match="image 1 must use every label"):
        count_regions(torch.tensor([[[0, 1]], [[0, 2]]]))


@pytest.mark.parametrize("text", ["slic:50", "slico:many", "grid:7", "grid:0x3", "slico:0"])
def test_unreadable_partitions_are_named(text):
    with pytest.raises(ValueError, match=text):
        parse_partition(text)


def test_partitions_by_name():
    assert parse_partition("slico") == Slico(50)
    assert parse_partition("slico:64") == Slico(64)
    assert parse_partition("grid") == Grid(7, 7)
