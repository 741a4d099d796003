"""The list of samples that a run did without: ``rejected.jsonl`` in its folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

REJECTED = "rejected.jsonl"


def write_rejected(
    folder: Path, rejected: Iterable[Mapping[str, Any]], records: Iterable[Mapping[str, Any]] = ()
) -> Path:
    """Write a line for each sample that was left out when the data were read, or failed in the run.

    Args:
        folder: The run folder.
        rejected: ``id``, ``reason`` and ``faulty`` of those left out.
        records: Of the run; those with an ``error`` failed.

    Returns:
        The file; empty if nothing is missing.

    Example:
        >>> import tempfile
        >>> bad = {"id": "a.png", "reason": "a.png: no such file", "faulty": True}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(write_rejected(Path(folder), [bad]).read_text(), end="")
        {"id": "a.png", "reason": "a.png: no such file", "faulty": true, "when": "reading"}
    """
    rows = [{**each, "when": "reading"} for each in rejected]
    rows += [
        {"id": record["id"], "split": record["split"], "reason": record["error"], "faulty": True, "when": "running"}
        for record in records
        if record["error"] is not None
    ]
    target = folder / REJECTED
    part = target.with_suffix(".part")
    part.write_text("".join(json.dumps(row) + "\n" for row in rows))
    part.replace(target)
    return target
