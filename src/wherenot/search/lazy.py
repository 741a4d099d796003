"""Greedy selection that measures a region again only when its old gain still puts it in front."""

from __future__ import annotations

from dataclasses import dataclass

from wherenot.search.walk import Search, Steps, Walk, descending


@dataclass(frozen=True)
class Lazy(Search):
    """Keep each region's gain from when it was last measured, and measure only those in front anew.

    A region is taken when its gain is fresh and no stale gain exceeds it. Where gains only fall as the prefix grows (a
    submodular objective) the order is the exact one; a network's probabilities are not, so here it is a heuristic.

    Args:
        chunk: Stale gains measured anew at a time.

    References:
        Minoux 1978; Leskovec et al. 2007 (CELF).
    """

    chunk: int = 4

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError(f"Lazy: chunk must be >= 1, got {self.chunk}.")

    def steps(self, walk: Walk) -> Steps:
        """Scan all once, then the stalest promises."""
        yield walk.pairs([walk.prefix, *(walk.joined(region) for region in walk.candidates)])
        here = walk.value(walk.prefix)
        gains = {region: walk.value(walk.joined(region)) - here for region in walk.candidates}
        yield from follow_gains(walk, gains, fresh=set(gains), chunk=self.chunk)

    def most_forwards(self, num_regions: int, max_regions: int) -> int:
        """Two for every candidate of every round, and two for the empty prefix."""
        return 2 + sum(2 * (num_regions - step) for step in range(max_regions))


def follow_gains(walk: Walk, gains: dict[int, float], *, fresh: set[int], chunk: int) -> Steps:
    """Take the region with the largest gain, after measuring anew what stands in front of it.

    Args:
        walk: Its prefix has a known value.
        gains: Last known gain of every candidate; changed in place.
        fresh: Candidates whose gain was measured on the present prefix.
        chunk: Stale gains measured anew at a time.
    """
    while not walk.finished:
        regions = list(walk.candidates)
        ranked = [regions[position] for position in descending([gains[region] for region in regions])]
        if ranked[0] in fresh:
            walk.take(ranked[0])
            del gains[ranked[0]]
            fresh = set()
            continue
        # The first few stale ones, fresh ones between them left out.
        anew = [region for region in ranked if region not in fresh][:chunk]
        yield walk.pairs(walk.joined(region) for region in anew)
        here = walk.value(walk.prefix)
        gains.update({region: walk.value(walk.joined(region)) - here for region in anew})
        fresh |= set(anew)
