"""Arguments of screens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from wherenot.cli.output import Command
from wherenot.gui.agent.recipe import AgentRecipe
from wherenot.gui.screens.config import ScreensConfig


@dataclass(frozen=True, kw_only=True)
class Screens(Command):
    """Render click tasks on phone screens, with a shortcut: where things usually are; or make an agent that does them.

    Needs Playwright (pip install "wherenot[screens]") and a Chromium: playwright install chromium, or apt install
    chromium. With the defaults as many tasks as the paper has, and three test sets in which memory of places misleads.

    Try:
      wherenot screens render runs/screens
      wherenot screens render runs/small --num-train 64 --num-test 16 --width 180
      wherenot screens render runs/both --locales en zh --rho 1 --kinds home settings
      wherenot screens agent runs/agent
    """

    what: Positional[Literal["render", "agent"]]
    """render: click tasks. agent: the tiny agent, from random weights; takes about a quarter of an hour on one core."""
    out: Positional[Path]
    """New folder. render: for tasks in the paper's format: tasks.json, images, elements. agent: for the model."""
    agent: AgentRecipe = field(default_factory=AgentRecipe)
    """How much the agent practises."""
    screens: Annotated[ScreensConfig, arg(name="")] = field(default_factory=ScreensConfig)
    """What they are made of."""
