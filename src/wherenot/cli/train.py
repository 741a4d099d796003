"""Arguments of the commands that train: train and reproduce."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from wherenot.cli.output import Command
from wherenot.train.agents.config import AgentMethodName, AgentTrainConfig
from wherenot.train.config import MethodName, TrainConfig


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train a classifier, plainly or with a method that keeps its evidence on the prior.

    The configuration is a YAML file; every value in it can be changed with --set. Goes on from the last whole epoch
    when called again with the same configuration. A file with task: agent in it trains a GUI agent; put it before
    --help to see what it takes.

    Try:
      wherenot train decoy.yaml
      wherenot train decoy.yaml --set.method.name log --set.method.weight 2 --set.seed 1 --out runs/log-1
      wherenot train paper/vit --set.data photos/
      wherenot train decoy.yaml --set.method.name wherenot --feedback feedback.jsonl
      accelerate launch --num_processes 2 -m wherenot train decoy.yaml
    """

    config: Positional[Path]
    """YAML file with the configuration, or a recipe (docs/models.md lists them); it comes right after the command."""
    set: TrainConfig = field(default_factory=TrainConfig)
    """Changes to the configuration."""
    feedback: Path | None = None
    """Marks made in a report on training images (docs/report.md): what evidence must not lie on, and what it may."""
    strict: bool = False
    """Stop at a sample that cannot be used; else training goes on without it, and names it in rejected.jsonl. Every
    image is read once before the first step."""
    out: Path | None = None
    """Run folder; left out, runs/NAME-SEED."""


@dataclass(frozen=True, kw_only=True)
class TrainAgent(Command):
    """Fine-tune a GUI agent, plainly or with a method that keeps its evidence on the target.

    The configuration is a YAML file with task: agent in it; every value in it can be changed with --set. Goes on from
    the last checkpoint when called again with the same configuration (docs/agents.md).

    Try:
      wherenot train agent.yaml --plan
      wherenot train agent.yaml
      wherenot train agent.yaml --set.method.name sft --set.seed 1 --out runs/sft-1
      wherenot train agent.yaml --set.method.name paper --feedback feedback.jsonl
      accelerate launch -m wherenot train agent.yaml
    """

    config: Positional[Path]
    """YAML file with the configuration; it comes right after the command."""
    set: AgentTrainConfig = field(default_factory=AgentTrainConfig)
    """Changes to the configuration."""
    feedback: Path | None = None
    """Marks made in a report on training tasks (docs/report.md): what evidence must not lie on, and what it may."""
    strict: bool = False
    """Stop at a sample that cannot be used; else training goes on without it, and names it in rejected.jsonl. Every
    image is read once before the first step."""
    out: Path | None = None
    """Run folder; left out, runs/NAME-SEED."""
    plan: bool = False
    """Only print what the run would take: memory, time and money. Reads no weights and needs no GPU."""
    tflops: float = 40.0
    """Plan: what the GPU sustains, in 1e12 operations a second."""
    dollars_per_hour: float = 2.5
    """Plan: price of the GPU."""


@dataclass(frozen=True, kw_only=True)
class Reproduce(Command):
    """Reproduce a table or figure of the paper, on its data or on yours.

    Trains and audits every method on every data set, model and seed, and writes table.csv, .md, .tex and .html, the
    paired differences, and the figure. Goes on where it stopped when called again; studies in one folder share
    what they have in common.

    Try:
      wherenot reproduce table1 --data decoy --models small-cnn --seeds 0 1 2 --processes 2
      wherenot reproduce table1 --data imagenet-s919 --models openai/clip-vit-large-patch14 --plan
      wherenot reproduce fig3 --sweep interval=1,5,20 weight=0.5,5 --out runs/study
      wherenot reproduce table4 --data gui:runs/screens --models Qwen/Qwen3-VL-4B-Instruct --partition elements
      wherenot reproduce table1 --images-per-split 40 --max-images 4 --set optimization.epochs=1 --seeds 0
    """

    study: Positional[Literal["table1", "table2", "table3", "table4", "fig2", "fig3", "fig4", "fig5", "fig6"]]
    """Table 1: methods. 2: the parts of the loss. 3: noise. 4: agents. Figure 2: pictures. 3: interval and weight. Of
    agents, figure 4: clicks. 5: thought and action. 6: answers without a click."""
    data: tuple[str, ...] = ("decoy",)
    """Data folders, FORMAT:PATH, cutouts:SHORTCUT or decoy (docs/data.md); agents: gui:PATH and the like."""
    models: tuple[str, ...] = ("small-cnn",)
    """Models to train: small-cnn, small-vit, efficientnet-lite0, or transformers ids or paths."""
    methods: tuple[MethodName | AgentMethodName, ...] = ()
    """Methods, the first the reference; left out, the paper's. Table 2 and figure 3 take one, apart from finetune.
    Agents: sft, paper, necessity, paste, rearrange, random_regions, swap, grpo."""
    preset: Literal["paper", "paper-tables", "wherenot"] = "paper"
    """paper: as its text says; paper-tables: as the scripts behind its tables did; wherenot: ours."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds; figure 2 takes the first."""
    grid: tuple[float, ...] = ()
    """Multiples of each method's weight, such as 0.1 1 10, to choose from on validation; left out, 1."""
    sweep: tuple[str, ...] = ()
    """Figure 3: options and values, such as interval=1,5,20; also weight, tau, max_regions, partition."""
    noise: tuple[float, ...] = (0.05, 0.1, 0.2)
    """Table 3: standard deviations of the noise, pixels in [0, 1]."""
    corruptions: tuple[str, ...] = ()
    """Table 3: corruptions with their severity, such as jpeg:3 gaussian_blur:2."""
    set: tuple[str, ...] = ()
    """Changes to every configuration, such as optimization.epochs=1 method.interval=5."""
    splits: tuple[str, ...] = ()
    """Splits to audit; left out, all but train and validation, and of ImageNet-S only the one with masks."""
    partition: str | None = None
    """How images are cut, in training and audit; left out, grid:4x4 for decoy, slico:50 elsewhere. Agents: also
    elements, those of the interface."""
    max_images: int | None = None
    """Images per split whose evidence is searched in an audit; all images count for accuracy."""
    images_per_split: int | None = None
    """Use at most so many images of each split, for a small trial."""
    pictures: int = 6
    """Figure 2: images to show, drawn by chance; figures 4 to 6: tasks."""
    processes: int = 1
    """Trials that run at once."""
    threads: int | None = None
    """Threads of each process; left out, they share the cores."""
    plan: bool = False
    """Only print the trials, and what they would cost in time and money."""
    tflops: float = 40.0
    """Plan: what the GPU sustains, in 1e12 operations a second."""
    forwards_per_second: float | None = None
    """Plan: measured images a second, instead."""
    dollars_per_hour: float = 2.5
    """Plan: price of the GPU."""
    out: Path = Path("runs/reproduce")
    """Folder for trials, tables and figures."""
