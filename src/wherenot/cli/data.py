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
      wherenot data convert priors/ reviewed/ --review review.jsonl
    """

    data: Positional[str]
    """A data folder, FORMAT:PATH (list, imagenet-s50, saliency-bench, coco, voc, gui, ...: docs/data.md), or decoy."""
    out: Positional[Path]
    """New folder to convert into."""
    to: Literal["native", "coco"] = "native"
    """coco: instances with boxes and segmentations; images without a prior, or with a forbidden area, are left out,
    since it cannot say their class, or what is forbidden."""
    review: Path | None = None
    """Decisions downloaded from the page of data review: rejected priors are left out, accepted ones marked."""
    seed: int = 0
    """Of built-in data."""
    strict: bool = False
    """Stop at a sample that cannot be used; else it is left out, named and counted."""


@dataclass(frozen=True, kw_only=True)
class DataPrior(Command):
    """Make priors for images that have none, and write it all in the native format.

    grounding: boxes of a zero-shot detector that is told the class. segment: what CLIPSeg thinks shows the class, or
    what SAM 2 cuts out of a detector's boxes. boxes: boxes that the data have become masks, by SAM 2 or, without
    --model, by GrabCut, which goes by colours. saliency: what stands out in the image, whatever it is, shortcuts
    included; it has heard of no class. spreading: priors that people drew in some images, carried over to all others by
    what a classifier sees there. None of them is a person's word: metadata.jsonl and data check say what each
    prior came from, and data review makes a page to accept or reject them. Goes on where it stopped when called again.

    Try:
      wherenot data prior photos/ -o priors/ --from grounding --model IDEA-Research/grounding-dino-tiny
      wherenot data prior photos/ -o priors/ --from grounding --model google/owlv2-base-patch16-ensemble --threshold 0.3
      wherenot data prior photos/ -o priors/ --from segment --model CIDAS/clipseg-rd64-refined --prompt "one {}"
      wherenot data prior photos/ -o priors/ --from segment --model facebook/sam2.1-hiera-small --detector runs/dino
      wherenot data prior voc:VOCdevkit/VOC2012 -o voc-masks/ --from boxes
      wherenot data prior photos/ -o priors/ --from saliency
      wherenot data prior photos/ -o priors/ --from spreading --model efficientnet-lite0
    """

    data: Positional[str]
    """A data folder, FORMAT:PATH (list, imagenet-s50, saliency-bench, coco, voc, ...: docs/data.md), or decoy."""
    out: Annotated[Path, arg(aliases=("-o",))]
    """New folder to write into; until all is done, what there is lies in OUT.part."""
    source: Annotated[Literal["boxes", "grounding", "segment", "saliency", "spreading"], arg(name="from")]
    """What the priors come from."""
    model: str | None = None
    """Id or path of a transformers model: a Grounding DINO, OWL-ViT or OWLv2 for grounding, a CLIPSeg or SAM 2 for
    segment, a SAM 2 for boxes; for spreading a classifier, as wherenot audit takes it."""
    detector: str | None = None
    """segment with a SAM 2: the detector whose boxes it cuts."""
    prompt: str | None = None
    """How a class is put into words, {} for its name; left out, as the model was trained."""
    class_prompts: dict[str, str] = field(default_factory=dict)
    """Words for single classes: CLASS "WORDS" CLASS "WORDS" ..."""
    threshold: float | None = None
    """From which score on a box, or a pixel of CLIPSeg, counts; left out, the detector's own, or 0.5. saliency: in
    means of the image's map; left out, 3."""
    splits: tuple[str, ...] = ()
    """Splits whose images get priors; left out, all. Pointing measured on priors of a machine is agreement with it."""
    replace: bool = False
    """Also for images that have a prior; else these are kept. boxes: needs none. spreading: only where a machine made
    it and nobody accepted it."""
    device: str | None = None
    """Such as cuda:1 or cpu; left out, the GPU if there is one."""
    batch_size: int = 8
    """Images at once."""
    seed: int = 0
    """Of built-in data."""
    strict: bool = False
    """Stop at a sample that cannot be used; else it is left out, named and counted."""


@dataclass(frozen=True, kw_only=True)
class DataReview(Command):
    """Make a page on which a person accepts or rejects the priors of data prior; data convert --review applies it.

    One file, which needs no network. Decisions stay in the browser until they are downloaded as review.jsonl. What was
    accepted before is not shown again.

    Try:
      wherenot data review priors/ -o review.html
      wherenot data convert priors/ reviewed/ --review review.jsonl
    """

    data: Positional[str]
    """A data folder that data prior wrote."""
    out: Annotated[Path, arg(aliases=("-o",))] = Path("review.html")
    """The page."""
    splits: tuple[str, ...] = ()
    """Splits to review; left out, all."""
    max_images: int = 500
    """At most so many, those with the lowest scores; what is left comes next time."""


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
    """Look a data set over, show it, split it, convert it, give it priors, or make a benchmark."""

    action: (
        Annotated[DataCheck, subcommand("check")]
        | Annotated[DataPreview, subcommand("preview")]
        | Annotated[DataSplit, subcommand("split")]
        | Annotated[DataConvert, subcommand("convert")]
        | Annotated[DataPrior, subcommand("prior")]
        | Annotated[DataReview, subcommand("review")]
        | Annotated[DataMake, subcommand("make")]
    )
