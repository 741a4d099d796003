"""Ways to a prior for images that nobody annotated, each one function from tasks to proposals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from wherenot import rasters
from wherenot.data.origins import Box
from wherenot.models.detectors import Detector, Found, load_detector
from wherenot.models.segmenters import BoxSegmenter, TextSegmenter, is_clipseg, load_clipseg, load_sam2
from wherenot.proposals.grabcut import grab_cut, opencv
from wherenot.proposals.saliency import THRESHOLD, salient, spectral_residual

Kind: TypeAlias = Literal["boxes", "grounding", "segment", "saliency", "spreading"]

_LIKELY = 0.5  # that a pixel shows what a text names


@dataclass(frozen=True, kw_only=True)
class Task:
    """One image that needs a prior.

    Attributes:
        image: RGB.
        text: What to look for; empty where nothing is asked.
        boxes: The boxes that the data have, xyxy in pixels.
        key: Split and id of its sample.
    """

    image: Image.Image
    text: str = ""
    boxes: tuple[Box, ...] = ()
    key: tuple[str, str] = ("", "")


@dataclass(frozen=True, kw_only=True, eq=False)
class Proposal:
    """What was found in one image.

    Attributes:
        inside: True where evidence may lie, on the image's pixels; None = nothing was found.
        score: How sure it is, in [0, 1]; None = it does not say, or there is nothing.
    """

    inside: Bool[Tensor, "H W"] | None = None
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A way to priors, ready to run.

    Attributes:
        kind: In a word.
        model: Ids of the models, or the name of a method.
        propose: From tasks to as many proposals.
        texts: What to look for, one per class; empty where nothing is asked.
        threshold: From which score on something counts; None = there is none.
    """

    kind: Kind
    model: str
    propose: Callable[[Sequence[Task]], list[Proposal]]
    texts: tuple[str, ...] = ()
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class ProposalConfig:
    """What proposes, and how.

    Raises:
        ValueError: If a setting is missing, out of range, or has no effect with the others.
    """

    kind: Kind
    model: str | None = None
    detector: str | None = None
    prompt: str | None = None
    class_prompts: Mapping[str, str] = field(default_factory=dict)
    threshold: float | None = None

    def __post_init__(self) -> None:
        by = f"data prior: --from {self.kind}"
        if self.kind in ("grounding", "segment", "spreading") and self.model is None:
            named = {
                "spreading": "a classifier, such as efficientnet-lite0 or google/vit-base-patch16-224",
                "grounding": "a Grounding DINO, OWL-ViT or OWLv2, such as IDEA-Research/grounding-dino-tiny",
                "segment": "a CLIPSeg, such as CIDAS/clipseg-rd64-refined, or a SAM 2 with --detector",
            }
            raise ValueError(f"{by} needs --model: {named[self.kind]}.")
        if self.kind == "saliency" and self.model is not None:
            raise ValueError(
                f"{by} takes no --model: it looks at the image alone. What a model looks at is its evidence "
                "(wherenot explain); as a prior for the same model it would only say again what the model does."
            )
        if self.detector is not None and self.kind != "segment":
            raise ValueError(f"{by} has no use for --detector; it finds the boxes for a SAM 2 of --from segment.")
        if self.kind in ("boxes", "saliency", "spreading") and (self.prompt is not None or self.class_prompts):
            raise ValueError(f"{by} reads no text; leave out --prompt and --class-prompts.")
        if self.prompt is not None and "{}" not in self.prompt:
            raise ValueError(f'{by}: --prompt {self.prompt!r} has no {{}} for the class, as "a photo of a {{}}" has.')
        if self.threshold is not None:
            if self.kind == "boxes":
                raise ValueError(f"{by} has no --threshold: the boxes are given.")
            if self.kind == "spreading":
                raise ValueError(f"{by} has no --threshold: its priors are as large as those it learned from.")
            most = float("inf") if self.kind == "saliency" else 1.0
            if not 0 <= self.threshold < most:
                unit = "means of the map, from 0" if self.kind == "saliency" else "a score from 0, below 1"
                raise ValueError(f"{by}: --threshold {self.threshold} is not {unit}.")


def build_source(config: ProposalConfig, classes: Sequence[str], *, device: str = "cpu") -> Source:
    """Load what a configuration names.

    Args:
        config: What proposes, and how.
        classes: Names of the data's classes; ``_`` is read as a space.
        device: Where models run.

    Raises:
        ValueError: If a model cannot be loaded or is of a kind that cannot do this, a class of `class_prompts` is none
            of the data's, or OpenCV is missing.

    Example:
        >>> source = build_source(ProposalConfig(kind="saliency"), ["cat"])
        >>> source.model, source.threshold
        ('spectral residual', 3.0)
    """
    name = config.model or ""
    match config.kind:
        case "saliency":
            threshold = THRESHOLD if config.threshold is None else config.threshold
            propose = partial(_by_saliency, threshold=threshold)
            return Source(kind="saliency", model="spectral residual", propose=propose, threshold=threshold)
        case "boxes" if not name:
            opencv()
            return Source(kind="boxes", model="GrabCut", propose=_by_grabcut)
        case "boxes":
            cutter = load_sam2(name, device=device)
            return Source(kind="boxes", model=name, propose=partial(_by_cutter, cutter=cutter))
        case "grounding":
            return detecting(load_detector(name, device=device), config, classes, name=name)
        case "segment":
            return _segmenting(config, classes, device)
        case "spreading":
            raise ValueError("build_source: spreading learns from data; call spreading_source.")


