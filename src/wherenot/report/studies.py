"""Figures of a study: one image under several methods, and a number against an option."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherenot.report.figures import LINE_PT, MARKERS, ON_LIGHT, PRIOR_COLOR, draw_outline, number_region
from wherenot.report.stored import StoredEvidence
from wherenot.report.tiles import evidence_colormap
from wherenot.report.wording import is_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


STAR_COLOR = "#FFD23F"

_INCHES = 1.6  # width of a picture
_GAP = 0.2  # between pictures
_LETTERS = 21  # below an inch of picture


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value of a curve.

    Attributes:
        at: The option's value.
        mean: Over seeds.
        low: Lower end of its interval; None where there is none.
        high: Upper end.
    """

    at: object
    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One image under one method.

    Attributes:
        evidence: As an audit kept it.
        caption: What the model said, and whether it was right.
        clicked: Where an agent clicked, x and y in [0, 1] of the screenshot; None without a click.
    """

    evidence: StoredEvidence
    caption: str
    clicked: tuple[float, float] | None = None


def evidence_grid(
    rows: Sequence[tuple[str, Sequence[Shown | None]]],
    methods: Sequence[str],
    *,
    title: str | None = None,
    top_regions: int = 0,
    width: float | None = None,
) -> Figure:
    """Draw images in rows and methods in columns: the image with its prior first, then each method's evidence.

    The prior is outlined, a star is an agent's click, the colour scale the same everywhere: 0 none, 1 strongest of that
    map. Long captions are broken into lines.

    Args:
        rows: A name and one tile per method, None where a method has none.
        methods: Names of the columns.
        title: A line above.
        top_regions: Regions that are outlined and numbered on the evidence, 1 = strongest.
        width: Of the figure in inches; None gives every picture the same room, however many there are.

    Returns:
        A figure that belongs to no window.

    Raises:
        ValueError: If there is no row, or one has not a tile (or None) per method.

    Example:
        >>> import numpy as np
        >>> plane = np.eye(8) > 0
        >>> found = StoredEvidence(
        ...     image=np.zeros((8, 8, 3), np.uint8), map=np.eye(8, dtype=np.float32), top_region=plane,
        ...     allowed=plane, forbidden=~plane)
        >>> figure = evidence_grid([("a.png", [Shown(evidence=found, caption="3, right")])], ["paper"])
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['image and prior', 'paper']
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not rows or any(len(tiles) != len(methods) for _, tiles in rows):
        raise ValueError(f"evidence_grid: each of at least one row needs {len(methods)} tiles, one per method.")
    inches = _INCHES if width is None else width / (len(methods) + 1) - _GAP / 2
    if inches < 0.4:
        raise ValueError(f"evidence_grid: {len(methods) + 1} pictures do not fit {width} inches; show fewer methods.")
    scale, letters = min(1.0, inches / _INCHES), max(8, int(_LETTERS * inches))
    heights = [
        inches * _tall(tiles) + 0.14 * max(_lines(tiles, letters), len(_broken(name, letters))) + scale * _GAP / 2
        for name, tiles in rows
    ]
    heads = ["\n".join(_broken(name, letters)) for name in ("image and prior", *methods)]
    above = 0.1 + 0.15 * max(head.count("\n") + 1 for head in heads) + 0.2 * bool(title)
    size = (width or (inches + _GAP) * len(heads), sum(heights) + above)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.01, hspace=0.01))
    grid = figure.subplots(len(rows), len(methods) + 1, squeeze=False, height_ratios=heights)
    for line, (name, tiles) in zip(grid, rows, strict=True):
        shown = next((tile for tile in tiles if tile is not None), None)
        for axes in line:
            axes.set_axis_off()
            axes.set_anchor("N")  # what room is left goes to the caption
        if shown is not None:
            line[0].imshow(shown.evidence.image, interpolation="nearest")
            draw_outline(line[0], shown.evidence.allowed, PRIOR_COLOR, "solid", linewidth=scale * LINE_PT)
        _caption(line[0], name, letters)
        for axes, tile in zip(line[1:], tiles, strict=True):
            if tile is None:
                axes.text(0.5, 0.5, "missing", ha="center", va="center", transform=axes.transAxes, fontsize=7)
                continue
            axes.imshow(tile.evidence.image.mean(axis=2), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.imshow(tile.evidence.map, cmap=evidence_colormap(), vmin=0, vmax=1, interpolation="nearest")
            draw_outline(axes, tile.evidence.allowed, PRIOR_COLOR, "solid", linewidth=scale * LINE_PT)
            regions = tile.evidence.regions
            for rank, region in enumerate(() if regions is None else regions.order[:top_regions], start=1):
                assert regions is not None
                number_region(axes, regions.labels == region, rank, scale=max(0.55, scale))
            if tile.clicked is not None:
                _draw_star(axes, tile, scale)
            _caption(axes, tile.caption, letters)
    for axes, name in zip(grid[0], heads, strict=True):
        axes.set_title(name, fontsize=9 if scale == 1 else 8, parse_math=False)
    if title is not None:
        figure.suptitle(title, parse_math=False, fontsize=10)
    return figure


def sweep_figure(
    panels: Mapping[str, Mapping[str, Sequence[Point]]],
    *,
    metric: str,
    references: Mapping[str, float] | None = None,
) -> Figure:
    """Draw a metric against options, one panel per option and one line per split, with 95 % intervals.

    Values are set at equal distances in their given order, so that words and numbers of any size can be read.

    Args:
        panels: Points by option and split.
        metric: What is shown; decides between per cent and plain numbers.
        references: The reference's mean by split, drawn as a dashed line.

    Returns:
        A figure that belongs to no window.

    Raises:
        ValueError: If there is no panel.

    Example:
        >>> points = [Point(at=1, mean=0.7), Point(at=10, mean=0.8, low=0.75, high=0.85)]
        >>> figure = sweep_figure({"interval": {"test": points}}, metric="top1")
        >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
        ['1', '10']
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    if not panels:
        raise ValueError("sweep_figure: there is nothing to draw; pass at least one swept option.")
    figure = Figure(figsize=(3.9 * len(panels), 3.1), layout="constrained")
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for letter, axes, (option, lines) in zip("ABCDEFGH", all_axes, panels.items(), strict=False):
        ticks = list(dict.fromkeys(point.at for points in lines.values() for point in points))
        for index, (split, points) in enumerate(lines.items()):
            color, marker = ON_LIGHT[index % len(ON_LIGHT)], MARKERS[index % len(MARKERS)]
            places = [ticks.index(point.at) + 0.06 * (index - (len(lines) - 1) / 2) for point in points]
            for place, point in zip(places, points, strict=True):
                if point.low is not None and point.high is not None:
                    axes.vlines(place, point.low, point.high, color=color, linewidth=1.8, alpha=0.6)
            axes.plot(places, [point.mean for point in points], marker=marker, color=color, label=split, markersize=5)
            if references and split in references:
                axes.axhline(references[split], color=color, linestyle="--", linewidth=1)
        axes.set_xticks(range(len(ticks)), [f"{tick:g}" if isinstance(tick, float) else str(tick) for tick in ticks])
        axes.set_xlabel(option, parse_math=False)
        axes.set_title(letter, loc="left", fontweight="bold")
        axes.grid(axis="y", color="#D5D8DC", linewidth=0.8)
        axes.set_axisbelow(True)
        if is_share(metric):
            low, high = axes.get_ylim()  # an interval over few seeds may leave [0, 1], where no share can lie
            axes.set_ylim(max(low, -0.02), min(high, 1.02))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.axes[0].set_ylabel(metric, parse_math=False)
    if len(next(iter(panels.values()))) > 1:
        figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def _caption(axes: Axes, words: str, letters: int) -> None:
    text = "\n".join(_broken(words, letters))
    axes.text(0.5, -0.03, text, ha="center", va="top", transform=axes.transAxes, fontsize=7, parse_math=False)


def _broken(words: str, letters: int) -> list[str]:
    return [line for part in words.splitlines() for line in textwrap.wrap(part, letters) or [""]]


def _lines(tiles: Sequence[Shown | None], letters: int) -> int:
    return max((len(_broken(tile.caption, letters)) for tile in tiles if tile is not None), default=1)


def _tall(tiles: Sequence[Shown | None]) -> float:
    """Height of a row's images in widths."""
    shapes = (tile.evidence.map.shape for tile in tiles if tile is not None)
    return max((height / width for height, width in shapes), default=1.0)


def _draw_star(axes: Axes, tile: Shown, scale: float) -> None:
    assert tile.clicked is not None
    height, width = tile.evidence.map.shape
    x, y = tile.clicked[0] * width - 0.5, tile.clicked[1] * height - 0.5  # pixel centres lie on whole numbers
    axes.plot(
        x, y, marker="*", markersize=13 * scale, color=STAR_COLOR, markeredgecolor="black", clip_on=False, zorder=5
    )
