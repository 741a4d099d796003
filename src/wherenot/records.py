"""The records of an audit on disk: Parquet in parts, and per process a journal of what came since its last part."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from wherenot.data.samples import printable
from wherenot.record_table import FLAGS, RecordTable, flags, flat_numbers
from wherenot.run import RunFolder

# Names that begin with an underscore are none of the data for other readers of Parquet folders.
FOLDER = "records"
PART_ROWS = 5000
_TEXTS = ("split", "id", "group", "evidence_file")
_READ_AT_ONCE = 1000


class RecordStore:
    """Reads the records in a run folder, also while they are being written.

    Each row of a part holds the record as JSON, its place among all samples (``number``), split, id, group and
    evidence file, `FLAGS`, and every number of the record in a column by its path (``true.coverage``; True is 1), so
    that other programs can read them: ``pandas.read_parquet("runs/audit/records")``.

    Args:
        run: The run folder. Nothing is created.
    """

    def __init__(self, run: Path) -> None:
        self.folder = Path(run) / FOLDER

    def parts(self) -> list[Path]:
        """The finished parts, by name."""
        return sorted(self.folder.glob("part-*.parquet"))

    def numbers(self) -> set[int]:
        """Places of the samples that have a record.

        Raises:
            ValueError: If a file cannot be read; it is named.
        """
        sealed = self.sealed()
        return sealed | {row["number"] for row in self._journalled(sealed)}

    def read(self) -> Iterator[dict[str, Any]]:
        """Records part by part, in the order of the data within each; with their ``number``.

        One process writes in the order of the data; several take turns in it, each its own parts.

        Raises:
            ValueError: If a file cannot be read; it is named.
        """
        for row in self.read_rows():
            yield {"number": row["number"], **json.loads(row["record"])}

    def read_rows(self, *columns: str) -> Iterator[dict[str, Any]]:
        """Rows as they are stored, or some of their columns, without more than a thousand in memory.

        Raises:
            ValueError: If a file cannot be read; it is named.
        """
        sealed: set[int] = set()
        wanted = list(columns) or ["number", *_TEXTS, *FLAGS, "record"]
        for part in self.parts():
            with _opened(part) as file:
                for batch in file.iter_batches(_READ_AT_ONCE, columns=[*wanted, "number"]):
                    sealed.update(batch.column("number").to_pylist())
                    yield from batch.select(wanted).to_pylist()
        for row in self._journalled(sealed):
            yield {name: value for name, value in _row(row).items() if name in wanted}

    def tables(self) -> dict[str, RecordTable]:
        """The numbers of all records by split; splits in the order of the data.

        Raises:
            ValueError: If a file cannot be read; it is named.
        """
        found: dict[str, list[RecordTable]] = {}
        first: dict[str, int] = {}
        sealed: set[int] = set()
        for part in self.parts():
            with _opened(part) as file:
                table = file.read(columns=[name for name in file.schema_arrow.names if name != "record"])
            sealed.update(table["number"].to_pylist())
            _add(table, found, first)
        if rows := list(self._journalled(sealed)):
            _add(_arrow(rows), found, first)
        return {split: RecordTable.joined(found[split]) for split in sorted(found, key=first.__getitem__)}

    def sealed(self) -> set[int]:
        """Places of the samples whose records are in finished parts.

        Raises:
            ValueError: If a part cannot be read; it is named.
        """
        sealed: set[int] = set()
        for part in self.parts():
            with _opened(part) as file:
                sealed.update(file.read(columns=["number"])["number"].to_pylist())
        return sealed

    def _journalled(self, sealed: set[int]) -> Iterator[dict[str, Any]]:
        """Rows of the journals that are in no part yet: a kill may come between a part and the end of its journal."""
        for path in sorted(self.folder.glob("_journal-*.jsonl")):
            rows = [row for row in _whole_lines(path) if row["number"] not in sealed]
            yield from sorted(rows, key=lambda row: row["number"])


class RecordWriter:
    """Adds records; what was added is on the disk, whatever happens to the process. One writer per name at a time.

    Args:
        run: The run folder.
        name: Of the process, the same when it goes on.

    Raises:
        ValueError: On entering, if another process writes under this name.
    """

    def __init__(self, run: Path, name: str) -> None:
        self._store = RecordStore(run)
        self._folder = RunFolder(self._store.folder)
        self._name = name
        self._lock = record_lock(run, name)
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> RecordWriter:
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise ValueError(
                f"RecordWriter: another process writes into {self._folder.path} as {self._name}; let it finish, or "
                "choose another folder."
            ) from None
        sealed = self._store.sealed()
        self._rows = [row for row in self._folder.records(self._journal.name) if row["number"] not in sealed]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.seal()
        finally:
            self._lock.release()

    def add(self, records: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Add records with the place of their samples."""
        rows = [{"number": number, **record} for number, record in records]
        self._folder.append(self._journal.name, *rows)
        self._rows += rows
        if len(self._rows) >= PART_ROWS:
            self.seal()

    def seal(self) -> None:
        """Make a part of the journal; a kill before it is whole leaves the journal, one after it does no harm."""
        if self._rows:
            taken = len(list(self._folder.path.glob(f"part-{self._name}-*.parquet")))
            target = self._folder.path / f"part-{self._name}-{taken:06d}.parquet"
            partial = target.with_name(f"_{target.name}")
            pq.write_table(_arrow(sorted(self._rows, key=lambda row: row["number"])), partial, compression="zstd")
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(target)
            self._rows = []
        self._journal.unlink(missing_ok=True)

    @property
    def _journal(self) -> Path:
        return self._folder.path / f"_journal-{self._name}.jsonl"


