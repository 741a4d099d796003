"""How often an agent clicks on its target, how far beside it the others are, and both given where its evidence lies.

Points are x and y in [0, 1] of the screen, nan for an output without one (`gui.clicked_points`): a failure, counted as
`missing`, without a distance. Boxes are xyxy in pixels of the screenshot, sizes its height and width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_BORDER_PX = 1e-3  # a border that is hit exactly is missed by less than this through rounding, in float32 too


def click_success(
    points: Float[Tensor, "B 2"], boxes: Float[Tensor, "B 4"], sizes: Float[Tensor, "B 2"]
) -> Bool[Tensor, " B"]:
    """Whether each click lies in its target's box, borders included.

    Args:
        points: x and y in [0, 1]; nan without a click.
        boxes: The targets, xyxy in pixels.
        sizes: Height and width of the screenshots in pixels.

    Returns:
        One boolean per task, false without a click.

    Raises:
        ValueError: If the lengths differ, a point has one coordinate only or lies outside the screen, a box is empty or
            not finite, or a size is not positive.

    Example:
        >>> points = torch.tensor([[0.591, 0.915], [float("nan"), float("nan")]])
        >>> boxes, sizes = torch.tensor([[706.0, 2438, 858, 2590]] * 2), torch.tensor([[2720.0, 1260]] * 2)
        >>> click_success(points, boxes, sizes)
        tensor([ True, False])

    References:
        "Where Not to Learn", arXiv 2602.07008, A.4. It does not say whether borders belong to the box.
    """
    return _gap_px("click_success", points, boxes, sizes).sum(dim=1) == 0


def click_distance_px(
    points: Float[Tensor, "B 2"], boxes: Float[Tensor, "B 4"], sizes: Float[Tensor, "B 2"]
) -> Float[Tensor, " B"]:
    """Euclidean distance from each click to its target's box, in pixels of the screenshot: 0 inside.

    Args:
        points: As in `click_success`.
        boxes: As there.
        sizes: As there.

    Returns:
        Distances >= 0 in float64; nan without a click.

    Raises:
        ValueError: As `click_success`.

    Example:
        >>> points, sizes = torch.tensor([[0.5, 0.5]]), torch.tensor([[100.0, 200.0]])
        >>> click_distance_px(points, torch.tensor([[103.0, 54.0, 120.0, 60.0]]), sizes)
        tensor([5.], dtype=torch.float64)

    References:
        The paper's distance error, A.4, which does not state its unit.
    """
    return torch.linalg.vector_norm(_gap_px("click_distance_px", points, boxes, sizes), dim=1)


def click_distance_1000(
    points: Float[Tensor, "B 2"], boxes: Float[Tensor, "B 4"], sizes: Float[Tensor, "B 2"]
) -> Float[Tensor, " B"]:
    """The same distance in thousandths of the screen, across of its width and down of its height.

    It does not depend on the resolution, but a step down a tall screen counts less than one across.

    Args:
        points: As in `click_success`.
        boxes: As there.
        sizes: As there.

    Returns:
        Distances >= 0 in float64; nan without a click.

    Raises:
        ValueError: As `click_success`.

    Example:
        >>> points, sizes = torch.tensor([[0.5, 0.5]]), torch.tensor([[100.0, 200.0]])
        >>> click_distance_1000(points, torch.tensor([[103.0, 54.0, 120.0, 60.0]]), sizes)
        tensor([42.7200], dtype=torch.float64)

    References:
        The unit of AgentCPM-GUI's `pixel_distance`, which measures to the middle of a box that is hit and to the true
        point otherwise: another quantity.
    """
    gap_B2 = _gap_px("click_distance_1000", points, boxes, sizes) * 1000 / sizes.double().flip(1)
    return torch.linalg.vector_norm(gap_B2, dim=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClickRates:
    """How well an agent clicks; nan where there is nothing to average.

    Attributes:
        n: Tasks.
        missing: Those without a click: malformed outputs and other actions. They are failures without a distance.
        success: Share of all tasks whose click lies in the box, in [0, 1].
        mean_px: Mean distance of the clicks, in pixels; those in the box have 0.
        median_px: Their median, the mean of the middle two if they are even in number.
        mean_1000: Mean distance in thousandths of the screen.
        median_1000: Median of the same.
    """

    n: int
    missing: int
    success: float
    mean_px: float
    median_px: float
    mean_1000: float
    median_1000: float


def click_rates(points: Float[Tensor, "B 2"], boxes: Float[Tensor, "B 4"], sizes: Float[Tensor, "B 2"]) -> ClickRates:
    """Success and distance over tasks.

    Args:
        points: As in `click_success`.
        boxes: As there.
        sizes: As there.

    Raises:
        ValueError: As `click_success`.

    Example:
        >>> points = torch.tensor([[0.5, 0.5], [float("nan"), float("nan")]])
        >>> boxes, sizes = torch.tensor([[103.0, 54.0, 120.0, 60.0]] * 2), torch.tensor([[100.0, 200.0]] * 2)
        >>> rates = click_rates(points, boxes, sizes)
        >>> rates.success, rates.mean_px, rates.missing
        (0.0, 5.0, 1)
    """
    success_B = click_success(points, boxes, sizes)
    px_B, thousandths_B = click_distance_px(points, boxes, sizes), click_distance_1000(points, boxes, sizes)
    clicked_B = ~px_B.isnan()
    return ClickRates(
        n=len(points),
        missing=int((~clicked_B).sum()),
        success=float(success_B.double().mean()),
        mean_px=float(px_B[clicked_B].mean()),
        median_px=_median(px_B[clicked_B]),
        mean_1000=float(thousandths_B[clicked_B].mean()),
        median_1000=_median(thousandths_B[clicked_B]),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionalClicks:
    """Clicks of all tasks, and of those with their evidence on the target (a pointing hit) or beside it.

    Attributes:
        hit_rate: Share of the tasks with a hit; nan without tasks.
        overall: All tasks.
        given_hit: Those with a hit: the paper's metrics at PG = 1.
        given_miss: The others.
    """

    hit_rate: float
    overall: ClickRates
    given_hit: ClickRates
    given_miss: ClickRates


def conditional_clicks(
    points: Float[Tensor, "B 2"],
    boxes: Float[Tensor, "B 4"],
    sizes: Float[Tensor, "B 2"],
    hit: Bool[Tensor, " B"],
) -> ConditionalClicks:
    """Success and distance over all tasks and given where the evidence lies.

    Args:
        points: As in `click_success`.
        boxes: As there.
        sizes: As there.
        hit: Whether the evidence lies on the target, by any of the pointing metrics; false where there is none.

    Raises:
        ValueError: As `click_success`, or if `hit` has another length.

    Example:
        >>> points = torch.tensor([[0.5, 0.5], [0.6, 0.5]])
        >>> boxes, sizes = torch.tensor([[110.0, 40.0, 130.0, 60.0]] * 2), torch.tensor([[100.0, 200.0]] * 2)
        >>> clicks = conditional_clicks(points, boxes, sizes, torch.tensor([False, True]))
        >>> clicks.overall.success, clicks.given_hit.success, clicks.given_miss.mean_px
        (0.5, 1.0, 10.0)

    References:
        "Where Not to Learn", arXiv 2602.07008, Table 4.
    """
    if hit.shape != points.shape[:1]:
        raise ValueError(
            f"conditional_clicks: hit {tuple(hit.shape)} for {len(points)} points; pass the same tasks in the same "
            "order."
        )
    return ConditionalClicks(
        hit_rate=float(hit.double().mean()),
        overall=click_rates(points, boxes, sizes),
        given_hit=click_rates(points[hit], boxes[hit], sizes[hit]),
        given_miss=click_rates(points[~hit], boxes[~hit], sizes[~hit]),
    )


def _gap_px(
    name: str, points: Float[Tensor, "B 2"], boxes: Float[Tensor, "B 4"], sizes: Float[Tensor, "B 2"]
) -> Float[Tensor, "B 2"]:
    """How far each point lies beside its box, across and down; 0 inside, nan without a point."""
    if not len(points) == len(boxes) == len(sizes):
        raise ValueError(
            f"{name}: {len(points)} points, {len(boxes)} boxes and {len(sizes)} sizes; pass one of each per task."
        )
    points, boxes, sizes = points.double(), boxes.double(), sizes.double()
    _refuse(name, "points", points, (points.isnan().sum(dim=1) == 1) | ((points < 0) | (points > 1)).any(dim=1))
    _refuse(name, "boxes", boxes, ~boxes.isfinite().all(dim=1) | ~(boxes[:, 2:] > boxes[:, :2]).all(dim=1))
    _refuse(name, "sizes", sizes, ~(sizes > 0).all(dim=1) | ~sizes.isfinite().all(dim=1))
    points_px = points * sizes.flip(1)
    gap_B2 = torch.maximum(boxes[:, :2] - points_px, points_px - boxes[:, 2:])
    return torch.where(gap_B2 <= _BORDER_PX, 0.0, gap_B2)


_ASKED = {
    "points": "x and y in [0, 1], or nan for both",
    "boxes": "left < right and top < bottom, finite",
    "sizes": "a positive height and width",
}


def _refuse(name: str, column: str, values: Tensor, is_bad_B: Bool[Tensor, " B"]) -> None:
    if is_bad_B.any():
        index = int(is_bad_B.nonzero()[0])
        raise ValueError(f"{name}: {column}[{index}] is {values[index].tolist()}; pass {_ASKED[column]}.")


def _median(values: Float[Tensor, " N"]) -> float:
    return float(values.quantile(0.5)) if len(values) else float("nan")
