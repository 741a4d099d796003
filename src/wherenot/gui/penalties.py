"""What keeps an agent's evidence on its target: the paper's penalty, and cheaper ones that need no search."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from wherenot.data import GuiSample
from wherenot.gui.clicks import TOGETHER, Click, Tokens, read_chosen
from wherenot.gui.moving import meets
from wherenot.gui.violation import Test, first_violation
from wherenot.masking import show_elements
from wherenot.methods.base import Terms
from wherenot.models.answers import AnswerReader, Asked, read_together
from wherenot.models.vlm import VisionLanguageModel
from wherenot.objective import EVALUATION
from wherenot.regions import region_centres
from wherenot.scoring import evaluating
from wherenot.search import Exact, Memo, Search, greedy_search
from wherenot.token_score import TokenScore

Form: TypeAlias = Literal["utility", "insertion", "deviation_redundancy", "constant"]


@dataclass(frozen=True, kw_only=True)
class Off:
    """Evidence that is to become weaker: what is asked about which masked screenshots, and what that costs.

    Attributes:
        asked: The task's question, about the tokens that count.
        shown: Masked copies of its screenshot.
        loss: Turns the probabilities of the tokens given each copy into the penalty.
    """

    asked: Asked
    shown: Float[Tensor, "N ..."]
    loss: Callable[[Float[Tensor, "N T"]], Float[Tensor, ""]]


@dataclass(frozen=True)
class Found:
    """What a method found to penalise, without gradients yet.

    Attributes:
        aligned: Tasks that it looked at, after its gate.
        off: What is off, a task each.
    """

    aligned: int
    off: list[Off]


def penalties_of(vlm: VisionLanguageModel, off: Sequence[Off]) -> Float[Tensor, " P"]:
    """The penalty of each task, with gradients; different tasks share forwards. The mode of the model is the caller's.

    Args:
        vlm: Who is asked.
        off: At least one.
    """
    rows = [(each.asked, copy) for each in off for copy in each.shown]
    read: list[Tensor] = []
    for start in range(0, len(rows), TOGETHER):
        some = rows[start : start + TOGETHER]
        read += read_together(vlm, [asked for asked, _ in some], [copy for _, copy in some])
    losses = []
    for each in off:
        own, read = read[: len(each.shown)], read[len(each.shown) :]
        losses.append(each.loss(torch.stack(own) if own else torch.zeros(0, 1, device=vlm.device)))
    return torch.stack(losses)


def drawn_tasks(ids: Sequence[str], most: int | None, step: int) -> set[str]:
    """Which tasks of a step are looked at: the same ones however they are cut into batches and dealt to ranks.

    Args:
        ids: Of all of its tasks.
        most: So many at most; None = all.
        step: Another one draws others.

    Example:
        >>> len(drawn_tasks(list("abcdef"), 2, step=1)), drawn_tasks(list("ab"), None, step=1) == {"a", "b"}
        (2, True)
    """
    return set(sorted(ids, key=lambda name: (zlib.crc32(f"{step} {name}".encode()), name))[:most])


@runtime_checkable
class AgentMethod(Protocol):
    """Anything training can add to an agent's task loss."""

    @property
    def weight(self) -> float:
        """Of the mean penalty of the tasks that are off."""
        ...

    @property
    def interval(self) -> int:
        """It acts at optimizer steps divisible by this, counted from 1."""
        ...

    @property
    def max_tasks(self) -> int | None:
        """It looks at so many tasks of a step at most; None = at all."""
        ...

    def find(self, vlm: VisionLanguageModel, clicks: Sequence[Click], step: int) -> Found:
        """Return what is to be penalised at optimizer step `step`; the model's mode is left as found."""
        ...


