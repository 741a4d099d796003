"""The settings of a trial that a study does not vary: by data, model, method and preset."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch

from wherenot.experiments import decoy
from wherenot.experiments.recipes import RECIPES
from wherenot.train.config import MethodConfig, MethodName, OptimizationConfig, TrainConfig
from wherenot.train.recipe import method_options

Preset = Literal["paper", "paper-tables", "wherenot"]


_SMALL_VIT = OptimizationConfig(epochs=25, batch_size=64, learning_rate=1e-3, warmup_frac=0.1)


def ours(preset: Preset) -> MethodName:
    """The method that a preset puts up against the baselines.

    Raises:
        ValueError: If this version has no such method.

    Example:
        >>> ours("paper-tables")
        'paper-tables'
    """
    for method in get_args(MethodName):
        if method == preset:
            return method
    raise ValueError(f"reproduce: --preset {preset}: there is no method of that name; choose paper or paper-tables.")


def audit_partition(data: str) -> str:
    """How images are cut when evidence is compared with priors: as training does it.

    Example:
        >>> audit_partition("decoy:half"), audit_partition("photos/")
        ('grid:4x4', 'slico:50')
    """
    return decoy.PARTITION if _is_decoy(data) else "slico:50"


def audit_splits(data: str) -> tuple[str, ...]:
    """Splits that a study audits: the test split of ImageNet-S that has masks; of other data all that no training sees.

    Example:
        >>> audit_splits("imagenet-s919:data"), audit_splits("photos/")
        (('test',), ())
    """
    return ("test",) if data.startswith("imagenet-s") else ()


def train_config(data: str, model: str, method: MethodName, preset: Preset) -> TrainConfig:
    """The configuration of a training run, seed 0.

    On decoy digits, those of the study in ``docs/log.md``; the paper knows no such data. Elsewhere the hyper-parameters
    of the model's family (CLIP, ViT, ResNet), the paper's or of the scripts behind its tables, the same for every
    method; a model of no such family gets the ResNet's. Half precision needs a GPU; without one, single precision.

    Args:
        data: What `wherenot.data.load_dataset` reads.
        model: What `wherenot.models.build_classifier` builds.
        method: What is added to the task loss.
        preset: ``paper``: the text. ``paper-tables``: the scripts. ``wherenot``: the paper's, with another method.

    Example:
        >>> config = train_config("saliency-bench:data", "google/vit-base-patch16-224", "paper-tables", "paper-tables")
        >>> config.optimization.learning_rate, config.method.interval
        (0.0001, 6)
    """
    if _is_decoy(data):
        config = replace(decoy.decoy_config(method if method in decoy.METHODS else "finetune"), data=data, model=model)
        if model == "small-vit":
            config = replace(config, optimization=_SMALL_VIT)
        return config if method in decoy.METHODS else replace(config, method=_on_decoy(method))
    place = f"{family_of(model) or 'resnet'}{'-imagenet-s' if data.startswith('imagenet-s') else ''}"
    # The scripts have no CLIP on ImageNet-S; the paper's settings stand in.
    recipe = RECIPES.get(f"{'paper' if preset == 'wherenot' else preset}/{place}") or RECIPES[f"paper/{place}"]
    own = recipe.method if recipe.method.name == method else MethodConfig(name=method)
    plan = recipe.optimization if torch.accelerator.is_available() else replace(recipe.optimization, precision="fp32")
    return replace(recipe, data=data, model=model, method=own, optimization=plan)


def family_of(model: str) -> str | None:
    """The paper's family of backbones that a model belongs to, by its name or its folder's; None for others.

    Example:
        >>> family_of("openai/clip-vit-large-patch14"), family_of("microsoft/resnet-101"), family_of("small-cnn")
        ('clip', 'resnet', None)
    """
    name = model.lower().rstrip("/").rpartition("/")[2]
    return next((family for family in ("clip", "resnet", "vit") if family in name), None)


def _is_decoy(data: str) -> bool:
    return data == "decoy" or data.startswith("decoy:")


def _on_decoy(method: MethodName) -> MethodConfig:
    """A method that the study on decoy digits did not have, with what the others share there."""
    shared = {"interval": 5, "confidence_above": 0.75, "max_images": 16, "fill": "mean", "partition": decoy.PARTITION,
              "tau": 0.15, "max_regions": 5, "stop_above": 0.8}  # fmt: skip
    known = method_options(method)
    return MethodConfig(name=method, **{name: value for name, value in shared.items() if name in known})
