"""From the records of an audit to its metrics, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from wherenot.metrics import Interval, bootstrap_interval, ratio_interval, worst_group_interval
from wherenot.summary_agents import Row, agent_rows

_POINTING = ("pointing_coverage@0.2", "pointing_argmax", "pointing_touch")
_MEASURES: dict[str, bool | None] = {
    "energy_pointing": True,
    "insertion_auc": True,
    "deletion_auc": False,
    "highest_confidence": True,
    "insertion_auc_sensitive": True,
    "deletion_auc_sensitive": False,
    "highest_confidence_sensitive": True,
    "influence": None,
    "sensitive_tokens": None,
}
_KINDS = (
    ("true", ""),
    ("predicted_evidence", " (predicted)"),
    ("thought_evidence", " (thought)"),
    ("action_evidence", " (action)"),
)


def metric_rows(records: Sequence[dict[str, Any]], *, seed: int) -> list[dict[str, Any]]:
    """Metrics of each split: value, 95 % bootstrap interval, how many images it rests on and how many are missing.

    Pointing metrics are given for the evidence of the true label and, marked, of the predicted one, or of an agent's
    thought and of its action. Of tasks on screenshots there are the metrics of `summary_agents`, too. An
    image that could not be read is wrong and misses every pointing game; in measures that need its scores it is
    missing, as is an image without a prior in every comparison with priors. Both are counted as missing. An image that
    nobody gave a label is in no accuracy.

    Args:
        records: Lines of ``records.jsonl``.
        seed: Of the bootstrap.

    Returns:
        Rows with split, metric, value, low, high, n, missing, higher_is_better, in a fixed order.
    """
    rows: list[dict[str, Any]] = []
    for split in dict.fromkeys(record["split"] for record in records):
        members = [record for record in records if record["split"] == split]
        found = [*_answers(members, seed), *agent_rows(members, seed=seed), *_evidence(members, seed)]
        for metric, interval, higher in found:
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


def _answers(members: list[dict[str, Any]], seed: int) -> Iterator[Row]:
    """Accuracy of all images that have a label, by group, under noise and under corruptions."""
    members = [record for record in members if record["label"] is not None]
    if not members:
        return
    failed = sum(_failed(record) for record in members)

    def accuracy(values: Sequence[bool | None]) -> Interval:
        interval = bootstrap_interval(_numbers([bool(value) for value in values]), seed=seed)
        return replace(interval, missing=sum(value is None for value in values))

    yield "top1", accuracy([record["correct"] for record in members]), True
    if any("correct_top2" in record for record in members):
        yield "top2", accuracy([record["correct_top2"] for record in members]), True
    grouped = [record for record in members if record["group"] is not None]
    if grouped:
        correct = torch.tensor([bool(record["correct"]) for record in grouped])
        worst = worst_group_interval(correct, [record["group"] for record in grouped], seed=seed)
        yield "worst_group", replace(worst, missing=failed), True
        for group in sorted({record["group"] for record in grouped}):
            yield f"top1 [{group}]", accuracy([r["correct"] for r in grouped if r["group"] == group]), True
    for sigma in dict.fromkeys(sigma for record in members for sigma in record.get("noise", {})):
        yield f"top1_noise@{sigma}", accuracy([record["noise"].get(sigma) for record in members]), True
    for corruption in dict.fromkeys(name for record in members for name in record.get("corrupted", {})):
        right = [record.get("corrupted", {}).get(corruption) for record in members]
        yield f"top1_corrupted@{corruption}", accuracy(right), True


def _evidence(members: list[dict[str, Any]], seed: int) -> Iterator[Row]:
    """What was measured on the evidence of the images drawn for it."""
    searched = [record for record in members if record["searched"]]
    failed = sum(_failed(record) for record in searched)
    for kind, suffix in _KINDS:
        if not any(kind in record for record in searched):
            continue
        for metric in _POINTING:
            hits = _hits(searched, kind, metric)
            if hits.isnan().all():
                continue
            interval = bootstrap_interval(hits, seed=seed)
            yield metric + suffix, replace(interval, missing=interval.missing + failed), True
        for metric, higher in _MEASURES.items():
            values = _values(searched, kind, metric)
            if not values.isnan().all():
                yield metric + suffix, bootstrap_interval(values, seed=seed), higher
        yield from _conditionals(searched, kind, suffix, seed)
    yield from _corrections(searched, failed, seed)
    forwards = _values(searched, "true", "forwards")
    if not forwards.isnan().all():
        yield "forwards_per_image", bootstrap_interval(forwards, seed=seed), None


def _conditionals(searched: list[dict[str, Any]], kind: str, suffix: str, seed: int) -> Iterator[Row]:
    """Accuracy given the right evidence, and the right evidence given accuracy."""
    hit = _hits(searched, kind, "pointing_coverage@0.2")
    correct = _numbers([None if record["label"] is None else bool(record["correct"]) for record in searched])
    if (hit + correct).isnan().all():
        return
    for metric, numerator, denominator, higher in (
        ("accuracy_given_pointing", correct * hit, hit, True),
        ("accuracy_given_no_pointing", correct * (1 - hit), 1 - hit, None),
        ("pointing_given_correct", hit * correct, correct, True),
        ("pointing_given_wrong", hit * (1 - correct), 1 - correct, None),
    ):
        interval = ratio_interval(numerator, denominator, seed=seed)
        # It rests on the images for which the condition holds, not on all that were asked.
        yield metric + suffix, replace(interval, n=int(denominator[~numerator.isnan()].sum())), higher


def _corrections(searched: list[dict[str, Any]], failed: int, seed: int) -> Iterator[Row]:
    """How little has to be hidden until a wrong answer is right, among the wrong answers that were to be corrected."""
    removed = _values(searched, "true", "removed_area")
    removed = removed[~removed.isnan()]
    if not len(removed):
        return
    corrected, soon = removed < 1, _values(searched, "true", "correction_rate@0.1")
    soon = soon[~soon.isnan()]
    of_corrected = ratio_interval(soon, corrected, seed=seed)
    for metric, interval, higher in (
        ("removed_area", bootstrap_interval(removed, seed=seed), False),
        ("correction_rate@0.1", bootstrap_interval(soon, seed=seed), True),
        ("correction_rate_of_corrected@0.1", replace(of_corrected, n=int(corrected.sum())), True),
    ):
        yield metric, replace(interval, missing=failed), higher


def _failed(record: dict[str, Any]) -> bool:
    return record["error"] is not None


def _hits(searched: list[dict[str, Any]], kind: str, metric: str) -> Tensor:
    """1 for a hit, 0 for a miss or an image that failed, nan without a prior.

    A failed image misses if any image has a prior, or if all failed and none can be known to have one.
    """
    hits = _values(searched, kind, metric)
    failed = torch.tensor([_failed(record) for record in searched], dtype=torch.bool)
    return hits.masked_fill(failed, 0.0) if failed.all() or not hits.isnan().all() else hits


def _values(searched: list[dict[str, Any]], kind: str, metric: str) -> Tensor:
    """A measure of each image, nan where there is none."""
    return _numbers([(record.get(kind) or {}).get(metric) for record in searched])


def _numbers(values: Sequence[float | int | None]) -> Tensor:
    """Numbers as float64, nan where there is none."""
    return torch.tensor([math.nan if value is None else float(value) for value in values], dtype=torch.float64)


def _finite(value: float) -> float | None:
    """JSON has no nan."""
    return value if math.isfinite(value) else None
