"""The command line: parses, calls, prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import OmitSubcommandPrefixes, Positional, arg, subcommand

import wherenot
from wherenot.data.cutouts import CutoutsConfig
from wherenot.endpoint.config import EndpointConfig
from wherenot.experiments.recipes import RECIPES
from wherenot.masking import FillName
from wherenot.search import SearchName
from wherenot.train.config import MethodName, TrainConfig, read_config

_HINT = "wherenot COMMAND --help explains a command; wherenot --version prints the version."


@dataclass(frozen=True, kw_only=True)
class Demo:
    """See it work: a photograph explained, and a model cured of looking at the wrong thing.

    Explains an ImageNet classifier on two photographs, trains a small network five ways on digits that carry a telltale
    coloured square, and writes one report that compares them. Nothing is downloaded.

    Try:
      wherenot demo --out runs/demo
    """

    out: Path = Path("runs/demo")
    """Folder for everything the demo makes."""
    seed: int = 0
    """Same seed, same numbers."""


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Which regions of an image carry the decision, or the answer?

    Writes a picture (PNG), the numbers (JSON) and the regions (NPZ) per image. With --prompt the model is a
    vision-language model, and what it says is explained.

    Try:
      wherenot explain cat.jpg --model efficientnet-lite0
      wherenot explain *.jpg --model google/vit-base-patch16-224 --target "tabby cat"
      wherenot explain cat.jpg --model runs/mine --max-regions 10 --search fast
      wherenot explain shot.png --model Qwen/Qwen2.5-VL-3B-Instruct --prompt "Where is the sign?" --tokens word:left
      wherenot explain shot.png --endpoint http://localhost:8000/v1 --model NAME --prompt "A dog?" --tokens 0
    """

    images: Positional[tuple[Path, ...]]
    """Photographs."""
    model: str
    """A run folder, efficientnet-lite0, timm:NAME, or a transformers id or path."""
    prompt: str | None = None
    """What the user says to a vision-language model; its answer is explained."""
    answer: str | None = None
    """What the model is taken to say; left out, what it generates."""
    tokens: str = "answer"
    """Which tokens of the answer: all, answer (all but thoughts), sensitive (those that need the image), word:cat,
    regex:EXPRESSION, field:POINT (of a JSON answer), 3 or 3:7."""
    counter: str | None = None
    """A word that would contradict the answer, such as No: which regions speak for it?"""
    max_tokens: int = 128
    """Longest answer that is generated."""
    boxes: Path | None = None
    """With --prompt: JSON file with a list of boxes [left, top, right, bottom] in pixels, such as the elements of a
    screen; regions are these, and cells of what lies between."""
    endpoint: str | None = None
    """URL of an OpenAI-compatible endpoint that has the model, such as http://localhost:8000/v1 (docs/endpoint.md). The
    images are sent there."""
    asking: Annotated[EndpointConfig, arg(name="")] = field(default_factory=EndpointConfig)
    """How the endpoint is asked."""
    classes: tuple[str, ...] = ()
    """CLIP and SigLIP: the names to choose from; other models have classes of their own."""
    target: str | None = None
    """Class to explain, by name or number; left out, what the model predicts."""
    partition: str = "slico:50"
    """How images are cut: slico:50, grid:7x7, opencv-slico:50 or seeds:50."""
    fill: FillName | None = None
    """What hidden pixels show; left out, mean, or black for a vision-language model. drop: hidden patches of a vision
    transformer leave its sequence."""
    search: SearchName = "exact"
    """How the order is found: exact; fast or turbo for a third of the forwards or less; the rest is to compare."""
    max_regions: int | None = None
    """Stop after so many regions; left out, all are ordered."""
    out: Path = Path("runs/explain")
    """Folder for the results."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Run attribution over a data set, compare the evidence with the priors, and write a report.

    Goes on where it stopped when called again with the same settings.

    Try:
      wherenot audit --model runs/finetune --data decoy --partition grid:4x4
      wherenot audit --model google/vit-base-patch16-224 --data photos/ --splits test --max-images 200
      wherenot audit --model Qwen/Qwen2.5-VL-3B-Instruct --data image-text:questions.jsonl --partition grid:7x7
    """

    model: str
    """A run folder, efficientnet-lite0, timm:NAME, or a transformers id or path; CLIP and SigLIP read the names of the
    data's classes."""
    data: str
    """A data folder, FORMAT:PATH (list, imagenet-s50, saliency-bench, coco, voc, ...: docs/data.md), or decoy; with
    image-text:FILE a vision-language model is asked questions (docs/answers_audit.md)."""
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
    name: str | None = None
    """What tables call this run; left out, the model's name."""
    seed: int = 0
    """Of the drawn images, the noise and the intervals."""
    correct: bool = False
    """Questions about images: correct wrong answers that have a counter word by hiding regions."""
    skip_bad: bool = False
    """Go on without samples that cannot be used; they are named and counted in the report."""
    out: Path | None = None
    """Run folder; left out, runs/audit-NAME."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a classifier, plainly or with a method that keeps its evidence on the prior.

    The configuration is a YAML file; every value in it can be changed with --set. Goes on from the last whole epoch
    when called again with the same configuration.

    Try:
      wherenot train decoy.yaml
      wherenot train decoy.yaml --set.method.name log --set.method.weight 2 --set.seed 1 --out runs/log-1
      wherenot train paper/vit --set.data photos/
    """

    config: Positional[Path]
    """YAML file with the configuration, or a recipe (docs/models.md lists them); it comes right after the command."""
    set: TrainConfig = field(default_factory=TrainConfig)
    """Changes to the configuration."""
    out: Path | None = None
    """Run folder; left out, runs/NAME-SEED."""


