"""Label maps from what somebody else cut out: boxes of interface elements, or masks that overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from wherenot.regions import Grid, consecutive


def from_boxes(
    boxes: Sequence[Sequence[float | int]], height: int, width: int, *, background: Grid = Grid(7, 7)
) -> Int[np.ndarray, "H W"]:
    """One region per box, the background cut into cells.

    Where boxes overlap the smaller lies on top, as a button on its panel; of equal ones the later. A box that nothing
    is left of has no region.

    Args:
        boxes: xyxy, half-open, in pixels; borders are rounded to whole pixels.
        height: Rows of the label map.
        width: Columns of the label map.
        background: Cuts what lies in no box.

    Returns:
        Label map 0..K-1; the boxes come first, in the given order.

    Raises:
        ValueError: If a box is not four numbers, is empty, or does not lie inside the image; its place in the list is
            named.

    Example:
        >>> from_boxes([[0, 0, 2, 1]], 2, 4, background=Grid(1, 2)).tolist()
        [[0, 0, 2, 2], [1, 1, 2, 2]]
    """
    labels = len(boxes) + background(np.zeros((height, width, 3), np.uint8))
    corners = [_corners(box, index, height, width) for index, box in enumerate(boxes)]
    area_px = [(right - left) * (bottom - top) for left, top, right, bottom in corners]
    for index in sorted(range(len(boxes)), key=lambda index: -area_px[index]):
        left, top, right, bottom = corners[index]
        labels[top:bottom, left:right] = index
    return consecutive(labels)


def _corners(box: Sequence[float | int], index: int, height: int, width: int) -> tuple[int, int, int, int]:
    if len(box) != 4 or not np.isfinite(box).all():
        raise ValueError(f"from_boxes: box {index} must be four finite numbers (x1, y1, x2, y2), got {list(box)}.")
    left, top, right, bottom = (round(float(side)) for side in box)
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(
            f"from_boxes: box {index}, {list(box)}, is empty or not inside the image of {width} x {height} pixels."
        )
    return left, top, right, bottom


def from_masks(masks: Bool[np.ndarray, "M H W"], *, min_frac: float = 0.0005) -> Int[np.ndarray, "H W"]:
    """Overlapping masks, as a segmenter like SAM gives them, made disjoint.

    Of each overlapping pair the mask of which the intersection is the smaller share loses it. Masks that keep no more
    than `min_frac` of the image are dropped; what no mask covers is the last region.

    Args:
        masks: The masks.
        min_frac: Smallest share of the image, exclusive.

    Returns:
        Label map 0..K-1.

    Raises:
        ValueError: If there are no pixels.

    Example:
        >>> from_masks(np.array([[[True, True, True, False]], [[False, False, True, False]]])).tolist()
        [[0, 0, 1, 2]]

    References:
        LIMA's preparation of SAM masks (share 0.0005). On equal shares the earlier mask loses.
    """
    if masks.shape[1] * masks.shape[2] == 0:
        raise ValueError(f"from_masks: masks need at least one pixel, got shape {masks.shape}.")
    disjoint = masks.copy()
    for first in range(len(disjoint)):
        for second in range(first + 1, len(disjoint)):
            both = disjoint[first] & disjoint[second]
            if not both.any():
                continue
            share = [both.sum() / disjoint[index].sum() for index in (first, second)]
            disjoint[second if share[0] > share[1] else first] &= ~both
    kept = disjoint[disjoint.mean((1, 2)) > min_frac]
    labels = np.full(masks.shape[1:], len(kept), dtype=np.int64)
    for index, mask in enumerate(kept):
        labels[mask] = index
    return consecutive(labels)
