"""Alignment: find the evidence of the images that are right, and penalise what lies off the prior."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from wherenot.losses import Reduction, adaptive_log, deviation, redundancy, two_sided_redundancy
from wherenot.masking import FillName, Normalization
from wherenot.methods.base import Batch, Terms
from wherenot.methods.gate import eligible
from wherenot.objective import EVALUATION, TRAINING, Objective, log_odds
from wherenot.priors import Phi, Prior
from wherenot.regions import Slico, count_regions, label_maps, region_centres
from wherenot.scoring import RegionScore, hiding
from wherenot.search import Exact, Fast, Memo, Ranking, Search, greedy_search
from wherenot.types import Partition

Form = Literal["probability", "log", "adaptive_log"]
RedundancyWhen = Literal["always", "top_off_prior", "top_on_prior"]


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Prior alignment by subset-selection attribution, for any training loop.

    Every `interval` steps, for the images that are confidently right and have a prior: search the regions that
    carry the decision, then penalise the top one if it lies off the prior (deviation) and every later off-prior one
    for what it adds (redundancy). The search runs without gradients and in eval mode; so do, with gradients, the
    forwards of the losses.

    Args:
        form: ``probability``: the paper's losses. ``log``: the same two terms in log space, whose gradient does not
            vanish on the confident images that the gate selects. ``adaptive_log``: relative to the prior's own gain.
        deviation_weight: Weight of the deviation loss (lambda 1).
        redundancy_weight: Weight of the redundancy loss (lambda 2).
        interval: Acts at steps divisible by this, counted from 1.
        confidence_above: Only images whose label has more than this probability.
        max_images: At most so many images per step, the first ones (of each process); None takes all.
        max_regions: Regions searched per image (k).
        stop_above: Stop searching once the chosen regions alone give the label more than this; None never stops.
        tau: A region is on-prior from this overlap on.
        phi: How overlap is measured.
        objective: Ranks the regions and builds the losses.
        search: How evidence is searched; ``paper`` is exact.
        partition: Cuts the images when the batch brings no label maps.
        fill: What hidden pixels show.
        normalization: How images were made from pixels; None if not known.
        reduction: ``mean`` over examples (the authors' code), ``sum`` (the paper's equations) or ``batch``.
        redundancy_when: ``always`` (Eq. 4), only ``top_off_prior`` (section 4.1) or only ``top_on_prior`` (legacy).
        detach_before: Hold the shorter prefix of a redundancy example constant.
        beta: Sharpness of `adaptive_log`.
        chunk: Images per forward; None chooses. Losses of more images than one chunk are checkpointed.
        legacy: Compute as the scripts behind the paper's tables do: overlap compared with > and a denominator of
            area + 1e-6, the loss weighted 1:1, redundancy two-sided with margin 0.1, the model left in train mode.

    Example:
        >>> import torch
        >>> from wherenot import Alignment, Batch, Prior
        >>> from wherenot.regions import Grid
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> align = Alignment(form="log", interval=1, partition=Grid(2, 2), confidence_above=0.0)
        >>> images, targets = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
        >>> priors = [Prior.from_boxes([[0, 0, 2, 2]], 4, 4)] * 4
        >>> logits = model(images)
        >>> batch = Batch(images=images, targets=targets, logits=logits, priors=priors)
        >>> loss = torch.nn.functional.cross_entropy(logits, targets) + align(model, batch, step=1).loss
        >>> loss.backward()

    References:
        "Where Not to Learn", Eq. 3-5 and Algorithm 1; hyper-parameters of section 5.1. tau, phi and the reduction are
        those of the authors' current code, where the paper says nothing.
    """

    form: Form = "probability"
    deviation_weight: float = 0.5
    redundancy_weight: float = 0.5
    interval: int = 10
    confidence_above: float = 0.75
    max_images: int | None = None
    max_regions: int = 10
    stop_above: float | None = 0.8
    tau: float = 0.15
    phi: Phi = "coverage"
    objective: Objective = TRAINING
    search: Search = Fast()
    partition: Partition = Slico()
    fill: FillName | Tensor = "mean"
    normalization: Normalization | None = None
    reduction: Reduction = "mean"
    redundancy_when: RedundancyWhen = "always"
    detach_before: bool = True
    beta: float = 2.0
    chunk: int | None = None
    legacy: bool = False

    joins_batches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError(f"Alignment: interval must be >= 1, got {self.interval}.")
        if self.legacy and self.form != "probability":
            raise ValueError(f"Alignment: legacy is a variant of form='probability', got form={self.form!r}.")

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> Terms:
        """Return the weighted losses of this step, and what was found."""
        if step % self.interval:
            return Terms(batch.logits.new_zeros(()))
        chosen = eligible(batch, self.confidence_above, self.max_images)
        if len(chosen) == 0:
            nothing = batch.logits.new_zeros(())
            return self._terms((nothing, nothing), (0, 0), batch, {"aligned": 0.0})
        started = time.perf_counter()
        images = batch.images[chosen].detach()
        labels = (
            label_maps(images, self.partition, self.normalization) if batch.labels is None else batch.labels[chosen]
        )
        labels, hidden = hiding(model, images, labels, self.fill, self.normalization)
        targets = batch.targets[chosen]
        score = RegionScore(model, images, labels, targets, hidden, chunk=self.chunk, keep_mode=self.legacy)
        counts = count_regions(labels)
        rankings = greedy_search(
            Memo(score, counts, device=images.device),
            self.objective,
            search=self.search,
            max_regions=self.max_regions,
            stop_above=self.stop_above,
            centres=[region_centres(label_map) for label_map in labels],
        )
        priors = [batch.priors[index] for index in chosen.tolist()]
        off_prior = [
            self._off_prior(prior, label_map, count, ranking)
            for prior, label_map, count, ranking in zip(priors, labels, counts, rankings, strict=True)
        ]
        full = log_odds(batch.logits[chosen].detach(), batch.targets[chosen]).sigmoid()
        examples = self._examples(off_prior)
        losses = self._losses(score, rankings, off_prior, examples, full, max(counts), len(batch.images))
        log = {
            "aligned": float(len(chosen)),
            "top_off_prior": sum(float(off[0]) for off in off_prior) / len(off_prior),
            "deviation": losses[0].item(),
            "redundancy": losses[1].item(),
            "forwards": float(score.forwards),
            "seconds": time.perf_counter() - started,
        }
        if score.halved:
            log["halved"] = float(score.halved)
        return self._terms(losses, (len(examples[0]), len(examples[1])), batch, log)

    def _terms(
        self, losses: tuple[Tensor, Tensor], examples: tuple[int, int], batch: Batch, log: dict[str, float]
    ) -> Terms:
        """Weigh the two losses, and say what each is the mean of; a sum is the mean of nothing."""
        weighted = self.deviation_weight * losses[0], self.redundancy_weight * losses[1]
        counts = {"mean": examples, "batch": (len(batch.images),) * 2, "sum": ()}[self.reduction]
        return Terms(weighted[0] + weighted[1], log, tuple(zip(weighted, counts, strict=False)))

    def _off_prior(self, prior: Prior | None, labels_HW: Tensor, count: int, ranking: Ranking) -> Bool[Tensor, " R"]:
        """Whether the region of each rank lies off the prior."""
        assert prior is not None, "the gate lets only images with a prior through"
        off = prior.to(labels_HW.device).off_prior(labels_HW, count, phi=self.phi, tau=self.tau, strict=self.legacy)
        return off.cpu()[torch.from_numpy(ranking.order)]

    def _losses(
        self,
        score: RegionScore,
        rankings: list[Ranking],
        off_prior: list[Bool[Tensor, " _"]],
        examples: tuple[list[_Prefix], list[_Prefix]],
        full: Float[Tensor, " G"],
        num_regions: int,
        batch_size: int,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Deviation and redundancy of all chosen images."""
        tops, later = examples
        shorter = [_Prefix(image, length - 1) for image, length in later]
        odds = _PrefixOdds(score, rankings, num_regions)
        odds.add(tops + later + ([] if self.detach_before else shorter))
        with torch.no_grad():
            odds.add(shorter)
        common = {"reduction": self.reduction, "batch_size": batch_size}
        if self.legacy:
            inserted, deleted = odds.of(later)
            inserted_before, deleted_before = odds.of(shorter)
            return (
                deviation(self._utility(*odds.of(tops)), **common),
                two_sided_redundancy(
                    inserted.sigmoid(), inserted_before.sigmoid(), deleted.sigmoid(), deleted_before.sigmoid(), **common
                ),
            )
        top = self._utility(*odds.of(tops))
        after, before = self._utility(*odds.of(later)), self._utility(*odds.of(shorter))
        if self.form != "adaptive_log":
            return (
                deviation(top, **common),
                redundancy(after, before, **common, detach_before=self.detach_before),
            )
        human = torch.tensor(
            [self._human_gain(ranking, off) for ranking, off in zip(rankings, off_prior, strict=True)],
            dtype=full.dtype,
            device=full.device,
        )
        before = before.detach() if self.detach_before else before
        losses = []
        for prefixes, gain in ((tops, top), (later, after - before)):
            image = torch.tensor([prefix.image for prefix in prefixes], dtype=torch.long, device=full.device)
            losses.append(
                adaptive_log(gain / self.objective.maximum, human[image], full[image], beta=self.beta, **common)
            )
        return losses[0], losses[1]

    def _examples(self, off_prior: list[Bool[Tensor, " _"]]) -> tuple[list[_Prefix], list[_Prefix]]:
        """What deviation is the mean of, and what redundancy."""
        tops = [_Prefix(image, 1) for image, off in enumerate(off_prior) if off[0]]
        later = [
            _Prefix(image, rank + 1)
            for image, off in enumerate(off_prior)
            if self._redundancy_counts(bool(off[0]))
            for rank in range(1, len(off))
            if off[rank]
        ]
        return tops, later

    def _redundancy_counts(self, top_off_prior: bool) -> bool:
        return self.redundancy_when == "always" or (self.redundancy_when == "top_off_prior") == top_off_prior

    def _utility(self, insertion_odds: Tensor, deletion_odds: Tensor) -> Float[Tensor, " E"]:
        if self.form == "log":
            return self.objective.log_penalty(insertion_odds, deletion_odds)
        objective = EVALUATION if self.legacy else self.objective
        return objective(insertion_odds.sigmoid(), deletion_odds.sigmoid())

    def _human_gain(self, ranking: Ranking, off: Bool[Tensor, " R"]) -> float:
        """Largest positive gain of an on-prior region, divided by a + b; 0 without one."""
        gains = torch.from_numpy(ranking.values).diff(prepend=torch.zeros(1, dtype=torch.float64))
        return max(0.0, *(gains[~off] / self.objective.maximum).tolist(), 0.0)


class _Prefix(NamedTuple):
    """The first `length` regions of the order of one image."""

    image: int
    length: int


class _PrefixOdds:
    """Log-odds of prefixes and of what they leave, each computed once."""

    def __init__(self, score: RegionScore, rankings: list[Ranking], num_regions: int) -> None:
        self._score = score
        self._orders = [torch.from_numpy(ranking.order) for ranking in rankings]
        self._counts = num_regions
        self._known: dict[_Prefix, tuple[Tensor, Tensor]] = {}

    def add(self, prefixes: list[_Prefix]) -> None:
        """Compute the odds of those not yet known, under the caller's gradient mode."""
        new = [prefix for prefix in dict.fromkeys(prefixes) if prefix not in self._known]
        if not new:
            return
        keep = torch.zeros(len(new), self._counts, dtype=torch.bool)
        for row, prefix in enumerate(new):
            keep[row, self._orders[prefix.image][: prefix.length]] = True
        image = torch.tensor([prefix.image for prefix in new] * 2, device=self._score.device)
        odds = self._score.odds(image, torch.cat([keep, ~keep]).to(self._score.device))
        self._known.update({prefix: (odds[row], odds[row + len(new)]) for row, prefix in enumerate(new)})

    def of(self, prefixes: list[_Prefix]) -> tuple[Float[Tensor, " E"], Float[Tensor, " E"]]:
        """Insertion and deletion odds of these prefixes."""
        pairs = [self._known[prefix] for prefix in prefixes]
        if not pairs:
            nothing = torch.zeros(0, device=self._score.device)
            return nothing, nothing
        return torch.stack([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs])


PAPER = Alignment(search=Exact())
PRESETS: dict[str, Alignment] = {
    "paper": PAPER,
    "log": Alignment(form="log"),
    "adaptive-log": Alignment(form="adaptive_log"),
    "paper-tables": replace(
        PAPER, legacy=True, interval=6, max_regions=11, stop_above=0.75, redundancy_when="top_on_prior"
    ),
}
