"""The comparison table, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wherenot.report.columns import group_runs
from wherenot.report.comparison import ComparisonRow
from wherenot.report.provenance import doubtful_trainings
from wherenot.report.runs import Run
from wherenot.report.wording import arrow, change, interval, is_detail, number

if TYPE_CHECKING:
    from rich.table import Table

_HEADINGS = ("split", "metric", "run", "value", "95% interval", "difference", "95% interval", "images")
_NUMERIC = range(3, 7)
_DIFFERENCE = 5


def comparison_markdown(rows: Sequence[ComparisonRow]) -> str:
    """Write the comparison as a Markdown table.

    Differences whose interval leaves out 0 are bold. Percentages differ by points.

    Args:
        rows: From `comparison_rows`.

    Returns:
        The table with a final newline.
    """
    rules = ["---:" if index in _NUMERIC else "---" for index in range(len(_HEADINGS))]
    lines: list[Sequence[str]] = [_HEADINGS, rules]
    for row in rows:
        texts = [_plain(text) for text in _texts(row)]
        if row.verdict:
            texts[_DIFFERENCE] = f"**{texts[_DIFFERENCE]}**"
        lines.append(texts)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def warnings_markdown(runs: Sequence[Run]) -> str:
    """Write what looked wrong in the training of the compared models as a Markdown list.

    Args:
        runs: The compared runs.

    Returns:
        A heading and a list, with an empty line before; nothing if nothing looked wrong.
    """
    lines = [
        f"- {_plain(training.run)}: {_plain(warning.seen)} Try: {_plain(warning.advice)}\n"
        for training in doubtful_trainings(group_runs(runs))
        for warning in training.warnings
    ]
    return "".join(["\nTraining looks wrong:\n\n", *lines]) if lines else ""


def comparison_table(rows: Sequence[ComparisonRow], *, details: bool = False) -> Table:
    """Lay the comparison out for a terminal.

    Differences whose interval leaves out 0 are bold. Percentages differ by points.

    Args:
        rows: From `comparison_rows`.
        details: Show every metric; otherwise the ones to read first, and a line that counts the others.

    Returns:
        A table to print with `rich`; names are shown as they are, never read as markup. Columns on differences are
        left out if there is but one model.
    """
    from rich.table import Table
    from rich.text import Text

    shown = [row for row in rows if details or not is_detail(row.metric)]
    left_out = len({row.metric for row in rows} - {row.metric for row in shown})
    columns = range(len(_HEADINGS) if any(not row.is_baseline for row in rows) else _DIFFERENCE)
    table = Table(
        title=Text(f"Compared with {rows[0].baseline}") if len(columns) > _DIFFERENCE else None,
        caption=f"{left_out} more metrics in the report" if left_out else None,
    )
    for index in columns:
        table.add_column(_HEADINGS[index], justify="right" if index in _NUMERIC else "left")
    for row, following in zip(shown, [*shown[1:], None], strict=True):
        texts = [Text(text) for text in _texts(row)]
        if row.verdict:
            texts[_DIFFERENCE].stylize("bold")
        ends = following is None or (following.split, following.metric) != (row.split, row.metric)
        table.add_row(*(texts[index] for index in columns), end_section=ends and len(columns) > _DIFFERENCE)
    return table


def _texts(row: ComparisonRow) -> tuple[str, ...]:
    """Put one row into words, in the order of the headings."""
    return (
        row.split,
        f"{row.metric} {arrow(row.higher_is_better)}".rstrip(),
        row.run,
        number(row.metric, row.value.value),
        interval(row.metric, row.value.low, row.value.high),
        "" if row.is_baseline else change(row.metric, row.difference),
        "" if row.is_baseline else interval(row.metric, row.low, row.high, signed=True),
        row.basis,
    )


def _plain(text: str) -> str:
    """Keep a text from ending its cell or its line, or from being read as markup."""
    for sign in "\\|`*<":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
