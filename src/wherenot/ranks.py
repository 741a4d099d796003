"""Several processes of one launch on one audit: who they are, and how the first waits for the others."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
from filelock import Timeout

from wherenot.records import FOLDER, RecordStore, RecordWriter, record_lock

_PATIENCE_S = 600.0  # for a process that has not begun, which may still be loading its model
_POLL_S = 1.0


def process_rank() -> tuple[int, int]:
    """Number of this process, and how many there are: ``RANK`` and ``WORLD_SIZE``, as accelerate and torchrun set them.

    Raises:
        ValueError: If they make no sense.

    Example:
        >>> process_rank()
        (0, 1)
    """
    given = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    try:
        rank, ranks = map(int, given)
    except ValueError:
        rank, ranks = -1, 0
    if not 0 <= rank < ranks:
        raise ValueError(
            f"process_rank: RANK={given[0]} of WORLD_SIZE={given[1]} is no process of a launch; start the command with "
            "accelerate launch or torchrun, or unset both."
        )
    return rank, ranks


def own_device() -> str:
    """The GPU of this process, by ``LOCAL_RANK``, or the CPU where there is none.

    Example:
        >>> own_device() in ("cpu", "cuda:0")
        True
    """
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"


def wait_for_all(store: RecordStore, total: int, *, ranks: int, patience_s: float = _PATIENCE_S) -> None:
    """Return when all records are there and no other process writes.

    Args:
        store: Where all processes write.
        total: Records there will be.
        ranks: Processes of the launch.
        patience_s: How long nobody may write and nothing may come, in seconds.

    Raises:
        ValueError: If they do not come; it says how many are missing.
    """
    found, since = len(store.numbers()), time.monotonic()
    others = [f"{rank:05d}" for rank in range(1, ranks)]
    while True:
        held = any(_is_held(store.folder.parent, name) for name in others)
        now = len(store.numbers())
        if now >= total and not held:
            return
        if now > found or held:
            found, since = now, time.monotonic()
        elif time.monotonic() - since > patience_s:
            raise ValueError(
                f"wait_for_all: {total - now} of {total} records are missing in {store.folder}, and no other process "
                "writes; start the same command again, it goes on with those."
            )
        time.sleep(_POLL_S)


def seal_journals(run: Path) -> None:
    """Make parts of what processes left that were killed.

    Raises:
        ValueError: If one of them still writes.
    """
    for journal in sorted((Path(run) / FOLDER).glob("_journal-*.jsonl")):
        with RecordWriter(run, journal.stem.removeprefix("_journal-")):
            pass  # leaving it seals


def _is_held(run: Path, name: str) -> bool:
    lock = record_lock(run, name)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False
