"""Controls: what do searching for the evidence, and hiding pixels at all, buy?"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image

from wherenot.data import GuiSample, UiElement
from wherenot.data.gui.compact import SCALE, strict_json, write_compact
from wherenot.data.gui.elements import target_prior
from wherenot.gui.clicks import Click
from wherenot.gui.penalties import Found, Off, Penalty, meets, utility, with_and_without
from wherenot.gui.screens.tasks import zone_name
from wherenot.gui.violation import Test, first_violation
from wherenot.models.vlm import VisionLanguageModel

Box = tuple[int, int, int, int]

ALIKE = 1.5
"""Two elements may change places if no side of one is more than so many times that of the other."""


@dataclass(frozen=True, kw_only=True)
class RandomRegions(Penalty):
    """The paper's utility penalty on a region off the target that is drawn by chance, without any search.

    Args:
        test: When a region is off (`first_violation`).
        tau: For the test ``overlap``.
        seed: The region drawn for a task at step t depends on this, the task and t alone.
    """

    test: Test = "overlap"
    tau: float = 0.15
    seed: int = 0

    def off(self, vlm: VisionLanguageModel, click: Click, step: int) -> Off | None:  # noqa: ARG002
        """Draw one of the regions that are off."""
        count = int(click.labels.max()) + 1
        off = [
            region
            for region in range(count)
            if first_violation([click.labels == region], click.target, test=self.test, tau=self.tau) == 0
        ]
        if not off:
            return None
        rng = np.random.default_rng((self.seed, step, zlib.crc32(click.sample.id.encode())))
        return Off(asked=click.asked, shown=with_and_without(click, [[int(rng.choice(off))]]), loss=utility)


@dataclass(frozen=True, kw_only=True)
class Swap:
    """Box-guided augmentation: two elements of a screen change places, and the label goes with the target.

    There is nothing to penalise: the model is trained on the changed screenshots as on any other. It needs the boxes of
    two elements of a similar size; tasks without such a pair stay as they are.

    Args:
        share: Of the tasks of a batch that are changed, each drawn by itself.
    """

    share: float = 0.5

    @property
    def weight(self) -> float:
        """There is no loss."""
        return 0.0

    @property
    def interval(self) -> int:
        """It acts at every step."""
        return 1

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"Swap: share must lie in [0, 1], got {self.share}.")

    def find(self, vlm: VisionLanguageModel, clicks: Sequence[Click], step: int) -> Found:  # noqa: ARG002
        """Nothing."""
        return Found(0, [])

    def augment(self, samples: Sequence[GuiSample], seed: tuple[int, ...]) -> list[GuiSample]:
        """Return the tasks of a batch, some of them with the target elsewhere."""
        rng = np.random.default_rng(seed)
        drawn = rng.random(len(samples)) < self.share
        return [
            (swapped(sample, rng) or sample) if draw else sample for sample, draw in zip(samples, drawn, strict=True)
        ]


def swapped(sample: GuiSample, rng: np.random.Generator) -> GuiSample | None:
    """The task with its target and another element in each other's place; None if there is no such pair.

    Box, point, prior, elements and answer follow. So does the name of a part of the screen in the thought, as
    `gui.screens.tasks.zone_name` writes it; a thought that tells the place in other words becomes wrong.

    Args:
        sample: A click.
        rng: Draws the other element.

    Raises:
        ValueError: If the answer cannot be read.
    """
    if sample.box is None or sample.point is None or sample.right is None:
        return None
    image, elements = sample.read_image().convert("RGB"), sample.elements()
    target = _whole(sample.box)
    others = [_whole(element.box) for element in elements if element.visible and _fits(_whole(element.box), target)]
    if not others:
        return None
    other = others[int(rng.integers(len(others)))]
    pixels = np.asarray(image).copy()
    for source, place in ((target, other), (other, target)):
        size = place[2] - place[0], place[3] - place[1]
        pixels[place[1] : place[3], place[0] : place[2]] = np.asarray(image.crop(source).resize(size))
    changed = Image.fromarray(pixels)
    point = _moved(sample.point, target, other, image.size)
    box = (float(other[0]), float(other[1]), float(other[2]), float(other[3]))
    return replace(
        sample,
        read_image=partial(_same, changed),
        read_prior=partial(target_prior, box, None, _no_elements, (image.height, image.width)),
        elements=partial(tuple, tuple(_after(each, target, other) for each in elements)),
        box=box,
        point=point,
        **_said(sample, point),
    )


def _said(sample: GuiSample, point: tuple[float, float]) -> dict[str, str | None]:
    said, thought = strict_json(sample.right or ""), sample.thought
    said["POINT"] = [round(share * SCALE) for share in point]
    if thought is not None and sample.point is not None:
        for locale in ("en", "zh"):
            thought = thought.replace(zone_name(*sample.point, locale), zone_name(*point, locale))
        said["thought"] = thought
    return {"right": write_compact(**said), "thought": thought}


def _whole(box: tuple[float, float, float, float]) -> Box:
    left, top, right, bottom = (round(edge) for edge in box)
    return left, top, right, bottom


def _fits(box: Box, target: Box) -> bool:
    """Whether an element may change places with the target: apart from it, and of a similar size."""
    sides = [(box[axis + 2] - box[axis], target[axis + 2] - target[axis]) for axis in (0, 1)]
    alike = all(min(pair) > 0 and max(pair) <= ALIKE * min(pair) for pair in sides)
    return alike and not meets(box, target)


def _moved(point: tuple[float, float], source: Box, place: Box, size: tuple[int, int]) -> tuple[float, float]:
    """A point at the same share of another box, in shares of the screen."""
    at = []
    for axis in (0, 1):
        share = (point[axis] * size[axis] - source[axis]) / (source[axis + 2] - source[axis])
        at.append((place[axis] + min(1.0, max(0.0, share)) * (place[axis + 2] - place[axis])) / size[axis])
    return at[0], at[1]


def _after(element: UiElement, target: Box, other: Box) -> UiElement:
    places = {target: other, other: target}
    box = _whole(element.box)
    if box not in places:
        return element
    left, top, right, bottom = places[box]
    return replace(element, box=(float(left), float(top), float(right), float(bottom)))


def _same(image: Image.Image) -> Image.Image:
    return image


def _no_elements(_size: tuple[int, int]) -> tuple[UiElement, ...]:
    return ()
