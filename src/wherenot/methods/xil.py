"""XIL: explanatory interactive learning, a penalty on Grad-CAM or Grad-ECLIP outside the prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from wherenot.maps import max_normalized
from wherenot.methods.map_penalty import MapPenalty, check_same_grid, gradient_map, inside_on_grid


def xil_loss(evidence: Float[Tensor, "B h w"], inside: Bool[Tensor, "B h w"]) -> Float[Tensor, ""]:
    r"""Evidence outside the prior, as a share of each map's peak.

    $$L = \frac{1}{Bhw} \sum_{b,i,j} (1 - m)\, \frac{E}{\max_{ij} E + 10^{-6}} \in [0, 1)$$

    0 means that all evidence is inside the prior; nearly 1 that the map is flat and the prior far away. The peak is
    taken per image, so scaling a map does not change the loss while its peak is large against $10^{-6}$; below that
    a map fades out of the loss, and an all-zero map gives 0 and no gradient.

    Args:
        evidence: Non-negative map, one per image (`gradient_map`), in the graph if the loss is to train.
        inside: True where evidence may lie, on the grid of `evidence`.

    Returns:
        Unit-free loss in [0, 1), with the dtype of `evidence`; the mean over images and cells.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> evidence = torch.tensor([[[4.0, 2.0]]])
        >>> xil_loss(evidence, torch.tensor([[[True, False]]]))  # half the peak, on half of the cells
        tensor(0.2500)

    References:
        Schramowski et al., "Making deep neural networks right for the right scientific reasons by interacting with
        their explanations", Nature Machine Intelligence 2020, penalises squared Grad-CAM; this is the un-squared
        mean of the baseline in "Where Not to Learn" (authors' code, its CLIP form). Their ResNet form takes min-max
        instead of the peak: the same for a map with a zero, while a flat map, which theirs frees, is penalised here.
    """
    check_same_grid("xil_loss", evidence, inside)
    return max_normalized(evidence).masked_fill(inside, 0.0).mean()


@dataclass(frozen=True, kw_only=True)
class XIL(MapPenalty):
    """Explanatory interactive learning: keeps the gradient map off the pixels outside the prior.

    The map is Grad-CAM for a CNN, Grad-ECLIP for a vision transformer (`gradient_map`). The prior is brought to its
    grid, by nearest neighbour.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from wherenot.methods.base import Batch
        >>> from wherenot.priors import Prior
        >>> model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
        >>> images, priors = torch.ones(2, 1, 4, 4), [None, Prior.from_boxes([[0, 0, 4, 4]], height=4, width=4)]
        >>> batch = Batch(images=images, targets=torch.tensor([0, 1]), logits=model(images), priors=priors)
        >>> XIL(weight=0.1)(model, batch, step=1).log  # the only prior covers its image
        {'xil': 0.0, 'xil_images': 1.0}

    References:
        Schramowski et al., 2020; see `xil_loss` for what differs.
    """

    name: ClassVar[str] = "xil"

    weight: float = 0.1
    """Factor of the penalty in the total loss."""

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
        """Return `xil_loss` of the map that suits the model."""
        evidence = gradient_map(model, images, targets, self.layer)
        return xil_loss(evidence, inside_on_grid(inside, *evidence.shape[-2:]))
