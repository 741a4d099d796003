import math

import pytest
import torch

from fixed_records import assert_fixed
from golden_cases import GOLDEN
from wherenot.gui import CODECS, CONVENTIONS, clicked_points
from wherenot.metrics import (
    click_distance_1000,
    click_distance_px,
    click_rates,
    click_success,
    conditional_clicks,
)

NAN = float("nan")
G12 = GOLDEN["G12_gui"]
BOX, SIZE = [706.0, 2438.0, 858.0, 2590.0], [2720.0, 1260.0]
OUTPUTS = ['{"POINT":[591,915]}', '{"POINT":[500,915]}', '{"POINT":[500,850]}', '{"STATUS":"finish"}']


def tasks(points, box=BOX, size=SIZE):
    points = torch.tensor(points, dtype=torch.float64)
    boxes, sizes = (torch.tensor([row] * len(points), dtype=torch.float64) for row in (box, size))
    return points, boxes, sizes


@pytest.fixture
def golden_tasks():
    """The golden outputs, read as an agent's, in the golden box."""
    codec, scale = CODECS["agentcpm"], CONVENTIONS["0-1000"].scale()
    points = clicked_points([codec.read(output, scale=scale) for output in OUTPUTS])
    return tasks(points.tolist())


def test_golden_distances(golden_tasks):
    names = ["label", "left", "diag"]
    assert click_success(*golden_tasks).tolist() == [*(G12[name]["hit"] for name in names), False]
    px, thousandths = click_distance_px(*golden_tasks), click_distance_1000(*golden_tasks)
    assert px[:3].tolist() == pytest.approx([G12[name]["d_px"] for name in names], abs=5e-7)
    assert thousandths[:3].tolist() == pytest.approx([G12[name]["d_norm"] for name in names], abs=5e-7)
    assert px[3].isnan()
    assert thousandths[3].isnan()
    shown = golden_tasks[0][:3] * torch.tensor([1260.0, 2720.0])
    torch.testing.assert_close(shown, torch.tensor([G12[name]["px"] for name in names], dtype=torch.float64))


def test_golden_rates(golden_tasks):
    rates = click_rates(*golden_tasks)
    assert (rates.n, rates.missing) == (4, 1)
    assert rates.success == G12["success_with_one_missing"]
    assert rates.mean_px == pytest.approx(G12["mean_px_valid"], abs=5e-7)
    assert rates.mean_1000 == pytest.approx(G12["mean_norm_valid"], abs=5e-7)
    assert rates.median_px == pytest.approx(76.0)
    assert rates.median_1000 == pytest.approx(G12["left"]["d_norm"], abs=5e-7)


def test_given_where_the_evidence_lies(golden_tasks):
    clicks = conditional_clicks(*golden_tasks, torch.tensor([True, False, True, True]))
    assert clicks.hit_rate == 0.75
    assert clicks.overall == click_rates(*golden_tasks)
    assert (clicks.given_hit.n, clicks.given_hit.missing) == (3, 1)
    assert clicks.given_hit.success == pytest.approx(1 / 3)  # the output without a click is a failure here, too
    assert clicks.given_hit.mean_px == pytest.approx(G12["diag"]["d_px"] / 2, abs=5e-7)
    assert (clicks.given_miss.n, clicks.given_miss.success) == (1, 0.0)
    assert clicks.given_miss.mean_px == pytest.approx(76.0)
    nobody = conditional_clicks(*golden_tasks, torch.zeros(4, dtype=torch.bool)).given_hit
    assert (nobody.n, nobody.missing) == (0, 0)
    assert all(math.isnan(value) for value in (nobody.success, nobody.mean_px, nobody.median_px, nobody.median_1000))


def slow_distance(point, box, size):
    """From a point to the nearest of many points of the box, both in pixels, and in thousandths."""
    x, y = point[0] * size[1], point[1] * size[0]
    nearest = min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
    px = math.dist((x, y), nearest)
    return px, math.dist(
        (1000 * x / size[1], 1000 * y / size[0]), (1000 * nearest[0] / size[1], 1000 * nearest[1] / size[0])
    )


def test_distances_match_loops():
    generator = torch.Generator().manual_seed(2)
    points = torch.rand(500, 2, generator=generator, dtype=torch.float64)
    sizes = torch.randint(100, 3000, (500, 2), generator=generator).double()
    corners = (
        torch.rand(500, 2, 2, generator=generator, dtype=torch.float64).sort(dim=1).values * sizes.flip(1)[:, None]
    )
    boxes = corners.flatten(1)
    points[::7] = NAN
    px, thousandths = click_distance_px(points, boxes, sizes), click_distance_1000(points, boxes, sizes)
    success = click_success(points, boxes, sizes)
    for index in range(500):
        if index % 7 == 0:
            assert px[index].isnan()
            assert not success[index]
            continue
        expected = slow_distance(points[index].tolist(), boxes[index].tolist(), sizes[index].tolist())
        assert (float(px[index]), float(thousandths[index])) == pytest.approx(expected, abs=1e-6)
        assert success[index] == (expected[0] == 0)
    assert 0.05 < success.double().mean() < 0.95


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_borders_belong_to_the_box_whatever_the_rounding(dtype):
    for width in (7, 49, 1260, 2719):
        edges = torch.arange(1, width, dtype=torch.float64)
        boxes = torch.stack([edges, torch.zeros_like(edges), edges + 1, torch.ones_like(edges)], dim=1)
        sizes = torch.tensor([[1.0, width]] * len(edges))
        for border in (edges, edges + 1):
            points = torch.stack([border / width, torch.ones_like(edges)], dim=1).to(dtype)
            assert click_success(points, boxes.to(dtype), sizes.to(dtype)).all()
        beside = torch.stack([(edges - 0.01) / width, torch.ones_like(edges)], dim=1).to(dtype)
        assert not click_success(beside, boxes.to(dtype), sizes.to(dtype)).any()


