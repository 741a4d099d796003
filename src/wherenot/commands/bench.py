"""`wherenot bench`: what was measured, as tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wherenot import cli
from wherenot.commands.printing import console
from wherenot.commands.results import say_result
from wherenot.models import load_classifier, read_photograph
from wherenot.progress import progress_bar

if TYPE_CHECKING:
    from wherenot.bench.run import Table as BenchTable


def run_bench(action: cli.BenchSearch | cli.BenchMllm) -> None:
    """Measure what is asked for."""
    if isinstance(action, cli.BenchSearch):
        run_bench_search(action)
    else:
        run_bench_mllm(action)


def run_bench_search(command: cli.BenchSearch) -> None:
    """Measure the searches, with a bar, and print the table."""
    from wherenot.bench.run import bench_search

    classifier = load_classifier(command.model)
    out = command.out or Path("runs") / f"bench-search-{Path(command.model).name}"
    with progress_bar() as bar:
        task = bar.add_task("bench search", total=None, note="images")

        def on_image(name: str, left: int) -> None:
            done = bar.tasks[task].completed
            bar.update(task, total=done + left, advance=float(not name.startswith("time of")), note=name)

        measured = bench_search(
            classifier,
            out,
            model=command.model,
            images=command.images,
            fill=command.fill,
            searches=command.searches,
            partition=command.partition,
            limit=command.limit,
            timed=command.timed,
            authors=command.against == "authors",
            compiled=command.compile,
            on_image=on_image,
        )
    print_bench(measured, out)


def run_bench_mllm(command: cli.BenchMllm) -> None:
    """Measure how answers are explained, and print the table."""
    from wherenot.bench.mllm import bench_mllm
    from wherenot.bench.photographs import wide_photograph

    image = wide_photograph() if command.image is None else read_photograph(command.image)
    out = command.out or Path("runs") / f"bench-mllm-{command.size}"
    with progress_bar() as bar:
        task = bar.add_task("bench mllm", total=None, note="")
        measured = bench_mllm(
            out,
            size=command.size,
            image=image,
            partition=command.partition,
            max_regions=command.max_regions,
            device=command.device,
            chunk=command.chunk,
            on_way=lambda way: bar.update(task, note=way),
        )
    print_bench(measured, out)


def print_bench(measured: BenchTable, out: Path) -> None:
    """Print what was measured, and say where it is."""
    from rich.table import Table

    shown = Table(title=measured.title, caption=measured.legend)
    for place, heading in enumerate(measured.headings):
        shown.add_column(heading, justify="right" if place else "left")
    for line in measured.lines:
        shown.add_row(*line)
    console.print(shown)
    console.print(f"table: {out / 'table.md'}", soft_wrap=True)
    lines = [dict(zip(measured.headings, line, strict=True)) for line in measured.lines]
    say_result({"title": measured.title, "lines": lines, "table": out / "table.md"}, out / "table.md")
