"""Arguments of data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg, subcommand

from wherenot.data.cutouts import CutoutsConfig


@dataclass(frozen=True, kw_only=True)
class DataCheck:
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
class DataConvert:
    """Convert a data set to the native format: a folder with PNGs, metadata.jsonl and dataset.json.

    Tasks on screenshots become a folder with PNGs and tasks.json, which gui:FOLDER reads.

    Try:
      wherenot data convert coco:data/coco#dog,cat pets/
      wherenot data convert screenspot:ScreenSpot-v2 tasks/
      wherenot data convert decoy digits/
    """

    data: Positional[str]
    """A data folder, FORMAT:PATH (list, imagenet-s50, saliency-bench, coco, voc, gui, ...: docs/data.md), or decoy."""
    out: Positional[Path]
    """New folder to convert into."""
    seed: int = 0
    """Of built-in data."""
    strict: bool = False
    """Stop at a sample that cannot be used; else it is left out, named and counted."""


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
