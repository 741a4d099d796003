"""How good is each search, and how many forwards does it take? Every subset is scored once, whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wherenot.masking import FillName
from wherenot.metrics import area_axis, deletion_auc, insertion_auc
from wherenot.models import Classifier
from wherenot.objective import TRAINING
from wherenot.regions import count_regions, label_maps, region_centres
from wherenot.scoring import RegionScore, evaluating, hiding
from wherenot.search import SEARCHES, Memo, Ranking, Request, SearchName, greedy_search, search_cost
from wherenot.types import Partition

MAX_REGIONS, STOP_ABOVE = 10, 0.8


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What one search found on one image.

    Attributes:
        image: Name of the image.
        search: Name of the search.
        confidence: p(target | whole image).
        forwards_stop: Masked images scored with early stop.
        forwards: Masked images scored without.
        plain_stop: What the plain exact loop scores with early stop.
        plain: What the plain exact loop scores without.
        rank1: Whether the first region is that of the exact order.
        same_order: Whether all regions are those of the exact order.
        sum_f_stop: Sum of F over the ranks that both have with early stop, relative to the exact order's.
        sum_f: The same without early stop.
        insertion_auc: Over the first regions, what they do not cover being one last region.
        deletion_auc: Likewise.
    """

    image: str
    search: str
    confidence: float
    forwards_stop: int
    forwards: int
    plain_stop: int
    plain: int
    rank1: bool
    same_order: bool
    sum_f_stop: float
    sum_f: float
    insertion_auc: float
    deletion_auc: float


class _Store:
    """A score that asks the model once per subset, however many searches want it."""

    def __init__(self, score: RegionScore) -> None:
        self._memo: dict[tuple[int, bytes], Tensor] = {}
        self._score = score

    def __call__(self, image: Int[Tensor, " N"], keep: Bool[Tensor, "N K"]) -> Float[Tensor, "N R"]:
        keys = [(int(i), row.tobytes()) for i, row in zip(image, keep.cpu().numpy(), strict=True)]
        new = [row for row, key in enumerate(keys) if key not in self._memo]
        if new:
            answers = self._score(image[new], keep[new])
            self._memo.update({keys[row]: answer for row, answer in zip(new, answers, strict=True)})
        return torch.stack([self._memo[key] for key in keys])


def measure_quality(
    classifier: Classifier,
    name: str,
    image: Float[Tensor, "C H W"],
    partition: Partition,
    searches: Sequence[SearchName],
    fill: FillName = "mean",
) -> list[Quality]:
    """Run every search on one image, with and without early stop, and compare with the plain exact loop."""
    images = image[None]
    with torch.no_grad(), evaluating(classifier):
        target = classifier(images).argmax(1)
    labels = label_maps(images, partition, classifier.normalization)
    labels, hidden = hiding(classifier, images, labels, fill, classifier.normalization)
    [count] = count_regions(labels)
    store = _Store(RegionScore(classifier, images, labels, target, hidden, chunk="measure"))
    ends = Memo(store, [count])
    ends.ask([Request(0, [0, ends.everything(0)])])
    empty, full = (float(ends.known[0][subset][0]) for subset in (0, ends.everything(0)))

    def found(search: SearchName, stop_above: float | None) -> Ranking:
        [ranking] = greedy_search(
            Memo(store, [count]),
            TRAINING,
            search=SEARCHES[search],
            max_regions=MAX_REGIONS,
            stop_above=stop_above,
            centres=[region_centres(labels[0])],
        )
        return ranking

    plain = plain_order(store, count, MAX_REGIONS)
    best = {stop: found("exact", stop) for stop in (STOP_ABOVE, None)}
    areas = np.bincount(labels[0].flatten().numpy()) / labels[0].numel()
    rows = []
    for search in searches:
        mine = {stop: found(search, stop) for stop in (STOP_ABOVE, None)}
        order = mine[None].order
        axis = area_axis(torch.from_numpy(np.append(areas[order], max(0.0, 1 - areas[order].sum()))))
        rows.append(
            Quality(
                image=name,
                search=search,
                confidence=full,
                forwards_stop=mine[STOP_ABOVE].forwards,
                forwards=mine[None].forwards,
                plain_stop=sum(2 * (count - step) for step in range(len(best[STOP_ABOVE].order))),
                plain=search_cost(SEARCHES["exact"], count, MAX_REGIONS),
                rank1=bool(order[0] == plain[0]),
                same_order=order.tolist() == plain,
                sum_f_stop=_sum_ratio(mine[STOP_ABOVE], best[STOP_ABOVE]),
                sum_f=_sum_ratio(mine[None], best[None]),
                insertion_auc=insertion_auc(empty, torch.tensor([*mine[None].insertion, full]), axis),
                deletion_auc=deletion_auc(full, torch.tensor([*mine[None].deletion, empty]), axis),
            )
        )
    return rows


def plain_order(score: Callable[[Tensor, Tensor], Tensor], num_regions: int, max_regions: int) -> list[int]:
    """Greedy selection without a bound: every remaining region twice in every round; values within 1e-6 tie."""
    order: list[int] = []
    while len(order) < min(max_regions, num_regions):
        candidates = [region for region in range(num_regions) if region not in order]
        keep = torch.zeros(len(candidates), num_regions, dtype=torch.bool)
        keep[:, order] = True
        keep[torch.arange(len(candidates)), candidates] = True
        zero = torch.zeros(len(candidates), dtype=torch.long)
        values = TRAINING(score(zero, keep)[:, 0].double(), score(zero, ~keep)[:, 0].double())
        order.append(candidates[int((values >= values.max() - 1e-6).nonzero()[0, 0])])
    return order


def _sum_ratio(mine: Ranking, best: Ranking) -> float:
    ranks = min(len(mine.order), len(best.order))
    return float(mine.values[:ranks].sum() / best.values[:ranks].sum())


def quality_rows(records: Sequence[Quality]) -> list[dict[str, Any]]:
    """Means over images, one row per search."""
    rows = []
    for search in dict.fromkeys(record.search for record in records):
        own = [asdict(record) for record in records if record.search == search]
        mean = {
            key: float(np.mean([record[key] for record in own])) for key in own[0] if key not in ("image", "search")
        }
        rows.append(
            {
                "search": search,
                "images": len(own),
                **mean,
                "fewer_stop": mean["plain_stop"] / mean["forwards_stop"],
                "fewer": mean["plain"] / mean["forwards"],
            }
        )
    return rows
