"""Whether two pieces of evidence about one image agree, as that of a thought and that of the action it leads to."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def regions_iou(first: Bool[Tensor, "B H W"], second: Bool[Tensor, "B H W"]) -> Float[Tensor, " B"]:
    r"""Area that two sets of regions share, of the area that either covers: $|A \cap B| / |A \cup B|$.

    1 for the same regions, 0 for regions without a common pixel.

    Args:
        first: True on the strongest regions of one piece of evidence (`Evidence.prefix`).
        second: The same of the other.

    Returns:
        A share in [0, 1] per image, in float32.

    Raises:
        ValueError: If the shapes differ, or a set covers no pixel.

    Example:
        >>> left, upper = torch.tensor([[[True, False], [True, False]]]), torch.tensor([[[True, True], [False, False]]])
        >>> regions_iou(left, upper)
        tensor([0.3333])
    """
    _check("regions_iou", first, second)
    for name, regions in (("first", first), ("second", second)):
        if not regions.flatten(1).any(dim=1).all():
            index = int((~regions.flatten(1).any(dim=1)).nonzero()[0])
            raise ValueError(f"regions_iou: {name}[{index}] covers no pixel; pass at least one region of each.")
    return (first & second).flatten(1).sum(dim=1) / (first | second).flatten(1).sum(dim=1)


def map_correlation(first: Float[Tensor, "B H W"], second: Float[Tensor, "B H W"]) -> Float[Tensor, " B"]:
    """Pearson's correlation of two maps over the pixels of their image.

    1 for maps that rise and fall together, near 0 for unrelated ones, below 0 where one is strong and the other weak.
    Not Spearman's: most regions of a screen carry nothing, and their ranks are noise, whereas their values agree.

    Args:
        first: Evidence in any unit; adding to it or multiplying it by a positive number changes nothing.
        second: The same image's.

    Returns:
        A correlation in [-1, 1] per image, in float64; nan where a map is the same everywhere.

    Raises:
        ValueError: If the shapes differ, or a map has a value that is not finite.

    Example:
        >>> maps = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
        >>> map_correlation(maps, 2 * maps + 1), map_correlation(maps, -maps)
        (tensor([1.], dtype=torch.float64), tensor([-1.], dtype=torch.float64))
    """
    _check("map_correlation", first, second)
    if not (first.isfinite().all() and second.isfinite().all()):
        raise ValueError("map_correlation: a map has NaN or infinite values; leave that image out and count it.")
    a, b = (values.double().flatten(1) for values in (first, second))
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    spread = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    return torch.where(spread > 0, ((a * b).sum(dim=1) / spread).clamp(-1, 1), torch.nan)


def _check(name: str, first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"{name}: {tuple(first.shape)} and {tuple(second.shape)} differ; pass the same images at the same size."
        )
