"""Annotated shapes to pixels: which pixels a box, a polygon, a run-length encoding or a click covers.

The shapes become booleans on the CPU, True inside; those that are not on the image are refused. `x` runs
to the right and `y` down; pixel ``(i, j)`` covers ``[j, j + 1) x [i, i + 1)`` and has its centre in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

Coordinates: TypeAlias = Sequence[int | float]

_LONGEST_RUN = 7  # groups of five bits: COCO's runs are whole numbers of 32 bits


def fill_boxes(boxes: Sequence[Coordinates], height: int, width: int) -> Bool[Tensor, "H W"]:
    """Mark every pixel that one of the half-open ``[x0, y0, x1, y1]`` touches.

    Args:
        boxes: Any number of boxes in pixels; fractions widen to whole pixels.
        height: Image height in pixels.
        width: Image width in pixels.

    Returns:
        True inside; all False without a box.

    Raises:
        ValueError: If a box is not four finite numbers, has no area or leaves the image.

    Example:
        >>> fill_boxes([[0, 0, 1.5, 1]], height=2, width=3)
        tensor([[ True,  True, False],
                [False, False, False]])
    """
    inside = torch.zeros(checked_size("fill_boxes", height, width), dtype=torch.bool)
    for box in boxes:
        if len(box) != 4 or not all(map(math.isfinite, box)):
            raise ValueError(f"fill_boxes: {list(box)} is not four finite numbers; pass [x0, y0, x1, y1].")
        x0, y0, x1, y1 = box
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(
                f"fill_boxes: box {list(box)} has no area or leaves the image (width {width}, height {height});"
                " pass xyxy in pixels of this image (not xywh, not fractions) and clip it."
            )
        inside[math.floor(y0) : math.ceil(y1), math.floor(x0) : math.ceil(x1)] = True
    return inside


def fill_polygons(polygons: Sequence[Coordinates], height: int, width: int) -> Bool[Tensor, "H W"]:
    """Mark every pixel whose centre lies in one of the closed polygons ``[x, y, x, y, ...]``.

    Inside is meant by the even-odd rule, and a centre on an edge by the half-open rule: a polygon with integer
    corners marks the same pixels as the box with these corners.

    Args:
        polygons: Any number of polygons in pixels, each of three points or more.
        height: Image height in pixels.
        width: Image width in pixels.

    Returns:
        True inside; a sliver that holds no pixel centre adds nothing.

    Raises:
        ValueError: If a polygon is not three or more pairs of finite numbers, or leaves the image.

    Example:
        >>> fill_polygons([[0, 0, 2, 0, 0, 2]], height=2, width=2)
        tensor([[ True, False],
                [False, False]])
    """
    inside = torch.zeros(checked_size("fill_polygons", height, width), dtype=torch.bool)
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2 or not all(map(math.isfinite, polygon)):
            raise ValueError(
                f"fill_polygons: a polygon of {len(polygon)} numbers {list(polygon[:8])}... is not three or more"
                " pairs of finite numbers; pass [x, y, x, y, ...]."
            )
        points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        if (points < 0).any() or (points > (width, height)).any():
            raise ValueError(
                f"fill_polygons: a polygon from {points.min(0).tolist()} to {points.max(0).tolist()} leaves the image"
                f" (width {width}, height {height}); pass pixels of this image and clip it."
            )
        inside |= torch.from_numpy(_even_odd(points, height, width))
    return inside


def fill_disc(x: float | int, y: float | int, height: int, width: int, radius_px: float | int) -> Bool[Tensor, "H W"]:
    """Mark the pixels whose centre is at most a radius away from a point, and the pixel that holds the point.

    Args:
        x: Position in pixels, in [0, width).
        y: Position in pixels, in [0, height).
        height: Image height in pixels.
        width: Image width in pixels.
        radius_px: Radius in pixels, from 0.

    Returns:
        True inside, at least one pixel; cut off at the border.

    Raises:
        ValueError: If the point is outside the image, or the radius is negative or not finite.

    Example:
        >>> fill_disc(1.5, 0.5, height=2, width=3, radius_px=1)
        tensor([[ True,  True,  True],
                [False,  True, False]])
    """
    checked_size("fill_disc", height, width)
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(
            f"fill_disc: point ({x}, {y}) is outside the image (width {width}, height {height}); pass pixels of this"
            " image, not fractions or 0..1000."
        )
    if not 0 <= radius_px < math.inf:
        raise ValueError(f"fill_disc: radius_px is {radius_px}; pass a finite number of pixels >= 0.")
    rows, columns = torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64)
    inside = (rows[:, None] + 0.5 - y) ** 2 + (columns + 0.5 - x) ** 2 <= radius_px**2
    inside[math.floor(y), math.floor(x)] = True
    return inside


def decode_rle(rle: Mapping[str, Any]) -> Bool[Tensor, "H W"]:
    """Decode a COCO run-length encoding: run lengths down the columns, starting with pixels outside.

    Args:
        rle: ``{"size": [height, width], "counts": ...}``, the counts a list of integers or COCO's compressed string.

    Returns:
        True inside.

    Raises:
        ValueError: If a key is missing, or the runs are not whole numbers >= 0 that add up to height x width.

    Example:
        >>> decode_rle({"size": [2, 3], "counts": [1, 2, 3]})
        tensor([[False,  True, False],
                [ True, False, False]])
    """
    if not {"size", "counts"} <= rle.keys() or not _is_size(rle["size"]):
        raise ValueError(f'decode_rle: got the keys {sorted(rle)}; pass {{"size": [h, w], "counts": ...}}.')
    height, width = checked_size("decode_rle", *rle["size"])
    counts = rle["counts"]
    if isinstance(counts, str | bytes):
        counts = _decompressed(counts.encode() if isinstance(counts, str) else counts, height, width)
    runs = np.asarray(counts)
    # One that is longer than the image is looked for first: the sum could run over and come out right.
    if (
        runs.ndim != 1
        or runs.dtype.kind not in "iu"
        or (runs < 0).any()
        or (runs > height * width).any()
        or (runs.sum() != height * width)
    ):
        raise ValueError(
            f"decode_rle: the counts are not whole numbers >= 0 that add up to {height} x {width} = {height * width};"
            " check that size is [height, width] and the counts are COCO's."
        )
    columns = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height)
    return torch.from_numpy(np.ascontiguousarray(columns.T))


def encode_rle(inside: Bool[Tensor, "H W"]) -> dict[str, list[int]]:
    """Encode pixels as COCO's plain run lengths, the inverse of `decode_rle`.

    Args:
        inside: True inside.

    Returns:
        ``{"size": [height, width], "counts": [...]}``: lengths of runs down the columns, the first of pixels outside,
        0 where the first pixel is inside.

    Example:
        >>> encode_rle(torch.tensor([[False, True, False], [True, False, False]]))
        {'size': [2, 3], 'counts': [1, 2, 3]}
    """
    height, width = checked_size("encode_rle", *inside.shape)
    down = inside.cpu().numpy().T.ravel()
    starts = np.flatnonzero(np.diff(down, prepend=False))
    return {"size": [height, width], "counts": np.diff(starts, prepend=0, append=down.size).tolist()}


def sample_nearest(inside: Bool[Tensor, "H W"], size: tuple[int, int]) -> Bool[Tensor, "H2 W2"]:
    """Resample by the pixel under each output pixel's centre; thin marks can fall between the samples."""
    for axis, new in enumerate(size):
        samples = (2 * torch.arange(new, device=inside.device) + 1) * inside.shape[axis] // (2 * new)
        inside = inside.index_select(axis, samples)
    return inside


