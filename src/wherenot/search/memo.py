"""Subsets of regions, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from wherenot.types import SubsetScore

Subset = int
"""Regions as a bit set: bit r is set where region r is visible."""

Reading = Float[np.ndarray, " R"]
"""What the score says of one subset; the first number is the target's probability."""


def subset_of(regions: Iterable[int]) -> Subset:
    """The bit set of some regions.

    Example:
        >>> subset_of([0, 2])
        5
    """
    subset = 0
    for region in regions:
        subset |= 1 << int(region)
    return subset


def keep_rows(subsets: Sequence[Subset], num_regions: int) -> Bool[np.ndarray, "N K"]:
    """Bit sets as booleans, one row each.

    Example:
        >>> keep_rows([5], 4).tolist()
        [[True, False, True, False]]
    """
    size = (num_regions + 7) // 8
    packed = np.frombuffer(b"".join(subset.to_bytes(size, "little") for subset in subsets), dtype=np.uint8)
    bits = np.unpackbits(packed.reshape(len(subsets), size), axis=1, count=num_regions, bitorder="little")
    return bits.astype(bool)


class Request(NamedTuple):
    """Subsets of one image whose readings are wanted."""

    image: int
    subsets: Sequence[Subset]


class Memo:
    """Readings of subsets of the regions of several images, each asked of the score once.

    Args:
        score: Answers for any image of the batch.
        num_regions: Number of regions of each image; they may differ.
        device: Where the questions to `score` are built.

    Attributes:
        known: Per image, the readings of the subsets asked so far.
        forwards: Subsets asked of `score` so far.

    Raises:
        ValueError: If an image has no region.

    Example:
        >>> memo = Memo(lambda image, keep: keep.sum(1, keepdim=True) / 3.0, [3])
        >>> memo.ask([Request(0, [0b001, 0b111]), Request(0, [0b111])])
        [2, 0]
        >>> memo.known[0][0b111].tolist()
        [1.0]
    """

    def __init__(self, score: SubsetScore, num_regions: Sequence[int], *, device: torch.device | str = "cpu") -> None:
        if min(num_regions, default=1) < 1:
            raise ValueError(f"Memo: every image needs at least one region, got {list(num_regions)}.")
        self._score = score
        self._device = device
        self._width = max(num_regions, default=0)
        self.num_regions = list(num_regions)
        self.known: list[dict[Subset, Reading]] = [{} for _ in num_regions]
        self.forwards = 0

    def everything(self, image: int) -> Subset:
        """All regions of an image."""
        return (1 << self.num_regions[image]) - 1

    def ask(self, requests: Sequence[Request]) -> list[int]:
        """Make sure that the readings of all requested subsets are known, with one question for all that are not.

        Returns:
            How many subsets each request added; one wanted twice counts for the first.

        Raises:
            ValueError: If the score answers in the wrong shape, or with a number that is not finite.
        """
        rows: list[tuple[int, Subset]] = []
        added = []
        for image, subsets in requests:
            known = self.known[image]
            new = [subset for subset in dict.fromkeys(subsets) if subset not in known]
            rows += [(image, subset) for subset in new]
            added.append(len(new))
            known.update(dict.fromkeys(new, _ASKED))
        if rows:
            try:
                readings = self._readings(rows)
            except BaseException:
                for image, subset in rows:
                    del self.known[image][subset]
                raise
            for (image, subset), reading in zip(rows, readings, strict=True):
                self.known[image][subset] = reading
            self.forwards += len(rows)
        return added

    def _readings(self, rows: list[tuple[int, Subset]]) -> Float[np.ndarray, "N R"]:
        image: Int[torch.Tensor, " N"] = torch.tensor([image for image, _ in rows], device=self._device)
        keep = torch.from_numpy(keep_rows([subset for _, subset in rows], self._width)).to(self._device)
        readings = self._score(image, keep).double().cpu().numpy()
        if readings.ndim != 2 or len(readings) != len(rows):
            raise ValueError(
                f"Memo: the score of {len(rows)} subsets must have shape ({len(rows)}, R), got {readings.shape}."
            )
        finite = np.isfinite(readings).all(1)
        if not finite.all():
            at = int(finite.argmin())
            raise ValueError(
                f"Memo: the score of a subset of image {rows[at][0]} is {readings[at].tolist()}; a score must be "
                "finite. Look for NaN or infinity in the image, the fill or the model's logits (half precision?)."
            )
        return readings


_ASKED: Reading = np.empty(0)
