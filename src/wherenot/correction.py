"""How little of an image has to be hidden until a vision-language model stops saying what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float

from wherenot.generation_evidence import GenerationEvidence
from wherenot.masking import FillName, show_elements
from wherenot.metrics import answer_agrees, removed_area
from wherenot.models.vlm import Picture, VisionLanguageModel
from wherenot.scoring import evaluating


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What a model says while more and more of an image is hidden, and when it is right for the first time.

    Attributes:
        label: The right answer.
        answers: What the model says of each prefix of the order, the whole image last; None where it was not asked.
        areas: Share of the image that each of them shows, rising, the last 1.
        removed_regions: Regions that are hidden in the largest part of the image of which the answer is right, the
            least important first; None if no answer is right.
        removed: True on their pixels; nowhere if no answer is right, or that to the whole image is.
    """

    label: str
    answers: tuple[str | None, ...]
    areas: Float[np.ndarray, " P"]
    removed_regions: tuple[int, ...] | None
    removed: Bool[np.ndarray, "H W"]

    @property
    def removed_area(self) -> float | None:
        """Smallest share of the image whose removal corrects the answer, in [0, 1); None if none does."""
        right = [answer is not None and answer_agrees(answer, self.label) for answer in self.answers]
        return removed_area(torch.from_numpy(self.areas), torch.tensor(right))

    @property
    def answer(self) -> str | None:
        """What the model says once it is corrected; None if it never is."""
        right = [answer for answer in self.answers if answer is not None and answer_agrees(answer, self.label)]
        return right[-1] if right else None


def correct_hallucination(
    vlm: VisionLanguageModel,
    image: Picture,
    found: GenerationEvidence,
    *,
    label: str,
    whole_curve: bool = False,
    max_tokens: int = 128,
    on_answer: Callable[[int], None] | None = None,
) -> Correction:
    """Hide the regions that mislead a model, least important first, until its answer is the right one.

    The order should come from a search for what would contradict the answer (`explain_generation` with ``counter``):
    its last regions speak least for the right answer. The model generates an answer to the whole image, to the image
    without the last region, without the last two, and so on; it is never asked about an image of nothing.

    Args:
        vlm: The model that was explained.
        image: RGB, the one that was explained.
        found: The order, and the question. If it ends early, the regions it leaves out are hidden first, together.
        label: The right answer; an answer is right if it begins so (`metrics.answer_agrees`).
        whole_curve: Ask about every prefix, instead of stopping at the first right answer. The result differs in
            `Correction.answers` only.
        max_tokens: Longest answer that is generated.
        on_answer: Called with 1 after each answer.

    Returns:
        Answers, and the smallest part of the image whose removal corrects. Nothing is removed where the whole image
        already gets the right answer.

    Raises:
        ValueError: If the image has another size than the evidence, the label has no word, or prompt and model do not
            fit.

    Example:
        >>> from wherenot.explain_generation import explain_generation
        >>> from wherenot.models.tiny_vlms import tiny_vlm
        >>> from wherenot.regions import Grid
        >>> from PIL import Image
        >>> vlm = VisionLanguageModel(*tiny_vlm("llava"))
        >>> image = Image.radial_gradient("L").convert("RGB")
        >>> found = explain_generation(
        ...     vlm, image, "Is there a cat?", tokens="0", counter="No", regions=Grid(2, 2), max_tokens=2)
        >>> correction = correct_hallucination(vlm, image, found, label="No", max_tokens=2)
        >>> len(correction.answers), correction.removed_area is None
        (4, True)

    References:
        EAGLE, where the smallest removed area is averaged to AMCR (`metrics.mean_removed_area`) and counted as CSR
        (`metrics.correction_rate`).
    """
    evidence = found.evidence
    prefixes = [evidence.order[:rank] for rank in range(1, len(evidence.order) + 1)]
    areas = evidence.areas
    if len(evidence.order) < evidence.num_regions:
        prefixes.append(np.arange(evidence.num_regions))
        areas = np.append(areas, 1.0)
    keep = torch.zeros(len(prefixes), evidence.num_regions, dtype=torch.bool, device=vlm.device)
    for row, prefix in zip(keep, prefixes, strict=True):
        row[torch.from_numpy(prefix)] = True
    answers: list[str | None] = [None] * len(prefixes)
    largest = None
    with evaluating(vlm.wrapped):
        encoding = vlm.encode(image, found.prompt)
        layout, filled = vlm.layout(image, evidence.labels), vlm.filled(image, cast(FillName, evidence.fill))
        for place in reversed(range(len(prefixes))):
            [pixels] = show_elements(encoding.inputs["pixel_values"], layout, keep[place : place + 1], filled)
            said = vlm.text(vlm.generate(encoding, max_tokens=max_tokens, pixels=pixels))
            answers[place] = said
            if on_answer is not None:
                on_answer(1)
            if largest is None and answer_agrees(said, label):
                largest = place
                if not whole_curve:
                    break
    hidden = None if largest is None else _hidden(evidence.order, keep[largest])
    return Correction(
        label=label,
        answers=tuple(answers),
        areas=areas,
        removed_regions=hidden,
        removed=np.isin(evidence.labels, hidden or ()),
    )


def _hidden(order: np.ndarray, keep: torch.Tensor) -> tuple[int, ...]:
    """Regions that are not kept: those that nobody ranked, and then the ranked ones from the end of the order."""
    gone = (~keep).nonzero().flatten().tolist()
    rank = {region: place for place, region in enumerate(order.tolist())}
    return tuple(sorted(gone, key=lambda region: -rank.get(region, len(rank))))
