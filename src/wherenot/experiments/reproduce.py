"""`wherenot reproduce`: plans a study, has its trials run, and writes its table and figures."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wherenot.experiments.agents import FIGURES, FigureName
from wherenot.experiments.cost import PlanLine, forwards_per_second, plan_lines
from wherenot.experiments.pool import Ran, run_trials
from wherenot.experiments.results import Result, audited_splits, read_results
from wherenot.experiments.studies import Row, StudyName, StudyOptions, study_rows
from wherenot.experiments.tables import POINTING, TOP1, Column, StudyTable, build_table
from wherenot.experiments.trials import AnyTrial, Trial
from wherenot.experiments.weights import Candidate, candidates, choose, tried, weights_markdown
from wherenot.experiments.writing import write_table
from wherenot.metrics import over_seeds
from wherenot.report import Point, Run, Shown, evidence_grid, load_evidence, load_run, sweep_figure
from wherenot.run import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """What a study came to.

    Attributes:
        table: Its numbers.
        folder: Where its files are.
        files: What was written.
        unfinished: Trials that failed, or that another process is running.
    """

    table: StudyTable
    folder: Path
    files: list[Path]
    unfinished: list[Ran]


def reproduce(
    study: StudyName,
    options: StudyOptions,
    out: Path,
    *,
    grid: Sequence[float] = (),
    processes: int = 1,
    threads: int | None = None,
    pictures: int = 6,
    on_start: Callable[[int, int], None] | None = None,
    on_trial: Callable[[Ran], None] | None = None,
) -> Reproduced:
    """Run what is missing of a study and write what is known of it.

    Args:
        study: Which table or figure.
        options: On what, and how small.
        out: Folder for trials, which studies share, and a folder per study.
        grid: Multiples of each method's weight that validation chooses from; none keeps the weights.
        processes: Trials that run at once.
        threads: Of each process; None shares the cores.
        pictures: Images of figure 2, tasks of figures 4 to 6.
        on_start: Called with how many trials are finished and how many there are.
        on_trial: Called as each trial ends.

    Returns:
        Table and files; a trial that failed is missing in them and does not stop the others.

    Raises:
        ValueError: If an option cannot be used, or weights cannot be chosen yet since another process tries them.
    """
    folder = RunFolder(out / study)
    rows = study_rows(study, options, {})
    tuning = _candidates(study, rows, grid)
    # With other weights other trials take their place: as many, unless a weight stays as it is.
    needed = {each.trial for each in tuning} | {trial for row in rows for trial in row.trials}
    if on_start is not None:
        on_start(sum(trial.is_finished(out) for trial in needed), len(needed))
    unfinished: list[Ran] = []
    if tuning:
        ran = run_trials([each.trial for each in tuning], out, processes=processes, threads=threads, on_trial=on_trial)
        if any(each.outcome == "busy" for each in ran):
            raise ValueError("reproduce: another process is trying weights of this study; call again when it is done.")
        unfinished += [each for each in ran if each.outcome != "finished"]
        found = tried(tuning, out)
        chosen = choose(found)
        (folder.path / "weights.md").write_text(weights_markdown(found, chosen), encoding="utf-8")
        rows = study_rows(study, options, chosen)
    trials = [trial for row in rows for trial in row.trials]
    ran = run_trials(trials, out, processes=processes, threads=threads, on_trial=on_trial)
    unfinished += [each for each in ran if each.outcome != "finished"]
    results = read_results(rows, out)
    table = build_table(study, rows, results, out)
    folder.write("study.json", {"study": study, "options": asdict(options), "grid": list(grid)})
    files = write_table(table, results, folder.path)
    failures = "".join(f"- {each.name}: {each.error or each.outcome}\n" for each in unfinished)
    (folder.path / "unfinished.md").write_text(failures, encoding="utf-8")
    if study == "fig2":
        files += _qualitative(rows, results, out, folder.path, pictures)
    if study in ("fig4", "fig5", "fig6"):
        files += _of_agents(study, rows, results, out, folder.path, pictures)
    if study == "fig3":
        files += _sweeps(rows, results, folder.path)
    return Reproduced(table=table, folder=folder.path, files=files, unfinished=unfinished)


def plan(
    study: StudyName,
    options: StudyOptions,
    out: Path,
    *,
    grid: Sequence[float] = (),
    tflops: float,
    measured: float | None = None,
) -> list[PlanLine]:
    """What is left to do of a study, and how long it takes.

    Args:
        study: Which.
        options: On what.
        out: Where finished trials are.
        grid: As for `reproduce`.
        tflops: What the device sustains.
        measured: Forwards a second instead.
    """
    rows = study_rows(study, options, {})
    if any(not isinstance(trial, Trial) for row in rows for trial in row.trials):
        raise ValueError(f"reproduce: --plan knows what classifiers cost, not agents; leave it out for {study}.")
    groups: list[tuple[str, Sequence[Trial]]] = [
        (row.label, [trial for trial in row.trials if isinstance(trial, Trial)]) for row in rows
    ]
    groups += [(f"{each.method}, weight {each.weight:g}", (each.trial,)) for each in _candidates(study, rows, grid)]
    return plan_lines(groups, out, lambda model: measured or forwards_per_second(model, tflops))


def _candidates(study: StudyName, rows: Sequence[Row], grid: Sequence[float]) -> list[Candidate]:
    if grid and study == "fig3":
        raise ValueError("reproduce: fig3 varies options one by one, so it has no weight to choose; leave --grid out.")
    if grid and any(not isinstance(row.trials[0], Trial) for row in rows):
        raise ValueError(f"reproduce: {study} takes the weights of agents' methods as they are; leave --grid out.")
    return candidates(rows, grid)


def _blocks(rows: Sequence[Row]) -> list[list[Row]]:
    return [[row for row in rows if row.block == block] for block in dict.fromkeys(row.block for row in rows)]


def _qualitative(
    rows: Sequence[Row], results: dict[AnyTrial, Result], root: Path, folder: Path, pictures: int
) -> list[Path]:
    """Figure 2: the same images under every method; images are drawn, not chosen."""
    files = []
    for number, members in enumerate(_blocks(rows), start=1):
        splits = audited_splits(members, results)
        runs = [load_run(t.audit_folder(root)) if (t := row.trials[0]) in results else None for row in members]
        audited = next((run for run in runs if run is not None), None)
        if audited is None:
            continue
        keys = [
            record.key
            for record in audited.records
            if record.split == splits[0] and record.true and record.true.get("coverage") is not None
        ]
        drawn = np.random.default_rng(0).permutation(len(keys))[:pictures].tolist()
        grid = [(Path(keys[index][1]).name, [_shown(run, keys[index]) for run in runs]) for index in sorted(drawn)]
        if not grid:
            continue
        where = f"{members[0].data}, {members[0].model}, {splits[0]}, seed {members[0].trials[0].train.seed}"
        title = f"{where}: evidence for the true label"
        figure = evidence_grid(grid, [row.label for row in members], title=title)
        files += _save(figure, folder / f"fig2-{number}")
    return files


def _shown(run: Run | None, key: tuple[str, str]) -> Shown | None:
    record = None if run is None else next((each for each in run.records if each.key == key), None)
    if run is None or record is None or record.evidence_file is None:
        return None
    hit = (record.true or {}).get(POINTING)
    right = "right" if record.correct else "wrong"
    words = f"{run.class_name(record.predicted)}, {right}; {'on' if hit else 'off'} prior"
    return Shown(evidence=load_evidence(run.path / record.evidence_file), caption=words)


def _of_agents(
    study: FigureName,
    rows: Sequence[Row],
    results: dict[AnyTrial, Result],
    root: Path,
    folder: Path,
    pictures: int,
) -> list[Path]:
    """Figures 4 to 6: the same tasks under every method that is finished; tasks are drawn, not chosen."""
    files = []
    for number, members in enumerate(_blocks(rows), start=1):
        runs = [load_run(row.trials[0].audit_folder(root)) for row in members if row.trials[0] in results]
        if not runs:
            continue
        stem = folder / f"{study}-{number}"
        for old in folder.glob(f"{stem.name}.*"):
            old.unlink()
        try:
            files += _save(FIGURES[study](runs, tasks=pictures), stem)
        except ValueError as error:  # as when every answer of figure 6 has a click
            note = stem.with_suffix(".md")
            note.write_text(f"{error}\n", encoding="utf-8")
            files.append(note)
    return files


def _sweeps(rows: Sequence[Row], results: dict[AnyTrial, Result], folder: Path) -> list[Path]:
    """Figure 3: accuracy, and pointing, against every swept option."""
    files = []
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
            files += _save(figure, folder / f"fig3-{number}-{short}")
    return files


def _point(row: Row, column: Column, results: dict[AnyTrial, Result]) -> Point | None:
    values = [results[t].value(column.split, column.metric) for t in row.trials if t in results]
    spread = over_seeds(values)
    if math.isnan(spread.value):
        return None
    low, high = (None if math.isnan(end) else end for end in (spread.low, spread.high))
    return Point(at=row.swept[1] if row.swept else None, mean=spread.value, low=low, high=high)


def _save(figure: Figure, stem: Path) -> list[Path]:
    import matplotlib

    files = [stem.with_name(f"{stem.name}{suffix}") for suffix in (".pdf", ".png")]
    with matplotlib.rc_context({"pdf.fonttype": 42}), warnings.catch_warnings():  # whole fonts, text that can be copied
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for file in files:
            figure.savefig(file, dpi=160)
    return files
