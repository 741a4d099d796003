"""How far a search has come with one image."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from wherenot.search.memo import Reading, Subset
from wherenot.search.values import Values

# Two subsets that show the model the same pixels (blank regions, say) must tie whatever batch they were computed in;
# kernels differ in the last bits between batch sizes. Values closer than this are equal, and the first index wins.
TIE = 1e-6

Steps = Generator[Sequence[Subset], None, None]
"""A search on its way: it yields the subsets whose readings it needs next, and goes on when they are known."""


@runtime_checkable
class Search(Protocol):
    """How an order over regions is found."""

    def steps(self, walk: Walk, /) -> Steps:
        """Take regions into the walk until it is finished; before a value is read, yield the subsets it needs."""
        ...

    def most_forwards(self, num_regions: int, max_regions: int, /) -> int:
        """Masked images scored for `max_regions` of `num_regions` regions if nothing stops the search early.

        What is known from another question, or ruled out by a bound, makes it fewer.
        """
        ...


def descending(values: Sequence[float]) -> list[int]:
    """Positions from the largest value to the smallest; values within `TIE` of a larger one tie and come by index.

    Example:
        >>> descending([0.1, 0.5, 0.5 + 1e-9])
        [1, 2, 0]
    """
    order = sorted(range(len(values)), key=lambda position: -values[position])
    ranked: list[int] = []
    while order:
        best = values[order[0]]
        equals = 1
        while equals < len(order) and best - values[order[equals]] <= TIE:
            equals += 1
        ranked += sorted(order[:equals])
        order = order[equals:]
    return ranked


@dataclass(frozen=True)
class Ranking:
    """The order a search found for one image, and what it measured on the way.

    Attributes:
        order: Region indices, most important first; shorter than the number of regions if the search stopped.
        insertion: p(y | the first r + 1 regions alone).
        deletion: p(y | everything except them).
        values: The objective of each prefix.
        forwards: Masked images scored to find it; one that several targets of an image share is counted for the
            first that asks.
    """

    order: Int[np.ndarray, " R"]
    insertion: Float[np.ndarray, " R"]
    deletion: Float[np.ndarray, " R"]
    values: Float[np.ndarray, " R"]
    forwards: int


class Walk:
    """One image's regions on their way into an order.

    Args:
        known: Readings of the image.
        num_regions: Number of its regions.
        values: The objective.
        max_regions: Finished after so many.
        stop_above: Finished once the probability of the prefix exceeds this; None never.
        column: Which number of a reading is the target's probability.
        centres: Centre of each region, (y, x) in shares of the image; None if not known.

    Attributes:
        order: The regions taken so far.
        candidates: The regions not yet taken, by index.
        prefix: The regions taken, as a subset.
        forwards: Masked images scored for this walk.
    """

    def __init__(
        self,
        known: Mapping[Subset, Reading],
        num_regions: int,
        values: Values,
        *,
        max_regions: int | None = None,
        stop_above: float | None = None,
        column: int = 0,
        centres: Float[np.ndarray, "K 2"] | None = None,
    ) -> None:
        self.num_regions = num_regions
        self.everything: Subset = (1 << num_regions) - 1
        self.max_regions = num_regions if max_regions is None else min(max_regions, num_regions)
        self.centres = centres
        self.order: list[int] = []
        self.candidates = list(range(num_regions))
        self.prefix: Subset = 0
        self.forwards = 0
        self._known, self._values, self._column, self._stop_above = known, values, column, stop_above

    @property
    def finished(self) -> bool:
        """Whether enough regions are taken, or those taken say enough."""
        if len(self.order) >= self.max_regions:
            return True
        return bool(self.order) and self._stop_above is not None and self.probability(self.prefix) > self._stop_above

    def rest(self, subset: Subset) -> Subset:
        """Everything except the subset."""
        return self.everything & ~subset

    def joined(self, region: int) -> Subset:
        """The prefix with one more region."""
        return self.prefix | 1 << region

    def pairs(self, subsets: Iterable[Subset]) -> list[Subset]:
        """The subsets, and everything except each: what their full values need."""
        subsets = list(subsets)
        return [*subsets, *(self.rest(subset) for subset in subsets)]

    def probability(self, subset: Subset) -> float:
        """The target's probability with only the subset visible."""
        return float(self._known[subset][self._column])

    def inside(self, subset: Subset) -> float:
        """The part of the objective that is read from the subset alone."""
        return self._values.inside(subset)

    def outside(self, subset: Subset) -> float:
        """The part of the objective that is read from everything except the subset."""
        return self._values.outside(subset)

    def value(self, subset: Subset) -> float:
        """The objective of a subset."""
        return self._values.inside(subset) + self._values.outside(subset)

    def free(self, subset: Subset) -> float:
        """The share of `inside` that is known without a forward of this subset."""
        return self._values.free(subset)

    @property
    def most_outside(self) -> float:
        """What `outside` cannot exceed."""
        return self._values.most_outside

    def best(self, regions: Sequence[int]) -> int:
        """The region that lifts the objective most, of some whose values are known; ties go to the first given."""
        return regions[descending([self.value(self.joined(region)) for region in regions])[0]]

    def take(self, region: int) -> None:
        """Put a region at the end of the order."""
        self.candidates.remove(region)
        self.order.append(region)
        self.prefix |= 1 << region

    def prefixes(self) -> list[Subset]:
        """The subsets of the first 1, 2, ... regions."""
        subsets, prefix = [], 0
        for region in self.order:
            prefix |= 1 << region
            subsets.append(prefix)
        return subsets

    def ranking(self) -> Ranking:
        """The result; the readings of all prefixes and of what they leave must be known."""
        prefixes = self.prefixes()
        return Ranking(
            order=np.array(self.order, dtype=np.int64),
            insertion=np.array([self.probability(prefix) for prefix in prefixes]),
            deletion=np.array([self.probability(self.rest(prefix)) for prefix in prefixes]),
            values=np.array([self.value(prefix) for prefix in prefixes]),
            forwards=self.forwards,
        )
