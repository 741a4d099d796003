"""The authors' two search loops, written plainly from their description, to measure against.

One image at a time. Regions are dense masks; every candidate of a step is one masked image, all insertions of a step
are one batch and all deletions another. Masked pixels are 0 after normalisation. No bound, no memo, no tuned batch.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class _Image:
    """One image, cut by dense masks."""

    def __init__(
        self, model: nn.Module, image: Float[Tensor, "C H W"], labels: Int[Tensor, "H W"], target: int
    ) -> None:
        self._model, self._image, self._target = model, image, target
        self.masks = [(labels == region).to(image.dtype) for region in range(int(labels.max()) + 1)]

    @torch.no_grad()
    def utility(
        self, prefix: list[int], candidates: list[int], insertion: float, deletion: float
    ) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
        """The objective of the prefix with each candidate, and the probability of each alone."""
        chosen = sum((self.masks[region] for region in prefix), torch.zeros_like(self.masks[0]))
        masks = torch.stack([chosen + self.masks[region] for region in candidates])[:, None]
        alone = self._model(self._image * masks).softmax(1)[:, self._target].numpy()
        without = self._model(self._image * (1 - masks)).softmax(1)[:, self._target].numpy()
        return insertion * alone + deletion * (1 - without), alone


def exact_loop(
    model: nn.Module,
    image: Float[Tensor, "C H W"],
    labels: Int[Tensor, "H W"],
    target: int,
    *,
    insertion: float = 2.0,
    deletion: float = 1.0,
    max_regions: int = 10,
    stop_above: float | None = None,
) -> list[int]:
    """Every remaining region is scored in every round; the best is taken, the first on ties."""
    cut = _Image(model, image, labels, target)
    order: list[int] = []
    candidates = list(range(len(cut.masks)))
    while candidates and len(order) < max_regions:
        utility, alone = cut.utility(order, candidates, insertion, deletion)
        best = int(utility.argmax())
        order.append(candidates.pop(best))
        if stop_above is not None and alone[best] > stop_above:
            break
    return order


def efficient_loop(
    model: nn.Module,
    image: Float[Tensor, "C H W"],
    labels: Int[Tensor, "H W"],
    target: int,
    *,
    insertion: float = 2.0,
    deletion: float = 1.0,
    scope: int = 8,
    update: int = 20,
    max_regions: int = 10,
    stop_above: float | None = None,
) -> list[int]:
    """All remaining regions are scored and re-sorted every `update` rounds, else only the first `scope`."""
    cut = _Image(model, image, labels, target)
    order: list[int] = []
    candidates = list(range(len(cut.masks)))
    while candidates and len(order) < max_regions:
        full = len(order) % update == 0
        looked_at = candidates if full else candidates[:scope]
        utility, alone = cut.utility(order, looked_at, insertion, deletion)
        best = int(utility.argmax())
        region = looked_at[best]
        if full:
            candidates = [candidates[position] for position in np.argsort(-utility, kind="stable")]
        candidates.remove(region)
        order.append(region)
        if stop_above is not None and alone[best] > stop_above:
            break
    return order
