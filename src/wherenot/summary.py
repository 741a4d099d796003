"""From the records of an audit to its metrics, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wherenot.metrics import Interval, bootstrap_interval, ratio_interval, worst_group_interval

_EVIDENCE_METRICS: dict[str, bool] = {
    "pointing_coverage@0.2": True,
    "pointing_argmax": True,
    "pointing_touch": True,
    "energy_pointing": True,
    "insertion_auc": True,
    "deletion_auc": False,
    "highest_confidence": True,
}


def metric_rows(records: Sequence[dict[str, Any]], *, seed: int) -> list[dict[str, Any]]:
    """Metrics of each split: value, 95 % bootstrap interval, how many images it rests on and how many are missing.

    Pointing metrics are given for the evidence of the true label and, marked ``(predicted)``, of the predicted one. An
    image that could not be read has no answer; it is missing in every metric, and counted.

    Args:
        records: Lines of ``records.jsonl``.
        seed: Of the bootstrap.

    Returns:
        Rows with split, metric, value, low, high, n, missing, higher_is_better, in a fixed order.
    """
    rows: list[dict[str, Any]] = []
    for split in dict.fromkeys(record["split"] for record in records):
        members = [record for record in records if record["split"] == split]
        for metric, interval, higher in _split_metrics(members, seed):
            rows.append(
                {
                    "split": split,
                    "metric": metric,
                    "value": _finite(interval.value),
                    "low": _finite(interval.low),
                    "high": _finite(interval.high),
                    "n": interval.n,
                    "missing": interval.missing,
                    "higher_is_better": higher,
                }
            )
    return rows


def _split_metrics(members: list[dict[str, Any]], seed: int) -> list[tuple[str, Interval, bool | None]]:
    found: list[tuple[str, Interval, bool | None]] = [
        ("top1", bootstrap_interval(_column(members, "correct"), seed=seed), True),
        ("top2", bootstrap_interval(_column(members, "correct_top2"), seed=seed), True),
    ]
    answered = [record for record in members if record["correct"] is not None and record["group"] is not None]
    if answered:
        correct = torch.tensor([record["correct"] for record in answered])
        groups = [record["group"] for record in answered]
        found.append(("worst_group", worst_group_interval(correct, groups, seed=seed), True))
        for group in sorted(set(groups)):
            of_group = torch.tensor([g == group for g in groups])
            found.append((f"top1 [{group}]", bootstrap_interval(correct[of_group], seed=seed), True))
    for sigma in dict.fromkeys(sigma for record in members for sigma in record["noise"]):
        values = _values([record["noise"].get(sigma) for record in members])
        found.append((f"top1_noise@{sigma}", bootstrap_interval(values, seed=seed), True))
    searched = [record for record in members if record["true"] is not None]
    if not searched:
        return found
    for kind, suffix in (("true", ""), ("predicted_evidence", " (predicted)")):
        for metric, higher in _EVIDENCE_METRICS.items():
            values = _values([record[kind][metric] for record in searched])
            if not values.isnan().all():
                found.append((metric + suffix, bootstrap_interval(values, seed=seed), higher))
    found += _conditionals(searched, seed)
    forwards = _values([record["true"]["forwards"] for record in searched])
    found.append(("forwards_per_image", bootstrap_interval(forwards, seed=seed), None))
    return found


def _conditionals(searched: list[dict[str, Any]], seed: int) -> list[tuple[str, Interval, bool | None]]:
    """Accuracy given the right evidence, and the right evidence given accuracy."""
    correct = _column(searched, "correct")
    found: list[tuple[str, Interval, bool | None]] = []
    for kind, suffix in (("true", ""), ("predicted_evidence", " (predicted)")):
        hit = _values([record[kind]["pointing_coverage@0.2"] for record in searched])
        if hit.isnan().all():
            continue
        for metric, numerator, denominator in (
            ("accuracy_given_pointing", correct * hit, hit),
            ("accuracy_given_no_pointing", correct * (1 - hit), 1 - hit),
            ("pointing_given_correct", hit * correct, correct),
            ("pointing_given_wrong", hit * (1 - correct), 1 - correct),
        ):
            found.append((metric + suffix, ratio_interval(numerator, denominator, seed=seed), True))
    return found


def _column(records: list[dict[str, Any]], name: str) -> Tensor:
    return _values([record[name] for record in records])


def _values(values: Sequence[float | bool | None]) -> Tensor:
    """Numbers as float64, nan where there is none."""
    return torch.tensor([math.nan if value is None else float(value) for value in values], dtype=torch.float64)


def _finite(value: float) -> float | None:
    """JSON has no nan."""
    return value if math.isfinite(value) else None
