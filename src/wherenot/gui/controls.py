"""Controls: what do searching for the evidence, and hiding pixels at all, buy?"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wherenot.data import GuiSample
from wherenot.gui.clicks import Click
from wherenot.gui.moving import alike, meets, moved, whole, with_moved
from wherenot.gui.penalties import Off, Penalty, first_off, utility, with_and_without
from wherenot.gui.rearranging import Augmentation
from wherenot.gui.violation import Test
from wherenot.models.vlm import VisionLanguageModel


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
            if first_off(click, [click.labels == region], test=self.test, tau=self.tau) == 0
        ]
        if not off:
            return None
        rng = np.random.default_rng((self.seed, step, zlib.crc32(click.sample.id.encode())))
        return Off(asked=click.asked, shown=with_and_without(click, [[int(rng.choice(off))]]), loss=utility)


@dataclass(frozen=True, kw_only=True)
class Swap(Augmentation):
    """Box-guided augmentation: two elements of a screen change places, and the label goes with the target.

    The model is trained on the changed screenshots as on any other. It needs the boxes of two elements of a similar
    size; tasks without such a pair stay as they are.

    Args:
        share: Of the tasks of a batch that are changed, each drawn by itself.
        step: Coordinates of answers are multiples of this (`gui.moving.point_step`).
    """

    def augment(self, samples: Sequence[GuiSample], seed: tuple[int, ...]) -> list[GuiSample]:
        """Return the tasks of a batch, some of them with the target elsewhere."""
        rng = np.random.default_rng(seed)
        drawn = rng.random(len(samples)) < self.share
        return [
            (swapped(sample, rng, step=self.step) or sample) if draw else sample
            for sample, draw in zip(samples, drawn, strict=True)
        ]


def swapped(sample: GuiSample, rng: np.random.Generator, *, step: int = 1) -> GuiSample | None:
    """The task with its target and another element in each other's place (`moved`); None if there is no such pair.

    Args:
        sample: A click.
        rng: Draws the other element.
        step: Coordinates of the answer are multiples of this.

    Raises:
        ValueError: If the answer cannot be read.
    """
    if sample.box is None or sample.point is None or sample.right is None:
        return None
    target = whole(sample.box)
    others = [whole(element.box) for element in sample.elements() if element.visible]
    others = [other for other in others if alike(other, target) and not meets(other, target)]
    if not others:
        return None
    other = others[int(rng.integers(len(others)))]
    places = {target: other, other: target}
    return moved(sample, places, with_moved(sample.read_image(), places), step=step)
