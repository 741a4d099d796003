"""Arguments of export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from wherenot.cli.output import Command


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """Hand an audit's evidence to other tools: FiftyOne and all that read COCO, or Quantus and NumPy.

    coco: images, prior.json, evidence.json with the strongest regions, and maps as grey pictures. arrays: one .npz with
    x_batch, y_batch, a_batch and s_batch (docs/report.md). Evidence of single images: Evidence and attribution_arrays
    in Python.

    Try:
      wherenot export runs/audit-log -o export/
      wherenot export runs/audit-log -o export.npz --to arrays
    """

    run: Positional[Path]
    """Run folder of an audit."""
    out: Annotated[Path, arg(aliases=("-o",))]
    """New folder; for arrays, a new file."""
    to: Literal["coco", "arrays"] = "coco"
    """What is written."""
    top_regions: int = 3
    """coco: regions of each sample, strongest first."""
