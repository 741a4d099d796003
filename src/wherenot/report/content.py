"""What the report shows, as plain data: no pixels, no markup.

`build_content` decides everything that depends on the numbers (which value is marked, which images are shown, what
the headline says); `html` only lays it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wherenot.report.columns import Cell, Column, group_runs, measured
from wherenot.report.comparison import ComparisonRow, comparison_rows
from wherenot.report.headline import headline, pointing_metric
from wherenot.report.provenance import (
    Difference,
    Problem,
    Training,
    doubtful_trainings,
    list_problems,
    settings_that_differ,
)
from wherenot.report.runs import Record, Run
from wherenot.report.wording import MISSING, is_detail

CONFIDENT = 0.8
OFFENDERS_SHOWN = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricRow:
    """One metric of one split.

    Attributes:
        cells: The values, one per column.
        differences: From the first column, one per further column.
        is_detail: Whether it can wait until the reader asks for it.
    """

    metric: str
    higher_is_better: bool | None
    cells: tuple[Cell, ...]
    differences: tuple[ComparisonRow, ...]
    is_detail: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitTable:
    """All metrics of one split."""

    split: str
    rows: tuple[MetricRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One audited image as one model saw it.

    Attributes:
        column: The model's name.
        record: What the audit found; None if this model's run lacks the image.
        evidence: The stored arrays; None if they were not kept.
        label: Name of the labelled class, or the right answer.
        predicted: Name of the predicted class, or what the model says.
        hit: Whether the strongest region lies on the prior; None without a prior.
        coverage: Share of the strongest region that lies on the prior.
    """

    column: str
    record: Record | None
    evidence: Path | None
    label: str
    predicted: str
    hit: bool | None
    coverage: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GalleryRow:
    """The same image, or question about it, across all columns."""

    id: str
    split: str
    group: str | None
    prompt: str | None
    label: str
    cells: tuple[Shown, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Offenders:
    """Right for the wrong reason: confident right answers whose strongest region is off the prior.

    Attributes:
        shown: The worst of them, lowest coverage first.
        num_off: How many there are.
        num_confident: Confident right answers on images with a prior.
    """

    column: str
    shown: tuple[Shown, ...]
    num_off: int
    num_confident: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """Everything the page shows.

    Attributes:
        asks: Whether the models answered questions, and the evidence is for their answers.
        acts: Whether they were agents with tasks on screenshots.
        pointing: The pointing game that decides between hit and miss on the page; None if none was measured.
        gallery: The same images for all columns, chosen by position in the data.
        warnings: Why numbers of different columns may not be comparable.
        trainings: Models whose training looked wrong.
    """

    title: str
    headline: tuple[str, ...]
    columns: tuple[Column, ...]
    asks: bool
    acts: bool
    pointing: str | None
    tables: tuple[SplitTable, ...]
    gallery: tuple[GalleryRow, ...]
    offenders: tuple[Offenders, ...]
    problems: tuple[Problem, ...]
    differing: tuple[Difference, ...]
    warnings: tuple[str, ...]
    trainings: tuple[Training, ...]


def build_content(runs: Sequence[Run], *, gallery: int = 12) -> Content:
    """Decide what a report on these runs shows.

    Args:
        runs: Finished audits; the first one's model is what the others are compared with. Runs that share a name
            and differ in their seed become one column.
        gallery: How many images to show side by side.

    Returns:
        The page as data.

    Raises:
        ValueError: If there is no run, a folder is given twice, or `gallery` is negative.
    """
    if gallery < 0:
        raise ValueError(f"build_content: gallery={gallery}; pass the number of images to show, 0 or more")
    columns = group_runs(runs)
    comparison = comparison_rows(runs)
    pointing = pointing_metric(columns)
    names = ", ".join(column.name for column in columns)
    data = ", ".join(dict.fromkeys(run.data for run in runs if run.data))
    return Content(
        title=f"{names} on {data}" if data else names,
        headline=headline(columns, comparison),
        columns=columns,
        asks=any(record.prompt is not None for run in runs for record in run.records),
        acts=any(record.malformed is not None for run in runs for record in run.records),
        pointing=pointing,
        tables=tuple(_split_tables(columns, comparison)),
        gallery=tuple(_gallery(columns, pointing, gallery)),
        offenders=tuple(_offenders(column, pointing) for column in columns) if pointing else (),
        problems=list_problems(columns),
        differing=settings_that_differ(columns),
        warnings=tuple(_warnings(columns)),
        trainings=doubtful_trainings(columns),
    )


def _split_tables(columns: Sequence[Column], comparison: Sequence[ComparisonRow]) -> Iterator[SplitTable]:
    """Lay out every metric of every split, and mark what is clearly best."""
    rows = measured(columns)
    for split in dict.fromkeys(row.split for row in rows):
        yield SplitTable(
            split=split,
            rows=tuple(
                MetricRow(
                    metric=row.metric,
                    higher_is_better=row.higher_is_better,
                    cells=_marked([column.cell(split, row.metric) for column in columns], row.higher_is_better),
                    differences=tuple(
                        other
                        for other in comparison
                        if (other.split, other.metric) == (split, row.metric) and not other.is_baseline
                    ),
                    is_detail=is_detail(row.metric),
                )
                for row in rows
                if row.split == split
            ),
        )


def _marked(cells: Sequence[Cell], higher_is_better: bool | None) -> tuple[Cell, ...]:
    """Mark the best value, unless its interval overlaps the first column's."""
    values = [cell.value for cell in cells if cell.value is not None]
    if higher_is_better is None or not values:
        return tuple(cells)
    best = max(values) if higher_is_better else min(values)
    return tuple(replace(cell, best=cell.value == best and cell.clear_of(cells[0])) for cell in cells)


def _gallery(columns: Sequence[Column], pointing: str | None, num_images: int) -> Iterator[GalleryRow]:
    """Choose images evenly over each split, by their place in the first run, and never by what was found."""
    by_key = [{record.key: record for record in column.runs[0].records} for column in columns]
    pictured = [{key for key, record in found.items() if record.evidence_file} for found in by_key]
    everywhere = set.intersection(*pictured)
    anywhere = set.union(*pictured)
    order = list(dict.fromkeys(key for found in by_key for key in found))
    candidates = [key for key in order if key in (everywhere or anywhere)]
    for key in spread(candidates, num_images):
        shown = [_shown(column, found.get(key), pointing) for column, found in zip(columns, by_key, strict=True)]
        present = next(cell for cell in shown if cell.record is not None)
        assert present.record is not None
        yield GalleryRow(
            id=key[1],
            split=key[0],
            group=present.record.group,
            prompt=present.record.prompt,
            label=present.label,
            cells=tuple(shown),
        )


def spread(keys: Sequence[tuple[str, str]], num_images: int) -> list[tuple[str, str]]:
    """Take `num_images` keys: equally many per split as far as there are, at even distances within a split.

    Args:
        keys: Split and id, in the order of the data.
        num_images: At most so many.

    Returns:
        Some of the keys, in the same order.

    Example:
        >>> spread([("a", "1"), ("a", "2"), ("a", "3"), ("b", "1")], 3)
        [('a', '1'), ('a', '3'), ('b', '1')]
    """
    splits: dict[str, list[tuple[str, str]]] = {}
    for key in keys:
        splits.setdefault(key[0], []).append(key)
    chosen: list[tuple[str, str]] = []
    for index, (_, members) in enumerate(sorted(splits.items(), key=lambda item: len(item[1]))):
        quota = min(len(members), (num_images - len(chosen)) // (len(splits) - index))
        places = np.linspace(0, len(members) - 1, quota).round().astype(int)
        chosen += [members[place] for place in places]
    places = {key: place for place, key in enumerate(keys)}
    return sorted(chosen, key=places.__getitem__)


def _offenders(column: Column, pointing: str) -> Offenders:
    """Find a model's confident right answers that rest off the prior, in its first run."""
    confident = [
        shown
        for record in column.runs[0].records
        if record.correct
        and (record.p_label or 0.0) >= CONFIDENT
        and (shown := _shown(column, record, pointing)).hit is not None
    ]
    off = [shown for shown in confident if not shown.hit]
    off.sort(key=_by_coverage)
    return Offenders(
        column=column.name,
        shown=tuple(off[:OFFENDERS_SHOWN]),
        num_off=len(off),
        num_confident=len(confident),
    )


def _by_coverage(shown: Shown) -> tuple[float, float]:
    """Order: least on the prior first, then the most confident."""
    confidence = shown.record.p_label if shown.record and shown.record.p_label else 0.0
    return (0.0 if shown.coverage is None else shown.coverage), -confidence


def _shown(column: Column, record: Record | None, pointing: str | None) -> Shown:
    """Collect what a caption needs."""
    run = column.runs[0]
    measures = (record.true if record else None) or {}
    hit = measures.get(pointing) if pointing else None
    coverage = measures.get("coverage")
    return Shown(
        column=column.name,
        record=record,
        evidence=run.path / record.evidence_file if record and record.evidence_file else None,
        label=run.class_name(record.label) if record else MISSING,
        predicted=run.class_name(record.predicted) if record else MISSING,
        hit=None if hit is None else bool(hit),
        coverage=None if coverage is None else float(coverage),
    )


def _warnings(columns: Sequence[Column]) -> Iterator[str]:
    """Say what makes a comparison of the columns doubtful, and what rests on a part of the images."""
    for run in (run for column in columns for run in column.runs):
        if run.num_records > len(run.records):
            yield (
                f"Of the {run.num_records:,} images of {run.name}, {len(run.records):,} are looked at one by one, the "
                "same in every run: single images, right answers off the prior and paired differences rest on these, "
                "metrics and their intervals on all."
            )
    data = sorted({run.data for column in columns for run in column.runs})
    if len(data) > 1:
        yield f"The runs were audited on different data ({', '.join(data)}): their numbers are not comparable."
    counts = {len(column.runs) for column in columns}
    if len(counts) > 1:
        yield "The models have different numbers of seeds, so their intervals mean different things."
