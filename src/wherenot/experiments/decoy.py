"""Decoy digits: every method on the same network, the same images, the same priors and the same schedule.

The weights are those that the study in ``docs/log.md`` chose on the validation split, which has the training bias.
"""

from __future__ import annotations

from dataclasses import replace

from wherenot.audit import AuditConfig
from wherenot.train.config import MethodConfig, MethodName, OptimizationConfig, TrainConfig

PARTITION = "grid:4x4"
AUDIT = AuditConfig(partition=PARTITION)

_BASE = TrainConfig(
    data="decoy",
    model="small-cnn",
    optimization=OptimizationConfig(epochs=6, batch_size=64, learning_rate=2e-3, schedule="cosine", warmup_frac=0.3),
)
_GATE = {"interval": 5, "confidence_above": 0.75, "max_images": 16, "fill": "mean"}
_ALIGNMENT = {**_GATE, "search": "exact", "max_regions": 5, "stop_above": 0.8, "tau": 0.15, "partition": PARTITION}

_METHODS: dict[MethodName, MethodConfig] = {
    "finetune": MethodConfig(name="finetune"),
    "wherenot": MethodConfig(name="wherenot"),
    "paper": MethodConfig(name="paper", weight=5.0, **_ALIGNMENT),
    "log": MethodConfig(name="log", weight=2.0, **_ALIGNMENT),
    "random_regions": MethodConfig(name="random_regions", weight=2.0, tau=0.15, partition=PARTITION, **_GATE),
    "counterfactual": MethodConfig(name="counterfactual", weight=3.0, **_GATE),
    "rrr": MethodConfig(name="rrr", weight=10_000.0),
    "xil": MethodConfig(name="xil", weight=10.0),
    "megl": MethodConfig(name="megl", weight=1.0),
    "background_swap": MethodConfig(name="background_swap"),
    "box_guided": MethodConfig(name="box_guided"),
}
METHODS: tuple[MethodName, ...] = tuple(_METHODS)
GRID: dict[MethodName, tuple[str, tuple[float, ...]]] = {
    "wherenot": ("share", (0.5, 0.75, 1.0)),
    "paper": ("weight", (0.5, 2.0, 5.0)),
    "log": ("weight", (2.0, 5.0, 10.0)),
    "random_regions": ("weight", (2.0, 5.0, 10.0)),
    "counterfactual": ("weight", (1.0, 3.0, 10.0)),
    "rrr": ("weight", (100.0, 1000.0, 10_000.0)),
    "xil": ("weight", (1.0, 10.0, 100.0)),
    "megl": ("weight", (1.0, 10.0, 100.0)),
    "background_swap": ("weight", (0.3, 1.0, 3.0)),
    "box_guided": ("weight", (0.3, 1.0, 3.0)),
}
"""Of each method the option that is tuned, and three values: everybody has the same budget."""


def decoy_config(method: MethodName, *, seed: int = 0, value: float | None = None) -> TrainConfig:
    """The training configuration of one method on decoy digits.

    Args:
        method: One of `METHODS`.
        seed: Of the data, the network and the order of images.
        value: Of the option that `GRID` tunes; None takes the chosen one.

    Example:
        >>> decoy_config("log", seed=3).method.interval
        5
    """
    settings = _METHODS[method]
    if value is not None:
        settings = replace(settings, **{GRID[method][0]: value})
    return replace(_BASE, seed=seed, method=settings)
