r"""Whether an order over regions is the order the model uses: insertion and deletion curves over visible area.

A curve holds the model's score after each step along the order; its axis is the share of the image's pixels that the
steps cover, never the rank: regions differ in size, and a rank axis would reward cutting the image unevenly.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

# Areas are sums of up to a few hundred float32 shares; the smallest gap that matters is one small region (about 1e-2).
_AREA_TOLERANCE = 1e-4


def area_axis(region_area: Float[Tensor, " K"]) -> Float[Tensor, " K+1"]:
    """Axis of a curve: the covered share of the image before the first step and after each.

    Args:
        region_area: Share of the image's pixels in each region, in the order of the search. Count pixels of the label
            map, not pixels that are not black: black image content has area too.

    Returns:
        `[0, a_1, a_1 + a_2, ...]` in float64, never decreasing, ending at 1 if the order covers the whole image.

    Raises:
        ValueError: If an area is negative or NaN, or they sum to more than 1.

    Example:
        >>> area_axis(torch.tensor([0.5, 0.25, 0.25]))
        tensor([0.0000, 0.5000, 0.7500, 1.0000], dtype=torch.float64)
    """
    if not (region_area >= 0).all():
        raise ValueError(f"area_axis: region_area {region_area.tolist()} has a negative or NaN value; pass shares.")
    axis = torch.cat([region_area.new_zeros(1, dtype=torch.float64), region_area.double().cumsum(0)])
    if axis[-1] > 1 + _AREA_TOLERANCE:
        raise ValueError(
            f"area_axis: the areas sum to {float(axis[-1]):.6g}; pass shares of the image, pixels / (H * W), of "
            "regions that do not overlap."
        )
    return axis


def insertion_auc(empty: float, insertion: Float[Tensor, " K"], area: Float[Tensor, " K+1"]) -> float:
    r"""Area under the score while regions are revealed in order, most important first; higher is better.

    $$\sum_{t=1}^{K} (x_t - x_{t-1}) (s_t + s_{t-1}) / 2, \quad s_0 = p(\emptyset)$$

    For scores in [0, 1] it lies in [0, 1]; a constant score $c$ gives $c$ for any order. High means that little area
    suffices. Two orders of one image compare freely; two models do not, because a more confident model gets more.

    Args:
        empty: Score of the image with every region hidden.
        insertion: Score after revealing the first t regions, t = 1..K.
        area: Visible share of the image at the K+1 points, from `area_axis`.

    Returns:
        The area, in the unit of the scores.

    Raises:
        ValueError: If `area` does not run from 0 up to 1, has no value per score, or a score is not finite. An order
            cut short ends below 1, and areas over different spans cannot be compared or averaged, so there is no
            value for it: search the whole order, or report `highest_confidence`.

    Example:
        >>> area = area_axis(torch.tensor([0.5, 0.5]))
        >>> insertion_auc(0.0, torch.tensor([0.75, 1.0]), area)
        0.625

    References:
        Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018, whose axis is
        also a share of pixels. Same value as EAGLE's evaluation; LIMA's leaves black pixels out of the area.
    """
    return _curve_area("insertion_auc", empty, insertion, area)


def deletion_auc(full: float, deletion: Float[Tensor, " K"], area: Float[Tensor, " K+1"]) -> float:
    r"""Area under the score while regions are hidden in order, most important first; lower is better.

    As `insertion_auc` with $s_0 = p(V)$, the score of the whole image, over the hidden share. For scores in [0, 1] it
    lies in [0, 1]; low means that hiding little area destroys the answer. Reported positive, over removed area.

    Args:
        full: Score of the whole image.
        deletion: Score after hiding the first t regions, t = 1..K.
        area: Hidden share of the image at the K+1 points, from `area_axis`.

    Returns:
        The area, in the unit of the scores.

    Raises:
        ValueError: As `insertion_auc`; an order cut short has no deletion area either.

    Example:
        >>> area = area_axis(torch.tensor([0.5, 0.5]))
        >>> deletion_auc(1.0, torch.tensor([0.25, 0.0]), area)
        0.375

    References:
        Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018.
    """
    return _curve_area("deletion_auc", full, deletion, area)


def highest_confidence(empty: float, insertion: Float[Tensor, " K"]) -> float:
    """Highest score that any prefix of the order reaches, the empty one included; higher is better.

    Above the score of the whole image, it says that some regions speak against the target. Defined for an order cut
    short too, where it can only be lower than the whole order's: compare runs with the same number of regions.

    Args:
        empty: Score of the image with every region hidden.
        insertion: Score after revealing the first t regions.

    Returns:
        A score, at least `empty`; `empty` itself if no region was revealed.

    Raises:
        ValueError: If a score is not finite.

    Example:
        >>> highest_confidence(0.25, torch.tensor([0.5, 0.75, 0.5]))
        0.75

    References:
        "Average highest confidence" of EAGLE is the mean of this value over images.
    """
    return float(_curve("highest_confidence", empty, insertion).max())


def _curve(name: str, start: float, scores: Float[Tensor, " K"]) -> Float[Tensor, " K+1"]:
    curve = torch.cat([scores.new_full((1,), start, dtype=torch.float64), scores.double()])
    if not curve.isfinite().all():
        index = int((~curve.isfinite()).nonzero()[0])
        where = "the start value" if index == 0 else f"the score of step {index}"
        raise ValueError(
            f"{name}: {where} is {float(curve[index])}; pass the curve of an image whose scores are finite."
        )
    return curve


def _curve_area(name: str, start: float, scores: Float[Tensor, " K"], area: Tensor) -> float:
    if area.shape != (len(scores) + 1,):
        raise ValueError(
            f"{name}: {len(scores)} scores need {len(scores) + 1} areas, got {tuple(area.shape)}; pass `area_axis` of "
            "the regions in the order of the scores."
        )
    if area[0] != 0 or not (area.diff() >= 0).all():
        raise ValueError(f"{name}: area {area.tolist()} must start at 0 and never decrease; pass `area_axis`.")
    if not abs(float(area[-1]) - 1) <= _AREA_TOLERANCE:
        raise ValueError(
            f"{name}: the order covers {float(area[-1]):.4g} of the image and areas over different spans cannot be "
            "compared; search the whole order, or report `highest_confidence`."
        )
    return float(torch.trapezoid(_curve(name, start, scores), area.double()))
