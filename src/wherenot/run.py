"""A run: the folder with everything one command produced, written in whole files and whole lines."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("wherenot", "torch", "numpy", "scikit-image", "pillow", "transformers", "accelerate")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunWarning:
    """A sign in a run's own numbers that it went wrong.

    Attributes:
        kind: Which sign, a word for programs.
        seen: What was seen, with the numbers, in a sentence or two.
        advice: What to try.
    """

    kind: str
    seen: str
    advice: str


class RunFolder:
    """A folder that one command writes into and later ones read.

    Args:
        path: Created if missing.

    Raises:
        ValueError: If the folder cannot be created or written, naming it.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".probe-{_caller()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ValueError(
                f"RunFolder: cannot write into {self.path} ({error.strerror}); choose another folder."
            ) from error

    def begin(self, command: str, name: str, config: Mapping[str, Any], **facts: Any) -> None:
        """Write ``run.json``: what is run, with what, on what.

        Raises:
            ValueError: If the folder holds another command or another configuration; nothing is overwritten.
        """
        before = self.read("run.json")
        config = json.loads(json.dumps(config))
        if before is not None and (before["command"], before["config"]) != (command, config):
            changed = sorted(
                key for key in {*before["config"], *config} if before["config"].get(key) != config.get(key)
            )
            raise ValueError(
                f"RunFolder: {self.path} holds a {before['command']} run with another configuration "
                f"(differs in: {', '.join(changed) or 'command'}); choose another folder or delete it."
            )
        self.write(
            "run.json",
            {
                **(before or {}),
                "command": command,
                "name": name,
                **facts,
                "config": config,
                "versions": installed_versions(),
                "commit": git_commit(),
                "python": platform.python_version(),
                "started": (before or {}).get("started") or datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )

    def amend(self, **facts: Any) -> None:
        """Add facts to ``run.json``."""
        self.write("run.json", {**(self.read("run.json") or {}), **facts})

    def write(self, name: str, content: Any) -> Path:
        """Write JSON in one piece, and return where: readers see the old file or the new one."""
        target = self.path / name
        partial = target.with_suffix(f"{target.suffix}.{_caller()}.part")
        with partial.open("w") as file:
            file.write(json.dumps(content, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return partial.replace(target)

    def read(self, name: str) -> Any:
        """Read JSON; None if the file does not exist."""
        target = self.path / name
        return json.loads(target.read_text()) if target.is_file() else None

    def append(self, name: str, *records: Mapping[str, Any]) -> None:
        """Add lines to a JSONL file, and see them to the disk. A last line cut short by an interruption is dropped."""
        target = self.path / name
        _drop_cut_line(target)
        with target.open("a") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
            file.flush()
            os.fsync(file.fileno())

    def records(self, name: str) -> Iterator[dict[str, Any]]:
        """Lines of a JSONL file. A last line cut short by an interruption is dropped from the file.

        Raises:
            ValueError: If any other line cannot be read, naming file and line.
        """
        target = self.path / name
        if not target.is_file():
            return
        _drop_cut_line(target)
        for number, line in enumerate(target.read_text().splitlines(), start=1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"RunFolder: {target}, line {number}: not JSON ({error}).") from error


def _drop_cut_line(target: Path) -> None:
    """Shorten a file to its last line's end: whole or not, what follows would be joined by the next line."""
    if not target.is_file() or not target.stat().st_size:
        return
    with target.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() == b"\n":
            return
    os.truncate(target, target.read_bytes().rfind(b"\n") + 1)


def _caller() -> str:
    """Names who writes: several processes and threads may write the same file at once, each into a part of its own."""
    return f"{os.getpid()}-{threading.get_ident()}"


def read_warnings(model: str | Path) -> list[RunWarning]:
    """What looked wrong in the training run that a model came from.

    Args:
        model: The run folder of a training, or the ``model`` folder in it. Anything else, such as a name or a folder
            that something else wrote, has no warnings.

    Raises:
        ValueError: If it is such a folder and its files cannot be read; the file is named.
    """
    folder = next((place for place in (Path(model), Path(model).parent) if (place / "run.json").is_file()), None)
    if folder is None or (folder != Path(model) and Path(model).name != "model"):
        return []
    about, metrics = _read_object(folder / "run.json"), folder / "metrics.json"
    if about.get("command") != "train" or not metrics.is_file():
        return []
    try:
        return [RunWarning(**warning) for warning in _read_object(metrics).get("warnings", [])]
    except TypeError as error:
        raise ValueError(f"read_warnings: {metrics}: a warning needs kind, seen and advice ({error}).") from error


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"read_warnings: {path} cannot be read ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"read_warnings: {path} holds a {type(content).__name__} where names and values should be.")
    return content


def installed_versions() -> dict[str, str]:
    """Versions of the packages that results depend on, as far as installed."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def git_commit() -> str | None:
    """Commit of the checkout this package is imported from, with ``+`` if it has local changes; None outside of git."""
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True, timeout=10
    )
    return done.stdout.strip()
