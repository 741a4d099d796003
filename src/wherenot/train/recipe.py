"""From the name of a method and its options to the method."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from wherenot.masking import Normalization
from wherenot.methods import PRESETS, BackgroundSwap, BoxGuided, Counterfactual, Method, RandomRegions, Recomposition
from wherenot.methods.megl import MEGL
from wherenot.methods.model_guidance import ModelGuidance
from wherenot.methods.rrr import RRR
from wherenot.methods.xil import XIL
from wherenot.regions import parse_partition
from wherenot.search import parse_search
from wherenot.train.config import MethodConfig


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
    method = {
        **PRESETS,
        "wherenot": Recomposition(),
        "rrr": RRR(),
        "xil": XIL(),
        "megl": MEGL(),
        "model_guidance": ModelGuidance(),
        "random_regions": RandomRegions(),
        "counterfactual": Counterfactual(),
        "background_swap": BackgroundSwap(),
        "box_guided": BoxGuided(),
    }[config.name]
    known = {option.name for option in fields(method)}
    _refuse({name: value for name, value in options.items() if name not in known}, config.name)
    if "partition" in options:
        options["partition"] = parse_partition(options["partition"])
    if "search" in options:
        options["search"] = parse_search(options["search"])
    own = {"normalization": normalization, "seed": seed}
    return replace(method, **options, **{name: value for name, value in own.items() if name in known})


def _refuse(options: dict[str, Any], name: str) -> None:
    if options:
        raise ValueError(
            f"build_method: method {name!r} has no option {', '.join(sorted(options))}; "
            "remove it, or choose another method."
        )
