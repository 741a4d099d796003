"""What keeps training from ruining a model: it stops before numbers that are none, and when the accuracy falls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

NOT_FINITE = "not_finite-{}.json"
"""In the run folder, one of each process: the step at which training stopped, and the samples that were in it."""


class NotFiniteMixin:
    """Stops a `Trainer` before a loss or gradient that is no finite number reaches the weights.

    Put it before the trainer class. It looks once per optimizer step. With fp16 gradients overflow now and then; the
    scaler leaves such steps out, so only losses count.

    Attributes:
        on_not_finite: Called before the error with what was found, as JSON; returns where it was written.
    """

    on_not_finite: Callable[[dict[str, Any]], Any] | None = None
    accelerator: Any  # this and the following are the trainer's
    state: Any
    _taken: list[tuple[list[str], Tensor]] | None = None

    def training_step(self, model: Any, inputs: Any, *arguments: Any, **options: Any) -> Tensor:
        """A forward and backward, remembered until the optimizer's step."""
        loss = super().training_step(model, inputs, *arguments, **options)  # pyright: ignore[reportAttributeAccessIssue]
        self._taken = [*(self._taken or []), (self.sample_ids(inputs), loss)]
        return loss

    def sample_ids(self, inputs: Any) -> list[str]:
        """Which samples are in a batch; empty if it does not say."""
        return list(inputs.get("ids", ()))

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # pyright: ignore[reportAttributeAccessIssue]
        taken, self._taken = self._taken or [], None
        finite = torch.stack([loss for _, loss in taken]).isfinite()
        gradient = torch.as_tensor(norm, device=finite.device).isfinite()
        if self.accelerator.scaler is not None:
            gradient = torch.ones_like(gradient)
        if not bool(finite.all() & gradient):
            self._stop(taken, finite.tolist())
        return norm

    def _stop(self, taken: Sequence[tuple[list[str], Tensor]], finite: Sequence[bool]) -> None:
        what = "gradient" if all(finite) else "loss"
        # Of several batches those with such a loss; any of them may have given the gradient.
        batches = [ids for (ids, _), good in zip(taken, finite, strict=True) if all(finite) or not good]
        step = self.state.global_step + 1
        samples = [name for ids in batches for name in ids]
        found = {"step": step, "what": what, "losses": [float(loss) for _, loss in taken], "samples": samples}
        place = None if self.on_not_finite is None else self.on_not_finite(found)
        where = "" if place is None else f" The samples of the batch are named in {place}."
        raise ValueError(
            f"train: the {what} at step {step} is not a finite number; the weights are those before it.{where} Look at "
            "them, and lower optimization.learning_rate or the method's weight, in another run folder; with precision "
            "fp16, try bf16 or fp32."
        )


class MaxDrop(TrainerCallback):
    """Stops training once the validation accuracy lies further below the best so far than it may.

    Args:
        drop: How far it may, in [0, 1].
    """

    def __init__(self, drop: float) -> None:
        self._drop = drop

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Compare; the best that the state knows is that of the epochs before."""
        if metrics and state.best_metric is not None and state.best_metric - metrics["eval_accuracy"] > self._drop:
            control.should_training_stop = True
