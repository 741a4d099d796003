"""Click tasks, ready to be asked about masked copies of their screenshot."""

from __future__ import annotations

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
from wherenot.models.answers import AnswerReader, Asked
from wherenot.models.vlm import VisionLanguageModel
from wherenot.regions import Grid
from wherenot.tokens import SENSITIVE
from wherenot.types import Partition

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
        target: Pixels of the target.
        in_target: Which of the processor's numbers show the target.
        fill: What hidden numbers show.
    """

    sample: GuiSample
    image: Image.Image
    asked: Asked
    labels: Int[np.ndarray, "H W"]
    layout: Int[Tensor, "*shape"]
    target: Bool[np.ndarray, "H W"]
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
    vlm: VisionLanguageModel, sample: GuiSample, *, partition: Partition | None = None, fill: FillName = "black"
) -> Click:
    """Prepare a task.

    Args:
        vlm: Who is asked.
        sample: Has a right answer and a target.
        partition: Cuts the screenshot; None: the elements of the interface, and a grid of 8 x 4 cells between them.
        fill: What hidden pixels show.

    Raises:
        ValueError: If the sample has no right answer or no target, or no elements where these are to be the regions.
    """
    prior, image = sample.read_prior(), sample.read_image()
    if sample.right is None or prior is None or prior.allowed is None:
        raise ValueError(f"prepare_click: {sample.id!r} has no right answer or no target; leave it out.")
    labels = element_labels(sample, image) if partition is None else partition(np.asarray(image))
    target = prior.allowed.cpu().numpy()
    encoding = vlm.encode(image, sample.prompt)
    answer = tuple(vlm.answer_ids(encoding, sample.right))
    return Click(
        sample=sample,
        image=image,
        asked=Asked(encoding, answer, tuple(range(len(answer))), answer),
        labels=labels,
        layout=vlm.layout(image, labels),
        target=target,
        in_target=vlm.layout(image, target.astype(np.int64)) == 1,
        fill=vlm.filled(image, fill),
    )


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
    return click if tokens == "all" else read_chosen(vlm, click, tokens)[0]


@torch.no_grad()
def read_chosen(vlm: VisionLanguageModel, click: Click, tokens: Tokens) -> tuple[Click, Float[Tensor, " T"]]:
    """As `chosen_tokens`, and the probabilities of these tokens given the whole screenshot, in [0, 1]."""
    if tokens == "all":
        return click, AnswerReader(vlm, [click.asked])(click.pixels[None])[0]
    full, _, places = _falls(vlm, click, click.without_target if tokens == "location" else click.fill)
    asked = click.asked
    chosen = Asked(asked.encoding, asked.answer, tuple(places), tuple(asked.answer[place] for place in places))
    return replace(click, asked=chosen), full[places]


@torch.no_grad()
def reliance(vlm: VisionLanguageModel, click: Click) -> float:
    """How far the first word that tells where to click rests on the target: the fall of its probability without it.

    Near its probability for an agent that looks, near 0 for one that clicks from memory; in [-1, 1]. The words after it
    say little: they follow from the first.

    Args:
        vlm: Who is asked; its mode is the caller's.
        click: A task of which every token counts.
    """
    _, fall, places = _falls(vlm, click, click.without_target)
    return float(fall[places[0]])


def _falls(
    vlm: VisionLanguageModel, click: Click, hidden: Float[Tensor, "*shape"]
) -> tuple[Float[Tensor, " T"], Float[Tensor, " T"], list[int]]:
    """Probability of each token given the whole screenshot, how far it falls when something is hidden, and whose do."""
    full, less = AnswerReader(vlm, [click.asked])(torch.stack([click.pixels, hidden]))
    fall = full - less
    return full, fall, (fall > SENSITIVE).nonzero().flatten().tolist() or [int(fall.argmax())]


def _has_pixels(box: tuple[float, float, float, float], image: Image.Image) -> bool:
    left, top, right, bottom = (round(edge) for edge in box)
    return 0 <= left < right <= image.width and 0 <= top < bottom <= image.height
