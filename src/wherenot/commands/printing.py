"""Where commands print, and what they say of data and marks that they cannot use."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from wherenot.data import Dataset, Rejected, load_dataset
from wherenot.data.check import readable
from wherenot.data.samples import printable
from wherenot.progress import PatientConsole, progress_bar

# Into a file or a pipe, wide enough for a table; a terminal knows its own width.
console = PatientConsole(width=None if sys.stdout.isatty() else 160)


def readable_data(data: str, seed: int, *, strict: bool, splits: Collection[str] | None = None) -> Dataset:
    """Load a data set and read every image once, with a bar; what cannot be used is left out, or with strict an error.

    Args:
        data: As for `load_dataset`.
        seed: Of built-in data.
        strict: Stop at a sample that cannot be used.
        splits: Those that will be read; None = all.
    """
    on_bad = "error" if strict else "skip"
    dataset = load_dataset(data, seed=seed, on_bad=on_bad)
    splits = dataset.splits if splits is None else splits
    total = sum(sample.split in splits for sample in dataset.samples)
    with progress_bar() as bar:
        task = bar.add_task("read the data", total=total, note="images")
        return readable(dataset, splits, on_bad, on_sample=lambda: bar.advance(task))


def say_left_out(rejected: Sequence[Rejected], total: int, where: Path | None = None) -> None:
    """Name the first samples that were left out for a fault, and count all; nothing if none was."""
    bad = [each for each in rejected if each.faulty]
    if not bad:
        return
    for each in bad[:3]:
        console.print(f"left out: {each.reason}", soft_wrap=True, markup=False, highlight=False)
    more = f", {where} names all" if where is not None else ""
    line = f"{len(bad)} of {total + len(bad)} samples cannot be used and are left out{more}."
    console.print(line, style="bold red", soft_wrap=True, markup=False, highlight=False)


def say_failed(records: Sequence[tuple[str, str]], where: Path) -> None:
    """Name the first samples that failed in a run, of id and reason, and count all; nothing if none did."""
    for id, reason in records[:3]:
        console.print(f"failed: {printable(id)}: {printable(reason)}", soft_wrap=True, markup=False, highlight=False)
    if records:
        count = "1 sample failed and counts" if len(records) == 1 else f"{len(records)} samples failed and count"
        line = f"{count} as missing, {where} names all."
        console.print(line, style="bold red", soft_wrap=True, markup=False, highlight=False)


def unknown_marks(out: Path, feedback: Path | None) -> list[str]:
    """Marked samples that the data lack, by id.

    Args:
        out: The folder of the run that used the marks.
        feedback: The file with the marks; None if there were none.
    """
    if feedback is None:
        return []
    rejected = json.loads((out / "run.json").read_text())["rejected"]
    return [each["id"] for each in rejected if each["reason"].startswith(f"{feedback.name}, line ")]


def say_unknown_marks(out: Path, feedback: Path | None) -> None:
    """Print which marks are on samples that the data lack; nothing if there are none.

    Args:
        out: The folder of the run that used the marks.
        feedback: The file with the marks; None if there were none.
    """
    if unknown := unknown_marks(out, feedback):
        names = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        console.print(f"{feedback}: marked samples that are not in the data: {len(unknown)} ({names})", soft_wrap=True)
