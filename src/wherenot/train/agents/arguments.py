"""What all of trl's trainers are told alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from wherenot.train.agents.config import AgentOptimizationConfig, AgentTrainConfig

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def weight_type(config: AgentTrainConfig) -> torch.dtype:
    """Of a model that is loaded for training: what trains does so in full precision."""
    return DTYPES["fp32" if config.lora.scope == "full" else config.optimization.precision]


def shared_arguments(plan: AgentOptimizationConfig, checkpoints: Path, seed: int) -> dict[str, Any]:
    """Arguments of `SFTConfig` and `GRPOConfig`.

    Args:
        plan: How the weights are trained.
        checkpoints: Where checkpoints go.
        seed: Of the trainer.
    """
    return {
        "output_dir": str(checkpoints),
        "max_steps": plan.steps,
        "per_device_train_batch_size": plan.batch_size,
        "gradient_accumulation_steps": plan.accumulation,
        "learning_rate": plan.learning_rate,
        "weight_decay": plan.weight_decay,
        "lr_scheduler_type": plan.schedule if plan.schedule != "constant" else "constant_with_warmup",
        "warmup_steps": round(plan.warmup_frac * plan.steps),
        "fp16": plan.precision == "fp16",
        "bf16": plan.precision == "bf16",
        "gradient_checkpointing": plan.gradient_checkpointing,
        "use_cpu": not torch.accelerator.is_available(),
        "remove_unused_columns": False,
        "eval_strategy": "no",
        "save_strategy": "steps",
        "save_steps": plan.save_every,
        "logging_strategy": "steps",
        "logging_steps": 10,
        "logging_nan_inf_filter": False,  # it would log a mean of other steps for a loss that is no number
        "dataloader_num_workers": plan.workers,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "disable_tqdm": True,
        "report_to": "none",
        "seed": seed,
    }
