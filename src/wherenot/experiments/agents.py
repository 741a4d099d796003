"""The studies of GUI agents: how they are trained and audited, and what a run of one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from wherenot.audit_answers import AnswerAuditConfig, audit_answers
from wherenot.data import Dataset, GuiSample, limit, load_dataset
from wherenot.models import load_vlm
from wherenot.report import clicks_figure, failures_figure, thinking_figure
from wherenot.train.agents.config import AgentMethodConfig, AgentMethodName, AgentTrainConfig

AgentStudy = Literal["table4", "fig4", "fig5", "fig6"]
FigureName = Literal["fig4", "fig5", "fig6"]
AGENT_METHODS: tuple[AgentMethodName, ...] = ("sft", "paper")
"""Those of Table 4, the reference first."""

FIGURES = {"fig4": clicks_figure, "fig5": thinking_figure, "fig6": failures_figure}
"""What draws each figure, from the run folders of audits."""

_ELEMENTS = "elements"
_SLICO = "slico:50"


def agent_config(
    data: str, model: str, method: AgentMethodName, partition: str | None, tasks_per_split: int | None
) -> AgentTrainConfig:
    """The configuration of a training run, seed 0: the trainer's own settings, and the method's.

    Args:
        data: Tasks on screenshots.
        model: What is fine-tuned.
        method: What is added to the task loss.
        partition: How screenshots are cut, ``elements`` for those of the interface; None: slico:50.
        tasks_per_split: For a small trial.

    Example:
        >>> agent_config("gui:screens", "openbmb/AgentCPM-GUI", "paper", None, None).method.partition
        'slico:50'

    References:
        "Where Not to Learn", section 5.1: interval 5, k = 2 (A.3), which the methods have by default. It gives no
        settings of LoRA and optimizer.
    """
    from wherenot.train.agents.recipe import agent_method_options

    cut = partition or _SLICO if "partition" in agent_method_options(method) else None
    return AgentTrainConfig(
        data=data, model=model, method=AgentMethodConfig(name=method, partition=cut), tasks_per_split=tasks_per_split
    )


def agent_audit(
    study: AgentStudy, partition: str | None, *, splits: tuple[str, ...], max_images: int | None
) -> AnswerAuditConfig:
    """How the agents of a study are audited: the whole answer jointly (Eq. 6); apart, too, for Figure 5.

    Args:
        study: Which.
        partition: How screenshots are cut, ``elements`` for those of the interface; None: slico:50.
        splits: Which splits; none: those that no training sees.
        max_images: Tasks per split whose evidence is searched.
    """
    of_elements = partition == _ELEMENTS
    cut: dict[str, Any] = {} if of_elements else {"partition": partition or _SLICO}
    return AnswerAuditConfig(
        splits=splits, max_images=max_images, elements=of_elements, tokens="all", thinking=study == "fig5", **cut
    )


def run_agent(config: AgentTrainConfig, audit: AnswerAuditConfig, trained: Path, audited: Path) -> None:
    """Train an agent and audit it on splits that it never saw; what is done already is not done again.

    It is shown screenshots as large as those that it learned from (``max_side``); distances are in their pixels.

    Args:
        config: The training.
        audit: The audit.
        trained: Run folder of the training.
        audited: Run folder of the audit.

    Raises:
        ValueError: If data, model or options cannot be used, or there is no split to audit.
    """
    from wherenot.train.agents.training import train_agent  # transformers and trl, which take seconds

    dataset = load_dataset(config.data, seed=config.seed)
    if not audit.splits and not _unseen(dataset):
        raise ValueError(
            f"reproduce: {config.data} has no split but {', '.join(dataset.splits)}; give some of its tasks the split "
            "test, or name one with --splits."
        )
    train_agent(config, trained, dataset=dataset, quiet=True)
    if config.tasks_per_split is not None:
        dataset = limit(dataset, config.tasks_per_split, config.seed)
    audit_answers(
        load_vlm(trained / "model"),
        _as_seen(dataset, audit.splits or _unseen(dataset), config.max_side),
        audited,
        audit,
        name=config.title,
        model=config.model,
    )


def _unseen(dataset: Dataset) -> tuple[str, ...]:
    return tuple(split for split in dataset.splits if split not in ("train", "validation"))


def _as_seen(dataset: Dataset, splits: Sequence[str], max_side: int) -> Dataset:
    """The tasks of some splits, with screenshots no larger than the agent gets them in training."""
    from wherenot.train.agents.records import shrunk

    wanted = [sample for split in splits for sample in dataset.split(split).samples]
    small = [shrunk(sample, max_side)[0] for sample in wanted if isinstance(sample, GuiSample)]
    return replace(dataset, samples=tuple(small))
