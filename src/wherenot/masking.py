"""The only place that hides pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

FillName = Literal["mean", "black", "blur", "drop"]


@dataclass(frozen=True)
class Normalization:
    """How pixels in [0, 1] become a model's input: (pixel - mean) / std, per channel.

    Example:
        >>> import torch
        >>> half = Normalization(mean=(0.5,), std=(0.5,))
        >>> half.apply(torch.ones(1, 1, 1, 1)).item(), half.invert(torch.zeros(1, 1, 1, 1)).item()
        (1.0, 0.5)
    """

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or min(self.std, default=0.0) <= 0:
            raise ValueError(
                f"Normalization: mean and std need one entry per channel, std > 0; got {self.mean} and {self.std}."
            )

    def apply(self, pixels: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Turn pixels in [0, 1] into model input."""
        return (pixels - self._channels(self.mean, pixels)) / self._channels(self.std, pixels)

    def invert(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Turn model input back into pixels; values are not clamped."""
        return images * self._channels(self.std, images) + self._channels(self.mean, images)

    def _channels(self, values: tuple[float, ...], like: Tensor) -> Tensor:
        if like.shape[1] != len(values):
            raise ValueError(f"Normalization: has {len(values)} channels, the images have {like.shape[1]}.")
        return like.new_tensor(values)[:, None, None]


@runtime_checkable
class Normalized(Protocol):
    """A model that knows how its input was made from pixels."""

    normalization: Normalization


def fill_images(
    fill: FillName | Tensor,
    images: Float[Tensor, "B C H W"],
    normalization: Normalization | None = None,
) -> Float[Tensor, "B C H W"]:
    r"""What hidden pixels of each image will show.

    Args:
        fill: ``mean``: the colour that the normalisation maps to 0, or each image's own mean colour when none is
            known. ``black``: pixel value 0. ``blur``: the image under a Gaussian of 1/12 of its shorter side.
            ``drop`` shows nothing in place of what is hidden and has no image; see `wherenot.dropping`.
            A tensor in the model's input space: one colour ``C 1 1``, one image ``C H W`` or one per image.
        images: The images, in the model's input space.
        normalization: How they were made from pixels; None if not known.

    Returns:
        One image each, same shape, dtype and device as `images`.

    Raises:
        ValueError: For an unknown name, a tensor that does not fit, or ``black`` without a normalisation (nobody
            knows what number is black).

    Example:
        >>> import torch
        >>> images = torch.arange(4.0).view(1, 1, 2, 2)
        >>> fill_images("mean", images).unique()
        tensor([1.5000])
        >>> fill_images("black", images, Normalization((0.5,), (0.25,))).unique()
        tensor([-2.])

    References:
        LIMA and EAGLE hide with black; the authors' alignment code with 0 after normalisation, the mean colour.
    """
    if isinstance(fill, Tensor):
        try:
            return fill.to(images).expand_as(images)
        except RuntimeError as error:
            raise ValueError(
                f"fill_images: a fill of shape {tuple(fill.shape)} does not fit images of shape {tuple(images.shape)}."
            ) from error
    match fill:
        case "mean":
            colour = images.mean((2, 3), keepdim=True) if normalization is None else images.new_zeros(())
            return colour.expand_as(images)
        case "black":
            if normalization is None:
                raise ValueError(
                    "fill_images: 'black' needs the model's normalisation to know which number is black; pass "
                    "normalization=Normalization(mean, std), or Normalization() for pixels in [0, 1]."
                )
            return normalization.apply(torch.zeros_like(images))
        case "blur":
            return _blur(images, sigma_px=min(images.shape[-2:]) / 12)
        case "drop":
            raise ValueError(
                "fill_images: 'drop' hides regions of a vision transformer and has no pixels; here choose 'mean', "
                "'black', 'blur' or a tensor."
            )
        case _:
            raise ValueError(f"fill_images: fill must be 'mean', 'black', 'blur', 'drop' or a tensor, got {fill!r}.")


def _blur(images_BCHW: Tensor, sigma_px: float) -> Tensor:
    radius = math.ceil(3 * sigma_px)
    offset = torch.arange(-radius, radius + 1, dtype=images_BCHW.dtype, device=images_BCHW.device)
    kernel = torch.exp(-0.5 * (offset / sigma_px) ** 2)
    kernel = kernel / kernel.sum()
    batch, channels, height, width = images_BCHW.shape
    blurred = images_BCHW.reshape(batch * channels, 1, height, width)
    blurred = F.conv2d(F.pad(blurred, (radius, radius, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    blurred = F.conv2d(F.pad(blurred, (0, 0, radius, radius), mode="replicate"), kernel.view(1, 1, -1, 1))
    return blurred.view_as(images_BCHW)


def show(
    images: Float[Tensor, "B C H W"],
    labels: Int[Tensor, "B H W"],
    image: Int[Tensor, " N"],
    keep: Bool[Tensor, "N K"],
    fill: Float[Tensor, "B C H W"],
) -> Float[Tensor, "N C H W"]:
    """Masked images: image ``image[n]`` with the regions ``keep[n]`` visible and the fill everywhere else.

    One gather per image from its label map; no dense mask per region is ever built.

    Args:
        images: The images.
        labels: Region label maps, values 0..K-1.
        image: Which image each row shows.
        keep: Which regions it shows.
        fill: What hidden pixels show.

    Returns:
        New tensors; visible pixels are copied bit by bit. N = 0 gives an empty batch.

    Raises:
        ValueError: If a label has no column in `keep`.

    Example:
        >>> import torch
        >>> images = torch.ones(1, 1, 1, 3)
        >>> labels = torch.tensor([[[0, 1, 1]]])
        >>> show(images, labels, torch.tensor([0]), torch.tensor([[False, True]]), torch.zeros_like(images))
        tensor([[[[0., 1., 1.]]]])
    """
    if len(image) and int(labels.max()) >= keep.shape[1]:
        raise ValueError(f"show: labels go up to {int(labels.max())}, keep has only {keep.shape[1]} regions.")
    # Neighbouring rows mostly show the same image: read it where it lies, once, instead of copying it for each row.
    runs, lengths = image.unique_consecutive(return_counts=True)
    shown = []
    for index, keep_nK in zip(runs.tolist(), keep.split(lengths.tolist()), strict=True):
        keep_nHW = keep_nK.index_select(1, labels[index].flatten()).view(-1, *labels.shape[1:])
        shown.append(torch.where(keep_nHW[:, None], images[index], fill[index]))
    if len(shown) == 1:
        return shown[0]
    return torch.cat(shown) if shown else images[:0].clone()


def fill_photograph(
    image: Image.Image, fill: FillName, *, mean: tuple[int, int, int] | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """What hidden pixels of a photograph show, before any model's preparation.

    Args:
        image: RGB.
        fill: ``black``; ``mean``, one colour; ``blur``: the image under a Gaussian of 1/12 of its shorter side.
        mean: The colour of ``mean``; None takes the image's own mean.

    Raises:
        ValueError: For ``drop``, which leaves no image.

    Example:
        >>> from PIL import Image
        >>> fill_photograph(Image.new("RGB", (2, 1), (9, 8, 7)), "mean").tolist()
        [[[9, 8, 7], [9, 8, 7]]]
    """
    pixels = np.asarray(image)
    match fill:
        case "black":
            return np.zeros_like(pixels)
        case "mean":
            colour = pixels.mean((0, 1)).round() if mean is None else np.array(mean)
            return np.broadcast_to(colour.astype(np.uint8), pixels.shape).copy()
        case "blur":
            from PIL import ImageFilter

            return np.array(image.filter(ImageFilter.GaussianBlur(min(image.size) / 12)))
        case _:
            raise ValueError(
                f"fill_photograph: a vision-language model can hide with black, mean or blur, not {fill!r}."
            )


def show_photograph(
    pixels: UInt8[np.ndarray, "H W 3"],
    labels: Int[np.ndarray, "H W"],
    keep: Bool[np.ndarray, " K"],
    fill: UInt8[np.ndarray, "H W 3"],
) -> UInt8[np.ndarray, "H W 3"]:
    """A photograph with the regions `keep` visible and the fill everywhere else, before any model's preparation.

    Example:
        >>> white, labels = np.full((1, 2, 3), 255, np.uint8), np.array([[0, 1]])
        >>> show_photograph(white, labels, np.array([False, True]), np.zeros_like(white))[..., 0].tolist()
        [[0, 255]]
    """
    return np.where(keep[labels][..., None], pixels, fill)


def show_pixels(
    images: Float[Tensor, "N C H W"], keep: Bool[Tensor, "N H W"], fill: Float[Tensor, "N C H W"]
) -> Float[Tensor, "N C H W"]:
    """Masked images from keeps given per pixel: `images` where `keep`, `fill` elsewhere.

    Example:
        >>> import torch
        >>> show_pixels(torch.ones(1, 1, 1, 2), torch.tensor([[[True, False]]]), torch.zeros(1, 1, 1, 2))
        tensor([[[[1., 0.]]]])
    """
    return torch.where(keep[:, None], images, fill)


def show_elements(
    pixels: Float[Tensor, "*shape"],
    labels: Int[Tensor, "*shape"],
    keep: Bool[Tensor, "N K"],
    fill: Float[Tensor, "*shape"],
) -> Float[Tensor, "N ..."]:
    """Masked copies of one image in any layout: tiles, patches in the order of windows, padded squares.

    Args:
        pixels: The image as a processor laid it out.
        labels: Region of each number in it; -1 = of none (padding), always shown.
        keep: Which regions each copy shows.
        fill: What hidden numbers show.

    Raises:
        ValueError: If a label has no column in `keep`.

    Example:
        >>> import torch
        >>> patches, labels = torch.ones(2, 2), torch.tensor([[0, 1], [1, -1]])
        >>> show_elements(patches, labels, torch.tensor([[True, False]]), torch.zeros(2, 2))
        tensor([[[1., 0.],
                 [0., 1.]]])
    """
    if int(labels.max()) >= keep.shape[1]:
        raise ValueError(f"show_elements: labels go up to {int(labels.max())}, keep has only {keep.shape[1]} regions.")
    # A column of True at the end is what -1 picks.
    always = torch.cat([keep, keep.new_ones(len(keep), 1)], dim=1)
    keep_n = always.index_select(1, labels.flatten().remainder(keep.shape[1] + 1)).view(-1, *labels.shape)
    return torch.where(keep_n, pixels, fill)
