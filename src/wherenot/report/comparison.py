"""Every model against the first, on the same images or the same seeds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from wherenot.metrics.statistics import over_seeds, paired_difference
from wherenot.report.columns import Cell, Column, find_metric, group_runs, known, measured
from wherenot.report.runs import Metric, Record, Run
from wherenot.report.wording import POINTING_GAMES, base_metric, group_of, kind_of, without_kind

_BOOTSTRAP_SEED = 0
_OF_CLICKS = (
    "click_success", "type_match", "exact_match", "malformed", "click_distance_px", "click_distance_1000", "reliance",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonRow:
    """One metric of one model, and how it differs from the first model's.

    Attributes:
        run: The model.
        baseline: The first model; its own rows have no difference.
        value: The model's value with its interval, over all its images.
        difference: This model minus the first, over what both share; its sign does not depend on which direction is
            better. None where either has no value.
        low: Lower end of the difference's interval; None where nothing can be paired.
        high: Upper end.
        num_images: Images both measured, over which the difference was taken; None if it was not taken by image.
        num_missing: Shared images that failed or lack the measure in either run. Where a failure counts as a miss they
            are part of the difference, otherwise not.
        num_seeds: Seeds both share; the interval is over seeds from two on, over images otherwise.
    """

    split: str
    metric: str
    run: str
    baseline: str
    value: Cell
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    num_images: int | None = None
    num_missing: int = 0
    num_seeds: int = 1
    higher_is_better: bool | None = None

    @property
    def is_baseline(self) -> bool:
        """Whether this is the model that the others are compared with."""
        return self.run == self.baseline

    @property
    def verdict(self) -> Literal["", "higher", "lower", "better", "worse"]:
        """What the difference's interval shows: nothing while it holds 0 or is missing."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return ""
        if self.higher_is_better is None:
            return "higher" if self.low > 0 else "lower"
        return "better" if (self.low > 0) == self.higher_is_better else "worse"

    @property
    def basis(self) -> str:
        """What the difference rests on, in words."""
        if self.is_baseline:
            return ""
        if self.num_images is None:
            return f"{self.num_seeds} shared seeds" if self.num_seeds > 1 else "not paired"
        seeds = f" \N{MULTIPLICATION SIGN} {self.num_seeds} seeds" if self.num_seeds > 1 else ""
        missing = f", {self.num_missing} missing" if self.num_missing else ""
        return f"{self.num_images} shared{seeds}{missing}"


def comparison_rows(runs: Sequence[Run]) -> tuple[ComparisonRow, ...]:
    """Compare each model with the first one, split by split and metric by metric.

    A metric that is a mean over images is compared on the images that both runs audited, each with itself; with
    several seeds the difference is taken per seed and its interval is over seeds. A metric that is no such mean
    (accuracy among hits, worst group) is compared by its values: over seeds if there are several, else without
    an interval.

    Args:
        runs: The runs of all models; the first one's model is what the others are compared with.

    Returns:
        Rows by split, then metric, then model, the first model included.

    Raises:
        ValueError: If there is no run, or a folder is given twice.
    """
    columns = group_runs(runs)
    return tuple(_compare(metric, column, columns[0]) for metric in measured(columns) for column in columns)


def per_image(record: Record, metric: str) -> float:
    """Return what one image adds to a metric's mean.

    Args:
        record: The image's record.
        metric: Full metric name.

    Returns:
        The measure; NaN where the image has none, or the metric is no mean over images. An image that failed is
        wrong in every accuracy and a miss in every pointing game.
    """
    if not _is_asked(record, metric):
        return float("nan")
    if _is_answer(metric):
        variant = metric.partition("@")[2]
        by_name = {
            "top2": record.correct_top2,
            "top1_noise": record.noise.get(variant),
            "top1_corrupted": record.corrupted.get(variant),
        }
        return float(bool(by_name.get(base_metric(metric), record.correct)))
    if base_metric(metric) in POINTING_GAMES and record.error is not None:
        return 0.0
    found = _found(record, metric)
    return float("nan") if found is None else float(found)


def _found(record: Record, metric: str) -> bool | int | float | None:
    """A measure of a record, whatever it looks at."""
    name = without_kind(metric.partition(" [")[0])
    if name in _OF_CLICKS:
        return getattr(record, name)
    if name.startswith("consistency_"):
        return (record.consistency or {}).get(name)
    by_kind = {
        "predicted": record.predicted_evidence,
        "thought": record.thought_evidence,
        "action": record.action_evidence,
    }
    measures = by_kind.get(kind_of(metric), record.true) or {}
    return measures.get("forwards" if name == "forwards_per_image" else name)


