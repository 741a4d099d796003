"""From the records of an audit to its metrics, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from wherenot.metrics import Interval, bootstrap_interval, ratio_interval, worst_group_interval
from wherenot.record_table import RecordTable
from wherenot.summary_agents import Row, agent_rows, hits

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


def metric_rows(splits: Mapping[str, RecordTable], *, seed: int) -> list[dict[str, Any]]:
    """Metrics of each split: value, 95 % bootstrap interval, how many images it rests on and how many are missing.

    Pointing metrics are given for the evidence of the true label and, marked, of the predicted one, or of an agent's
    thought and of its action. Of tasks on screenshots there are the metrics of `summary_agents`, too. An
    image that could not be read is wrong and misses every pointing game; in measures that need its scores it is
    missing, as is an image without a prior in every comparison with priors. Both are counted as missing. An image that
    nobody gave a label is in no accuracy.

    Args:
        splits: Numbers of the records of each split, by its name.
        seed: Of the bootstrap.

    Returns:
        Rows with split, metric, value, low, high, n, missing, higher_is_better, in a fixed order.
    """
    rows: list[dict[str, Any]] = []
    for split, table in splits.items():
        found = [*_answers(table, seed), *agent_rows(table, seed=seed), *_evidence(table, seed)]
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


def _answers(table: RecordTable, seed: int) -> Iterator[Row]:
    """Accuracy of all images that have a label, by group, under noise and under corruptions."""
    table = table.where(table.flag["labelled"])
    if not len(table):
        return

    def accuracy(of: RecordTable, path: str) -> Interval:
        """What has no answer is wrong, and missing."""
        right = of.numbers(path)
        return replace(bootstrap_interval(right.nan_to_num(nan=0.0), seed=seed), missing=int(right.isnan().sum()))

    yield "top1", accuracy(table, "correct"), True
    if table.has("correct_top2"):
        yield "top2", accuracy(table, "correct_top2"), True
    names = table.groups()
    if names:
        grouped = table.where(table.group != None)  # noqa: E711 (of each record)
        correct = grouped.numbers("correct").nan_to_num(nan=0.0) > 0
        worst = worst_group_interval(correct, grouped.group.tolist(), seed=seed)
        yield "worst_group", replace(worst, missing=int(table.flag["failed"].sum())), True
        for name in names:
            yield f"top1 [{name}]", accuracy(grouped.where(grouped.group == name), "correct"), True
    for sigma in table.below("noise"):
        yield f"top1_noise@{sigma}", accuracy(table, f"noise.{sigma}"), True
    for corruption in table.below("corrupted"):
        yield f"top1_corrupted@{corruption}", accuracy(table, f"corrupted.{corruption}"), True


def _evidence(table: RecordTable, seed: int) -> Iterator[Row]:
    """What was measured on the evidence of the images drawn for it."""
    searched = table.where(table.flag["searched"])
    failed = int(searched.flag["failed"].sum())
    for kind, suffix in _KINDS if len(searched) else ():
        if not searched.has(kind):
            continue
        for metric in _POINTING:
            hit = hits(searched, f"{kind}.{metric}")
            if hit.isnan().all():
                continue
            interval = bootstrap_interval(hit, seed=seed)
            yield metric + suffix, replace(interval, missing=interval.missing + failed), True
        for metric, higher in _MEASURES.items():
            values = searched.numbers(f"{kind}.{metric}")
            if not values.isnan().all():
                yield metric + suffix, bootstrap_interval(values, seed=seed), higher
        yield from _conditionals(searched, kind, suffix, seed)
    yield from _corrections(searched, failed, seed)
    forwards = searched.numbers("true.forwards")
    if not forwards.isnan().all():
        yield "forwards_per_image", bootstrap_interval(forwards, seed=seed), None


def _conditionals(searched: RecordTable, kind: str, suffix: str, seed: int) -> Iterator[Row]:
    """Accuracy given the right evidence, and the right evidence given accuracy."""
    hit = hits(searched, f"{kind}.pointing_coverage@0.2")
    correct = searched.numbers("correct").nan_to_num(nan=0.0)
    correct = correct.masked_fill(~torch.from_numpy(searched.flag["labelled"]), math.nan)
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


def _corrections(searched: RecordTable, failed: int, seed: int) -> Iterator[Row]:
    """How little has to be hidden until a wrong answer is right, among the wrong answers that were to be corrected."""
    removed = _known(searched.numbers("true.removed_area"))
    if not len(removed):
        return
    corrected, soon = removed < 1, _known(searched.numbers("true.correction_rate@0.1"))
    of_corrected = ratio_interval(soon, corrected, seed=seed)
    for metric, interval, higher in (
        ("removed_area", bootstrap_interval(removed, seed=seed), False),
        ("correction_rate@0.1", bootstrap_interval(soon, seed=seed), True),
        ("correction_rate_of_corrected@0.1", replace(of_corrected, n=int(corrected.sum())), True),
    ):
        yield metric, replace(interval, missing=failed), higher


def _known(values: Float[Tensor, " B"]) -> Float[Tensor, " _"]:
    return values[~values.isnan()]


def _finite(value: float) -> float | None:
    """JSON has no nan."""
    return value if math.isfinite(value) else None
