"""What a command says in the end: to a person, to a script that needs one path (--quiet), or to a program (--json)."""

from __future__ import annotations

import json
import math
import numbers
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, TextIO

from wherenot.cli.output import Output
from wherenot.ranks import process_rank


@dataclass
class _Listener:
    """Who reads standard output; set for the time of a command."""

    output: Output = field(default_factory=Output)
    results: TextIO | None = None


_listener = _Listener()


@contextmanager
def speaking(output: Output) -> Iterator[None]:
    """Let `say_result` alone write to standard output, if the user wants so.

    Everything else that is printed meanwhile goes to standard error (``--json``) or nowhere (``--quiet``); errors and
    exit codes stay as they are.

    Args:
        output: What the user asked for.
    """
    if not (output.quiet or output.json):
        yield
        return
    before = _listener.output, _listener.results
    _listener.output, _listener.results = output, sys.stdout
    with ExitStack() as stack:
        elsewhere = sys.stderr
        if output.quiet:
            _hush_bars(stack)
            elsewhere = stack.enter_context(Path(os.devnull).open("w"))
        stack.enter_context(redirect_stdout(elsewhere))
        try:
            yield
        finally:
            _listener.output, _listener.results = before


def _hush_bars(stack: ExitStack) -> None:
    """Switch off the bars of libraries that are imported from now on: they read this when they are."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    stack.callback(lambda: os.environ.pop("TQDM_DISABLE") if before is None else os.environ.update(TQDM_DISABLE=before))


def is_quiet() -> bool:
    """Whether only errors are to be printed."""
    return _listener.output.quiet


def say_result(facts: Mapping[str, Any], brief: object = None) -> None:
    """Give a script what it asked for; nothing where a person reads, to whom the command has said it.

    Of several processes on one command the first speaks.

    Args:
        facts: Of the result, for ``--json``: one object on a line. Paths become strings, numbers that are not finite
            null.
        brief: The one path or text that ``--quiet`` leaves; None = nothing but the exit code.

    Example:
        >>> with speaking(Output(json=True)):
        ...     say_result({"report": Path("runs/a/report.html"), "top1": float("nan")})
        {"report": "runs/a/report.html", "top1": null}
        >>> with speaking(Output(quiet=True)):
        ...     print("nobody reads this")
        ...     say_result({}, Path("runs/a/report.html"))
        runs/a/report.html
        >>> say_result({"report": "runs/a/report.html"})
    """
    if _listener.results is None or process_rank()[0] != 0:
        return
    if _listener.output.json:
        print(json.dumps(_plain(facts), allow_nan=False), file=_listener.results, flush=True)
    elif brief is not None:
        print(brief, file=_listener.results, flush=True)


def _plain(value: Any) -> Any:
    """What JSON has."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return str(value)
