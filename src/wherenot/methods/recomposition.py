"""Recomposition: show training images with other surroundings, as the priors say, the missing ones learned first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from wherenot.masking import show_pixels
from wherenot.methods.augmentation import derangement
from wherenot.methods.base import Batch, Terms
from wherenot.priors import Prior, allowed_pixels
from wherenot.spreading import Images, Spread, spread_priors

_DONORS = 3


@dataclass(frozen=True, kw_only=True)
class Recomposition:
    """wherenot's own method: what lies off the prior comes from other images, so that it says nothing about the label.

    Two steps, neither of which searches or needs a second derivative:

    1. Before the first step, priors are spread (`wherenot.spreading`): from the annotated images a linear model on the
       network's features, as they are then, learns where evidence may lie, draws the priors that are missing and
       replaces those that the others contradict. It costs one forward per image.
    2. In training, a share of the images of every batch is shown recomposed: the pixels on the prior stay, all
       others come from other images of the batch, from where these have no object of their own. The label stays. An
       image is shown either as it is or recomposed, so a step costs what a step of fine-tuning costs.

    Args:
        share: Share of the images that are recomposed, in [0, 1]. 1 takes all of them in every step: what lies off
            the prior then says nothing at all. Less keeps context that does help.
        trusted: Keep a given prior from this agreement with the others on (`spread_priors`); 0 keeps all.
        seed: What step t draws depends on this and t alone, so a resumed run draws the same.

    Raises:
        ValueError: If `share` is not in [0, 1].

    Example:
        >>> images, priors = torch.zeros(2, 1, 1, 2), [Prior.from_boxes([[0, 0, 1, 1]], height=1, width=2)] * 2
        >>> images[1] = 5.0
        >>> Recomposition(share=1.0).augment(images, priors, step=1)[:, 0, 0]
        tensor([[0., 5.],
                [5., 0.]])

    References:
        Ours. `docs/method.md` says when it does not help. Xiao et al., "Noise or Signal", ICLR
        2021, train on images with swapped backgrounds.
    """

    asks_model: ClassVar[bool] = False

    share: float = 0.75
    trusted: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"Recomposition: share must lie in [0, 1], got {self.share}.")

    def spread(
        self,
        model: nn.Module,
        images: Images,
        priors: Sequence[Prior | None],
        *,
        batch_size: int,
        on_images: Callable[[int], None] | None = None,
    ) -> Spread:
        """Draw the priors to train with; called once, before the first step, with the whole training split."""
        return spread_priors(model, images, priors, trusted=self.trusted, batch_size=batch_size, on_images=on_images)

    def augment(
        self, images: Float[Tensor, "B C H W"], priors: Sequence[Prior | None], step: int
    ) -> Float[Tensor, "B C H W"]:
        """Return the batch as the model is to see it at optimizer step `step`.

        Args:
            images: In the model's input space; not touched.
            priors: One per image on its pixels, None where there is none: such an image is shown as it is.
            step: Counted from 1.

        Returns:
            A new batch; a batch of one image, or without priors, comes back as it is.
        """
        chosen, generator = self._chosen(priors, step)
        if len(images) < 2 or not chosen.any():
            return images
        inside = allowed_pixels(priors, *images.shape[-2:]).to(images.device)
        has_prior = torch.tensor([prior is not None for prior in priors], device=images.device)
        cycle = derangement(len(images), generator).to(images.device)
        donor = cycle
        surroundings = images[donor]
        missing = inside[donor] | ~has_prior[donor, None, None]
        for _ in range(min(_DONORS, len(images) - 1) - 1):
            donor = cycle[donor]
            offered = missing & has_prior[donor, None, None] & ~inside[donor]
            surroundings = show_pixels(images[donor], offered, surroundings)
            missing = missing & ~offered
        chosen = chosen.to(images.device)
        return show_pixels(images, inside | ~chosen[:, None, None], surroundings)

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> Terms:  # noqa: ARG002 - nothing is left to ask it
        """Add nothing, and log how well recomposed and plain images of this step were classified."""
        chosen, _ = self._chosen(batch.priors, step)
        right = (batch.logits.detach().argmax(1) == batch.targets).cpu()
        log = {"recomposed": float(chosen.sum()), "plain": float((~chosen).sum())}
        for name, rows in (("accuracy_recomposed", chosen), ("accuracy_plain", ~chosen)):
            if rows.any():
                log[name] = float(right[rows].float().mean())
        return Terms(batch.logits.new_zeros(()), log)

    def _chosen(self, priors: Sequence[Prior | None], step: int) -> tuple[Bool[Tensor, " B"], torch.Generator]:
        """Which images of a step are recomposed, and the generator for what comes after."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        drawn = torch.rand(len(priors), generator=generator) < self.share
        return drawn & torch.tensor([prior is not None for prior in priors], dtype=torch.bool), generator
