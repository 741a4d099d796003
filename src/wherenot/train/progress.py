"""Progress of a training run: a bar with the time left, and a line per logged step in ``steps.jsonl``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.progress import TaskID
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from wherenot.progress import progress_bar
from wherenot.run import RunFolder


class TrainingProgress(TrainerCallback):
    """Shows progress and writes what the trainer logs into the run folder.

    As a context it takes the bar off the terminal however training ends: an interruption would leave it without cursor.
    """

    def __init__(self, folder: RunFolder, title: str, *, quiet: bool = False) -> None:
        self._folder = folder
        self._title = title
        self._bar = progress_bar(quiet=quiet)
        self._task = self._bar.add_task(f"train {title}", total=None, note="")

    def __enter__(self) -> TrainingProgress:
        """Nothing is shown before training begins."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the bar; a second time does nothing."""
        self._bar.stop()

    def priors(self, images: int) -> Callable[[int], None]:
        """Show how many of the images were looked at to draw priors for them; ends when all were.

        Args:
            images: How many there are.

        Returns:
            To be called with how many more were.
        """
        tasks: list[TaskID] = []

        def advance(more: int) -> None:
            if not tasks:  # where there is nothing to learn from, no image is looked at
                tasks.append(self._bar.add_task("draw priors", total=images, note="images"))
                self._bar.start()
            self._bar.advance(tasks[0], more)
            if all(task.finished for task in self._bar.tasks if task.id == tasks[0]):
                self._bar.remove_task(tasks[0])

        return advance

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the bar where the run goes on."""
        self._bar.update(self._task, total=state.max_steps, completed=state.global_step)
        self._bar.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Advance."""
        self._bar.update(self._task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the line, and show the validation accuracy."""
        logs = logs or {}
        self._folder.append("steps.jsonl", {"step": state.global_step, **logs})
        if "eval_accuracy" in logs:
            self._bar.update(self._task, note=f"validation accuracy {logs['eval_accuracy']:.3f}")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the finished bar on the screen."""
        self._bar.stop()
