"""A batch of training rehearsed on a model without weights: what it takes in operations and memory."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from wherenot.gui.penalties import Off, penalties_of
from wherenot.models.answers import read_together
from wherenot.models.hollow import Hollow
from wherenot.models.vlm import VisionLanguageModel
from wherenot.scoring import evaluating
from wherenot.train.agents.arguments import DTYPES
from wherenot.train.agents.collating import Task
from wherenot.train.agents.config import Precision
from wherenot.train.agents.sharing import cache_of
from wherenot.train.agents.trainer import recomputing


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """What a batch takes.

    Attributes:
        flops: Operations, multiply-adds counted as two.
        kept: Bytes that the forward leaves for the backward.
        peak: Largest number of bytes at a time, beyond those of weights, gradients and optimizer.
    """

    flops: int
    kept: int
    peak: int


def rehearse(
    hollow: Hollow, vlm: VisionLanguageModel, batch: dict[str, Any], *, copies: int = 0, precision: Precision
) -> Rehearsed:
    """Take a batch forward and backward as the trainers do.

    Args:
        hollow: Within which this is called, and which took the model.
        vlm: The model; what trains has gradients already.
        batch: Of `AgentCollator`.
        copies: Masked copies of each screenshot that are penalised, about all tokens of the answer.
        precision: Of the forwards.
    """
    hollow.restart()
    before = hollow.live
    with _autocast(precision):
        loss = task_loss(vlm, batch)
        if copies:
            with evaluating(vlm.wrapped), recomputing(vlm.model):
                loss = loss + penalties_of(vlm, [off(task, copies) for task in batch["tasks"]]).sum()
    kept = hollow.live - before
    loss.backward()
    return Rehearsed(flops=hollow.flops, kept=kept, peak=hollow.peak - before)


def rehearse_look(hollow: Hollow, vlm: VisionLanguageModel, task: Task, *, precision: Precision) -> int:
    """Operations of one look at a screenshot, without gradients."""
    hollow.restart()
    with torch.no_grad(), evaluating(vlm.wrapped), _autocast(precision):
        read_together(vlm, [task.asked], [task.asked.encoding.inputs["pixel_values"]])
    return hollow.flops


def prepare(vlm: VisionLanguageModel) -> None:
    """Let a hollow model train, with gradients that are there already."""
    vlm.wrapped.train()
    for weight in vlm.wrapped.parameters():
        if weight.requires_grad:
            weight.grad = torch.zeros_like(weight)


def recompute(vlm: VisionLanguageModel) -> None:
    """Turn on gradient checkpointing as the trainers do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # transformers has another name for it since
        vlm.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def task_loss(vlm: VisionLanguageModel, batch: dict[str, Any]) -> Float[Tensor, ""]:
    """The loss of a batch as trl has it: logits of learned tokens alone."""
    inputs = {name: value for name, value in batch.items() if name not in ("labels", "tasks", "seen")}
    if "seen" in batch:
        inputs["past_key_values"] = cache_of(vlm, batch["seen"])
    hidden = vlm.model.model(**inputs, use_cache=False)[0][:, :-1]
    labels = batch["labels"][:, 1:]
    learned = labels != -100
    return F.cross_entropy(vlm.family.logits(vlm.model, hidden[learned]), labels[learned])


def off(task: Task, copies: int) -> Off:
    """What is penalised in a task: the whole answer, whatever is hidden."""
    pixels = task.asked.encoding.inputs["pixel_values"]
    return Off(asked=task.asked, shown=torch.stack([pixels] * copies), loss=_mean)


def _mean(probabilities: Float[Tensor, "N T"]) -> Float[Tensor, ""]:
    return probabilities.mean()


def _autocast(precision: Precision) -> Any:
    return nullcontext() if precision == "fp32" else torch.autocast("cpu", DTYPES[precision])
