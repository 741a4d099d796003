"""A trial: one training run of a classifier or an agent and its audit, the unit that a study is made of."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import TypeAdapter

from wherenot.audit import AuditConfig, audit
from wherenot.audit_answers import AnswerAuditConfig
from wherenot.experiments.agents import run_agent
from wherenot.models import load_classifier
from wherenot.run import RunFolder
from wherenot.train.agents.config import AgentTrainConfig, parse_agent_config
from wherenot.train.config import TrainConfig, config_dict, parse_config
from wherenot.train.recipe import training_data


@dataclass(frozen=True, kw_only=True)
class _Folders:
    """Where a trial is kept.

    Its folder is named after what it does, so that studies which need the same trial share it: trials that differ only
    in how they are audited share the training.
    """

    train: Any
    audit: Any

    def folder(self, root: Path) -> Path:
        """Folder of the training run and all its audits."""
        config = config_dict(replace(self.train, seed=0, name=None))
        names = (self.train.data, self.train.model, self.train.method.name, _digest(config))
        return root / "trials" / "-".join(_plain(name) for name in names) / f"seed-{self.train.seed}"

    def train_folder(self, root: Path) -> Path:
        """Run folder of the training."""
        return self.folder(root) / "train"

    def audit_folder(self, root: Path) -> Path:
        """Run folder of the audit."""
        return self.folder(root) / f"audit-{_digest(asdict(self.audit))}"

    def is_trained(self, root: Path) -> bool:
        """Whether the training is whole."""
        return (self.train_folder(root) / "metrics.json").is_file()

    def is_finished(self, root: Path) -> bool:
        """Whether training and audit are whole; the audit's metrics are the last file that is written."""
        return (self.audit_folder(root) / "metrics.json").is_file()

    def content(self) -> dict[str, Any]:
        """Everything the trial is, as plain data."""
        return {"train": config_dict(self.train), "audit": asdict(self.audit)}


@dataclass(frozen=True, kw_only=True)
class Trial(_Folders):
    """One training run of a classifier and one audit of what came of it, on the same data.

    Attributes:
        train: What is trained; the seed is part of it.
        audit: How it is audited.

    Example:
        >>> trial = Trial(train=TrainConfig(seed=3), audit=AuditConfig(partition="grid:4x4"))
        >>> trial.folder(Path("out")).parts[:2], trial.folder(Path("out")).name
        (('out', 'trials'), 'seed-3')
    """

    train: TrainConfig
    audit: AuditConfig


@dataclass(frozen=True, kw_only=True)
class AgentTrial(_Folders):
    """The same of an agent.

    Attributes:
        train: What is trained; the seed is part of it.
        audit: How it is audited.
    """

    train: AgentTrainConfig
    audit: AnswerAuditConfig


AnyTrial: TypeAlias = Trial | AgentTrial


def parse_trial(content: dict[str, Any]) -> AnyTrial:
    """Read back a trial's `content`.

    Raises:
        ValueError: If it does not describe a trial, naming the field.

    Example:
        >>> trial = Trial(train=TrainConfig(), audit=AuditConfig())
        >>> parse_trial(trial.content()) == trial
        True
    """
    if content["train"].get("task") == "agent":
        return AgentTrial(
            train=parse_agent_config(content["train"], source="a trial"),
            audit=TypeAdapter(AnswerAuditConfig).validate_python(content["audit"]),
        )
    return Trial(
        train=parse_config(content["train"], source="a trial"),
        audit=TypeAdapter(AuditConfig).validate_python(content["audit"]),
    )


class BusyError(ValueError):
    """Another process is running the trial."""


def run_trial(trial: AnyTrial, root: Path) -> None:
    """Train and audit; what is done already is not done again.

    Args:
        trial: What to run.
        root: The study's folder.

    Raises:
        BusyError: If another process is running the same training.
        ValueError: If data, model or options cannot be used.
    """
    with _locked(trial.folder(root)):
        if trial.is_finished(root):
            return
        _failure_file(trial, root).unlink(missing_ok=True)
        if isinstance(trial, AgentTrial):
            run_agent(trial.train, trial.audit, trial.train_folder(root), trial.audit_folder(root))
            return
        dataset = training_data(trial.train)
        from wherenot.train.training import train  # transformers, which takes seconds

        trained = train(trial.train, trial.train_folder(root), dataset=dataset, quiet=True)
        audit(
            load_classifier(str(trained)),
            dataset,
            trial.audit_folder(root),
            trial.audit,
            name=trial.train.title,
            model=trial.train.model,
        )


def note_failure(trial: AnyTrial, root: Path, error: str) -> None:
    """Write down why a trial failed, beside what it has done; the next attempt removes the note."""
    RunFolder(trial.folder(root)).write(_failure_file(trial, root).name, {"error": error})


def failure_of(trial: AnyTrial, root: Path) -> str | None:
    """Why the trial's last attempt failed; None if it did not."""
    found = _failure_file(trial, root)
    return json.loads(found.read_text())["error"] if found.is_file() else None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system gives it back when the process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(f"run_trial: another process is running {folder}; wait for it.") from error
        yield


def _failure_file(trial: AnyTrial, root: Path) -> Path:
    return trial.folder(root) / f"failure-{trial.audit_folder(root).name}.json"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def _plain(name: str) -> str:
    """A name as part of a folder's: of a path, the last part."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", name.rstrip("/").rpartition("/")[2])
