"""The report's first sentences: true for the numbers, and readable without knowing the field."""

from __future__ import annotations

from collections.abc import Sequence

from wherenot.report.columns import Cell, Column, measured
from wherenot.report.comparison import ComparisonRow
from wherenot.report.wording import base_metric, is_for_predicted

MODELS_NAMED = 4

_HIGHER, _LOWER = "higher", "lower"
_POINTING_GAMES = ("pointing_coverage", "pointing_argmax", "pointing_touch")


def pointing_metric(columns: Sequence[Column]) -> str | None:
    """Choose the pointing game that the page calls hit or miss.

    Args:
        columns: The report's columns.

    Returns:
        Its full name: the coverage game if any run measured it, else the stricter of the others; None without one.
    """
    names = [row.metric for row in measured(columns) if not is_for_predicted(row.metric)]
    for game in _POINTING_GAMES:
        for name in names:
            if base_metric(name) == game:
                return name
    return None


def headline(columns: Sequence[Column], comparison: Sequence[ComparisonRow]) -> tuple[str, ...]:
    """Say what the numbers show, in one or two sentences.

    It speaks of the split on which the first model is least accurate. A model is called better or worse than the
    first only if the intervals are apart, or the interval of the paired difference leaves out 0.

    Args:
        columns: The report's columns; the first is the one that others are compared with.
        comparison: From `comparison_rows`, for the same runs.

    Returns:
        The sentences, in plain text.
    """
    pointing = pointing_metric(columns)
    split = _split(columns, pointing)
    if split is None:
        return ("These runs measured neither accuracy nor where the evidence lies.",)
    sentences = [_about_first(columns[0], split, pointing)]
    others = columns[1 : 1 + MODELS_NAMED]
    clauses = [_about_other(column, columns[0], comparison, split, pointing) for column in others]
    if clauses:
        left = len(columns) - 1 - len(others)
        more = f"; {left} more below" if left else ""
        sentences.append(f"In comparison, {'; '.join(clauses)}{more}.")
    return tuple(sentences)


def _split(columns: Sequence[Column], pointing: str | None) -> str | None:
    """Choose the hardest split for the first model, among those with both measures if there is one."""
    rows = measured(columns)
    splits = list(dict.fromkeys(row.split for row in rows if row.metric in ("top1", pointing)))
    first = columns[0]
    both = [
        split
        for split in splits
        if first.cell(split, "top1").value is not None and _cell(first, split, pointing).value is not None
    ]
    return min(both or splits, key=lambda split: first.cell(split, "top1").value or 0.0, default=None)


def _about_first(column: Column, split: str, pointing: str | None) -> str:
    """Describe the first model on its own."""
    right, hit = column.cell(split, "top1"), _cell(column, split, pointing)
    where = _where(column, split, right if right.value is not None else hit)
    accuracy = f"is right on {_percent(right.value)} of the images" if right.value is not None else ""
    if hit.value is None:
        return f"{where}, {column.name} {accuracy or 'has no measured value'}."
    if right.value is None:
        return f"{where}, the strongest evidence of {column.name} lies on the prior in {_percent(hit.value)}."
    contrast = hit.value < right.value and hit.clear_of(right)
    joint, only = ("but", "only ") if contrast else ("and", "")
    them = "them" if hit.n == right.n else f"the {max(hit.n, default=0)} searched for it"
    evidence = f"its strongest evidence lies on the prior in {only}{_percent(hit.value)} of {them}"
    return f"{where}, {column.name} {accuracy}, {joint} {evidence}."


def _about_other(
    column: Column, first: Column, comparison: Sequence[ComparisonRow], split: str, pointing: str | None
) -> str:
    """Describe another model against the first."""
    parts: list[tuple[str, str]] = []
    for metric, words in (("top1", "right"), (pointing, "on the prior")):
        cell = _cell(column, split, metric)
        if cell.value is None:
            continue
        row = next(
            (row for row in comparison if (row.split, row.metric, row.run) == (split, metric, column.name)), None
        )
        parts.append((f"{_percent(cell.value)} {words}", _verdict(cell, _cell(first, split, metric), row)))
    if not parts:
        return f"{column.name} has no measured value"
    texts, verdicts = zip(*parts, strict=True)
    if len(set(verdicts)) > 1:
        return f"{column.name} has {' and '.join(f'{text} ({verdict})' for text, verdict in parts)}"
    both = "both " if len(parts) == 2 and verdicts[0] in (_HIGHER, _LOWER) else ""
    return f"{column.name} has {' and '.join(texts)} ({both}{verdicts[0]})"


def _verdict(cell: Cell, first: Cell, row: ComparisonRow | None) -> str:
    """Say how a value differs from the first model's, as far as the intervals allow."""
    if first.value is None or cell.value is None:
        return "nothing to compare with"
    if cell.clear_of(first):
        return _HIGHER if cell.value > first.value else _LOWER
    if row is not None and row.verdict and row.difference is not None:
        return "higher on the same images" if row.difference > 0 else "lower on the same images"
    return "no clear difference"


def _cell(column: Column, split: str, metric: str | None) -> Cell:
    """Return a model's value, or an empty cell if there is no such metric."""
    return column.cell(split, metric) if metric else Cell()


def _where(column: Column, split: str, cell: Cell) -> str:
    """Say on what, and over how many images and seeds."""
    images = f"{max(cell.n, default=0)} images"
    seeds = f", mean of {len(column.runs)} seeds" if len(column.runs) > 1 else ""
    return f"On {split or 'the data'} ({images}{seeds})"


def _percent(value: float) -> str:
    """Round to full per cent, but never to 0% or 100% what is neither."""
    for digits in (0, 1, 2):
        text = f"{100 * value:.{digits}f}"
        if float(text) not in (0.0, 100.0) or value in (0.0, 1.0):
            break
    return f"{text}%"
