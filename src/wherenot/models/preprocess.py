"""From a photograph to a model's input, and the same geometry for priors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from wherenot.masking import Normalization
from wherenot.priors import Prior


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Resize, centre-crop and normalise: what a classifier expects of its images.

    Args:
        height: Height of the model's input in pixels.
        width: Width of the model's input in pixels.
        short_side: Resize the shorter side to this, keeping the aspect ratio, then crop the centre; None resizes
            both sides straight to the input size and crops nothing.
        resample: Pillow's number of the resize filter (2 bilinear, 3 bicubic).
        normalization: Applied to pixels in [0, 1].

    Example:
        >>> from PIL import Image
        >>> square = Preprocess(height=4, width=4)
        >>> square(Image.new("RGB", (8, 6), "white")).shape
        torch.Size([3, 4, 4])
    """

    height: int
    width: int
    short_side: int | None = None
    resample: int = Image.Resampling.BICUBIC.value
    normalization: Normalization = Normalization()

    def __post_init__(self) -> None:
        if self.short_side is not None and self.short_side < max(self.height, self.width):
            raise ValueError(
                f"Preprocess: short_side={self.short_side} is smaller than the crop of {self.height} x {self.width} "
                "pixels; nothing would be there to crop."
            )

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 H W"]:
        """Turn an image into the model's input."""
        pixels = torch.from_numpy(np.array(self.pixels(image))).permute(2, 0, 1).float() / 255
        return self.normalization.apply(pixels[None])[0]

    def pixels(self, image: Image.Image) -> Image.Image:
        """The RGB image as the model sees it, before normalisation."""
        height, width = self._resized(image.height, image.width)
        image = image.convert("RGB")
        if (height, width) != (image.height, image.width):
            image = image.resize((width, height), Image.Resampling(self.resample))
        top, left = self._corner(height, width)
        return image.crop((left, top, left + self.width, top + self.height))

    def whole(self) -> Preprocess:
        """The same input from the whole image, squeezed (bicubic) instead of cropped, as in the paper.

        Nothing of the image, nor of its prior, is cut away.

        Example:
            >>> Preprocess(height=224, width=224, short_side=256).whole() == Preprocess(height=224, width=224)
            True
        """
        return replace(self, short_side=None, resample=Image.Resampling.BICUBIC.value)

    def prior(self, prior: Prior) -> Prior | None:
        """Carry a prior through the same resize and crop; None if the crop leaves nothing of it.

        The prior must lie on the grid of the original image.
        """
        height, width = self._resized(*prior.shape)
        resized = prior.resize(height, width) if (height, width) != prior.shape else prior
        top, left = self._corner(height, width)
        window = (slice(top, top + self.height), slice(left, left + self.width))
        cropped = {
            name: None if grid is None else grid[window]
            for name, grid in (
                ("allowed", resized.allowed),
                ("forbidden", resized.forbidden),
                ("ignore", resized.ignore),
            )
        }
        forbidden = cropped["forbidden"]
        if forbidden is not None and not forbidden.any():
            cropped["forbidden"] = None
        try:
            return replace(resized, **cropped)
        except ValueError:  # a prior that says nothing about what is left of the image
            return None

    def view(self, height: int, width: int) -> tuple[float, float, float, float]:
        """What the model sees of an image, ``(x0, y0, x1, y1)`` in fractions of its width and height.

        Args:
            height: Height of the original image in pixels.
            width: Width of the original image in pixels.

        Example:
            >>> Preprocess(height=4, width=4, short_side=4).view(height=4, width=8)
            (0.25, 0.0, 0.75, 1.0)
        """
        high, wide = self._resized(height, width)
        top, left = self._corner(high, wide)
        return left / wide, top / high, (left + self.width) / wide, (top + self.height) / high

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.short_side is None:
            return self.height, self.width
        if height < width:
            return self.short_side, int(self.short_side * width / height)
        return int(self.short_side * height / width), self.short_side

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        return (height - self.height) // 2, (width - self.width) // 2

    @classmethod
    def from_processor(cls, processor: Mapping[str, Any]) -> Preprocess:
        """Read the settings of a transformers image processor (its ``to_dict()``).

        Raises:
            ValueError: If the processor does something else than resize, centre-crop, rescale and normalise.

        Example:
            >>> vit = {"size": {"height": 224, "width": 224}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
            >>> Preprocess.from_processor(vit).short_side is None
            True
        """
        size, crop = dict(processor.get("size") or {}), dict(processor.get("crop_size") or {})
        size, crop = ({k: v for k, v in sides.items() if v is not None} for sides in (size, crop))
        edge = size.get("shortest_edge")
        cropped = processor.get("do_center_crop") and crop
        short_side: int | None
        if "height" in size and not cropped:
            (height, width), short_side = (size["height"], size["width"]), None
        elif edge and cropped and set(crop) == {"height", "width"}:
            height, width, short_side = crop["height"], crop["width"], edge
        elif edge and processor.get("crop_pct"):  # the ConvNeXT family, ResNet included
            height = width = edge
            short_side = int(edge / processor["crop_pct"]) if edge < 384 else None
        else:
            raise ValueError(
                f"Preprocess.from_processor: cannot read the geometry of {processor.get('image_processor_type')} "
                f"(size={size}, crop_size={crop}, do_center_crop={processor.get('do_center_crop')}); "
                "give a Preprocess(height=..., width=...) yourself."
            )
        normalized = processor.get("do_normalize", True)
        return cls(
            height=height,
            width=width,
            short_side=short_side,
            resample=int(processor.get("resample") or Image.Resampling.BILINEAR),
            normalization=(
                Normalization(tuple(processor["image_mean"]), tuple(processor["image_std"]))
                if normalized
                else Normalization()
            ),
        )