@runtime_checkable
class Augmenting(AgentMethod, Protocol):
    """A method that changes tasks before the model is trained on them, too."""

    def augment(self, samples: Sequence[GuiSample], seed: tuple[int, ...]) -> list[GuiSample]:
        """Return the tasks of a batch as the model is to see them; arguments stay as found.

        Args:
            samples: The batch.
            seed: Of what is drawn, another one for each batch.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """When a penalty acts, and on what.

    Args:
        weight: Of the mean over the tasks that are penalised.
        interval: Acts at steps divisible by this, counted from 1.
        tokens: Which tokens of the answer count (`chosen_tokens`).
        right_above: Only tasks whose counted tokens have more than this probability on average: evidence for a wrong
            click is not worth correcting.
        max_tasks: Look at so many tasks of a step at most, drawn by chance (`drawn_tasks`); None = at all.
    """

    weight: float = 0.5
    interval: int = 5
    tokens: Tokens = "location"
    right_above: float = 0.5
    max_tasks: int | None = None

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError(f"{type(self).__name__}: interval must be >= 1, got {self.interval}.")
        if self.max_tasks is not None and self.max_tasks < 1:
            raise ValueError(f"{type(self).__name__}: max_tasks must be >= 1, got {self.max_tasks}.")

    def __call__(self, vlm: VisionLanguageModel, clicks: Sequence[Click], step: int) -> Terms:
        """Return the weighted mean of the penalties at optimizer step `step`, in eval mode."""
        nothing = torch.zeros((), device=vlm.device)
        if step % self.interval:
            return Terms(nothing)
        found = self.find(vlm, clicks, step)
        log = {"aligned": float(found.aligned), "penalised": float(len(found.off))}
        if not found.off:
            return Terms(nothing, log)
        with evaluating(vlm.wrapped):
            loss = penalties_of(vlm, found.off).mean()
        return Terms(self.weight * loss, {**log, "penalty": float(loss.detach())})

    @torch.no_grad()
    def find(self, vlm: VisionLanguageModel, clicks: Sequence[Click], step: int) -> Found:
        """Choose the tokens that count, leave out what is not right, and look for what is off, in eval mode."""
        kept = drawn_tasks([click.sample.id for click in clicks], self.max_tasks, step)
        clicks = [click for click in clicks if click.sample.id in kept]
        if not clicks:
            return Found(0, [])
        with evaluating(vlm.wrapped):
            read = read_chosen(vlm, clicks, self.tokens)
            right = [click for click, probabilities in read if float(probabilities.mean()) > self.right_above]
            off = [each for click in right if (each := self.off(vlm, click, step)) is not None]
        return Found(len(right), off)

    def off(self, vlm: VisionLanguageModel, click: Click, step: int) -> Off | None:
        """What is to be penalised in one task; None if nothing is."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class EvidencePenalty(Penalty):
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

    def off(self, vlm: VisionLanguageModel, click: Click, step: int) -> Off | None:  # noqa: ARG002
        """Search, and test."""
        order = strongest_regions(vlm, click, search=self.search, max_regions=self.max_regions)
        regions = [click.labels == region for region in order]
        if self.form == "deviation_redundancy":
            off = [first_off(click, [each], test=self.test, tau=self.tau) == 0 for each in regions]
            prefixes = [order[: rank + 1] for rank in range(len(order))]
            shown = with_and_without(click, prefixes)
            return Off(asked=click.asked, shown=shown, loss=partial(_both, off)) if any(off) else None
        first = first_off(click, regions, test=self.test, tau=self.tau)
        if first is None:
            return None
        shown = with_and_without(click, [[order[first]]])
        copies, loss = {"utility": (2, utility), "insertion": (1, _insertion), "constant": (0, _constant)}[self.form]
        return Off(asked=click.asked, shown=shown[:copies], loss=loss)


def first_off(click: Click, regions: Sequence[Bool[np.ndarray, "H W"]], *, test: Test, tau: float) -> int | None:
    """The first region off the target, as `first_violation` has it, or None; marks of the task count.

    Args:
        click: The task. Where only marks say where evidence must not lie, regions are tested by their overlap with all
            the rest, which none could cover.
        regions: The strongest first.
        test: When one is off.
        tau: For the test ``overlap``, and for forbidden marks.
    """
    test = "overlap" if click.is_open else test
    return first_violation(regions, click.target, test=test, tau=tau, forbidden=click.forbidden)


