"""What an endpoint has said, kept as it comes: replies cost time and money."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wherenot.run import RunFolder
from wherenot.search.memo import Subset


def fingerprint(*parts: object) -> str:
    """A short name for what a reading depends on.

    Args:
        parts: Arrays, by their numbers and shape, and anything that JSON can write.

    Example:
        >>> fingerprint("a", 1) == fingerprint("a", 1), fingerprint("a", 1) == fingerprint("a", 2)
        (True, False)
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]


class Readings:
    """A JSONL file with the answer to be explained and the probabilities read so far. Several threads may add to it.

    A file may hold the readings of several questions; each sees its own.

    Args:
        path: The file; made when there is something to write.
        question: What was asked of which model: `fingerprint` of image, prompt, answer, model and URL.
        picture: How the image was masked: `fingerprint` of region map and fill.

    Attributes:
        answer: What is known of the answer; None if it has not been asked for.
        known: By subset and name, the probabilities.

    Raises:
        ValueError: If the folder cannot be written, or a line of the file cannot be read.
    """

    def __init__(self, path: Path, question: str, picture: str) -> None:
        path = Path(path)
        self._folder, self._name = RunFolder(path.parent), path.name
        self._question, self._picture = question, picture
        self._lock = threading.Lock()
        self.answer: dict[str, Any] | None = None
        self.known: dict[Subset, dict[str, float]] = {}
        for number, record in enumerate(self._folder.records(self._name), start=1):
            try:
                self._take(record)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ValueError(
                    f"Readings: {path}, line {number}: no reading of an endpoint ({error}); delete the file to begin "
                    "anew."
                ) from error

    @property
    def path(self) -> Path:
        """The file."""
        return self._folder.path / self._name

    def set_answer(self, facts: Mapping[str, Any]) -> None:
        """Keep what is known of the answer."""
        self.answer = dict(facts)
        self._append({"question": self._question, "answer": self.answer})

    def add(self, subset: Subset, found: Mapping[str, float]) -> None:
        """Keep the probabilities of tokens given a subset of the regions."""
        with self._lock:
            self.known.setdefault(subset, {}).update(found)
        self._append({"question": self._question, "picture": self._picture, "shown": f"{subset:x}", "found": found})

    def _append(self, record: Mapping[str, Any]) -> None:
        with self._lock:
            self._folder.append(self._name, record)

    def _take(self, record: Mapping[str, Any]) -> None:
        if record["question"] != self._question:
            return
        if "answer" in record:
            self.answer = dict(record["answer"])
        elif record["picture"] == self._picture:
            self.known.setdefault(int(record["shown"], 16), {}).update(record["found"])
