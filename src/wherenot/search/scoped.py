"""The authors' efficient loop."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from wherenot.search.memo import Subset
from wherenot.search.walk import Search, Steps, Walk, descending


@dataclass(frozen=True)
class Scoped(Search):
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

    def steps(self, walk: Walk) -> Steps:
        """Score the queue, or its head; a full scan re-sorts it."""
        queue = list(walk.candidates)
        while not walk.finished:
            queue = yield from take_from_queue(walk, queue, self.scope, self.update)

    def most_forwards(self, num_regions: int, max_regions: int) -> int:
        """Two for every candidate looked at."""
        remaining = [(step, num_regions - step) for step in range(max_regions)]
        return sum(2 * (left if step % self.update == 0 else min(self.scope, left)) for step, left in remaining)


def take_from_queue(
    walk: Walk, queue: list[int], scope: int, update: int
) -> Generator[Sequence[Subset], None, list[int]]:
    """One round: score the queue, re-sorted, every `update` rounds, else its first `scope`; take the best.

    Returns:
        The queue without the region taken.
    """
    full_scan = len(walk.order) % update == 0
    looked_at = queue if full_scan else queue[:scope]
    subsets = [walk.joined(region) for region in looked_at]
    yield walk.pairs(subsets)
    ranked = [looked_at[position] for position in descending([walk.value(subset) for subset in subsets])]
    walk.take(ranked[0])
    return [region for region in (ranked if full_scan else queue) if region != ranked[0]]
