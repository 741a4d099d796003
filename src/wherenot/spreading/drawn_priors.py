"""Priors of many images, of which a linear model drew some: small in memory, made when they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from wherenot.priors import Prior


class PriorsOnDemand(Sequence["Prior | None"]):
    """Priors that are read or made when they are asked for; a subclass says how, and how many there are."""

    @abstractmethod
    def at(self, index: int) -> Prior | None:
        """Return the prior of an image, counted from 0; None if there is none."""

    @overload
    def __getitem__(self, index: int) -> Prior | None: ...
    @overload
    def __getitem__(self, index: slice) -> list[Prior | None]: ...
    def __getitem__(self, index: int | slice) -> Prior | list[Prior | None] | None:
        """As of any sequence."""
        chosen = range(len(self))[index]
        return self.at(chosen) if isinstance(chosen, int) else [self.at(each) for each in chosen]


class DrawnPriors(PriorsOnDemand):
    """Given priors, and pixels that were drawn in place of some, or beside what these say.

    What a person forbade or ignored in an image stays so. A drawing of 224 x 224 pixels takes 6 kB.

    Args:
        given: One per image; asked each time one is needed.
        forbids: Whether drawings say where evidence may not lie, the rest of the image being left open; else they say
            where it may.

    Example:
        >>> priors = DrawnPriors([None, None], forbids=False)
        >>> priors.draw(1, torch.tensor([[True, False]]))
        True
        >>> priors[0], priors[1].allowed
        (None, tensor([[ True, False]]))
    """

    def __init__(self, given: Sequence[Prior | None], *, forbids: bool) -> None:
        self._given = given
        self._forbids = forbids
        self._drawings: dict[int, tuple[bytes, torch.Size]] = {}

    def __len__(self) -> int:
        return len(self._given)

    def at(self, index: int) -> Prior | None:
        """Return the prior of an image; None if nobody gave one and none was drawn."""
        if index not in self._drawings:
            return self._given[index]
        bits, shape = self._drawings[index]
        inside = np.unpackbits(np.frombuffer(bits, np.uint8), count=shape.numel()).reshape(shape).astype(bool)
        return self._joined(self._given[index], torch.from_numpy(inside))

    def draw(self, index: int, inside: Bool[Tensor, "H W"]) -> bool:
        """Let evidence of an image lie inside alone.

        Args:
            index: Of the image.
            inside: On the pixels of the given priors.

        Returns:
            False if what was given stays as it is: the drawing allows nothing, or everything, or nothing that a person
            did not forbid.
        """
        given = self._given[index]
        if self._joined(given, inside) is given:
            return False
        self._drawings[index] = np.packbits(inside.cpu().numpy()).tobytes(), inside.shape
        return True

    def _joined(self, given: Prior | None, inside: Bool[Tensor, "H W"]) -> Prior | None:
        if not inside.any() or inside.all():
            return given
        if given is None:
            return Prior(forbidden=~inside) if self._forbids else Prior(allowed=inside)
        inside = inside.to(given.device)
        try:
            return given.with_forbidden(~inside) if self._forbids else replace(given, allowed=inside)
        except ValueError:  # nothing would be left
            return given
