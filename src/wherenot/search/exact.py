"""Greedy selection as the paper defines it, without the forwards that cannot change the answer."""

from __future__ import annotations

from dataclasses import dataclass

from wherenot.search.walk import TIE, Search, Steps, Walk, descending


@dataclass(frozen=True)
class Exact(Search):
    r"""In every round the region that lifts the objective most, of all that remain.

    The objective of a candidate has two parts, $F(S) = I(S) + O(V \setminus S)$, of one forward each, and
    $O \le \bar O$ whatever the model says (for insertion and deletion $I = a\,p(S)$ and $O = b\,(1 - p(V \setminus S))
    \le b$, as a probability is never negative). So once I is read, $F(S) \le I(S) + \bar O$. Every round reads I of all
    candidates, then O from the largest I downwards, and stops when the best F so far exceeds the next candidate's
    $I + \bar O$: neither that candidate nor any after it can win, or tie. This holds for all weights a, b >= 0, for
    every fill and for every model; order and values are those of the plain loop.

    Args:
        wave: Candidates whose O is read at a time. More make fewer and larger batches, which a GPU with few images in
            flight likes, and cost a few forwards that the bound would have spared. The order is the same.
    """

    wave: int = 2

    def __post_init__(self) -> None:
        if self.wave < 1:
            raise ValueError(f"Exact: wave must be >= 1, got {self.wave}.")

    def steps(self, walk: Walk) -> Steps:
        """Ask for the insides, then for outsides until the bound closes."""
        while not walk.finished:
            yield [walk.joined(region) for region in walk.candidates]
            # Within TIE these are in index order, not in order of value: hence twice TIE below.
            by_inside = [
                walk.candidates[position]
                for position in descending([walk.inside(walk.joined(region)) for region in walk.candidates])
            ]
            best, looked_at = -float("inf"), 0
            while looked_at < len(by_inside):
                if best - 2 * TIE > walk.inside(walk.joined(by_inside[looked_at])) + walk.most_outside:
                    break
                wave = [walk.joined(region) for region in by_inside[looked_at : looked_at + self.wave]]
                yield [walk.rest(subset) for subset in wave]
                best = max(best, *(walk.value(subset) for subset in wave))
                looked_at += len(wave)
            walk.take(walk.best(sorted(by_inside[:looked_at])))

    def most_forwards(self, num_regions: int, max_regions: int) -> int:
        """Two for every candidate of every round."""
        return sum(2 * (num_regions - step) for step in range(max_regions))
