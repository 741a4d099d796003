"""`wherenot train` of a tiny vision transformer, alone or as one of several processes, cut short or not."""

import os
from pathlib import Path

from wherenot.data import decoy
from wherenot.train import training
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig
from wherenot.train.trainer import MethodMixin


def one_run(out, *, batch_size=16, keep="last", name="log"):
    """Train for two epochs of three steps, aligned in every second step."""
    searched = {"interval": 2, "confidence_above": 0.0, "partition": "grid:2x2", "max_regions": 2}
    method = MethodConfig(name=name, **(searched if name == "log" else {}))
    plan = OptimizationConfig(epochs=2, batch_size=batch_size, keep=keep)
    data = decoy(0, num_train=48, num_validation=20, num_test=10)
    return training.train(
        TrainConfig(model="small-vit", method=method, optimization=plan), Path(out), dataset=data, quiet=True
    )


def main(place, out, *, cut=None, **options):
    """One of several processes; all are cut at the same batch."""
    original, calls = MethodMixin.compute_loss, []

    def compute_loss(self, *arguments, **given):
        calls.append(1)
        if len(calls) == cut:
            os._exit(0)
        return original(self, *arguments, **given)

    MethodMixin.compute_loss = compute_loss
    one_run(f"{place}/{out}", **options)
