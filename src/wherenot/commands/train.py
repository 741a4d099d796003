"""`wherenot train`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.panel import Panel
from rich.text import Text

from wherenot import cli
from wherenot.commands.printing import console, readable_data, say_left_out, say_unknown_marks, unknown_marks
from wherenot.commands.results import is_quiet, say_result
from wherenot.data import Dataset
from wherenot.rejected import REJECTED
from wherenot.run import RunWarning, read_warnings


def run_train(command: cli.Train) -> None:
    """Train, warn of what looks wrong, and say where the model is."""
    from wherenot.train.training import train

    config = command.set if command.feedback is None else replace(command.set, feedback=str(command.feedback))
    folder = command.out or Path("runs") / f"{config.title}-{config.seed}"
    out = train(config, folder, dataset=_data(config.data, config.seed, folder, strict=command.strict))
    warnings = read_warnings(out)
    warn(config.title, warnings)
    say_unknown_marks(out, command.feedback)
    priors = json.loads((out / "run.json").read_text()).get("priors")
    if priors is not None:
        console.print(told_priors(priors, out / "priors"), soft_wrap=True)
    console.print(f"model: {out / 'model'}", soft_wrap=True)
    _say_trained(out, warnings=warnings, unknown_marks=unknown_marks(out, command.feedback), priors=priors)


def told_priors(counts: Mapping[str, Any], drawn: Path) -> str:
    """Where the priors that a method trained with came from, in a line.

    Example:
        >>> told_priors({"given": 8, "kept": 7, "replaced": 1, "added": 0}, Path("runs/photos-0/priors"))
        'priors: 8 given, 1 of them replaced, 0 added; look at some: wherenot data preview runs/photos-0/priors'
    """
    line = f"priors: {counts['given']} given, {counts['replaced']} of them replaced, {counts['added']} added"
    return f"{line}; look at some: wherenot data preview {drawn}" if counts["replaced"] + counts["added"] else line


def run_train_agent(command: cli.TrainAgent) -> None:
    """Train an agent, and say where it is and how well it clicks; or print what that would take."""
    try:
        from wherenot.train.agents.planning import plan_agent
        from wherenot.train.agents.training import train_agent
    except ImportError as error:
        raise ValueError(f"train: {error.name} is missing; run: pip install 'wherenot[mllm]'") from error

    config = command.set if command.feedback is None else replace(command.set, feedback=str(command.feedback))
    if command.plan:
        from wherenot.commands.plan import memory_gb, plan_markdown

        plan = plan_agent(config)
        words = plan_markdown(plan, tflops=command.tflops, dollars_per_hour=command.dollars_per_hour)
        console.print(Markdown(words))
        training, validation = plan.hours(command.tflops)
        hours = {"training_hours": training, "validation_hours": validation}
        dollars = (training + validation) * command.dollars_per_hour
        say_result({"model": config.model, **hours, "dollars": dollars, "memory": memory_gb(plan)}, words)
        return
    folder = command.out or Path("runs") / f"{config.title}-{config.seed}"
    out = train_agent(config, folder, dataset=_data(config.data, config.seed, folder, strict=command.strict))
    console.print(said_of(json.loads((out / "metrics.json").read_text())["validation"]), soft_wrap=True)
    say_unknown_marks(out, command.feedback)
    console.print(f"model: {out / 'model'}", soft_wrap=True)
    _say_trained(out, warnings=read_warnings(out), unknown_marks=unknown_marks(out, command.feedback))


def _say_trained(out: Path, **more: Any) -> None:
    validation = json.loads((out / "metrics.json").read_text())["validation"]
    say_result({"run": out, "model": out / "model", "validation": validation, **more}, out / "model")


def _data(data: str, seed: int, folder: Path, *, strict: bool) -> Dataset | None:
    """The data without what cannot be used; None where training has to say what is missing."""
    if not data:
        return None
    dataset = readable_data(data, seed, strict=strict, splits=("train", "validation"))
    say_left_out(dataset.rejected, len(dataset), folder / REJECTED)
    return dataset


def said_of(validation: Mapping[str, Any]) -> str:
    """Validation in a line.

    Example:
        >>> said_of({"n": 4, "correct": 0.75, "malformed": 1, "clicks": {"median_px": 0.0}})
        'validation: 75% of 4 tasks right, 1 answer malformed'
    """
    malformed = validation["malformed"]
    answers = f"{malformed} answer{'s' if malformed != 1 else ''} malformed"
    return f"validation: {validation['correct']:.0%} of {validation['n']} tasks right, {answers}"


def warn(name: str, warnings: Sequence[RunWarning]) -> None:
    """Print what looks wrong in a training run, as one block on standard error; nothing if nothing does."""
    if not warnings or is_quiet():
        return
    lines = [f"\n{warning.seen}\n  Try: {warning.advice}" for warning in warnings]
    Console(stderr=True, width=console.width).print(
        Panel(Text("\n".join(lines).strip()), title=Text(f"training of {name} looks wrong"), border_style="red")
    )
