"""One training run of an agent: from a configuration to a run folder with a model in it."""

from __future__ import annotations

import shutil
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset as Rows
from transformers import set_seed
from transformers.trainer_callback import PrinterCallback
from trl.trainer.sft_config import SFTConfig

from wherenot.data import Dataset, GuiSample
from wherenot.gui.penalties import AgentMethod
from wherenot.models.vlm import VisionLanguageModel, load_vlm
from wherenot.progress import progress_bar
from wherenot.rejected import write_rejected
from wherenot.run import RunFolder
from wherenot.train.agents.arguments import shared_arguments, weight_type
from wherenot.train.agents.collating import KEPT_BYTES, AgentCollator
from wherenot.train.agents.config import AgentOptimizationConfig, AgentTrainConfig
from wherenot.train.agents.lora import attach, summary
from wherenot.train.agents.recipe import build_agent_method, check_movable, click_preparer
from wherenot.train.agents.records import agent_data
from wherenot.train.agents.rewarding import RewardTrainer, reward_trainer
from wherenot.train.agents.sharing import ScreenSampler
from wherenot.train.agents.trainer import AgentTrainer
from wherenot.train.agents.validation import click_summary, validated
from wherenot.train.checkpoints import last_whole_checkpoint, writing
from wherenot.train.config import config_dict
from wherenot.train.guards import NOT_FINITE
from wherenot.train.history import guard_counts, read_steps
from wherenot.train.progress import TrainingProgress
from wherenot.train.sharding import unsharded, whole_weights
from wherenot.train.training import quiet_transformers


def train_agent(config: AgentTrainConfig, out: Path, *, dataset: Dataset | None = None, quiet: bool = False) -> Path:
    """Fine-tune an agent as configured, into a run folder.

    Writes ``run.json``, ``steps.jsonl`` (losses and diagnostics as they come), ``validation.jsonl`` (what the agent
    said to each task of the validation split), ``metrics.json`` (how well it clicks there) and ``model/``: its
    adapter or weights, and its processor, which `load_vlm` loads. Interrupted and called again with the same
    configuration it goes on from the last whole checkpoint. Started by ``accelerate launch`` it trains on several
    devices, plainly or sharded by FSDP2.

    Args:
        config: What to train.
        out: The run folder.
        dataset: The data, if already read; None reads ``config.data``.
        quiet: Show no progress.

    Returns:
        The run folder.

    Raises:
        ValueError: For data, options, a model or a folder that cannot be used; each is named.
    """
    _check(config)
    state = PartialState()
    folder = RunFolder(out)
    dataset = agent_data(config, dataset)
    method = build_agent_method(config.method, config.seed, _tasks(dataset, "train"))
    signs = check_movable(config.method, _tasks(dataset, "train"))
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
    set_seed(config.seed)
    vlm, layers = attach(_loaded(config), config.lora)
    trainable = sum(weight.numel() for weight in vlm.wrapped.parameters() if weight.requires_grad)
    if state.is_main_process:
        folder.amend(adapted=layers, trainable=trainable)
    if not quiet and state.is_main_process:
        print(f"trains {trainable:,} weights: {summary(layers) if layers else 'all'}")
    started = time.perf_counter()
    progress = TrainingProgress(folder, config.title, quiet=quiet or not state.is_main_process)
    trainer = _trainer(config, folder, dataset, vlm, method, progress)
    with state.main_process_first():  # it clears away what the others are not to see
        checkpoint = last_whole_checkpoint(folder.path / "checkpoints")
    with quiet_transformers(), progress:
        trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.perf_counter() - started
    with unsharded(vlm.wrapped):
        records = _validate(config, dataset, vlm, state, quiet=quiet)
    weights = whole_weights(vlm.wrapped) if trainer.accelerator.is_fsdp2 else None
    if state.is_main_process:
        with writing(folder.path / "model"):
            _save(vlm, folder.path / "model", weights)
        # The seconds of a run that went on from a checkpoint are those of its last part.
        folder.amend(seconds=round(seconds, 2), resumed=checkpoint is not None, steps=trainer.state.global_step)
        (folder.path / "validation.jsonl").unlink(missing_ok=True)
        folder.append("validation.jsonl", *records)
        counts = guard_counts(read_steps(folder.records("steps.jsonl"))[0])
        folder.write(
            "metrics.json",
            {
                "finished": True,
                "validation": click_summary(records),
                "guards": counts,
                "warnings": [asdict(each) for each in signs],
            },
        )
        shutil.rmtree(folder.path / "checkpoints")
    state.wait_for_everyone()
    return folder.path


