"""What every command takes: how much it prints, and for whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, arg


@dataclass(frozen=True, kw_only=True)
class Output:
    """Options of all commands (docs/commands.md)."""

    quiet: FlagCreatePairsOff[bool] = False
    """Print nothing but errors, and the path or the text that was asked for."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object, for machines (explain: one per image and line); all else goes to standard error."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """Base of the arguments of all commands."""

    output: Annotated[Output, arg(name="")] = field(default_factory=Output)
    """How much is printed, and for whom."""