def any_touched(inside: Bool[Tensor, "H W"], size: tuple[int, int]) -> Bool[Tensor, "H2 W2"]:
    """Resample so that an output pixel is True when it touches a True one; nothing is lost."""
    # The pool's windows run from floor(i H / h) to ceil((i + 1) H / h): every input pixel that the output one touches.
    return F.adaptive_max_pool2d(inside.float()[None], size)[0] > 0


def checked_size(function: str, height: int, width: int) -> tuple[int, int]:
    """Return the size if both sides are at least one pixel; complain in the function's name otherwise."""
    if height < 1 or width < 1:
        raise ValueError(f"{function}: height {height}, width {width}; pass a size of at least 1 x 1 pixels.")
    return height, width


def _even_odd(points: np.ndarray, height: int, width: int) -> np.ndarray:
    # By scan lines: an edge that crosses a row of pixel centres flips all centres of the row at or right of it.
    (x0, y0), (x1, y1) = points.T[:, :, None], np.roll(points, -1, axis=0).T[:, :, None]
    centre = np.arange(height) + 0.5
    edge, row = np.nonzero((y0 <= centre) != (y1 <= centre))
    rise = np.where(y0 == y1, 1.0, y1 - y0)  # level edges cross no row
    first = np.ceil(x0 + (centre - y0) * (x1 - x0) / rise - 0.5)[edge, row].clip(0, width)
    flips = np.zeros((height, width + 1), dtype=np.int64)
    np.add.at(flips, (row, first.astype(np.int64)), 1)
    return flips[:, :width].cumsum(axis=1) % 2 == 1


def _is_size(size: object) -> bool:
    return (
        isinstance(size, list | tuple)
        and len(size) == 2
        and all(isinstance(side, int) and not isinstance(side, bool) for side in size)
    )


def _decompressed(counts: bytes, height: int, width: int) -> list[int]:
    """Unpack COCO's string of run lengths: groups of five bits, lowest first, as differences from the last but one run.

    pycocotools does so without a look at where the string ends: one made for it makes it write over the memory.
    """
    runs: list[int] = []
    value = place = 0
    for byte in counts:
        group = byte - 48
        value |= (group & 31) << (5 * place)
        place += 1
        if not 0 <= group < 64 or place > _LONGEST_RUN:
            break
        if not group & 32:  # the last of this run
            value -= (group & 16) << (5 * place - 4)  # its sign
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = place = 0
    else:
        if place == 0 and min(runs, default=-1) >= 0 and sum(runs) == height * width:
            return runs
    raise ValueError(
        f"decode_rle: the compressed counts {counts[:20]!r}... do not describe {height} x {width} pixels; check"
        " that size is [height, width] and the string is complete."
    )
