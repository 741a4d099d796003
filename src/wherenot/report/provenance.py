"""What went wrong in the runs, and how they were made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from wherenot.report.columns import Column
from wherenot.report.runs import Run
from wherenot.report.wording import MISSING
from wherenot.run import RunWarning


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Samples that share a fate.

    Attributes:
        kind: Rejected by the data check before the audit, or failed during it (and counted as a miss).
        reason: What the run says happened.
        ids: The samples by name.
        count: How many; more than the names if the run counted some without writing a record.
        runs: The runs in which it happened to just these samples.
    """

    kind: Literal["rejected", "failed"]
    reason: str
    ids: tuple[str, ...]
    count: int
    runs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A setting that is not the same in all runs; one text per column."""

    setting: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """A training run in which something looked wrong.

    Attributes:
        run: The audited model, with its seed if there are several.
        model: Where it came from.
        warnings: What looked wrong, and what to try.
    """

    run: str
    model: str
    warnings: tuple[RunWarning, ...]


def run_label(column: Column, run: Run) -> str:
    """Name one run of a column.

    Args:
        column: The run's column.
        run: One of its runs.

    Returns:
        The column's name, with the seed if there are several.

    Example:
        >>> column = Column(name="paper", runs=(Run(name="paper", seed=0), Run(name="paper", seed=1)))
        >>> run_label(column, column.runs[1])
        'paper, seed 1'
    """
    return column.name if len(column.runs) == 1 else f"{column.name}, seed {run.seed}"


def list_problems(columns: Sequence[Column]) -> tuple[Problem, ...]:
    """List every rejected and failed sample, together with those that share its reason.

    Args:
        columns: The report's columns.

    Returns:
        One entry per kind, reason and set of samples, rejected ones first; runs with the same entry are joined.
    """
    merged: dict[tuple[str, str, tuple[str, ...], int], Problem] = {}
    for column in columns:
        for run in column.runs:
            for problem in _problems(run, run_label(column, run)):
                key = (problem.kind, problem.reason, problem.ids, problem.count)
                known = merged.get(key)
                merged[key] = replace(problem, runs=known.runs + problem.runs) if known else problem
    return tuple(sorted(merged.values(), key=lambda problem: problem.kind, reverse=True))


def doubtful_trainings(columns: Sequence[Column]) -> tuple[Training, ...]:
    """List the models whose training looked wrong, run by run.

    Args:
        columns: The report's columns.

    Returns:
        One entry per run with warnings, in the order of the columns.
    """
    return tuple(
        Training(run=run_label(column, run), model=run.model, warnings=run.training_warnings)
        for column in columns
        for run in column.runs
        if run.training_warnings
    )


def settings_that_differ(columns: Sequence[Column]) -> tuple[Difference, ...]:
    """List the settings in which the runs are not alike.

    Args:
        columns: The report's columns.

    Returns:
        One entry per setting, its nested name joined by dots; the seeds of one column are listed together.
    """
    settings = [[_settings(run) for run in column.runs] for column in columns]
    names = dict.fromkeys(name for column in settings for run in column for name in run)
    differences = []
    for name in names:
        values = [[run.get(name, MISSING) for run in column] for column in settings]
        if len({value for column in values for value in column}) > 1:
            texts = tuple(", ".join(dict.fromkeys(column)) for column in values)
            differences.append(Difference(setting=name, values=texts))
    return tuple(differences)


def _problems(run: Run, label: str) -> Iterator[Problem]:
    """List the problems of one run."""
    rejected: dict[str, list[str]] = {}
    for sample in run.rejected:
        rejected.setdefault(sample.reason, []).append(sample.id)
    failed: dict[str, list[str]] = {}
    for record in run.records:
        if record.error is not None:
            prefix = f"{record.split}/"
            name = record.id if record.id.startswith(prefix) else prefix + record.id
            failed.setdefault(record.error, []).append(name)
    for reason, ids in rejected.items():
        yield Problem(kind="rejected", reason=reason, ids=tuple(ids), count=len(ids), runs=(label,))
    for reason, ids in failed.items():
        yield Problem(kind="failed", reason=reason, ids=tuple(ids), count=len(ids), runs=(label,))
    unnamed = run.failed - sum(len(ids) for ids in failed.values())
    if unnamed > 0:
        yield Problem(kind="failed", reason="no record was written", ids=(), count=unnamed, runs=(label,))


def _settings(run: Run) -> dict[str, str]:
    """Flatten everything that was chosen or installed."""
    about = {"model": run.model, "data": run.data, "seed": run.seed, "commit": run.commit}
    return dict(_flatten(about | {"config": run.config, "versions": run.versions}, ""))


def _flatten(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Walk a nested mapping, yielding dotted names and values as text."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flatten(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
