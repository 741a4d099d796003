"""Arguments of data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg, subcommand

from wherenot.cli.output import Command
from wherenot.data.cutouts import CutoutsConfig


@dataclass(frozen=True, kw_only=True)
class DataCheck(Command):
    """Look a data set over: read every image and prior, count them, and name what is bad.

    Fails if a sample is bad or an image is in several splits; ten are shown, --out keeps the whole list.

    Try:
      wherenot data check photos/
      wherenot data check imagenet-s50:data/ImageNetS50
    """

    data: Positional[str]
    """A data folder, FORMAT:PATH (list, imagenet-s50, saliency-bench, coco, voc, gui, ...: docs/data.md), or decoy."""
    seed: int = 0
    """Of built-in data."""
    strict: bool = False
    """Stop at the first sample that is bad."""
    out: Path | None = None
    """Folder for rejected.jsonl, which names every sample that is bad."""


@dataclass(frozen=True, kw_only=True)
class DataConvert(Command):
    """Convert a data set to the native format: a folder with PNGs, metadata.jsonl and dataset.json; or to COCO.

    Tasks on screenshots become a folder with PNGs and tasks.json, which gui:FOLDER reads.

    Try:
      wherenot data convert coco:data/coco#dog,cat pets/
      wherenot data convert pets/ pets-coco/ --to coco
      wherenot data convert screenspot:ScreenSpot-v2 tasks/
      wherenot data convert decoy digits/
    """

    data: Positional[str]
    """A data folder, FORMAT:PATH (list, imagenet-s50, saliency-bench, coco, voc, gui, ...: docs/data.md), or decoy."""
    out: Positional[Path]
    """New folder to convert into."""
    to: Literal["native", "coco"] = "native"
    """coco: instances with boxes and segmentations; images without a prior, or with a forbidden area, are left out,
    since it cannot say their class, or what is forbidden."""
    seed: int = 0
    """Of built-in data."""
    strict: bool = False
    """Stop at a sample that cannot be used; else it is left out, named and counted."""


@dataclass(frozen=True, kw_only=True)
class DataPreview(Command):
    """Draw a contact sheet: samples of every split with their priors, classes and instructions.

    Blue outlines say where evidence may lie, dashed pink ones where it may not; a star is where to click. What cannot
    be read is named, on the sheet or in the lines printed.

    Try:
      wherenot data preview photos/ -o sheet.png
      wherenot data preview coco:data/coco#dog,cat -o pets.pdf --max-images 60 --seed 1
      wherenot data preview gui:tasks.json -o tasks.png --splits test
    """

    data: Positional[str]
    """A data folder, FORMAT:PATH (list, imagenet-s50, saliency-bench, coco, voc, gui, ...: docs/data.md), or decoy."""
    out: Annotated[Path, arg(aliases=("-o",))] = Path("sheet.png")
    """The picture: .png or .pdf."""
    splits: tuple[str, ...] = ()
    """Splits to show; left out, all."""
    max_images: int = 24
    """At most so many, equally many per split, evenly over classes."""
    seed: int = 0
    """Of the draw, and of built-in data."""
    strict: bool = False
    """Stop at a sample that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class DataSplit(Command):
    """Cut a validation part off the training samples, and write it all in the native format.

    Evenly over classes and groups; images with the same pixels, and tasks on the same screenshot, are never parted.
    Other splits stay as they are: nothing is ever taken from test.

    Try:
      wherenot data split photos/ photos-split/ --val 0.1
      wherenot data split photos/ photos-split/ --val 0.1 --test 0.2 --seed 1
      wherenot data split films/ films-split/ --keep-groups
    """

    data: Positional[str]
    """A data folder, FORMAT:PATH (list, imagenet-s50, saliency-bench, coco, voc, gui, ...: docs/data.md), or decoy."""
    out: Positional[Path]
    """New folder to write into."""
    val: float = 0.1
    """Share of the training samples that becomes validation; 0 for none."""
    test: float = 0.0
    """Share of them that becomes test, for data without one."""
    keep_groups: bool = False
    """A group is one person, film or place, and is never parted; else every group is in both parts."""
    seed: int = 0
    """Chooses the samples; also of built-in data."""
    strict: bool = False
    """Stop at a sample that cannot be used; else it is left out, named and counted."""


@dataclass(frozen=True, kw_only=True)
class DataMake(Command):
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
    """Look a data set over, show it, split it, convert it, or make a benchmark."""

    action: (
        Annotated[DataCheck, subcommand("check")]
        | Annotated[DataPreview, subcommand("preview")]
        | Annotated[DataSplit, subcommand("split")]
        | Annotated[DataConvert, subcommand("convert")]
        | Annotated[DataMake, subcommand("make")]
    )
