"""Training on top of `trl.SFTTrainer`: a mixin that adds a method to the training of an agent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import Sampler
from transformers.modeling_layers import GradientCheckpointingLayer
from trl.trainer.sft_trainer import SFTTrainer

from wherenot.gui.clicks import Click
from wherenot.gui.penalties import AgentMethod, Off, drawn_tasks, penalties_of
from wherenot.models.vlm import VisionLanguageModel
from wherenot.scoring import evaluating
from wherenot.train.agents.collating import Task
from wherenot.train.agents.sharing import cache_of
from wherenot.train.checkpoints import CheckpointMixin
from wherenot.train.guards import NotFiniteMixin
from wherenot.train.sharding import check_sharding, unsharded


class AgentMethodMixin:
    """Adds a method's penalties to the task loss of a `SFTTrainer`: put it before the trainer class.

    Batches bring ``tasks``, a list of `Task` (`AgentCollator`); the model never sees it. What is to be penalised is
    found before an optimizer step, in all its batches on all ranks, so that the loss is the mean over the step's tasks
    that are off, however these are cut into batches and dealt to ranks. Its forwards ask the model itself, not its
    wrapper for several ranks: there is one backward, in which the wrapper sees the sum of both gradients, also on a
    rank that has nothing to penalise. A model that FSDP2 shards is gathered meanwhile, and the penalty has a backward
    of its own. Penalties of a batch whose sum is no finite number are left out, and the
    diagnostics count such batches (``skipped``).

    Attributes:
        method: What is added; None adds nothing.
        vlm: The model that trains, to be asked about masked screenshots.
        prepare: Prepares a task for the method; None for one that has no target.
        on_terms: Called with the step and the diagnostics of each step on which the method acted.
    """

    method: AgentMethod | None = None
    vlm: VisionLanguageModel | None = None
    prepare: Callable[[Task], Click | None] | None = None
    on_terms: Callable[[int, dict[str, float]], None] | None = None
    accelerator: Any  # this and the following are the trainer's
    state: Any
    model_wrapped: Any
    current_gradient_accumulation_steps: Any
    model_accepts_loss_kwargs: Any
    loss_is_scaled_for_ga: Any
    _acting: dict[str, float] | None = None  # what is known of the acting step so far, and batches yet to come
    _batches_left = 0

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """The batches of an optimizer step, with what is to be penalised in each."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)  # pyright: ignore[reportAttributeAccessIssue]
        step = self.state.global_step + 1
        self._acting = None
        method = self.method
        if method is not None and method.weight and batches and step % method.interval == 0:
            self._acting, self._batches_left = self._find(batches, step), len(batches)
        return batches, items

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Task loss plus the penalties; during evaluation the task loss alone."""
        inputs = dict(inputs)
        inputs.pop("tasks", None)
        off: Sequence[Off] = inputs.pop("off", ())
        seen = inputs.pop("seen", None)
        if seen is not None:
            assert self.vlm is not None
            if isinstance(model, FSDPModule):
                raise ValueError(
                    "AgentMethodMixin: tasks that share a screenshot read it past the whole model, which FSDP does not "
                    "allow; use AgentCollator(share=False)."
                )
            inputs["past_key_values"] = cache_of(self.vlm, seen)
        found = super().compute_loss(  # pyright: ignore[reportAttributeAccessIssue]
            model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
        )
        if self._acting is None or not model.training:
            return found
        loss, outputs = found if return_outputs else (found, None)
        assert self.method is not None
        scaled, steps = self._is_scaled(num_items_in_batch), self.current_gradient_accumulation_steps
        # Ranks average their gradients, and the trainer divides by the batches of a step unless the loss is scaled.
        weight = self.method.weight / max(1.0, self._acting["penalised"]) * self.accelerator.num_processes
        with unsharded(model):
            penalty = self._penalty(off) if off else loss.new_zeros(())
            if not bool(penalty.isfinite()):
                self._acting["skipped"] += 1
                penalty = loss.new_zeros(())
            if isinstance(model, FSDPModule):
                if penalty.requires_grad:
                    self.accelerator.backward(weight * penalty)
                penalty = penalty.detach()
        self._note(loss.detach(), penalty.detach(), scaled=scaled)
        loss = loss + weight * penalty * (1 if scaled else steps)
        return (loss, outputs) if return_outputs else loss

    def _find(self, batches: list[Any], step: int) -> dict[str, float]:
        """Leave what is to be penalised with each batch, and count over all ranks."""
        assert self.method is not None
        assert self.vlm is not None
        assert self.prepare is not None
        check_sharding(self.accelerator)
        counts = torch.zeros(2, device=self.vlm.device)
        with unsharded(self.model_wrapped), self.accelerator.autocast():
            ready = [[click for task in batch["tasks"] if (click := self.prepare(task))] for batch in batches]
            ids = gather_object([click.sample.id for clicks in ready for click in clicks])
            kept = drawn_tasks(ids, self.method.max_tasks, step)
            for batch, clicks in zip(batches, ready, strict=True):
                found = self.method.find(self.vlm, [click for click in clicks if click.sample.id in kept], step)
                batch["off"] = found.off
                counts += torch.tensor([found.aligned, len(found.off)], device=counts.device)
        aligned, penalised = self.accelerator.reduce(counts, "sum").tolist()
        return {"aligned": aligned, "penalised": penalised, "penalty": 0.0, "task_loss": 0.0, "skipped": 0.0}

    def _penalty(self, off: Sequence[Off]) -> Tensor:
        """The sum of the penalties of a batch."""
        assert self.vlm is not None
        with (
            self.accelerator.autocast(),
            evaluating(self.vlm.wrapped),
            recomputing(self.vlm.model),
        ):
            return penalties_of(self.vlm, off).sum()

    def _is_scaled(self, num_items: Tensor | int | None) -> bool:
        """Whether the task loss is a part of the step's mean, not the mean of its batch."""
        if self.loss_is_scaled_for_ga is not None:
            return self.loss_is_scaled_for_ga
        return self.model_accepts_loss_kwargs and num_items is not None

    def _note(self, loss: Tensor, penalty: Tensor, *, scaled: bool) -> None:
        """Add a batch to what is known of the step; with the last one, tell."""
        assert self._acting is not None
        part = 1.0 if scaled else 1.0 / self.current_gradient_accumulation_steps
        self._acting["task_loss"] += float(loss) * part
        self._acting["penalty"] += float(penalty)
        self._batches_left -= 1
        if self._batches_left:
            return
        known = torch.tensor([self._acting[name] for name in ("task_loss", "penalty", "skipped")], device=loss.device)
        task_loss, penalty_sum, skipped = self.accelerator.reduce(known, "sum").tolist()
        told = {
            "task_loss": task_loss / self.accelerator.num_processes,
            "aligned": self._acting["aligned"],
            "penalised": self._acting["penalised"],
        }
        if told["penalised"]:
            told["penalty"] = penalty_sum / told["penalised"]
        if skipped:
            told["skipped"] = skipped
        if self.on_terms is not None:
            self.on_terms(self.state.global_step + 1, told)


