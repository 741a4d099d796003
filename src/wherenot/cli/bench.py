"""Arguments of bench."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import subcommand

from wherenot.cli.output import Command
from wherenot.masking import FillName
from wherenot.search import SearchName


@dataclass(frozen=True, kw_only=True)
class BenchSearch(Command):
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
class BenchMllm(Command):
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
