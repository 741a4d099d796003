"""Right or wrong, on or off the prior: how a model's answers fall into the four."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherenot.report.columns import Column
from wherenot.report.style import COLUMN_IN, LETTERS_PT, quiet_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colour says where the evidence lies, blue on the prior and orange off it; wrong answers are pale and hatched.
_KINDS = (
    ("right, on prior", "#0072B2", ""),
    ("right, off prior", "#E69F00", ""),
    ("wrong, on prior", "#B5D6E9", "////"),
    ("wrong, off prior", "#F8E0AE", "////"),
)
_WRITABLE = 0.07  # share of a bar that holds a number


@dataclass(frozen=True, kw_only=True, slots=True)
class Quadrants:
    """How the searched samples of a split fall, by outcome and evidence.

    Attributes:
        name: The model's.
        split: Of the samples.
        counts: Right and on the prior, right and off it, wrong and on it, wrong and off it; of several seeds together.
        unknown: Searched samples that have no prior, no outcome, or failed.
    """

    name: str
    split: str
    counts: tuple[int, int, int, int]
    unknown: int = 0

    @property
    def total(self) -> int:
        """Samples that were counted."""
        return sum(self.counts)


def count_quadrants(columns: Sequence[Column], pointing: str, splits: Sequence[str] = ()) -> tuple[Quadrants, ...]:
    """Count every model's searched samples by outcome and evidence.

    Args:
        columns: Models with their runs.
        pointing: Name of the pointing game that decides between on and off.
        splits: Those to count; none = all.

    Returns:
        One entry per split and model, splits first, of those with anything searched.
    """
    known = dict.fromkeys(record.split for column in columns for run in column.runs for record in run.records)
    found = (_counted(column, split, pointing) for split in splits or known for column in columns)
    return tuple(each for each in found if each.total or each.unknown)


def quadrants_figure(quadrants: Sequence[Quadrants], *, width: float = COLUMN_IN) -> Figure:
    """Draw a bar per split and model, cut into the four: full colours are right answers, blue ones rest on the prior.

    Args:
        quadrants: From `count_quadrants`.
        width: In inches.

    Returns:
        A figure that belongs to no window.

    Raises:
        ValueError: If no sample was counted.

    Example:
        >>> figure = quadrants_figure([Quadrants(name="paper", split="test", counts=(6, 2, 1, 1))])
        >>> [round(float(bar.get_width()), 2) for bar in figure.axes[0].patches]
        [0.6, 0.2, 0.1, 0.1]
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import PercentFormatter

    drawn = [each for each in quadrants if each.total]
    if not drawn:
        raise ValueError("quadrants_figure: no searched sample has both an outcome and a prior.")
    splits = list(dict.fromkeys(each.split for each in drawn))
    members = [[each for each in drawn if each.split == split] for split in splits]
    heights = [len(group) for group in members]
    size = (width, 0.55 + sum(0.24 + 0.17 * height for height in heights))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.02, hspace=0.02))
    all_axes = figure.subplots(len(splits), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, split, group in zip(all_axes, splits, members, strict=True):
        for place, each in enumerate(group):
            _draw_bar(axes, place, each)
        axes.set_yticks(range(len(group)), [each.name for each in group], parse_math=False)
        axes.set_ylim(len(group) - 0.45, -0.55)
        axes.set_xlim(0, 1)
        axes.set_title(split, loc="left", fontsize=LETTERS_PT, fontweight="bold", pad=2, parse_math=False)
        quiet_axes(axes, grid="x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    all_axes[-1].xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bars = list(all_axes[0].patches[: len(_KINDS)])
    figure.legend(
        bars, [name for name, _, _ in _KINDS], loc="outside lower center", ncols=2, frameon=False,
        fontsize=LETTERS_PT, handlelength=1.6, columnspacing=1.2, borderpad=0.1,
    )  # fmt: skip
    return figure


def _counted(column: Column, split: str, pointing: str) -> Quadrants:
    counts, unknown = [0, 0, 0, 0], 0
    for run in column.runs:
        for record in run.records:
            if record.split != split or not record.searched:
                continue
            hit = (record.true or {}).get(pointing)
            if hit is None or record.correct is None:
                unknown += 1
            else:
                counts[2 * (not record.correct) + (not hit)] += 1
    first, second, third, fourth = counts
    return Quadrants(name=column.name, split=split, counts=(first, second, third, fourth), unknown=unknown)


def _draw_bar(axes: Axes, place: int, quadrants: Quadrants) -> None:
    """One bar with the percentages in it, and the number of samples behind it."""
    from matplotlib.patheffects import withStroke

    start = 0.0
    for count, (_, color, hatch) in zip(quadrants.counts, _KINDS, strict=True):
        share = count / quadrants.total
        dark = not hatch and color == _KINDS[0][1]
        axes.barh(place, share, left=start, height=0.8, color=color, hatch=hatch, edgecolor="white", linewidth=0.4)
        if share >= _WRITABLE:
            axes.text(
                start + share / 2, place, f"{100 * share:.0f}", fontsize=6.5, color="white" if dark else "black",
                ha="center", va="center_baseline",
                path_effects=[withStroke(linewidth=1.6, foreground=color)],
            )  # fmt: skip
        start += share
    axes.text(
        1.01, place, f"n={quadrants.total}", fontsize=6, va="center_baseline", transform=axes.get_yaxis_transform()
    )
