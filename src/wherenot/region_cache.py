"""Label maps that are computed once and kept on disk."""

from __future__ import annotations

import hashlib
import os
import zlib
from dataclasses import dataclass, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from jaxtyping import Int, UInt8

from wherenot.types import Partition

_LAYOUT = 1  # raised when what is stored, or how, changes


def default_cache() -> Path:
    """Where label maps are kept: ``$WHERENOT_CACHE``, or ``wherenot`` in the user's cache folder."""
    own = os.environ.get("WHERENOT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(base) / "wherenot"


@dataclass(frozen=True)
class CachedPartition:
    """A partition that looks for its label map on disk before it cuts.

    A map is found by the image's pixels, the partition's parameters and the version of what cuts. Each is written in
    one piece, so processes may share a folder; one that cannot be read is made anew, and where nothing can be written
    nothing is kept.

    Args:
        partition: Cuts what is not on disk; a dataclass, so that its parameters are known.
        folder: Where maps are kept, a few kilobytes each.

    Raises:
        ValueError: If the partition is no dataclass.

    Example:
        >>> import tempfile, numpy as np
        >>> from wherenot.regions import Grid
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cached = CachedPartition(Grid(1, 2), Path(folder))
        ...     [cached(np.zeros((1, 2, 3), np.uint8)).tolist() for _ in range(2)]
        [[[0, 1]], [[0, 1]]]
    """

    partition: Partition
    folder: Path

    def __post_init__(self) -> None:
        if not is_dataclass(self.partition):
            raise ValueError(
                f"CachedPartition: {type(self.partition).__name__} must be a dataclass, so that its parameters can be "
                "told from those of another."
            )

    def __call__(self, image: UInt8[np.ndarray, "H W 3"]) -> Int[np.ndarray, "H W"]:
        """Cut one RGB image, or read how it was cut before."""
        path = self._path(image)
        labels = _read(path, image.shape[:2])
        if labels is None:
            labels = self.partition(image)
            _write(path, labels)
        return labels

    def _path(self, image: UInt8[np.ndarray, "H W 3"]) -> Path:
        facts = f"{_LAYOUT} {self.partition!r} {_versions()} {image.shape}"
        key = hashlib.sha256(facts.encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
        return self.folder / key[:2] / f"{key[2:]}.z"


@cache
def _versions() -> str:
    found = []
    for package in ("scikit-image", "opencv-contrib-python-headless", "opencv-contrib-python"):
        try:
            found.append(f"{package}={version(package)}")
        except PackageNotFoundError:
            continue
    return " ".join(found)


def _read(path: Path, shape: tuple[int, ...]) -> Int[np.ndarray, "H W"] | None:
    try:
        content = zlib.decompress(path.read_bytes())
        return np.frombuffer(content, dtype="<u4").reshape(shape).astype(np.int64)
    except (OSError, zlib.error, ValueError):
        return None


def _write(path: Path, labels: Int[np.ndarray, "H W"]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own for every writer; the last to finish replaces what is there with the same content.
        with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            file.write(zlib.compress(labels.astype("<u4").tobytes(), 1))
        Path(file.name).replace(path)
    except OSError:
        return
