"""From finished trials to a table: mean and spread over seeds, paired differences, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import fmean, stdev

from wherenot.experiments.results import Result, audited_splits
from wherenot.experiments.studies import Row, StudyName
from wherenot.experiments.trials import AnyTrial
from wherenot.metrics import Interval, holm, over_seeds, paired_t
from wherenot.report import comparison_rows, load_run

ALPHA = 0.05
TOP1, POINTING, TOUCH = "top1", "pointing_coverage@0.2", "pointing_touch"
CLICKED, DISTANCE = "click_success", "click_distance_px"
METRICS: dict[StudyName, tuple[str, ...]] = {
    "table1": (TOP1, "top2", POINTING, "accuracy_given_pointing"),
    "table2": (TOP1, POINTING),
    "table3": (TOP1, "top1_noise@*", "top1_corrupted@*"),
    "fig2": (TOP1, POINTING),
    "fig3": (TOP1, POINTING),
    **dict.fromkeys(
        ("table4", "fig4", "fig5", "fig6"),
        (
            CLICKED, DISTANCE, POINTING, TOUCH,
            *(f"{metric}_given_{game}" for game in (POINTING, TOUCH) for metric in (CLICKED, DISTANCE)),
        ),
    ),
}  # fmt: skip
NAMES = {
    TOP1: "Top-1",
    "top2": "Top-2",
    POINTING: "Point Game",
    "accuracy_given_pointing": "Top-1 (PG=1)",
    CLICKED: "Click success",
    DISTANCE: "Distance (px)",
    TOUCH: "Point Game (touch)",
    f"{CLICKED}_given_{POINTING}": "Click success (PG=1)",
    f"{DISTANCE}_given_{POINTING}": "Distance (px, PG=1)",
    f"{CLICKED}_given_{TOUCH}": "Click success (touch)",
    f"{DISTANCE}_given_{TOUCH}": "Distance (px, touch)",
}


def heading(metric: str) -> str:
    """A metric as the paper calls it.

    Example:
        >>> heading("pointing_coverage@0.2"), heading("top1_noise@0.1"), heading("top1_corrupted@jpeg:3")
        ('Point Game', 'noise 0.1', 'jpeg:3')
    """
    return NAMES.get(metric, metric.replace("top1_noise@", "noise ").replace("top1_corrupted@", ""))


@dataclass(frozen=True, kw_only=True)
class Column:
    """A metric on a split."""

    split: str
    metric: str


@dataclass(frozen=True, kw_only=True)
class Value:
    """One number of a table.

    Attributes:
        mean: Over the seeds that gave one; nan if none did.
        sd: Sample standard deviation over these seeds; nan below two.
        num_seeds: How many gave one.
        missing: How many were asked and did not.
        best: Better than every other row of its block, as far as the seeds can tell.
    """

    mean: float = math.nan
    sd: float = math.nan
    num_seeds: int = 0
    missing: int = 0
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A row minus the reference row of its block.

    Attributes:
        row: Which.
        column: Of what.
        interval: Mean of the paired differences with its 95 % interval: over the seeds both have, by Student's t; of
            one seed, over the images, by the bootstrap.
        p: Of the paired t-test; nan below two seeds.
        p_holm: Adjusted for all differences of this column.
    """

    row: Row
    column: Column
    interval: Interval
    p: float
    p_holm: float


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a row's method costs, mean over seeds; nan where unknown.

    Attributes:
        forwards: Images it shows the model in training on top of the task's own, per image of the task.
        priors_used: Images whose prior it looks at, counted each time.
        time: Training time relative to fine-tuning of the same seed.
    """

    forwards: float
    priors_used: float
    time: float


@dataclass(frozen=True, kw_only=True)
class StudyTable:
    """A table before it is written down.

    Attributes:
        study: Its name.
        rows: Its lines.
        columns: Its metrics, split by split.
        values: By line and column.
        differences: From the reference line of each block.
        costs: By line.
    """

    study: StudyName
    rows: Sequence[Row]
    columns: Sequence[Column]
    values: dict[tuple[Row, Column], Value]
    differences: Sequence[Difference]
    costs: dict[Row, Cost]

    @property
    def metrics(self) -> list[str]:
        """Every metric once."""
        return list(dict.fromkeys(column.metric for column in self.columns))

    @property
    def lines(self) -> list[tuple[str, Row]]:
        """Splits and rows as they are written: by data and model, then split; "" where no split is known."""
        found = []
        for block in dict.fromkeys(row.block for row in self.rows):
            members = [row for row in self.rows if row.block == block]
            splits = dict.fromkeys(c.split for c in self.columns for row in members if self.values[row, c].num_seeds)
            found += [(split, row) for split in splits or [""] for row in members]
        return found

    def value(self, row: Row, split: str, metric: str) -> Value:
        """What is known of a metric; nothing is missing where no row of the block has it on this split."""
        column = Column(split=split, metric=metric)
        measured = any(self.values[other, column].num_seeds for other in self._block(row) if column in self.columns)
        if measured or not split:
            return self.values.get((row, column), Value(missing=len(row.trials)))
        return Value()

    def _block(self, row: Row) -> list[Row]:
        return [other for other in self.rows if other.block == row.block]


def build_table(study: StudyName, rows: Sequence[Row], results: dict[AnyTrial, Result], root: Path) -> StudyTable:
    """Sum up a study.

    Args:
        study: Which; decides the metrics.
        rows: Its lines; the first of each block is the reference, fine-tuning.
        results: Of the trials that are finished; the others are missing and shown as such.
        root: The study's folder, for the images behind a difference of single seeds.
    """
    columns = _columns(study, rows, results)
    values = {(row, column): _value(row, column, results) for row in rows for column in columns}
    for block in dict.fromkeys(row.block for row in rows):
        members = [row for row in rows if row.block == block]
        for column in columns:
            best = _best(members, column, results)
            if best is not None:
                values[best, column] = replace(values[best, column], best=True)
    differences = [found for column in columns for found in _differences(rows, column, results, root)]
    costs = {row: _cost(row, _reference(row, rows), results) for row in rows}
    return StudyTable(study=study, rows=rows, columns=columns, values=values, differences=differences, costs=costs)


def _columns(study: StudyName, rows: Sequence[Row], results: dict[AnyTrial, Result]) -> list[Column]:
    """The study's metrics on every audited split; a metric nobody measured on a split has no column there."""
    columns = []
    for split in audited_splits(rows, results):
        measured = dict.fromkeys(metric for result in results.values() for at, metric in result.metrics if at == split)
        for wanted in METRICS[study]:
            columns += [Column(split=split, metric=metric) for metric in measured if fnmatchcase(metric, wanted)]
    return columns


