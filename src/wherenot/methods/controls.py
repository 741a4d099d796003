"""Controls that use the same priors as alignment but no search: what does looking for the evidence buy?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from wherenot.losses import reduced
from wherenot.masking import FillName, Normalization, fill_images, show_pixels
from wherenot.methods.base import Batch, Terms
from wherenot.methods.gate import eligible
from wherenot.objective import TRAINING, Objective
from wherenot.priors import Phi, allowed_pixels
from wherenot.regions import Slico, count_regions, label_maps
from wherenot.scoring import RegionScore, evaluating, hiding
from wherenot.types import Partition


@dataclass(frozen=True, kw_only=True)
class RandomRegions:
    """The log-space deviation loss on a random half of the off-prior regions, chosen without any search.

    Same gate, interval and loss as `Alignment(form="log")` with k = 1; each off-prior region is in the subset with
    probability 1/2, one of them at least. An image without off-prior regions adds nothing.

    Args:
        weight: Weight of the loss.
        interval: Acts at steps divisible by this, counted from 1.
        confidence_above: Only images whose label has more than this probability.
        max_images: At most so many images per step.
        tau: A region is on-prior from this overlap on.
        phi: How overlap is measured.
        objective: Weights of the two terms.
        partition: Cuts the images when the batch brings no label maps.
        fill: What hidden pixels show.
        normalization: How images were made from pixels; None if not known.
        seed: The subsets of step t depend on this and t alone, so a resumed run draws the same.
    """

    weight: float = 0.5
    interval: int = 10
    confidence_above: float = 0.75
    max_images: int | None = None
    tau: float = 0.15
    phi: Phi = "coverage"
    objective: Objective = TRAINING
    partition: Partition = Slico()
    fill: FillName | Tensor = "mean"
    normalization: Normalization | None = None
    seed: int = 0

    joins_batches: ClassVar[bool] = True

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> Terms:
        """Return the weighted loss of this step."""
        if step % self.interval:
            return Terms(batch.logits.new_zeros(()))
        chosen = eligible(batch, self.confidence_above, self.max_images)
        if len(chosen) == 0:
            return _none(batch)
        images = batch.images[chosen].detach()
        labels = (
            label_maps(images, self.partition, self.normalization) if batch.labels is None else batch.labels[chosen]
        )
        labels, hidden = hiding(model, images, labels, self.fill, self.normalization)
        counts = count_regions(labels)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        keep = torch.zeros(len(chosen), max(counts), dtype=torch.bool)
        for row, index in enumerate(chosen.tolist()):
            prior = batch.priors[index]
            assert prior is not None, "the gate lets only images with a prior through"
            off = prior.to(labels.device).off_prior(labels[row], counts[row], phi=self.phi, tau=self.tau)
            keep[row, random_subset(off.cpu().nonzero()[:, 0], generator)] = True
        used = keep.any(1).nonzero()[:, 0]
        if len(used) == 0:
            return _none(batch)
        score = RegionScore(model, images, labels, batch.targets[chosen], hidden)
        image = torch.cat([used, used]).to(images.device)
        odds = score.odds(image, torch.cat([keep[used], ~keep[used]]).to(images.device))
        loss = reduced(self.objective.log_penalty(odds[: len(used)], odds[len(used) :]))
        log = {"aligned": float(len(used)), "random_regions": loss.item(), "forwards": float(score.forwards)}
        return Terms(self.weight * loss, log, parts=((self.weight * loss, len(used)),))


def _none(batch: Batch) -> Terms:
    nothing = batch.logits.new_zeros(())
    return Terms(nothing, {"aligned": 0.0}, parts=((nothing, 0),))


def random_subset(members: Int[Tensor, " M"], generator: torch.Generator) -> Int[Tensor, " S"]:
    """Each member with probability 1/2, and one at least; empty only if there is no member.

    Example:
        >>> import torch
        >>> random_subset(torch.tensor([4]), torch.Generator().manual_seed(0))
        tensor([4])
    """
    if len(members) == 0:
        return members
    inside = torch.rand(len(members), generator=generator) < 0.5
    inside[torch.randint(len(members), (1,), generator=generator)] |= ~inside.any()
    return members[inside]


@dataclass(frozen=True, kw_only=True)
class Counterfactual:
    """A pair of images per sample: the prior alone must give the label, all the rest alone must give nothing.

    Uniform suppression of everything off the prior, pixel by pixel: the strongest simple alternative to selecting.

    Args:
        weight: Weight of the loss.
        interval: Acts at steps divisible by this, counted from 1.
        confidence_above: Only images whose label has more than this probability.
        max_images: At most so many images per step.
        fill: What hidden pixels show.
        normalization: How images were made from pixels; None if not known.
    """

    weight: float = 0.5
    interval: int = 10
    confidence_above: float = 0.75
    max_images: int | None = None
    fill: FillName | Tensor = "mean"
    normalization: Normalization | None = None

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> Terms:
        """Return the weighted loss of this step."""
        if step % self.interval:
            return Terms(batch.logits.new_zeros(()))
        chosen = eligible(batch, self.confidence_above, self.max_images)
        if len(chosen) == 0:
            return _none(batch)
        images = batch.images[chosen].detach()
        fill = fill_images(self.fill, images, self.normalization)
        allowed = allowed_pixels([batch.priors[index] for index in chosen.tolist()], *images.shape[-2:])
        allowed = allowed.to(images.device)
        pair = torch.cat([show_pixels(images, allowed, fill), show_pixels(images, ~allowed, fill)])
        with evaluating(model):
            logits = model(pair)
        inside, outside = logits.float().log_softmax(1).split(len(chosen))
        loss = counterfactual_loss(inside, outside, batch.targets[chosen])
        log = {"aligned": float(len(chosen)), "counterfactual": loss.item(), "forwards": float(len(pair))}
        return Terms(self.weight * loss, log)


def counterfactual_loss(
    inside: Float[Tensor, "B L"], outside: Float[Tensor, "B L"], targets: Int[Tensor, " B"]
) -> Float[Tensor, ""]:
    r"""$-\log p(y \mid prior\ only) + KL(uniform \,\|\, p(\cdot \mid all\ but\ the\ prior))$, mean over images.

    0 when the prior alone is enough for certainty and the rest leaves every class equally likely.

    Args:
        inside: Log-probabilities of the images that show the prior only.
        outside: Log-probabilities of the images that show everything else.
        targets: The labels.

    Example:
        >>> import torch
        >>> sure = torch.tensor([[0.0, -50.0]])
        >>> counterfactual_loss(sure, torch.full((1, 2), 0.5).log(), torch.tensor([0]))
        tensor(0.)
    """
    right = -inside.gather(1, targets[:, None])[:, 0]
    from_uniform = -outside.mean(1) - math.log(outside.shape[1])
    return (right + from_uniform).mean()
