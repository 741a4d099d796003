"""From the name of a method and its options to the method."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from wherenot.data import (
    DataError,
    Dataset,
    ImageTextSample,
    hold_out,
    limit,
    load_dataset,
    with_train_feedback,
)
from wherenot.masking import Normalization
from wherenot.methods import PRESETS, BackgroundSwap, BoxGuided, Counterfactual, Method, RandomRegions, Recomposition
from wherenot.methods.megl import MEGL
from wherenot.methods.model_guidance import ModelGuidance
from wherenot.methods.rrr import RRR
from wherenot.methods.xil import XIL
from wherenot.regions import parse_partition
from wherenot.search import parse_search
from wherenot.train.config import MethodConfig, MethodName, TrainConfig


def training_data(config: TrainConfig, dataset: Dataset | None = None) -> Dataset:
    """The data of a training run as it is used: limited, and with a validation split.

    Args:
        config: Data, seed, how many images per split, and the share to hold out where there is no validation split.
        dataset: The data, if already read; None reads ``config.data``.

    Raises:
        ValueError: If the data cannot be read, ask questions, have one class only, or no train split, or if marks were
            made on none of their training samples, or would have no effect.

    Example:
        >>> data = training_data(TrainConfig(data="decoy", images_per_split=50))
        >>> len(data.split("train")), len(data.split("validation"))
        (50, 50)
    """
    dataset = load_dataset(config.data, seed=config.seed) if dataset is None else dataset
    if any(isinstance(sample, ImageTextSample) for sample in dataset.samples):
        raise DataError(f"training_data: {config.data} asks questions; a classifier would learn to answer unasked.")
    if len(dataset.classes) < 2:
        raise DataError(
            f"training_data: {config.data} has one class, {' '.join(dataset.classes)!r}; there is nothing to tell."
        )
    if "train" not in dataset.splits:
        raise DataError(f"training_data: {config.data} has no train split, only {', '.join(dataset.splits)}.")
    if config.feedback is not None:
        dataset = _with_marks(config, config.feedback, dataset)
    if config.images_per_split is not None:
        dataset = limit(dataset, config.images_per_split, config.seed)
    return hold_out(dataset, config.holdout_frac, config.seed)


def _with_marks(config: TrainConfig, path: str, dataset: Dataset) -> Dataset:
    """The data with what a person marked."""
    if config.method.name == "finetune":
        raise ValueError(f"training_data: {path}: finetune uses no priors, nor marks; choose another method.name.")
    return with_train_feedback(dataset, path)


def method_options(name: MethodName) -> frozenset[str]:
    """The fields of `MethodConfig` that have an effect on a method.

    Example:
        >>> sorted(method_options("rrr"))
        ['interval', 'weight']
    """
    if name == "finetune":
        return frozenset()
    known = {option.name for option in fields(_unconfigured(name))}
    if name in PRESETS:
        known.add("weight")
    return frozenset(option.name for option in fields(MethodConfig) if option.name != "name") & known


def method_weight(config: MethodConfig) -> float | None:
    """The weight of a method's loss, its own where the configuration leaves it out; None for a method without a loss.

    Example:
        >>> method_weight(MethodConfig(name="paper")), method_weight(MethodConfig(name="rrr", weight=3.0))
        (0.5, 3.0)
    """
    if "weight" not in method_options(config.name) or config.weight is not None:
        return config.weight
    method = _unconfigured(config.name)
    return float(method.deviation_weight if config.name in PRESETS else method.weight)


def build_method(config: MethodConfig, normalization: Normalization, seed: int) -> Method | None:
    """The method that a configuration names; None for plain fine-tuning.

    Args:
        config: Name and options; an option that is None keeps the method's default.
        normalization: How the model's input is made from pixels.
        seed: For methods that draw at random.

    Raises:
        ValueError: If an option has no effect on that method: it would be believed to have one.

    Example:
        >>> build_method(MethodConfig(name="rrr", weight=0.1), Normalization(), seed=0).weight
        0.1
    """
    options: dict[str, Any] = {
        option.name: getattr(config, option.name)
        for option in fields(config)
        if option.name != "name" and getattr(config, option.name) is not None
    }
    if config.name == "finetune":
        _refuse(options, config.name)
        return None
    if config.name in PRESETS and "weight" in options:
        weight = options.pop("weight")
        options = {"deviation_weight": weight, "redundancy_weight": weight, **options}
    method = _unconfigured(config.name)
    known = {option.name for option in fields(method)}
    _refuse({name: value for name, value in options.items() if name not in known}, config.name)
    if "partition" in options:
        options["partition"] = parse_partition(options["partition"])
    if "search" in options:
        options["search"] = parse_search(options["search"])
    own = {"normalization": normalization, "seed": seed}
    return replace(method, **options, **{name: value for name, value in own.items() if name in known})


def _unconfigured(name: MethodName) -> Any:
    """The method with its own defaults."""
    return {
        **PRESETS,
        "rrr": RRR(),
        "xil": XIL(),
        "megl": MEGL(),
        "model_guidance": ModelGuidance(),
        "random_regions": RandomRegions(),
        "counterfactual": Counterfactual(),
        "background_swap": BackgroundSwap(),
        "box_guided": BoxGuided(),
        "wherenot": Recomposition(),
    }[name]


def _refuse(options: dict[str, Any], name: str) -> None:
    if options:
        raise ValueError(
            f"build_method: method {name!r} has no option {', '.join(sorted(options))}; "
            "remove it, or choose another method."
        )
