"""Whether an agent's answer does what it should."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wherenot.data import GuiSample
from wherenot.gui.actions import Action
from wherenot.gui.codecs import CODECS, Codec
from wherenot.gui.coordinates import CONVENTIONS, Scale
from wherenot.gui.matching import exact_match
from wherenot.gui.replies import Reply, clicked_points
from wherenot.metrics import click_distance_1000, click_distance_px, click_success


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What an answer was read as, and what it is worth.

    Attributes:
        reply: What it was read as.
        correct: A click in the target's box where there is one; otherwise the right action (`exact_match`). A malformed
            answer is wrong. None where nobody said what is right.
        distance_px: From the click to the box, in pixels of the screenshot, 0 inside; None without a click or a box.
        distance_1000: The same in thousandths of the screen.
    """

    reply: Reply
    correct: bool | None
    distance_px: float | None = None
    distance_1000: float | None = None


def judge(sample: GuiSample, said: str, size: tuple[int, int], *, codec: Codec, scale: Scale) -> Judgement:
    """Judge an answer.

    Args:
        sample: What was asked; its right answer is compact JSON, whatever the model speaks.
        said: What the model said.
        size: Height and width of the screenshot.
        codec: The format that the model speaks.
        scale: The numbers in which it writes places.

    Example:
        >>> from wherenot.gui.coordinates import CONVENTIONS
        >>> sample = GuiSample("a", 0, "test", None, lambda: None, lambda: None, "Tap.", box=(0.0, 0.0, 10.0, 10.0))
        >>> thousandths = CONVENTIONS["0-1000"].scale()
        >>> judged = judge(sample, '{"POINT":[200,50]}', (100, 100), codec=CODECS["agentcpm"], scale=thousandths)
        >>> judged.correct, judged.distance_px, judge(sample, "here", (100, 100), codec=CODECS["agentcpm"],
        ...     scale=thousandths).reply.faults
        (False, 10.0, ('no_action',))
    """
    reply = codec.read(said, scale=scale)
    if sample.box is None:
        truth = _right_action(sample)
        return Judgement(reply=reply, correct=None if truth is None else exact_match(reply.action, truth))
    points, boxes = clicked_points([reply]), torch.tensor([sample.box], dtype=torch.float64)
    sizes = torch.tensor([size], dtype=torch.float64)
    clicked = not bool(points.isnan().any())
    return Judgement(
        reply=reply,
        correct=bool(click_success(points, boxes, sizes)),
        distance_px=float(click_distance_px(points, boxes, sizes)) if clicked else None,
        distance_1000=float(click_distance_1000(points, boxes, sizes)) if clicked else None,
    )


def _right_action(sample: GuiSample) -> Action | None:
    if sample.right is None:
        return None
    return CODECS["agentcpm"].read(sample.right, scale=CONVENTIONS["0-1000"].scale()).action
