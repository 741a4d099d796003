"""Cutouts: every method on the same photographs, under priors that are exact, careless or few.

The weights are chosen by the study on validation data. What is made of what, the network and its schedule were settled
in pilots on seed 0 that looked at its test accuracies (with and without the shortcut, and once of our method), so
seed 0 is no blind test of them; `docs/log.md` has the pilots.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeAlias

from wherenot.data import CutoutsConfig
from wherenot.train.config import MethodConfig, MethodName, OptimizationConfig, TrainConfig

Setting: TypeAlias = Literal["watermark", "background", "object"]
Condition: TypeAlias = Literal["exact", "shifted", "tenth", "fiftieth", "marks"]

_PRIORS: dict[Condition, dict[str, Any]] = {
    "exact": {},
    "shifted": {"prior": "shifted"},
    "tenth": {"prior_frac": 0.1},
    "fiftieth": {"prior_frac": 0.02},
    "marks": {"prior": "forbidden", "prior_frac": 0.02},
}
_BASE = TrainConfig(
    model="efficientnet-lite0@96",
    optimization=OptimizationConfig(epochs=5, batch_size=16, learning_rate=2e-3),
)
_GATE = {"interval": 5, "confidence_above": 0.75, "max_images": 4}
_PARTS = {**_GATE, "partition": "grid:5x5", "tau": 0.15}
_ALIGNMENT = {**_PARTS, "search": "fast", "max_regions": 5, "stop_above": 0.8}

_METHODS: dict[MethodName, dict[str, Any]] = {
    "finetune": {},
    "paper": _ALIGNMENT,
    "log": _ALIGNMENT,
    "rrr": {"interval": 2},
    "xil": {},
    "megl": {},
    "model_guidance": {"localization": "energy"},
    "random_regions": _PARTS,
    "counterfactual": _GATE,
    "background_swap": {},
    "box_guided": {},
    "wherenot": {},
}
METHODS: tuple[MethodName, ...] = tuple(_METHODS)

GRID: dict[MethodName, tuple[str, tuple[float, ...]]] = {
    "paper": ("weight", (0.5, 2.0, 5.0)),
    "log": ("weight", (0.5, 2.0, 5.0)),
    "rrr": ("weight", (10.0, 1000.0, 100_000.0)),
    "xil": ("weight", (0.1, 1.0, 10.0)),
    "megl": ("weight", (0.1, 1.0, 10.0)),
    "model_guidance": ("weight", (0.1, 1.0, 10.0)),
    "random_regions": ("weight", (0.5, 2.0, 5.0)),
    "counterfactual": ("weight", (0.3, 1.0, 3.0)),
    "background_swap": ("weight", (0.3, 1.0, 3.0)),
    "box_guided": ("weight", (0.3, 1.0, 3.0)),
    "wherenot": ("share", (0.5, 0.75, 1.0)),
}
"""Of each method the option that is tuned, and three values: everybody has the same budget."""


def cutouts_data(
    setting: Setting, condition: Condition = "exact", *, shortcut: bool = True, seed: int = 0
) -> CutoutsConfig:
    """The data of a cell of the study.

    Args:
        setting: Which shortcut.
        condition: Which priors: all exact, all boxes shifted by half their side, exact ones for a tenth or a fiftieth;
            or, for a fiftieth, nothing but a mark on the cue, where evidence may not lie (not with backgrounds).
        shortcut: False gives the ceiling: the same images, their cues drawn at random.
        seed: Of objects, photographs, cues and priors.

    Example:
        >>> cutouts_data("watermark", "tenth").prior_frac, cutouts_data("object", shortcut=False).rho
        (0.1, 0.0)
    """
    return CutoutsConfig(
        shortcut=setting,
        rho=1.0 if shortcut else 0.0,
        cue_scale=1.0 if setting == "background" else 1.5,
        num_train=400,
        num_validation=100,
        num_test=150,
        seed=seed,
        **_PRIORS[condition],
    )


def cutouts_config(method: MethodName, *, seed: int = 0, value: float | None = None) -> TrainConfig:
    """The training configuration of one method.

    Args:
        method: One of `METHODS`.
        seed: Of the network's head and the order of images; that of the data is `cutouts_data`'s.
        value: Of the option that `GRID` tunes; None leaves the method's own.

    Example:
        >>> cutouts_config("wherenot", value=0.5).method.share
        0.5
    """
    options = dict(_METHODS[method])
    if value is not None:
        options[GRID[method][0]] = value
    return replace(_BASE, data="cutouts", seed=seed, method=MethodConfig(name=method, **options))
