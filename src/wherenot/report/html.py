"""The page: `Content` laid out by a template, pixels and all in one file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from wherenot.gui.replies import FAULTS
from wherenot.report import wording
from wherenot.report.content import CONFIDENT, Content, Shown, build_content
from wherenot.report.figures import FORBIDDEN_COLOR, PRIOR_COLOR, metric_figure, png_bytes
from wherenot.report.pages import page_environment, script_hash, write_page
from wherenot.report.provenance import run_label
from wherenot.report.runs import load_run
from wherenot.report.samples import sample_data
from wherenot.report.spoken import Word, read_words
from wherenot.report.stored import load_evidence
from wherenot.report.tiles import SCREEN_PX, SIDE_PX, Tile, css_gradient, data_uri, draw_tile, star_path

_IDS_LISTED = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class _Picture:
    """A tile whose shared layers are referred to by name; `problem` says why there is none.

    Attributes:
        star: SVG path where the agent clicked; empty without a click.
        words: Of the answer that the evidence is for; none for a classifier.
    """

    tile: Tile | None = None
    image: str = ""
    prior: str = ""
    forbidden: str = ""
    elements: str = ""
    star: str = ""
    words: tuple[Word, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Panel:
    """One metric's figure, for a light and for a dark page."""

    metric: str
    light: str
    dark: str
    alt: str


class _Pictures:
    """Draws tiles and stores each layer once, however many models share the image."""

    def __init__(self) -> None:
        self.images: dict[tuple[str, int, int, bool], str] = {}
        self.outlines: dict[str, str] = {}
        self._drawn: dict[Path, _Picture] = {}

    def __call__(self, shown: Shown) -> _Picture:
        """Return the picture of one image of one model."""
        if shown.evidence is None:
            return _Picture(problem="no picture was kept")
        if shown.evidence not in self._drawn:
            self._drawn[shown.evidence] = self._draw(shown.evidence, shown)
        return self._drawn[shown.evidence]

    def _draw(self, path: Path, shown: Shown) -> _Picture:
        record = shown.record
        asks, acts = (record.prompt, record.malformed) if record is not None else (None, None)
        try:
            tile = draw_tile(load_evidence(path), side=SIDE_PX if acts is None else SCREEN_PX)
        except ValueError:
            return _Picture(problem=f"{path.parent.name}/{path.name} is missing or broken")
        image = (tile.image, tile.width, tile.height, tile.is_tiny)
        return _Picture(
            tile=tile,
            image=self.images.setdefault(image, f"image{len(self.images)}"),
            prior=self._outline(tile.prior),
            forbidden=self._outline(tile.forbidden),
            elements=self._outline(tile.elements),
            star="" if record is None or record.clicked is None else tile.star(record.clicked),
            words=() if asks is None else read_words(path),
        )

    def _outline(self, path: str) -> str:
        return self.outlines.setdefault(path, f"outline{len(self.outlines)}") if path else ""


def render_html(content: Content) -> str:
    """Lay out a report as one page that needs nothing else: no network, no other file.

    Names and messages from the runs are escaped. Evidence files are read now; one that cannot be read leaves a note
    in its place. The page has one script, which the page's own policy names by its hash, so that no other runs;
    without it the samples cannot be filtered, opened and marked, and the rest is the same.

    Args:
        content: From `build_content`.

    Returns:
        A complete HTML document.
    """
    environment = page_environment()
    environment.filters |= {
        "number": lambda value, metric: wording.number(metric, value),
        "change": lambda value, metric: wording.change(metric, value),
        "percent": lambda value: wording.number("top1", value, digits=0),
        "span": _span,
        "pretty_json": lambda value: json.dumps(value, indent=2, ensure_ascii=False, default=str),
    }
    pictures = _Pictures()
    gallery = [(row, [pictures(cell) for cell in row.cells]) for row in content.gallery]
    offenders = [(found, [pictures(cell) for cell in found.shown]) for found in content.offenders]
    samples = sample_data(content)
    script = Markup(environment.get_template("script/page.js.j2").render()) if samples.samples else Markup("")
    return environment.get_template("report.html.j2").render(
        content=content,
        gallery=gallery,
        offenders=offenders,
        pictures=pictures,
        samples=samples,
        script=script,
        script_hash=script_hash(script),
        panels=list(_panels(content)),
        gradient=css_gradient(),
        prior_color=PRIOR_COLOR,
        forbidden_color=FORBIDDEN_COLOR,
        confident=CONFIDENT,
        ids_listed=_IDS_LISTED,
        missing=wording.MISSING,
        faults=FAULTS,
        minus=wording.MINUS,
        star=star_path(10.0, 10.0, 9.0),
        arrow=wording.arrow,
        interval=wording.interval,
        meaning=wording.meaning,
        run_label=run_label,
    )


def write_report(run_paths: Sequence[str | Path], out: Path, *, gallery: int = 12) -> Path:
    """Write the report on finished audits to one HTML file.

    The file appears complete or not at all; an existing one is replaced.

    Args:
        run_paths: Run folders; the first one's model is what the others are compared with.
        out: The file to write; its folder is made if need be.
        gallery: How many images to show side by side.

    Returns:
        `out`.

    Raises:
        ValueError: If a run cannot be read (`load_run`) or the runs do not go together (`build_content`).
        OSError: If `out` cannot be written; the message names it.
    """
    page = render_html(build_content([load_run(path) for path in run_paths], gallery=gallery))
    return write_page("write_report", page, out)


def _panels(content: Content) -> Iterator[_Panel]:
    """Draw accuracy and pointing, or whatever comes first, over all splits."""
    rows = {(table.split, row.metric): row for table in content.tables for row in table.rows}
    metrics = list(dict.fromkeys(metric for _, metric in rows))
    wanted = [metric for metric in ("top1", content.pointing) if metric in metrics] or metrics[:2]
    names = [column.name for column in content.columns]
    for metric in wanted:
        cells = {split: row.cells for (split, name), row in rows.items() if name == metric}
        higher_is_better = next(row.higher_is_better for (_, name), row in rows.items() if name == metric)
        light, dark = (
            data_uri(png_bytes(metric_figure(metric, higher_is_better, names, cells, dark=is_dark)), "image/png")
            for is_dark in (False, True)
        )
        values = "; ".join(
            f"{split}: "
            + ", ".join(f"{name} {wording.number(metric, cell.value)}" for name, cell in zip(names, row, strict=True))
            for split, row in cells.items()
        )
        yield _Panel(metric=metric, light=light, dark=dark, alt=f"{metric} with intervals. {values}")


def _span(counts: Sequence[int]) -> str:
    """Write a count per seed: one number, or from lowest to highest if seeds differ."""
    if not counts:
        return wording.MISSING
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low}\N{EN DASH}{high}"