def _check(config: AgentTrainConfig) -> None:
    if not config.model:
        raise ValueError("train: no model; name one with model: in the file, or --set.model.")
    if config.optimization.precision == "fp16" and not torch.accelerator.is_available():
        raise ValueError("train: precision fp16 needs a GPU; add --set.optimization.precision fp32 (or bf16).")
    if config.method.name == "grpo" and config.optimization.tasks_per_screen > 1:
        raise ValueError("train: grpo reads a screenshot for every answer; leave tasks_per_screen out.")


def _loaded(config: AgentTrainConfig) -> VisionLanguageModel:
    vlm = load_vlm(_absolute(config.model), device="cpu", precision=weight_type(config))
    if hasattr(vlm.model, "peft_config"):
        raise ValueError(f"train: {config.model} is an adapter; merge it into its model first, or train that one.")
    return vlm


def _absolute(model: str) -> str:
    """An adapter remembers where its model is; a relative path would hold in one folder only."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def _trainer(
    config: AgentTrainConfig,
    folder: RunFolder,
    dataset: Dataset,
    vlm: VisionLanguageModel,
    method: AgentMethod | None,
    progress: TrainingProgress,
) -> AgentTrainer | RewardTrainer:
    checkpoints = folder.path / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    samples = _tasks(dataset, "train")
    if config.method.name == "grpo":
        trainer = reward_trainer(config, vlm, samples, checkpoints)
        if trainer.accelerator.is_fsdp2:
            raise ValueError("train: grpo has not been made to work with FSDP; use plain data parallelism.")
    else:
        trainer = _answer_trainer(config, vlm, samples, checkpoints, method)
    trainer.remove_callback(PrinterCallback)
    trainer.on_not_finite = lambda found: folder.write(NOT_FINITE.format(trainer.args.process_index), found)
    if trainer.is_world_process_zero():
        trainer.add_callback(progress)
        if isinstance(trainer, AgentTrainer):
            trainer.on_terms = lambda step, terms: folder.append("steps.jsonl", {"step": step, **terms})
    return trainer


def _answer_trainer(
    config: AgentTrainConfig,
    vlm: VisionLanguageModel,
    samples: list[GuiSample],
    checkpoints: Path,
    method: AgentMethod | None,
) -> AgentTrainer:
    plan = config.optimization
    collator = AgentCollator(
        vlm,
        samples,
        config.max_side,
        method,
        seed=config.seed,
        keep_bytes=KEPT_BYTES // max(1, plan.workers),
        # Layers that recompute remember nothing.
        share=vlm.family.looks_back and not plan.gradient_checkpointing,
    )
    trainer = AgentTrainer(
        model=vlm.wrapped,
        args=_arguments(plan, checkpoints, config.seed),
        train_dataset=Rows.from_dict({"row": list(range(len(samples)))}),
        data_collator=collator,
        sampler=ScreenSampler(samples, together=plan.tasks_per_screen, seed=config.seed),
        processing_class=vlm.processor,
    )
    trainer.vlm, trainer.method = vlm, method
    if trainer.accelerator.is_fsdp2:  # what tasks share is read past the whole model
        collator.share = False
    if method is not None:
        trainer.prepare = click_preparer(config.method, vlm)
    return trainer


def _arguments(plan: AgentOptimizationConfig, checkpoints: Path, seed: int) -> SFTConfig:
    with warnings.catch_warnings():
        # trl still sets what transformers calls by another name now.
        warnings.filterwarnings("ignore", "`gradient_checkpointing", FutureWarning)
        return SFTConfig(
            **shared_arguments(plan, checkpoints, seed),
            max_length=None,  # images are not to be cut
            dataset_kwargs={"skip_prepare_dataset": True},
        )


def _tasks(dataset: Dataset, split: str) -> list[GuiSample]:
    return [sample for sample in dataset.split(split).samples if isinstance(sample, GuiSample)]


def _validate(
    config: AgentTrainConfig, dataset: Dataset, vlm: VisionLanguageModel, state: PartialState, *, quiet: bool
) -> list[dict[str, Any]]:
    """Each process takes its share of the tasks."""
    samples = _tasks(dataset, "validation")
    own = samples[state.process_index :: state.num_processes]
    with progress_bar(quiet=quiet or not state.is_main_process) as bar:
        task = bar.add_task("validate", total=len(own), note="")
        records = validated(
            vlm, own, max_side=config.max_side, max_tokens=config.max_tokens, on_task=lambda: bar.advance(task)
        )
    found = {record["id"]: record for record in gather_object(records)}
    return [found[sample.id] for sample in samples]


def _save(vlm: VisionLanguageModel, folder: Path, weights: dict[str, Any] | None) -> None:
    wrapped: Any = vlm.wrapped
    wrapped.save_pretrained(folder, **({} if weights is None else {"state_dict": weights}))
    vlm.processor.save_pretrained(folder)
