"""Arguments of the commands that look at single images: demo and explain."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from wherenot.cli.output import Command
from wherenot.endpoint.config import EndpointConfig
from wherenot.masking import FillName
from wherenot.search import SearchName


@dataclass(frozen=True, kw_only=True)
class Demo(Command):
    """See it work: a photograph explained, and a model cured of looking at the wrong thing.

    Explains an ImageNet classifier on two photographs, trains a small network five ways on digits that carry a telltale
    coloured square, and writes one report that compares them. Nothing is downloaded.

    With --gui an agent of 1.5 million weights is fine-tuned to click on screens whose icons have their usual places:
    plainly, which helps it where they do and not where they do not, and with a method against that. Some minutes.

    Try:
      wherenot demo --out runs/demo
      wherenot demo --gui --out runs/demo-gui
    """

    out: Path = Path("runs/demo")
    """Folder for everything the demo makes."""
    gui: bool = False
    """The demo of agents that click on screens, instead of that of classifiers."""
    seed: int = 0
    """Same seed, same numbers."""


@dataclass(frozen=True, kw_only=True)
class Explain(Command):
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
    """Photographs; with --frames, films."""
    model: str
    """A run folder, efficientnet-lite0, timm:NAME, or a transformers id or path."""
    prompt: str | None = None
    """What the user says to a vision-language model; its answer is explained."""
    answer: str | None = None
    """What the model is taken to say; left out, what it generates."""
    tokens: str = "answer"
    """Which tokens of the answer: all, answer (all but thoughts), thought, sensitive (those that need the image),
    word:cat, regex:EXPRESSION, field:POINT (of a JSON answer), 3 or 3:7."""
    counter: str | None = None
    """A word that would contradict the answer, such as No: which regions speak for it?"""
    max_tokens: int = 128
    """Longest answer that is generated."""
    boxes: Path | None = None
    """With --prompt: JSON file with a list of boxes [left, top, right, bottom] in pixels, such as the elements of a
    screen; regions are these, and cells of what lies between."""
    frames: int | None = None
    """With --prompt: explain so many frames of each film (a video, a moving image, or a folder of images)."""
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
