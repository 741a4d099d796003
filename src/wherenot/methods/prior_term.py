"""What map penalties and augmentations share: a weighted term on the images of a batch that have a prior."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wherenot.methods.base import Batch, Terms


@dataclass(frozen=True, kw_only=True)
class PriorTerm(ABC):
    """Adds `weight` times a loss of the images that have a prior, right or wrong alike, at every interval-th step.

    Raises:
        ValueError: If `weight` is negative or not finite, or `interval` is below 1.
    """

    name: ClassVar[str]

    weight: float
    """Factor of the loss in the total loss, at least 0; at 0 it is still measured."""

    interval: int = 1
    """Act at every interval-th optimizer step, counted from 1: with 10, at steps 10, 20, ..."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"{type(self).__name__}: weight must be finite and at least 0, got {self.weight}.")
        if self.interval < 1:
            raise ValueError(f"{type(self).__name__}: interval must be at least 1, got {self.interval}.")

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, rows: list[int], step: int) -> Float[Tensor, ""] | None:
        """Return the unweighted loss, in the graph of the model's weights; None if these images give none.

        Args:
            model: The model in training.
            batch: The whole batch.
            rows: Its images that have a prior, at least one.
            step: Optimizer step, counted from 1.
        """

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> Terms:
        """Return the weighted loss of `batch`.

        Args:
            model: The model in training; every submodule's mode is left as found.
            batch: The batch after the task's own forward.
            step: Optimizer step, counted from 1.

        Returns:
            The loss to add, and in the log the unweighted loss under the method's `name` and the number of images it
            is about under ``<name>_images``. Where there is none the loss is a constant 0 and the number 0; between two
            intervals it is a constant 0 and the log is empty.

        Raises:
            ValueError: If there is not one prior (or None) per image, or one has another size than the images.
        """
        if len(batch.priors) != len(batch.images):
            raise ValueError(
                f"{type(self).__name__}: {len(batch.images)} images need as many priors (None where there is none), "
                f"got {len(batch.priors)}."
            )
        nothing = torch.zeros((), device=batch.images.device)
        if step % self.interval:
            return Terms(nothing)
        rows = [row for row, prior in enumerate(batch.priors) if prior is not None]
        loss = self.loss(model, batch, rows, step) if rows else None
        if loss is None:
            return Terms(nothing, {f"{self.name}_images": 0.0}, parts=((nothing, 0),))
        log = {self.name: loss.item(), f"{self.name}_images": float(len(rows))}
        return Terms(self.weight * loss, log, parts=((self.weight * loss, len(rows)),))
