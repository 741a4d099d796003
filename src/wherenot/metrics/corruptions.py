"""Common corruptions of images, by name and severity: what a photograph suffers in the wild."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

# Severities 1 to 5. On images of another size than ImageNet-C's 224 x 224 they are harsher (smaller) or milder.
SEVERITIES: dict[str, tuple[float, ...]] = {
    "shot_noise": (60.0, 25.0, 12.0, 5.0, 3.0),
    "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
    "gaussian_blur": (1.0, 2.0, 3.0, 4.0, 6.0),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg": (25.0, 18.0, 15.0, 10.0, 7.0),
}


def parse_corruption(spec: str) -> tuple[str, int]:
    """Name and severity of a corruption written as ``jpeg:3``.

    Raises:
        ValueError: If there is no such corruption or severity.

    Example:
        >>> parse_corruption("jpeg:3")
        ('jpeg', 3)
    """
    name, _, severity = spec.partition(":")
    if name not in SEVERITIES or severity not in ("1", "2", "3", "4", "5"):
        raise ValueError(
            f"parse_corruption: {spec!r}; pass a name and a severity from 1 to 5, such as jpeg:3; "
            f"names are {', '.join(SEVERITIES)}."
        )
    return name, int(severity)


def corrupt(images: Float[Tensor, "B C H W"], spec: str, generator: torch.Generator) -> Float[Tensor, "B C H W"]:
    """Corrupt images.

    - ``shot_noise``: Poisson counts of so many photons at full brightness.
    - ``impulse_noise``: so large a share of the values turns 0 or 1.
    - ``gaussian_blur``: standard deviation in pixels; the border is repeated.
    - ``brightness``: added to every value (ImageNet-C adds it to the HSV value, which keeps colours fuller).
    - ``contrast``: what is left of the distance to the image's mean per channel.
    - ``pixelate``: down to this share of the side and back, nearest neighbour.
    - ``jpeg``: encoder quality.

    Args:
        images: Pixels in [0, 1]; ``jpeg`` needs three channels.
        spec: Name and severity, as `parse_corruption` reads them.
        generator: On the CPU; noise depends on it alone, whatever the images' device.

    Returns:
        New pixels in [0, 1], same shape, dtype and device; not differentiable.

    Raises:
        ValueError: If `spec` names no corruption.

    Example:
        >>> image = torch.tensor([0.0, 1.0]).repeat(1, 3, 4, 2)
        >>> corrupt(image, "contrast:1", torch.Generator())[0, 0, 0]
        tensor([0.3000, 0.7000, 0.3000, 0.7000])

    References:
        Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
        ICLR 2019: names and severities; brightness and pixelate are the simpler forms described above. Gaussian noise
        is `wherenot.metrics.add_noise`.
    """
    name, severity = parse_corruption(spec)
    pixels = images.detach().float().cpu()
    changed = _CORRUPTIONS[name](pixels, SEVERITIES[name][severity - 1], generator)
    return changed.clamp(0, 1).to(device=images.device, dtype=images.dtype)


def _shot_noise(images: Tensor, photons: float, generator: torch.Generator) -> Tensor:
    return torch.poisson(images * photons, generator=generator) / photons


def _impulse_noise(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(images.shape, generator=generator)
    flipped = torch.where(drawn < share / 2, 0.0, images)
    return torch.where(drawn > 1 - share / 2, 1.0, flipped)


def _gaussian_blur(images: Tensor, sigma: float, _: torch.Generator) -> Tensor:
    reach = round(4 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    weights = weights / weights.sum()
    batch, channels, height, width = images.shape
    planes = images.reshape(batch * channels, 1, height, width)
    planes = F.conv2d(F.pad(planes, (0, 0, reach, reach), mode="replicate"), weights[None, None, :, None])
    planes = F.conv2d(F.pad(planes, (reach, reach, 0, 0), mode="replicate"), weights[None, None, None, :])
    return planes.reshape(images.shape)


def _brightness(images: Tensor, amount: float, _: torch.Generator) -> Tensor:
    return images + amount


def _contrast(images: Tensor, left: float, _: torch.Generator) -> Tensor:
    mean = images.mean(dim=(2, 3), keepdim=True)
    return mean + left * (images - mean)


def _pixelate(images: Tensor, share: float, _: torch.Generator) -> Tensor:
    height, width = images.shape[-2:]
    small = (max(1, int(share * height)), max(1, int(share * width)))
    return F.interpolate(F.adaptive_avg_pool2d(images, small), size=(height, width), mode="nearest")


def _jpeg(images: Tensor, quality: float, _: torch.Generator) -> Tensor:
    read = []
    for pixels in (images.permute(0, 2, 3, 1) * 255).round().clamp(0, 255).byte().numpy():
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=int(quality))
        read.append(torch.from_numpy(np.array(Image.open(file))))
    return torch.stack(read).permute(0, 3, 1, 2).float() / 255


_CORRUPTIONS: dict[str, Callable[[Tensor, float, torch.Generator], Tensor]] = {
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "gaussian_blur": _gaussian_blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
}
