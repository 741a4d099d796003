"""What training runs measured of themselves, step by step: read from their folders, and drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from wherenot.report.style import COLUMN_IN, LETTERS_PT, PAGE_IN, line_style, name_lines, quiet_axes
from wherenot.train.history import latest_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series: TypeAlias = tuple[tuple[int, float], ...]
"""Optimizer steps, and what was measured there."""

QUANTITIES = (
    "task loss",
    "validation accuracy",
    "deviation loss",
    "redundancy loss",
    "top region on prior",
    "forwards spent",
)
SHARES = ("validation accuracy", "top region on prior")
_SMOOTHED_FROM = 20  # a mean of neighbours for every so many measurements


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRun:
    """What a training run measured.

    Attributes:
        name: The run's.
        seed: Of the training; None if it is not known.
        path: The run folder.
        series: What was measured, by name of `QUANTITIES`; one that the run did not measure is missing. The task loss
            is without what a method adds; forwards are those of the method so far.
        not_finite: How many values were left out since they are no finite numbers.
    """

    name: str
    seed: int | None = None
    path: Path = Path()
    series: Mapping[str, Series]
    not_finite: int = 0


def load_training(path: str | Path) -> TrainingRun:
    """Read the run folder of a training, finished or not.

    Args:
        path: The folder that a training wrote.

    Returns:
        Its curves. Of steps that an interruption made it repeat the last account counts.

    Raises:
        ValueError: If the folder holds no training, or a file cannot be read.
    """
    folder = Path(path)
    try:
        about = json.loads((folder / "run.json").read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"load_training: {folder / 'run.json'} cannot be read ({error}).") from error
    if not isinstance(about, dict) or about.get("command") != "train":
        raise ValueError(f"load_training: {folder} is not the run of a training; pass the folder that train wrote.")
    series = _series(_lines(folder / "steps.jsonl"))
    finite = {name: tuple(point for point in points if math.isfinite(point[1])) for name, points in series.items()}
    return TrainingRun(
        name=str(about.get("name", folder.name)),
        seed=about.get("seed"),
        path=folder,
        series={name: points for name, points in finite.items() if points},
        not_finite=sum(map(len, series.values())) - sum(map(len, finite.values())),
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file that a training may still be writing; none if it has not begun."""
    if not path.is_file():
        return
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):  # after the last end, a part of one
        try:
            content = json.loads(line)
            yield {"step": int(content["step"]), **content}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"load_training: {path}, line {number}: no account of a step ({error!r}).") from error


def _series(lines: Iterable[Mapping[str, Any]]) -> dict[str, Series]:
    ordered = latest_lines(lines)
    acted = [(step, line) for step, writer, line in ordered if writer == "task_loss"]
    spent = list(accumulate(line.get("forwards", 0.0) for _, line in acted))
    task = _of(acted, "task_loss")
    if not task:  # without a method the logged loss is that of the task
        task = _of([(step, line) for step, writer, line in ordered if writer == "trainer"], "loss")
    return {
        "task loss": task,
        "validation accuracy": _of([(step, line) for step, _, line in ordered], "eval_accuracy"),
        "deviation loss": _of(acted, "deviation"),
        "redundancy loss": _of(acted, "redundancy"),
        "top region on prior": tuple((step, 1.0 - off) for step, off in _of(acted, "top_off_prior")),
        "forwards spent": tuple(
            (step, total) for (step, line), total in zip(acted, spent, strict=True) if "forwards" in line
        ),
    }


def _of(lines: Iterable[tuple[int, Mapping[str, Any]]], name: str) -> Series:
    return tuple((step, float(line[name])) for step, line in lines if name in line)


def training_figure(trainings: Sequence[TrainingRun], *, width: float = COLUMN_IN) -> Figure:
    """Draw what trainings measured, a panel per quantity and a line per run; seeds of one name share their line's look.

    Faint lines are what was measured, strong ones its mean over neighbouring measurements, where there are many.

    Args:
        trainings: From `load_training`.
        width: In inches.

    Returns:
        A figure that belongs to no window; a quantity that no run measured has no panel.

    Raises:
        ValueError: If nothing was measured.

    Example:
        >>> run = TrainingRun(name="log", series={"task loss": ((1, 2.0), (2, 1.5))})
        >>> [axes.get_title(loc="left") for axes in training_figure([run]).axes]
        ['task loss']
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    shown = [quantity for quantity in QUANTITIES if any(quantity in run.series for run in trainings)]
    if not shown:
        raise ValueError("training_figure: the trainings measured nothing yet; let them take some steps.")
    names = list(dict.fromkeys(run.name for run in trainings))
    across = min(len(shown), 2 if width < PAGE_IN else 3)
    down = -(-len(shown) // across)
    panel = width / across
    figure = Figure(figsize=(width, 0.72 * panel * down + 0.2 + 0.14 * -(-len(names) // 3)), layout="constrained")
    for place, quantity in enumerate(shown, start=1):
        axes = figure.add_subplot(down, across, place)
        for run in trainings:
            sums = quantity == "forwards spent"  # rise step by step, and need no smoothing
            _draw_series(axes, run.series.get(quantity, ()), line_style(names.index(run.name)), smooth=not sums)
        quiet_axes(axes, grid="y")
        axes.set_title(quantity, loc="left", fontsize=LETTERS_PT + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if quantity in SHARES:
            axes.set_ylim(-0.03, 1.03)
            axes.set_yticks([0, 0.5, 1])
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        else:
            values = [value for run in trainings for _, value in run.series.get(quantity, ())]
            axes.set_ylim(1.08 * min(0.0, *values), 1.08 * max(0.01, *values))
        if place > len(shown) - across:
            axes.set_xlabel("optimizer step", fontsize=LETTERS_PT)
    name_lines(figure, names)
    return figure


def _draw_series(axes: Axes, points: Series, style: Mapping[str, Any], *, smooth: bool) -> None:
    """A run's line; of many measurements their running mean, and themselves faintly."""
    if not points:
        return
    steps, values = np.array(points, dtype=np.float64).T
    window = len(values) // _SMOOTHED_FROM
    if smooth and window > 1:
        axes.plot(steps, values, color=style["color"], linewidth=0.5, alpha=0.3)
        kernel = np.ones(window)
        values = np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
    axes.plot(steps, values, linewidth=1.2, marker="o" if len(values) == 1 else None, markersize=3, **style)
