"""Screens on which elements lie elsewhere, and tasks that go with their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import gcd

import numpy as np
from PIL import Image

from wherenot.data import GuiSample, UiElement
from wherenot.data.gui.compact import SCALE, strict_json, write_compact
from wherenot.data.gui.elements import target_prior
from wherenot.gui.screens.tasks import zone_name

Box = tuple[int, int, int, int]
Places = Mapping[Box, Box]
"""Where what lies in a box is to lie."""

ALIKE = 1.5
"""An element may lie where another lay if no side of one is more than so many times that of the other."""


def whole(box: tuple[float, float, float, float]) -> Box:
    """A box in whole pixels."""
    left, top, right, bottom = (round(edge) for edge in box)
    return left, top, right, bottom


def meets(box: Sequence[int | float], other: Sequence[int | float]) -> bool:
    """Whether two boxes have a pixel in common."""
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def alike(box: Box, other: Box) -> bool:
    """Whether two boxes are of a similar size, and have pixels."""
    sides = [(box[axis + 2] - box[axis], other[axis + 2] - other[axis]) for axis in (0, 1)]
    return all(min(pair) > 0 and max(pair) <= ALIKE * min(pair) for pair in sides)


def with_moved(image: Image.Image, places: Places) -> Image.Image:
    """The screenshot with what lies in some boxes elsewhere; it takes the size of its new place.

    Example:
        >>> image = Image.new("L", (2, 1)).convert("RGB")
        >>> image.putpixel((0, 0), (9, 9, 9))
        >>> with_moved(image, {(0, 0, 1, 1): (1, 0, 2, 1), (1, 0, 2, 1): (0, 0, 1, 1)}).getpixel((1, 0))
        (9, 9, 9)
    """
    pixels = np.asarray(image.convert("RGB")).copy()
    for source, place in places.items():
        size = place[2] - place[0], place[3] - place[1]
        pixels[place[1] : place[3], place[0] : place[2]] = np.asarray(image.convert("RGB").crop(source).resize(size))
    return Image.fromarray(pixels)


def moved(sample: GuiSample, places: Places, image: Image.Image, *, step: int = 1) -> GuiSample:
    """The task on a screenshot on which elements lie elsewhere.

    Box, point, prior, elements and answer follow. So does the name of a part of the screen in the thought, as
    `gui.screens.tasks.zone_name` writes it; a thought that tells the place in other words becomes wrong.

    Args:
        sample: A click, with its box and its point.
        places: Where elements go; a target that stays is not among them.
        image: The changed screenshot (`with_moved`).
        step: Coordinates of the answer are multiples of this, in thousandths of the screen (`point_step`).

    Raises:
        ValueError: If the answer cannot be read.
    """
    assert sample.box is not None
    assert sample.point is not None
    target = whole(sample.box)
    place = places.get(target, target)
    box = sample.box if place == target else (float(place[0]), float(place[1]), float(place[2]), float(place[3]))
    point = sample.point if place == target else _carried(sample.point, target, place, image.size)
    return replace(
        sample,
        read_image=partial(_same, image),
        read_prior=partial(target_prior, box, None, _no_elements, (image.height, image.width)),
        elements=partial(tuple, tuple(_after(each, places) for each in sample.elements())),
        box=box,
        point=point,
        **(_said(sample, point, step) if place != target else {}),
    )


def point_step(samples: Sequence[GuiSample]) -> int:
    """The step in which a data set's answers tell places, in thousandths of the screen: 1 unless all are coarser.

    An agent whose words are few knows no others, so what changes a task has to keep to them.

    Example:
        >>> task = GuiSample("a", 0, "train", None, lambda: None, lambda: None, "Tap.", right='{"POINT":[120,300]}')
        >>> point_step([task, replace(task, right='{"POINT":[140,0]}')])
        20
    """
    said = [strict_json(sample.right).get("POINT", []) for sample in samples if sample.right is not None]
    return gcd(*(number for point in said for number in point)) or 1


def _said(sample: GuiSample, point: tuple[float, float], step: int) -> dict[str, str | None]:
    said, thought = strict_json(sample.right or ""), sample.thought
    said["POINT"] = [min(SCALE, round(share * SCALE / step) * step) for share in point]
    if thought is not None and sample.point is not None:
        for locale in ("en", "zh"):
            thought = thought.replace(zone_name(*sample.point, locale), zone_name(*point, locale))
        said["thought"] = thought
    return {"right": write_compact(**said), "thought": thought}


def _carried(point: tuple[float, float], source: Box, place: Box, size: tuple[int, int]) -> tuple[float, float]:
    """A point at the same share of another box, in shares of the screen."""
    at = []
    for axis in (0, 1):
        share = (point[axis] * size[axis] - source[axis]) / (source[axis + 2] - source[axis])
        at.append((place[axis] + min(1.0, max(0.0, share)) * (place[axis + 2] - place[axis])) / size[axis])
    return at[0], at[1]


def _after(element: UiElement, places: Places) -> UiElement:
    box = whole(element.box)
    if box not in places:
        return element
    left, top, right, bottom = places[box]
    return replace(element, box=(float(left), float(top), float(right), float(bottom)))


def _same(image: Image.Image) -> Image.Image:
    return image


def _no_elements(_size: tuple[int, int]) -> tuple[UiElement, ...]:
    return ()
