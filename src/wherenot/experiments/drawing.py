"""The figures of a study, from its finished trials."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from wherenot.experiments.agents import FIGURES, FigureName
from wherenot.experiments.results import Result, audited_splits, read_results
from wherenot.experiments.studies import Row, StudyName, StudyOptions, study_rows
from wherenot.experiments.tables import POINTING, TOP1, Column
from wherenot.experiments.trials import AnyTrial
from wherenot.experiments.weights import candidates, choose, tried
from wherenot.metrics import over_seeds
from wherenot.report import Point, Run, Shown, audited_tile, drawn_samples, evidence_grid, load_run, sweep_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One figure of a study.

    Attributes:
        name: Of its file, without suffix.
        figure: What was drawn; None if nothing could be.
        reason: Why not.
    """

    name: str
    figure: Figure | None
    reason: str = ""


def stored_drawings(folder: Path, *, pictures: int = 6) -> list[Drawing]:
    """Draw the figures of a study anew from what its trials left.

    Args:
        folder: Of the study, with ``study.json``; the trials are beside it.
        pictures: Images of figure 2, tasks of figures 4 to 6.

    Returns:
        The figures; none for a table.

    Raises:
        ValueError: If ``study.json`` cannot be read.
    """
    try:
        about = json.loads((folder / "study.json").read_text(encoding="utf-8"))
        options = TypeAdapter(StudyOptions).validate_python(about["options"])
        rows = study_rows(about["study"], options, {})
        if grid := about["grid"]:
            rows = study_rows(about["study"], options, choose(tried(candidates(rows, grid), folder.parent)))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"stored_drawings: {folder / 'study.json'} describes no study ({error}).") from error
    results = read_results(rows, folder.parent)
    return list(study_drawings(about["study"], rows, results, folder.parent, pictures))


def study_drawings(
    study: StudyName, rows: Sequence[Row], results: dict[AnyTrial, Result], root: Path, pictures: int
) -> Iterator[Drawing]:
    """Draw the figures of a study: of figure 2 pictures, of figure 3 curves, of figures 4 to 6 what agents did.

    Args:
        study: Which; tables have no figures.
        rows: What it is made of.
        results: Of the trials that are finished.
        root: Where trials are kept.
        pictures: Images of figure 2, tasks of figures 4 to 6.
    """
    if study == "fig2":
        yield from _qualitative(rows, results, root, pictures)
    if study in ("fig4", "fig5", "fig6"):
        yield from _of_agents(study, rows, results, root, pictures)
    if study == "fig3":
        yield from _sweeps(rows, results)


def _blocks(rows: Sequence[Row]) -> list[list[Row]]:
    return [[row for row in rows if row.block == block] for block in dict.fromkeys(row.block for row in rows)]


def _qualitative(rows: Sequence[Row], results: dict[AnyTrial, Result], root: Path, pictures: int) -> Iterator[Drawing]:
    """Figure 2: the same images under every method; images are drawn, not chosen."""
    for number, members in enumerate(_blocks(rows), start=1):
        splits = audited_splits(members, results)
        runs = [load_run(t.audit_folder(root)) if (t := row.trials[0]) in results else None for row in members]
        finished = [run for run in runs if run is not None]
        keys = drawn_samples(finished, pictures, splits=splits[:1]) if finished else []
        if not keys:
            continue
        grid = [(Path(key[1]).name, [_tile(run, key) for run in runs]) for key in keys]
        where = f"{members[0].data}, {members[0].model}, {splits[0]}, seed {members[0].trials[0].train.seed}"
        title = f"{where}: evidence for the true label"
        figure = evidence_grid(grid, [row.label for row in members], title=title)
        yield Drawing(name=f"fig2-{number}", figure=figure)


def _tile(run: Run | None, key: tuple[str, str]) -> Shown | None:
    record = None if run is None else next((each for each in run.records if each.key == key), None)
    return None if run is None or record is None else audited_tile(run, record, POINTING)


def _of_agents(
    study: FigureName, rows: Sequence[Row], results: dict[AnyTrial, Result], root: Path, pictures: int
) -> Iterator[Drawing]:
    """Figures 4 to 6: the same tasks under every method that is finished; tasks are drawn, not chosen."""
    for number, members in enumerate(_blocks(rows), start=1):
        runs = [load_run(row.trials[0].audit_folder(root)) for row in members if row.trials[0] in results]
        if not runs:
            continue
        try:
            yield Drawing(name=f"{study}-{number}", figure=FIGURES[study](runs, tasks=pictures))
        except ValueError as error:  # as when every answer of figure 6 has a click
            yield Drawing(name=f"{study}-{number}", figure=None, reason=str(error))


def _sweeps(rows: Sequence[Row], results: dict[AnyTrial, Result]) -> Iterator[Drawing]:
    """Figure 3: accuracy, and pointing, against every swept option."""
    for number, members in enumerate(_blocks(rows), start=1):
        for metric, short in ((TOP1, "accuracy"), (POINTING, "pointing")):
            panels: dict[str, dict[str, list[Point]]] = {}
            for row in members:
                for split in audited_splits(members, results) if row.swept else ():
                    point = _point(row, Column(split=split, metric=metric), results)
                    if row.swept and point is not None:
                        panels.setdefault(row.swept[0], {}).setdefault(split, []).append(point)
            if not panels:
                continue
            plain = {
                split: point.mean
                for split in audited_splits(members, results)
                if (point := _point(members[0], Column(split=split, metric=metric), results)) is not None
            }
            figure = sweep_figure(panels, metric=metric, references=plain)
            yield Drawing(name=f"fig3-{number}-{short}", figure=figure)


def _point(row: Row, column: Column, results: dict[AnyTrial, Result]) -> Point | None:
    values = [results[t].value(column.split, column.metric) for t in row.trials if t in results]
    spread = over_seeds(values)
    if math.isnan(spread.value):
        return None
    low, high = (None if math.isnan(end) else end for end in (spread.low, spread.high))
    return Point(at=row.swept[1] if row.swept else None, mean=spread.value, low=low, high=high)
