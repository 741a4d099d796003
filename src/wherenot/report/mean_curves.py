"""Insertion and deletion curves, the mean over images: what the strongest regions give alone, and what they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float

from wherenot.metrics import bootstrap_interval, over_seeds
from wherenot.report.columns import Column
from wherenot.report.runs import Run
from wherenot.report.stored import StoredRegions, load_regions
from wherenot.report.style import COLUMN_IN, LETTERS_PT, line_style, name_lines, quiet_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CurveKind: TypeAlias = Literal["insertion", "deletion"]
KINDS: tuple[CurveKind, ...] = ("insertion", "deletion")
AREAS = np.linspace(0, 1, 41)
_WHOLE = 1 - 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanCurve:
    """A model's score over the share of the image that its strongest regions cover.

    Attributes:
        name: The model's.
        split: Of the samples.
        kind: What is shown of the image: these regions alone (insertion), or all but them (deletion).
        mean: At each of `AREAS`.
        low: Lower end of the 95 % interval, over images for one run, over seeds for several; nan where there is none.
        high: Upper end.
        images: Behind the mean, of all seeds.
    """

    name: str
    split: str
    kind: CurveKind
    mean: Float[np.ndarray, " A"]
    low: Float[np.ndarray, " A"]
    high: Float[np.ndarray, " A"]
    images: int


def mean_curves(columns: Sequence[Column], splits: Sequence[str] = ()) -> tuple[tuple[MeanCurve, ...], tuple[str, ...]]:
    """Average the curves that audits kept, over the area that is shown or hidden, as the AUC metrics do.

    Args:
        columns: Models with their runs.
        splits: Those to look at; none = all.

    Returns:
        One curve per split, kind and model, and what was left out, in words: images whose search stopped early, whose
        curves then end before the whole image, or whose arrays were not kept or cannot be read.
    """
    known = dict.fromkeys(record.split for column in columns for run in column.runs for record in run.records)
    found: list[MeanCurve] = []
    without = dict.fromkeys((column.name for column in columns), 0)
    for split in splits or known:
        read = [[_stored_curves(run, split) for run in column.runs] for column in columns]
        for column, runs in zip(columns, read, strict=True):
            without[column.name] += sum(missing for _, missing in runs)
        for kind in KINDS:
            for column, runs in zip(columns, read, strict=True):
                seeds = [curves[kind] for curves, _ in runs if len(curves[kind])]
                if seeds:
                    found.append(_mean(column.name, split, kind, seeds))
    left_out = (f"{name}: {count} searched images have no whole curves" for name, count in without.items() if count)
    return tuple(found), tuple(left_out)


def curves_figure(curves: Sequence[MeanCurve], *, width: float = COLUMN_IN) -> Figure:
    """Draw insertion (left) and deletion (right), a row per split and a line per model, with 95 % intervals.

    Args:
        curves: From `mean_curves`.
        width: In inches.

    Returns:
        A figure that belongs to no window.

    Raises:
        ValueError: If there is no curve.

    Example:
        >>> rising = np.linspace(0.1, 0.9, len(AREAS))
        >>> curve = MeanCurve(
        ...     name="paper", split="test", kind="insertion", mean=rising, low=rising, high=rising, images=20)
        >>> [axes.get_title() for axes in curves_figure([curve]).axes]
        ['insertion', 'deletion']
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    if not curves:
        raise ValueError("curves_figure: there is no curve; audits keep them unless their search stops early.")
    splits, names = ([*dict.fromkeys(getattr(curve, what) for curve in curves)] for what in ("split", "name"))
    top = min(1.02, 1.08 * max(float(np.nanmax([curve.mean, curve.high])) for curve in curves))
    tall = 0.36 * width
    figure = Figure(figsize=(width, tall * len(splits) + 0.45 + 0.14 * -(-len(names) // 3)), layout="constrained")
    grid = figure.subplots(len(splits), 2, squeeze=False, sharex=True, sharey=True)
    for row, split in zip(grid, splits, strict=True):
        for axes, kind in zip(row, KINDS, strict=True):
            for curve in curves:
                if (curve.split, curve.kind) != (split, kind):
                    continue
                style = line_style(names.index(curve.name))
                axes.fill_between(AREAS, curve.low, curve.high, color=style["color"], alpha=0.18, linewidth=0)
                axes.plot(AREAS, curve.mean, linewidth=1.2, **style)
            quiet_axes(axes, grid="both")
            axes.set_xlim(0, 1)
            axes.set_ylim(0, top)
            axes.set_xticks([0, 0.5, 1])
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
        row[0].set_ylabel(f"score, {split}" if len(splits) > 1 else "score", fontsize=LETTERS_PT, parse_math=False)
    for axes, kind, does in zip(grid[0], KINDS, ("shown", "hidden"), strict=True):
        axes.set_title(kind, fontsize=8)
        grid[-1][KINDS.index(kind)].set_xlabel(f"% of the image {does}", fontsize=LETTERS_PT)
    name_lines(figure, names)
    return figure


def _stored_curves(run: Run, split: str) -> tuple[dict[CurveKind, list[Float[np.ndarray, " A"]]], int]:
    """Each searched image's curves at `AREAS`, and how many images have none."""
    curves: dict[CurveKind, list[Float[np.ndarray, " A"]]] = {kind: [] for kind in KINDS}
    missing = 0
    for record in run.records:
        if record.split != split or not record.searched:
            continue
        whole = None
        if record.evidence_file is not None:
            try:
                whole = _whole_curves(load_regions(run.path / record.evidence_file))
            except ValueError:
                whole = None
        if whole is None:
            missing += 1
            continue
        for kind in KINDS:
            curves[kind].append(whole[kind])
    return curves, missing


def _whole_curves(regions: StoredRegions | None) -> dict[CurveKind, Float[np.ndarray, " A"]] | None:
    """Both curves by linear interpolation, as the areas under them take them; None if they end early."""
    if regions is None or regions.insertion is None or regions.deletion is None:
        return None
    pixels = np.bincount(regions.labels.ravel(), minlength=int(regions.labels.max()) + 1)[regions.order]
    covered = np.concatenate([[0.0], np.cumsum(pixels) / regions.labels.size])
    both: dict[CurveKind, np.ndarray] = {"insertion": regions.insertion, "deletion": regions.deletion}
    if covered[-1] < _WHOLE or not all(np.isfinite(curve).all() for curve in both.values()):
        return None
    return {kind: np.interp(AREAS, covered, curve.astype(np.float64)) for kind, curve in both.items()}


def _mean(name: str, split: str, kind: CurveKind, seeds: Sequence[Sequence[Float[np.ndarray, " A"]]]) -> MeanCurve:
    """Over the images of one run, or over the means of several seeds."""
    if len(seeds) == 1:
        values = torch.from_numpy(np.stack(seeds[0]))
        points = [bootstrap_interval(values[:, place], seed=0, resamples=1000) for place in range(len(AREAS))]
    else:
        means = np.stack([np.mean(curves, axis=0) for curves in seeds])
        points = [over_seeds(means[:, place].tolist()) for place in range(len(AREAS))]
    mean, low, high = (np.array([getattr(point, what) for point in points]) for what in ("value", "low", "high"))
    images = sum(len(curves) for curves in seeds)
    return MeanCurve(name=name, split=split, kind=kind, mean=mean, low=low, high=high, images=images)