def _by_seed(row: Row, column: Column, results: dict[AnyTrial, Result]) -> dict[int, float]:
    """Values by seed, without the seeds that have none."""
    found = {
        trial.train.seed: results[trial].value(column.split, column.metric) for trial in row.trials if trial in results
    }
    return {seed: value for seed, value in found.items() if not math.isnan(value)}


def _value(row: Row, column: Column, results: dict[AnyTrial, Result]) -> Value:
    values = list(_by_seed(row, column, results).values())
    return Value(
        mean=fmean(values) if values else math.nan,
        sd=stdev(values) if len(values) > 1 else math.nan,
        num_seeds=len(values),
        missing=len(row.trials) - len(values),
    )


def _reference(row: Row, rows: Sequence[Row]) -> Row:
    return next(other for other in rows if other.block == row.block)


def _paired(row: Row, other: Row, column: Column, results: dict[AnyTrial, Result]) -> list[float]:
    """Differences row - other on the seeds that both have."""
    own, its = _by_seed(row, column, results), _by_seed(other, column, results)
    return [own[seed] - its[seed] for seed in own if seed in its]


def _best(rows: Sequence[Row], column: Column, results: dict[AnyTrial, Result]) -> Row | None:
    """The row that beats every other one; of these tables' metrics only distances are better when lower."""
    known = [row for row in rows if _by_seed(row, column, results)]
    if len(known) < 2:
        return None
    sign = -1 if column.metric.startswith(DISTANCE) else 1
    best = max(known, key=lambda row: sign * fmean(_by_seed(row, column, results).values()))
    adjusted = holm([paired_t(_paired(best, row, column, results)) for row in known if row is not best])
    return best if all(p < ALPHA for p in adjusted) else None  # nan is not below


def _differences(rows: Sequence[Row], column: Column, results: dict[AnyTrial, Result], root: Path) -> list[Difference]:
    found = []
    for row in rows:
        reference = _reference(row, rows)
        if row is not reference:
            paired = _paired(row, reference, column, results)
            interval = over_seeds(paired) if len(paired) > 1 else _over_images(row, reference, column, results, root)
            found.append((row, interval, paired_t(paired)))
    adjusted = holm([p for _, _, p in found])
    return [
        Difference(row=row, column=column, interval=interval, p=p, p_holm=p_holm)
        for (row, interval, p), p_holm in zip(found, adjusted, strict=True)
    ]


def _over_images(row: Row, reference: Row, column: Column, results: dict[AnyTrial, Result], root: Path) -> Interval:
    """The difference of two single runs; its interval covers the choice of images only."""
    runs = {trial.train.seed: trial for trial in row.trials if trial in results}
    pair = [
        (trial, runs[trial.train.seed]) for trial in reference.trials if trial in results and trial.train.seed in runs
    ]
    if not pair:
        return Interval(value=math.nan, low=math.nan, high=math.nan, n=0)
    compared = comparison_rows([load_run(trial.audit_folder(root)) for trial in pair[0]])
    found = [each for each in compared if (each.split, each.metric) == (column.split, column.metric)][-1]
    ends = [math.nan if end is None else end for end in (found.difference, found.low, found.high)]
    return Interval(value=ends[0], low=ends[1], high=ends[2], n=found.num_images or 0)


def _cost(row: Row, reference: Row, results: dict[AnyTrial, Result]) -> Cost:
    own = [results[trial] for trial in row.trials if trial in results]
    plain = {
        trial.train.seed: results[trial].seconds
        for trial in reference.trials
        if trial in results and trial.train.method.name in ("finetune", "sft")
    }
    ratios = [
        result.seconds / plain[result.trial.train.seed]
        for result in own
        if plain.get(result.trial.train.seed, math.nan) > 0 and not math.isnan(result.seconds)
    ]
    return Cost(
        forwards=fmean(result.forwards / result.images_trained for result in own) if own else math.nan,
        priors_used=fmean(result.priors_used for result in own) if own else math.nan,
        time=fmean(ratios) if ratios else math.nan,
    )
