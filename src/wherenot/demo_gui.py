"""The demo of agents: one learns to click from memory, another to look, one report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.table import Table

from wherenot.audit_answers import AnswerAuditConfig, audit_answers
from wherenot.commands.audit import with_bar
from wherenot.commands.printing import console
from wherenot.data import Dataset, limit, load_dataset
from wherenot.demo import conclude
from wherenot.models import load_vlm
from wherenot.report import Run
from wherenot.run import RunFolder
from wherenot.train.agents.config import (
    AgentMethodConfig,
    AgentMethodName,
    AgentOptimizationConfig,
    AgentTrainConfig,
    LoraConfig,
)
from wherenot.train.agents.training import train_agent

BASE = "tiny-agent-weak"
METHODS: tuple[AgentMethodName, ...] = ("sft", "rearrange")
SPLITS = ("test_habitual", "test_shuffled")
TASKS = 48  # of each split that is audited
SEARCHED = 12  # of these, tasks whose evidence is searched
REGIONS = 2  # that are searched, as many as the paper's Algorithm 2 looks at
OPTIMIZATION = AgentOptimizationConfig(
    steps=250, batch_size=32, accumulation=1, tasks_per_screen=8, learning_rate=2e-3, save_every=50
)
_SHOWN = (("top1", "clicks right"), ("reliance", "reliance"))


def run_demo_gui(out: Path, seed: int) -> Path:
    """Run the demo into a folder and return its report.

    Trains and audits each method once; run again with the same folder and seed it only does what is left.
    """
    started = time.perf_counter()
    folder = RunFolder(out)
    dataset = load_dataset("screens")
    tasks = tuple(sample for sample in dataset.samples if sample.split in SPLITS)
    tests = limit(replace(dataset, samples=tasks), TASKS, seed)
    console.rule("1. An agent that clicks on screens")
    console.print(
        "It gets an instruction and a screenshot, says what it thinks, and clicks. It sees where to click, and often "
        "misses. In training and test_habitual nine of ten elements lie in their usual places; in test_shuffled places "
        "say nothing: who clicks from memory fails there."
    )
    audits = [_audit(folder.path / "audit-base", tests, BASE, "base", seed)]
    console.rule("2. Fine-tuned on habitual layouts: as they are, and with what is on each screen dealt out anew")
    for method in METHODS:
        config = AgentTrainConfig(
            data="screens", model=BASE, seed=seed, max_tokens=24, lora=LoraConfig(),
            method=AgentMethodConfig(name=method), optimization=OPTIMIZATION,
        )  # fmt: skip
        trained = train_agent(config, folder.path / f"train-{method}", dataset=dataset)
        audits.append(_audit(folder.path / f"audit-{method}", tests, str(trained / "model"), method, seed))
    return conclude(folder, audits, outcome_table, started)


def _audit(out: Path, dataset: Dataset, model: str, name: str, seed: int) -> Path:
    config = AnswerAuditConfig(
        splits=SPLITS,
        elements=True,
        search="fast",
        max_regions=REGIONS,
        max_images=SEARCHED,
        max_tokens=24,
        seed=seed,
    )
    return with_bar(partial(audit_answers, load_vlm(model), dataset, out, config), name, Path(model).name)


def outcome_table(runs: Sequence[Run]) -> Table:
    """One line per agent: how often it clicks right, and how much that rests on what it clicks."""
    table = Table(
        caption="Clicks right: on the target. Reliance: how far the first word that says where to click loses "
        "probability when the target is hidden."
    )
    table.add_column("agent")
    for split in SPLITS:
        for _, words in _SHOWN:
            table.add_column(f"{split.removeprefix('test_')}\n{words}", justify="right")
    for run in runs:
        found = {(metric.split, metric.metric): metric.value for metric in run.metrics}
        values = [found.get((split, metric)) for split in SPLITS for metric, _ in _SHOWN]
        table.add_row(run.name, *("-" if value is None else f"{value:.0%}" for value in values))
    return table
