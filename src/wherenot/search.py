"""Greedy search for the order of regions that best carries the decision.

A search knows no model and no image: it asks a `SubsetScore` for values of subsets and answers with orders. Several
images advance in lock-step, round by round, and share each question; one that has stopped leaves the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wherenot.objective import Objective
from wherenot.types import SubsetScore

# Two subsets that show the model the same pixels (blank regions, say) must tie whatever batch they were computed in;
# kernels differ in the last bits between batch sizes. Values closer than this are equal, and the first index wins.
TIE = 1e-6


@runtime_checkable
class Search(Protocol):
    """Which candidates a round scores."""

    def scan(self, step: int, candidates: int) -> int:
        """Return how many of the `candidates` remaining regions are scored at 0-based round `step`."""
        ...

    def resorts(self, step: int) -> bool:
        """Return whether round `step` re-sorts the remaining candidates by what it measured."""
        ...


@dataclass(frozen=True)
class Exact:
    """Score every remaining region in every round: greedy selection as the paper defines it."""

    def scan(self, step: int, candidates: int) -> int:  # noqa: ARG002 - the same in every round
        """All of them."""
        return candidates

    def resorts(self, step: int) -> bool:  # noqa: ARG002
        """Never: candidates stay in index order, so that the first index wins ties."""
        return False


@dataclass(frozen=True)
class Scoped:
    """Score all regions now and then, and only the best few of the last full scan in between.

    Args:
        scope: Candidates scored between full scans.
        update: A full scan every so many rounds, the first included.

    References:
        The authors' "efficient" search (scope 8, update 20). It is not bidirectional: its pending samples are unused.
    """

    scope: int = 8
    update: int = 20

    def __post_init__(self) -> None:
        if min(self.scope, self.update) < 1:
            raise ValueError(f"Scoped: scope and update must be >= 1, got {self.scope} and {self.update}.")

    def scan(self, step: int, candidates: int) -> int:
        """All at a full scan, else at most `scope`."""
        return candidates if self.resorts(step) else min(self.scope, candidates)

    def resorts(self, step: int) -> bool:
        """At every full scan."""
        return step % self.update == 0


SEARCHES: dict[str, Search] = {"exact": Exact(), "scoped": Scoped()}


def parse_search(name: str) -> Search:
    """The search of that name.

    Example:
        >>> parse_search("scoped")
        Scoped(scope=8, update=20)
    """
    if name not in SEARCHES:
        raise ValueError(f"parse_search: no search is called {name!r}; choose one of {', '.join(SEARCHES)}.")
    return SEARCHES[name]


@dataclass(frozen=True)
class Ranking:
    """The order a search found for one image, and what it measured on the way.

    Attributes:
        order: Region indices, most important first; shorter than the number of regions if the search stopped.
        insertion: p(y | the first r + 1 regions alone).
        deletion: p(y | everything except them).
        values: The objective of each prefix.
        forwards: Masked images scored to find it.
    """

    order: Int[np.ndarray, " R"]
    insertion: Float[np.ndarray, " R"]
    deletion: Float[np.ndarray, " R"]
    values: Float[np.ndarray, " R"]
    forwards: int


def search_cost(search: Search, num_regions: int, max_regions: int | None = None) -> int:
    """Masked images that a search scores for one image if nothing stops it early.

    Example:
        >>> search_cost(Exact(), 49, 10), search_cost(Scoped(), 49, 10)
        (890, 242)
    """
    rounds = num_regions if max_regions is None else min(max_regions, num_regions)
    return sum(2 * search.scan(step, num_regions - step) for step in range(rounds))


def greedy_search(
    score: SubsetScore,
    objective: Objective,
    num_regions: Sequence[int],
    *,
    search: Search = SEARCHES["exact"],
    max_regions: int | None = None,
    stop_above: float | None = None,
    device: torch.device | str = "cpu",
) -> list[Ranking]:
    r"""Order the regions of several images, each time adding the region that raises the objective most.

    Greedily maximises $\sum_r F(\pi_{:r})$ over orders. Each candidate costs two masked images: the prefix with it, and
    everything except that. Ties (closer than 1e-6) go to the first index.

    Args:
        score: Answers p(y | subset) for any image of the batch.
        objective: The set function F.
        num_regions: Number of regions of each image; they may differ.
        search: Which candidates each round scores.
        max_regions: Stop after this many regions; None orders them all.
        stop_above: Stop after the region that lifts p(y | prefix) above this; None never stops.
        device: Where the questions to `score` are built.

    Returns:
        One ranking per image. No ranking depends on the other images.

    Raises:
        ValueError: For `max_regions` below 1, or an image without regions.

    Example:
        >>> import torch
        >>> weights = torch.tensor([1.0, 3.0, 2.0])
        >>> def score(image, keep):
        ...     return (keep * weights).sum(1) / 6
        >>> greedy_search(score, Objective(), [3])[0].order.tolist()
        [1, 2, 0]

    References:
        "Where Not to Learn", Eq. 1; LIMA's greedy algorithm. Stop rule and k of section 5.1 (0.8 and 10), where k is a
        count; the authors' class takes it for a last index and returns k + 1 regions.
    """
    if max_regions is not None and max_regions < 1:
        raise ValueError(f"greedy_search: max_regions must be >= 1 or None, got {max_regions}.")
    if min(num_regions, default=1) < 1:
        raise ValueError(f"greedy_search: every image needs at least one region, got {list(num_regions)}.")
    width = max(num_regions, default=0)
    states = [_State(image, count, width) for image, count in enumerate(num_regions)]
    step = 0
    active = states
    while active:
        questions = [state.questions(search.scan(step, len(state.candidates))) for state in active]
        rows = torch.tensor(
            [state.image for state, asked in zip(active, questions, strict=True) for _ in range(2 * len(asked))],
            device=device,
        )
        keep = torch.from_numpy(np.concatenate([both for asked in questions for both in (asked, ~asked)]))
        keep &= torch.from_numpy(
            np.concatenate([np.tile(s.exists, (2 * len(q), 1)) for s, q in zip(active, questions, strict=True)])
        )
        scores = score(rows, keep.to(device)).double().cpu()
        for state, asked in zip(active, questions, strict=True):
            mine, scores = scores[: 2 * len(asked)], scores[2 * len(asked) :]
            state.advance(mine[: len(asked)], mine[len(asked) :], objective, resort=search.resorts(step))
        step += 1
        active = [
            state
            for state in active
            if state.candidates
            and len(state.order) != max_regions
            and not (stop_above is not None and state.insertion[-1] > stop_above)
        ]
    return [state.ranking() for state in states]


def descending(values: Float[Tensor, " N"]) -> list[int]:
    """Positions from the largest value to the smallest; values within `TIE` of a larger one tie and come by index.

    Example:
        >>> descending(torch.tensor([0.1, 0.5, 0.5 + 1e-9], dtype=torch.float64))
        [1, 2, 0]
    """
    listed = values.tolist()
    order = sorted(range(len(listed)), key=lambda position: -listed[position])
    ranked: list[int] = []
    while order:
        best = listed[order[0]]
        equals = [position for position in order if best - listed[position] <= TIE]
        ranked += sorted(equals)
        order = order[len(equals) :]
    return ranked


@dataclass
class _State:
    """How far the search has come with one image."""

    image: int
    num_regions: int
    width: int
    order: list[int] = field(default_factory=list)
    insertion: list[float] = field(default_factory=list)
    deletion: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    forwards: int = 0

    def __post_init__(self) -> None:
        self.candidates = list(range(self.num_regions))
        self.exists: Bool[np.ndarray, " K"] = np.arange(self.width) < self.num_regions
        self._prefix = np.zeros(self.width, dtype=bool)

    def questions(self, count: int) -> Bool[np.ndarray, "N K"]:
        """The prefix with each of the first `count` candidates."""
        keep = np.repeat(self._prefix[None], count, axis=0)
        keep[np.arange(count), self.candidates[:count]] = True
        self.forwards += 2 * count
        return keep

    def advance(
        self,
        insertion: Float[Tensor, " N"],
        deletion: Float[Tensor, " N"],
        objective: Objective,
        *,
        resort: bool,
    ) -> None:
        """Take the best of the scored candidates into the prefix."""
        values = objective(insertion, deletion)
        ranked = descending(values)
        best = ranked[0]
        region = self.candidates[best]
        self.order.append(region)
        self.insertion.append(insertion[best].item())
        self.deletion.append(deletion[best].item())
        self.values.append(values[best].item())
        self._prefix[region] = True
        if resort:
            self.candidates = [self.candidates[position] for position in ranked]
        self.candidates.remove(region)

    def ranking(self) -> Ranking:
        return Ranking(
            order=np.array(self.order, dtype=np.int64),
            insertion=np.array(self.insertion),
            deletion=np.array(self.deletion),
            values=np.array(self.values),
            forwards=self.forwards,
        )