@contextmanager
def recomputing(model: nn.Module) -> Iterator[None]:
    """Let layers that recompute their activations do so in eval mode, too, if the model is trained that way.

    They would otherwise keep all activations, since they recompute in train mode alone; and what they recompute during
    backward, back in train mode, would be something else as soon as there is dropout.

    Args:
        model: In eval mode.
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing
    ]
    before = [layer._gradient_checkpointing_func for layer in layers]
    for layer, checkpoint in zip(layers, before, strict=True):
        layer._gradient_checkpointing_func = partial(_checkpointed, layer, checkpoint)  # pyright: ignore[reportArgumentType]
        layer.training = True
    try:
        yield
    finally:
        for layer, checkpoint in zip(layers, before, strict=True):
            layer._gradient_checkpointing_func = checkpoint
            layer.training = False


def _checkpointed(layer: nn.Module, checkpoint: Any, forward: Callable[..., Any], *inputs: Any) -> Any:
    def in_eval(*given: Any) -> Any:
        with evaluating(layer):
            return forward(*given)

    return checkpoint(in_eval, *inputs)


class AgentTrainer(AgentMethodMixin, NotFiniteMixin, CheckpointMixin, SFTTrainer):
    """`SFTTrainer` with a method; a step's loss is the mean over its tokens for every family.

    For some families (Qwen2.5-VL among them) transformers does not count the tokens of a step, and the loss would be a
    mean of its batches' means, whatever their lengths. `SFTTrainer` divides by the count itself, if there is one.

    Args:
        arguments: Of `SFTTrainer`.
        sampler: Draws the tasks; None draws them at random.
        options: Of `SFTTrainer`.
    """

    def __init__(self, *arguments: Any, sampler: Sampler[int] | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.model_accepts_loss_kwargs = True
        self._sampler = sampler

    def sample_ids(self, inputs: dict[str, Any]) -> list[str]:
        """The names of the tasks."""
        return [task.sample.id for task in inputs["tasks"]]

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return super()._get_train_sampler(train_dataset) if self._sampler is None else self._sampler

    def _send_telemetry(self) -> None:
        """Nothing about a run leaves the machine."""
