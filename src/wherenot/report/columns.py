"""Run folders side by side: one column per model, its seeds taken together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wherenot.metrics.statistics import over_seeds
from wherenot.report.runs import Metric, Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One value of the metric table.

    Attributes:
        value: The run's value, or the mean over seeds; None if there is none.
        low: Lower end of the interval; over images for one run, over seeds for several.
        high: Upper end of the interval.
        n: Images behind the value, one entry per seed.
        missing: Images of these without a measurement, one entry per seed.
        best: The best of its row, and clear of the first column's interval.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    best: bool = False

    def clear_of(self, other: Cell) -> bool:
        """Say whether two intervals are known and do not overlap.

        Args:
            other: The cell to compare with.

        Returns:
            False if either interval is missing.

        Example:
            >>> Cell(value=0.9, low=0.8, high=0.95).clear_of(Cell(value=0.5, low=0.4, high=0.6))
            True
        """
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return False
        return self.low > other.high or self.high < other.low


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One model of the report: its run, or its runs over several seeds.

    Attributes:
        name: What the page calls it; unique within the report.
        runs: At least one; the first is shown in pictures.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seed of each run."""
        return tuple(run.seed for run in self.runs)

    def cell(self, split: str, metric: str) -> Cell:
        """Return this model's value of a metric, aggregated over its seeds.

        Args:
            split: Split name.
            metric: Full metric name.

        Returns:
            The value with its interval; a cell without a value where no run measured it.
        """
        rows = [row for run in self.runs if (row := find_metric(run, split, metric))]
        counted = Cell(n=tuple(row.n for row in rows), missing=tuple(row.missing for row in rows))
        if len(rows) == len(self.runs) == 1:
            value, low, high = rows[0].value, rows[0].low, rows[0].high
        else:
            values = [row.value for row in rows]
            mean = over_seeds([float("nan") if value is None else value for value in values])
            value, low, high = mean.value, mean.low, mean.high
        return replace(counted, value=known(value), low=known(low), high=known(high))


def group_runs(runs: Sequence[Run]) -> tuple[Column, ...]:
    """Put runs that differ only in their seed into one column.

    Runs belong together if they share name and data and all have different seeds; otherwise each stands alone
    and is told apart by its folder.

    Args:
        runs: At least one run; the first is the one that others are compared with.

    Returns:
        Columns in the order in which their names first appear.

    Raises:
        ValueError: If there is no run, or the same folder is given twice.

    Example:
        >>> [column.name for column in group_runs([Run(name="paper", seed=0), Run(name="paper", seed=1)])]
        ['paper']
    """
    if not runs:
        raise ValueError("group_runs: a report needs at least one run")
    folders = [run.path.resolve() for run in runs if run.path.name]
    for folder in folders:
        if folders.count(folder) > 1:
            raise ValueError(f"group_runs: the run {folder} is given twice")
    named: dict[str, list[Run]] = {}
    for run in runs:
        named.setdefault(run.name, []).append(run)
    columns = []
    for name, members in named.items():
        seeds = [run.seed for run in members]
        same_data = len({run.data for run in members}) == 1
        if len(members) == 1 or (same_data and None not in seeds and len(set(seeds)) == len(seeds)):
            columns.append(Column(name=name, runs=tuple(members)))
            continue
        short = {run.path.name for run in members}
        for run in members:
            folder = run.path.name if len(short) == len(members) else str(run.path)
            columns.append(Column(name=f"{name} ({folder})", runs=(run,)))
    return tuple(columns)


def find_metric(run: Run, split: str, metric: str) -> Metric | None:
    """Return the row of `metrics.json` for a split and metric.

    Args:
        run: Where to look.
        split: Split name.
        metric: Full metric name.

    Returns:
        The row, or None if the run did not measure it.
    """
    return next((row for row in run.metrics if row.split == split and row.metric == metric), None)


def measured(columns: Sequence[Column]) -> tuple[Metric, ...]:
    """List what any run measured, in the order in which it first appears.

    Args:
        columns: The report's columns.

    Returns:
        One row per split and metric; its values are those of the first run that has it.
    """
    seen: dict[tuple[str, str], Metric] = {}
    for column in columns:
        for run in column.runs:
            for row in run.metrics:
                seen.setdefault((row.split, row.metric), row)
    return tuple(seen.values())


def known(value: float | None) -> float | None:
    """Return a value, or None for both ways in which a file can say that there is none.

    Args:
        value: A number, None or NaN.

    Returns:
        The number or None.
    """
    return None if value is None or math.isnan(value) else float(value)
