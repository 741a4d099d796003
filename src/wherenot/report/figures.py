"""Drawings: evidence beside its image, and numbers with their intervals. Nothing here shows or saves by itself."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from wherenot.report.columns import Cell
from wherenot.report.tiles import evidence_colormap, outline_segments
from wherenot.report.wording import arrow, is_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

PRIOR_COLOR = "#56B4E9"
FORBIDDEN_COLOR = "#F0A6D2"
REGIONS_NUMBERED = 5
LINE_PT = 1.8

# Okabe and Ito's palette, which stays distinct for the common kinds of colour blindness.
ON_LIGHT = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#000000")
_ON_DARK = ("#56B4E9", "#E69F00", "#2CC295", "#F0A6D2", "#FFFFFF")
MARKERS = ("o", "s", "D", "^", "v")


def evidence_figure(
    image: UInt8[np.ndarray, "H W 3"],
    map: Float[np.ndarray, "H W"],
    allowed: Bool[np.ndarray, "H W"] | None = None,
    *,
    forbidden: Bool[np.ndarray, "H W"] | None = None,
    labels: Int[np.ndarray, "H W"] | None = None,
    order: Sequence[int] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw an image with its prior beside the same image with its evidence.

    The colour scale always runs from 0 to 1, so that figures can be compared. With `labels` and `order` the first
    regions are outlined and numbered, 1 = strongest.

    Args:
        image: As the model saw it.
        map: Evidence in [0, 1], 1 = strongest; values outside are shown as the nearest end.
        allowed: True where evidence may lie, outlined in both pictures; None without a prior.
        forbidden: True where evidence may not lie, outlined with dashes.
        labels: The region of each pixel; give it together with `order`.
        order: Region labels, strongest first.
        title: A line above both pictures.

    Returns:
        A figure that belongs to no window: save it with `figure.savefig` or `png_bytes`.

    Raises:
        ValueError: If a map differs in size from the image, or only one of `labels` and `order` is given.

    Example:
        >>> figure = evidence_figure(np.zeros((8, 8, 3), np.uint8), np.eye(8, dtype=np.float32))
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['image', 'evidence']
    """
    from matplotlib.figure import Figure

    planes = {"map": map, "allowed": allowed, "forbidden": forbidden, "labels": labels}
    for name, plane in planes.items():
        if plane is not None and plane.shape != image.shape[:2]:
            raise ValueError(
                f"evidence_figure: {name} has shape {plane.shape}, the image {image.shape[:2]}; resize it before"
            )
    if (labels is None) != (order is None):
        raise ValueError("evidence_figure: give labels and order together, or neither")

    tall = image.shape[0] / image.shape[1]
    width = 4.0 / max(1.0, tall / 1.2)
    figure = Figure(figsize=(2 * width + 1.1, width * tall + 0.7), layout="compressed")
    left, right = figure.subplots(1, 2)
    left.imshow(image, interpolation="nearest")
    left.set_title("image" if allowed is None and forbidden is None else "image and prior")
    draw_evidence(figure, right, image, map, labels=labels, order=order or ())
    for axes in (left, right):
        if allowed is not None:
            draw_outline(axes, allowed, PRIOR_COLOR, "solid")
        if forbidden is not None:
            draw_outline(axes, forbidden, FORBIDDEN_COLOR, "dashed")
        axes.set_axis_off()
    if title is not None:
        figure.suptitle(title, parse_math=False)
    return figure


def draw_evidence(
    figure: FigureBase,
    axes: Axes,
    image: UInt8[np.ndarray, "H W 3"],
    map: Float[np.ndarray, "H W"],
    *,
    labels: Int[np.ndarray, "H W"] | None = None,
    order: Sequence[int] = (),
) -> None:
    """Draw evidence over a grey image, with its scale; with `labels` and `order` the first regions are numbered."""
    grey = image @ np.array([0.299, 0.587, 0.114])
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    overlay = axes.imshow(map, cmap=evidence_colormap(), vmin=0, vmax=1, interpolation="nearest")
    axes.set_title("evidence")
    bar = figure.colorbar(overlay, ax=axes, shrink=0.9, ticks=[0, 0.5, 1])
    bar.ax.set_facecolor("0.35")
    bar.set_label("0 = none, 1 = strongest")
    axes.set_axis_off()
    if labels is not None:
        for rank, region in enumerate(order[:REGIONS_NUMBERED], start=1):
            number_region(axes, labels == region, rank)


