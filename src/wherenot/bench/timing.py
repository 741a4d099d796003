"""How long does each search take, beside the authors' loops and the model's own forwards?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from wherenot.bench.authors import efficient_loop, exact_loop
from wherenot.bench.quality import MAX_REGIONS, STOP_ABOVE
from wherenot.masking import FillName
from wherenot.microbatch import measured
from wherenot.models import Classifier
from wherenot.objective import TRAINING
from wherenot.regions import count_regions, label_maps, region_centres
from wherenot.scoring import RegionScore, hiding
from wherenot.search import SEARCHES, Memo, SearchName, greedy_search
from wherenot.types import Partition


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What one search costs on a batch of images in flight, with early stop.

    Attributes:
        search: Name of the search, or of the authors' loop.
        images: Images in flight; the authors' loops take them one by one.
        forwards: Masked images per image.
        seconds: Per image.
        outside: Share of the time spent outside the model's forwards.
        raw_seconds: Per forward of the model alone, at its best micro-batch.
        agrees: Of an authors' loop, on how many images it found the order of `exact` or `scoped`; None for the others.
    """

    search: str
    images: int
    forwards: float
    seconds: float
    outside: float
    raw_seconds: float
    agrees: int | None = None


def measure_time(
    classifier: Classifier,
    images: Float[Tensor, "B C H W"],
    partition: Partition,
    searches: Sequence[SearchName],
    *,
    fill: FillName = "mean",
    authors: bool = False,
    network: nn.Module | None = None,
) -> Iterator[Timing]:
    """Time each search on the same images, and the authors' loops on the same if asked.

    Args:
        classifier: The model, and what its pixels were.
        images: All in flight together.
        partition: How they are cut; not part of the time.
        searches: Names.
        fill: How regions are hidden.
        authors: Also time the authors' loops, one image after the other, and compare their orders.
        network: What runs the forwards, if not the classifier: the same, compiled, say.
    """
    model = _Timed(classifier if network is None else network).eval()
    with torch.no_grad():
        target = model(images).argmax(1)
    labels = label_maps(images, partition, classifier.normalization)
    labels, hidden = hiding(model, images, labels, fill, classifier.normalization)
    counts = count_regions(labels)
    centres = [region_centres(label_map) for label_map in labels]
    raw_s = _raw_seconds(model, images)
    orders: dict[str, list[list[int]]] = {}
    for search in searches:
        started = model.start()
        score = RegionScore(model, images, labels, target, hidden, chunk="measure")
        rankings = greedy_search(
            Memo(score, counts, device=images.device),
            TRAINING,
            search=SEARCHES[search],
            max_regions=MAX_REGIONS,
            stop_above=STOP_ABOVE,
            centres=centres,
        )
        took_s = time.perf_counter() - started
        orders[search] = [ranking.order.tolist() for ranking in rankings]
        forwards = sum(ranking.forwards for ranking in rankings) / len(images)
        yield Timing(
            search=search, images=len(images), forwards=forwards, seconds=took_s / len(images),
            outside=1 - model.seconds / took_s, raw_seconds=raw_s,
        )  # fmt: skip
    if not authors:
        return
    for name, loop, ours in (("authors' exact", exact_loop, "exact"), ("authors' efficient", efficient_loop, "scoped")):
        started = model.start()
        theirs = [
            loop(model, image, label_map, int(one), max_regions=MAX_REGIONS, stop_above=STOP_ABOVE)
            for image, label_map, one in zip(images, labels, target, strict=True)
        ]
        took_s = time.perf_counter() - started
        same = [one == other for one, other in zip(theirs, orders.get(ours, theirs), strict=True)]
        yield Timing(
            search=name, images=len(images), forwards=model.images / len(images), seconds=took_s / len(images),
            outside=1 - model.seconds / took_s, raw_seconds=raw_s, agrees=sum(same),
        )  # fmt: skip


class _Timed(nn.Module):
    """A model that counts its images and how long its forwards take."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seconds, self.images = 0.0, 0

    def start(self) -> float:
        """Count from 0 again; returns the time."""
        self.seconds, self.images = 0.0, 0
        return time.perf_counter()

    def forward(self, images: Tensor) -> Tensor:
        _synchronize(images)
        started = time.perf_counter()
        logits = self.model(images)
        _synchronize(images)
        self.seconds += time.perf_counter() - started
        self.images += len(images)
        return logits


def _synchronize(images: Tensor) -> None:
    if images.is_cuda:
        torch.cuda.synchronize(images.device)


def _raw_seconds(model: _Timed, images: Tensor, repeats: int = 8) -> float:
    """Per image, at the micro-batch that the searches use."""
    with torch.no_grad():
        best = measured(model, images, model)
        layout = torch.channels_last if best.channels_last else torch.contiguous_format
        batch = images[:1].expand(best.size, -1, -1, -1).contiguous(memory_format=layout)
        times = []
        for _ in range(repeats):
            before = model.seconds
            model(batch)
            times.append((model.seconds - before) / best.size)
    return float(np.median(times))
