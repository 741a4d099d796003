"""`wherenot train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from wherenot import cli
from wherenot.commands.printing import console
from wherenot.run import RunWarning, read_warnings


def run_train(command: cli.Train) -> None:
    """Train, warn of what looks wrong, and say where the model is."""
    from wherenot.train.training import train

    config = command.set
    out = train(config, command.out or Path("runs") / f"{config.title}-{config.seed}")
    warn(config.title, read_warnings(out))
    console.print(f"model: {out / 'model'}", soft_wrap=True)


def warn(name: str, warnings: Sequence[RunWarning]) -> None:
    """Print what looks wrong in a training run, as one block on standard error; nothing if nothing does."""
    if not warnings:
        return
    lines = [f"\n{warning.seen}\n  Try: {warning.advice}" for warning in warnings]
    Console(stderr=True, width=console.width).print(
        Panel(Text("\n".join(lines).strip()), title=Text(f"training of {name} looks wrong"), border_style="red")
    )
