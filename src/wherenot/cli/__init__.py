"""The command line: parses and calls; what commands do is in `wherenot.commands`."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import OmitSubcommandPrefixes, subcommand

import wherenot
from wherenot.cli.audit import Advise, Audit, Compare, Report
from wherenot.cli.bench import Bench, BenchMllm, BenchSearch
from wherenot.cli.data import Data, DataCheck, DataConvert, DataMake, DataPreview, DataPrior, DataReview, DataSplit
from wherenot.cli.doctor import Doctor
from wherenot.cli.explain import Demo, Explain
from wherenot.cli.export import Export
from wherenot.cli.figures import Figures
from wherenot.cli.output import Command, Output
from wherenot.cli.screens import Screens
from wherenot.cli.train import Reproduce, Train, TrainAgent
from wherenot.experiments.recipes import RECIPES
from wherenot.train.agents.config import AgentTrainConfig, read_any_config

__all__ = [
    "Advise", "Audit", "Bench", "BenchMllm", "BenchSearch", "Command", "Compare", "Data", "DataCheck", "DataConvert",
    "DataMake", "DataPreview", "DataPrior", "DataReview", "DataSplit", "Demo", "Doctor", "Explain", "Export",
    "Figures", "Output", "Report", "Reproduce", "Screens", "Train", "TrainAgent", "main",
]  # fmt: skip

_HINT = "wherenot COMMAND --help explains a command; wherenot --version prints the version."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 if it did what was asked."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] in (["--version"], ["-V"]):
        print(f"wherenot {wherenot.__version__}")
        return 0
    try:
        with _tidy_completion(arguments):
            command = _parsed(arguments)
        from wherenot import commands

        with _ending_on_sigterm():
            commands.run(command)
    except KeyboardInterrupt as interruption:
        print("wherenot: interrupted; what was finished is kept, the same command goes on from there.", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(interruption, _Terminated) else signal.SIGINT)
    except BrokenPipeError:  # whoever reads the output has read enough, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, ImportError) as error:
        from wherenot.data.samples import printable

        print("\n".join(map(printable, f"wherenot: {error}".split("\n"))), file=sys.stderr)
        return 1
    return 0


def _parsed(arguments: list[str]) -> Any:
    return tyro.cli(
        OmitSubcommandPrefixes[
            Annotated[Demo, subcommand("demo")]
            | Annotated[Explain, subcommand("explain")]
            | Annotated[Audit, subcommand("audit")]
            | _train_subcommand(arguments)
            | Annotated[Compare, subcommand("compare")]
            | Annotated[Report, subcommand("report")]
            | Annotated[Figures, subcommand("figures")]
            | Annotated[Export, subcommand("export")]
            | Annotated[Bench, subcommand("bench")]
            | Annotated[Data, subcommand("data")]
            | Annotated[Screens, subcommand("screens")]
            | Annotated[Reproduce, subcommand("reproduce")]
            | Annotated[Advise, subcommand("advise")]
            | Annotated[Doctor, subcommand("doctor")]
        ],
        prog="wherenot",
        description=f"{wherenot.__doc__}\n\n{_HINT}",
        args=arguments,
    )


@contextmanager
def _tidy_completion(arguments: list[str]) -> Iterator[None]:
    """Let the script for a shell have each description on one line: bash offers the second as something to type."""
    if not any(each.startswith("--tyro-print-completion") for each in arguments):
        yield
        return
    script = io.StringIO()
    try:
        with redirect_stdout(script):
            yield
    finally:
        for line in script.getvalue().splitlines():
            print(line.replace("\\n", " ") if line.startswith("COMPLETION_SPEC = ") else line)


class _Terminated(KeyboardInterrupt):
    """What a scheduler, or ``kill``, asks for: end as on Ctrl-C."""


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise; a program that calls `main` has its own handler back afterwards."""

    def end(number: int, frame: object) -> None:  # noqa: ARG001 - what a handler is called with
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():  # only that one can have handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _train_subcommand(arguments: list[str]) -> Any:
    """``train``, with the values of the file or recipe it names as the defaults that --set changes."""
    if arguments[:1] == ["train"] and len(arguments) > 1 and not arguments[1].startswith("-"):
        path = Path(arguments[1])
        config = RECIPES.get(arguments[1]) or read_any_config(path, RECIPES)
        if isinstance(config, AgentTrainConfig):
            return Annotated[TrainAgent, subcommand("train", default=TrainAgent(config=path, set=config))]
        return Annotated[Train, subcommand("train", default=Train(config=path, set=config))]
    return Annotated[Train, subcommand("train")]
