"""Which regions of an image carry a model's decision?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from wherenot.evidence import Evidence
from wherenot.four_terms import FourTermScore
from wherenot.masking import FillName, Normalization, Normalized
from wherenot.microbatch import default_chunk
from wherenot.objective import EVALUATION, FourTermObjective, Objective
from wherenot.regions import Slico, count_regions, label_maps, region_centres
from wherenot.scoring import RegionScore, evaluating, hiding
from wherenot.search import Exact, Memo, Ranking, Request, Search, greedy_search, values_of
from wherenot.types import Model, Partition


def explain(
    model: Model,
    images: Float[Tensor, "B C H W"],
    targets: Int[Tensor, " B"] | Int[Tensor, "B T"] | None = None,
    *,
    regions: Partition | Int[Tensor, "B H W"] = Slico(),
    fill: FillName | Tensor = "mean",
    objective: Objective | FourTermObjective = EVALUATION,
    search: Search = Exact(),
    max_regions: int | None = None,
    stop_above: float | None = None,
    normalization: Normalization | None = None,
    chunk: int | Literal["measure"] | None = "measure",
    autocast: torch.dtype | None = None,
    on_forward: Callable[[int], None] | None = None,
) -> list[Evidence]:
    """Find, for each image, the order of regions that best carries the decision for its target.

    All images advance together and share forwards: hand over several at a time (8 on a CPU, 32 or more on a GPU). Needs
    nothing of the model but logits: no gradients. Runs it in eval mode and leaves it as it was.

    Args:
        model: Turns images into logits.
        images: In the model's input space, on its device.
        targets: The class to explain, one per image, or several per image, which share forwards; None explains what
            the model predicts.
        regions: How to cut the images, or label maps (values 0..K-1) to use as they are.
        fill: What hidden pixels show: ``mean``, ``black``, ``blur`` or a tensor (`masking.fill_images`). ``drop``
            leaves the hidden patches of a vision transformer out of its token sequence; regions then follow the
            patches.
        objective: The set function to climb. With four terms the model's last layer must be linear.
        search: How the order is found.
        max_regions: Stop after so many regions; None orders them all.
        stop_above: Stop once the chosen regions alone give the target more than this.
        normalization: How `images` were made from pixels; taken from the model if it has one.
        chunk: Images per forward. ``measure`` times a few forwards on the first call for a model and image size and
            keeps to the fastest; None chooses by device and size. Halved when memory runs out.
        autocast: Run forwards in this precision, ``torch.bfloat16`` say; softmax and search stay in full precision.
        on_forward: Called with the number of masked images after each forward.

    Returns:
        One `Evidence` per image, or per image and target, image by image. None depends on the other images, nor on
        `chunk`. A forward that several targets of an image share is counted once, for the first that asks.

    Raises:
        ValueError: If shapes, targets or labels do not fit together, an image has only one region, or the model gives
            anything but finite logits.

    Example:
        >>> import torch
        >>> def model(images):  # class 1 = brightness of the left half
        ...     left = images[..., :2].mean((1, 2, 3))
        ...     return torch.stack([torch.zeros_like(left), 8 * left - 4], dim=1)
        >>> from wherenot.regions import Grid
        >>> image = torch.ones(1, 3, 4, 4)
        >>> [evidence] = explain(model, image, regions=Grid(1, 2), fill=torch.zeros(3, 1, 1))
        >>> evidence.target, evidence.order.tolist(), evidence.top_region[0].tolist()
        (1, [0, 1], [True, True, False, False])
    """
    if normalization is None and isinstance(model, Normalized):
        normalization = model.normalization
    labels = regions if isinstance(regions, Tensor) else label_maps(images, regions, normalization)
    if labels.shape != (len(images), *images.shape[-2:]):
        raise ValueError(
            f"explain: label maps of shape {tuple(labels.shape)} do not fit images of shape {tuple(images.shape)}."
        )
    labels, hidden = hiding(model, images, labels, fill, normalization)
    counts = _several(count_regions(labels))
    if targets is None:
        targets = predicted_classes(model, images, chunk=chunk if isinstance(chunk, int) else None)
    score_type = FourTermScore if isinstance(objective, FourTermObjective) else RegionScore
    score = score_type(model, images, labels, targets, hidden, chunk=chunk, autocast=autocast, on_forward=on_forward)
    memo = Memo(score, counts, device=images.device)
    per_image = 1 if targets.ndim == 1 else targets.shape[1]
    rankings = greedy_search(
        memo,
        objective,
        search=search,
        max_regions=max_regions,
        stop_above=stop_above,
        targets=per_image,
        centres=[region_centres(label_map) for label_map in labels],
    )
    ends = memo.ask([Request(image, [0, memo.everything(image)]) for image in range(len(images))])
    return [
        ranked_evidence(
            memo,
            ranking,
            image=index // per_image,
            column=index % per_image,
            objective=objective,
            ends=ends[index // per_image] if index % per_image == 0 else 0,
            labels=labels[index // per_image].cpu().numpy(),
            target=int(targets.flatten()[index]),
            search=type(search).__name__.lower(),
            fill=fill if isinstance(fill, str) else "tensor",
        )
        for index, ranking in enumerate(rankings)
    ]


def _several(counts: list[int]) -> list[int]:
    if 1 in counts:
        raise ValueError(
            f"explain: image {counts.index(1)} has a single region, there is nothing to rank; use a finer partition."
        )
    return counts


def ranked_evidence(
    memo: Memo,
    ranking: Ranking,
    *,
    image: int,
    column: int,
    objective: Objective | FourTermObjective,
    ends: int,
    labels: Int[np.ndarray, "H W"],
    target: int,
    search: str,
    fill: str,
) -> Evidence:
    """Put a ranking and the readings it rests on together.

    Args:
        memo: Has the readings, those of nothing and of everything visible included.
        ranking: The order of the image's regions.
        image: Which image of the memo.
        column: Which number of a reading is the target's probability.
        objective: What was climbed.
        ends: Forwards that nothing and everything visible cost.
        labels: The image's label map.
        target: What was explained.
        search: Name of the search.
        fill: Name of what hidden pixels showed.
    """
    known, everything = memo.known[image], memo.everything(image)
    values = values_of(known, everything, objective, column)
    return Evidence(
        labels=labels,
        order=ranking.order,
        insertion=ranking.insertion,
        deletion=ranking.deletion,
        values=ranking.values,
        empty=float(known[0][column]),
        full=float(known[everything][column]),
        empty_value=values.inside(0) + values.outside(0),
        full_value=values.inside(everything) + values.outside(everything),
        target=target,
        objective=objective,
        forwards=ranking.forwards + ends,
        search=search,
        fill=fill,
    )


@torch.no_grad()
def predicted_classes(model: Model, images: Float[Tensor, "B C H W"], *, chunk: int | None = None) -> Int[Tensor, " B"]:
    """The class with the largest logit, the first on ties, in eval mode.

    Example:
        >>> import torch
        >>> predicted_classes(lambda images: images.mean((2, 3)), torch.eye(3)[:, :, None, None])
        tensor([0, 1, 2])
    """
    with evaluating(model):
        return torch.cat([model(some).argmax(1) for some in images.split(chunk or default_chunk(images))])
