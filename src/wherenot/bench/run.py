"""`wherenot bench search`: the table, resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
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

_COLUMNS = (
    ("search", "{search}"), ("images", "{images}"), ("forwards", "{forwards_stop:.0f}"), ("fewer", "{fewer_stop:.2f}x"),
    ("forwards, all", "{forwards:.0f}"), ("fewer, all", "{fewer:.2f}x"), ("rank 1", "{rank1:.3f}"),
    ("order", "{same_order:.3f}"), ("sum F", "{sum_f_stop:.3f}"), ("sum F, all", "{sum_f:.3f}"),
    ("insertion", "{insertion_auc:.3f}"), ("deletion", "{deletion_auc:.3f}"),
)  # fmt: skip
_TIME_COLUMNS = ("search", "images", "forwards", "s / image", "x exact", "x raw", "outside", "same order")


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
) -> tuple[list[dict[str, Any]], list[Timing]]:
    """Measure every search; images done before are not measured again.

    Args:
        classifier: The model.
        out: Run folder; gets ``quality.jsonl``, ``timing.json`` and ``tables.md``.
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
        Rows of the quality table, and the timings.
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
    rows = quality_rows(records)
    (folder.path / "tables.md").write_text("\n".join(markdown(*table) for table in tables(rows, timings)))
    return rows, timings


Table = tuple[str, Sequence[str], list[list[str]]]


def tables(rows: Sequence[dict[str, Any]], timings: Sequence[Timing]) -> list[Table]:
    """Title, headings and cells of the quality table and, if anything was timed, of the time table."""
    quality = [[form.format(**row) for _, form in _COLUMNS] for row in rows]
    made: list[Table] = [
        ("Forwards and quality (k = 10; stop above 0.8, or all ten)", [head for head, _ in _COLUMNS], quality)
    ]
    exact = next((timing.seconds for timing in timings if timing.search == "exact"), float("nan"))
    cells = [
        [
            timing.search,
            str(timing.images),
            f"{timing.forwards:.0f}",
            f"{timing.seconds:.2f}",
            f"{timing.seconds / exact:.2f}",
            f"{timing.seconds / (timing.forwards * timing.raw_seconds):.2f}",
            f"{timing.outside:.1%}",
            "" if timing.agrees is None else f"{timing.agrees} of {timing.images}",
        ]
        for timing in timings
    ]
    if cells:
        made.append(("Time, all images in flight, stop above 0.8", _TIME_COLUMNS, cells))
    return made


def markdown(title: str, headings: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table for a document."""
    rules = ["---", *["---:"] * (len(headings) - 1)]
    lines = [f"| {' | '.join(line)} |" for line in (headings, rules, *cells)]
    return f"{title}\n\n" + "\n".join(lines) + "\n"
