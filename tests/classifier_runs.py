"""One optimizer step of a tiny classifier with alignment, and the gradients it makes: alone, or as one of several."""

import os

import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback, TrainingArguments, ViTConfig, ViTForImageClassification

from wherenot import Alignment, Prior
from wherenot.regions import Grid
from wherenot.train.trainer import ClassificationTrainer, TaskModel, collate

SIDE = 16
INSIDE = Prior.from_boxes([[0, 0, 8, 8]], SIDE, SIDE)


class Logits(torch.nn.Module):
    """A network of transformers as `TaskModel` wants it."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(pixel_values=images).logits


class Stepwise(torch.nn.Module):
    """Convolutions with buffers, which a wrapper for several processes would hand out in every forward."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 6, 4, 4), torch.nn.BatchNorm2d(6).eval(), torch.nn.ReLU(), torch.nn.Flatten(),
            torch.nn.Linear(96, 3),
        )  # fmt: skip
        self.layers[1].train = lambda mode=True: self.layers[1]  # its statistics are those of a batch in train mode

    def forward(self, images):
        return self.layers(images)


def network(family):
    """``vit`` scales its own loss by the accumulation steps, as transformers' do; the others do not.

    In double precision: what differs by more than rounding is wrong.
    """
    torch.manual_seed(0)
    if family == "cnn":
        return TaskModel(Stepwise()).double()
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    vit = ViTForImageClassification(ViTConfig(**sizes, **dropout, image_size=SIDE, patch_size=4, num_labels=3))
    return (vit if family == "vit" else TaskModel(Logits(vit))).double()


def items(family, marked, right):
    """Eight images; those that are `right` have the label that the network gives, those that are `marked` a prior."""
    images = torch.rand(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double() * 4
    with torch.no_grad():
        said = network(family).eval()(pixel_values=images)["logits"].argmax(1)
    return [
        {
            "pixel_values": image,
            "labels": int(said[place] if place in right else (said[place] + 1) % 3),
            "priors": INSIDE if place in marked else None,
        }
        for place, image in enumerate(images)
    ]


class Keep(TrainerCallback):
    """Keeps the gradients of the last step, whole."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.gradients = {
            name.removeprefix("module."): whole(weight.grad)
            for name, weight in model.named_parameters()
            if weight.grad is not None
        }


def whole(tensor):
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).clone()


METHOD = Alignment(
    form="log", interval=1, confidence_above=0.0, partition=Grid(4, 4), deviation_weight=20.0, redundancy_weight=20.0,
    max_regions=4, stop_above=None, chunk=7,
)  # fmt: skip


def one_step(place, *, family="vit", size=8, accumulation=1, marked=range(8), right=range(8), method=METHOD, **options):
    """The gradients of one step over the eight images, what the method said of it, and the trainer."""
    arguments = TrainingArguments(
        output_dir=str(place), max_steps=1, per_device_train_batch_size=size,
        gradient_accumulation_steps=accumulation, max_grad_norm=0.0, use_cpu=True, remove_unused_columns=False,
        save_strategy="no", report_to="none", disable_tqdm=True, dataloader_pin_memory=False, learning_rate=1e-9,
        **options,
    )  # fmt: skip
    kept = Keep()
    trainer = ClassificationTrainer(
        model=network(family), args=arguments, train_dataset=items(family, marked, right), data_collator=collate,
        callbacks=[kept],
    )  # fmt: skip
    trainer.method = method
    told = []
    trainer.on_terms = lambda step, terms: told.append(terms)
    trainer.train()
    return kept.gradients, told, trainer


def main(place, cases):
    """One of several processes, for one step after another."""
    found = []
    for case in cases:
        gradients, told, trainer = one_step(place, **case)
        found.append((gradients, told, isinstance(trainer.model_wrapped, FSDPModule)))
    torch.save(found, f"{place}/{os.environ['RANK']}.pt")
