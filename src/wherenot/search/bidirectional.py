"""Searches that fill the order from both ends: each round takes a best region and sets a worst one aside."""

from __future__ import annotations

from dataclasses import dataclass

from wherenot.search.memo import Subset
from wherenot.search.scoped import take_from_queue
from wherenot.search.walk import Search, Steps, Walk, descending


@dataclass(frozen=True)
class Bidirectional(Search):
    """Take the region that lifts the objective most, and set aside the one that lifts it least.

    Every round scores all candidates on top of the prefix. The few that score lowest there are scored once more on top
    of the regions already set aside, and the lowest of these joins them, so that two candidates leave per round. The
    order is what was taken, then what was set aside, backwards.

    Args:
        pending: Candidates scored for the back; none is set aside once no more than these remain.

    References:
        LIMA's bidirectional search (pending samples 8), second version.
    """

    pending: int = 8

    def __post_init__(self) -> None:
        if self.pending < 1:
            raise ValueError(f"Bidirectional: pending must be >= 1, got {self.pending}.")

    def steps(self, walk: Walk) -> Steps:
        """Score all candidates in front, a few of them behind."""
        behind: list[int] = []
        aside: Subset = 0
        while not walk.finished:
            candidates = [region for region in walk.candidates if region not in behind]
            if len(candidates) <= 1:
                yield from _close(walk, candidates, behind)
                return
            subsets = [walk.joined(region) for region in candidates]
            yield walk.pairs(subsets)
            best = walk.best(candidates)
            if len(candidates) > self.pending and len(walk.order) + 1 < walk.max_regions:
                # LIMA ranks by what was measured in front, with the effectiveness the region would have behind.
                low = [
                    walk.free(subset) - walk.value(subset) - walk.free(aside | 1 << region)
                    for region, subset in zip(candidates, subsets, strict=True)
                ]
                lowest = [candidates[position] for position in descending(low)[: self.pending]]
                pool = sorted(region for region in lowest if region != best)
                yield walk.pairs(aside | 1 << region for region in pool)
                losses = [-walk.value(aside | 1 << region) for region in pool]
                behind.append(pool[descending(losses)[0]])
                aside |= 1 << behind[-1]
            walk.take(best)

    def most_forwards(self, num_regions: int, max_regions: int) -> int:
        """Two for each candidate in front and each pending one; two for both ends of a full order."""
        forwards, candidates, taken = 0, num_regions, 0
        while candidates > 1 and taken < max_regions:
            forwards += 2 * candidates
            taken += 1
            if candidates > self.pending and taken < max_regions:
                forwards += 2 * self.pending
                candidates -= 1
            candidates -= 1
        return forwards + 2 * (taken < max_regions)


@dataclass(frozen=True)
class Eagle(Search):
    """Scoped in front, pending behind: what EAGLE does.

    In front it goes as `Scoped`. Behind, the last of the first full scan is set aside at once; later the last few of
    the queue are hidden together with what is set aside, and the one whose loss leaves the highest objective joins it.

    Args:
        scope: Candidates scored between full scans.
        pending: Candidates scored for the back; none is set aside once no more than these remain.
        update: A full scan every so many rounds, the first included.

    References:
        EAGLE's efficient search (10, 8, 5 by default; 8, 4, 10 in its notebooks).
    """

    scope: int = 10
    pending: int = 8
    update: int = 5

    def __post_init__(self) -> None:
        if min(self.scope, self.pending, self.update) < 1:
            raise ValueError(
                f"Eagle: scope, pending and update must be >= 1, got {self.scope}, {self.pending} and {self.update}."
            )

    def steps(self, walk: Walk) -> Steps:
        """Score the queue or its head in front, its tail behind."""
        queue, behind = list(walk.candidates), list[int]()
        aside: Subset = 0
        while not walk.finished:
            if len(queue) <= 1:
                yield from _close(walk, queue, behind)
                return
            first = not walk.order
            queue = yield from take_from_queue(walk, queue, self.scope, self.update)
            if first:
                worst = queue[-1]
            elif len(queue) > self.pending and not walk.finished:
                tail = queue[-self.pending :]
                kept = [walk.rest(aside | 1 << region) for region in tail]
                yield walk.pairs(kept)
                worst = tail[descending([walk.value(subset) for subset in kept])[0]]
            else:
                continue
            queue.remove(worst)
            behind.append(worst)
            aside |= 1 << worst

    def most_forwards(self, num_regions: int, max_regions: int) -> int:
        """Two for each candidate in front and each pending one; two for both ends of a full order."""
        forwards, queue, taken = 0, num_regions, 0
        while queue > 1 and taken < max_regions:
            forwards += 2 * (queue if taken % self.update == 0 else min(self.scope, queue))
            queue -= 1
            if taken == 0:
                queue -= 1
            elif queue > self.pending and taken + 1 < max_regions:
                forwards += 2 * self.pending
                queue -= 1
            taken += 1
        return forwards + 2 * (taken < max_regions)


def _close(walk: Walk, last: list[int], behind: list[int]) -> Steps:
    """Take the last candidate, then what was set aside, backwards, until the walk is finished."""
    for region in [*last, *reversed(behind)]:
        if walk.finished:
            return
        walk.take(region)
        yield walk.pairs([walk.prefix])