def metric_figure(
    metric: str,
    higher_is_better: bool | None,
    names: Sequence[str],
    cells: Mapping[str, Sequence[Cell]],
    *,
    dark: bool = False,
    width: float = 4.8,
) -> Figure:
    """Draw one metric of all models as dots with their intervals, one colour and shape per split.

    Args:
        metric: Full name; decides between per cent and plain numbers.
        higher_is_better: Shown as an arrow.
        names: Models, from top to bottom.
        cells: One cell per model, by split. A missing value leaves its line empty.
        dark: For a dark page.
        width: In inches.

    Returns:
        A figure with a transparent background.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    letters = 9 if width > 4 else 7
    ink, faint = ("#E8E6E3", "#4A4D52") if dark else ("#22252A", "#D5D8DC")
    figure = Figure(figsize=(width, 0.95 + 0.40 * len(names) + 0.16 * len(cells)), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    step = 0.5 / max(1, len(cells))
    for index, (split, row) in enumerate(cells.items()):
        color = (_ON_DARK if dark else ON_LIGHT)[index % len(ON_LIGHT)]
        places = np.arange(len(names)) + (index - (len(cells) - 1) / 2) * step
        _draw_dots(axes, row, places, color, MARKERS[index % len(MARKERS)], split)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(len(names) - 0.45, -0.55)
    if is_share(metric):
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_title(f"{metric} {arrow(higher_is_better)}", loc="left", fontsize=letters + 1, color=ink, parse_math=False)
    axes.tick_params(colors=ink, length=0, labelsize=letters)
    axes.grid(axis="x", color=faint, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if len(cells) > 1:
        legend = figure.legend(
            loc="outside lower left", ncols=3 if width > 4 else 2, frameon=False, fontsize=letters - 0.5,
            labelcolor=ink,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def png_bytes(figure: Figure, *, dpi: int = 160) -> bytes:
    """Render a figure.

    Args:
        figure: From this module, or any other.
        dpi: Pixels per inch.

    Returns:
        A PNG file's content; a letter that the font lacks is drawn as a box.
    """
    buffer = io.BytesIO()
    with boxes_for_unknown_letters():
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


@contextmanager
def boxes_for_unknown_letters() -> Iterator[None]:
    """No warning of each letter that the font lacks: names of files and classes may be in any script."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _draw_dots(
    axes: Axes, cells: Sequence[Cell], places: Float[np.ndarray, " models"], color: str, marker: str, split: str
) -> None:
    """Draw the values of one split."""
    for cell, place in zip(cells, places, strict=True):
        if cell.low is not None and cell.high is not None:
            axes.hlines(float(place), cell.low, cell.high, color=color, linewidth=2.2, alpha=0.65)
    shown = [(cell.value, place) for cell, place in zip(cells, places, strict=True) if cell.value is not None]
    values, heights = np.array(shown, dtype=np.float64).reshape(-1, 2).T
    axes.plot(values, heights, marker, color=color, markersize=6, label=split, clip_on=False)


def draw_outline(
    axes: Axes, inside: Bool[np.ndarray, "H W"], color: str, style: str, *, linewidth: float = LINE_PT
) -> None:
    """Draw an area's border along its pixel edges, readable on bright and on dark ground."""
    from matplotlib.collections import LineCollection
    from matplotlib.patheffects import Normal, Stroke

    corners = outline_segments(inside).reshape(-1, 2, 2) - 0.5  # pixel centres lie on whole numbers
    halo = [Stroke(linewidth=2 * linewidth, foreground="black", alpha=0.6), Normal()]
    axes.add_collection(
        LineCollection(list(corners), colors=color, linewidths=linewidth, linestyles=style, path_effects=halo),
        autolim=False,
    )


def number_region(axes: Axes, inside: Bool[np.ndarray, "H W"], rank: int, *, scale: float = 1.0) -> None:
    """Outline a region and write its rank on its pixel nearest to its centre; `scale` is for small pictures."""
    from matplotlib.patheffects import withStroke

    pixels = np.argwhere(inside)
    if not len(pixels):
        return
    draw_outline(axes, inside, "white", "dotted", linewidth=scale * LINE_PT)
    row, column = pixels[np.square(pixels - pixels.mean(axis=0)).sum(axis=1).argmin()]
    axes.text(
        column, row, str(rank), color="white", fontsize=10 * scale, fontweight="bold", ha="center", va="center",
        path_effects=[withStroke(linewidth=3 * scale, foreground="black")],
    )  # fmt: skip