@torch.no_grad()
def strongest_regions(vlm: VisionLanguageModel, click: Click, *, search: Search, max_regions: int) -> list[int]:
    """The regions that carry the answer's counted tokens, the strongest first; by EAGLE's objective.

    Args:
        vlm: Who is asked; its mode is the caller's.
        click: Tells regions and tokens.
        search: How they are searched.
        max_regions: How many.
    """
    count = int(click.labels.max()) + 1
    memo = Memo(TokenScore(AnswerReader(vlm, [click.asked]), click.pixels, click.layout, click.fill), [count])
    centres = [region_centres(torch.from_numpy(click.labels))]
    [ranking] = greedy_search(memo, EVALUATION, search=search, max_regions=max_regions, centres=centres)
    return ranking.order.tolist()


def with_and_without(click: Click, subsets: Sequence[Sequence[int]]) -> Float[Tensor, "N ..."]:
    """For each subset of regions the screenshot with it alone, and without it."""
    keep = torch.zeros(2 * len(subsets), int(click.labels.max()) + 1, dtype=torch.bool, device=click.pixels.device)
    for row, subset in enumerate(subsets):
        keep[2 * row, list(subset)] = True
        keep[2 * row + 1] = ~keep[2 * row]
    return show_elements(click.pixels, click.layout, keep, click.fill)


def utility(read: Float[Tensor, "2 T"]) -> Float[Tensor, ""]:
    """What a region gives the answer, alone and by its absence, in [0, 2]: EAGLE's objective."""
    return read[0].mean() + 1 - read[1].mean()


def _insertion(read: Float[Tensor, "1 T"]) -> Float[Tensor, ""]:
    return read[0].mean()


def _constant(read: Float[Tensor, "0 _"]) -> Float[Tensor, ""]:
    return read.new_ones(())


def _both(off: Sequence[bool], read: Float[Tensor, "N T"]) -> Float[Tensor, ""]:
    """Deviation of the first region, and what each further one adds, of those that are off."""
    values = [utility(pair) for pair in read.split(2)]
    terms = [values[0]] if off[0] else []
    gains = zip(values[1:], values[:-1], off[1:], strict=True)
    terms += [torch.relu(after - before.detach()) for after, before, is_off in gains if is_off]
    return torch.stack(terms).sum()


@dataclass(frozen=True, kw_only=True)
class Necessity(Penalty):
    r"""The answer must not survive without its target: penalise $q(V \setminus B)$. One forward, no search.

    Args:
        form: ``probability``: $\operatorname{mean}_t q_t$. ``log``: $-\operatorname{mean}_t \log(1 - q_t)$, whose
            gradient does not vanish where the model is sure.
    """

    form: Literal["probability", "log"] = "probability"

    def off(self, vlm: VisionLanguageModel, click: Click, step: int) -> Off:  # noqa: ARG002
        """Hide the target."""
        return Off(asked=click.asked, shown=self.shown(vlm, click)[None], loss=self._of)

    def shown(self, vlm: VisionLanguageModel, click: Click) -> Float[Tensor, "*shape"]:  # noqa: ARG002
        """The screenshot without its target."""
        return click.without_target

    def _of(self, probabilities: Float[Tensor, "1 T"]) -> Float[Tensor, ""]:
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
            if not meets(box, (left, top, right, bottom))
        ]
        others = [box for box in others if box[0] < box[2] and box[1] < box[3]]
        if not others:
            return click.without_target
        size = right - left, bottom - top
        nearest = min(others, key=lambda box: abs(box[2] - box[0] - size[0]) + abs(box[3] - box[1] - size[1]))
        pixels[top:bottom, left:right] = np.asarray(click.image.convert("RGB").crop(nearest).resize(size))
        return vlm.encode(Image.fromarray(pixels), click.asked.encoding.prompt).inputs["pixel_values"]
