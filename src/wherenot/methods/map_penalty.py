"""What RRR, XIL, MEGL and Model Guidance share: a weighted penalty on where a gradient map lies, and which map."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from wherenot.grad_eclip import find_patch_attention, grad_eclip_map
from wherenot.maps import grad_cam_map
from wherenot.methods.base import Batch
from wherenot.methods.prior_term import PriorTerm
from wherenot.priors import allowed_pixels


@dataclass(frozen=True, kw_only=True)
class MapPenalty(PriorTerm):
    """Adds `weight` times the penalty of the images that have a prior; all correctly or wrongly predicted ones alike.

    A subclass says what the penalty is. Images without a prior are left out of it, of its mean and of the forwards
    it costs. The model is asked in eval mode: BatchNorm statistics do not move and dropout is off, in the extra
    forward only.
    """

    @abstractmethod
    def penalty(
        self,
        model: nn.Module,
        images: Float[Tensor, "B C H W"],
        targets: Int[Tensor, " B"],
        inside: Bool[Tensor, "B H W"],
    ) -> Float[Tensor, ""]:
        """Return the unweighted penalty of images that all have a prior, in the graph of the model's weights.

        Args:
            model: The model in training.
            images: What it was shown, at least one image.
            targets: The labels, one per image.
            inside: True where evidence may lie.
        """

    def loss(self, model: nn.Module, batch: Batch, rows: list[int], step: int) -> Float[Tensor, ""]:  # noqa: ARG002
        """Return the penalty of the images that have a prior."""
        inside = allowed_pixels([batch.priors[row] for row in rows], *batch.images.shape[-2:])
        return self.penalty(model, batch.images[rows], batch.targets[rows], inside.to(batch.images.device))


def gradient_map(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    targets: Int[Tensor, " B"],
    layer: str | None = None,
) -> Float[Tensor, "B h w"]:
    """The map that suits the architecture: Grad-ECLIP for a vision transformer, Grad-CAM for a CNN.

    A vision transformer is a model whose patch tokens attend to each other (`find_patch_attention`).

    Args:
        model: Gives logits; run in eval mode, each submodule's own mode is restored, no hook is left behind.
        images: In the model's input space; not touched, no gradient reaches them.
        targets: The class that is explained.
        layer: Where to look with Grad-CAM, whatever the architecture; None lets the architecture decide.

    Returns:
        Non-negative map, not normalised, on the grid of the patches or of the layer; in the graph of the weights.

    Raises:
        ValueError: As `grad_cam_map` does; without a `layer` also for a model that is neither a CNN nor a vision
            transformer of a known build.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
        >>> gradient_map(model, torch.ones(1, 1, 8, 8), torch.tensor([1])).shape
        torch.Size([1, 6, 6])

    References:
        "Where Not to Learn" compares with Grad-CAM on ResNet and Grad-ECLIP on CLIP and ViT. Grad-CAM explains the
        log-probability, Grad-ECLIP the logit, each as in the authors' code.
    """
    attention = find_patch_attention(model, images) if layer is None else None
    if attention is None:
        return grad_cam_map(model, images, targets, layer)
    return grad_eclip_map(model, images, targets, attention)


def inside_on_grid(inside: Bool[Tensor, "B H W"], height: int, width: int) -> Bool[Tensor, "B h w"]:
    r"""Bring priors to the grid of a feature map; none becomes empty.

    Output row $i$ reads input row $\lfloor i H / h \rfloor$, columns likewise (torch's ``mode="nearest"``, golden case
    G15). A prior that falls between the samples takes every cell that it touches instead.

    Args:
        inside: True where evidence may lie.
        height: Rows of the map.
        width: Columns of the map.

    Returns:
        True where evidence may lie, on the new grid.

    Example:
        >>> import torch
        >>> inside = torch.tensor([[[1, 1, 0, 0], [0, 0, 0, 0]], [[0, 0, 0, 1], [0, 0, 0, 0]]]) > 0
        >>> inside_on_grid(inside, 1, 2)  # the second prior holds no sample
        tensor([[[ True, False]],
                [[False,  True]]])

    References:
        The authors of "Where Not to Learn" sample the same way; a prior that vanishes there forbids the whole map.
    """
    sampled = F.interpolate(inside[:, None].float(), size=(height, width), mode="nearest")[:, 0] > 0
    touched = F.adaptive_max_pool2d(inside.float(), (height, width)) > 0
    return torch.where(sampled.flatten(1).any(1)[:, None, None], sampled, touched)


def check_same_grid(function: str, evidence: Float[Tensor, "B H W"], inside: Bool[Tensor, "B H W"]) -> None:
    """Refuse a prior that is not on the map's grid, even where it would broadcast.

    Args:
        function: Who asks, for the message.
        evidence: The map.
        inside: True where evidence may lie.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> check_same_grid("xil_loss", torch.zeros(2, 7, 7), torch.ones(2, 7, 7) > 0)
    """
    if evidence.shape != inside.shape:
        raise ValueError(
            f"{function}: the map is {tuple(evidence.shape)} and the prior {tuple(inside.shape)}; "
            "bring the prior to the map's grid first."
        )
