"""Whether an agent's answer does what it should."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wherenot.data import GuiSample
from wherenot.gui.actions import Action
from wherenot.gui.codecs import CODECS, Codec
from wherenot.gui.coordinates import CONVENTIONS, Scale
from wherenot.gui.matching import exact_match, type_match
from wherenot.gui.replies import Reply, clicked_points
from wherenot.metrics import click_distance_1000, click_distance_px, click_success


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What an answer was read as, and what it is worth.

    Attributes:
        reply: What it was read as.
        correct: A click in the target's box where there is one; otherwise the right action (`exact_match`). A malformed
            answer is wrong. None where nobody said what is right.
        type_match: Whether the action is of the right type, by AgentCPM-GUI's rules; None where nobody said what is
            right. A malformed answer is not.
        exact_match: Whether it is the right action by these rules, which take any click near the right one or in an
            element around it: not the same as a click in the target's box.
        distance_px: From the click to the box, in pixels of the screenshot, 0 inside; None without a click or a box.
        distance_1000: The same in thousandths of the screen.
    """

    reply: Reply
    correct: bool | None
    type_match: bool | None = None
    exact_match: bool | None = None
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
    reply, truth = codec.read(said, scale=scale), right_action(sample)
    matches: dict[str, bool] = {}
    if truth is not None:
        around = [element.box for element in sample.elements() if element.visible]
        around += [] if sample.box is None else [sample.box]
        matches["type_match"] = type_match(reply.action, truth)
        matches["exact_match"] = exact_match(reply.action, truth, boxes=around, size=size)
    if sample.box is None:
        return Judgement(reply=reply, correct=matches.get("exact_match"), **matches)
    points, boxes = clicked_points([reply]), torch.tensor([sample.box], dtype=torch.float64)
    sizes = torch.tensor([size], dtype=torch.float64)
    clicked = not bool(points.isnan().any())
    return Judgement(
        reply=reply,
        correct=bool(click_success(points, boxes, sizes)),
        distance_px=float(click_distance_px(points, boxes, sizes)) if clicked else None,
        distance_1000=float(click_distance_1000(points, boxes, sizes)) if clicked else None,
        **matches,
    )


def right_action(sample: GuiSample) -> Action | None:
    """What a task asks for; None where nobody said.

    Example:
        >>> sample = GuiSample("a", 0, "test", None, lambda: None, lambda: None, "Go.", right='{"PRESS":"BACK"}')
        >>> right_action(sample).key
        'back'
    """
    if sample.right is None:
        return None
    return CODECS["agentcpm"].read(sample.right, scale=CONVENTIONS["0-1000"].scale()).action
