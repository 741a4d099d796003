"""Masked pictures of one image, as an endpoint takes them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Int
from PIL import Image

from wherenot.endpoint.questions import data_url
from wherenot.endpoint.readings import fingerprint
from wherenot.masking import FillName, fill_photograph, show_photograph
from wherenot.search.memo import Subset, keep_rows


class MaskedPictures:
    """An image of which only some regions are visible, in its own pixels and at its own size, as data URLs.

    Args:
        image: RGB.
        labels: Its label map, values 0..K-1.
        fill: What hidden pixels show (`masking.fill_photograph`).
        kept: How many of the last ones are kept, for further questions about them.

    Attributes:
        labels: The label map.
        fill: Name of what hidden pixels show.

    Raises:
        ValueError: If the label map has another size, or the fill is none for photographs.
    """

    def __init__(self, image: Image.Image, labels: Int[np.ndarray, "H W"], fill: FillName, *, kept: int = 8) -> None:
        if labels.shape != (image.height, image.width):
            raise ValueError(
                f"MaskedPictures: label map of shape {labels.shape} for an image of {image.width} x {image.height} px."
            )
        photograph = image.convert("RGB")
        self.labels, self.fill = labels, fill
        self._pixels, self._filled = np.asarray(photograph), fill_photograph(photograph, fill)
        self.url = lru_cache(kept)(self._url)

    @property
    def num_regions(self) -> int:
        """Regions of the image."""
        return int(self.labels.max()) + 1

    @property
    def everything(self) -> Subset:
        """All regions."""
        return (1 << self.num_regions) - 1

    @property
    def fingerprint(self) -> str:
        """A short name for image, label map and fill."""
        return fingerprint(self._pixels, self.labels.astype(np.int64), self.fill)

    def _url(self, subset: Subset) -> str:
        keep = keep_rows([subset], self.num_regions)[0]
        return data_url(show_photograph(self._pixels, self.labels, keep, self._filled))
