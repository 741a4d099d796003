"""What `wherenot train` is told: dataclasses whose field comments are the help text, read from YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from wherenot.masking import FillName
from wherenot.methods.model_guidance import Localization
from wherenot.models.clip import TEMPLATES
from wherenot.models.scope import Scope
from wherenot.search import SearchName

MethodName = Literal[
    "finetune",
    "wherenot",
    "paper",
    "log",
    "adaptive-log",
    "paper-tables",
    "rrr",
    "xil",
    "megl",
    "model_guidance",
    "random_regions",
    "counterfactual",
    "background_swap",
    "box_guided",
]


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """What is added to the task loss. An option left out keeps the method's own default."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=False)

    name: MethodName = "wherenot"
    """The method; wherenot is ours (docs/method.md), finetune adds nothing."""
    weight: float | None = None
    """Weight of its loss (lambda); for alignment of both losses."""
    redundancy_weight: float | None = None
    """Alignment: weight of the redundancy loss alone."""
    interval: int | None = None
    """Act every so many optimizer steps."""
    confidence_above: float | None = None
    """Only images whose label has more than this probability."""
    max_images: int | None = None
    """At most so many images per acting step."""
    max_regions: int | None = None
    """Alignment: regions searched per image (k)."""
    stop_above: float | None = None
    """Alignment: stop searching once the chosen regions alone give the label more than this."""
    search: SearchName | None = None
    """Alignment: how evidence is searched."""
    tau: float | None = None
    """A region is on-prior from this overlap on."""
    phi: Literal["coverage", "iou", "prior_fraction", "min"] | None = None
    """How overlap is measured."""
    partition: str | None = None
    """How images are cut: slico:50, grid:7x7, opencv-slico:50 or seeds:50."""
    fill: FillName | None = None
    """What hidden pixels show."""
    layer: str | None = None
    """XIL, MEGL and Model Guidance: the layer of the Grad-CAM; left out, the end of the last block of a CNN, or
    Grad-ECLIP for a vision transformer."""
    share: float | None = None
    """wherenot: share of the images of a batch that are shown recomposed."""
    trusted: float | None = None
    """wherenot: a prior that agrees less than this with what the others have in common is drawn anew; 0 keeps all."""
    localization: Localization | None = None
    """Model Guidance: which loss; each has its own scale, and so its own weight."""


@dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
    """How the weights are trained."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=False)

    epochs: int = 6
    """Passes over the training split."""
    batch_size: int = 64
    """Images per optimizer step, on each device."""
    learning_rate: float = 2e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.01
    """Weight decay of AdamW."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup_frac: float = 0.1
    """Share of the steps over which the learning rate rises."""
    patience: int = 0
    """Stop after so many epochs without a better validation accuracy; 0 never stops."""
    max_drop: float | None = None
    """Stop once the validation accuracy is more than this below the best, in [0, 1]; left out, never stops."""
    keep: Literal["best", "last"] = "last"
    """Which epoch's weights the run keeps: the best on validation, or the last; with patience or max_drop always the
    best. Both are reported."""
    scope: Scope | None = None
    """Which weights train: full; head for networks with a classification head; vision (the vision tower and its
    projection) or projection for CLIP. Left out, vision for CLIP and full for the rest."""
    batchnorm: Literal["train", "frozen"] = "train"
    """frozen: BatchNorm layers keep the statistics they came with; for few images or small batches, whose own are too
    noisy."""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Of the forwards, search included; weights, losses and the gradient maps of rrr, xil, megl and model_guidance stay
    in fp32. fp16 needs a GPU."""
    workers: int = 0
    """Processes that read images."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name, low in (("epochs", 1), ("batch_size", 1), ("patience", 0), ("workers", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be >= {low}, got {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be > 0, got {self.learning_rate}")
        if self.max_drop is not None and not 0 <= self.max_drop <= 1:
            raise ValueError(f"max_drop must lie in [0, 1], got {self.max_drop}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=False)

    data: str = "decoy"
    """A data folder, FORMAT:PATH, cutouts:SHORTCUT or decoy (docs/data.md)."""
    model: str = "small-cnn"
    """small-cnn, small-vit, efficientnet-lite0 (also with an input size: efficientnet-lite0@96), timm:NAME, or a
    transformers id or path; CLIP and SigLIP read the names of the classes."""
    templates: tuple[str, ...] = TEMPLATES
    """CLIP and SigLIP: the sentences into which they put the names."""
    resize: Literal["own", "whole"] = "own"
    """own: as the model was pretrained, often with a crop; whole: the whole image squeezed to the input size, bicubic,
    as in the paper."""
    name: str | None = None
    """What tables and reports call this run; left out, the method's name."""
    feedback: str | None = None
    """Marks made in a report (feedback.jsonl): what evidence must not lie on, and what it may; they are priors."""
    seed: int = 0
    """Of the weights, the order of images and whatever a method draws."""
    images_per_split: int | None = None
    """At most so many images of each split, drawn by the seed evenly over classes; left out, all."""
    holdout_frac: float = 0.1
    """Share of the training split held out for validation if the data has no validation split."""
    method: MethodConfig = field(default_factory=MethodConfig)
    """What is added to the task loss."""
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    """How the weights are trained."""

    @property
    def title(self) -> str:
        """The run's name."""
        return self.name or self.method.name


def read_config(path: Path, recipes: Mapping[str, TrainConfig] | None = None) -> TrainConfig:
    """Read a YAML file.

    Args:
        path: The file.
        recipes: Configurations by name; a file with ``recipe: NAME`` holds changes to one of them.

    Raises:
        ValueError: If the file is missing or no YAML, or holds an unknown key or a wrong value: each is named.
    """
    return config_from(read_yaml(path, recipes or {}), path, recipes)


def read_yaml(path: Path, recipes: Iterable[str] = ()) -> Any:
    """What a YAML file holds; an empty one holds no keys.

    Args:
        path: The file.
        recipes: What could have been meant instead, for the message.

    Raises:
        ValueError: If the file is missing or no YAML.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        known = ", ".join(recipes)
        known = f" Recipes: {known}." if known else ""
        raise ValueError(f"read_config: {path} cannot be read ({error.strerror}).{known}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"read_config: {path} is not YAML: {error}") from error
    return {} if content is None else content


def config_from(content: Any, path: Path, recipes: Mapping[str, TrainConfig] | None = None) -> TrainConfig:
    """The configuration of a classifier that a file holds; as `read_config` otherwise."""
    if recipes is not None and isinstance(content, dict) and "recipe" in content:
        content = dict(content)
        name = content.pop("recipe")
        if name not in recipes:
            raise ValueError(f"read_config: {path}: no recipe {name!r}; there are {', '.join(recipes)}.")
        content = _changed(config_dict(recipes[name]), content)
    return parse_config(content, source=str(path))


def _changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A nested dictionary with the values of another in it."""
    return base | {
        name: _changed(base[name], value) if isinstance(value, dict) and isinstance(base.get(name), dict) else value
        for name, value in changes.items()
    }


def parse_config(content: Any, *, source: str = "the configuration") -> TrainConfig:
    """Check a nested dictionary against `TrainConfig`.

    Raises:
        ValueError: Naming every unknown key and every wrong value.

    Example:
        >>> parse_config({"method": {"name": "log", "weight": 2}}).method.weight
        2.0
    """
    return checked(TrainConfig, content, source)


Config = TypeVar("Config")


def checked(kind: type[Config], content: Any, source: str) -> Config:
    """Check a nested dictionary against a dataclass.

    Args:
        kind: The dataclass.
        content: What a file holds.
        source: The file, for messages.

    Raises:
        ValueError: Naming every unknown key and every wrong value.
    """
    if not isinstance(content, dict):
        raise ValueError(f"read_config: {source} must hold keys and values, it holds a {type(content).__name__}.")
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {_say(e, kind)}" for e in error.errors())
        raise ValueError(f"read_config: {source}: {problems}") from error


def _say(error: Any, kind: Any) -> str:
    if error["type"] != "unexpected_keyword_argument":
        return f"{error['msg']}, got {error['input']!r}"
    *place, key = error["loc"]
    for name in place:
        kind = get_type_hints(kind).get(name)
    if not is_dataclass(kind):
        return "no such key"
    names = [each.name for each in fields(kind)]
    meant = get_close_matches(key, names, n=1)
    return f"no such key; did you mean {meant[0]}?" if meant else f"no such key; there are {', '.join(names)}"


def config_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain data, every default written out."""
    return asdict(config)
