"""One training run: from a configuration to a run folder with a model in it."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import nn
from transformers import EarlyStoppingCallback, EvalPrediction, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

from wherenot.data import Dataset
from wherenot.methods import Method, Preparing
from wherenot.methods.map_penalty import MapPenalty
from wherenot.models import Classifier, Preprocess, build_classifier, train_only
from wherenot.region_cache import CachedPartition, default_cache
from wherenot.rejected import write_rejected
from wherenot.run import RunFolder
from wherenot.train.checkpoints import last_whole_checkpoint, writing
from wherenot.train.config import TrainConfig, config_dict
from wherenot.train.drawn import PRIORS, write_drawn
from wherenot.train.guards import NOT_FINITE, MaxDrop
from wherenot.train.history import Epoch, History, guard_counts, read_steps
from wherenot.train.layout import channels_last
from wherenot.train.progress import TrainingProgress
from wherenot.train.recipe import build_method, training_data
from wherenot.train.sharding import check_whole, whole_weights
from wherenot.train.signs import run_warnings
from wherenot.train.trainer import ClassificationTrainer, ImageSet, ModelInputs, TaskModel, collate


def train(config: TrainConfig, out: Path, *, dataset: Dataset | None = None, quiet: bool = False) -> Path:
    """Train a classifier as configured, into a run folder.

    Writes ``run.json``, ``steps.jsonl`` (losses and diagnostics as they come), ``metrics.json`` (validation accuracy,
    loss and confidence of every epoch, of the last and of the best, what guards did, and what looks wrong,
    `run_warnings`) and ``model/``; where the method draws priors, before it trains, ``priors/``, some of these to look
    at (`train.drawn`). Interrupted anywhere and called again with the same configuration it goes on from the last whole
    epoch; on a CPU, in fp32, the model is the same to the last bit. Started by ``accelerate launch`` it trains on
    several devices, plainly or sharded by FSDP2; the first process writes.

    Args:
        config: What to train.
        out: The run folder.
        dataset: The data, if already read; None reads ``config.data``.
        quiet: Show no progress.

    Returns:
        The run folder.

    Raises:
        ValueError: For data, options or a folder that cannot be used; each is named. For a loss or gradient that is no
            finite number: the weights are left as they were, and ``not_finite-0.json`` names the images of the batch.
    """
    _check(config)
    state = PartialState()
    folder = RunFolder(out)
    dataset = training_data(config, dataset)
    classifier = _classifier(config, dataset.classes)
    method = build_method(config.method, classifier.normalization, config.seed)
    if state.is_main_process:
        folder.begin(
            "train", config.title, config_dict(config), model=config.model, data=config.data, seed=config.seed,
            rejected=[vars(rejected) for rejected in dataset.rejected],
        )  # fmt: skip
        write_rejected(folder.path, [vars(rejected) for rejected in dataset.rejected])
    state.wait_for_everyone()
    if (folder.read("metrics.json") or {}).get("finished"):
        if state.is_main_process:
            shutil.rmtree(folder.path / "checkpoints", ignore_errors=True)
        return folder.path
    model = TaskModel(
        classifier,
        freeze_batchnorm=config.optimization.batchnorm == "frozen",
        ask_exactly=isinstance(method, MapPenalty),  # its small gradients are lost in half precision
    )
    started = time.perf_counter()
    progress = TrainingProgress(folder, config.title, quiet=quiet or not state.is_main_process)
    with quiet_transformers(), progress:
        trainer = _trainer(config, folder, dataset, model, classifier.preprocess, method, progress)
        with state.main_process_first():  # it clears away what the others are not to see
            checkpoint = last_whole_checkpoint(folder.path / "checkpoints")
        trainer.train(resume_from_checkpoint=checkpoint)
    if trainer.accelerator.is_fsdp2:
        classifier = _whole(config, dataset.classes, model)
    if state.is_main_process:
        _finish(config, folder, dataset, classifier, trainer, started, resumed=checkpoint is not None)
    state.wait_for_everyone()
    return folder.path


def _finish(
    config: TrainConfig,
    folder: RunFolder,
    dataset: Dataset,
    classifier: Classifier,
    trainer: ClassificationTrainer,
    started: float,
    *,
    resumed: bool,
) -> None:
    """Write the model and what was measured."""
    with writing(folder.path / "model"):
        classifier.save(folder.path / "model")
    # The seconds of a run that went on from a checkpoint are those of its last part.
    folder.amend(seconds=round(time.perf_counter() - started, 2), resumed=resumed, steps=trainer.state.global_step)
    validation = _validation(trainer)
    history = _history(config, folder, dataset, trainer.method, validation["epochs"])
    folder.write(  # last: it says that the run is whole
        "metrics.json",
        {
            "finished": True,
            "validation": validation,
            "guards": guard_counts(history.steps),
            "warnings": [asdict(warning) for warning in run_warnings(history)],
        },
    )
    shutil.rmtree(folder.path / "checkpoints")


def _whole(config: TrainConfig, classes: Sequence[str], sharded: TaskModel) -> Classifier:
    """A classifier with the weights of a sharded one; on all processes but the first they mean nothing."""
    classifier = _classifier(config, classes)
    weights = whole_weights(sharded)
    if weights:
        TaskModel(classifier).load_state_dict(weights)
    return classifier


def _check(config: TrainConfig) -> None:
    if not config.data:
        raise ValueError("train: the recipe leaves the data to you; name them with --set.data, or data: in the file.")
    if config.optimization.precision == "fp16" and not torch.accelerator.is_available():
        raise ValueError("train: precision fp16 needs a GPU; add --set.optimization.precision fp32 (or bf16).")


def _classifier(config: TrainConfig, classes: Sequence[str]) -> Classifier:
    classifier = build_classifier(config.model, classes=classes, seed=config.seed, templates=config.templates)
    if config.resize == "whole":
        classifier.preprocess = classifier.preprocess.whole()
    train_only(classifier, config.optimization.scope)
    channels_last(classifier, classifier.preprocess.height, classifier.preprocess.width)
    return classifier


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Only errors from transformers' own log; what a user wants to know is in the progress bar."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _trainer(
    config: TrainConfig,
    folder: RunFolder,
    dataset: Dataset,
    model: TaskModel,
    preprocess: Preprocess,
    method: Method | None,
    progress: TrainingProgress,
) -> ClassificationTrainer:
    plan = config.optimization
    state = PartialState()
    set_seed(config.seed)
    checkpoints = folder.path / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    partition = getattr(method, "partition", None)
    if partition is not None:
        partition = CachedPartition(partition, default_cache() / "regions")
    train_set = ImageSet(dataset.split("train"), preprocess, partition)
    if isinstance(method, Preparing):
        _spread_priors(config, folder, dataset, model.classifier, preprocess, train_set, method, progress)
    steps = plan.epochs * -(-len(train_set) // (plan.batch_size * state.num_processes))
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=plan.epochs,
        per_device_train_batch_size=plan.batch_size,
        per_device_eval_batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        weight_decay=plan.weight_decay,
        fp16=plan.precision == "fp16",
        bf16=plan.precision == "bf16",
        use_cpu=not torch.accelerator.is_available(),
        lr_scheduler_type=plan.schedule if plan.schedule != "constant" else "constant_with_warmup",
        warmup_steps=round(plan.warmup_frac * steps),
        eval_strategy="epoch",
        save_strategy="epoch",
        restore_callback_states_from_checkpoint=True,  # how long the patience has lasted
        load_best_model_at_end=_keeps_best(config),
        metric_for_best_model="accuracy",
        logging_strategy="steps",
        logging_steps=10,
        logging_nan_inf_filter=False,  # it would log a mean of other steps for a loss that is no number
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_num_workers=plan.workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
        report_to="none",
        seed=config.seed,
    )
    callbacks: list[TrainerCallback] = [progress] if state.is_main_process else []
    if plan.patience:
        callbacks.append(EarlyStoppingCallback(plan.patience))
    if plan.max_drop is not None:
        callbacks.append(MaxDrop(plan.max_drop))
    trainer = ClassificationTrainer(
        model=model,
        args=arguments,
        train_dataset=train_set,
        eval_dataset=ImageSet(dataset.split("validation"), preprocess),
        data_collator=collate,
        compute_metrics=_measures,
        callbacks=callbacks,
    )
    trainer.method = method
    trainer.on_not_finite = lambda found: folder.write(NOT_FINITE.format(trainer.args.process_index), found)
    if state.is_main_process:
        trainer.on_terms = lambda step, terms: folder.append("steps.jsonl", {"step": step, **terms})
    trainer.remove_callback(PrinterCallback)
    return trainer


def _spread_priors(
    config: TrainConfig,
    folder: RunFolder,
    dataset: Dataset,
    classifier: nn.Module,
    preprocess: Preprocess,
    images: ImageSet,
    method: Preparing,
    progress: TrainingProgress,
) -> None:
    """Let a method choose the priors of the training images; each process does so for itself, and all find the same."""
    state = PartialState()
    check_whole(state)
    spread = method.spread(
        classifier.to(state.device),
        ModelInputs(images),
        images.own_priors,
        batch_size=config.optimization.batch_size,
        on_images=progress.priors(len(images)),
    )
    classifier.to("cpu")  # the trainer puts it where it, or its part of it, belongs
    images.use_priors(spread.priors)
    if state.is_main_process:
        folder.amend(priors=spread.summary())
        split = dataset.split("train")
        write_drawn(folder.path / PRIORS, split, preprocess, spread, model=config.model, seed=config.seed)


def _measures(outputs: EvalPrediction) -> dict[str, float]:
    logits = torch.from_numpy(np.asarray(outputs.predictions)).float()
    right = logits.argmax(1).numpy() == outputs.label_ids
    return {"accuracy": float(np.mean(right)), "confidence": logits.softmax(1).amax(1).mean().item()}


def _validation(trainer: ClassificationTrainer) -> dict[str, Any]:
    history = [entry for entry in trainer.state.log_history if "eval_accuracy" in entry]
    epochs = [
        {"epoch": entry["epoch"], **{name: entry[f"eval_{name}"] for name in ("accuracy", "loss", "confidence")}}
        for entry in history
    ]
    best = max(epochs, key=lambda epoch: epoch["accuracy"])
    return {"last": epochs[-1], "best": best, "epochs": epochs}


def _history(
    config: TrainConfig, folder: RunFolder, dataset: Dataset, method: Method | None, epochs: Sequence[dict[str, float]]
) -> History:
    steps, not_finite = read_steps(folder.records("steps.jsonl"))
    labels = Counter(sample.label for sample in dataset.split("train").samples)
    return History(
        epochs=tuple(Epoch(**epoch) for epoch in epochs),
        num_validation=len(dataset.split("validation")),
        chance=max(labels.values()) / labels.total(),
        steps=steps,
        not_finite=not_finite,
        method=None if method is None else config.method.name,
        confidence_above=getattr(method, "confidence_above", None),
        keeps_best=_keeps_best(config),
        priors=(folder.read("run.json") or {}).get("priors"),
    )


def _keeps_best(config: TrainConfig) -> bool:
    plan = config.optimization
    return plan.keep == "best" or plan.patience > 0 or plan.max_drop is not None