@dataclass(frozen=True, kw_only=True)
class Compare:
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
class BenchSearch:
    """Measure the searches: forwards, quality against the plain loop, and time.

    Goes on where it stopped when called again with the same settings.

    Try:
      wherenot bench search --limit 4 --timed 2
      wherenot bench search --against authors --out runs/bench
    """

    model: str = "efficientnet-lite0"
    """A run folder, efficientnet-lite0, or a transformers id or path."""
    images: str | None = None
    """Folder of photographs or data set; left out, 66 views of 11 photographs that come with packages."""
    fill: FillName = "mean"
    """What hidden pixels show; drop: hidden patches of a vision transformer leave its sequence."""
    searches: tuple[SearchName, ...] = ("exact", "scoped", "lazy", "fast", "turbo")
    """Searches to measure."""
    partition: str = "slico:50"
    """How images are cut: slico:50, grid:7x7, opencv-slico:50 or seeds:50."""
    limit: int | None = None
    """Measure the quality on the first so many images."""
    timed: int = 8
    """Measure the time on so many images in flight; 0 measures none."""
    against: Literal["authors"] | None = None
    """Time the authors' two loops on the same images, too."""
    compile: bool = False
    """Run the timed forwards through torch.compile."""
    out: Path | None = None
    """Run folder; left out, runs/bench-search-MODEL."""


@dataclass(frozen=True, kw_only=True)
class BenchMllm:
    """Measure how answers of a vision-language model are explained, against the authors' way: time and memory.

    The model is a Qwen2.5-VL of the given size with random weights. Goes on where it stopped when called again with
    the same settings.

    Try:
      wherenot bench mllm --size tiny
      wherenot bench mllm --size 3b --device cuda --partition grid:7x7
    """

    size: Literal["tiny", "0.4b", "3b", "7b"] = "0.4b"
    """About how many weights."""
    image: Path | None = None
    """Picture to ask about; left out, a photograph of 504 x 252 px."""
    partition: str = "grid:4x4"
    """How it is cut."""
    max_regions: int = 3
    """Regions to find."""
    device: str = "cpu"
    """cpu, or cuda: then weights are in bfloat16."""
    chunk: int | None = None
    """Masked images per forward; left out, by device and image size."""
    out: Path | None = None
    """Run folder; left out, runs/bench-mllm-SIZE."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure searches, or how answers are explained.

    Try:
      wherenot bench search --limit 4 --timed 2
      wherenot bench mllm --size tiny
    """

    action: Annotated[BenchSearch, subcommand("search")] | Annotated[BenchMllm, subcommand("mllm")]


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """Look a data set over: read every image and prior, count them, and name what is bad.

    Fails if a sample is bad or an image is in several splits.

    Try:
      wherenot data check photos/
      wherenot data check imagenet-s50:data/ImageNetS50
    """

    data: Positional[str]
    """A data folder, FORMAT:PATH (list, imagenet-s50, saliency-bench, coco, voc, ...: docs/data.md), or decoy."""
    seed: int = 0
    """Of built-in data."""


@dataclass(frozen=True, kw_only=True)
class DataConvert:
    """Convert a data set to the native format: a folder with PNGs, metadata.jsonl and dataset.json.

    Try:
      wherenot data convert coco:data/coco#dog,cat pets/ --skip-bad
      wherenot data convert decoy digits/
    """

    data: Positional[str]
    """A data folder, FORMAT:PATH (list, imagenet-s50, saliency-bench, coco, voc, ...: docs/data.md), or decoy."""
    out: Positional[Path]
    """New folder to convert into."""
    seed: int = 0
    """Of built-in data."""
    skip_bad: bool = False
    """Convert without samples that cannot be used; they are named and counted."""