def _is_answer(metric: str) -> bool:
    """Whether a metric counts right answers, and so needs no evidence."""
    return base_metric(metric) in ("top1", "top2", "top1_noise", "top1_corrupted")


def _is_asked(record: Record, metric: str) -> bool:
    """Whether an audit was to measure a metric on an image."""
    if group_of(metric) not in (None, record.group):
        return False
    if _is_answer(metric):
        return record.label is not None
    return record.searched or base_metric(metric) in _OF_CLICKS


def _compare(metric: Metric, column: Column, baseline: Column) -> ComparisonRow:
    """Build one row: by image if the metric has a value per image, else by the runs' values."""
    row = ComparisonRow(
        split=metric.split,
        metric=metric.metric,
        run=column.name,
        baseline=baseline.name,
        value=column.cell(metric.split, metric.metric),
        higher_is_better=metric.higher_is_better,
    )
    if column is baseline:
        return row
    pairs = _paired_runs(baseline, column)
    seeds = [_shared_records(*pair, metric) for pair in pairs]
    if seeds and all(np.isfinite(_values(records, row.metric)).all(axis=0).any() for records in seeds):
        return _by_image(row, seeds)
    return _by_value(row, baseline, pairs)


def _paired_runs(baseline: Column, column: Column) -> list[tuple[Run, Run]]:
    """Pair runs by seed; two single runs are a pair whatever their seeds."""
    if len(baseline.runs) == len(column.runs) == 1:
        return [(baseline.runs[0], column.runs[0])]
    by_seed = {run.seed: run for run in column.runs}
    return [(run, by_seed[run.seed]) for run in baseline.runs if run.seed in by_seed]


def _shared_records(first: Run, second: Run, metric: Metric) -> list[tuple[Record, Record]]:
    """Find the images on which both runs were to measure a metric."""
    others = {record.key: record for record in second.records if record.split == metric.split}
    pairs = [(record, others[record.key]) for record in first.records if record.key in others]
    return [pair for pair in pairs if all(_is_asked(record, metric.metric) for record in pair)]


def _values(pairs: Sequence[tuple[Record, Record]], metric: str) -> Float[np.ndarray, "2 images"]:
    """Look up a metric's values for pairs of records; NaN where there is none."""
    values = [[per_image(record, metric) for record in pair] for pair in pairs]
    return np.array(values, dtype=np.float64).reshape(-1, 2).T


def _by_image(row: ComparisonRow, seeds: Sequence[Sequence[tuple[Record, Record]]]) -> ComparisonRow:
    """Take the difference on shared images; several seeds are averaged, each over its own images."""
    values = [_values(pairs, row.metric) for pairs in seeds]
    complete = [pair[:, np.isfinite(pair).all(axis=0)] for pair in values]
    if len(complete) == 1:
        first, second = torch.from_numpy(complete[0])
        spread = paired_difference(second, first, seed=_BOOTSTRAP_SEED)
    else:
        spread = over_seeds([float((second - first).mean()) for first, second in complete])
    missing = [
        not np.isfinite(pair).all() or any(record.error is not None for record in records)
        for records, pair in zip(itertools.chain(*seeds), np.concatenate(values, axis=1).T, strict=True)
    ]
    return replace(
        row,
        difference=known(spread.value),
        low=known(spread.low),
        high=known(spread.high),
        num_images=min(pair.shape[1] for pair in complete),
        num_missing=sum(missing),
        num_seeds=len(complete),
    )


def _by_value(row: ComparisonRow, baseline: Column, pairs: Sequence[tuple[Run, Run]]) -> ComparisonRow:
    """Subtract what `metrics.json` says, with an interval only if there are several shared seeds."""
    values = [(_value(first, row), _value(second, row)) for first, second in pairs]
    differences = [second - first for first, second in values if first is not None and second is not None]
    if len(differences) > 1:
        spread = over_seeds(differences)
        return replace(
            row,
            difference=known(spread.value),
            low=known(spread.low),
            high=known(spread.high),
            num_seeds=spread.n,
        )
    first, second = baseline.cell(row.split, row.metric).value, row.value.value
    return row if first is None or second is None else replace(row, difference=second - first)


def _value(run: Run, row: ComparisonRow) -> float | None:
    """Look a metric up in one run."""
    found = find_metric(run, row.split, row.metric)
    return None if found is None else known(found.value)
