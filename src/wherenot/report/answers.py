"""A drawing of what an answer rests on: regions, curves, and its words by what decides them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from wherenot.generation_evidence import GenerationEvidence
from wherenot.report.figures import ON_LIGHT, draw_evidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LETTERS = 110  # in a line of text
_LINE_IN = 0.26  # height of a line of text
_CURVES = 6  # tokens that get a curve of their own


def answer_figure(image: UInt8[np.ndarray, "H W 3"], found: GenerationEvidence, *, title: str | None = None) -> Figure:
    """Draw the image, its evidence, the curves of the tokens, and the answer coloured by what decides each token.

    Args:
        image: What was asked about.
        found: What was found.
        title: A line above; the prompt if left out.

    Returns:
        A figure that belongs to no window.

    Raises:
        ValueError: If image and evidence differ in size.
    """
    evidence = found.evidence
    if evidence.labels.shape != image.shape[:2]:
        raise ValueError(f"answer_figure: evidence of {evidence.labels.shape}, image of {image.shape[:2]} pixels")
    lines = _lines(found.pieces)
    figure, (left, right, curves, words) = _axes(image.shape[0] / image.shape[1], len(lines))
    left.imshow(image, interpolation="nearest")
    left.set_title("image")
    left.set_axis_off()
    draw_evidence(right.figure, right, image, evidence.map(), labels=evidence.labels, order=evidence.order.tolist())
    _draw_curves(curves, found)
    _draw_words(words, found, lines)
    figure.suptitle(found.prompt if title is None else title, parse_math=False, wrap=True)
    return figure


def _axes(tall: float, lines: int) -> tuple[Figure, Sequence[Axes]]:
    """A figure, and where image, evidence, curves and words go: images wider than two squares lie above each other."""
    from matplotlib.figure import Figure

    words_in = _LINE_IN * (lines + 2)
    if tall < 0.5:
        width = min(2.2 / tall, 9.0)
        high, wide = max(2 * width * tall + 0.6, 2.6), width
    else:
        width = 3.6 / max(1.0, tall / 1.2)
        high, wide = max(width * tall, 2.6), 2 * width
    figure = Figure(figsize=(wide + 4.4, high + words_in + 0.7), layout="constrained")
    [[upper], [lower]] = figure.subfigures(2, 1, squeeze=False, height_ratios=(high + 0.5, words_in))
    if tall < 0.5:
        grid = upper.add_gridspec(2, 2, width_ratios=(width, 3.0))
        places = (grid[0, 0], grid[1, 0], grid[:, 1])
    else:
        grid = upper.add_gridspec(1, 3, width_ratios=(width, width, 3.0))
        places = (grid[0, 0], grid[0, 1], grid[0, 2])
    return figure, [*(upper.add_subplot(place) for place in places), lower.subplots()]


def _draw_curves(axes: Axes, found: GenerationEvidence) -> None:
    """Probability along the order, of the mean and of the tokens that owe the image most."""
    evidence = found.evidence
    areas = np.concatenate([[0.0], evidence.areas])
    axes.plot(areas, [evidence.empty, *evidence.insertion], color=ON_LIGHT[4], linewidth=2, label="mean, shown")
    axes.plot(areas, [evidence.full, *evidence.deletion], color=ON_LIGHT[4], linestyle=":", label="mean, hidden")
    by_influence = np.argsort(-found.influence, kind="stable").tolist()
    words = [column for column in by_influence if found.pieces[found.chosen[column]].strip()]
    for rank, column in enumerate(words[:_CURVES]):
        color = ON_LIGHT[rank % 4]
        piece = found.pieces[found.chosen[column]].strip()
        curve = [found.empty[column], *found.insertion[:, column]]
        axes.plot(areas, curve, color=color, linewidth=1, linestyle="-" if rank < 4 else "--", label=repr(piece))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("share of the image")
    axes.set_title("probability")
    legend = axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for text in legend.get_texts():
        text.set_parse_math(False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_words(axes: Axes, found: GenerationEvidence, lines: Sequence[Sequence[tuple[int, str, int]]]) -> None:
    """The answer, each chosen token on a ground that darkens with the influence of the image."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    influence = dict(zip(found.chosen, found.influence.tolist(), strict=True))
    ground = colormaps["Blues"]
    axes.set_xlim(0, _LETTERS)
    axes.set_ylim(len(lines) + 1, -1)
    axes.set_axis_off()
    axes.text(
        0, -0.5, "the answer: from white (the language decides) to blue (the image decides)", fontsize=8, va="center"
    )
    for row, line in enumerate(lines):
        for place, text, start in line:
            shade = influence.get(place)
            if shade is not None:
                color = ground(0.85 * min(1.0, max(0.0, shade)))
                axes.add_patch(
                    Rectangle((start, row + 0.05), len(text), 0.9, facecolor=color, edgecolor="0.85", linewidth=0.4)
                )
            ink = "0.6" if shade is None else "white" if shade > 0.6 else "black"
            axes.text(
                start + len(text) / 2,
                row + 0.5,
                text,
                family="monospace",
                fontsize=8.5,
                color=ink,
                ha="center",
                va="center",
                parse_math=False,
            )


def _lines(pieces: Sequence[str]) -> list[list[tuple[int, str, int]]]:
    """Tokens in lines: place in the answer, text, first letter's column. Long tokens and line breaks are broken."""
    lines: list[list[tuple[int, str, int]]] = [[]]
    column = 0
    for place, piece in enumerate(pieces):
        for number, part in enumerate(piece.split("\n")):
            if number:
                lines.append([])
                column = 0
            for start in range(0, len(part), _LETTERS):
                text = part[start : start + _LETTERS]
                if column + len(text) > _LETTERS:
                    lines.append([])
                    column = 0
                lines[-1].append((place, text, column))
                column += len(text)
    return lines
