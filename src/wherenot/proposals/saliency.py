"""Where an image stands out from itself, without a model and without a class: spectral residual saliency."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

SIDE = 64
THRESHOLD = 3.0

_BLUR = 2.5  # of the map, in its pixels
_TINY = 1e-8
_LEAST = 0.05  # of all saliency


def spectral_residual(image: Image.Image) -> Float[np.ndarray, "H W"]:
    r"""Tell how far each place stands out from the rest of its image.

    Of the image in grey at 64 pixels, with spectrum $A e^{i\phi}$ and a mean over 3 x 3 frequencies:

    $$S = g * |\mathcal{F}^{-1} e^{\log A - \overline{\log A} + i\phi}|^2$$

    blurred by a Gaussian g. It knows no class and has seen no other image: a coloured mark in a corner stands out as
    much as an object. It is made for photographs: in a drawing of flat colours it can point beside what is there.

    Args:
        image: Any.

    Returns:
        At least 0, on the image's pixels, with a mean of 1; all 0 where nothing stands out, as in an image of one
        colour.

    Example:
        >>> pixels = np.random.default_rng(0).integers(60, 90, (64, 96), dtype=np.uint8)
        >>> pixels[30:38, 40:48] = 220
        >>> bool(spectral_residual(Image.fromarray(pixels))[30:38, 40:48].mean() > 3)
        True
        >>> spectral_residual(Image.new("L", (9, 9))).max()
        np.float64(0.0)

    References:
        Hou and Zhang, "Saliency Detection: A Spectral Residual Approach", CVPR 2007. Both sides are at 64 pixels
        here, where the paper keeps the shape of the image.
    """
    from scipy.ndimage import gaussian_filter, uniform_filter

    small = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64) / 255
    if np.ptp(small) < 1 / 512:  # one colour, but for rounding
        return np.zeros((image.height, image.width))
    spectrum = np.fft.fft2(small - small.mean())
    amplitude = np.log(np.abs(spectrum) + _TINY)
    residual = amplitude - uniform_filter(amplitude, 3, mode="wrap")
    standing_out = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    blurred = gaussian_filter(standing_out, _BLUR)
    size = (image.width, image.height)
    drawn = Image.fromarray(blurred.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    values = np.asarray(drawn, dtype=np.float64)
    return values / values.mean()


def salient(
    values: Float[np.ndarray, "H W"], threshold: float = THRESHOLD
) -> tuple[Bool[np.ndarray, "H W"], float | None]:
    """Cut a map of saliency.

    Args:
        values: From `spectral_residual`.
        threshold: In means of the map; the paper's 3.

    Returns:
        True where the map is above the threshold, and the share of all saliency that lies there, in [0, 1]. Less than
        a twentieth is a speck and not something that stands out: nowhere, and no score.

    Example:
        >>> inside, score = salient(np.array([[0.0, 4.0, 0.0, 0.0]]))
        >>> inside.tolist(), score
        ([[False, True, False, False]], 1.0)
    """
    inside = values > threshold
    share = float(values[inside].sum() / values.sum()) if inside.any() else 0.0
    return (inside, share) if share >= _LEAST else (np.zeros_like(inside), None)
