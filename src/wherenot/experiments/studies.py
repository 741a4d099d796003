"""The paper's tables and figures as data: which trials each one is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import yaml

from wherenot.audit import AuditConfig
from wherenot.experiments.agents import AGENT_METHODS, AgentStudy, agent_audit, agent_config
from wherenot.experiments.settings import Preset, audit_partition, audit_splits, ours, train_config
from wherenot.experiments.trials import AgentTrial, AnyTrial, Trial
from wherenot.train.agents.config import AgentMethodName, AgentTrainConfig, parse_agent_config
from wherenot.train.agents.recipe import agent_method_options
from wherenot.train.config import MethodName, TrainConfig, config_dict, parse_config
from wherenot.train.recipe import method_options

StudyName = Literal["table1", "table2", "table3", "table4", "fig2", "fig3", "fig4", "fig5", "fig6"]
BASELINES: tuple[MethodName, ...] = ("finetune", "rrr", "xil", "megl")
SWEEPS: dict[str, tuple[Any, ...]] = {
    "interval": (1, 2, 5, 10, 20, 50),
    "weight": (0.05, 0.1, 0.5, 1.0, 2.0, 5.0),
    "tau": (0.05, 0.15, 0.3, 0.5),
    "max_regions": (1, 2, 5, 10, 15),
    "partition": ("slico:25", "slico:50", "slico:100"),
}


_Config = TypeVar("_Config", bound=TrainConfig | AgentTrainConfig)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table or one point of a curve: the same trial over several seeds.

    Attributes:
        data: Where it is trained and audited.
        model: What is trained.
        label: What sets it apart from the others on the same data and model; the first of these is the reference.
        trials: One per seed.
        swept: In a sweep, the option and its value.
    """

    data: str
    model: str
    label: str
    trials: tuple[AnyTrial, ...]
    swept: tuple[str, Any] | None = None

    @property
    def block(self) -> tuple[str, str]:
        """Rows are compared within the same data and model."""
        return self.data, self.model


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What a study is made on, and how small."""

    data: tuple[str, ...] = ("decoy",)
    models: tuple[str, ...] = ("small-cnn",)
    methods: tuple[MethodName | AgentMethodName, ...] = ()
    preset: Preset = "paper"
    seeds: tuple[int, ...] = (0, 1, 2)
    changes: tuple[str, ...] = ()
    sweeps: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    partition: str | None = None
    max_images: int | None = None
    images_per_split: int | None = None
    noise: tuple[float, ...] = (0.05, 0.1, 0.2)
    corruptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("data", "models", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"reproduce: --{name} {' '.join(map(str, values))}: name at least one, each once.")


def study_rows(study: StudyName, options: StudyOptions, weights: dict[tuple[str, str, str], float]) -> list[Row]:
    """The rows of a table or figure.

    Args:
        study: Which.
        options: On what.
        weights: Chosen weights by data, model and method; a method without one keeps its own.

    Returns:
        Rows by data, then model; the first of each block is the reference.

    Raises:
        ValueError: If an option cannot be used.
    """
    if study in ("table4", "fig4", "fig5", "fig6"):
        rows = _agent_rows(study, options)
    else:
        rows = _classifier_rows(study, options, weights)
    used = {key for row in rows for key in change(row.trials[0].train, options.changes)[1]}
    unused = sorted({key.partition("=")[0] for key in options.changes} - used)
    if unused:
        raise ValueError(f"reproduce: --set {', '.join(unused)}: no method of {study} has that option.")
    return rows


def _classifier_rows(study: StudyName, options: StudyOptions, weights: dict[tuple[str, str, str], float]) -> list[Row]:
    build = {"table1": _methods, "table2": _components, "table3": _methods, "fig2": _methods, "fig3": _sweep}[study]
    seeds = options.seeds[:1] if study == "fig2" else options.seeds
    rows = []
    for data in options.data:
        for model in options.models:
            audit = _audit(study, data, options)
            for label, config, swept in build(study, data, model, options, weights):
                trials = tuple(
                    Trial(train=dataclasses.replace(config, seed=seed, name=None), audit=audit) for seed in seeds
                )
                rows.append(Row(data=data, model=model, label=label, trials=trials, swept=swept))
    return rows


def _agent_rows(study: AgentStudy, options: StudyOptions) -> list[Row]:
    """Table 4, figures 4 to 6: methods side by side, on the same agent and tasks."""
    methods: tuple[AgentMethodName, ...] = _named(study, options, get_args(AgentMethodName)) or AGENT_METHODS
    if options.data == StudyOptions().data or options.models == StudyOptions().models:
        raise ValueError(
            f"reproduce: {study} is about agents: name tasks on screenshots and a vision-language model, such as "
            "--data gui:runs/screens --models Qwen/Qwen3-VL-4B-Instruct."
        )
    if options.preset != "paper":
        raise ValueError(f"reproduce: --preset {options.preset}: {study} has the preset paper only; leave it out.")
    audit = agent_audit(study, options.partition, splits=options.splits, max_images=options.max_images)
    rows = []
    for data in options.data:
        for model in options.models:
            for method in methods:
                config = agent_config(data, model, method, options.partition, options.images_per_split)
                config, _ = change(config, options.changes)
                own = dataclasses.replace(audit, max_tokens=config.max_tokens)
                trials = tuple(
                    AgentTrial(train=dataclasses.replace(config, seed=seed, name=None), audit=own)
                    for seed in (options.seeds if study == "table4" else options.seeds[:1])
                )
                rows.append(Row(data=data, model=model, label=method, trials=trials))
    return rows


def _named(study: StudyName, options: StudyOptions, known: tuple[Any, ...]) -> tuple[Any, ...]:
    """The methods that were named, all of them known to the study; of the type of these."""
    strange = [method for method in options.methods if method not in known]
    if strange:
        raise ValueError(
            f"reproduce: --methods {' '.join(strange)}: {study} has no such method; it has {', '.join(known)}."
        )
    return options.methods


def change(config: _Config, changes: Sequence[str]) -> tuple[_Config, set[str]]:
    """Change values of a configuration, written as ``optimization.epochs=1``.

    A change of ``method.OPTION`` is passed over for methods that do not have the option.

    Args:
        config: What is changed.
        changes: Keys and values.

    Returns:
        The changed configuration, and the keys that were used.

    Raises:
        ValueError: If a change cannot be read, names an unknown key or holds a wrong value.

    Example:
        >>> changed, used = change(TrainConfig(), ["optimization.epochs=1", "method.interval=5"])
        >>> changed.optimization.epochs, used
        (1, {'optimization.epochs'})
    """
    parse: Callable[..., Any]
    if isinstance(config, AgentTrainConfig):
        options, parse = agent_method_options(config.method.name), parse_agent_config
    else:
        options, parse = method_options(config.method.name), parse_config
    content: dict[str, Any] = config_dict(config)
    used = set()
    for text in changes:
        key, sign, value = text.partition("=")
        path = key.split(".")
        if not sign or path[0] in ("data", "model", "name", "seed", "task") or key == "method.name":
            raise ValueError(f"reproduce: --set {text}: write KEY=VALUE, such as optimization.epochs=1; data, models, "
                             "methods and seeds have flags of their own.")  # fmt: skip
        if path[0] == "method" and path[-1] not in options:
            if path[-1] not in content["method"]:
                raise ValueError(f"reproduce: --set {text}: method has no key {path[-1]}.")
            continue
        place = content
        for part in path[:-1]:
            place = place.get(part)
            if not isinstance(place, dict):
                raise ValueError(f"reproduce: --set {text}: no such key.")
        place[path[-1]] = yaml.safe_load(value)
        used.add(key)
    return parse(content, source="--set"), used


def parse_sweep(text: str) -> tuple[str, tuple[Any, ...]]:
    """A swept option and its values, written as ``interval=1,5,10`` or, for the usual values, ``interval``.

    Raises:
        ValueError: If the option is unknown or has no values.

    Example:
        >>> parse_sweep("interval=1,5")
        ('interval', (1, 5))
        >>> parse_sweep("partition")
        ('partition', ('slico:25', 'slico:50', 'slico:100'))
    """
    name, sign, values = text.partition("=")
    if name not in SWEEPS or (sign and not values):
        raise ValueError(f"reproduce: --sweep {text}; write OPTION=VALUE,VALUE; options are {', '.join(SWEEPS)}.")
    if not sign:
        return name, SWEEPS[name]
    # A grid such as 2x2 is no number, and 1e-3 is one: YAML 1.1 reads the latter as text.
    kind = {"interval": int, "max_regions": int, "partition": str}.get(name, float)
    try:
        return name, tuple(kind(value) for value in values.split(","))
    except ValueError as error:
        raise ValueError(f"reproduce: --sweep {text}: {error}.") from error


def _audit(study: StudyName, data: str, options: StudyOptions) -> AuditConfig:
    shared: dict[str, Any] = {
        "splits": options.splits or audit_splits(data),
        "partition": options.partition or audit_partition(data),
    }
    if study == "table3":
        return AuditConfig(**shared, max_images=0, noise=options.noise, corruptions=options.corruptions)
    return AuditConfig(**shared, max_images=options.max_images, noise=())


def _configured(
    method: MethodName, data: str, model: str, options: StudyOptions, weights: dict[tuple[str, str, str], float]
) -> TrainConfig:
    """What a study starts from; what it varies is set afterwards, so that no change undoes it."""
    config, _ = change(train_config(data, model, method, options.preset), options.changes)
    own = config.method
    if (data, model, method) in weights:
        own = dataclasses.replace(own, weight=weights[data, model, method])
    if options.partition is not None and "partition" in method_options(method):
        own = dataclasses.replace(own, partition=options.partition)
    return dataclasses.replace(config, method=own, images_per_split=options.images_per_split)


_Built = list[tuple[str, TrainConfig, tuple[str, Any] | None]]


def _methods(
    study: StudyName, data: str, model: str, options: StudyOptions, weights: dict[tuple[str, str, str], float]
) -> _Built:
    """Tables 1 and 3, figure 2: methods side by side."""
    usual = ("finetune", ours(options.preset)) if study == "table3" else (*BASELINES, ours(options.preset))
    chosen: tuple[MethodName, ...] = _named(study, options, get_args(MethodName)) or usual
    return [(method, _configured(method, data, model, options, weights), None) for method in chosen]


def _components(
    _: StudyName, data: str, model: str, options: StudyOptions, weights: dict[tuple[str, str, str], float]
) -> _Built:
    """Table 2: neither loss, the deviation loss alone, both."""
    whole = _configured(_aligned(options, "table2"), data, model, options, weights)
    alone = dataclasses.replace(whole, method=dataclasses.replace(whole.method, redundancy_weight=0.0))
    plain = _configured("finetune", data, model, options, weights)
    return [("neither", plain, None), ("deviation", alone, None), ("deviation + redundancy", whole, None)]


def _sweep(
    _: StudyName, data: str, model: str, options: StudyOptions, weights: dict[tuple[str, str, str], float]
) -> _Built:
    """Figure 3: one option at a time, the others as they are; ``weight`` moves the deviation loss alone."""
    base = _configured(_aligned(options, "fig3"), data, model, options, weights)
    built: _Built = [("finetune", _configured("finetune", data, model, options, weights), None)]
    for text in options.sweeps or ("interval", "weight"):
        name, values = parse_sweep(text)
        for value in values:
            changed: dict[str, Any] = {name: value}
            if name == "weight" and base.method.redundancy_weight is None:
                changed["redundancy_weight"] = 0.5 if base.method.weight is None else base.method.weight
            method = dataclasses.replace(base.method, **changed)
            shown = f"{value:g}" if isinstance(value, float) else value
            built.append((f"{name}={shown}", dataclasses.replace(base, method=method), (name, value)))
    return built


def _aligned(options: StudyOptions, study: StudyName) -> MethodName:
    """The one method whose parts a study takes apart."""
    chosen: tuple[MethodName, ...] = _named(study, options, get_args(MethodName)) or (ours(options.preset),)
    if len(chosen) != 1 or not {"weight", "redundancy_weight", "interval"} <= method_options(chosen[0]):
        able = [name for name in get_args(MethodName) if "redundancy_weight" in method_options(name)]
        raise ValueError(
            f"reproduce: {study} takes one alignment method apart; pass one of {', '.join(able)} with --methods."
        )
    return chosen[0]
