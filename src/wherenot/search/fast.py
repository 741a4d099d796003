"""A search that spends its forwards where they decide something.

What the exact search pays for, and what is saved here:

- Its first round scores every region twice. Alone, a region mostly says next to nothing; what it costs to lose it tells
  more. So all deletions are read, the insertions of nine super-regions (a 3 x 3 raster), and then the insertions of
  those regions only that either of the two makes promising.
- Its later rounds score every region again. But a region that helps now has mostly helped before, or lies beside what
  is taken: networks read neighbouring patches together. So a round looks at the best by their last known gains, at the
  nearest to the prefix, and at some that nobody has looked at for longest.
- Once the first region is hidden the score has fallen, and hiding one more changes little. So later rounds read
  insertions, and deletions only of the few in front.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from wherenot.search.memo import subset_of
from wherenot.search.walk import Search, Steps, Walk, descending


@dataclass(frozen=True)
class Fast(Search):
    """Evidence nearly as good as the exact search finds, for less than a third of the plain loop's forwards.

    Args:
        raster: Super-regions from top to bottom, and from left to right.
        promising: Regions whose insertion is read in the first round, besides those of the best super-region.
        scan: Candidates whose insertion is read in each later round.
        near: How many of these are the nearest to the prefix.
        stale: How many of these have not been looked at for longest; the others have the largest known gains.
        finalists: Candidates of each later round whose deletion is read, besides the one with the best insertion.

    References:
        Ours. Chosen on composites of cut-outs and backgrounds and on landscapes; `docs/log.md` has the figures, on
        other images.
    """

    raster: int = 3
    promising: int = 18
    scan: int = 18
    near: int = 6
    stale: int = 6
    finalists: int = 1

    def __post_init__(self) -> None:
        counts = (self.raster, self.promising, self.scan, self.finalists)
        if min(counts) < 1 or min(self.near, self.stale) < 0 or self.near + self.stale > self.scan:
            raise ValueError(
                f"{type(self).__name__}: needs raster, promising, scan, finalists >= 1, near and stale >= 0 and "
                f"near + stale <= scan, got {self}."
            )

    def steps(self, walk: Walk) -> Steps:
        """First round by deletions and super-regions, later rounds by gains, neighbourhood and age."""
        gains = _Gains(walk)
        yield from self._first(walk, gains)
        while not walk.finished:
            scanned = self._worth_a_look(walk, gains)
            yield [walk.joined(region) for region in scanned]
            gains.measure_insides(scanned)
            by_gain = [scanned[position] for position in descending([gains.of(region) for region in scanned])]
            inserted = [walk.inside(walk.joined(region)) for region in scanned]
            finalists = sorted({*by_gain[: self.finalists], scanned[descending(inserted)[0]]})
            yield [walk.rest(walk.joined(region)) for region in finalists]
            gains.measure_outsides(finalists)
            walk.take(walk.best(finalists))

    def _first(self, walk: Walk, gains: _Gains) -> Steps:
        """Read all deletions, the insertions of super-regions and of what they make promising, and take the best."""
        groups = self._super_regions(walk)
        subsets = [subset_of(group) for group in groups]
        yield [*walk.pairs([walk.prefix]), *subsets, *(walk.rest(walk.joined(region)) for region in walk.candidates)]
        for group, subset in zip(groups, subsets, strict=True):
            for region in group:  # until it is measured, a region has its share of what its super-region gains
                gains.inside[region] = (walk.inside(subset) - walk.inside(walk.prefix)) / len(group)
        gains.measure_outsides(walk.candidates)
        best_group = groups[descending([walk.inside(subset) for subset in subsets])[0]]
        promising = sorted({*gains.ranked(walk.candidates)[: self.promising], *best_group})
        yield [walk.joined(region) for region in promising]
        gains.measure_insides(promising)
        walk.take(walk.best(promising))

    def _super_regions(self, walk: Walk) -> list[list[int]]:
        """Regions by the cell of the raster that their centre lies in, cell by cell."""
        cells: dict[tuple[int, int], list[int]] = {}
        for region, (y, x) in enumerate(_centres(walk)):
            cells.setdefault((int(y * self.raster), int(x * self.raster)), []).append(region)
        return [cells[cell] for cell in sorted(cells)]

    def _worth_a_look(self, walk: Walk, gains: _Gains) -> list[int]:
        """Candidates with the largest known gains, of the others the nearest, and of the rest the longest unseen."""
        ranked = gains.ranked(walk.candidates)
        strong = self.scan - self.near - self.stale
        chosen, others = ranked[:strong], ranked[strong:]
        centres = _centres(walk)
        taken = centres[walk.order]
        distance = {region: float(np.linalg.norm(taken - centres[region], axis=1).min()) for region in others}
        others = [others[position] for position in descending([-distance[region] for region in others])]
        chosen, others = chosen + others[: self.near], others[self.near :]
        others.sort(key=lambda region: gains.seen[region])  # equally old ones stay in order of distance
        return sorted(chosen + others[: self.stale])

    def most_forwards(self, num_regions: int, max_regions: int) -> int:
        """As if the insertion of every region were read in the first round."""
        first = 2 + min(self.raster**2, num_regions) + 2 * num_regions
        left = [num_regions - step for step in range(1, max_regions)]
        return first + sum(min(self.scan, count) + min(self.finalists + 1, count) for count in left)


@dataclass(frozen=True)
class Turbo(Fast):
    """`Fast` with a narrower look: a quarter of the plain loop's forwards or less, for a slightly less sure order."""

    promising: int = 10
    scan: int = 13
    near: int = 5
    stale: int = 3


class _Gains:
    """What each region was last seen to add to both parts of the objective, and when it was last looked at."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self.inside: dict[int, float] = {}
        self.outside: dict[int, float] = {}
        self.seen = dict.fromkeys(walk.candidates, 0)

    def of(self, region: int) -> float:
        return self.inside[region] + self.outside[region]

    def ranked(self, regions: list[int]) -> list[int]:
        return [regions[position] for position in descending([self.of(region) for region in regions])]

    def measure_insides(self, regions: list[int]) -> None:
        walk, here = self._walk, self._walk.inside(self._walk.prefix)
        self.inside.update({region: walk.inside(walk.joined(region)) - here for region in regions})
        self.seen.update(dict.fromkeys(regions, len(walk.order)))

    def measure_outsides(self, regions: list[int]) -> None:
        walk, here = self._walk, self._walk.outside(self._walk.prefix)
        self.outside.update({region: walk.outside(walk.joined(region)) - here for region in regions})


def _centres(walk: Walk) -> Float[np.ndarray, "K 2"]:
    if walk.centres is None:
        raise ValueError("Fast: needs to know where the regions are; hand `centres` to greedy_search.")
    return walk.centres
