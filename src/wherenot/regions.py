"""Partitions: cut an image into regions, as a label map with values 0..K-1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from wherenot.masking import Normalization
from wherenot.types import Partition


def consecutive(labels: Int[np.ndarray, "H W"]) -> Int[np.ndarray, "H W"]:
    """Renumber any label map to 0..K-1, keeping the order of the labels.

    Raises:
        ValueError: If the map is empty.

    Example:
        >>> import numpy as np
        >>> consecutive(np.array([[7, 7, -2]])).tolist()
        [[1, 1, 0]]
    """
    if labels.size == 0:
        raise ValueError(f"consecutive: a label map needs at least one pixel, got shape {labels.shape}.")
    _, inverse = np.unique(labels, return_inverse=True)
    return inverse.reshape(labels.shape).astype(np.int64)


@dataclass(frozen=True)
class Slico:
    """Zero-parameter SLIC superpixels, about `num_regions` of them: the paper's partition.

    The number of regions comes out near what is asked, not exact (50 asked on a 224 px photograph gives 49 to 56).
    Deterministic.

    Args:
        num_regions: How many regions to aim for.
        min_pixels: Regions smaller than this are merged into a neighbour by scikit-image; 0 keeps them all.

    Example:
        >>> import numpy as np
        >>> image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        >>> int(Slico(16)(image).max()) + 1
        16

    References:
        Achanta et al. 2012, through scikit-image. The authors call OpenCV's contrib module, whose label maps differ
        in detail (no connectivity step, grid of side sqrt(HW / n)).
    """

    num_regions: int = 50
    min_pixels: int = 0

    def __post_init__(self) -> None:
        if self.num_regions < 1 or self.min_pixels < 0:
            raise ValueError(
                f"Slico: num_regions must be >= 1 and min_pixels >= 0, got {self.num_regions} and {self.min_pixels}."
            )

    def __call__(self, image: UInt8[np.ndarray, "H W 3"]) -> Int[np.ndarray, "H W"]:
        """Cut one RGB image."""
        from skimage.segmentation import slic

        _fits("Slico", image, self.num_regions)
        mean_pixels = image.shape[0] * image.shape[1] / self.num_regions
        labels = slic(
            image,
            n_segments=self.num_regions,
            slic_zero=True,
            start_label=0,
            enforce_connectivity=self.min_pixels > 0,
            min_size_factor=self.min_pixels / mean_pixels,
            channel_axis=-1,
        )
        return consecutive(labels.astype(np.int64))


@dataclass(frozen=True)
class Grid:
    """Equal rectangles, `rows` x `columns`, numbered row by row.

    Sides that do not divide the image differ by one pixel.

    Example:
        >>> import numpy as np
        >>> Grid(2, 2)(np.zeros((2, 3, 3), np.uint8)).tolist()
        [[0, 0, 1], [2, 2, 3]]
    """

    rows: int = 7
    columns: int = 7

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1:
            raise ValueError(f"Grid: rows and columns must be >= 1, got {self.rows} x {self.columns}.")

    def __call__(self, image: UInt8[np.ndarray, "H W 3"]) -> Int[np.ndarray, "H W"]:
        """Cut one RGB image; only its size matters."""
        height, width = image.shape[:2]
        if height < self.rows or width < self.columns:
            raise ValueError(f"Grid: {self.rows} x {self.columns} cells do not fit into {height} x {width} pixels.")
        row = np.arange(height) * self.rows // height
        column = np.arange(width) * self.columns // width
        return row[:, None] * self.columns + column


@dataclass(frozen=True)
class OpenCVSlico:
    """SLICO superpixels as the authors cut them, label for label: by OpenCV's contrib module.

    Regions may be disconnected and tiny. Needs the extra ``opencv``.

    Args:
        num_regions: How many regions to aim for; the grid's side is floor(sqrt(H W / num_regions)) pixels.

    References:
        The authors' region division: region size from the number of regions (50 in this paper), ruler 20, 20
        iterations, OpenCV's default variant (SLICO), pixels in BGR, no connectivity step.
    """

    num_regions: int = 50

    def __post_init__(self) -> None:
        _positive("OpenCVSlico", self.num_regions)

    def __call__(self, image: UInt8[np.ndarray, "H W 3"]) -> Int[np.ndarray, "H W"]:
        """Cut one RGB image."""
        _fits("OpenCVSlico", image, self.num_regions)
        side_px = int(math.sqrt(image.shape[0] * image.shape[1] / self.num_regions))
        bgr = np.ascontiguousarray(image[..., ::-1])
        superpixels = _ximgproc("createSuperpixelSLIC")(bgr, region_size=side_px, ruler=20.0)
        superpixels.iterate(20)
        return consecutive(superpixels.getLabels().astype(np.int64))


@dataclass(frozen=True)
class Seeds:
    """SEEDS superpixels by OpenCV's contrib module, as LIMA cuts them. Needs the extra ``opencv``.

    Args:
        num_regions: How many regions to aim for (50 asked on a 224 px photograph gives 49).

    References:
        Van den Bergh et al. 2012; LIMA's settings (3 levels, 10 iterations, pixels in BGR).
    """

    num_regions: int = 50

    def __post_init__(self) -> None:
        _positive("Seeds", self.num_regions)

    def __call__(self, image: UInt8[np.ndarray, "H W 3"]) -> Int[np.ndarray, "H W"]:
        """Cut one RGB image."""
        _fits("Seeds", image, self.num_regions)
        height, width, channels = image.shape
        superpixels = _ximgproc("createSuperpixelSEEDS")(width, height, channels, self.num_regions, num_levels=3)
        superpixels.iterate(np.ascontiguousarray(image[..., ::-1]), 10)
        return consecutive(superpixels.getLabels().astype(np.int64))


def _positive(name: str, num_regions: int) -> None:
    if num_regions < 1:
        raise ValueError(f"{name}: num_regions must be >= 1, got {num_regions}.")


def _fits(name: str, image: UInt8[np.ndarray, "H W 3"], num_regions: int) -> None:
    height, width = image.shape[:2]
    if height * width < num_regions:
        raise ValueError(f"{name}: {num_regions} regions do not fit into {height} x {width} pixels.")


def _ximgproc(name: str) -> Any:
    """A function of OpenCV's contrib module; it is probed for, as other OpenCV wheels have the module without it."""
    try:
        import cv2

        return getattr(cv2.ximgproc, name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"regions: cv2.ximgproc.{name} is missing ({error}). Install the contrib build alone: "
            "pip uninstall opencv-python opencv-python-headless; pip install 'wherenot[opencv]'"
        ) from error


