"""Checkpoints that are whole or do not count: sealed when everything is on the disk, and free of pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from wherenot.train.sharding import load_sharded_optimizer, load_sharded_weights, write_sharded
from wherenot.train.states import load_optimizer, random_state, read_state, set_random_state, write_state

SEAL = "whole.json"
"""The last file of a checkpoint: sizes and checksums of the others."""
_KEPT = 2


def seal(checkpoint: Path) -> None:
    """See all files of a checkpoint to the disk, and write down what they are.

    Args:
        checkpoint: A folder to which nothing will be added.
    """
    files = {str(path.relative_to(checkpoint)): _facts(path) for path in _files(checkpoint)}
    partial = checkpoint / f"{SEAL}.part"
    partial.write_text(json.dumps(files, indent=1) + "\n")
    for path in (*_files(checkpoint), partial, checkpoint):
        _to_disk(path)
    partial.replace(checkpoint / SEAL)
    _to_disk(checkpoint)


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint is sealed and each of its files is what it was then."""
    try:
        sealed = json.loads((checkpoint / SEAL).read_text())
        return sealed == {str(path.relative_to(checkpoint)): _facts(path) for path in _files(checkpoint)}
    except (OSError, ValueError):
        return False


def last_whole_checkpoint(folder: Path) -> str | None:
    """Where to go on: the latest checkpoint that is whole, and with it the best one if that is to be kept.

    Those that are not, since writing them was cut short or something happened to them, are removed.

    Args:
        folder: Holds checkpoints, or nothing.
    """
    for checkpoint in sorted(folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=_step, reverse=True):
        if is_whole(checkpoint) and is_whole(best_of(checkpoint)):
            return str(checkpoint)
        shutil.rmtree(checkpoint)
    return None


def best_of(checkpoint: Path) -> Path:
    """The best checkpoint at the time of another one, which lies beside it wherever the run was moved; or itself."""
    best = _state(checkpoint).get("best_global_step")
    return checkpoint if not best else checkpoint.parent / f"{PREFIX_CHECKPOINT_DIR}-{best}"


def was_last(checkpoint: Path) -> bool:
    """Whether training ended there: with its last step, or because it was stopped early."""
    return _state(checkpoint)["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"]


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say what to do when a disk is full or will not be written, which safetensors has an error of its own for.

    Args:
        folder: What is written.

    Raises:
        OSError: Naming the folder.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"train: {folder} cannot be written ({error}). What was finished is kept; with room on the disk the same "
            "command goes on from there."
        ) from error


class CheckpointMixin:
    """Makes the checkpoints of a `Trainer` whole or void: put it before the trainer class.

    Older checkpoints go only after a new one is sealed. Optimizer, schedule, scaler and random numbers are kept in
    safetensors and JSON; under FSDP2 whole, with the weights that train. Under DeepSpeed and the first version of FSDP,
    which have formats of their own, these are left to the trainer.
    """

    args: Any  # this and the following are the trainer's
    accelerator: Any
    lr_scheduler: Any
    model: Any
    optimizer: Any
    state: Any
    is_deepspeed_enabled: Any
    is_fsdp_enabled: Any

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        with writing(folder):
            super()._save_checkpoint(model, trial)  # pyright: ignore[reportAttributeAccessIssue]
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                seal(folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
                rotate_checkpoints(str(folder), _KEPT, best_model_checkpoint=self.state.best_model_checkpoint)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)  # pyright: ignore[reportAttributeAccessIssue]
        # Pickled options, which nobody reads: run.json has them.
        (Path(output_dir or self.args.output_dir) / TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model; in the checkpoints of a sharded one its weights lie with the optimizer."""
        if not (_internal_call and self.accelerator.is_fsdp2):
            super().save_model(output_dir, _internal_call)  # pyright: ignore[reportAttributeAccessIssue]

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.accelerator.is_fsdp2:
            write_sharded(Path(output_dir), self.model, self.optimizer.optimizer)
            if self.args.should_save:
                write_state(Path(output_dir), "scheduler", self.lr_scheduler.state_dict())
        elif self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)  # pyright: ignore[reportAttributeAccessIssue]
        elif self.args.should_save:
            write_state(Path(output_dir), "optimizer", self.optimizer.state_dict())
            write_state(Path(output_dir), "scheduler", self.lr_scheduler.state_dict())

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.accelerator.is_fsdp2:
            load_sharded_weights(Path(resume_from_checkpoint), self.model)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # pyright: ignore[reportAttributeAccessIssue]

    def _load_best_model(self) -> None:
        if self.accelerator.is_fsdp2:
            load_sharded_weights(Path(self.state.best_model_checkpoint), self.model)
        else:
            super()._load_best_model()  # pyright: ignore[reportAttributeAccessIssue]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.accelerator.is_fsdp2:
            if checkpoint is not None:
                load_sharded_optimizer(Path(checkpoint), self.model, self.optimizer.optimizer)
                self.lr_scheduler.load_state_dict(read_state(Path(checkpoint), "scheduler"))
        elif self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)  # pyright: ignore[reportAttributeAccessIssue]
        elif checkpoint is not None:
            load_optimizer(self.optimizer, read_state(Path(checkpoint), "optimizer"))
            self.lr_scheduler.load_state_dict(read_state(Path(checkpoint), "scheduler"))

    def _save_scaler(self, output_dir: str) -> None:
        if self.accelerator.scaler is not None and self.args.should_save:
            write_state(Path(output_dir), "scaler", self.accelerator.scaler.state_dict())

    def _load_scaler(self, checkpoint: str | None) -> None:
        if self.accelerator.scaler is not None and checkpoint is not None:
            self.accelerator.scaler.load_state_dict(read_state(Path(checkpoint), "scaler"))

    def _save_rng_state(self, output_dir: str) -> None:
        Path(output_dir).mkdir(parents=True, exist_ok=True)  # another process may not have made it yet
        write_state(Path(output_dir), self._random_name, random_state())

    def _load_rng_state(self, checkpoint: str | None) -> None:
        # A run that goes on with more processes than it had draws anew in those.
        if checkpoint is not None and (Path(checkpoint) / f"{self._random_name}.json").is_file():
            set_random_state(read_state(Path(checkpoint), self._random_name))

    def _init_training_state(
        self,
        max_steps: int,
        num_update_steps_per_epoch: int,
        num_train_epochs: int,
        resume_from_checkpoint: str | None,
        trial: Any,
    ) -> tuple[int, int]:
        """Where to go on: whole epochs, and batches after them."""
        started = super()._init_training_state(  # pyright: ignore[reportAttributeAccessIssue]
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        if resume_from_checkpoint is None:
            return started
        checkpoint = Path(resume_from_checkpoint)
        if self.state.best_global_step:  # its path is that of then; the trainer would do without if the run was moved
            self.state.best_model_checkpoint = str(best_of(checkpoint))
        # A run that had ended, or was stopped early, would go on with one step or epoch more.
        return (num_train_epochs, 0) if was_last(checkpoint) else started

    @property
    def _random_name(self) -> str:
        return f"random-{self.args.process_index}"


def _state(checkpoint: Path) -> dict[str, Any]:
    return json.loads((checkpoint / TRAINER_STATE_NAME).read_text())


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _files(checkpoint: Path) -> list[Path]:
    files = (path for path in checkpoint.rglob("*") if path.is_file() and not path.name.startswith(SEAL))
    return sorted(files)


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
