"""The authors' way of explaining answers, written plainly from its description, to measure against.

Every masked image is made in the picture's own pixels, turned into a PIL image, taken through the processor and
shown to the model alone; logits of the whole sequence are computed, with a cache that nobody reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from wherenot.models import VisionLanguageModel


class AuthorsAnswers:
    """EAGLE's scores of one answer.

    Args:
        vlm: The model.
        image: RGB.
        prompt: What was asked.
        answer: Token ids of the answer.
        labels: Region of each pixel.
    """

    def __init__(
        self,
        vlm: VisionLanguageModel,
        image: Image.Image,
        prompt: str,
        answer: Sequence[int],
        labels: Int[np.ndarray, "H W"],
    ) -> None:
        self._vlm, self._prompt = vlm, prompt
        self._pixels = np.asarray(image, dtype=np.float32)[..., ::-1]  # BGR, as OpenCV reads
        self._answer = torch.tensor(answer, device=vlm.device)
        self.masks = [(labels == region)[..., None].astype(np.float32) for region in range(int(labels.max()) + 1)]
        self.forwards = 0

    @torch.no_grad()
    def mean(self, mask: Float[np.ndarray, "H W 1"]) -> float:
        """Mean probability of the answer's tokens for the picture times a mask."""
        picture = Image.fromarray((self._pixels * mask)[..., ::-1].clip(0, 255).astype(np.uint8))
        encoding = self._vlm.encode(picture, self._prompt)
        inputs = self._vlm.family.longer(encoding.inputs, self._answer)
        logits: Tensor = self._vlm.model(**inputs, use_cache=True).logits[0]
        first = encoding.num_tokens - 1
        odds = logits[first : first + len(self._answer)].softmax(-1)
        self.forwards += 1
        return odds.gather(1, self._answer[:, None]).mean().item()


def authors_order(scores: AuthorsAnswers, max_regions: int) -> list[int]:
    """Every remaining region is scored in every round; the best is taken, the first on ties."""
    order: list[int] = []
    candidates = list(range(len(scores.masks)))
    shown = np.zeros_like(scores.masks[0])
    while candidates and len(order) < max_regions:
        masks = [shown + scores.masks[region] for region in candidates]
        values = [scores.mean(mask) + 1 - scores.mean(1 - mask) for mask in masks]
        best = int(np.argmax(values))
        shown = masks[best]
        order.append(candidates.pop(best))
    return order
