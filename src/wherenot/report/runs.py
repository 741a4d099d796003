"""Reads what an audit left on disk: a run folder in, one `Run` out."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from wherenot.records import RecordStore
from wherenot.report.wording import MISSING
from wherenot.run import RunWarning

RECORDS_READ = 20_000
"""About so many records of a run are looked at one by one; its metrics are of all."""
EXTRA_READ = 2000
"""Of more, at most so many that failed, and so many that have a picture, are looked at besides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One number of an audit with its interval; a value that could not be computed is None or NaN."""

    split: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    missing: int = 0
    higher_is_better: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What the audit found for one image, or for one question about it.

    Attributes:
        label: The class by number, or the right answer; None where nobody gave one.
        predicted: The same of what the model says.
        prompt: What was asked; None for a classifier.
        corrected: The answer after regions that mislead were hidden; None if it was not or could not be corrected.
        searched: Whether the image was drawn to have its evidence searched.
        noise: Whether the answer is right under noise, by its standard deviation.
        corrupted: Whether it is right under a corruption, by name and severity.
        true: Evidence measures for the labelled class, or for the answer, by metric name; None where the image failed.
        predicted_evidence: The same for the predicted class.
        clicked: Where an agent clicked, x and y in [0, 1] of the screenshot; None without a click.
        malformed: Whether no action can be read from an agent's answer; None where it was not asked to act.
        faults: How its answer differs from its format (`gui.FAULTS`).
        click_success: Whether it clicked into the target's box; None without a box.
        click_distance_px: How far beside it, in pixels of the screenshot; None without a click or a box.
        click_distance_1000: The same in thousandths of the screen.
        type_match: Whether the action is of the right type; None where nobody said what is right.
        exact_match: Whether it is the right one, by AgentCPM-GUI's rules.
        reliance: What the first word that tells where loses when the target is hidden; None where it was not measured.
        no_reliance: Why it was not.
        thought_evidence: The same as `true` for the agent's thought alone; None where it was not searched.
        action_evidence: The same for what it wrote besides.
        consistency: How far the two agree, by metric name.
        unexplained: Why there is no evidence for thought or action.
        evidence_file: The stored arrays, relative to the run folder; None if they were not kept.
        error: Why the image failed; None if it did not.
    """

    id: str
    split: str
    group: str | None = None
    searched: bool = True
    prompt: str | None = None
    label: int | str | None = None
    predicted: int | str | None = None
    correct: bool | None = None
    correct_top2: bool | None = None
    p_label: float | None = None
    p_predicted: float | None = None
    noise: dict[str, bool | None] = field(default_factory=dict)
    corrupted: dict[str, bool | None] = field(default_factory=dict)
    true: dict[str, bool | int | float | None] | None = None
    predicted_evidence: dict[str, bool | int | float | None] | None = None
    corrected: str | None = None
    clicked: tuple[float, float] | None = None
    malformed: bool | None = None
    faults: tuple[str, ...] = ()
    click_success: bool | None = None
    click_distance_px: float | None = None
    click_distance_1000: float | None = None
    type_match: bool | None = None
    exact_match: bool | None = None
    reliance: float | None = None
    no_reliance: str | None = None
    thought_evidence: dict[str, bool | int | float | None] | None = None
    action_evidence: dict[str, bool | int | float | None] | None = None
    consistency: dict[str, bool | float | None] | None = None
    unexplained: dict[str, str] = field(default_factory=dict)
    evidence_file: str | None = None
    error: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Split and id: what names the same image in every run."""
        return self.split, self.id


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """A sample the data check refused, and why."""

    id: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A finished audit: `run.json`, `metrics.json` and `records/` of one folder.

    Attributes:
        path: The run folder.
        failed: Images the audit accepted but could not finish, as counted by the audit.
        training_warnings: What looked wrong in the training run of the audited model.
        classes: Class names by label; empty if the audit knew none.
        metrics: Of all images.
        records: Of all images, or of some if there are more than `RECORDS_READ`.
        num_records: Of all images.
    """

    name: str
    model: str = ""
    data: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    seed: int | None = None
    started: str = ""
    seconds: float | None = None
    rejected: tuple[Rejected, ...] = ()
    failed: int = 0
    training_warnings: tuple[RunWarning, ...] = ()
    classes: tuple[str, ...] = ()
    path: Path = Path()
    metrics: tuple[Metric, ...] = ()
    records: tuple[Record, ...] = ()
    num_records: int = 0

    def class_name(self, label: int | str | None) -> str:
        """Return the name of a class, or a stand-in that says its number.

        Args:
            label: The class index, or an answer in words; None where the audit has none.

        Returns:
            Text for a reader.

        Example:
            >>> Run(name="paper", classes=("cat", "dog")).class_name(1)
            'dog'
            >>> Run(name="paper").class_name(7)
            'class 7'
        """
        if label is None:
            return MISSING
        if isinstance(label, str):
            return label
        return self.classes[label] if 0 <= label < len(self.classes) else f"class {label}"


