"""One optimizer step of a tiny agent, and the gradients it makes: alone, or as one of several processes."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from datasets import Dataset as Rows
from torch.distributed.fsdp import FSDPModule
from transformers import TrainerCallback
from trl import SFTConfig

from classifier_runs import whole
from test_gui_penalties import quarters
from wherenot.data import Dataset
from wherenot.gui.penalties import Necessity
from wherenot.models import VisionLanguageModel
from wherenot.models.tiny_vlms import tiny_vlm
from wherenot.train.agents.collating import AgentCollator
from wherenot.train.agents.config import (
    AgentMethodConfig,
    AgentOptimizationConfig,
    AgentTrainConfig,
    LoraConfig,
)
from wherenot.train.agents.lora import attach
from wherenot.train.agents.recipe import click_preparer
from wherenot.train.agents.trainer import AgentTrainer
from wherenot.train.agents.training import train_agent

BOXES = [(x, y, x + 42.0, y + 42.0) for y in (0.0, 42.0) for x in (0.0, 42.0)]
NAMES = ("red", "green", "blue", "yellow")


def clicks(splits=("train", "validation")):
    """A task for each quarter of a screen and each split; answers and prompts differ in length."""
    samples = []
    for split in splits:
        for box, name in zip(BOXES, NAMES, strict=True):
            point = ((box[0] + 21) / 84, (box[1] + 21) / 84)
            said = f'{{"thought":"{name}","POINT":[{round(1000 * point[0])},{round(1000 * point[1])}]}}'
            samples.append(
                replace(
                    quarters(right=said, box=box), id=f"{split}/{name}", split=split, point=point, thought=name,
                    prompt=f"Tap {name}.", instruction=f"Tap {name}.",
                )
            )  # fmt: skip
    return Dataset("quarters", ("click",), tuple(samples))


@dataclass(frozen=True, kw_only=True)
class OfSome(Necessity):
    """Finds something to penalise in some tasks only."""

    names: tuple[str, ...] = NAMES

    def off(self, vlm, click, step):
        return super().off(vlm, click, step) if click.sample.instruction[4:-1] in self.names else None


class Keep(TrainerCallback):
    """Keeps the gradients of the last step."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.gradients = {
            name.removeprefix("module."): whole(weight.grad)
            for name, weight in model.named_parameters()
            if weight.grad is not None
        }


def one_step(
    place,
    *,
    family="llava",
    size=4,
    accumulation=1,
    names=NAMES,
    weight=30.0,
    dropout=0.0,
    share=False,
    most=None,
    **options,
):
    """The gradients of one step over the four tasks, and what the method said of it."""
    vlm = VisionLanguageModel(*tiny_vlm(family))
    torch.manual_seed(0)
    vlm, _ = attach(vlm, LoraConfig(scope="all", rank=2, dropout=dropout))
    with torch.no_grad():  # adapters start at zero; half of their gradients would be, too
        for name, value in vlm.wrapped.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.05)
    samples = clicks(("train",)).samples
    arguments = SFTConfig(
        output_dir=str(place), max_steps=1, per_device_train_batch_size=size,
        gradient_accumulation_steps=accumulation, max_grad_norm=0.0, use_cpu=True, bf16=False, max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True}, remove_unused_columns=False, save_strategy="no",
        report_to="none", disable_tqdm=True, dataloader_pin_memory=False, learning_rate=1e-9,
        **{"gradient_checkpointing": False, **options},
    )  # fmt: skip
    kept = Keep()
    trainer = AgentTrainer(
        model=vlm.wrapped, args=arguments, train_dataset=Rows.from_dict({"row": list(range(4))}),
        data_collator=AgentCollator(vlm, samples, share=share), processing_class=vlm.processor, callbacks=[kept],
    )  # fmt: skip
    method = OfSome(weight=weight, interval=1, tokens="all", right_above=-1.0, names=names, max_tasks=most)
    trainer.vlm, trainer.method = vlm, method if weight else None
    trainer.prepare = click_preparer(AgentMethodConfig(name="necessity"), vlm)
    told = []
    trainer.on_terms = lambda step, terms: told.append(terms)
    trainer.train()
    return kept.gradients, told, trainer


def main(place, run=None, **options):
    """One of several processes."""
    if run is not None:
        whole_run(place, run, **options)
        return
    found, told, trainer = one_step(place, **options)
    torch.save((found, told, isinstance(trainer.model_wrapped, FSDPModule)), f"{place}/{os.environ['RANK']}.pt")


def whole_run(place, name, *, base):
    """A run of `wherenot train`, its folder beside those of others."""
    method = AgentMethodConfig(name="necessity", interval=2, right_above=0.0, tokens="all", form="log")
    plan = AgentOptimizationConfig(
        steps=4, batch_size=1, learning_rate=1e-2, save_every=2, warmup_frac=0.0, schedule="constant",
        tasks_per_screen=1,
    )  # fmt: skip
    given = AgentTrainConfig(
        data="quarters", model=base, max_tokens=4, lora=LoraConfig(rank=2), method=method, optimization=plan
    )
    return train_agent(given, Path(place) / name, dataset=clicks(), quiet=True)
