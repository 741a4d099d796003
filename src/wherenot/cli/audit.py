"""Arguments of the commands that judge runs: audit, compare and advise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from wherenot.cli.output import Command
from wherenot.gui.codecs import CodecName
from wherenot.gui.coordinates import ConventionName
from wherenot.masking import FillName
from wherenot.search import SearchName


@dataclass(frozen=True, kw_only=True)
class Audit(Command):
    """Run attribution over a data set, compare the evidence with the priors, and write a report.

    Goes on where it stopped when called again with the same settings.

    Try:
      wherenot audit --model runs/finetune --data decoy --partition grid:4x4
      wherenot audit --model google/vit-base-patch16-224 --data photos/ --splits test --max-images 200
      wherenot audit --model Qwen/Qwen2.5-VL-3B-Instruct --data image-text:questions.jsonl --partition grid:7x7
      wherenot audit --model runs/sft-0/model --data gui:runs/screens --elements --tokens field:POINT
      wherenot audit --model runs/sft-0/model --data gui:runs/screens --elements --thinking
      accelerate launch --num_processes 8 -m wherenot audit --model runs/mine --data photos/
      wherenot audit --model runs/mine --data photos/ --engine ray --address auto
    """

    model: str
    """A run folder, efficientnet-lite0, timm:NAME, or a transformers id or path; CLIP and SigLIP read the names of the
    data's classes."""
    data: str
    """A data folder, FORMAT:PATH (list, imagenet-s50, saliency-bench, coco, voc, ...: docs/data.md), or decoy; with
    image-text:FILE a vision-language model is asked questions (docs/answers_audit.md), with gui:PATH and the like where
    to click."""
    splits: tuple[str, ...] = ()
    """Splits to audit; left out, all but train and validation."""
    max_images: int | None = None
    """Images per split whose evidence is searched; all images count for accuracy."""
    partition: str = "slico:50"
    """How images are cut: slico:50, grid:7x7, opencv-slico:50 or seeds:50."""
    fill: FillName | None = None
    """What hidden pixels show; left out, mean, or black for a vision-language model. drop: hidden patches of a vision
    transformer leave its sequence."""
    search: SearchName = "exact"
    """How the order is found: exact; fast or turbo for a third of the forwards or less; the rest is to compare."""
    max_regions: int | None = None
    """Regions that are ordered, strongest first; left out, all. Pointing games need one or two; insertion and deletion
    need all, and are left out otherwise."""
    feedback: Path | None = None
    """Marks made in a report and downloaded there (docs/report.md): what evidence must not lie on, and what it may."""
    tokens: str | None = None
    """Answers: which of their tokens are explained, as for explain; left out, those that each question names."""
    elements: bool = False
    """Tasks on screenshots: regions are the elements of the interface, and cells between them."""
    actions: CodecName = "agentcpm"
    """Tasks on screenshots: the format in which the model writes actions (docs/gui_actions.md)."""
    coordinates: ConventionName = "0-1000"
    """Tasks on screenshots: the numbers in which it writes places."""
    thinking: bool = False
    """Tasks on screenshots: explain thought and action apart, too, and compare the two; about three times the work."""
    name: str | None = None
    """What tables call this run; left out, the model's name."""
    seed: int = 0
    """Of the drawn images, the noise and the intervals."""
    correct: bool = False
    """Questions about images: correct wrong answers that have a counter word by hiding regions."""
    strict: bool = False
    """Stop at a sample that cannot be used; else the audit goes on without it, names it in rejected.jsonl and in the
    report, and counts it."""
    max_pictures: int = 2000
    """Images per split whose picture is kept for the report, of those whose evidence is searched; some ten to two
    hundred kilobytes each."""
    engine: Literal["local", "ray"] = "local"
    """Where it runs: local, in this process (several share it under accelerate launch); ray, on a cluster
    (docs/scaling.md)."""
    address: str | None = None
    """Of the Ray cluster, such as auto or ray://HOST:10001; left out, one is started on this machine."""
    actors: int | None = None
    """Copies of the model on the cluster; left out, one per GPU, or without any one per two CPUs."""
    out: Path | None = None
    """Run folder; left out, runs/audit-NAME."""


@dataclass(frozen=True, kw_only=True)
class Compare(Command):
    """Compare audits: every metric, side by side, with paired differences from the first and 95 % intervals.

    Try:
      wherenot compare runs/audit-finetune runs/audit-log
      wherenot compare runs/audit-* --out comparison
    """

    runs: Positional[tuple[Path, ...]]
    """Run folders of audits; the first is what the others are compared with."""
    out: Path = Path("runs/comparison")
    """Folder for comparison.md and report.html."""


@dataclass(frozen=True, kw_only=True)
class Report(Command):
    """Write the report of finished audits again; nothing is audited.

    Try:
      wherenot report runs/audit-log
      wherenot report runs/audit-finetune runs/audit-log -o both.html
    """

    runs: Positional[tuple[Path, ...]]
    """Run folders of audits; the first is what the others are compared with."""
    out: Annotated[Path | None, arg(aliases=("-o",))] = None
    """The page; left out, report.html in the run folder. Several runs need one."""


@dataclass(frozen=True, kw_only=True)
class Advise(Command):
    """Say which method to try on a model, and when alignment will not help, from audits of it.

    Try:
      wherenot advise runs/audit-finetune
      wherenot advise runs/audit-finetune --priors rough --context spurious
    """

    runs: Positional[tuple[Path, ...]]
    """Run folders of audits."""
    priors: Literal["exact", "rough", "wrong"] | None = None
    """How good the priors are: masks that fit, loose or partly covering ones, or often misplaced ones."""
    priors_frac: float | None = None
    """Share of the training images that have a prior; left out, as in the audit."""
    context: Literal["spurious", "informative"] | None = None
    """Whether what lies off the prior helps honestly where the model will be used; left out, judged by groups."""
