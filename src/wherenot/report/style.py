"""What figures for papers share: widths, lines that differ without colour, small letters, files with their fonts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wherenot.report.figures import ON_LIGHT, boxes_for_unknown_letters

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN_IN, PAGE_IN = 3.25, 6.75  # of the usual paper of two columns
PRINT_DPI = 300
LETTERS_PT = 7
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def line_style(index: int) -> dict[str, Any]:
    """Return colour and dashes of a figure's line; lines beyond the fifth have colours and dashes paired anew.

    Args:
        index: Of the line, from 0.

    Returns:
        Options of matplotlib's `plot`.

    Example:
        >>> line_style(0), line_style(6)
        ({'color': '#0072B2', 'linestyle': '-'}, {'color': '#D55E00', 'linestyle': '-.'})
    """
    turn, place = divmod(index, len(ON_LIGHT))
    return {"color": ON_LIGHT[place], "linestyle": _DASHES[(place + turn) % len(_DASHES)]}


def quiet_axes(axes: Axes, *, grid: Literal["x", "y", "both"]) -> None:
    """Give axes small letters, a faint grid and no frame."""
    axes.tick_params(labelsize=LETTERS_PT, length=2, width=0.6, pad=2)
    axes.grid(axis=grid, color="#E1E4E8", linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_linewidth(0.6)
        spine.set_visible(side in ("left", "bottom"))


def name_lines(figure: Figure, names: Sequence[str], *, columns: int = 3) -> None:
    """Say below a figure which line is whose."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linewidth=1.2, **line_style(index)) for index in range(len(names))]
    legend = figure.legend(
        handles, names, loc="outside lower center", ncols=min(columns, len(names)), frameon=False,
        fontsize=LETTERS_PT, handlelength=2.2, columnspacing=1.2, borderpad=0.1,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PDF and as PNG, for a paper.

    The PDF holds its fonts whole (TrueType, as publishers ask for), so its text can be searched and copied, and no
    date: the same figure gives the same file.

    Args:
        figure: Any.
        stem: The files without their suffix; the folder is there.

    Returns:
        The two files.
    """
    import matplotlib

    files = [stem.with_name(f"{stem.name}{suffix}") for suffix in (".pdf", ".png")]
    with matplotlib.rc_context({"pdf.fonttype": 42}), boxes_for_unknown_letters():
        figure.savefig(files[0], dpi=PRINT_DPI, metadata={"CreationDate": None})
        figure.savefig(files[1], dpi=PRINT_DPI)
    return files
