"""Click tasks, ready to be asked about masked copies of their screenshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from wherenot.data import GuiSample
from wherenot.given_regions import from_boxes
from wherenot.masking import FillName
from wherenot.models.answers import AnswerReader, Asked, read_together
from wherenot.models.vlm import Encoding, VisionLanguageModel
from wherenot.regions import Grid
from wherenot.tokens import SENSITIVE
from wherenot.types import Partition

TOGETHER = 16
"""Masked screenshots of different tasks that one forward takes."""

Tokens: TypeAlias = Literal["location", "sensitive", "all"]


@dataclass(frozen=True, kw_only=True)
class Click:
    """A task, its right answer, and where things are in what the model's processor makes of the screenshot.

    Attributes:
        sample: The task.
        image: Its screenshot.
        asked: Screenshot, instruction and right answer, and which of its tokens count.
        labels: Regions: the elements of the interface, and cells of what lies between.
        layout: Region of each of the processor's numbers; -1 = of none.
        target: Pixels of the target: where evidence may lie.
        forbidden: Pixels that a person said it must never rely on; None if nobody did.
        is_open: Whether nobody said where evidence may lie, only where not: the target is then all the rest.
        in_target: Which of the processor's numbers show the target.
        fill: What hidden numbers show.
    """

    sample: GuiSample
    image: Image.Image
    asked: Asked
    labels: Int[np.ndarray, "H W"]
    layout: Int[Tensor, "*shape"]
    target: Bool[np.ndarray, "H W"]
    forbidden: Bool[np.ndarray, "H W"] | None
    is_open: bool
    in_target: Bool[Tensor, "*shape"]
    fill: Float[Tensor, "*shape"]

    @property
    def pixels(self) -> Float[Tensor, "*shape"]:
        """The screenshot as the processor lays it out."""
        return self.asked.encoding.inputs["pixel_values"]

    @property
    def without_target(self) -> Float[Tensor, "*shape"]:
        """The same, the target hidden."""
        return torch.where(self.in_target, self.fill, self.pixels)


def prepare_click(
    vlm: VisionLanguageModel,
    sample: GuiSample,
    *,
    partition: Partition | None = None,
    fill: FillName = "black",
    asked: Asked | None = None,
) -> Click:
    """Prepare a task.

    Args:
        vlm: Who is asked.
        sample: Has a right answer, and a target or marks of where evidence must not lie.
        partition: Cuts the screenshot; None: the elements of the interface, and a grid of 8 x 4 cells between them.
        fill: What hidden pixels show.
        asked: Its screenshot, prompt and right answer, where they are already encoded.

    Raises:
        ValueError: If the sample has no right answer or no target, or no elements where these are to be the regions.
    """
    prior, image = sample.read_prior(), sample.read_image()
    if sample.right is None or prior is None:
        raise ValueError(f"prepare_click: {sample.id!r} has no right answer or no target; leave it out.")
    labels = element_labels(sample, image) if partition is None else partition(np.asarray(image))
    target = prior.evidence_allowed().cpu().numpy()
    if asked is None:
        encoding = vlm.encode(image, sample.prompt, sample.system)
        asked = asked_whole(encoding, vlm.answer_ids(encoding, vlm.frame[0] + sample.right))
    return Click(
        sample=sample,
        image=image,
        asked=asked,
        labels=labels,
        layout=vlm.layout(image, labels),
        target=target,
        forbidden=None if prior.forbidden is None else prior.forbidden.cpu().numpy(),
        is_open=prior.allowed is None,
        in_target=vlm.layout(image, target.astype(np.int64)) == 1,
        fill=vlm.filled(image, fill),
    )


def asked_whole(encoding: Encoding, answer: Sequence[int]) -> Asked:
    """A question about all tokens of an answer."""
    return Asked(encoding, tuple(answer), tuple(range(len(answer))), tuple(answer))


def element_labels(sample: GuiSample, image: Image.Image) -> Int[np.ndarray, "H W"]:
    """Regions of a screenshot: the elements of the interface, and a grid of 8 x 4 cells between them.

    Args:
        sample: Tells the elements.
        image: Its screenshot.

    Raises:
        ValueError: If it tells no element that is visible and has a pixel.
    """
    boxes = [element.box for element in sample.elements() if element.visible and _has_pixels(element.box, image)]
    if not boxes:
        raise ValueError(f"element_labels: {sample.id!r} tells no elements; take a partition, such as grid:8x4.")
    return from_boxes(boxes, image.height, image.width, background=Grid(8, 4))


def chosen_tokens(vlm: VisionLanguageModel, click: Click, tokens: Tokens) -> Click:
    """The same task, asked about the tokens that matter.

    Args:
        vlm: Who is asked; its mode is the caller's.
        click: A task of which every token counts.
        tokens: ``location``: those whose probability falls by more than 0.2 when the target is hidden. ``sensitive``:
            when nothing is visible. ``all``. Where no token falls so far, the one that falls most.
    """
    return click if tokens == "all" else read_chosen(vlm, [click], tokens)[0][0]


@torch.no_grad()
def read_chosen(
    vlm: VisionLanguageModel, clicks: Sequence[Click], tokens: Tokens
) -> list[tuple[Click, Float[Tensor, " _"]]]:
    """As `chosen_tokens` for several tasks, and the probabilities of these tokens given the whole screenshot."""
    shown = [(click, click.pixels) for click in clicks]
    if tokens == "all":
        return list(zip(clicks, _read(vlm, shown), strict=True))
    hidden = [(click, click.without_target if tokens == "location" else click.fill) for click in clicks]
    read = _read(vlm, [*shown, *hidden])
    chosen = []
    for click, full, less in zip(clicks, read[: len(clicks)], read[len(clicks) :], strict=True):
        places, asked = _falling(full - less), click.asked
        targets = tuple(asked.answer[place] for place in places)
        chosen.append((replace(click, asked=Asked(asked.encoding, asked.answer, tuple(places), targets)), full[places]))
    return chosen


def reliance(vlm: VisionLanguageModel, click: Click) -> float:
    """How far the first word that tells where to click rests on the target: the fall of its probability without it.

    Near its probability for an agent that looks, near 0 for one that clicks from memory; in [-1, 1]. The words after it
    say little: they follow from the first.

    Args:
        vlm: Who is asked; its mode is the caller's.
        click: A task of which every token counts.
    """
    with torch.no_grad():
        full, hidden = AnswerReader(vlm, [click.asked])(torch.stack([click.pixels, click.without_target]))
    return float((full - hidden)[_falling(full - hidden)[0]])


def _falling(fall: Float[Tensor, " T"]) -> list[int]:
    return (fall > SENSITIVE).nonzero().flatten().tolist() or [int(fall.argmax())]


def _read(vlm: VisionLanguageModel, shown: Sequence[tuple[Click, Float[Tensor, ...]]]) -> list[Float[Tensor, " _"]]:
    found = []
    for start in range(0, len(shown), TOGETHER):
        some = shown[start : start + TOGETHER]
        found += read_together(vlm, [click.asked for click, _ in some], [pixels for _, pixels in some])
    return found


def _has_pixels(box: tuple[float, float, float, float], image: Image.Image) -> bool:
    left, top, right, bottom = (round(edge) for edge in box)
    return 0 <= left < right <= image.width and 0 <= top < bottom <= image.height
