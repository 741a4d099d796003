"""What the priors of a data set teach about where evidence may lie, and from which images it is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from wherenot.priors import Prior


@dataclass(frozen=True)
class TaughtAreas:
    """What teaching images say: per cell, of some per pixel, and how much of each image evidence may lie on."""

    cells: Float[Tensor, "A 2 h w"]
    whole: dict[int, Bool[Tensor, "2 H W"]]
    shares: list[float]

    @property
    def shape(self) -> torch.Size:
        """Of the priors, in pixels."""
        return next(iter(self.whole.values())).shape[1:]


class Lesson:
    """Which images teach, and what: where evidence may lie, if two priors at least say so, else where it may not.

    Args:
        priors: One per image, None where nobody gave one; each is asked for once here, and again by what reads it.

    Attributes:
        given: Where somebody gave a prior.
        allows: Whether it is taught where evidence may lie.
        judged: Images whose prior is of the kind that is taught.

    Example:
        >>> lesson = Lesson([Prior(forbidden=torch.eye(2) > 0), None, Prior(forbidden=torch.eye(2) < 1)])
        >>> lesson.allows, sorted(lesson.judged)
        (False, [0, 2])
    """

    def __init__(self, priors: Sequence[Prior | None]) -> None:
        self._priors = priors
        says = {index: prior.allowed is not None for index, prior in enumerate(priors) if prior is not None}
        where, where_not = ([index for index, each in says.items() if each == kind] for kind in (True, False))
        self.given = [index in says for index in range(len(priors))]
        self.allows = len(where) >= 2
        self.judged = frozenset(where if self.allows else where_not)
        self._besides = where_not if self.allows else []

    def taught(self, most: int) -> list[int]:
        """Images to learn from: all, if so many can be kept; else a quarter of that of each kind.

        In an order that has nothing to do with theirs, which often goes by classes: folds must have some of each. Those
        that are judged come first, so that every fold has some of them, too.
        """
        each = most if len(self._priors) <= most else most // 4
        return _some(sorted(self.judged), each) + _some(self._besides, each)

    def sampled(self, most: int) -> list[int]:
        """Images to stand for all: all, if so many can be kept."""
        return _some(range(len(self._priors)), most if len(self._priors) <= most else most // 2)

    def areas(self, index: int) -> Bool[Tensor, "2 H W"]:
        """What teaches that evidence may lie there, and what that it may not; ignored pixels teach nothing.

        Where others say where it may lie, one who only says where not has said nothing of the rest of the image.
        """
        prior = self._priors[index]
        assert prior is not None, "only annotated images teach"
        inside, outside = prior.evidence_allowed(), ~prior.evidence_allowed()
        if self.allows and prior.allowed is None:
            inside = torch.zeros_like(inside)
        counted = torch.ones_like(inside) if prior.ignore is None else ~prior.ignore
        return torch.stack([inside & counted, outside & counted]).cpu()

    def read(self, taught: Sequence[int], cells: torch.Size, *, num_whole: int) -> TaughtAreas:
        """What these images teach on a grid of so many cells; of some judged ones also on their pixels."""
        seen, shares = [], []
        whole: dict[int, Tensor] = {}
        for index in taught:
            areas = self.areas(index)
            seen.append(on_cells(areas, cells))
            if index in self.judged:
                inside, outside = areas.float().mean((1, 2)).tolist()
                shares.append(inside / (inside + outside))
                if len(whole) < num_whole:
                    whole[index] = areas
        return TaughtAreas(torch.stack(seen), whole, shares)


def _some(indices: Sequence[int], most: int) -> list[int]:
    """At most so many, at random, always the same."""
    order = torch.randperm(len(indices), generator=torch.Generator().manual_seed(0)).tolist()
    return [indices[position] for position in order[:most]]


def on_cells(areas: Bool[Tensor, "2 H W"], shape: Sequence[int]) -> Float[Tensor, "2 h w"]:
    """Share of each cell's pixels."""
    rows, columns = shape
    return F.adaptive_avg_pool2d(areas.float(), (rows, columns))
