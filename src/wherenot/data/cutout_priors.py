"""What careful, quick and careless annotators draw around an object."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Bool

CutoutPrior: TypeAlias = Literal["exact", "box", "loose", "shifted", "partial", "wrong"]

_LOOSE, _SHIFT = 0.5, 0.5
_TRIES = 50


def spoil(
    inside: Bool[np.ndarray, "H W"], quality: CutoutPrior, random: np.random.Generator
) -> Bool[np.ndarray, "H W"]:
    """Turn the exact mask of an object into what an annotator would give.

    Args:
        inside: True on the object.
        quality: ``exact``: the mask. ``box``: its bounding box. ``loose``: the box, each side half as long again.
            ``shifted``: the box, moved by half of its side up, down, left or right. ``partial``: the mask on one side
            of the middle of its box. ``wrong``: a box of the same size elsewhere, which meets the object's as little
            as fifty draws find.
        random: Draws direction, side and place.

    Returns:
        A new mask that is nowhere outside the image and never empty.

    Raises:
        ValueError: If the quality is unknown or the mask is empty.

    Example:
        >>> inside = np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]) > 0
        >>> spoil(inside, "box", np.random.default_rng(0)).astype(int)
        array([[0, 0, 0, 0],
               [0, 1, 1, 0],
               [0, 1, 1, 0],
               [0, 0, 0, 0]])
    """
    if quality not in get_args(CutoutPrior):
        raise ValueError(f"spoil: quality must be one of {get_args(CutoutPrior)}, got {quality!r}.")
    if not inside.any():
        raise ValueError("spoil: the mask is empty; there is no object to annotate.")
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    box = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
    sides = box[2:] - box[:2]
    match quality:
        case "exact":
            return inside.copy()
        case "box":
            return _filled(inside, box)
        case "loose":
            grown = np.ceil(sides * _LOOSE / 2).astype(int)
            return _filled(inside, np.concatenate([box[:2] - grown, box[2:] + grown]))
        case "shifted":
            way = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])[random.integers(4)]
            step = way * np.ceil(sides * _SHIFT).astype(int)
            return _filled(inside, box + np.tile(step, 2))
        case "partial":
            return _half(inside, box, int(random.integers(4)))
        case "wrong":
            room = np.array(inside.shape) - sides
            corners = random.integers(0, room + 1, (_TRIES, 2))
            common = [np.clip(sides - np.abs(corner - box[:2]), 0, None).prod() for corner in corners]
            corner = corners[int(np.argmin(common))]
            return _filled(inside, np.concatenate([corner, corner + sides]))


def _filled(like: Bool[np.ndarray, "H W"], box: np.ndarray) -> Bool[np.ndarray, "H W"]:
    top, left, bottom, right = np.clip(box, 0, np.tile(like.shape, 2)).tolist()
    filled = np.zeros_like(like)
    filled[top:bottom, left:right] = True
    return filled


def _half(inside: Bool[np.ndarray, "H W"], box: np.ndarray, side: int) -> Bool[np.ndarray, "H W"]:
    axis = side // 2
    middle = (box[axis] + box[axis + 2]) / 2
    before = np.expand_dims(np.arange(inside.shape[axis]) < middle, 1 - axis)
    half = inside & (before if side % 2 == 0 else ~before)
    return half if half.any() else inside.copy()
