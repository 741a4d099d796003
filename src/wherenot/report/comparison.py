"""Every model against the first, on the same images or the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from wherenot.metrics.statistics import over_seeds, paired_difference
from wherenot.report.columns import Cell, Column, find_metric, group_runs, known, measured
from wherenot.report.runs import Metric, Record, Run
from wherenot.report.wording import base_metric, group_of, is_for_predicted

_BOOTSTRAP_SEED = 0


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
        num_missing: Shared images that failed or that only one of the two measured, not part of the difference.
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
        The measure; NaN where the image has none, or the metric is no mean over images.
    """
    group = group_of(metric)
    if group is not None:
        found: bool | float | None = record.correct if record.group == group else None
    elif metric in ("top1", "top2"):
        found = record.correct if metric == "top1" else record.correct_top2
    elif base_metric(metric) == "top1_noise":
        found = record.noise.get(metric.partition("@")[2])
    else:
        measures = (record.predicted_evidence if is_for_predicted(metric) else record.true) or {}
        name = metric.removesuffix(" (predicted)")
        found = measures.get("forwards" if name == "forwards_per_image" else name)
    return float("nan") if found is None else float(found)


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
    by_image = [_shared_values(*pair, metric) for pair in pairs]
    if by_image and all(np.isfinite(values).all(axis=0).any() for values in by_image):
        return _by_image(row, by_image)
    return _by_value(row, baseline, pairs)


def _paired_runs(baseline: Column, column: Column) -> list[tuple[Run, Run]]:
    """Pair runs by seed; two single runs are a pair whatever their seeds."""
    if len(baseline.runs) == len(column.runs) == 1:
        return [(baseline.runs[0], column.runs[0])]
    by_seed = {run.seed: run for run in column.runs}
    return [(run, by_seed[run.seed]) for run in baseline.runs if run.seed in by_seed]


def _shared_values(first: Run, second: Run, metric: Metric) -> Float[np.ndarray, "2 images"]:
    """Look up a metric's value for every image of the split that both runs have; NaN where it is missing.

    An image that neither run was asked to measure is left out; one that failed is not.
    """
    others = {record.key: record for record in second.records if record.split == metric.split}
    values = []
    for record in first.records:
        other = others.get(record.key)
        if other is None:
            continue
        pair = per_image(record, metric.metric), per_image(other, metric.metric)
        if not np.isnan(pair).all() or record.error is not None or other.error is not None:
            values.append(pair)
    return np.array(values, dtype=np.float64).reshape(-1, 2).T


def _by_image(row: ComparisonRow, by_image: Sequence[Float[np.ndarray, "2 images"]]) -> ComparisonRow:
    """Take the difference on shared images; several seeds are averaged, each over its own images."""
    complete = [values[:, np.isfinite(values).all(axis=0)] for values in by_image]
    if len(complete) == 1:
        first, second = torch.from_numpy(complete[0])
        spread = paired_difference(second, first, seed=_BOOTSTRAP_SEED)
    else:
        spread = over_seeds([float((second - first).mean()) for first, second in complete])
    return replace(
        row,
        difference=known(spread.value),
        low=known(spread.low),
        high=known(spread.high),
        num_images=min(values.shape[1] for values in complete),
        num_missing=sum(values.shape[1] for values in by_image) - sum(values.shape[1] for values in complete),
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
