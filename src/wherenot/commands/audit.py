"""`wherenot audit`, `compare` and `advise`: what runs are worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

from wherenot import cli
from wherenot.audit import AuditConfig, ClassifierAuditor, audit
from wherenot.auditing import Auditor, Engine, Here
from wherenot.commands.printing import (
    console,
    readable_data,
    say_failed,
    say_left_out,
    say_unknown_marks,
    unknown_marks,
)
from wherenot.commands.results import say_result
from wherenot.data import Dataset, ImageTextSample, load_dataset
from wherenot.models import Classifier, load_classifier, load_vlm
from wherenot.progress import progress_bar
from wherenot.ranks import own_device, process_rank
from wherenot.rejected import REJECTED
from wherenot.report import (
    comparison_markdown,
    comparison_rows,
    comparison_table,
    load_run,
    warnings_markdown,
    write_report,
)
from wherenot.run import RunFolder


def run_audit(command: cli.Audit) -> None:
    """Audit one model on one data set and write the report."""
    if command.strict:
        dataset = readable_data(command.data, command.seed, strict=True, splits=command.splits or None)
    else:
        dataset = load_dataset(command.data, seed=command.seed, on_bad="skip")
    name = command.name or Path(command.model).name
    out = command.out or Path("runs") / f"audit-{name}"
    shared: dict[str, Any] = {
        "splits": command.splits, "max_images": command.max_images, "partition": command.partition,
        "search": command.search, "max_regions": command.max_regions, "seed": command.seed,
        "feedback": None if command.feedback is None else str(command.feedback), "max_pictures": command.max_pictures,
    }  # fmt: skip
    if any(isinstance(sample, ImageTextSample) for sample in dataset.samples):
        from wherenot.audit_answers import AnswerAuditConfig, AnswerAuditor, audit_answers

        config = AnswerAuditConfig(
            fill=command.fill or "black", correct=command.correct, tokens=command.tokens, elements=command.elements,
            actions=command.actions, coordinates=command.coordinates, thinking=command.thinking, **shared,
        )  # fmt: skip
        load = partial(load_vlm, command.model)
        asking = partial(audit_answers, _model(command, load), dataset, out, config)
        auditor = partial(_auditor, AnswerAuditor, load, config)
    else:
        _refuse_what_is_for_answers(command)
        config = AuditConfig(fill=command.fill or "mean", **shared)
        load = partial(_placed_classifier, command.model, dataset.classes)
        asking = partial(audit, _model(command, load), dataset, out, config)
        auditor = partial(_auditor, ClassifierAuditor, load, config)
    with_bar(partial(asking, engine=_engine(command, auditor)), name, command.model)
    if process_rank()[0] != 0:  # the first process writes the report
        return
    report = write_report([out], out / "report.html")
    run = load_run(out)
    console.print(comparison_table(comparison_rows([run])))
    say_left_out(dataset.rejected, len(dataset), out / REJECTED)
    failed = [(record.id, record.error) for record in run.records if record.error is not None]
    say_failed(failed, out / REJECTED)
    say_unknown_marks(out, command.feedback)
    console.print(f"report: {report}", soft_wrap=True)
    facts = {"name": run.name, "run": out, "report": report, "images": len(run.records), "metrics": run.metrics}
    faults = {"left_out": [each.id for each in dataset.rejected if each.faulty], "failed": [id for id, _ in failed]}
    say_result({**facts, **faults, "unknown_marks": unknown_marks(out, command.feedback)}, report)


def _refuse_what_is_for_answers(command: cli.Audit) -> None:
    unused = [
        f"--{field.name}"
        for field in fields(command)
        if field.name in ("correct", "tokens", "elements", "actions", "coordinates", "thinking")
        and getattr(command, field.name) != field.default
    ]
    if unused:
        raise ValueError(
            f"audit: {', '.join(unused)}: only for questions about images (image-text:FILE, gui:PATH and the like, "
            f"docs/answers_audit.md); {command.data} has none."
        )


def audit_with_bar(
    classifier: Classifier, dataset: Dataset, out: Path, config: AuditConfig, name: str, model: str
) -> Path:
    """Audit a classifier with a progress bar."""
    return with_bar(partial(audit, classifier, dataset, out, config), name, model)


def with_bar(asking: Callable[..., Path], name: str, model: str) -> Path:
    """Run an audit with a progress bar."""
    with progress_bar() as bar:
        task = bar.add_task(f"audit {name}", total=None, note="images")
        return asking(
            name=name, model=model, on_images=lambda done, total: bar.update(task, completed=done, total=total)
        )


def _placed_classifier(model: str, classes: tuple[str, ...], *, device: str) -> Classifier:
    return load_classifier(model, classes=classes).to(device)


def _model(command: cli.Audit, load: Callable[..., Any]) -> Any:
    """The model of this process, which only looks at it where actors on a cluster ask theirs."""
    return load(device="cpu" if command.engine == "ray" else own_device())


def _auditor(auditor: Callable[..., Auditor], load: Callable[..., Any], config: Any) -> Auditor:
    """What an actor on a cluster does first."""
    return auditor(load(device=own_device()), config)


def _engine(command: cli.Audit, auditor: Callable[[], Auditor]) -> Engine:
    if command.engine == "ray":
        from wherenot.audit_ray import RayEngine

        return RayEngine(load=auditor, address=command.address, actors=command.actors)
    if command.address is not None or command.actors is not None:
        raise ValueError("audit: --address and --actors are for --engine ray.")
    return Here()


def run_compare(paths: tuple[Path, ...], out: Path) -> None:
    """Print the comparison, and write it as Markdown and as a page."""
    runs = [load_run(path) for path in paths]
    rows = comparison_rows(runs)
    folder = RunFolder(out)
    (folder.path / "comparison.md").write_text(
        comparison_markdown(rows) + warnings_markdown(runs), encoding="utf-8", errors="backslashreplace"
    )
    folder.write("comparison.json", {"runs": [str(path.absolute()) for path in paths]})
    report = write_report(list(paths), folder.path / "report.html")
    console.print(comparison_table(rows))
    table = folder.path / "comparison.md"
    console.print(f"table: {table}\nreport: {report}", soft_wrap=True)
    compared = [{**asdict(row), "verdict": row.verdict} for row in rows]
    say_result({"runs": [run.name for run in runs], "table": table, "report": report, "rows": compared}, report)


def run_report(command: cli.Report) -> None:
    """Write the report of finished audits anew."""
    first, *others = command.runs or (None,)
    if first is None:
        raise ValueError("report: name the run folder of an audit.")
    if others and command.out is None:
        raise ValueError("report: several runs share no folder; say where their report goes with -o.")
    report = write_report(list(command.runs), command.out or first / "report.html")
    console.print(f"report: {report}", soft_wrap=True)
    say_result({"runs": command.runs, "report": report}, report)


def run_advise(command: cli.Advise) -> None:
    """Print which method to try, from audits."""
    from wherenot.experiments.advice import advice_facts, advice_text

    runs = [load_run(path) for path in command.runs]
    known = {"priors": command.priors, "priors_frac": command.priors_frac, "context": command.context}
    words = advice_text(runs, **known)
    console.print(words, markup=False, highlight=False)
    say_result({"runs": advice_facts(runs, **known)}, words)
