"""Controls that use priors as augmentation: the same images shown once more, changed where the prior says.

Neither looks at the model's evidence. What training with constraints buys has to show beside them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from wherenot.masking import show_pixels
from wherenot.methods.base import Batch
from wherenot.methods.prior_term import PriorTerm
from wherenot.priors import allowed_pixels


@dataclass(frozen=True, kw_only=True)
class Augmentation(PriorTerm):
    """Adds `weight` times the cross-entropy of changed images to their unchanged labels.

    A subclass says how they change. Only images that have a prior take part, right or wrong alike, in one forward of
    their own. The model stays in its own mode, since these are training images like any other: in train mode dropout
    is on and BatchNorm statistics move.
    """

    weight: float = 1.0
    """Factor of the cross-entropy in the total loss, at least 0; at 1 a changed image counts as much as a plain one."""

    seed: int = 0
    """What step t draws depends on this and t alone, so a resumed run draws the same."""

    @abstractmethod
    def changed(
        self,
        images: Float[Tensor, "B C H W"],
        inside: Bool[Tensor, "B H W"],
        rows: Sequence[int],
        generator: torch.Generator,
    ) -> Float[Tensor, "N C H W"]:
        """Return the changed images of `rows`, none if nothing can be changed.

        Args:
            images: The whole batch; not touched.
            inside: True where evidence may lie, everywhere for an image without a prior.
            rows: Images that have a prior, at least one.
            generator: Of this step, on the CPU.
        """

    def loss(self, model: nn.Module, batch: Batch, rows: list[int], step: int) -> Float[Tensor, ""] | None:
        """Return the cross-entropy of the changed images; None if nothing can be changed."""
        images = batch.images.detach()
        inside = allowed_pixels(batch.priors, *images.shape[-2:]).to(images.device)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        changed = self.changed(images, inside, rows, generator)
        if len(changed) == 0:
            return None
        logits = model(changed)
        return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), batch.targets[rows])


@dataclass(frozen=True, kw_only=True)
class BackgroundSwap(Augmentation):
    """Shows each image with another image of the batch in the place of everything off its prior.

    The other image is any, with or without a prior, and of any class: its own object may come along. The label stays,
    so what lies off the prior stops saying anything about it. A batch of one image has no other and adds nothing.

    Example:
        >>> import torch
        >>> from wherenot.priors import Prior
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
        >>> with torch.no_grad():
        ...     weight, bias = model[1].weight.copy_(torch.tensor([[0.0, 9.0], [0.0, 0.0]])), model[1].bias.zero_()
        >>> images = torch.tensor([[[[1.0, 1.0]]], [[[1.0, -1.0]]]])  # the second pixel gives the class away
        >>> priors = [Prior.from_boxes([[0, 0, 1, 1]], height=1, width=2), None]
        >>> batch = Batch(images=images, targets=torch.tensor([0, 1]), logits=model(images), priors=priors)
        >>> BackgroundSwap()(model, batch, step=1).log  # it comes from the other image: 9 against the label
        {'background_swap': 9.0001..., 'background_swap_images': 1.0}

    References:
        Xiao et al., "Noise or Signal", ICLR 2021, measure models on such images (Mixed-Rand) and train on them.
    """

    name: ClassVar[str] = "background_swap"

    def changed(
        self,
        images: Float[Tensor, "B C H W"],
        inside: Bool[Tensor, "B H W"],
        rows: Sequence[int],
        generator: torch.Generator,
    ) -> Float[Tensor, "N C H W"]:
        """Return the images of `rows`, each with another one around its prior."""
        if len(images) == 1:
            return images[:0]
        chosen = torch.tensor(rows)
        others = derangement(len(images), generator)[chosen]
        return show_pixels(images[chosen], inside[chosen], images[others])


def derangement(size: int, generator: torch.Generator) -> Int[Tensor, " B"]:
    """A random order in which nothing keeps its place; of two or more, one cycle, all of them equally likely.

    Example:
        >>> derangement(2, torch.Generator().manual_seed(0))
        tensor([1, 0])
    """
    cycle = torch.randperm(size, generator=generator)
    return torch.empty_like(cycle).scatter_(0, cycle, cycle.roll(1))


@dataclass(frozen=True, kw_only=True)
class BoxGuided(Augmentation):
    """Shows each image cropped at random around the bounding box of its prior, at the size of the whole.

    Each side of the crop lies at a whole pixel between the box and the edge of the image, all equally likely; sides are
    drawn apart, so the aspect changes too. What allows evidence everywhere but in a forbidden corner has a box as large
    as the image, and is shown as it is.

    Example:
        >>> import torch
        >>> from wherenot.priors import Prior
        >>> model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
        >>> images, priors = torch.rand(2, 1, 8, 8), [None, Prior.from_boxes([[2, 2, 5, 6]], height=8, width=8)]
        >>> batch = Batch(images=images, targets=torch.tensor([0, 1]), logits=model(images), priors=priors)
        >>> BoxGuided()(model, batch, step=1).log["box_guided_images"]
        1.0

    References:
        Named after a control that the paper's project page has for GUI agents; how crops are drawn is our own.
    """

    name: ClassVar[str] = "box_guided"

    def changed(
        self,
        images: Float[Tensor, "B C H W"],
        inside: Bool[Tensor, "B H W"],
        rows: Sequence[int],
        generator: torch.Generator,
    ) -> Float[Tensor, "N C H W"]:
        """Return the crops of `rows`, each as large as an image."""
        height, width = inside.shape[-2:]
        # Drawn for every image, so that a crop does not depend on which other images have a prior.
        share_B4 = torch.rand(len(images), 4, generator=generator).tolist()
        crops: list[Tensor] = []
        for row in rows:
            left, top, right, bottom = bounding_box(inside[row])
            room = (left, top, width - right, height - bottom)
            a, b, c, d = (int(share * (most + 1)) for share, most in zip(share_B4[row], room, strict=True))
            crop = images[row : row + 1, :, top - b : bottom + d, left - a : right + c]
            crops.append(F.interpolate(crop, size=(height, width), mode="bilinear", align_corners=False))
        return torch.cat(crops)


def bounding_box(inside: Bool[Tensor, "H W"]) -> tuple[int, int, int, int]:
    """The smallest box, ``xyxy`` and half-open, that holds every True pixel; there must be one.

    Example:
        >>> import torch
        >>> bounding_box(torch.tensor([[False, False, False], [False, True, False]]))
        (1, 1, 2, 2)
    """
    rows, columns = (inside.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
