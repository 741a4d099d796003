"""`wherenot bench search`: the table, resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wherenot.bench.photographs import benchmark_images
from wherenot.bench.quality import Quality, measure_quality, quality_rows
from wherenot.bench.timing import Timing, measure_time
from wherenot.masking import FillName
from wherenot.models import Classifier
from wherenot.regions import parse_partition
from wherenot.run import RunFolder
from wherenot.search import SearchName

_QUALITY = (
    ("forwards", "{forwards_stop:.0f}"), ("fewer", "{fewer_stop:.2f}x"),
    ("all 10", "{forwards:.0f}"), ("fewer", "{fewer:.2f}x"),
    ("rank 1", "{rank1:.3f}"), ("order", "{same_order:.3f}"), ("sum F", "{sum_f_stop:.3f}"), ("all 10", "{sum_f:.3f}"),
    ("ins", "{insertion_auc:.3f}"), ("del", "{deletion_auc:.3f}"),
)  # fmt: skip
_TIME = ("x exact", "x raw", "outside")


def bench_search(
    classifier: Classifier,
    out: Path,
    *,
    model: str,
    images: str | None,
    fill: FillName,
    searches: Sequence[SearchName],
    partition: str,
    limit: int | None,
    timed: int,
    authors: bool,
    compiled: bool,
    on_image: Callable[[str, int], None],
) -> Table:
    """Measure every search; images done before are not measured again.

    Args:
        classifier: The model.
        out: Run folder; gets ``quality.jsonl``, ``timing.json`` and ``table.md``.
        model: Its name, for the record.
        images: Folder of photographs or data set; None takes the shipped photographs.
        fill: What hidden pixels show.
        searches: Names.
        partition: How images are cut.
        limit: Measure the quality on the first so many images.
        timed: Measure the time on so many images in flight, taken evenly.
        authors: Time the authors' loops too.
        compiled: Run the timed forwards through `torch.compile`.
        on_image: Called with the name of each image before it is measured, and how many are left.

    Returns:
        The table.
    """
    folder = RunFolder(out)
    settings = {
        "images": images, "fill": fill, "searches": list(searches), "partition": partition, "timed": timed,
        "authors": authors, "compiled": compiled, "threads": torch.get_num_threads(),
    }  # fmt: skip
    folder.begin("bench search", model, settings, model=model)
    cut = parse_partition(partition)
    photographs = list(benchmark_images(images))
    records = [Quality(**record) for record in folder.records("quality.jsonl")]
    done = {record.image for record in records}
    left = [(name, photograph) for name, photograph in photographs[:limit] if name not in done]
    timings = [Timing(**timing) for timing in folder.read("timing.json") or []]
    if timed and len(timings) < len(searches) + 2 * authors:
        timings = []
        chosen = photographs[:: max(1, len(photographs) // timed)][:timed]
        batch = torch.stack([classifier.preprocess(photograph) for _, photograph in chosen])
        network: nn.Module | None = torch.compile(classifier) if compiled else None  # pyright: ignore[reportAssignmentType]
        for timing in measure_time(classifier, batch, cut, searches, fill=fill, authors=authors, network=network):
            on_image(f"time of {timing.search}", len(left))
            timings.append(timing)
            folder.write("timing.json", [asdict(timing) for timing in timings])
    for place, (name, photograph) in enumerate(left):
        on_image(name, len(left) - place)
        found = measure_quality(classifier, name, classifier.preprocess(photograph), cut, searches, fill)
        folder.append("quality.jsonl", *(asdict(quality) for quality in found))
        records += found
    made = table(model, quality_rows(records), timings)
    (folder.path / "table.md").write_text(made.markdown())
    return made


@dataclass(frozen=True)
class Table:
    """What was measured of one model, in words.

    Attributes:
        title: On what.
        headings: Of the columns.
        lines: One per search; the authors' loops come last and have no quality of their own.
        legend: What the columns mean.
    """

    title: str
    headings: Sequence[str]
    lines: Sequence[Sequence[str]]
    legend: str = (
        "forwards: masked images per image, stopping above 0.8 or with all ten regions, and how many times fewer the "
        "plain exact loop needs; rank 1, order: share of images with the plain loop's first region, with all ten; "
        "sum F: relative to the exact order's; ins, del: insertion and deletion AUC of ten regions; time, stopping "
        "above 0.8: relative to exact, to as many of the model's own forwards, and the share outside of its forwards; "
        "*: on the timed images alone"
    )

    def markdown(self) -> str:
        """The table for a document."""
        rules = ["---", *["---:"] * (len(self.headings) - 1)]
        rows = "\n".join(f"| {' | '.join(line)} |" for line in (self.headings, rules, *self.lines))
        return f"{self.title}\n\n{rows}\n\n{self.legend}.\n"


def table(model: str, rows: Sequence[dict[str, Any]], timings: Sequence[Timing]) -> Table:
    """Quality and time of every search, and the time of the authors' loops."""
    time_of = {timing.search: timing for timing in timings}
    quality_of = {row["search"]: row for row in rows}
    exact_s = time_of["exact"].seconds if "exact" in time_of else float("nan")
    lines = []
    for search in dict.fromkeys([*quality_of, *time_of]):
        line = [search]
        row, timing = quality_of.get(search), time_of.get(search)
        line += [form.format(**row) for _, form in _QUALITY] if row else _unmeasured(timing)
        if timing:
            raw_s = timing.forwards * timing.raw_seconds
            line += [f"{timing.seconds / exact_s:.2f}", f"{timing.seconds / raw_s:.2f}", f"{timing.outside:.1%}"]
        else:
            line += [""] * len(_TIME)
        lines.append(line)
    images = max((row["images"] for row in rows), default=0)
    timed = max((timing.images for timing in timings), default=0)
    title = f"{model}: quality on {images} images, time on {timed} in flight"
    return Table(title, ["search", *(heading for heading, _ in _QUALITY), *_TIME], lines)


def _unmeasured(timing: Timing | None) -> list[str]:
    """Cells of a search that was only timed: its forwards and, of the authors' loops, how often the order agrees."""
    cells = [""] * len(_QUALITY)
    if timing:
        cells[0] = f"{timing.forwards:.0f}*"
        if timing.agrees is not None:
            cells[[heading for heading, _ in _QUALITY].index("order")] = f"{timing.agrees}/{timing.images}"
    return cells
