"""Where evidence lies: pointing games, energy and IoU against the prior.

"Pointing game" names several different tests in the literature; each has its own function here, and a number should
carry that function's name. All take a batch on one grid: `inside` is True where evidence may lie. `ignore` is True on
pixels nobody annotated: they count neither as region, evidence or maximum nor as prior.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def region_coverage(
    top_region: Bool[Tensor, "B H W"], inside: Bool[Tensor, "B H W"], *, ignore: Bool[Tensor, "B H W"] | None = None
) -> Float[Tensor, " B"]:
    r"""Share of the top region's pixels that lie in the prior: $|S_1 \cap H| / |S_1|$.

    0 means the region misses the prior, 1 that it lies inside. It is a share of the region, not of the prior: a small
    region inside a large prior gets 1.

    Args:
        top_region: The pixels of the region that the search picked first.
        inside: The prior.
        ignore: Pixels left out of both.

    Returns:
        A share in [0, 1] per image, in float32; nan if `ignore` covers the whole region.

    Raises:
        ValueError: If shapes or types differ, or a region or a prior has no pixel.

    Example:
        >>> top_region = torch.tensor([[[True, True, True, True]]])
        >>> region_coverage(top_region, torch.tensor([[[True, False, False, False]]]))
        tensor([0.2500])
    """
    inside, scored = _prior("region_coverage", inside, ignore, top_region=top_region)
    if not top_region.flatten(1).any(dim=1).all():
        index = int((~top_region.flatten(1).any(dim=1)).nonzero()[0])
        raise ValueError(f"region_coverage: top_region[{index}] has no pixel; pass the region that was picked first.")
    covered_B = (top_region & inside).flatten(1).sum(dim=1).float()
    return covered_B / (top_region & scored).flatten(1).sum(dim=1).float()


def pointing_coverage(
    top_region: Bool[Tensor, "B H W"],
    inside: Bool[Tensor, "B H W"],
    threshold: float = 0.2,
    *,
    ignore: Bool[Tensor, "B H W"] | None = None,
) -> Bool[Tensor, " B"]:
    """Whether more than `threshold` of the top region lies in the prior: the Point Game of the paper's code.

    The comparison is strict: a share equal to the threshold is a miss.

    Args:
        top_region: The pixels of the region that the search picked first.
        inside: The prior.
        threshold: In [0, 1); 0 asks for a single common pixel. It belongs in the name: `pointing_coverage@0.2`.
        ignore: Pixels left out of both.

    Returns:
        One boolean per image; a region that `ignore` covers is a miss.

    Raises:
        ValueError: As `region_coverage`, or if `threshold` is out of range.

    Example:
        >>> top_region = torch.tensor([[[True, True, True, True]]])
        >>> pointing_coverage(top_region, torch.tensor([[[True, False, False, False]]]))
        tensor([True])

    References:
        "Where Not to Learn", arXiv 2602.07008, §5.2, which cites Zhang 2018; the number comes from this test, not from
        theirs (`pointing_argmax`).
    """
    _check_threshold("pointing_coverage", threshold)
    return region_coverage(top_region, inside, ignore=ignore) > threshold


def pointing_argmax(
    map: Float[Tensor, "B H W"],
    inside: Bool[Tensor, "B H W"],
    tolerance_px: float = 0.0,
    *,
    ignore: Bool[Tensor, "B H W"] | None = None,
) -> Bool[Tensor, " B"]:
    """Whether the map's maximum falls in the prior, or within `tolerance_px` of it: the classical pointing game.

    Of several maximal pixels the first in row-major order decides. A map that is constant on regions makes that choice
    arbitrary; `pointing_expected` has no such choice.

    Args:
        map: Evidence; any increasing function of it gives the same answer.
        inside: The prior.
        tolerance_px: Largest Euclidean distance between pixel centres that still counts, bound included, in pixels of
            the map's grid. Zhang et al. use 15 at the image's own size.
        ignore: Pixels that are neither maximum nor prior.

    Returns:
        One boolean per image.

    Raises:
        ValueError: If shapes or types differ, a map has NaN or infinite values, a prior has no pixel, or the tolerance
            is negative.

    Example:
        >>> map = torch.tensor([[[0.9, 0.1, 0.3]]])
        >>> inside = torch.tensor([[[False, False, True]]])
        >>> pointing_argmax(map, inside), pointing_argmax(map, inside, tolerance_px=2.0)
        (tensor([False]), tensor([True]))

    References:
        Zhang et al., "Top-down Neural Attention by Excitation Backprop", IJCV 2018. They average hits per class.
    """
    if not tolerance_px >= 0:
        raise ValueError(f"pointing_argmax: tolerance_px={tolerance_px}; pass a distance >= 0.")
    inside, scored = _prior("pointing_argmax", inside, ignore, map=map)
    _, height, width = map.shape
    first_B11 = map.masked_fill(~scored, -torch.inf).flatten(1).argmax(dim=1)[:, None, None]
    rows_H1 = torch.arange(height, device=map.device)[:, None]
    columns_W = torch.arange(width, device=map.device)
    squared_BHW = (rows_H1 - first_B11 // width) ** 2 + (columns_W - first_B11 % width) ** 2
    return (inside & (squared_BHW <= tolerance_px**2)).flatten(1).any(dim=1)


def pointing_expected(
    map: Float[Tensor, "B H W"], inside: Bool[Tensor, "B H W"], *, ignore: Bool[Tensor, "B H W"] | None = None
) -> Float[Tensor, " B"]:
    """Chance that a maximal pixel, drawn evenly among ties, lies in the prior.

    Equals `pointing_argmax` without tolerance when the maximum is unique, and `region_coverage` when the map is
    constant on its top region. A constant map gets the prior's share of the image.

    Args:
        map: Evidence; any increasing function of it gives the same answer.
        inside: The prior.
        ignore: Pixels that are neither maximum nor prior.

    Returns:
        A probability in [0, 1] per image, in float32.

    Raises:
        ValueError: If shapes or types differ, a map has NaN or infinite values, or a prior has no pixel.

    Example:
        >>> map = torch.tensor([[[0.9, 0.9, 0.3]]])
        >>> pointing_expected(map, torch.tensor([[[False, True, True]]]))
        tensor([0.5000])
    """
    inside, scored = _prior("pointing_expected", inside, ignore, map=map)
    maximal_BHW = _maximal(map, scored)
    hits_B = (maximal_BHW & inside).flatten(1).sum(dim=1).float()
    return hits_B / maximal_BHW.flatten(1).sum(dim=1).float()


def pointing_touch(
    map: Float[Tensor, "B H W"], inside: Bool[Tensor, "B H W"], *, ignore: Bool[Tensor, "B H W"] | None = None
) -> Bool[Tensor, " B"]:
    """Whether any maximal pixel lies in the prior: the most generous of the pointing games.

    For a map that is constant on its top region it asks whether the region touches the prior at all, so larger regions
    hit more often; a constant map always hits.

    Args:
        map: Evidence; any increasing function of it gives the same answer.
        inside: The prior.
        ignore: Pixels that are neither maximum nor prior.

    Returns:
        One boolean per image.

    Raises:
        ValueError: If shapes or types differ, a map has NaN or infinite values, or a prior has no pixel.

    Example:
        >>> map = torch.tensor([[[0.9, 0.9, 0.3]]])
        >>> pointing_touch(map, torch.tensor([[[False, True, True]]]))
        tensor([True])

    References:
        EAGLE's box and mask point game, max(map * prior) == max(map). Differs where that product misleads: a maximum
        that is 0 or negative hits there whatever the prior, and a NaN map is a silent miss.
    """
    inside, scored = _prior("pointing_touch", inside, ignore, map=map)
    return (_maximal(map, scored) & inside).flatten(1).any(dim=1)


def energy_pointing(
    map: Float[Tensor, "B H W"], inside: Bool[Tensor, "B H W"], *, ignore: Bool[Tensor, "B H W"] | None = None
) -> Float[Tensor, " B"]:
    r"""Share of the positive evidence that lies in the prior: $\sum_{p \in H} A^+_p / \sum_p A^+_p$.

    With $A^+ = \max(A, 0)$. 0 means all positive evidence is outside, 1 that all is inside; evenly spread evidence
    gets the prior's share of the image. A positive factor on the map changes nothing; an added constant does.

    Args:
        map: Signed evidence; positive supports the target.
        inside: The prior.
        ignore: Pixels left out of both sums.

    Returns:
        A share in [0, 1] per image, in float32 (float64 for a float64 map); nan if a map has no positive evidence.

    Raises:
        ValueError: If shapes or types differ, a map has NaN or infinite values, or a prior has no pixel.

    Example:
        >>> map = torch.tensor([[[3.0, 1.0, -5.0]]])
        >>> energy_pointing(map, torch.tensor([[[True, False, True]]]))
        tensor([0.7500])

    References:
        Wang et al., "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks", CVPRW 2020.
        Model-Guidance (Rao et al., ICCV 2023) gives 0 without positive evidence; nan here, so that it can be counted.
    """
    inside, scored = _prior("energy_pointing", inside, ignore, map=map)
    positive_BHW = _positive(map).masked_fill(~scored, 0)
    # Dividing by the maximum first keeps tiny maps from underflowing and large ones from overflowing in the sums.
    share_BHW = positive_BHW / positive_BHW.amax(dim=(1, 2), keepdim=True)
    return (share_BHW * inside).sum(dim=(1, 2)) / share_BHW.sum(dim=(1, 2))


def iou(
    map: Float[Tensor, "B H W"],
    inside: Bool[Tensor, "B H W"],
    threshold: float = 0.5,
    *,
    ignore: Bool[Tensor, "B H W"] | None = None,
) -> Float[Tensor, " B"]:
    """Intersection over union of the prior and the pixels whose evidence is above `threshold`.

    The positive part of each map is scaled to [0, 1] by its minimum and maximum; a pixel is selected when it is
    strictly above the threshold. 1 means the selected pixels are the prior, 0 that they have nothing in common with it.

    Args:
        map: Signed evidence; positive supports the target. A positive factor changes nothing.
        inside: The prior.
        threshold: In [0, 1), on the scaled map.
        ignore: Pixels left out of the scaling and both sets.

    Returns:
        A share in [0, 1] per image, in float32. A map whose positive part is constant selects nothing and gets 0.

    Raises:
        ValueError: If shapes or types differ, a map has NaN or infinite values, a prior has no pixel, or `threshold` is
            out of range.

    Example:
        >>> map = torch.tensor([[[1.0, 0.8, 0.0]]])
        >>> iou(map, torch.tensor([[[True, False, False]]]))
        tensor([0.5000])

    References:
        Rao et al., "Studying How to Efficiently and Effectively Guide Models with Explanations", ICCV 2023, at 0.5.
    """
    _check_threshold("iou", threshold)
    inside, scored = _prior("iou", inside, ignore, map=map)
    positive_BHW = _positive(map)
    low_B11 = positive_BHW.masked_fill(~scored, torch.inf).amin(dim=(1, 2), keepdim=True)
    high_B11 = positive_BHW.masked_fill(~scored, -torch.inf).amax(dim=(1, 2), keepdim=True)
    # A constant map divides 0 by 0; NaN is above no threshold.
    selected_BHW = ((positive_BHW - low_B11) / (high_B11 - low_B11) > threshold) & scored
    union_B = (selected_BHW | inside).flatten(1).sum(dim=1).float()
    return (selected_BHW & inside).flatten(1).sum(dim=1).float() / union_B


def _prior(name: str, inside: Tensor, ignore: Tensor | None, **judged: Tensor) -> tuple[Tensor, Tensor]:
    """Check what every metric here needs; return the prior less the ignored pixels, and the pixels that count."""
    [(judged_name, map)] = judged.items()
    given = judged | {"inside": inside} | ({} if ignore is None else {"ignore": ignore})
    if map.ndim != 3 or any(tensor.shape != map.shape for tensor in given.values()):
        shapes = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in given.items())
        raise ValueError(f"{name}: {shapes} must be one shape (B, H, W); resize the prior before the call.")
    ignore = torch.zeros_like(inside) if ignore is None else ignore
    if inside.dtype != torch.bool or ignore.dtype != torch.bool:
        raise ValueError(
            f"{name}: inside {inside.dtype} and ignore {ignore.dtype} must be boolean; compare first (x > 0)."
        )
    if not map.isfinite().all():
        index = int((~map.isfinite().flatten(1).all(dim=1)).nonzero()[0])
        raise ValueError(
            f"{name}: {judged_name}[{index}] has NaN or infinite values; count that image as a failure instead."
        )
    inside = inside & ~ignore
    if not inside.flatten(1).any(dim=1).all():
        index = int((~inside.flatten(1).any(dim=1)).nonzero()[0])
        raise ValueError(
            f"{name}: inside[{index}] has no pixel outside `ignore`, and the metric is undefined on an empty prior; "
            "leave that image out and count it."
        )
    return inside, ~ignore


def _check_threshold(name: str, threshold: float) -> None:
    if not 0 <= threshold < 1:
        raise ValueError(f"{name}: threshold={threshold}; pass a value in [0, 1).")


def _maximal(map: Float[Tensor, "B H W"], scored: Bool[Tensor, "B H W"]) -> Bool[Tensor, "B H W"]:
    return scored & (map == map.masked_fill(~scored, -torch.inf).amax(dim=(1, 2), keepdim=True))


def _positive(map: Float[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
    return map.clamp(min=0).to(torch.promote_types(map.dtype, torch.float32))