def detecting(
    detector: Detector,
    config: ProposalConfig,
    classes: Sequence[str],
    *,
    name: str,
    cutter: BoxSegmenter | None = None,
) -> Source:
    """A source that looks for the class of each image.

    Args:
        detector: Finds boxes.
        config: Its prompts and threshold; where it has none, the detector's own.
        classes: Of the data.
        name: What made the priors.
        cutter: Cuts the object out of each box; None = the prior is the boxes.
    """
    threshold = detector.threshold if config.threshold is None else config.threshold
    propose = partial(_by_detector, detector=detector, threshold=threshold, cutter=cutter)
    texts = _texts(config, classes, detector.prompt)
    return Source(kind=config.kind, model=name, propose=propose, texts=texts, threshold=threshold)


def _segmenting(config: ProposalConfig, classes: Sequence[str], device: str) -> Source:
    name = config.model or ""
    if is_clipseg(name):
        if config.detector is not None:
            raise ValueError(f"data prior: {name!r} reads the text itself; leave out --detector, or name a SAM 2.")
        segmenter = load_clipseg(name, device=device)
        threshold = _LIKELY if config.threshold is None else config.threshold
        propose = partial(_by_text, segmenter=segmenter, threshold=threshold)
        texts = _texts(config, classes, segmenter.prompt)
        return Source(kind="segment", model=name, propose=propose, texts=texts, threshold=threshold)
    if config.detector is None:
        raise ValueError(
            f"data prior: {name!r} is a SAM 2, which reads no text; name what finds the boxes with --detector, such as "
            "IDEA-Research/grounding-dino-tiny, or take the boxes that the data have with --from boxes."
        )
    detector, cutter = load_detector(config.detector, device=device), load_sam2(name, device=device)
    return detecting(detector, config, classes, name=f"{config.detector} + {name}", cutter=cutter)


def _texts(config: ProposalConfig, classes: Sequence[str], own: str) -> tuple[str, ...]:
    """What to look for, one text per class."""
    if unknown := sorted(set(config.class_prompts) - set(classes)):
        some = ", ".join(map(repr, classes[:10])) + (", ..." if len(classes) > 10 else "")
        raise ValueError(f"data prior: --class-prompts names {unknown[0]!r}, which is no class of the data: {some}.")
    template = own if config.prompt is None else config.prompt
    return tuple(config.class_prompts.get(name, template.replace("{}", name.replace("_", " "))) for name in classes)


def _by_saliency(tasks: Sequence[Task], *, threshold: float) -> list[Proposal]:
    proposals = []
    for task in tasks:
        inside, score = salient(spectral_residual(task.image), threshold)
        proposals.append(_proposal(torch.from_numpy(inside), score))
    return proposals


def _by_grabcut(tasks: Sequence[Task]) -> list[Proposal]:
    return [_proposal(torch.from_numpy(grab_cut(task.image, task.boxes)), None) for task in tasks]


def _by_cutter(tasks: Sequence[Task], *, cutter: BoxSegmenter) -> list[Proposal]:
    cut = cutter([task.image for task in tasks], [task.boxes for task in tasks])
    proposals = []
    for task, each in zip(tasks, cut, strict=True):
        inside = torch.zeros(task.image.height, task.image.width, dtype=torch.bool)
        for one in each:
            inside |= one.inside
        scores = [one.score for one in each]
        proposals.append(_proposal(inside, sum(scores) / len(scores) if scores else None))
    return proposals


def _by_text(tasks: Sequence[Task], *, segmenter: TextSegmenter, threshold: float) -> list[Proposal]:
    maps = segmenter([task.image for task in tasks], [task.text for task in tasks])
    proposals = []
    for each in maps:
        inside = each > threshold
        proposals.append(_proposal(inside, float(each[inside].mean()) if inside.any() else None))
    return proposals


def _by_detector(
    tasks: Sequence[Task], *, detector: Detector, threshold: float, cutter: BoxSegmenter | None
) -> list[Proposal]:
    images = [task.image for task in tasks]
    found = detector(images, [task.text for task in tasks], threshold)
    if cutter is None:
        return [_boxed(image, each) for image, each in zip(images, found, strict=True)]
    cut = cutter(images, [each.boxes for each in found])
    proposals = []
    for image, each, pieces in zip(images, found, cut, strict=True):
        inside = torch.zeros(image.height, image.width, dtype=torch.bool)
        for piece in pieces:
            inside |= piece.inside
        proposals.append(_proposal(inside, max(each.scores, default=None)))
    return proposals


def _boxed(image: Image.Image, found: Found) -> Proposal:
    if not found.boxes:
        return Proposal()
    inside = rasters.fill_boxes(found.boxes, image.height, image.width)
    return _proposal(inside, max(found.scores))


def _proposal(inside: Bool[Tensor, "H W"], score: float | None) -> Proposal:
    if not inside.any():
        return Proposal()
    return Proposal(inside=inside, score=None if score is None else min(1.0, max(0.0, score)))
