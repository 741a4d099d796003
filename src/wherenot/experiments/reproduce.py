"""`wherenot reproduce`: plans a study, has its trials run, and writes its table and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from wherenot.experiments.cost import PlanLine, forwards_per_second, plan_lines
from wherenot.experiments.drawing import study_drawings
from wherenot.experiments.pool import Ran, run_trials
from wherenot.experiments.results import read_results
from wherenot.experiments.studies import Row, StudyName, StudyOptions, study_rows
from wherenot.experiments.tables import StudyTable, build_table
from wherenot.experiments.trials import Trial
from wherenot.experiments.weights import Candidate, candidates, choose, tried, weights_markdown
from wherenot.experiments.writing import write_table
from wherenot.report import save_figure
from wherenot.run import RunFolder


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
    for old in folder.path.glob(f"{study}-*"):
        old.unlink()
    for drawn in study_drawings(study, rows, results, out, pictures):
        stem = folder.path / drawn.name
        if drawn.figure is None:
            note = stem.with_suffix(".md")
            note.write_text(f"{drawn.reason}\n", encoding="utf-8")
            files.append(note)
        else:
            files += save_figure(drawn.figure, stem)
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
