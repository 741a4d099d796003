"""Training screens on which places say nothing: what is on a screen is dealt out anew."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wherenot.data import GuiSample
from wherenot.gui.clicks import Click
from wherenot.gui.moving import Box, Places, alike, meets, moved, whole, with_moved
from wherenot.gui.penalties import Found
from wherenot.models.vlm import VisionLanguageModel

_ROUNDS = 3  # of drawing a partner for each element; more change the mixture little


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """A method that changes screens and has nothing to penalise.

    Args:
        share: Of what can be changed, each drawn by itself, in [0, 1].
        step: Coordinates of answers are multiples of this (`gui.moving.point_step`).

    Raises:
        ValueError: If `share` is not in [0, 1].
    """

    share: float = 0.5
    step: int = 1

    @property
    def weight(self) -> float:
        """There is no loss."""
        return 0.0

    @property
    def interval(self) -> int:
        """It acts at every step."""
        return 1

    @property
    def max_tasks(self) -> int | None:
        """It looks at none."""
        return None

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"{type(self).__name__}: share must lie in [0, 1], got {self.share}.")

    def find(self, vlm: VisionLanguageModel, clicks: Sequence[Click], step: int) -> Found:  # noqa: ARG002
        """Nothing."""
        return Found(0, [])


@dataclass(frozen=True, kw_only=True)
class Rearrange(Augmentation):
    """All elements of a screen that are alike in size change places, and every label goes with its target.

    Where something lies then says nothing of what it is, which is what the paper's penalty asks for, but without masked
    screenshots, gradients that vanish where the agent is sure, or further forwards. Tasks of one screenshot in one
    batch see the same new screen, so they still share the reading of it.

    Elements that overlap smaller ones stay, and so does what overlaps a target; an instruction that tells a place ("the
    icon below Mail") becomes wrong. Screens without elements stay as they are.

    Args:
        share: Of the screens of a batch that are changed; 1 throws away what places do tell.
        step: Coordinates of answers are multiples of this (`gui.moving.point_step`).

    Example:
        >>> from PIL import Image
        >>> from wherenot.data import UiElement
        >>> boxes = [(0.0, 0.0, 10.0, 10.0), (10.0, 0.0, 20.0, 10.0)]
        >>> task = GuiSample("a", 0, "train", None, lambda: Image.new("RGB", (20, 10)), lambda: None, "Tap.",
        ...     right='{"POINT":[250,500]}', box=boxes[0], point=(0.25, 0.5),
        ...     elements=lambda: tuple(UiElement(box=box) for box in boxes))
        >>> sorted({Rearrange(share=1.0).augment([task], (seed,))[0].right for seed in range(9)})
        ['{"POINT":[250,500]}', '{"POINT":[750,500]}']

    References:
        Ours; `wherenot.methods.Recomposition` does the like to photographs.
    """

    share: float = 0.75

    def augment(self, samples: Sequence[GuiSample], seed: tuple[int, ...]) -> list[GuiSample]:
        """Return the tasks of a batch on rearranged screens."""
        screens: defaultdict[str, list[int]] = defaultdict(list)
        for row, sample in enumerate(samples):
            screens[sample.screenshot or f"\0{sample.id}"].append(row)
        changed = list(samples)
        for name, rows in screens.items():
            rng = np.random.default_rng((*seed, zlib.crc32(name.encode())))
            if rng.random() >= self.share:
                continue
            clicks = [row for row in rows if _can_move(samples[row])]
            if len(clicks) < len(rows):
                continue  # a task that tells no target might be about anything that would move
            places = new_places([samples[row] for row in rows], rng)
            if places:
                image = with_moved(samples[rows[0]].read_image(), places)
                for row in rows:
                    changed[row] = moved(samples[row], places, image, step=self.step)
        return changed


def new_places(samples: Sequence[GuiSample], rng: np.random.Generator) -> Places:
    """Deal out the elements of a screen anew, each to any place, its own included.

    If none could keep its place, agents would learn that things are never where they usually are.

    Args:
        samples: Tasks on it, with their targets.
        rng: Draws who goes where.
    """
    free = _free(samples)
    places = {box: box for box in free}
    for _ in range(_ROUNDS):
        for box in (free[row] for row in rng.permutation(len(free))):
            partners = [other for other in free if alike(box, places[other]) and alike(other, places[box])]
            other = partners[int(rng.integers(len(partners)))]  # itself, perhaps
            places[box], places[other] = places[other], places[box]
    return {box: place for box, place in places.items() if box != place}


def movable_frac(samples: Sequence[GuiSample], *, at_most: int = 200, seed: int = 0) -> float:
    """Share of tasks on whose screen something could change places with something else.

    Args:
        samples: Tasks.
        at_most: Look at so many of them, drawn by `seed`.
        seed: Of the drawing.

    Returns:
        In [0, 1]; 0 where no screen has two elements that are alike in size and free of others.
    """
    drawn = np.random.default_rng(seed).permutation(len(samples))[:at_most]
    movable = 0
    for sample in (samples[row] for row in drawn):
        free = _free([sample]) if _can_move(sample) else []
        movable += any(alike(box, other) for box in free for other in free if box != other)
    return movable / max(1, len(drawn))


def _free(samples: Sequence[GuiSample]) -> list[Box]:
    """Elements of a screen that overlap neither smaller ones nor, but for itself, a target."""
    targets = {whole(sample.box) for sample in samples if sample.box is not None}
    listed = {whole(element.box) for element in samples[0].elements() if element.visible}
    free: list[Box] = []
    for box in sorted(listed, key=lambda box: ((box[2] - box[0]) * (box[3] - box[1]), box)):
        overlaps = any(meets(box, other) for other in free) or any(meets(box, each) for each in targets - {box})
        if not overlaps and alike(box, box):
            free.append(box)
    return free


def _can_move(sample: GuiSample) -> bool:
    return sample.box is not None and sample.point is not None and sample.right is not None
