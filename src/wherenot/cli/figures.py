"""Arguments of figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from wherenot.cli.output import Command


@dataclass(frozen=True, kw_only=True)
class Figures(Command):
    """Draw figures for papers from run folders, as PDF and PNG; nothing is run again.

    Audits: samples under every model (evidence), right or wrong and on or off the prior (quadrants), insertion and
    deletion (curves), accuracy and pointing (metric-...). Training runs, and those that audited models came from:
    losses, share on the prior, forwards (training). Studies: their sweeps and pictures. What cannot be drawn is named.

    Try:
      wherenot figures runs/audit-finetune runs/audit-log -o figs
      wherenot figures runs/audit-* --splits test_unbiased --samples 6 --top-regions 5
      wherenot figures runs/comparison --width 5.5
      wherenot figures runs/reproduce/fig3 -o figs
    """

    runs: Positional[tuple[Path, ...]]
    """Folders that audit, train, compare or reproduce wrote; the first audit's model is named first."""
    out: Annotated[Path, arg(aliases=("-o",))] = Path("figs")
    """Folder for the files."""
    splits: tuple[str, ...] = ()
    """Splits of the audits; left out, all."""
    samples: int = 4
    """Samples of evidence, drawn by chance from those that every audit searched."""
    top_regions: int = 3
    """Regions outlined and numbered there, strongest first."""
    width: float | None = None
    """Inches; left out, a page (6.75) for evidence and a column (3.25) for the others. Studies keep their own."""
    seed: int = 0
    """Of the draw of samples."""
