"""Models that FSDP2 shards over processes: how a method asks them on its own, and how their weights are read whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import DistributedType
from accelerate.utils import str_to_bool
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule

from wherenot.train.states import read_state, write_state

_WEIGHTS, _OPTIMIZER = "whole_weights", "whole_optimizer"


def check_sharding(accelerator: Any) -> None:
    """Refuse what shards a model in a way that a method cannot undo while it asks.

    Args:
        accelerator: Of the trainer.

    Raises:
        ValueError: Under DeepSpeed and the first version of FSDP.
    """
    kind = accelerator.distributed_type
    if kind == DistributedType.DEEPSPEED or (kind == DistributedType.FSDP and not accelerator.is_fsdp2):
        name = "DeepSpeed" if kind == DistributedType.DEEPSPEED else "FSDP version 1"
        raise ValueError(
            f"train: a method asks each process's own images in as many forwards as it needs, which {name} does not "
            "allow; use FSDP version 2 (fsdp_version: 2 in accelerate's configuration), plain data parallelism or one "
            "device, or train without a method."
        )


def check_whole(state: Any) -> None:
    """Refuse to ask a model before training that only the first process has loaded.

    Args:
        state: The processes, an `accelerate.PartialState`.

    Raises:
        ValueError: If FSDP is to hand out the first process's weights: until then the others have none.
    """
    handed_out = str_to_bool(os.environ.get("FSDP_CPU_RAM_EFFICIENT_LOADING", "false"))
    if state.distributed_type == DistributedType.FSDP and state.num_processes > 1 and handed_out:
        raise ValueError(
            "train: wherenot asks the model for priors before it trains, and only the first process has loaded it; set "
            "fsdp_cpu_ram_efficient_loading: false in accelerate's configuration."
        )


@contextmanager
def unsharded(model: nn.Module) -> Iterator[None]:
    """Every process holds all weights of a model that FSDP2 shards, and uses it without waiting for the others.

    Otherwise each forward and backward gathers and scatters, and processes would have to make as many of them: a
    search does not. Inside, weights are ordinary ones, parts of the model may be called past the whole, and gradients
    stay with the process; the next backward outside sums them up with its own. All processes must enter. A forward
    made inside must also have its backward there. Any other model is left alone.

    Args:
        model: The whole model, as it was sharded. What is sharded, and when, is as found afterwards; after an
            exception gradients that were not summed up yet are gone, as the step is.
    """
    if not isinstance(model, FSDPModule):
        yield
        return
    model._get_fsdp_state()._lazy_init()  # a part that is called first would take itself for the whole
    parts = _parts(model)
    gathered = [part for part in parts if not all(group.is_unsharded for group in _groups(part))]
    try:
        for part in gathered:
            part.unshard()
        with _without_hooks(parts):
            yield
    except BaseException:
        for part in parts:
            for group in _groups(part):
                for weight in group.fsdp_params:
                    weight.unsharded_accumulated_grad = None
                    if hasattr(weight, "_unsharded_param"):
                        weight._unsharded_param.grad = None
        raise
    finally:
        for part in gathered:
            part.reshard()


def whole_weights(model: nn.Module, *, trainable: bool = False) -> dict[str, Any]:
    """The weights and buffers of a model on the CPU, whole if FSDP2 shards them. All processes must ask.

    Args:
        model: The whole model.
        trainable: Leave frozen weights out.

    Returns:
        By name; empty on all processes of several but the first.

    Example:
        >>> {name: tuple(value.shape) for name, value in whole_weights(nn.Linear(2, 1)).items()}
        {'weight': (1, 2), 'bias': (1,)}
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=trainable)
    return get_model_state_dict(model, options=options)


def write_sharded(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write whole what trains of a sharded model, its buffers and its optimizer. All processes must call; one writes.

    Args:
        folder: Where to.
        model: The whole model. Of buffers, which are not sharded, those of the first process are written.
        optimizer: Of its weights.
    """
    weights = whole_weights(model, trainable=True)
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_optimizer_state_dict(model, optimizer, options=options)
    if weights:
        folder.mkdir(parents=True, exist_ok=True)
        write_state(folder, _WEIGHTS, weights)
        write_state(folder, _OPTIMIZER, state)


def load_sharded_weights(folder: Path, model: nn.Module) -> None:
    """Give a sharded model the weights and buffers that `write_sharded` wrote; what was frozen stays."""
    options = StateDictOptions(full_state_dict=True, strict=False)
    set_model_state_dict(model, read_state(folder, _WEIGHTS), options=options)


def load_sharded_optimizer(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give the optimizer of a sharded model the state that `write_sharded` wrote."""
    state = read_state(folder, _OPTIMIZER)
    set_optimizer_state_dict(model, optimizer, state, options=StateDictOptions(full_state_dict=True))


def _parts(model: nn.Module) -> list[FSDPModule]:
    """What is gathered together, one module each."""
    found = {id(part._get_fsdp_state()): part for part in model.modules() if isinstance(part, FSDPModule)}
    return list(found.values())


def _groups(part: FSDPModule) -> list[Any]:
    return part._get_fsdp_state()._fsdp_param_groups


@contextmanager
def _without_hooks(parts: list[FSDPModule]) -> Iterator[None]:
    """Let forwards neither gather nor prepare to scatter; numbers are cast as the policy of mixed precision says.

    Hooks are exchanged in their places, since their order matters.
    """
    exchanged = []
    for part in parts:
        state: Any = part._get_fsdp_state()
        handle = state._pre_forward_hook_handle
        several = getattr(handle, "handles", None)  # parts of several modules keep all their handles as one
        for each in several or (handle, state._post_forward_hook_handle):
            hooks = each.hooks_dict_ref()
            before = any(hooks is module._forward_pre_hooks for module in state._modules)
            exchanged.append((hooks, each.id, hooks[each.id], _casting(state) if before else _casting_back(state)))
    for hooks, key, _, other in exchanged:
        hooks[key] = other
    try:
        yield
    finally:
        for hooks, key, own, _ in exchanged:
            hooks[key] = own


def _casting(state: Any) -> Callable[..., Any]:
    def before(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:  # noqa: ARG001
        return state._cast_forward_inputs(inputs, options)

    return before


def _casting_back(state: Any) -> Callable[..., Any]:
    def after(module: nn.Module, inputs: Any, output: Any) -> Any:  # noqa: ARG001
        return state._cast_output_dtype(output)

    return after
