"""Progress of long work, on the terminal."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class PatientConsole(Console):
    """Goes quiet when whoever reads the output has read enough, such as head; the work goes on."""

    def on_broken_pipe(self) -> None:
        """Print nothing more; rich would end the program as failed."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def progress_bar(*, quiet: bool = False) -> Progress:
    """A bar that shows what is done, what is left and for how long.

    Tasks take a ``note`` field: what is counted, or how it is going.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=PatientConsole(),
        disable=quiet,
    )
