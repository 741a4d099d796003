"""From the name of an agent's method and its options to the method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

from wherenot.data import GuiSample
from wherenot.gui.clicks import Click, prepare_click
from wherenot.gui.controls import RandomRegions, Swap
from wherenot.gui.moving import point_step
from wherenot.gui.penalties import AgentMethod, EvidencePenalty, Necessity, Paste, Penalty
from wherenot.gui.rearranging import Augmentation, Rearrange, movable_frac
from wherenot.masking import FillName
from wherenot.models.answers import Asked
from wherenot.models.vlm import Encoding, VisionLanguageModel
from wherenot.regions import Grid, parse_partition
from wherenot.run import RunWarning
from wherenot.search import parse_search
from wherenot.train.agents.collating import Task
from wherenot.train.agents.config import AgentMethodConfig, AgentMethodName
from wherenot.types import Partition

_METHODS: dict[AgentMethodName, Any] = {
    "paper": EvidencePenalty(),
    "necessity": Necessity(),
    "paste": Paste(),
    "rearrange": Rearrange(),
    "random_regions": RandomRegions(),
    "swap": Swap(),
}
_FORMS = {"paper": ("utility", "insertion", "deviation_redundancy", "constant"), "": ("probability", "log")}
_MOVABLE_FRAC = 0.5
_ELSEWHERE = "slico:50"  # how screenshots without elements are cut


def check_movable(config: AgentMethodConfig, samples: Sequence[GuiSample]) -> list[RunWarning]:
    """Say if the method cannot do on these tasks what it is chosen for.

    Args:
        config: The method.
        samples: Tasks to train on.

    Raises:
        ValueError: If it could do nothing at all: it would be believed to help.
    """
    if config.name != "rearrange":
        return []
    frac = movable_frac(samples)
    if frac == 0:
        raise ValueError(
            "train: method rearrange has nothing to move: no training screen that was looked at has two elements alike "
            "in size, a target and a place to click. Choose another method, say --set.method.name sft, or tell the "
            "elements of the screens (docs/data.md)."
        )
    if frac >= _MOVABLE_FRAC:
        return []
    return [
        RunWarning(
            kind="little_rearranged",
            seen=f"Only {frac:.0%} of the training screens have elements that can change places.",
            advice="Tell the elements of more screens, or compare with method swap or necessity.",
        )
    ]


def agent_method_options(name: AgentMethodName) -> frozenset[str]:
    """The fields of `AgentMethodConfig` that have an effect on a method.

    Example:
        >>> sorted(agent_method_options("necessity"))
        ['fill', 'form', 'interval', 'max_tasks', 'right_above', 'tokens', 'weight']
        >>> sorted(agent_method_options("sft"))
        []
    """
    if name == "sft":
        return frozenset()
    if name == "grpo":
        return frozenset({"weight", "tokens", "evidence", "generations", "temperature", "kl"})
    method = _METHODS[name]
    known = {option.name for option in fields(method)}
    if isinstance(method, Penalty):
        known |= {"fill", "partition"} if "test" in known else {"fill"}
    return frozenset(known & {option.name for option in fields(AgentMethodConfig)})


def build_agent_method(config: AgentMethodConfig, seed: int, samples: Sequence[GuiSample] = ()) -> AgentMethod | None:
    """The method that a configuration names; None for training that no method adds to: sft, and grpo.

    Args:
        config: Name and options; an option that is None keeps the method's default.
        seed: For methods that draw at random.
        samples: The tasks, whose answers a method that changes them keeps to (`gui.moving.point_step`).

    Raises:
        ValueError: If an option has no effect on that method: it would be believed to have one.

    Example:
        >>> build_agent_method(AgentMethodConfig(name="necessity", weight=1.0), seed=0).weight
        1.0
        >>> build_agent_method(AgentMethodConfig(name="sft", weight=1.0), seed=0)
        Traceback (most recent call last):
        ...
        ValueError: build_agent_method: method 'sft' has no option weight; remove it, or choose another method.
    """
    given = {
        option.name: getattr(config, option.name)
        for option in fields(config)
        if option.name != "name" and getattr(config, option.name) is not None
    }
    without = sorted(set(given) - agent_method_options(config.name))
    if without:
        raise ValueError(
            f"build_agent_method: method {config.name!r} has no option {', '.join(without)}; "
            "remove it, or choose another method."
        )
    if config.name in ("sft", "grpo"):
        return None
    forms = _FORMS.get(config.name, _FORMS[""])
    if config.form is not None and config.form not in forms:
        raise ValueError(f"build_agent_method: method {config.name!r} has no form {config.form!r}; it has {forms}.")
    if "search" in given:
        given["search"] = parse_search(given["search"])
    method = _METHODS[config.name]
    own = {name: value for name, value in given.items() if name not in ("partition", "fill")}
    if any(option.name == "seed" for option in fields(method)):
        own["seed"] = seed
    if isinstance(method, Augmentation) and samples:
        own["step"] = point_step(samples)
    return replace(method, **own)


def click_preparer(config: AgentMethodConfig, vlm: VisionLanguageModel) -> Callable[[Task], Click | None]:
    """What prepares tasks for a method: regions only where it has a use for them.

    Args:
        config: Says how screenshots are cut, and what hidden pixels show.
        vlm: Who will be asked.

    Raises:
        ValueError: If the partition is not known, or the fill cannot hide pixels.
    """
    fill: FillName = config.fill or "black"
    if fill == "drop":
        raise ValueError("train: a vision-language model cannot drop patches; use fill black, mean or blur.")
    named = config.partition
    uses_regions = "partition" in agent_method_options(config.name)
    cut = None if named in (None, "elements") else parse_partition(named)
    elsewhere = None if named == "elements" else parse_partition(_ELSEWHERE)
    return partial(_prepared, vlm, fill, Grid(1, 1) if not uses_regions else cut, elsewhere)


def _prepared(
    vlm: VisionLanguageModel, fill: FillName, cut: Partition | None, elsewhere: Partition | None, task: Task
) -> Click | None:
    if task.sample.read_prior() is None:
        return None  # a task without a target, such as going back
    if cut is None and elsewhere is not None and not any(each.visible for each in task.sample.elements()):
        cut = elsewhere
    return prepare_click(vlm, task.sample, partition=cut, fill=fill, asked=_at(vlm, task.asked))


def _at(vlm: VisionLanguageModel, asked: Asked) -> Asked:
    """The question, its inputs where the model is."""
    encoding = asked.encoding
    inputs = {name: value.to(vlm.device) for name, value in encoding.inputs.items()}
    return replace(asked, encoding=Encoding(encoding.prompt, inputs, encoding.system))
