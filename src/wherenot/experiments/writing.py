"""A study's table as CSV, Markdown, LaTeX and HTML: one list of lines, written four ways."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wherenot.experiments.cost import PlanLine, assumptions
from wherenot.experiments.results import Result
from wherenot.experiments.tables import ALPHA, Cost, StudyTable, Value, heading
from wherenot.experiments.trials import AnyTrial

MISSING = "missing"
UNKNOWN = "\N{EN DASH}"
_KEYS = 4
_COSTS = ("forwards", "priors used", "time")


@dataclass(frozen=True)
class _Text:
    """A cell: its words, and whether they stand out."""

    words: str
    bold: bool = False


def write_table(table: StudyTable, results: dict[AnyTrial, Result], folder: Path) -> list[Path]:
    """Write ``table`` as .csv, .md, .tex and .html, ``differences.csv`` and, trial by trial, ``values.csv``.

    Args:
        table: What to write.
        results: For ``values.csv``.
        folder: Where to; it exists.

    Returns:
        The files.
    """
    contents = {
        "table.csv": table_csv(table),
        "table.md": markdown(table),
        "table.tex": latex(table),
        "table.html": page(table),
        "differences.csv": differences_csv(table),
        "values.csv": values_csv(table, results),
    }
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
    return [folder / name for name in contents]


def markdown(table: StudyTable, *, differences: bool = True) -> str:
    """The table, how to read it and, if wanted, the differences, for a document."""
    notes = "\n".join(f"- {note}" for note in notes_of(table))
    parts = [_markdown(*_lines(table)), notes]
    if differences and table.differences:
        parts.append(_markdown(*_difference_lines(table)))
    return "\n\n".join(parts) + "\n"


def latex(table: StudyTable) -> str:
    """The table with booktabs rules, ready to be input; how to read it stands in comments."""
    heads, lines = _lines(table)
    body = []
    for number, line in enumerate(lines):
        if number and line[: _KEYS - 1] != lines[number - 1][: _KEYS - 1]:
            body.append(r"\midrule")
        body.append(" & ".join(_latex(text) for text in line) + r" \\")
    return "\n".join(
        [
            *(f"% {note}" for note in notes_of(table)),
            rf"\begin{{tabular}}{{{'l' * _KEYS}{'r' * (len(heads) - _KEYS)}}}",
            r"\toprule",
            " & ".join(_latex(_Text(head)) for head in heads) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


# Nothing runs and nothing is loaded, whatever the names in a table are.
_POLICY = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"


def page(table: StudyTable) -> str:
    """The table and the differences as a page of their own."""
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:80rem}"
        "table{border-collapse:collapse;margin:1rem 0}"
        "td,th{padding:.25rem .7rem;border-bottom:1px solid #8884;text-align:right}"
        f"td:nth-child(-n+{_KEYS}),th:nth-child(-n+{_KEYS}){{text-align:left}}:root{{color-scheme:light dark}}"
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in notes_of(table))
    parts = [f"<h1>{table.study}</h1>", _html(*_lines(table)), f"<ul>{notes}</ul>"]
    if table.differences:
        parts += ["<h2>Differences</h2>", _html(*_difference_lines(table))]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{_POLICY}<title>{table.study}</title>'
        f"<style>{style}</style><main>{''.join(parts)}</main></html>\n"
    )


def table_csv(table: StudyTable) -> str:
    """Mean, sd, number of seeds and best of every metric, one line per split and row; empty where missing."""
    heads = ["data", "split", "model", "method"]
    for metric in table.metrics:
        heads += [f"{metric}:{what}" for what in ("mean", "sd", "seeds", "best")]
    lines = []
    for split, row in table.lines:
        line: list[object] = [row.data, split, row.model, row.label]
        for metric in table.metrics:
            value = table.value(row, split, metric)
            line += [_plain(value.mean), _plain(value.sd), value.num_seeds, int(value.best)]
        cost = table.costs[row]
        lines.append([*line, _plain(cost.forwards), _plain(cost.priors_used), _plain(cost.time)])
    return _csv([*heads, *(name.replace(" ", "_") for name in _COSTS)], lines)


def differences_csv(table: StudyTable) -> str:
    """One line per difference from the reference row of its block."""
    heads = ["data", "split", "model", "method", "metric", "difference", "low", "high", "n", "p", "p_holm"]
    lines = [
        [
            *(each.row.data, each.column.split, each.row.model, each.row.label, each.column.metric),
            *(_plain(end) for end in (each.interval.value, each.interval.low, each.interval.high)),
            *(each.interval.n, _plain(each.p), _plain(each.p_holm)),
        ]
        for each in table.differences
    ]
    return _csv(heads, lines)


def values_csv(table: StudyTable, results: dict[AnyTrial, Result]) -> str:
    """Everything that was measured: one line per trial and metric, and one that says so for a trial that is missing."""
    heads = ["data", "model", "method", "seed", "split", "metric", "value", "low", "high", "n", "missing"]
    lines: list[list[object]] = []
    for row in table.rows:
        for trial in row.trials:
            keys = [row.data, row.model, row.label, trial.train.seed]
            if trial not in results:
                lines.append([*keys, "", MISSING, "", "", "", "", ""])
                continue
            result = results[trial]
            lines.append([*keys, "validation", "top1", _plain(result.validation), "", "", "", ""])
            lines += [
                [*keys, split, metric, *("" if found[key] is None else found[key] for key in heads[6:])]
                for (split, metric), found in result.metrics.items()
            ]
    return _csv(heads, lines)


def plan_markdown(lines: Sequence[PlanLine], *, tflops: float, measured: float | None, dollars_per_hour: float) -> str:
    """What a study would cost, row by row, and what is assumed."""
    heads = ["data", "model", "method", "trials", "finished", "training hours", "audit hours", "cost"]
    body = [
        [
            *(_Text(words) for words in (line.data, line.model, line.label, str(line.trials), str(line.finished))),
            *(_Text(f"{hours:.2f}") for hours in (line.train_hours, line.audit_hours)),
            _Text(f"${line.hours * dollars_per_hour:.2f}"),
        ]
        for line in lines
    ]
    hours = sum(line.hours for line in lines)
    trials = sum(line.trials - line.finished for line in lines)
    total = f"{trials} trials to run, {hours:.1f} hours on one GPU, ${hours * dollars_per_hour:.2f}."
    notes = "\n".join(f"- {note}" for note in assumptions(tflops, dollars_per_hour, measured))
    return f"{_markdown(heads, body)}\n\n{total}\n\nAssumed:\n\n{notes}\n"


def notes_of(table: StudyTable) -> list[str]:
    """How the table is to be read."""
    asked = max((len(row.trials) for row in table.rows), default=0)
    missing = sum(table.value(row, split, metric).missing for split, row in table.lines for metric in table.metrics)
    seeds = f"{asked} seed{'s' if asked != 1 else ''}"
    notes = [
        f"Mean \N{PLUS-MINUS SIGN} standard deviation over {seeds}; (n) where fewer seeds gave a value.",
        f"Bold: better than every other row of its group, paired t-tests over seeds, p < {ALPHA} after Holm's "
        "adjustment for these rows. Below two seeds nothing is bold.",
        "Differences are from the first row of the same data, split and model, paired by seed, with 95 % intervals: "
        "Student's t over seeds; of one seed the bootstrap over images, which says nothing about other seeds. "
        "p (Holm) is adjusted for all differences of the same split and metric.",
        "forwards: images that the method shows the model per training image; priors used: images whose prior it "
        "looks at, counted each time; time: of training, relative to fine-tuning of the same seed.",
    ]
    if missing:
        notes.insert(0, f"Incomplete: {missing} values are missing.")
    return notes


def _lines(table: StudyTable) -> tuple[list[str], list[list[_Text]]]:
    """Headings and cells; what a method costs does not depend on the split."""
    heads = ["data", "split", "model", "method", *(heading(metric) for metric in table.metrics), *_COSTS]
    lines = [
        [
            *(_Text(key) for key in (row.data, split, row.model, row.label)),
            *(_value(table.value(row, split, metric)) for metric in table.metrics),
            *_cost(table.costs[row]),
        ]
        for split, row in table.lines
    ]
    return heads, lines


def _difference_lines(table: StudyTable) -> tuple[list[str], list[list[_Text]]]:
    lines = []
    for each in table.differences:
        interval = each.interval
        shown = [each.row.data, each.column.split, each.row.model, each.row.label, heading(each.column.metric)]
        if math.isnan(interval.value):
            shown += [MISSING, "", "", ""]
        else:
            known = not math.isnan(interval.low)
            shown += [
                f"{interval.value:+.4f}",
                f"[{interval.low:+.4f}, {interval.high:+.4f}]" if known else UNKNOWN,
                *(UNKNOWN if math.isnan(p) else f"{p:.3f}" for p in (each.p, each.p_holm)),
            ]
        lines.append([_Text(words) for words in shown])
    heads = ["data", "split", "model", "method", "metric", "difference", "95 % interval", "p", "p (Holm)"]
    return heads, lines


def _value(value: Value) -> _Text:
    if not value.num_seeds:
        return _Text(MISSING if value.missing else UNKNOWN)
    words = f"{value.mean:.4f}"
    if not math.isnan(value.sd):
        words += f" \N{PLUS-MINUS SIGN} {value.sd:.4f}"
    return _Text(f"{words} ({value.num_seeds})" if value.missing else words, bold=value.best)


def _cost(cost: Cost) -> list[_Text]:
    return [
        _Text(UNKNOWN if math.isnan(number) else form.format(number))
        for number, form in ((cost.forwards, "{:.2f}"), (cost.priors_used, "{:.0f}"), (cost.time, "{:.1f}x"))
    ]


def _markdown(heads: Sequence[str], lines: Sequence[Sequence[_Text]]) -> str:
    rows = [heads, ["---"] * _KEYS + ["---:"] * (len(heads) - _KEYS)]
    rows += [[f"**{_escaped(text)}**" if text.bold else _escaped(text) for text in line] for line in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _escaped(text: _Text) -> str:
    words = text.words
    for sign in "\\|`*<_":
        words = words.replace(sign, f"\\{sign}")
    return words


def _latex(text: _Text) -> str:
    words = text.words.replace("\\", r"\textbackslash ")
    for sign in "&%$#_{}":
        words = words.replace(sign, f"\\{sign}")
    words = words.replace("\N{PLUS-MINUS SIGN}", r"$\pm$").replace(UNKNOWN, "--").replace("~", r"\textasciitilde ")
    return rf"\textbf{{{words}}}" if text.bold else words


def _html(heads: Sequence[str], lines: Sequence[Sequence[_Text]]) -> str:
    head = "".join(f"<th>{html.escape(words)}</th>" for words in heads)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{'<b>' if t.bold else ''}{html.escape(t.words)}{'</b>' if t.bold else ''}</td>" for t in line)
        + "</tr>"
        for line in lines
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _csv(heads: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([heads, *lines])
    return file.getvalue()


def _plain(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.6g}"
