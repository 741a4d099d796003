"""Model Guidance: four losses on where an attribution map lies, after Rao et al."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from wherenot.methods.map_penalty import MapPenalty, check_same_grid, gradient_map

Localization = Literal["energy", "l1", "rrr_star", "ppce"]


def energy_loss(attribution: Float[Tensor, "B H W"], inside: Bool[Tensor, "B H W"]) -> Float[Tensor, ""]:
    r"""Share of the positive evidence that lies outside the prior.

    $$L = \sum_{p \notin M} A^+_p \;/\; \sum_p A^+_p \in [0, 1], \qquad A^+ = \max(A, 0)$$

    0 means all positive evidence is inside the prior, 1 all of it outside. Multiplying a map by a positive constant
    leaves the loss unchanged, so it cannot be lowered by shrinking the attribution.

    Args:
        attribution: Signed evidence for one target per image, any real unit; positive supports the target. Must be
            in the autograd graph for the loss to train anything.
        inside: True where evidence may lie, on the grid of `attribution`.

    Returns:
        Mean over the images that have positive evidence (1e-19 at least in float32, or the gradient overflows), 0
        without gradient if none has; dtype of `attribution`.

    Raises:
        ValueError: If the shapes differ, or if a prior is empty: its loss is 1 whatever the model does.

    Example:
        >>> import torch
        >>> attribution = torch.tensor([[[3.0, 1.0], [-5.0, 0.0]]])
        >>> inside = torch.tensor([[[True, False], [True, False]]])
        >>> energy_loss(attribution, inside)  # 1 of 4 units of evidence is outside
        tensor(0.2500)

    References:
        Rao et al., "Studying How to Efficiently and Effectively Guide Models with Explanations", ICCV 2023: the Energy
        loss. Differs from the authors' code for an image without positive evidence, where theirs gives 1, and in
        the reduction, where theirs sums over images.
    """
    _check("energy_loss", attribution, inside)
    positive_BP, outside_BP = attribution.flatten(1).relu(), ~inside.flatten(1)
    total_B = positive_BP.sum(1)
    has_evidence_B = total_B > _nothing(total_B)
    share_B = (positive_BP * outside_BP).sum(1) / total_B.where(has_evidence_B, torch.ones_like(total_B))
    return share_B.sum() / has_evidence_B.sum().clamp_min(1)


def l1_loss(attribution: Float[Tensor, "B H W"], inside: Bool[Tensor, "B H W"]) -> Float[Tensor, ""]:
    r"""Mean distance between the positive evidence, as a share of its peak, and the prior.

    $$L = \frac{1}{HW} \sum_p \Big| \frac{A^+_p}{\max_q A^+_q} - M_p \Big| \in [0, 1], \qquad A^+ = \max(A, 0)$$

    0 means that evidence is at its peak on the whole prior and absent elsewhere, 1 the reverse. It asks for evidence on
    every pixel of the prior, background included if the prior is a box. Scaling a map changes nothing.

    Args:
        attribution: Signed evidence for one target per image, any real unit; positive supports the target.
        inside: True where evidence may lie, on the grid of `attribution`.

    Returns:
        Mean over images, dtype of `attribution`. An image without positive evidence counts with the prior's share of
        the image and has no gradient.

    Raises:
        ValueError: If the shapes differ, or if a prior is empty.

    Example:
        >>> import torch
        >>> attribution = torch.tensor([[[4.0, 1.0], [-5.0, 0.0]]])
        >>> inside = torch.tensor([[[True, False], [True, False]]])
        >>> l1_loss(attribution, inside)  # off by 0, 1/4, 1 and 0
        tensor(0.3125)

    References:
        Rao et al., ICCV 2023: the L1 loss, after GRADIA (Gao et al., 2022); summed over images there.
    """
    _check("l1_loss", attribution, inside)
    return (_share_of_peak(attribution.relu()) - inside.to(attribution.dtype)).abs().mean()


def rrr_star_loss(attribution: Float[Tensor, "B H W"], inside: Bool[Tensor, "B H W"]) -> Float[Tensor, ""]:
    r"""Squared evidence outside the prior, for and against the target, as a share of the strongest.

    $$L = \sum_{p \notin M} \Big(\frac{A_p}{\max_q |A_q|}\Big)^2 \in [0, HW]$$

    0 means no evidence of either sign outside the prior. The sum grows with the number of pixels outside, so a weight
    fits one image size only. Scaling a map changes nothing.

    Args:
        attribution: Signed evidence for one target per image, any real unit.
        inside: True where evidence may lie, on the grid of `attribution`.

    Returns:
        Mean over images, dtype of `attribution`; an all-zero map counts with 0 and has no gradient.

    Raises:
        ValueError: If the shapes differ, or if a prior is empty.

    Example:
        >>> import torch
        >>> attribution = torch.tensor([[[4.0, 1.0], [-2.0, 0.0]]])
        >>> inside = torch.tensor([[[True, False], [False, False]]])
        >>> rrr_star_loss(attribution, inside)  # 1/16 and 1/4
        tensor(0.3125)

    References:
        Rao et al., ICCV 2023: RRR*, their form of Ross et al. (2017) for any attribution; summed over images there.
    """
    _check("rrr_star_loss", attribution, inside)
    return _share_of_peak(attribution).masked_fill(inside, 0.0).square().flatten(1).sum(1).mean()


def ppce_loss(attribution: Float[Tensor, "B H W"], inside: Bool[Tensor, "B H W"]) -> Float[Tensor, ""]:
    r"""Per-pixel cross-entropy that asks for evidence on every pixel of the prior.

    $$L = -\frac{1}{|M|} \sum_{p \in M} \max\Big(\log \frac{A^+_p}{\max_q A^+_q}, -100\Big) \in [0, 100]$$

    0 means that evidence is at its peak on the whole prior, whatever it is outside; 100 that the prior holds none.
    Scaling a map changes nothing.

    Args:
        attribution: Signed evidence for one target per image, any real unit; positive supports the target.
        inside: True where evidence may lie, on the grid of `attribution`.

    Returns:
        Mean over images, dtype of `attribution`. A pixel without positive evidence counts with 100 and has no gradient.

    Raises:
        ValueError: If the shapes differ, or if a prior is empty: there is nothing to average.

    Example:
        >>> import torch
        >>> attribution = torch.tensor([[[1.0, 0.5], [-5.0, 0.0]]])
        >>> inside = torch.tensor([[[True, True], [False, False]]])
        >>> ppce_loss(attribution, inside)  # the mean of 0 and log 2
        tensor(0.3466)

    References:
        Rao et al., ICCV 2023: PPCE, after Shen et al. (2021); summed over images there.
    """
    _check("ppce_loss", attribution, inside)
    share = _share_of_peak(attribution.relu())
    # log(0) would turn the masked gradient into 0 * inf = nan.
    log_share = torch.where(share > 0, share, torch.ones_like(share)).log().clamp_min(-100.0)
    cost = -torch.where(share > 0, log_share, torch.full_like(share, -100.0))
    inside_BP = inside.flatten(1)
    return ((cost.flatten(1) * inside_BP).sum(1) / inside_BP.sum(1)).mean()


_LOSSES: dict[Localization, Callable[[Tensor, Tensor], Tensor]] = {
    "energy": energy_loss,
    "l1": l1_loss,
    "rrr_star": rrr_star_loss,
    "ppce": ppce_loss,
}


@dataclass(frozen=True, kw_only=True)
class ModelGuidance(MapPenalty):
    """Model Guidance: one of four localization losses on a gradient map, brought to the size of the image.

    The map is Grad-CAM for a CNN, Grad-ECLIP for a vision transformer (`gradient_map`). Neither is ever negative, so
    the signed losses see the positive evidence only. The map is scaled up bilinearly and normalised after that (in
    the authors' code before; the Energy loss does not normalise).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from wherenot.methods.base import Batch
        >>> from wherenot.priors import Prior
        >>> conv = nn.Conv2d(1, 1, 1, bias=False)
        >>> model = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
        >>> with torch.no_grad():
        ...     weights = conv.weight.fill_(1.0), model[3].weight.copy_(torch.tensor([[1.0], [0.0]]))
        >>> images = torch.tensor([[[[3.0, 1.0]]]])
        >>> priors = [Prior.from_boxes([[0, 0, 1, 1]], height=1, width=2)]
        >>> batch = Batch(images=images, targets=torch.tensor([0]), logits=model(images), priors=priors)
        >>> ModelGuidance()(model, batch, step=1).log  # one of four units of evidence is outside
        {'model_guidance': 0.25, 'model_guidance_images': 1.0}

    References:
        Rao et al., "Studying How to Efficiently and Effectively Guide Models with Explanations", ICCV 2023. There
        Grad-CAM explains the logit, here the log-probability, as for the other baselines; Grad-ECLIP is not theirs.
    """

    name: ClassVar[str] = "model_guidance"

    weight: float = 0.064
    """Factor of the penalty in the total loss; the authors' 1e-3 for Energy, of a sum over batches of 64."""

    localization: Localization = "energy"
    """energy: share of evidence outside. l1: distance to the prior. rrr_star: squared evidence outside. ppce:
    evidence on every pixel inside. Each has its own scale, and so its own weight."""

    layer: str | None = None
    """Module whose output Grad-CAM looks at, as in model.named_modules(); None = the last feature map of a CNN, or
    Grad-ECLIP at the last attention of a vision transformer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.localization not in _LOSSES:
            raise ValueError(f"ModelGuidance: localization must be one of {tuple(_LOSSES)}, got {self.localization!r}.")

    def penalty(
        self,
        model: nn.Module,
        images: Float[Tensor, "B C H W"],
        targets: Int[Tensor, " B"],
        inside: Bool[Tensor, "B H W"],
    ) -> Float[Tensor, ""]:
        """Return the chosen loss of the map that suits the model, at the size of the images."""
        evidence = gradient_map(model, images, targets, self.layer)
        size = (inside.shape[-2], inside.shape[-1])
        attribution = F.interpolate(evidence[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
        return _LOSSES[self.localization](attribution, inside)


def _share_of_peak(attribution: Tensor) -> Tensor:
    # No epsilon in the denominator: it would make the loss fall as the map shrinks.
    peak = attribution.abs().amax((-2, -1), keepdim=True)
    return attribution / peak.where(peak > _nothing(peak), torch.ones_like(peak))


def _nothing(evidence: Tensor) -> float:
    """So little evidence counts as none: the gradient divides by it, and would overflow where the model is sure."""
    return torch.finfo(evidence.dtype).tiny ** 0.5


def _check(function: str, attribution: Tensor, inside: Tensor) -> None:
    check_same_grid(function, attribution, inside)
    if not bool(inside.flatten(1).any(1).all()):
        raise ValueError(f"{function}: a prior is empty; leave its image out.")