def record_lock(run: Path, name: str) -> FileLock:
    """What a writer holds while it lives."""
    return FileLock(Path(run) / FOLDER / f"_lock-{name}")


def _whole_lines(journal: Path) -> Iterator[dict[str, Any]]:
    """Rows of a journal but for a last line that is not whole, since its writer may be about to end it."""
    try:
        content = journal.read_bytes()
    except FileNotFoundError:  # it became a part in this moment
        return
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise ValueError(f"RecordStore: {journal}, line {number}: not JSON ({error}).") from error


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored of a record, but for its numbers."""
    record = {name: value for name, value in row.items() if name != "number"}
    return {
        "number": row["number"],
        **{name: row.get(name) and printable(row[name]) for name in _TEXTS},
        **dict(zip(FLAGS, flags(row), strict=True)),
        "record": json.dumps(record),
    }


def _arrow(rows: list[dict[str, Any]]) -> pa.Table:
    whole = [_row(row) for row in rows]
    flat = [{f"{path}": value for path, value in flat_numbers(row).items() if path not in whole[0]} for row in rows]
    columns: dict[str, pa.Array] = {"number": pa.array([row["number"] for row in whole], pa.int64())}
    columns |= {name: pa.array([row[name] for row in whole], pa.string()) for name in _TEXTS}
    columns |= {name: pa.array([row[name] for row in whole], pa.bool_()) for name in FLAGS}
    for path in dict.fromkeys(path for numbers in flat for path in numbers):
        columns[path] = pa.array([numbers.get(path) for numbers in flat], pa.float64(), from_pandas=True)
    columns["record"] = pa.array([row["record"] for row in whole], pa.string())
    return pa.table(columns)


def _add(table: pa.Table, found: dict[str, list[RecordTable]], first: dict[str, int]) -> None:
    """Put the rows of a part to those of their splits."""
    splits, numbers = np.array(table["split"].to_pylist(), dtype=object), table["number"].to_numpy()
    known = {"number", *_TEXTS, *FLAGS, "record"}
    whole = RecordTable(
        group=np.array(table["group"].to_pylist(), dtype=object),
        flag={name: table[name].to_numpy() for name in FLAGS},
        columns={name: table[name].to_numpy().astype(np.float64) for name in table.column_names if name not in known},
    )
    for split in dict.fromkeys(splits.tolist()):
        chosen = splits == split
        found.setdefault(split, []).append(whole.where(chosen))
        lowest = int(numbers[chosen].min())
        first[split] = min(first.get(split, lowest), lowest)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A part; what goes wrong while it is read names it."""
    try:
        with pq.ParquetFile(path) as file:
            if missing := {"number", *_TEXTS, *FLAGS, "record"} - set(file.schema_arrow.names):
                raise pa.ArrowInvalid(f"it lacks the columns {', '.join(sorted(missing))}")
            yield file
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"RecordStore: cannot read {path} ({error}).") from error
