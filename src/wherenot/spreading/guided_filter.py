"""Bring a coarse map to the edges of its image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_RIDGE = 1e-2


def guided_filter(
    coarse: Float[Tensor, "B H W"], images: Float[Tensor, "B C H W"], radius: int, ridge: float = _RIDGE
) -> Float[Tensor, "B H W"]:
    """Give a map the edges of its image.

    In every window the map is fitted by a linear function of the image's channels; a pixel gets the mean of what all
    windows that hold it say. Where an edge of the image runs near an edge of the map, the map moves to it; where the
    image is flat, the map becomes a mean over windows.

    Args:
        coarse: Any real map, already on the image's pixels.
        images: In any colour space; each is brought to mean 0 and standard deviation 1.
        radius: Pixels from the middle of a window to its border, >= 0; windows end at the image's border. 0 returns the
            map as it is.
        ridge: Penalty on the squared coefficients; larger makes it a blur.

    Returns:
        The map, on its own scale, in single precision; that of one image does not depend on the others.

    Raises:
        ValueError: If `radius` is negative.

    Example:
        >>> image = torch.zeros(1, 1, 1, 6)
        >>> image[..., 3:] = 1.0
        >>> blurred = torch.tensor([[[0.0, 0.0, 0.3, 0.5, 0.9, 1.0]]])  # an edge, but where?
        >>> (guided_filter(blurred, image, radius=3) > 0.5).int()
        tensor([[[0, 0, 0, 1, 1, 1]]], dtype=torch.int32)

    References:
        He, Sun and Tang, "Guided Image Filtering", ECCV 2010, for colour images.
    """
    if radius < 0:
        raise ValueError(f"guided_filter: radius must be >= 0, got {radius}.")
    if radius == 0:
        return coarse.float()
    flat = images.float().flatten(1)
    spread, mean = torch.std_mean(flat, dim=1, correction=0)
    guide = (images.float() - mean[:, None, None, None]) / (spread[:, None, None, None] + 1e-6)
    target, channels = coarse.float()[:, None], guide.shape[1]
    guide_mean, target_mean = _window_mean(guide, radius), _window_mean(target, radius)
    products = (guide[:, :, None] * guide[:, None]).flatten(1, 2)
    covariance = _window_mean(products, radius).unflatten(1, (channels, channels))
    covariance = covariance - guide_mean[:, :, None] * guide_mean[:, None]
    together = _window_mean(guide * target, radius) - guide_mean * target_mean
    penalty = ridge * torch.eye(channels, device=guide.device)
    slope = torch.linalg.solve(covariance.movedim((1, 2), (-2, -1)) + penalty, together.movedim(1, -1)).movedim(-1, 1)
    offset = target_mean - (slope * guide_mean).sum(1, keepdim=True)
    return ((_window_mean(slope, radius) * guide).sum(1, keepdim=True) + _window_mean(offset, radius))[:, 0]


def _window_mean(values: Float[Tensor, "B C H W"], radius: int) -> Float[Tensor, "B C H W"]:
    """Mean over the window around each pixel, as far as it lies in the image: one running sum per direction."""
    for dim in (-2, -1):
        length = values.shape[dim]
        sums = F.pad(values.movedim(dim, -1).cumsum(-1), (1, 0))
        middle = torch.arange(length, device=values.device)
        low, high = (middle - radius).clamp_min(0), (middle + radius + 1).clamp_max(length)
        values = ((sums[..., high] - sums[..., low]) / (high - low)).movedim(-1, dim)
    return values
