"""What keeps an agent's evidence on its target: the paper's penalty, and cheaper ones that need no search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from wherenot.gui.clicks import Click, Tokens, read_chosen
from wherenot.gui.violation import Test, first_violation
from wherenot.masking import show_elements
from wherenot.methods.base import Terms
from wherenot.models.answers import AnswerReader
from wherenot.models.vlm import VisionLanguageModel
from wherenot.objective import EVALUATION
from wherenot.regions import region_centres
from wherenot.scoring import evaluating
from wherenot.search import Exact, Memo, Search, greedy_search
from wherenot.token_score import TokenScore

Form: TypeAlias = Literal["utility", "insertion", "deviation_redundancy", "constant"]


@runtime_checkable
class AgentMethod(Protocol):
    """Anything training can add to an agent's task loss."""

    def __call__(self, vlm: VisionLanguageModel, clicks: Sequence[Click], step: int) -> Terms:
        """Return the terms for some tasks at 1-based optimizer step `step`; the model's mode is left as found."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Penalty:
    """When a penalty acts, and on what.

    Args:
        weight: Of the mean over the tasks that are penalised.
        interval: Acts at steps divisible by this, counted from 1.
        tokens: Which tokens of the answer count (`chosen_tokens`).
        right_above: Only tasks whose counted tokens have more than this probability on average: evidence for a wrong
            click is not worth correcting.
    """

    weight: float = 0.5
    interval: int = 5
    tokens: Tokens = "location"
    right_above: float = 0.5

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError(f"{type(self).__name__}: interval must be >= 1, got {self.interval}.")

    def __call__(self, vlm: VisionLanguageModel, clicks: Sequence[Click], step: int) -> Terms:
        """Return the weighted mean of the penalties, in eval mode."""
        nothing = torch.zeros((), device=vlm.device)
        if step % self.interval:
            return Terms(nothing)
        with evaluating(vlm.wrapped):
            chosen = [read_chosen(vlm, click, self.tokens) for click in clicks]
            right = [click for click, probabilities in chosen if float(probabilities.mean()) > self.right_above]
            found = [penalty for click in right if (penalty := self.penalty(vlm, click)) is not None]
        log = {"aligned": float(len(right)), "penalised": float(len(found))}
        if not found:
            return Terms(nothing, log)
        loss = torch.stack(found).mean()
        return Terms(self.weight * loss, {**log, "penalty": float(loss.detach())})

    def penalty(self, vlm: VisionLanguageModel, click: Click) -> Float[Tensor, ""] | None:
        """The penalty of one task, with gradients; None if there is nothing to penalise."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class EvidencePenalty(_Penalty):
    r"""The paper's: search the regions that carry the answer, and penalise the first that is off the target.

    Args:
        form: Of the first region S that is off. ``utility``: $\operatorname{mean}_t [q_t(S) + 1 - q_t(V \setminus S)]$.
            ``insertion``: its first half. ``deviation_redundancy``: the utility of the first region, and what the
            second adds to it, of those that are off. ``constant``: 1, as printed, which has no gradient.
        max_regions: Regions searched (k).
        test: When a region is off (`first_violation`).
        tau: For the test ``overlap``.
        search: How they are searched.

    References:
        "Where Not to Learn", Algorithm 2 and appendix A.3 (k = 2). Its penalty is not defined; ``utility`` is Eq. 3
        with EAGLE's objective. The paper has no gate.
    """

    form: Form = "utility"
    max_regions: int = 2
    test: Test = "overlap"
    tau: float = 0.15
    search: Search = Exact()

    def penalty(self, vlm: VisionLanguageModel, click: Click) -> Float[Tensor, ""] | None:
        """Search, test, penalise."""
        count = int(click.labels.max()) + 1
        memo = Memo(TokenScore(AnswerReader(vlm, [click.asked]), click.pixels, click.layout, click.fill), [count])
        centres = [region_centres(torch.from_numpy(click.labels))]
        [ranking] = greedy_search(memo, EVALUATION, search=self.search, max_regions=self.max_regions, centres=centres)
        order = ranking.order.tolist()
        if self.form == "deviation_redundancy":
            return self._deviation_redundancy(vlm, click, order, count)
        regions = [click.labels == region for region in order]
        off = first_violation(regions, click.target, test=self.test, tau=self.tau)
        if off is None:
            return None
        if self.form == "constant":
            return torch.ones((), device=vlm.device)
        [insertion, deletion] = self._readings(vlm, click, [[order[off]]], count)
        return insertion if self.form == "insertion" else insertion + 1 - deletion

    def _deviation_redundancy(
        self, vlm: VisionLanguageModel, click: Click, order: Sequence[int], count: int
    ) -> Float[Tensor, ""] | None:
        off = [
            first_violation([click.labels == region], click.target, test=self.test, tau=self.tau) == 0
            for region in order
        ]
        prefixes = [order[: rank + 1] for rank in range(len(order))]
        readings = self._readings(vlm, click, prefixes, count)
        values = [insertion + 1 - deletion for insertion, deletion in zip(readings[::2], readings[1::2], strict=True)]
        terms = [values[0]] if off[0] else []
        gains = zip(values[1:], values[:-1], off[1:], strict=True)
        terms += [torch.relu(after - before.detach()) for after, before, is_off in gains if is_off]
        return torch.stack(terms).sum() if terms else None

    def _readings(
        self, vlm: VisionLanguageModel, click: Click, subsets: Sequence[Sequence[int]], count: int
    ) -> list[Float[Tensor, ""]]:
        """For each subset the mean probability of the counted tokens given it alone, and given everything else."""
        keep = torch.zeros(2 * len(subsets), count, dtype=torch.bool, device=vlm.device)
        for row, subset in enumerate(subsets):
            keep[2 * row, list(subset)] = True
            keep[2 * row + 1] = ~keep[2 * row]
        copies = show_elements(click.pixels, click.layout, keep, click.fill)
        return list(AnswerReader(vlm, [click.asked], reuse=False)(copies).mean(1))


