"""`wherenot export`: an audit's evidence for other tools."""

from __future__ import annotations

from functools import partial

from wherenot import cli
from wherenot.commands.printing import console, say_left_out
from wherenot.commands.results import say_result
from wherenot.progress import progress_bar
from wherenot.report import export_arrays, export_coco, load_run


def run_export(command: cli.Export) -> None:
    """Write it, with a bar, and name what is not in it."""
    if command.top_regions < 1:
        raise ValueError(f"export: --top-regions is {command.top_regions}; pass at least 1.")
    if command.to == "arrays" and command.out.suffix != ".npz":
        raise ValueError(f"export: {command.out} is no .npz; name the file so, or leave --to arrays out.")
    run = load_run(command.run)
    write = export_arrays if command.to == "arrays" else partial(export_coco, top_regions=command.top_regions)
    total = sum(record.searched for record in run.records)
    with progress_bar() as bar:
        task = bar.add_task("export", total=total, note="samples")
        bad = write(run, command.out, on_sample=lambda: bar.advance(task))
    say_left_out(bad, total - len(bad))
    console.print(f"{total - len(bad)} samples: {command.out}", soft_wrap=True)
    say_result({"out": command.out, "samples": total - len(bad), "left_out": [each.id for each in bad]}, command.out)
