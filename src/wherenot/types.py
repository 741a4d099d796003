"""The axis legend and the protocols that the rest of the package is written against.

Axes, everywhere: ``B`` images, ``K`` regions of one image, ``N`` masked images in one forward, ``C`` channels,
``H`` and ``W`` pixels, ``L`` classes, ``T`` tokens, ``E`` examples of a loss. A local tensor carries its axes as a
suffix (``keep_NK``); public argument names do not, their annotation does.

A *keep* is a boolean per region or pixel: True = visible. A *target* is the class whose score is explained.
Boxes are ``xyxy``, half-open, in pixels of the image they belong to.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor


@runtime_checkable
class Model(Protocol):
    """Anything that turns a batch of images into class logits: an ``nn.Module`` or a plain callable."""

    def __call__(self, images: Float[Tensor, "N C H W"], /) -> Float[Tensor, "N L"]:
        """Return one row of logits per image."""
        ...


@runtime_checkable
class SubsetScore(Protocol):
    """What a search may ask: the score of images of which only some regions are visible.

    A search knows neither the model nor the pixels; it sees images as indices and subsets as booleans.
    """

    def __call__(self, image: Int[Tensor, " N"], keep: Bool[Tensor, "N K"], /) -> Float[Tensor, "N R"]:
        """Return a reading of image ``image[n]`` with only ``keep[n]`` visible.

        The first number is the target's probability, in [0, 1]; what follows (other targets, tokens, features) is an
        agreement between the score and the objective.
        """
        ...


@runtime_checkable
class Partition(Protocol):
    """Cuts one RGB image into regions."""

    def __call__(self, image: UInt8[np.ndarray, "H W 3"], /) -> Int[np.ndarray, "H W"]:
        """Return the label map: values 0..K-1, every value used."""
        ...
