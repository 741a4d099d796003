"""Many images, one batch: searches advance in lock-step and share their questions.

A search is written for one image, as a generator that says which subsets it needs to know next. The engine collects
what all of them ask, leaves out what is known, asks the score once, and lets each go on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from wherenot.objective import FourTermObjective, Objective
from wherenot.search.exact import Exact
from wherenot.search.fast import Fast
from wherenot.search.memo import Memo, Request
from wherenot.search.values import values_of
from wherenot.search.walk import Ranking, Search, Steps, Walk


def greedy_search(
    memo: Memo,
    objective: Objective | FourTermObjective,
    *,
    search: Search = Exact(),
    max_regions: int | None = None,
    stop_above: float | None = None,
    targets: int = 1,
    centres: Sequence[Float[np.ndarray, "_ 2"]] | None = None,
) -> list[Ranking]:
    r"""Order the regions of several images, each time adding a region that raises the objective.

    Greedily maximises $\sum_r F(\pi_{:r})$ over orders. How many candidates are looked at each time, and with how many
    masked images, is the search's affair. Ties (closer than 1e-6) go to the first index.

    Args:
        memo: The images: their numbers of regions, the score, and what is known already.
        objective: The set function F.
        search: How the order is found.
        max_regions: Stop after this many regions; None orders them all.
        stop_above: Stop after the region that lifts p(y | prefix) above this; None never stops.
        targets: The first so many numbers of each reading are probabilities of different targets; each gets an order
            of its own, and all share the forwards.
        centres: Centre of each region of each image, (y, x) in shares of its size; `Fast` and `Turbo` need them.

    Returns:
        One ranking per image and target, image by image. None depends on the other images.

    Raises:
        ValueError: For `max_regions` below 1; for several targets, `Fast` or `Turbo` with four terms; or if the
            score answers with numbers that are not finite.

    Example:
        >>> import torch
        >>> weights = torch.tensor([1.0, 3.0, 2.0])
        >>> def score(image, keep):
        ...     return (keep * weights).sum(1, keepdim=True) / 6
        >>> greedy_search(Memo(score, [3]), Objective())[0].order.tolist()
        [1, 2, 0]

    References:
        "Where Not to Learn", Eq. 1; LIMA's greedy algorithm. Stop rule and k of section 5.1 (0.8 and 10), where k is a
        count; the authors' class takes it for a last index and returns k + 1 regions.
    """
    if max_regions is not None and max_regions < 1:
        raise ValueError(f"greedy_search: max_regions must be >= 1 or None, got {max_regions}.")
    if targets != 1 and isinstance(objective, FourTermObjective):
        raise ValueError(f"greedy_search: the four-term objective explains one target at a time, got {targets}.")
    if isinstance(search, Fast) and isinstance(objective, FourTermObjective):
        raise ValueError(
            f"greedy_search: {type(search).__name__} does not score every region alone, which the four-term objective "
            "compares them by; choose exact, scoped, bidirectional, eagle or lazy."
        )
    images = [image for image in range(len(memo.num_regions)) for _ in range(targets)]
    walks = [
        Walk(
            memo.known[image],
            memo.num_regions[image],
            values_of(memo.known[image], memo.everything(image), objective, column=index % targets),
            max_regions=max_regions,
            stop_above=stop_above,
            column=index % targets,
            centres=None if centres is None else centres[image],
        )
        for index, image in enumerate(images)
    ]
    on_their_way = [(image, walk, _all_steps(search, walk)) for image, walk in zip(images, walks, strict=True)]
    while on_their_way:
        # An image whose search is over asks nothing more and leaves the batch.
        asking = [(*going, subsets) for going in on_their_way if (subsets := next(going[2], None)) is not None]
        added = memo.ask([Request(image, subsets) for image, _, _, subsets in asking])
        for (_, walk, _, _), count in zip(asking, added, strict=True):
            walk.forwards += count
        on_their_way = [(image, walk, steps) for image, walk, steps, _ in asking]
    return [walk.ranking() for walk in walks]


def search_cost(search: Search, num_regions: int, max_regions: int | None = None) -> int:
    """Masked images that a search scores for one image at most.

    Example:
        >>> search_cost(Exact(), 49, 10)
        890
    """
    return search.most_forwards(num_regions, num_regions if max_regions is None else min(max_regions, num_regions))


def _all_steps(search: Search, walk: Walk) -> Steps:
    """The search, and then what the ranking reads and the search did not need."""
    yield from search.steps(walk)
    yield walk.pairs(walk.prefixes())
