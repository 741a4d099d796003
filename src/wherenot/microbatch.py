"""How many masked images go into one forward.

Small batches are faster per image on a CPU, where big activations fall out of the cache; a GPU wants large ones. Where
the optimum lies depends on the model, so it is measured, once per model and image size.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from wherenot.types import Model

# Pixels of one forward when nothing is measured.
_CPU_PIXELS = 4 * 224 * 224
_GPU_PIXELS = 128 * 224 * 224
_LARGEST_CPU, _LARGEST_GPU = 64, 1024
# A larger batch must be this much faster per image to be worth its memory; noise alone must not decide.
_WORTH = 0.97
_PATIENCE_S = 2.0


@dataclass(frozen=True)
class MicroBatch:
    """How masked images are shown to a model.

    Attributes:
        size: Images per forward.
        channels_last: Whether they lie in memory pixel by pixel, which convolutions may like better.
    """

    size: int
    channels_last: bool = False


_measured: WeakKeyDictionary[Model, dict[tuple[object, ...], MicroBatch]] = WeakKeyDictionary()


def default_chunk(images: Float[Tensor, "B C H W"]) -> int:
    """Images per forward that suit the device: about 4 of 224 x 224 px on a CPU, 128 on a GPU.

    Example:
        >>> import torch
        >>> default_chunk(torch.zeros(1, 3, 224, 224)), default_chunk(torch.zeros(1, 3, 28, 28))
        (4, 256)
    """
    return chunk_of_pixels(images.shape[-1] * images.shape[-2], images.device)


def chunk_of_pixels(pixels: int, device: torch.device) -> int:
    """Images of so many pixels per forward that suit a device, at least one.

    Example:
        >>> chunk_of_pixels(128 * 256, torch.device("cpu"))
        6
    """
    most = _CPU_PIXELS if device.type == "cpu" else _GPU_PIXELS
    return max(1, most // pixels)


def measured(
    model: Model, images: Float[Tensor, "B C H W"], forward: Callable[[Tensor], object], variant: object = None
) -> MicroBatch:
    """The micro-batch with the best throughput for this model and image size, measured on the first call.

    Doubles the batch until it no longer pays, then tries the memory layout; about thirty forwards. Remembered until
    the model is gone, so that the same call chooses the same again.

    Args:
        model: Whose forward it is; what is remembered hangs on it.
        images: Only their shape, dtype and device matter.
        forward: Runs a batch of such images, in the mode and precision that will be used.
        variant: Further settings that change the cost (autocast, say).

    Returns:
        The fastest; the default size where nothing can be remembered of the model.

    Example:
        >>> import torch
        >>> model = torch.nn.Flatten()
        >>> best = measured(model, torch.zeros(1, 3, 8, 8), model)
        >>> best == measured(model, torch.zeros(1, 3, 8, 8), model)
        True
    """
    key = (tuple(images.shape[1:]), images.dtype, images.device, torch.get_num_threads(), variant)
    try:
        known = _measured.setdefault(model, {})
    except TypeError:  # a callable that cannot be hashed or referred to weakly
        return MicroBatch(default_chunk(images))
    if key not in known:
        known[key] = _measure(images, forward)
    return known[key]


def _measure(images: Tensor, forward: Callable[[Tensor], object]) -> MicroBatch:
    largest = _LARGEST_CPU if images.device.type == "cpu" else _LARGEST_GPU
    best, best_s, size = 1, float("inf"), 1
    sample = images[:1].detach()
    while size <= largest:
        batch = sample.expand(size, -1, -1, -1).contiguous()
        try:
            took_s = _seconds(forward, batch)
        except torch.OutOfMemoryError:
            break
        if took_s / size < _WORTH * best_s:
            best, best_s = size, took_s / size
        elif size >= 4 * best:
            break
        if took_s > _PATIENCE_S:
            break
        size *= 2
    if images.shape[1] == 1:  # with one channel both layouts are the same
        return MicroBatch(best)
    batch = sample.expand(best, -1, -1, -1).contiguous()
    last_s = _seconds(forward, batch.contiguous(memory_format=torch.channels_last))
    first_s = _seconds(forward, batch)
    return MicroBatch(best, channels_last=last_s < _WORTH * first_s)


def _seconds(forward: Callable[[Tensor], object], batch: Tensor, repeats: int = 3) -> float:
    """The fastest of a few runs after the first, which pays for what later ones reuse."""
    times = []
    for _ in range(repeats):
        _synchronize(batch.device)
        started = time.perf_counter()
        forward(batch)
        _synchronize(batch.device)
        times.append(time.perf_counter() - started)
    return min(times[1:])


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
