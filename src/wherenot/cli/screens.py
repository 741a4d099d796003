"""Arguments of screens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from wherenot.gui.screens.config import ScreensConfig


@dataclass(frozen=True, kw_only=True)
class Screens:
    """Render click tasks on phone screens, with a shortcut: where things usually are.

    Needs Playwright (pip install "wherenot[screens]") and a Chromium: playwright install chromium, or apt install
    chromium. With the defaults as many tasks as the paper has, and three test sets in which memory of places misleads.

    Try:
      wherenot screens render runs/screens
      wherenot screens render runs/small --num-train 64 --num-test 16 --width 180
      wherenot screens render runs/both --locales en zh --rho 1 --kinds home settings
    """

    what: Positional[Literal["render"]]
    """What to do."""
    out: Positional[Path]
    """New folder to write them into, in the paper's format: tasks.json, images, elements."""
    screens: Annotated[ScreensConfig, arg(name="")] = field(default_factory=ScreensConfig)
    """What they are made of."""
