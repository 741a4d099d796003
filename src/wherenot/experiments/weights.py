"""The weight of each method's loss, chosen on validation data of the first seed; every method tries as many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wherenot.audit import AuditConfig
from wherenot.experiments.results import read_result
from wherenot.experiments.studies import Row
from wherenot.experiments.trials import Trial
from wherenot.train.config import MethodName
from wherenot.train.recipe import method_weight

TOLERANCE = 0.01
_MEASURED = ("top1", "pointing_coverage@0.2")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A weight to be tried.

    Attributes:
        data: Of the row that asks.
        model: Of the row that asks.
        method: Whose weight.
        weight: Which.
        trial: Trains with it and audits the validation split.
    """

    data: str
    model: str
    method: MethodName
    weight: float
    trial: Trial

    @property
    def key(self) -> tuple[str, str, str]:
        """What a weight is chosen for."""
        return self.data, self.model, self.method


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A candidate and what came of it; None where its trial did not finish."""

    candidate: Candidate
    accuracy: float | None
    pointing: float | None


def candidates(rows: Sequence[Row], multiples: Sequence[float]) -> list[Candidate]:
    """The weights to try for each method of a study: multiples of its own weight.

    Args:
        rows: The study's rows with their own weights. Rows of one method on the same data and model (a sweep, a loss
            taken out) share the weight that is chosen for the last of them, the whole method.
        multiples: Positive; the same for every method, so that each has the same budget.

    Raises:
        ValueError: If a multiple is not positive or given twice.
    """
    if any(not 0 < multiple < math.inf for multiple in multiples) or len(set(multiples)) < len(multiples):
        raise ValueError(f"reproduce: --grid {' '.join(map(str, multiples))}: pass positive numbers, each once.")
    whole = {}
    for row in rows:
        trial = row.trials[0]
        if not isinstance(trial, Trial):  # the weights of agents' methods are as they are
            continue
        method = trial.train.method.name
        if row.swept is None or (row.data, row.model, method) not in whole:
            whole[row.data, row.model, method] = trial
    found = []
    for (data, model, method), trial in whole.items():
        own = method_weight(trial.train.method)
        if own is None:
            continue
        audit = AuditConfig(
            splits=("validation",), max_images=trial.audit.max_images, partition=trial.audit.partition, noise=()
        )
        for multiple in multiples:
            weight = float(f"{own * multiple:.6g}")
            train = replace(trial.train, method=replace(trial.train.method, weight=weight))
            found.append(
                Candidate(data=data, model=model, method=method, weight=weight, trial=Trial(train=train, audit=audit))
            )
    return found


def tried(all_candidates: Sequence[Candidate], root: Path) -> list[Tried]:
    """What came of the candidates' trials."""
    found = []
    for candidate in all_candidates:
        result = read_result(candidate.trial, root)
        values = [math.nan] * 2 if result is None else [result.value("validation", name) for name in _MEASURED]
        accuracy, pointing = (None if math.isnan(value) else value for value in values)
        found.append(Tried(candidate=candidate, accuracy=accuracy, pointing=pointing))
    return found


def choose(results: Sequence[Tried]) -> dict[tuple[str, str, str], float]:
    """The weight for each data, model and method.

    Among the weights whose validation accuracy is within one point of the method's best, the one whose evidence lies on
    the prior most often; of equal ones the first. Without evidence, the most accurate.

    Args:
        results: All candidates; those without an accuracy did not finish and cannot be chosen.

    Returns:
        Weights; a method of which no candidate finished has none, and keeps its own.
    """
    chosen: dict[tuple[str, str, str], tuple[float, float]] = {}
    best: dict[tuple[str, str, str], float] = {}
    for result in results:
        if result.accuracy is not None:
            best[result.candidate.key] = max(result.accuracy, best.get(result.candidate.key, 0.0))
    for result in results:
        key = result.candidate.key
        if result.accuracy is None or result.accuracy < best[key] - TOLERANCE - 1e-9:
            continue
        merit = result.accuracy if result.pointing is None else result.pointing
        if key not in chosen or merit > chosen[key][0]:
            chosen[key] = merit, result.candidate.weight
    return {key: weight for key, (_, weight) in chosen.items()}


def weights_markdown(results: Sequence[Tried], chosen: dict[tuple[str, str, str], float]) -> str:
    """What was tried and what was chosen, as a table."""
    lines = [
        "| data | model | method | weight | validation accuracy | validation pointing | chosen |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for result in results:
        candidate = result.candidate
        numbers = ["missing" if n is None else f"{n:.4f}" for n in (result.accuracy, result.pointing)]
        mark = "x" if chosen.get(candidate.key) == candidate.weight else ""
        lines.append(
            f"| {candidate.data} | {candidate.model} | {candidate.method} | {candidate.weight:g} | "
            f"{numbers[0]} | {numbers[1]} | {mark} |"
        )
    rule = (
        "Chosen on the validation split of the first seed, never on test images: among the weights within one point of "
        "the method's best accuracy, the one whose evidence lies on the prior most often. Every method tried as many."
    )
    return "\n".join([rule, "", *lines, ""])
