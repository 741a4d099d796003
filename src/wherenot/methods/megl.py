"""MEGL: explanation-guided learning, a Grad-CAM or Grad-ECLIP that should look like the prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from wherenot.maps import max_normalized, min_max
from wherenot.methods.map_penalty import MapPenalty, check_same_grid, gradient_map, inside_on_grid


def megl_loss(evidence: Float[Tensor, "B h w"], inside: Bool[Tensor, "B h w"]) -> Float[Tensor, ""]:
    r"""Mean distance between the map and the prior, both in [0, 1].

    $$L = \frac{1}{Bhw} \sum_{b,i,j} |\hat{E} - m| \in [0, 1], \qquad
    \hat{E} = \mathrm{minmax}\Big(\frac{E}{\max E + 10^{-6}}\Big)$$

    0 means that the map is high on the whole prior and zero elsewhere, 1 that it is its negative. Unlike `xil_loss`
    this also asks for evidence everywhere inside the prior. A constant map counts as zero everywhere: the loss is the
    prior's share of the grid; an all-zero map gives no gradient either. Both normalisations are per image.

    Args:
        evidence: Non-negative map, one per image (`gradient_map`), in the graph if the loss is to train.
        inside: True where evidence may lie, on the grid of `evidence`.

    Returns:
        Unit-free loss in [0, 1], with the dtype of `evidence`; the mean over images and cells.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> evidence = torch.tensor([[[4.0, 2.0], [0.0, 0.0]]])
        >>> megl_loss(evidence, torch.tensor([[[True, False], [False, False]]]))  # off by a half in one of four cells
        tensor(0.1250)

    References:
        Zhang et al., "MEGL: Multimodal Explanation-Guided Learning", 2024: the visual term, as the L1 distance of the
        baseline in "Where Not to Learn" (authors' code), which normalises twice. Its textual terms have no place in
        a classifier.
    """
    check_same_grid("megl_loss", evidence, inside)
    return (min_max(max_normalized(evidence)) - inside.to(evidence.dtype)).abs().mean()


@dataclass(frozen=True, kw_only=True)
class MEGL(MapPenalty):
    """Explanation-guided learning: draws the gradient map onto the prior, all of it.

    The map is Grad-CAM for a CNN, Grad-ECLIP for a vision transformer (`gradient_map`). The prior is brought to its
    grid, by nearest neighbour.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from wherenot.methods.base import Batch
        >>> model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
        >>> images = torch.ones(1, 1, 4, 4)
        >>> batch = Batch(images=images, targets=torch.tensor([0]), logits=model(images), priors=[None])
        >>> terms = MEGL()(model, batch, step=1)  # nobody gave a prior
        >>> terms.loss, terms.log
        (tensor(0.), {'megl_images': 0.0})

    References:
        Zhang et al., 2024; see `megl_loss` for what differs.
    """

    name: ClassVar[str] = "megl"

    weight: float = 1.0
    """Factor of the penalty in the total loss; the authors' code takes 1 (Saliency-Bench) and 0.5 (ImageNet-S)."""

    layer: str | None = None
    """Module whose output Grad-CAM looks at, as in model.named_modules(); None = the last feature map of a CNN, or
    Grad-ECLIP at the last attention of a vision transformer."""

    def penalty(
        self,
        model: nn.Module,
        images: Float[Tensor, "B C H W"],
        targets: Int[Tensor, " B"],
        inside: Bool[Tensor, "B H W"],
    ) -> Float[Tensor, ""]:
        """Return `megl_loss` of the map that suits the model."""
        evidence = gradient_map(model, images, targets, self.layer)
        return megl_loss(evidence, inside_on_grid(inside, *evidence.shape[-2:]))
