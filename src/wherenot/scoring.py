"""From a model to a score: shows it images of which only some regions are visible and reads the target's odds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wherenot.masking import show
from wherenot.objective import log_odds
from wherenot.types import Model

# Pixels of one forward. Small batches are faster per image on a CPU, where big activations fall out of the cache
# (four 224 px images cost 0.3x per image of what thirty-two cost); a GPU wants large ones.
_CPU_PIXELS = 4 * 224 * 224
_GPU_PIXELS = 128 * 224 * 224


@contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """Put every submodule of `model` in eval mode and restore each one's own mode afterwards.

    A plain callable has no mode and is left alone. Attribution and alignment forwards run under it, so that they
    neither move BatchNorm statistics nor see dropout.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Dropout(), nn.Linear(2, 2).eval())
        >>> with evaluating(model):
        ...     model.training, model[0].training
        (False, False)
        >>> model.training, model[0].training, model[1].training
        (True, True, False)
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    try:
        if isinstance(model, nn.Module):
            model.eval()
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


class RegionScore:
    """The score of subsets of regions of a batch of images: the `SubsetScore` that a search asks.

    Hides everything outside a subset, runs the model in chunks and counts its forwards. The chunk is halved when
    the device runs out of memory, and stays halved. The values of one subset depend neither on the chunk nor on
    what else is asked in the same call, up to floating-point noise of the model's own kernels.

    Args:
        model: Gives logits; asked in eval mode, whatever mode it is in.
        images: What it is asked about, in its input space.
        labels: Region label map of each image, values 0..K-1.
        targets: The class whose score is read, one per image.
        fill: What hidden pixels show, one image each (`masking.fill_images`).
        chunk: Images per forward; None chooses by device and image size.
        on_forward: Called with the number of images after each chunk, for progress.
        keep_mode: Leave the model in its own mode. Only the legacy preset wants this: in train mode masked
            images move the BatchNorm statistics and dropout makes the scores random.

    Attributes:
        forwards: Images run through the model so far.
    """

    def __init__(
        self,
        model: Model,
        images: Float[Tensor, "B C H W"],
        labels: Int[Tensor, "B H W"],
        targets: Int[Tensor, " B"],
        fill: Float[Tensor, "B C H W"],
        *,
        chunk: int | None = None,
        on_forward: Callable[[int], None] | None = None,
        keep_mode: bool = False,
    ) -> None:
        if not (len(images) == len(labels) == len(targets) == len(fill)):
            raise ValueError(
                f"RegionScore: images, labels, targets and fill must hold one entry per image, "
                f"got {len(images)}, {len(labels)}, {len(targets)} and {len(fill)}."
            )
        if chunk is not None and chunk < 1:
            raise ValueError(f"RegionScore: chunk must be at least 1, got {chunk}.")
        self._model = model
        self._images = images
        self._labels = labels
        self._targets = targets
        self._fill = fill
        self._chunk = chunk or default_chunk(images)
        self._on_forward = on_forward
        self._keep_mode = keep_mode
        self.forwards = 0

    @property
    def device(self) -> torch.device:
        """Where the images are, and where subsets must be."""
        return self._images.device

    @torch.no_grad()
    def __call__(self, image: Int[Tensor, " N"], keep: Bool[Tensor, "N K"]) -> Float[Tensor, " N"]:
        """Return the target's probability, in [0, 1], for each subset."""
        odds: list[Tensor] = []
        start = 0
        while start < len(image):
            rows = slice(start, start + self._chunk)
            try:
                odds.append(self._odds(image[rows], keep[rows]))
            except torch.OutOfMemoryError:
                if self._chunk == 1:
                    raise
                self._chunk = max(1, self._chunk // 2)
                continue
            start += len(image[rows])
            self._count(len(odds[-1]))
        return torch.cat(odds).sigmoid() if odds else self._images.new_zeros(0)

    def odds(self, image: Int[Tensor, " N"], keep: Bool[Tensor, "N K"]) -> Float[Tensor, " N"]:
        """Return the target's log-odds, differentiable in the model's weights.

        More than one chunk is run under activation checkpointing: memory stays that of one chunk, for one more
        forward in the backward pass.
        """
        chunks = list(zip(image.split(self._chunk), keep.split(self._chunk), strict=True))
        odds = [
            checkpoint(self._odds, *rows, use_reentrant=False) if len(chunks) > 1 else self._odds(*rows)
            for rows in chunks
        ]
        self._count(len(image))
        return torch.cat(odds) if odds else self._images.new_zeros(0)

    def _odds(self, image_N: Tensor, keep_NK: Tensor) -> Tensor:
        shown = show(self._images, self._labels, image_N, keep_NK, self._fill)
        if self._keep_mode:
            return log_odds(self._model(shown), self._targets[image_N])
        # Inside, not around the caller: a checkpointed chunk runs again in the backward pass.
        with evaluating(self._model):
            return log_odds(self._model(shown), self._targets[image_N])

    def _count(self, images: int) -> None:
        self.forwards += images
        if self._on_forward is not None:
            self._on_forward(images)


def default_chunk(images: Float[Tensor, "B C H W"]) -> int:
    """Images per forward that suit the device: about 4 of 224 x 224 px on a CPU, 128 on a GPU.

    Example:
        >>> import torch
        >>> default_chunk(torch.zeros(1, 3, 224, 224)), default_chunk(torch.zeros(1, 3, 28, 28))
        (4, 256)
    """
    pixels = _CPU_PIXELS if images.device.type == "cpu" else _GPU_PIXELS
    return max(1, pixels // (images.shape[-1] * images.shape[-2]))
