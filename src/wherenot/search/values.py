r"""The objective as a search sees it: one number per subset, in two parts that are read apart.

Every objective here is $F(S) = I(S) + O(V \setminus S)$: the *inside* is read from the image of which only S is
visible, the *outside* from the image of which everything but S is visible. Each costs one forward, and the outside has
a known maximum. So once the inside is read, F is bounded before the outside is paid for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from wherenot.objective import FourTermObjective, Objective
from wherenot.search.memo import Reading, Subset


@runtime_checkable
class Values(Protocol):
    """An objective on the subsets of one image."""

    def inside(self, subset: Subset) -> float:
        """The part that is read from the subset alone; the reading must be known."""
        ...

    def outside(self, subset: Subset) -> float:
        """The part that is read from everything except the subset; the reading must be known."""
        ...

    def free(self, subset: Subset) -> float:
        """The share of `inside` that is known without a forward of this subset."""
        ...

    @property
    def most_outside(self) -> float:
        """What `outside` cannot exceed."""
        ...


class PairValues:
    """Insertion and deletion: inside a p(S), outside b (1 - p(V without S)).

    Args:
        known: Readings of one image.
        everything: All regions of it.
        objective: The weights.
        column: Which number of a reading is the target's probability.
    """

    def __init__(
        self, known: Mapping[Subset, Reading], everything: Subset, objective: Objective, column: int = 0
    ) -> None:
        self._known, self._everything, self._objective, self._column = known, everything, objective, column
        self.most_outside = objective.deletion

    def inside(self, subset: Subset) -> float:
        """A p(S)."""
        return self._objective.insertion * float(self._known[subset][self._column])

    def outside(self, subset: Subset) -> float:
        """B (1 - p(V without S))."""
        return self._objective.deletion * (1 - float(self._known[self._everything & ~subset][self._column]))

    def free(self, subset: Subset) -> float:  # noqa: ARG002
        """Nothing."""
        return 0.0


class FourTermValues:
    """LIMA's four terms: confidence, effectiveness and consistency inside, collaboration outside.

    A reading is (probability, confidence, feature...). Effectiveness is computed from the features of the single
    regions, so those must be known before any larger subset is valued.

    Args:
        known: Readings of one image.
        everything: All regions of it.
        objective: The weights.
    """

    def __init__(self, known: Mapping[Subset, Reading], everything: Subset, objective: FourTermObjective) -> None:
        self._known, self._everything, self._objective = known, everything, objective
        self.most_outside = objective.collaboration

    def inside(self, subset: Subset) -> float:
        """Confidence, effectiveness and consistency of the subset, weighted."""
        probability, confidence = self._known[subset][:2]
        return float(self._objective.consistency * probability + self._objective.confidence * confidence) + self.free(
            subset
        )

    def outside(self, subset: Subset) -> float:
        """Collaboration, weighted."""
        return self._objective.collaboration * (1 - float(self._known[self._everything & ~subset][0]))

    def free(self, subset: Subset) -> float:
        """Effectiveness, weighted; the features of the single regions are known."""
        members = [region for region in range(self._everything.bit_length()) if subset >> region & 1]
        if len(members) < 2:
            return 0.0
        return self._objective.effectiveness * float(self._distances[np.ix_(members, members)].min(1).sum())

    @cached_property
    def _distances(self) -> Float[np.ndarray, "K K"]:
        features = np.stack([self._known[1 << region][2:] for region in range(self._everything.bit_length())])
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        unit = features / np.maximum(lengths, 1e-12)
        angles = np.arccos(np.clip(unit @ unit.T, -1, 1)) / math.pi
        np.fill_diagonal(angles, math.inf)
        return angles


def values_of(
    known: Mapping[Subset, Reading], everything: Subset, objective: Objective | FourTermObjective, column: int = 0
) -> Values:
    """The objective on one image's subsets.

    Args:
        known: Readings of the image, now or by the time they are needed.
        everything: All regions.
        objective: Two terms, or LIMA's four.
        column: The target's place in a reading, for two terms.

    Example:
        >>> import numpy as np
        >>> known = {0b01: np.array([0.6]), 0b10: np.array([0.3])}
        >>> values = values_of(known, 0b11, Objective(2.0, 1.0))
        >>> round(values.inside(0b01) + values.outside(0b01), 3)
        1.9
    """
    if isinstance(objective, FourTermObjective):
        return FourTermValues(known, everything, objective)
    return PairValues(known, everything, objective, column)