@dataclass(frozen=True, kw_only=True)
class Necessity(_Penalty):
    r"""The answer must not survive without its target: penalise $q(V \setminus B)$. One forward, no search.

    Args:
        form: ``probability``: $\operatorname{mean}_t q_t$. ``log``: $-\operatorname{mean}_t \log(1 - q_t)$, whose
            gradient does not vanish where the model is sure.
    """

    form: Literal["probability", "log"] = "probability"

    def penalty(self, vlm: VisionLanguageModel, click: Click) -> Float[Tensor, ""]:
        """Hide the target and read the answer."""
        return self._of(AnswerReader(vlm, [click.asked], reuse=False)(self.shown(vlm, click)[None])[0])

    def shown(self, vlm: VisionLanguageModel, click: Click) -> Float[Tensor, "*shape"]:  # noqa: ARG002
        """The screenshot without its target."""
        return click.without_target

    def _of(self, probabilities: Float[Tensor, " T"]) -> Float[Tensor, ""]:
        if self.form == "probability":
            return probabilities.mean()
        return -torch.log1p(-probabilities.clamp(max=1 - 1e-6)).mean()


@dataclass(frozen=True, kw_only=True)
class Paste(Necessity):
    """As `Necessity`, but another element of the screen is pasted over the target: no hole gives it away."""

    def shown(self, vlm: VisionLanguageModel, click: Click) -> Float[Tensor, "*shape"]:
        """The screenshot with the element of the most similar size, elsewhere, over the target."""
        pixels = np.asarray(click.image.convert("RGB")).copy()
        rows, columns = (np.flatnonzero(click.target.any(axis)) for axis in (1, 0))
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        others = [
            (round(box[0]), round(box[1]), round(box[2]), round(box[3]))
            for box in (element.box for element in click.sample.elements() if element.visible)
            if not _meets(box, (left, top, right, bottom))
        ]
        others = [box for box in others if box[0] < box[2] and box[1] < box[3]]
        if not others:
            return click.without_target
        size = right - left, bottom - top
        nearest = min(others, key=lambda box: abs(box[2] - box[0] - size[0]) + abs(box[3] - box[1] - size[1]))
        pixels[top:bottom, left:right] = np.asarray(click.image.convert("RGB").crop(nearest).resize(size))
        return vlm.encode(Image.fromarray(pixels), click.asked.encoding.prompt).inputs["pixel_values"]


def _meets(box: Sequence[int | float], other: Sequence[int | float]) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
