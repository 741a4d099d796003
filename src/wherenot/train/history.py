"""What a training run recorded of itself, in the shape that looking for trouble needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Step: TypeAlias = Mapping[str, float | int]
"""One line of ``steps.jsonl``: the step, and what was measured there by name."""

_LOSSES = ("loss", "eval_loss")


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Validation after one epoch.

    Attributes:
        epoch: Number, from 1.
        accuracy: Share of the validation images that are right.
        loss: Mean cross-entropy.
        confidence: Mean probability of the predicted class.
    """

    epoch: float
    accuracy: float
    loss: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class History:
    """What a training run recorded.

    Attributes:
        epochs: Validation, epoch by epoch.
        num_validation: Images it was measured on.
        chance: Share of the training images that have the most frequent label: what knowing nothing gets right.
        steps: Diagnostics of the steps on which the method acted, in order.
        not_finite: Step and name of every logged loss that is no finite number.
        method: The method's name; None if there is none.
        confidence_above: The method looks only at images whose label has more than this probability; None for all.
        keeps_best: Whether the run keeps the weights of its best epoch, not of its last.
        priors: How the priors were spread (`wherenot.spreading.Spread.summary`); None if they were not.

    Example:
        >>> History(epochs=(), num_validation=100, chance=0.1).method is None
        True
    """

    epochs: tuple[Epoch, ...]
    num_validation: int
    chance: float
    steps: tuple[Step, ...] = ()
    not_finite: tuple[tuple[int, str], ...] = ()
    method: str | None = None
    confidence_above: float | None = None
    keeps_best: bool = False
    priors: Mapping[str, int | float | None] | None = None


def read_steps(lines: Iterable[Mapping[str, Any]]) -> tuple[tuple[Step, ...], tuple[tuple[int, str], ...]]:
    """Read ``steps.jsonl``: the diagnostics of the method's steps, and the losses that are no finite numbers.

    A run that was interrupted repeats the steps after its last checkpoint; what it wrote of them last counts.

    Args:
        lines: Of the file, in its order.

    Returns:
        The lines in which the method says what it did, by step; and step and name of every loss or diagnostic that is
        nan or infinite. The norm of gradients may be: mixed precision leaves such steps out; and so may what a method
        says of a step at which its terms were left out for that (``skipped``).

    Example:
        >>> read_steps([{"step": 10, "task_loss": 0.5, "aligned": 3.0}, {"step": 10, "loss": float("nan")}])
        (({'step': 10, 'task_loss': 0.5, 'aligned': 3.0},), ((10, 'loss'),))
    """
    ordered = latest_lines(lines)
    steps = tuple(line for _, writer, line in ordered if writer == "task_loss")
    not_finite = tuple(
        (step, name)
        for step, writer, line in ordered
        for name, value in line.items()
        if (writer == "task_loss" or name in _LOSSES) and not math.isfinite(value) and not line.get("skipped")
    )
    return steps, not_finite


def latest_lines(lines: Iterable[Mapping[str, Any]]) -> list[tuple[int, str, Mapping[str, Any]]]:
    """Order the lines of ``steps.jsonl`` by step, and keep of what a step's writer wrote only the last.

    Args:
        lines: Of the file, in its order.

    Returns:
        Step, writer and line; the writer is ``task_loss`` (the method), ``eval_loss`` (validation) or ``trainer``.

    Example:
        >>> lines = [{"step": 2, "loss": 0.5}, {"step": 1, "loss": 0.9}, {"step": 2, "loss": 0.4}]
        >>> [(step, writer, line["loss"]) for step, writer, line in latest_lines(lines)]
        [(1, 'trainer', 0.9), (2, 'trainer', 0.4)]
    """
    latest: dict[tuple[int, str], Mapping[str, Any]] = {}
    for line in lines:
        writer = next((name for name in ("task_loss", "eval_loss") if name in line), "trainer")
        latest[line["step"], writer] = line
    ordered = sorted(latest.items(), key=lambda item: item[0][0])  # stable: one step's lines stay in their order
    return [(step, writer, line) for (step, writer), line in ordered]


def guard_counts(steps: Iterable[Step]) -> dict[str, int]:
    """What kept a run going, counted.

    Args:
        steps: Diagnostics of the steps on which the method acted.

    Returns:
        ``skipped``: steps without the method's terms, which were no finite numbers; ``halved``: how often the device
        ran out of memory in a method's forwards, and they went on with half as many images at once.

    Example:
        >>> guard_counts([{"step": 1, "skipped": 1.0}, {"step": 2, "halved": 2.0}, {"step": 3}])
        {'skipped': 1, 'halved': 2}
    """
    known = list(steps)
    return {name: round(sum(step.get(name, 0) for step in known)) for name in ("skipped", "halved")}