@dataclass(frozen=True, kw_only=True)
class DataMake:
    """Make a benchmark whose shortcut is known: objects cut out of photographs, on other photographs.

    Objects and photographs come from folders of yours, or from packages of Debian (docs/data.md):
      apt install tuxpaint-stamps-default gnome-backgrounds mate-backgrounds plasma-workspace-wallpapers

    Try:
      wherenot data make cutouts runs/cutouts
      wherenot data make cutouts runs/stamps --shortcut watermark --rho 1 --prior shifted --prior-frac 0.1
      wherenot data make cutouts runs/pets --objects cut/ --backgrounds photos/ --classes dog cat
    """

    what: Positional[Literal["cutouts"]]
    """The benchmark."""
    out: Positional[Path]
    """New folder to write it into, in the native format."""
    cutouts: Annotated[CutoutsConfig, arg(name="")] = field(default_factory=CutoutsConfig)
    """What it is made of."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Look a data set over, convert it to the native folder format, or make a benchmark."""

    action: (
        Annotated[DataCheck, subcommand("check")]
        | Annotated[DataConvert, subcommand("convert")]
        | Annotated[DataMake, subcommand("make")]
    )


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Reproduce a table or figure of the paper, on its data or on yours.

    Trains and audits every method on every data set, model and seed, and writes table.csv, .md, .tex and .html, the
    paired differences, and the figure. Goes on where it stopped when called again; studies in one folder share
    what they have in common.

    Try:
      wherenot reproduce table1 --data decoy --models small-cnn --seeds 0 1 2 --processes 2
      wherenot reproduce table1 --data imagenet-s919 --models openai/clip-vit-large-patch14 --plan
      wherenot reproduce fig3 --sweep interval=1,5,20 weight=0.5,5 --out runs/study
      wherenot reproduce table1 --images-per-split 40 --max-images 4 --set optimization.epochs=1 --seeds 0
    """

    study: Positional[Literal["table1", "table2", "table3", "fig2", "fig3"]]
    """Table 1: methods. 2: the parts of the loss. 3: noise. Figure 2: pictures. 3: interval and weight."""
    data: tuple[str, ...] = ("decoy",)
    """Data folders, FORMAT:PATH, cutouts:SHORTCUT or decoy (docs/data.md)."""
    models: tuple[str, ...] = ("small-cnn",)
    """Models to train: small-cnn, small-vit, efficientnet-lite0, or transformers ids or paths."""
    methods: tuple[MethodName, ...] = ()
    """Methods, the first the reference; left out, the paper's. Table 2 and figure 3 take one, apart from finetune."""
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
    """How images are cut, in training and audit; left out, grid:4x4 for decoy, slico:50 elsewhere."""
    max_images: int | None = None
    """Images per split whose evidence is searched in an audit; all images count for accuracy."""
    images_per_split: int | None = None
    """Use at most so many images of each split, for a small trial."""
    pictures: int = 6
    """Figure 2: images to show, drawn by chance."""
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


@dataclass(frozen=True, kw_only=True)
class Advise:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 if it did what was asked."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] in (["--version"], ["-V"]):
        print(f"wherenot {wherenot.__version__}")
        return 0
    try:
        command = tyro.cli(
            OmitSubcommandPrefixes[
                Annotated[Demo, subcommand("demo")]
                | Annotated[Explain, subcommand("explain")]
                | Annotated[Audit, subcommand("audit")]
                | Annotated[Train, _train_subcommand(arguments)]
                | Annotated[Compare, subcommand("compare")]
                | Annotated[Bench, subcommand("bench")]
                | Annotated[Data, subcommand("data")]
                | Annotated[Reproduce, subcommand("reproduce")]
                | Annotated[Advise, subcommand("advise")]
            ],
            prog="wherenot",
            description=f"{wherenot.__doc__}\n\n{_HINT}",
            args=arguments,
        )
        from wherenot import commands

        commands.run(command)
    except KeyboardInterrupt:
        print("wherenot: interrupted; what was finished is kept, the same command goes on from there.", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as error:
        print(f"wherenot: {error}", file=sys.stderr)
        return 1
    return 0


def _train_subcommand(arguments: list[str]) -> object:
    """``train``, with the values of the file or recipe it names as the defaults that --set changes."""
    if arguments[:1] == ["train"] and len(arguments) > 1 and not arguments[1].startswith("-"):
        path = Path(arguments[1])
        config = RECIPES.get(arguments[1]) or read_config(path, RECIPES)
        return subcommand("train", default=Train(config=path, set=config))
    return subcommand("train")
