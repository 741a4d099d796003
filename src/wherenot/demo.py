"""The demo: two photographs explained, one shortcut found and cured, one report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image
from rich.table import Table

from wherenot.commands.audit import audit_with_bar
from wherenot.commands.explain import explain_photograph, sentence
from wherenot.commands.printing import console
from wherenot.commands.results import say_result
from wherenot.data import load_dataset
from wherenot.experiments.decoy import AUDIT, decoy_config
from wherenot.models import load_classifier
from wherenot.report import Run, comparison_markdown, comparison_rows, load_run, write_report
from wherenot.run import RunFolder
from wherenot.train.config import MethodName
from wherenot.train.training import train

PHOTOGRAPHS = ("cat", "coffee")
SHOWN_REGIONS = 20
METHODS: tuple[MethodName, ...] = ("finetune", "paper", "rrr", "random_regions", "wherenot")
AUDITED_IMAGES = 60


def run_demo(out: Path, seed: int) -> Path:
    """Run the demo into a folder and return its report.

    Trains and audits each method once; run again with the same folder and seed it only does what is left.
    """
    started = time.perf_counter()
    folder = RunFolder(out)
    console.rule("1. On what does an ImageNet classifier rest its answer?")
    explain_photographs(folder.path)
    console.rule("2. A network that looks at the wrong thing, and five ways to train it")
    dataset = load_dataset("decoy", seed=seed)
    console.print(
        "Digits with a coloured square in a corner. In training the colour gives the digit away; "
        "in test_unbiased it says nothing. Where evidence may lie: on the digit's strokes."
    )
    audits = []
    for method in METHODS:
        config = decoy_config(method, seed=seed)
        trained = train(config, folder.path / f"train-{method}", dataset=dataset)
        audits.append(
            audit_with_bar(
                load_classifier(str(trained)),
                dataset,
                folder.path / f"audit-{method}",
                replace(AUDIT, max_images=AUDITED_IMAGES, seed=seed),
                method,
                f"train-{method}",
            )
        )
    return conclude(folder, audits, outcome_table, started)


def conclude(
    folder: RunFolder, audits: Sequence[Path], table: Callable[[Sequence[Run]], Table], started: float
) -> Path:
    """Put audits side by side, printed and in a report, and return the report.

    Args:
        folder: Of the demo.
        audits: Its audits.
        table: What is printed of them.
        started: When the demo began, by `time.perf_counter`.
    """
    console.rule("3. What came of it")
    runs = [load_run(path) for path in audits]
    (folder.path / "comparison.md").write_text(comparison_markdown(comparison_rows(runs)))
    report = write_report(audits, folder.path / "report.html")
    console.print(table(runs))
    console.print(f"[bold]report:[/bold] {report.resolve()}", soft_wrap=True)
    say_result({"report": report, "runs": audits, "metrics": {run.name: run.metrics for run in runs}}, report)
    console.print(f"[dim]{time.perf_counter() - started:.0f} seconds; everything is in {folder.path.resolve()}[/dim]")
    return report


def outcome_table(runs: Sequence[Run]) -> Table:
    """One line per method: how often it is right, and how often its strongest evidence lies on the digit."""
    table = Table(caption="Right answers, and pointing: images whose strongest region lies on the digit.")
    table.add_column("method")
    shown = [("test_biased", "top1"), ("test_unbiased", "top1"), ("test_swapped", "top1")]
    shown += [("test_biased", "pointing_coverage@0.2")]
    for split, metric in shown:
        measured = "right" if metric == "top1" else "pointing"
        table.add_column(f"{split.removeprefix('test_')}\n{measured}", justify="right")
    for run in runs:
        found = {(metric.split, metric.metric): metric.value for metric in run.metrics}
        values = [found[key] for key in shown]
        table.add_row(run.name, *("-" if value is None else f"{value:.0%}" for value in values))
    return table


def explain_photographs(folder: Path) -> None:
    """Explain EfficientNet-Lite0 on the photographs that scikit-image ships."""
    import skimage.data

    classifier = load_classifier("efficientnet-lite0")
    for name in PHOTOGRAPHS:
        path = folder / f"{name}-photograph.png"
        Image.fromarray(getattr(skimage.data, name)()).save(path)
        out = folder / f"{name}-evidence"
        evidence = explain_photograph(classifier, path, out, search="scoped", max_regions=SHOWN_REGIONS)
        console.print(f"{name}: {sentence(classifier, evidence)}", soft_wrap=True)
        console.print(f"  picture: {out}.png", soft_wrap=True)