def parse_partition(text: str) -> Partition:
    """The partition that a text names: ``slico:50``, ``grid:7x7``, ``opencv-slico:50`` or ``seeds:50``.

    Raises:
        ValueError: If the text names none.

    Example:
        >>> parse_partition("grid:4x5")
        Grid(rows=4, columns=5)
        >>> parse_partition("slico")
        Slico(num_regions=50, min_pixels=0)
    """
    name, _, size = text.partition(":")
    superpixels = {"slico": Slico, "opencv-slico": OpenCVSlico, "seeds": Seeds}
    try:
        if name in superpixels:
            return superpixels[name](int(size)) if size else superpixels[name]()
        if name == "grid":
            rows, columns = (int(side) for side in size.split("x")) if size else (7, 7)
            return Grid(rows, columns)
    except ValueError as error:
        raise ValueError(f"parse_partition: cannot read {text!r} ({error}); write {_PARTITIONS}.") from error
    raise ValueError(f"parse_partition: no partition is called {text!r}; write {_PARTITIONS}.")


_PARTITIONS = "'slico:50', 'grid:7x7', 'opencv-slico:50' or 'seeds:50'"


def label_maps(
    images: Float[Tensor, "B C H W"], partition: Partition, normalization: Normalization | None = None
) -> Int[Tensor, "B H W"]:
    """Cut each image of a batch in the model's input space.

    Args:
        images: One or three channels.
        partition: How to cut.
        normalization: Turns the images back into pixels; without it each image is stretched to its own range.

    Returns:
        Label maps on the images' device.

    Example:
        >>> import torch
        >>> label_maps(torch.zeros(1, 3, 2, 2), Grid(1, 2)).tolist()
        [[[0, 1], [0, 1]]]
    """
    maps = [torch.from_numpy(partition(pixels)) for pixels in uint8_pixels(images, normalization)]
    return torch.stack(maps).to(images.device)


def uint8_pixels(
    images: Float[Tensor, "B C H W"], normalization: Normalization | None = None
) -> UInt8[np.ndarray, "B H W 3"]:
    """RGB pixels of a batch in the model's input space, as `label_maps` sees them.

    Raises:
        ValueError: If the images have neither 1 nor 3 channels.
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(f"uint8_pixels: images need 1 or 3 channels, got shape {tuple(images.shape)}.")
    images = images.detach().float()
    if normalization is not None:
        pixels = normalization.invert(images)
    else:
        low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
        pixels = (images - low) / (high - low).clamp_min(torch.finfo(images.dtype).tiny)
    rgb = pixels.clamp(0, 1).expand(-1, 3, -1, -1) if images.shape[1] == 1 else pixels.clamp(0, 1)
    return (rgb * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def region_centres(labels: Int[Tensor, "H W"]) -> Float[np.ndarray, "K 2"]:
    """Centre of gravity of each region, (y, x) in shares of height and width.

    Example:
        >>> import torch
        >>> region_centres(torch.tensor([[0, 1, 1]])).round(3).tolist()
        [[0.5, 0.167], [0.5, 0.667]]
    """
    flat = labels.cpu().numpy()
    height, width = flat.shape
    pixels = np.bincount(flat.ravel())
    rows, columns = np.divmod(np.arange(flat.size), width)
    centres = [
        np.bincount(flat.ravel(), weights=at) / pixels for at in ((rows + 0.5) / height, (columns + 0.5) / width)
    ]
    return np.stack(centres, axis=1)


def count_regions(labels: Int[Tensor, "B H W"]) -> list[int]:
    """Number of regions of each label map.

    Raises:
        ValueError: If a map does not use every label from 0 to its largest, naming the first such image.

    Example:
        >>> import torch
        >>> count_regions(torch.tensor([[[0, 1, 2]], [[0, 0, 1]]]))
        [3, 2]
    """
    counts = []
    for index, label_map in enumerate(labels):
        used = label_map.unique()
        if used[0] != 0 or used[-1] != len(used) - 1:
            raise ValueError(
                f"count_regions: the label map of image {index} must use every label 0..K-1, it has {len(used)} labels "
                f"from {int(used[0])} to {int(used[-1])}; pass it through wherenot.regions.consecutive."
            )
        counts.append(len(used))
    return counts
