"""What an audit measures of agents alone: what they do, whether they look, whether thought and action agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from wherenot.data import GuiSample
from wherenot.evidence import Evidence
from wherenot.gui import CODECS, CONVENTIONS, resized_for
from wherenot.gui.clicks import prepare_click, reliance
from wherenot.gui.codecs import CodecName
from wherenot.gui.coordinates import ConventionName, Scale
from wherenot.gui.judging import judge, right_action
from wherenot.masking import FillName
from wherenot.metrics import map_correlation, pointing_coverage, regions_iou
from wherenot.models.vlm import VisionLanguageModel
from wherenot.priors import Prior
from wherenot.regions import Grid
from wherenot.scoring import evaluating

COMPARED_REGIONS = 2
"""Regions of thought and action that are compared: as many as the paper's Algorithm 2 looks at."""


def agent_facts(sample: GuiSample) -> dict[str, Any]:
    """What a record of a task says before the agent was asked: that it failed, in everything that can be judged."""
    acts = None if right_action(sample) is None else False
    return {
        "clicked": None,
        "malformed": True,
        "faults": [],
        "click_success": None if sample.box is None else False,
        "click_distance_px": None,
        "click_distance_1000": None,
        "type_match": acts,
        "exact_match": acts,
        "reliance": None,
    }


def judged_answer(
    sample: GuiSample, said: str, image: Image.Image, *, codec: CodecName, scale: Scale
) -> dict[str, Any]:
    """What an agent's answer does and what that is worth, for a record.

    Args:
        sample: What was asked.
        said: What the agent said.
        image: The screenshot.
        codec: The format that the agent speaks.
        scale: The numbers in which it writes places on this screenshot (`scale_for`).
    """
    judged = judge(sample, said, (image.height, image.width), codec=CODECS[codec], scale=scale)
    action = judged.reply.action
    return {
        "correct": judged.correct,
        "clicked": None if action is None or action.kind != "click" else action.point,
        "malformed": judged.reply.malformed,
        "faults": judged.reply.faults,
        "click_success": None if sample.box is None else judged.correct,
        "click_distance_px": judged.distance_px,
        "click_distance_1000": judged.distance_1000,
        "type_match": judged.type_match,
        "exact_match": judged.exact_match,
    }


def scale_for(vlm: VisionLanguageModel, image: Image.Image, coordinates: ConventionName) -> Scale:
    """The numbers in which a model writes places on a screenshot.

    Args:
        vlm: The model; its processor says how large it sees the screenshot.
        image: The screenshot.
        coordinates: The model's convention.
    """
    convention = CONVENTIONS[coordinates]
    own = convention.largest is None
    return convention.scale(resized_for(vlm.processor.image_processor, image.height, image.width) if own else None)


def measured_reliance(
    vlm: VisionLanguageModel, sample: GuiSample, *, codec: CodecName, scale: Scale, fill: FillName
) -> dict[str, Any]:
    """Reliance on the target, of the right answer as the agent would write it, for a record.

    Where it cannot be measured (no right answer, no target, a target of which the agent sees no pixel) it is None, and
    ``no_reliance`` says why.

    Args:
        vlm: The agent.
        sample: The task.
        codec: The format that it speaks.
        scale: The numbers in which it writes places on this screenshot.
        fill: What hides the target.
    """
    truth = right_action(sample)
    try:
        if truth is not None and (codec, scale) != ("agentcpm", CONVENTIONS["0-1000"].scale()):  # as the data speak
            sample = replace(sample, right=CODECS[codec].write(truth, scale=scale, thought=sample.thought))
        click = prepare_click(vlm, sample, partition=Grid(1, 2), fill=fill)  # regions play no part in it
        if not click.in_target.any():
            raise ValueError(f"measured_reliance: {sample.id!r}: the agent sees no pixel of the target.")
        with evaluating(vlm.wrapped):
            return {"reliance": reliance(vlm, click)}
    except ValueError as error:
        return {"reliance": None, "no_reliance": str(error)}


def consistency(thought: Evidence, action: Evidence, prior: Prior | None) -> dict[str, Any]:
    """How far the evidence for a thought and that for the action which follows it agree.

    Args:
        thought: Of the thought's tokens alone.
        action: Of the other tokens alone, on the same regions.
        prior: The target.

    Returns:
        ``consistency_first``: whether both begin with the same region. ``consistency_iou@2``: common area of the first
        two regions of each. ``consistency_correlation``: of the maps; None where one is the same everywhere.
        ``consistency_pointing@0.2``: whether the first regions of both lie on the target, each with more than .2 of
        its area; None without a target.
    """
    sets = [torch.from_numpy(each.prefix(COMPARED_REGIONS))[None] for each in (thought, action)]
    maps = [torch.from_numpy(each.map())[None] for each in (thought, action)]
    correlation = map_correlation(*maps)
    hits = None
    if prior is not None:
        inside, ignore = prior.evidence_allowed()[None], None if prior.ignore is None else prior.ignore[None]
        tops = [torch.from_numpy(each.top_region)[None] for each in (thought, action)]
        hits = all(bool(pointing_coverage(top, inside, ignore=ignore)) for top in tops)
    return {
        "consistency_first": bool(thought.order[0] == action.order[0]),
        f"consistency_iou@{COMPARED_REGIONS}": regions_iou(*sets).item(),
        "consistency_correlation": None if correlation.isnan() else correlation.item(),
        "consistency_pointing@0.2": hits,
    }
