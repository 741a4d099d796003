"""Which regions of an image carry a model's decision?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wherenot.evidence import Evidence
from wherenot.masking import FillName, Normalization, Normalized, fill_images
from wherenot.objective import EVALUATION, Objective
from wherenot.regions import Slico, count_regions, label_maps
from wherenot.scoring import RegionScore, default_chunk, evaluating
from wherenot.search import Exact, Search, greedy_search
from wherenot.types import Model, Partition


def explain(
    model: Model,
    images: Float[Tensor, "B C H W"],
    targets: Int[Tensor, " B"] | None = None,
    *,
    regions: Partition | Int[Tensor, "B H W"] = Slico(),
    fill: FillName | Tensor = "mean",
    objective: Objective = EVALUATION,
    search: Search = Exact(),
    max_regions: int | None = None,
    stop_above: float | None = None,
    normalization: Normalization | None = None,
    chunk: int | None = None,
    on_forward: Callable[[int], None] | None = None,
) -> list[Evidence]:
    """Find, for each image, the order of regions that best carries the decision for its target.

    Needs nothing of the model but logits: no gradients, no hooks. Runs it in eval mode and leaves it as it was.

    Args:
        model: Turns images into logits.
        images: In the model's input space, on its device.
        targets: The class to explain, one per image; None explains what the model predicts.
        regions: How to cut the images, or label maps (values 0..K-1) to use as they are.
        fill: What hidden pixels show: ``mean``, ``black``, ``blur`` or a tensor (`masking.fill_images`).
        objective: The set function to climb.
        search: Which candidates each round scores.
        max_regions: Stop after so many regions; None orders them all.
        stop_above: Stop once the chosen regions alone give the target more than this.
        normalization: How `images` were made from pixels; taken from the model if it has one.
        chunk: Images per forward; None chooses by device and size. Halved when memory runs out.
        on_forward: Called with the number of masked images after each forward.

    Returns:
        One `Evidence` per image. It does not depend on the other images, nor on `chunk`.

    Raises:
        ValueError: If shapes, targets or labels do not fit together.

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
    counts = count_regions(labels)
    if targets is None:
        targets = predicted_classes(model, images, chunk=chunk)
    hidden = fill_images(fill, images, normalization)
    score = RegionScore(model, images, labels, targets, hidden, chunk=chunk, on_forward=on_forward)
    rankings = greedy_search(
        score,
        objective,
        counts,
        search=search,
        max_regions=max_regions,
        stop_above=stop_above,
        device=images.device,
    )
    everyone = torch.arange(len(images), device=images.device)
    visible = torch.ones(len(images), max(counts, default=0), dtype=torch.bool, device=images.device)
    full = score(everyone, visible).tolist()
    empty = score(everyone, ~visible).tolist()
    return [
        Evidence(
            labels=labels[index].cpu().numpy(),
            order=ranking.order,
            insertion=ranking.insertion,
            deletion=ranking.deletion,
            empty=empty[index],
            full=full[index],
            target=int(targets[index]),
            objective=objective,
            forwards=ranking.forwards + 2,
            search=type(search).__name__.lower(),
            fill=fill if isinstance(fill, str) else "tensor",
        )
        for index, ranking in enumerate(rankings)
    ]


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