def load_run(path: str | Path) -> Run:
    """Read the run folder of a finished audit.

    Args:
        path: The folder an audit wrote.

    Returns:
        Everything but the evidence arrays, which stay on disk (`load_evidence`).

    Raises:
        ValueError: If the folder or a file is missing, the run is not an audit or was interrupted, or a line
            cannot be read; the message names the file, and the line if there is one.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"load_run: there is no run folder {folder}")
    about = _read_json(folder / "run.json")
    if not isinstance(about, dict) or about.get("command") != "audit":
        command = about.get("command") if isinstance(about, dict) else None
        raise ValueError(
            f"load_run: {folder} is not the run of an audit: its run.json says command {command!r}. "
            "Audit the model first, then report on the audit's folder."
        )
    if not (folder / "metrics.json").exists():
        raise ValueError(
            f"load_run: the audit in {folder} did not finish: it has no metrics.json, and "
            f"records of {_images(len(RecordStore(folder).numbers()))}. Run the audit again with the same folder."
        )
    rows = _read_json(folder / "metrics.json")
    with _errors_naming(folder / "metrics.json"):
        metrics = TypeAdapter(tuple[Metric, ...]).validate_python(rows.get("rows") if isinstance(rows, dict) else rows)
    records, total = _read_records(folder)
    found = {"path": folder, "metrics": metrics, "records": records, "num_records": total}
    with _errors_naming(folder / "run.json"):
        return TypeAdapter(Run).validate_python(about | found)


def _read_json(path: Path) -> Any:
    """Parse one JSON file or say which one cannot be."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"load_run: {path} is missing") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"load_run: {path} is not valid JSON: {error}") from error


@contextmanager
def _errors_naming(where: Path | str) -> Iterator[None]:
    """Turn a failed check into one line that names the place and the field."""
    try:
        yield
    except ValidationError as error:
        first: Mapping[str, Any] = error.errors(include_url=False)[0]
        place = ": ".join([str(where), *([".".join(map(str, first["loc"]))] if first["loc"] else [])])
        raise ValueError(f"load_run: {place}: {first['msg']}") from error


def _read_records(folder: Path) -> tuple[tuple[Record, ...], int]:
    """Read records and say how many there are; of very many, those of a random part of the images, and failed ones.

    The same images are chosen in every run. One that is audited twice is an error, since it would count twice.
    """
    store = RecordStore(folder)
    if not store.folder.is_dir():
        raise ValueError(f"load_run: {store.folder} is missing")
    total = sum(1 for _ in store.read_rows("number"))
    every = -(-total // RECORDS_READ)
    adapter = TypeAdapter(Record)
    records: dict[tuple[str, str], tuple[int, Record]] = {}
    num_failed = num_pictured = 0
    for row in store.read_rows():
        num_failed += row["failed"]
        num_pictured += row["evidence_file"] is not None
        chosen = zlib.crc32(f"{row['split']}/{row['id']}".encode()) % every == 0
        if not (
            chosen
            or (row["failed"] and num_failed <= EXTRA_READ)
            or (row["evidence_file"] is not None and num_pictured <= EXTRA_READ)
        ):
            continue
        with _errors_naming(f"{store.folder}, record {row['number']}"):
            record = adapter.validate_json(row["record"])
        if record.key in records:
            raise ValueError(f"load_run: {store.folder}: image {record.id!r} of split {record.split!r} appears twice")
        records[record.key] = row["number"], record
    return tuple(record for _, record in sorted(records.values(), key=itemgetter(0))), total


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"
