"""Every figure that run folders have the numbers for, at the width of a paper, and why any other is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wherenot.report.columns import Column, group_runs, measured
from wherenot.report.figures import metric_figure
from wherenot.report.grids import grid_figure
from wherenot.report.headline import pointing_metric
from wherenot.report.mean_curves import curves_figure, mean_curves
from wherenot.report.quadrants import count_quadrants, quadrants_figure
from wherenot.report.runs import Run
from wherenot.report.style import COLUMN_IN, PAGE_IN
from wherenot.report.trainings import QUANTITIES, TrainingRun, training_figure
from wherenot.report.wording import base_metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_PICTURE_IN = 1.4


@dataclass(frozen=True, kw_only=True)
class PaperFigures:
    """What could be drawn.

    Attributes:
        figures: By name, such as ``evidence``.
        left_out: What is not in them, and why: a line per figure, or per part of one.
    """

    figures: dict[str, Figure] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def paper_figures(
    audits: Sequence[Run],
    trainings: Sequence[TrainingRun] = (),
    *,
    splits: Sequence[str] = (),
    samples: int = 4,
    top_regions: int = 3,
    seed: int = 0,
    width: float | None = None,
) -> PaperFigures:
    """Draw all that runs have the numbers for.

    ``evidence``: samples in rows, models in columns. ``quadrants``: right or wrong, on or off the prior. ``curves``:
    insertion and deletion. ``metric-...``: accuracy and pointing with their intervals. ``training``: losses, validation
    accuracy, share on the prior and forwards over the steps.

    Args:
        audits: Finished audits; those that share a name and differ in their seed count as one model.
        trainings: Training runs.
        splits: Of the audits; none = all.
        samples: Rows of ``evidence``.
        top_regions: Regions outlined there.
        seed: Of the draw of samples.
        width: Of all figures, in inches; None = a page for ``evidence``, a column for the others.

    Returns:
        The figures, and what is missing in them.

    Raises:
        ValueError: If a split is not in any audit, a folder is given twice, or a number is out of range.
    """
    if samples < 1 or top_regions < 0 or (width is not None and width < 1):
        raise ValueError(
            f"paper_figures: samples={samples}, top_regions={top_regions}, width={width}; pass at least 1, 0 and 1 "
            "inch."
        )
    known = dict.fromkeys(record.split for run in audits for record in run.records)
    if unknown := [split for split in splits if split not in known]:
        raise ValueError(
            f"paper_figures: no audit has the split {unknown[0]!r}; there are {', '.join(known) or 'none'}."
        )
    figures: dict[str, Figure] = {}
    left_out: list[str] = []

    def draw(name: str, make: Callable[[], Figure]) -> None:
        try:
            figures[name] = make()
        except ValueError as error:
            left_out.append(f"{name}: {str(error).partition(': ')[2] or error}")

    if audits:
        columns = group_runs(audits)
        pointing = pointing_metric(columns)
        chosen = {"splits": splits, "pointing": pointing, "samples": samples, "top_regions": top_regions, "seed": seed}
        draw("evidence", lambda: grid_figure(columns, width=width or _grid_width(columns), **chosen))
        if pointing is None:
            left_out.append("quadrants: no audit measured a pointing game; the data have no priors")
        else:
            quadrants = count_quadrants(columns, pointing, splits)
            draw("quadrants", lambda: quadrants_figure(quadrants, width=width or COLUMN_IN))
            left_out += [
                f"quadrants: {each.name}, {each.split}: {each.unknown} searched samples have no prior or failed"
                for each in quadrants
                if each.unknown
            ]
        curves, missing = mean_curves(columns, splits)
        draw("curves", lambda: curves_figure(curves, width=width or COLUMN_IN))
        left_out += [f"curves: {each}" for each in missing]
        for name, figure in _metrics(columns, pointing, splits, width or COLUMN_IN):
            figures[name] = figure
    else:
        left_out.append("evidence, quadrants, curves, metrics: no audit was given")
    if trainings:
        draw("training", lambda: training_figure(trainings, width=width or COLUMN_IN))
        left_out += _unmeasured(trainings)
    else:
        left_out.append("training: no training run was given")
    return PaperFigures(figures=figures, left_out=tuple(left_out))


def _grid_width(columns: Sequence[Column]) -> float:
    """A page, or less if the pictures would grow too large for what they show."""
    return min(PAGE_IN, _PICTURE_IN * (1 + len(columns)))


def _metrics(
    columns: Sequence[Column], pointing: str | None, splits: Sequence[str], width: float
) -> Iterator[tuple[str, Figure]]:
    """Accuracy and pointing, where they were measured."""
    rows = measured(columns)
    for metric in ("top1", "click_success", pointing):
        found = [row for row in rows if row.metric == metric and (not splits or row.split in splits)]
        if not found:
            continue
        cells = {row.split: [column.cell(row.split, row.metric) for column in columns] for row in found}
        names = [column.name for column in columns]
        yield (
            f"metric-{base_metric(found[0].metric)}",
            metric_figure(found[0].metric, found[0].higher_is_better, names, cells, width=width),
        )


def _unmeasured(trainings: Sequence[TrainingRun]) -> Iterator[str]:
    for quantity in QUANTITIES:
        without = dict.fromkeys(run.name for run in trainings if quantity not in run.series)
        if without:
            yield f"training: {quantity}: not measured by {', '.join(without)}"
    for run in trainings:
        if run.not_finite:
            yield f"training: {run.path}: {run.not_finite} values that are no finite numbers"


def training_of(run: Run) -> Path | None:
    """Find the training run that an audited model came from, if its folder is there.

    Args:
        run: The audit; its model may be the run folder of a training, or the ``model`` folder in it, from where we are
            or from beside the audit.

    Returns:
        The run folder; None for any other model.
    """
    model = Path(run.model)
    model = model.parent if model.name == "model" else model
    places = (model, run.path.parent / model)
    return next((place for place in places if model.name and (place / "steps.jsonl").is_file()), None)
