"""Agreement of two pieces of evidence, against loops over pixels."""

import inspect
import math

import pytest
import torch

from wherenot.metrics import map_correlation, regions_iou


def drawn(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_iou(one, other):
    pixels = [(a, b) for rows in zip(one.tolist(), other.tolist(), strict=True) for a, b in zip(*rows, strict=True)]
    return sum(a and b for a, b in pixels) / sum(a or b for a, b in pixels)


def slow_correlation(one, other):
    xs, ys = (plane.flatten().tolist() for plane in (one, other))
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    shared = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True))
    return shared / math.sqrt(sum((x - x_mean) ** 2 for x in xs) * sum((y - y_mean) ** 2 for y in ys))


def test_iou_is_that_of_counted_pixels():
    first, second = drawn(0, 2, 20, 4, 5) < 0.4
    first[:, 0, 0] = second[:, 3, 4] = True
    expected = [slow_iou(one, other) for one, other in zip(first, second, strict=True)]
    assert regions_iou(first, second).tolist() == pytest.approx(expected)
    assert 0.1 < sum(expected) / 20 < 0.5
    assert regions_iou(first, first).tolist() == [1.0] * 20
    assert regions_iou(first, second).dtype == torch.float32


def test_correlation_is_pearson_s():
    first, noise = drawn(1, 2, 20, 4, 5)
    second = first - 0.7 * noise
    expected = [slow_correlation(one, other) for one, other in zip(first, second, strict=True)]
    assert map_correlation(first, second).tolist() == pytest.approx(expected)
    assert 0.2 < min(expected) < max(expected) < 0.98


def test_correlation_knows_no_unit_and_stays_within_1():
    first = drawn(2, 20, 4, 5).float()
    assert map_correlation(first, 1e-3 * first + 5).tolist() == pytest.approx([1.0] * 20, abs=1e-4)
    assert map_correlation(first, -3 * first).tolist() == pytest.approx([-1.0] * 20)
    assert map_correlation(first, first).abs().max() <= 1
    assert map_correlation(first, -first).abs().max() <= 1
    assert map_correlation(first, first).dtype == torch.float64


def test_a_map_that_is_the_same_everywhere_has_no_correlation():
    flat, steep = torch.full((2, 2), 0.5), torch.eye(2)
    first, second = torch.stack([flat, steep, steep]), torch.stack([steep, flat, steep])
    assert map_correlation(first, second).isnan().tolist() == [True, True, False]


def test_an_image_does_not_depend_on_its_batch():
    first, second = drawn(3, 2, 6, 3, 4)
    alone = torch.cat([map_correlation(first[[i]], second[[i]]) for i in range(6)])
    assert map_correlation(first, second).tolist() == pytest.approx(alone.tolist(), abs=1e-12)


def test_sets_without_a_pixel_are_named():
    first = torch.ones(3, 2, 2, dtype=torch.bool)
    second = first & torch.tensor([True, False, False])[:, None, None]
    with pytest.raises(ValueError, match=r"regions_iou: second\[1\] covers no pixel"):
        regions_iou(first, second)
    with pytest.raises(ValueError, match=r"regions_iou: first\[1\] covers no pixel"):
        regions_iou(second, first)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_maps_that_are_not_finite_are_refused(value, place):
    maps = list(drawn(4, 2, 1, 2, 2))
    maps[place][0, 1, 1] = value
    with pytest.raises(ValueError, match="map_correlation: a map has NaN or infinite values"):
        map_correlation(*maps)


@pytest.mark.parametrize("measure", [regions_iou, map_correlation])
def test_other_shapes_are_refused(measure):
    maps = drawn(5, 2, 3, 3) < 0.9 if measure is regions_iou else drawn(5, 2, 3, 3)
    for other in (maps[:1], maps.repeat(2, 1, 1)):
        with pytest.raises(ValueError, match=rf"{measure.__name__}: .* differ"):
            inspect.unwrap(measure)(maps, other)
