"""Coarse to fine: super-regions first, then the regions in the strongest of them, then the neighbours of what is taken.

What the exact search pays for, and what is saved here:

- Its first round scores every region twice. Here nine super-regions (a 3 x 3 raster) say where to look, and only the
  regions inside the strongest are scored.
- Its later rounds score every region again. But a region that helps now has mostly helped before, or lies beside what
  is taken: networks read neighbouring patches together. So a round looks at the best by their last known gains and at
  the nearest to the prefix.
- Once the first region is hidden the score has fallen, and hiding one more changes little. So a round reads insertions,
  and deletions only of the few in front.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wherenot.search.memo import subset_of
from wherenot.search.walk import Search, Steps, Walk, descending


@dataclass(frozen=True)
class Fast(Search):
    """Evidence nearly as good as the exact search finds, for less than a third of the plain loop's forwards.

    Args:
        raster: Super-regions from top to bottom, and from left to right.
        fine: At least so many regions, those of the strongest super-regions, are scored one by one in the first round.
        scan: Candidates whose insertion is read in each later round.
        near: How many of these are the nearest to the prefix; the others have the largest known gains.
        finalists: Candidates of each later round whose deletion is read, besides the one with the best insertion.

    References:
        Ours. Chosen on composites of cut-outs and backgrounds; `docs/log.md` has the figures, on other images.
    """

    raster: int = 3
    fine: int = 16
    scan: int = 20
    near: int = 8
    finalists: int = 2

    def __post_init__(self) -> None:
        if min(self.raster, self.fine, self.scan, self.finalists) < 1 or not 0 <= self.near <= self.scan:
            raise ValueError(
                f"{type(self).__name__}: needs raster, fine, scan, finalists >= 1 and 0 <= near <= scan, got {self}."
            )

    def steps(self, walk: Walk) -> Steps:
        """First round from coarse to fine, later rounds by gains and neighbourhood."""
        gains = _Gains()
        yield from self._first(walk, gains)
        while not walk.finished:
            scanned = self._worth_a_look(walk, gains)
            yield [walk.joined(region) for region in scanned]
            gains.measure_insides(walk, scanned)
            by_gain = [scanned[position] for position in descending([gains.of(region) for region in scanned])]
            inserted = [walk.inside(walk.joined(region)) for region in scanned]
            finalists = sorted({*by_gain[: self.finalists], scanned[descending(inserted)[0]]})
            yield [walk.rest(walk.joined(region)) for region in finalists]
            gains.measure_outsides(walk, finalists)
            walk.take(walk.best(finalists))

    def _first(self, walk: Walk, gains: _Gains) -> Steps:
        """Score super-regions, then the regions of the strongest, and take the best."""
        groups = self._super_regions(walk)
        subsets = [subset_of(group) for group in groups]
        yield walk.pairs([walk.prefix, *subsets])
        for group, subset in zip(groups, subsets, strict=True):
            for region in group:  # until it is measured, a region has its share of what its super-region gains
                gains.inside[region] = (walk.inside(subset) - walk.inside(walk.prefix)) / len(group)
                gains.outside[region] = (walk.outside(subset) - walk.outside(walk.prefix)) / len(group)
        fine: list[int] = []
        for position in descending([walk.value(subset) for subset in subsets]):
            if len(fine) >= self.fine:
                break
            fine += groups[position]
        fine.sort()
        yield walk.pairs(walk.joined(region) for region in fine)
        gains.measure_insides(walk, fine)
        gains.measure_outsides(walk, fine)
        walk.take(walk.best(fine))

    def _super_regions(self, walk: Walk) -> list[list[int]]:
        """Regions by the cell of the raster that their centre lies in, cell by cell."""
        cells: dict[tuple[int, int], list[int]] = {}
        for region, (y, x) in enumerate(_centres(walk)):
            cells.setdefault((int(y * self.raster), int(x * self.raster)), []).append(region)
        return [cells[cell] for cell in sorted(cells)]

    def _worth_a_look(self, walk: Walk, gains: _Gains) -> list[int]:
        """The candidates with the largest known gains, and of the others those nearest to the prefix."""
        left = walk.candidates
        ranked = [left[position] for position in descending([gains.of(region) for region in left])]
        strong, others = ranked[: self.scan - self.near], ranked[self.scan - self.near :]
        centres = _centres(walk)
        taken = centres[walk.order]
        distance = [float(np.linalg.norm(taken - centres[region], axis=1).min()) for region in others]
        nearest = [others[position] for position in descending([-far for far in distance])[: self.near]]
        return sorted(strong + nearest)

    def most_forwards(self, num_regions: int, max_regions: int) -> int:
        """As if every super-region were scored, and no fewer regions than there are."""
        coarse = 2 * min(self.raster**2, num_regions) + 2
        later = sum(
            min(self.scan, num_regions - step) + min(self.finalists + 1, num_regions - step)
            for step in range(1, max_regions)
        )
        return coarse + 2 * num_regions + later


@dataclass(frozen=True)
class Turbo(Fast):
    """`Fast` with a narrower look: about a fifth of the plain loop's forwards, for a slightly less sure order."""

    fine: int = 10
    scan: int = 14
    near: int = 7
    finalists: int = 1


class _Gains:
    """What each region was last seen to add to both parts of the objective."""

    def __init__(self) -> None:
        self.inside: dict[int, float] = {}
        self.outside: dict[int, float] = {}

    def of(self, region: int) -> float:
        return self.inside[region] + self.outside[region]

    def measure_insides(self, walk: Walk, regions: list[int]) -> None:
        here = walk.inside(walk.prefix)
        self.inside.update({region: walk.inside(walk.joined(region)) - here for region in regions})

    def measure_outsides(self, walk: Walk, regions: list[int]) -> None:
        here = walk.outside(walk.prefix)
        self.outside.update({region: walk.outside(walk.joined(region)) - here for region in regions})


def _centres(walk: Walk) -> np.ndarray:
    if walk.centres is None:
        raise ValueError("Fast: needs to know where the regions are; hand `centres` to greedy_search.")
    return walk.centres