def test_a_median_of_two_is_their_mean_and_an_outlier_moves_the_mean_only():
    points, boxes, sizes = tasks(
        [[0.5, 0.5], [0.6, 0.5], [0.7, 0.5], [1.0, 0.5]], [0.0, 0.0, 50.0, 100.0], [100.0, 100.0]
    )
    assert click_rates(points, boxes, sizes).median_px == pytest.approx(15.0)
    assert click_rates(points, boxes, sizes).mean_px == pytest.approx(20.0)
    assert click_rates(points[:3], boxes[:3], sizes[:3]).median_px == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("column", "row", "message"),
    [
        (0, [0.5, NAN], r"points\[1\] is \[0.5, nan\]"),
        (0, [591.0, 915.0], r"points\[1\] is \[591.0, 915.0\]; pass x and y in \[0, 1\]"),
        (0, [-0.1, 0.5], r"points\[1\]"),
        (1, [10.0, 10.0, 10.0, 20.0], r"boxes\[1\]"),
        (1, [10.0, 20.0, 20.0, 10.0], r"boxes\[1\]"),
        (1, [10.0, 10.0, NAN, 20.0], r"boxes\[1\]"),
        (2, [0.0, 10.0], r"sizes\[1\]"),
        (2, [10.0, NAN], r"sizes\[1\]"),
        (2, [10.0, -1.0], r"sizes\[1\]"),
        (2, [math.inf, 10.0], r"sizes\[1\]"),
        (0, [0.5, 1.0001], r"points\[1\]"),
        (0, [NAN, 1.5], r"points\[1\]"),
        (1, [20.0, 10.0, 10.0, 20.0], r"boxes\[1\]"),
        (1, [10.0, 10.0, 20.0, math.inf], r"boxes\[1\]"),
    ],
)
@pytest.mark.parametrize("metric", [click_success, click_distance_px, click_distance_1000, click_rates])
def test_bad_tasks_are_named(metric, column, row, message):
    given = list(tasks([[0.5, 0.5]] * 3))
    given[column][1] = torch.tensor(row)
    with pytest.raises(ValueError, match=rf"click_\w+: {message}"):
        metric(*given)
    given[column][2] = given[column][1]  # the first of two is named
    with pytest.raises(ValueError, match=rf"click_\w+: {message}"):
        metric(*given)


def test_lengths_must_agree(unhooked):
    points, boxes, sizes = tasks([[0.5, 0.5]] * 3)
    with pytest.raises(ValueError, match="3 points, 2 boxes and 3 sizes"):
        click_success(points, boxes[:2], sizes)
    for wrong in ((points[:2], boxes, sizes), (points, boxes, sizes[:2]), (points, boxes[:2], sizes[:2])):
        with pytest.raises(ValueError, match="pass one of each per task"):
            click_success(*wrong)
    for count in (2, 4):
        with pytest.raises(ValueError, match=rf"hit \({count},\) for 3 points"):
            conditional_clicks(points, boxes, sizes, torch.ones(count, dtype=torch.bool))


def test_the_corners_of_the_screen_may_be_clicked():
    points, boxes, sizes = tasks([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]], [0.0, 0.0, 1.0, 1.0], [1.0, 1.0])
    assert click_success(points, boxes, sizes).all()
    assert click_distance_px(points, boxes, 11 * sizes).tolist() == pytest.approx([0, 200**0.5, 10])


def test_no_tasks_have_no_rates():
    rates = click_rates(torch.zeros(0, 2), torch.zeros(0, 4), torch.zeros(0, 2))
    assert (rates.n, rates.missing) == (0, 0)
    assert math.isnan(rates.success)


def test_rates_are_records(golden_tasks):
    clicks = conditional_clicks(*golden_tasks, torch.ones(4, dtype=torch.bool))
    assert_fixed(clicks)
    assert_fixed(clicks.overall)


def test_arguments_are_left_alone(golden_tasks):
    before = [tensor.clone() for tensor in golden_tasks]
    click_rates(*golden_tasks)
    for tensor, kept in zip(golden_tasks, before, strict=True):
        torch.testing.assert_close(tensor, kept, equal_nan=True, rtol=0, atol=0)
