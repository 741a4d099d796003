"""The report's first sentences: true for the numbers, and readable without knowing the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wherenot.report.columns import Cell, Column, measured
from wherenot.report.comparison import ComparisonRow
from wherenot.report.wording import POINTING_GAMES, base_metric, group_of, kind_of

MODELS_NAMED = 4

_HIGHER, _LOWER = "higher", "lower"


def pointing_metric(columns: Sequence[Column]) -> str | None:
    """Choose the pointing game that the page calls hit or miss.

    Args:
        columns: The report's columns.

    Returns:
        Its full name: the coverage game if any run measured it, else the stricter of the others; None without one.
    """
    names = [row.metric for row in measured(columns) if not kind_of(row.metric) and group_of(row.metric) is None]
    for game in POINTING_GAMES:
        for name in names:
            if base_metric(name) == game:
                return name
    return None


def headline(columns: Sequence[Column], comparison: Sequence[ComparisonRow]) -> tuple[str, ...]:
    """Say what the numbers show, in one or two sentences.

    Accuracy is told for the split on which the first model is least accurate, pointing for the one on which its
    evidence is least often on the prior. A model is called higher or lower than the first only if the intervals are
    apart, or the interval of the paired difference leaves out 0.

    Args:
        columns: The report's columns; the first is the one that others are compared with.
        comparison: From `comparison_rows`, for the same runs.

    Returns:
        The sentences, in plain text.
    """
    pointing = pointing_metric(columns)
    first = columns[0]
    told = {
        metric: split for metric in ("top1", pointing) if metric and (split := _lowest(columns, metric)) is not None
    }
    if not told:
        return ("These runs measured neither accuracy nor where the evidence lies.",)
    sentences = [_about_first(first, pointing, told)]
    others = columns[1 : 1 + MODELS_NAMED]
    if others:
        clauses = [_about_other(column, first, comparison, told) for column in others]
        left = len(columns) - 1 - len(others)
        more = f"; {left} more below" if left else ""
        sentences.append(f"In comparison, {'; '.join(clauses)}{more}.")
    return tuple(sentences)


def _lowest(columns: Sequence[Column], metric: str) -> str | None:
    """Return the split on which the first model has its lowest value; any measured one if it has none."""
    splits = [row.split for row in measured(columns) if row.metric == metric]
    values = {split: columns[0].cell(split, metric).value for split in splits}
    present = {split: value for split, value in values.items() if value is not None}
    return min(present, key=present.__getitem__) if present else next(iter(splits), None)


def _about_first(column: Column, pointing: str | None, told: Mapping[str, str]) -> str:
    """Describe the first model on its own."""
    split = told[pointing] if pointing is not None and pointing in told else told["top1"]
    right = column.cell(split, "top1")
    hit = column.cell(split, pointing) if pointing else Cell()
    where = _where(column, split, right if right.value is not None else hit)
    accuracy = f"is right on {_percent(right.value)} of the images" if right.value is not None else ""
    if hit.value is None:
        return f"{where}, {column.name} {accuracy or 'has no measured value'}."
    hardest = told.get("top1", split)
    lowest = column.cell(hardest, "top1").value
    elsewhere = f"; on {hardest} it is right on {_percent(lowest)}" if hardest != split and lowest is not None else ""
    if right.value is None:
        evidence = f"the strongest evidence of {column.name} lies on the prior in {_percent(hit.value)}"
        return f"{where}, {evidence}{elsewhere}."
    contrast = hit.value < right.value and hit.clear_of(right)
    joint, only = ("but", "only ") if contrast else ("and", "")
    them = "them" if hit.n == right.n else f"the {max(hit.n, default=0)} searched for it"
    evidence = f"its strongest evidence lies on the prior in {only}{_percent(hit.value)} of {them}"
    return f"{where}, {column.name} {accuracy}, {joint} {evidence}{elsewhere}."


def _about_other(column: Column, first: Column, comparison: Sequence[ComparisonRow], told: Mapping[str, str]) -> str:
    """Describe another model against the first, on the splits told of the first."""
    differ = len(set(told.values())) > 1
    parts: list[tuple[str, str]] = []
    for metric, split in told.items():
        cell = column.cell(split, metric)
        if cell.value is None:
            continue
        row = next(
            (row for row in comparison if (row.split, row.metric, row.run) == (split, metric, column.name)), None
        )
        words = ("right" if metric == "top1" else "on the prior") + (f" in {split}" if differ else "")
        parts.append((f"{_percent(cell.value)} {words}", _verdict(cell, first.cell(split, metric), row)))
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
