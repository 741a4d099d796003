"""Vision-language models that can be asked on paper: real processors, answers from a rule."""

import numpy as np
import torch
from PIL import Image

from wherenot.evidence import Evidence
from wherenot.generation_evidence import GenerationEvidence
from wherenot.models.tiny_vlms import tiny_vlm
from wherenot.models.vlm import VisionLanguageModel
from wherenot.objective import EVALUATION

SIDE = 84  # of the images that the tiny LLaVA takes as they are
QUARTERS = np.kron(np.arange(4).reshape(2, 2), np.ones((SIDE // 2, SIDE // 2), int))  # label map


def quarters_image(values=(90, 130, 170, 210)):
    """One shade of grey per quarter."""
    return Image.fromarray(np.take(np.array(values, np.uint8), QUARTERS)).convert("RGB")


def quarters_evidence(order, prompt="Is there a cat?", fill="black"):
    """An order over quarters; its numbers mean nothing."""
    count = len(order)
    line = np.linspace(0.2, 0.8, count)
    evidence = Evidence(
        labels=QUARTERS, order=np.array(order), insertion=line, deletion=1 - line, values=2 * line, empty=0.1, full=0.9,
        empty_value=0.2, full_value=1.8, target=0, objective=EVALUATION, forwards=0, search="exact", fill=fill,
    )  # fmt: skip
    return GenerationEvidence(
        evidence=evidence, prompt=prompt, pieces=("Yes",), chosen=(0,), targets=("No",), insertion=line[:, None],
        deletion=1 - line[:, None], empty=np.array([0.1]), full=np.array([0.9]),
    )  # fmt: skip


class RuleVlm(VisionLanguageModel):
    """The tiny LLaVA, which generates what a rule says of the quarters it sees: those that are not black."""

    def __init__(self, rule):
        super().__init__(*tiny_vlm("llava"))
        self.rule = rule
        self.seen = []
        self.modes = []

    def generate(self, encoding, *, max_tokens=128, pixels=None):
        pixels = encoding.inputs["pixel_values"] if pixels is None else pixels
        middle = pixels[0, 0, SIDE // 4 :: SIDE // 2, SIDE // 4 :: SIDE // 2].flatten()
        black = self.filled(Image.new("RGB", (SIDE, SIDE)), "black")[0, 0, 0, 0]
        seen = frozenset(place for place in range(4) if not torch.isclose(middle[place], black))
        self.seen.append(seen)
        self.modes.append(self.model.training)
        return self.answer_ids(encoding, self.rule(seen)) if self.rule(seen) else []
