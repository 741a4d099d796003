"""How much memory a piece of work takes at its peak, beyond what was in use before."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

_STATM = Path("/proc/self/statm")
_PAGE_BYTES = 4096
_EVERY_S = 0.002


class Peak:
    """The peak, once the work is done.

    Attributes:
        mib: In MiB; not a number where nothing can measure it.
    """

    mib: float = float("nan")


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measure the peak of what torch allocates on a GPU, or of the process's resident memory (Linux) elsewhere.

    Example:
        >>> with peak_memory(torch.device("cpu")) as peak:
        ...     big = torch.ones(8_000_000)
        >>> peak.mib > 20 or peak.mib != peak.mib
        True
    """
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak.mib = (torch.cuda.max_memory_allocated(device) - before) / 2**20
        return
    if not _STATM.is_file():
        yield peak
        return
    _give_back()
    done, before = threading.Event(), _resident_bytes()
    most = [before]

    def watch() -> None:
        while not done.wait(_EVERY_S):
            most[0] = max(most[0], _resident_bytes())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        most[0] = max(most[0], _resident_bytes())
        done.set()
        watcher.join()
    peak.mib = (most[0] - before) / 2**20


def _give_back() -> None:
    """Return freed memory to the system, or the next piece of work would use it unseen."""
    gc.collect()
    with suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _resident_bytes() -> int:
    return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
