"""From a model to a score: shows it images of which only some regions are visible and reads the target's odds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wherenot.dropping import Dropping, find_patch_tokens
from wherenot.masking import FillName, Normalization, fill_images, show
from wherenot.microbatch import MicroBatch, default_chunk, measured
from wherenot.objective import log_odds
from wherenot.types import Model

# Fewer questions than this are answered before a measurement would pay.
_WORTH_MEASURING = 48


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
        targets: The class whose score is read, one per image or several.
        fill: What hidden pixels show, one image each (`masking.fill_images`), or which patches to drop.
        chunk: Images per forward; ``measure`` finds the fastest on the first long question; None chooses by device
            and image size, the same every time.
        autocast: Run forwards in this precision; the softmax stays in float32.
        on_forward: Called with the number of images after each chunk, for progress.
        keep_mode: Leave the model in its own mode. Only the legacy preset wants this: in train mode masked
            images move the BatchNorm statistics and dropout makes the scores random.

    Attributes:
        forwards: Images run through the model so far.
        halved: How often the chunk was halved.

    Raises:
        ValueError: If the arguments do not belong together, or the model answers with something that is not logits.
    """

    def __init__(
        self,
        model: Model,
        images: Float[Tensor, "B C H W"],
        labels: Int[Tensor, "B H W"],
        targets: Int[Tensor, " B"] | Int[Tensor, "B T"],
        fill: Float[Tensor, "B C H W"] | Dropping,
        *,
        chunk: int | str | None = None,
        autocast: torch.dtype | None = None,
        on_forward: Callable[[int], None] | None = None,
        keep_mode: bool = False,
    ) -> None:
        filled = len(fill.patch_labels) if isinstance(fill, Dropping) else len(fill)
        if not (len(images) == len(labels) == len(targets) == filled):
            raise ValueError(
                f"RegionScore: images, labels, targets and fill must hold one entry per image, "
                f"got {len(images)}, {len(labels)}, {len(targets)} and {filled}."
            )
        if chunk not in (None, "measure") and (isinstance(chunk, str) or chunk < 1):
            raise ValueError(f"RegionScore: chunk must be a number >= 1, 'measure' or None, got {chunk!r}.")
        self._model = model
        self._images = images
        self._labels = labels
        self._targets = targets if targets.ndim == 2 else targets[:, None]
        self._fill = fill
        self._measures = chunk == "measure"
        self._batch = MicroBatch(chunk if isinstance(chunk, int) else default_chunk(images))
        self._autocast = autocast
        self._on_forward = on_forward
        self._keep_mode = keep_mode
        self._seen_logits = False
        self.forwards = 0
        self.halved = 0

    @property
    def device(self) -> torch.device:
        """Where the images are, and where subsets must be."""
        return self._images.device

    # Not inference mode: what a model keeps between forwards (rotary tables, say) would be useless for training after.
    @torch.no_grad()
    def __call__(self, image: Int[Tensor, " N"], keep: Bool[Tensor, "N K"]) -> Float[Tensor, "N T"]:
        """Return the targets' probabilities, in [0, 1], for each subset."""
        with nullcontext() if self._keep_mode else evaluating(self._model):
            return self._readings(image, keep)

    def _readings(self, image: Tensor, keep: Tensor) -> Tensor:
        if self._measures and len(image) >= _WORTH_MEASURING:
            self._batch = measured(self._model, self._images, self._forward, variant=self._autocast)
            self._measures = False
        readings: list[Tensor] = []
        rows: list[Tensor] = []
        waiting = self._batches(image, keep)[::-1]
        while waiting:
            batch = waiting.pop()
            try:
                readings.append(self._read(self._logits(image[batch], keep[batch]), image[batch]))
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                waiting += self._halve(batch)
                continue
            rows.append(batch)
            self._count(len(batch))
        if not rows:
            return self._images.new_zeros(0, self._targets.shape[1])
        return torch.cat(readings)[torch.cat(rows).argsort()]

    def odds(self, image: Int[Tensor, " N"], keep: Bool[Tensor, "N K"]) -> Float[Tensor, " N"]:
        """Return the log-odds of the first target, differentiable in the model's weights.

        More than one chunk is run under activation checkpointing: memory stays that of one chunk, for one more
        forward in the backward pass. Without memory for a chunk it is halved, as in a search.
        """
        odds: list[Tensor] = []
        rows: list[Tensor] = []
        waiting = self._batches(image, keep)[::-1]
        alone = len(waiting) == 1
        while waiting:
            batch = waiting.pop()
            try:
                odds.append(
                    self._odds(image[batch], keep[batch])
                    if alone
                    else checkpoint(self._odds, image[batch], keep[batch], use_reentrant=False)
                )
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                waiting += self._halve(batch)
                alone = False
                continue
            rows.append(batch)
        self._count(len(image))
        return torch.cat(odds)[torch.cat(rows).argsort()] if odds else self._images.new_zeros(0)

    def _halve(self, batch: Tensor) -> list[Tensor]:
        """Go on with half the chunk, and do what could not be done in two parts, the last first."""
        self._batch = MicroBatch(max(1, self._batch.size // 2), self._batch.channels_last)
        self.halved += 1
        return list(batch.split((len(batch) + 1) // 2)[::-1])

    def _batches(self, image_N: Tensor, keep_NK: Tensor) -> list[Tensor]:
        """Which rows go into which forward."""
        if isinstance(self._fill, Dropping):
            return self._fill.batches(image_N, keep_NK, self._batch.size)
        rows = torch.arange(len(image_N), device=image_N.device)
        return list(rows.split(self._batch.size)) if len(rows) else []

    def _odds(self, image_N: Tensor, keep_NK: Tensor) -> Tensor:
        # Inside, not around the caller: a checkpointed chunk runs again in the backward pass.
        with nullcontext() if self._keep_mode else evaluating(self._model):
            return log_odds(self._logits(image_N, keep_NK), self._targets[image_N, 0])

    def _logits(self, image_N: Tensor, keep_NK: Tensor) -> Tensor:
        if isinstance(self._fill, Dropping):
            logits = self._fill.forward(self._forward, self._images, image_N, keep_NK)
        else:
            logits = self._forward(show(self._images, self._labels, image_N, keep_NK, self._fill))
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(image_N):
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(
                f"RegionScore: the model must give logits of shape ({len(image_N)}, classes), it gave {shape}."
            )
        return logits

    def _forward(self, images_NCHW: Tensor) -> Tensor:
        if self._batch.channels_last:
            images_NCHW = images_NCHW.contiguous(memory_format=torch.channels_last)
        if self._autocast is None:
            return self._model(images_NCHW)
        with torch.autocast(self.device.type, self._autocast):
            return self._model(images_NCHW)

    def _read(self, logits_NL: Tensor, image_N: Tensor) -> Tensor:
        if not self._seen_logits:
            _refuse_probabilities(logits_NL)
            self._seen_logits = True
        targets = self._targets[image_N]
        return torch.stack([log_odds(logits_NL, column).sigmoid() for column in targets.unbind(1)], dim=1)

    def _count(self, images: int) -> None:
        self.forwards += images
        if self._on_forward is not None:
            self._on_forward(images)


def hiding(
    model: Model,
    images: Float[Tensor, "B C H W"],
    labels: Int[Tensor, "B H W"],
    fill: FillName | Tensor,
    normalization: Normalization | None = None,
) -> tuple[Int[Tensor, "B H W"], Float[Tensor, "B C H W"] | Dropping]:
    """How regions will be hidden, as `RegionScore` wants it, and the label maps that go with it.

    The maps are those given, except that with ``drop`` regions follow the model's patches.

    Raises:
        ValueError: If the fill does not suit the model or the images.
    """
    if not isinstance(fill, str) or fill != "drop":
        return labels, fill_images(fill, images, normalization)
    with evaluating(model):
        tokens = find_patch_tokens(model, images)
    patches = tokens.patch_labels(labels)
    nothing = fill_images("mean", images, normalization)
    return tokens.pixel_labels(patches, *images.shape[-2:]), Dropping(tokens, patches, nothing)


def _refuse_probabilities(logits_NL: Float[Tensor, "N L"]) -> None:
    """Rows of numbers in [0, 1] that sum to 1 are no logits."""
    rows = logits_NL.float()
    if bool((rows >= 0).all() & ((rows.sum(1) - 1).abs() < 1e-4).all()):
        raise ValueError(
            "RegionScore: the model seems to give probabilities (every row is >= 0 and sums to 1); it must give "
            "logits. Leave out its softmax, or hand over their logarithm."
        )
