"""What training must remember beside weights (optimizer, schedule, random numbers): safetensors and JSON, no pickle."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

_TENSOR = "tensor"  # {"tensor": name} stands for a tensor in the JSON file


def write_state(folder: Path, name: str, state: Any) -> None:
    """Write nested dictionaries, lists and tuples of tensors, numbers and strings as ``name.json``.

    Tensors go into ``name.safetensors`` beside it. Keys become strings and tuples lists, which is what `read_state`
    gives back.

    Args:
        folder: Where to.
        name: Of the files.
        state: What to write; tensors of any layout, whose values are kept.

    Raises:
        TypeError: For anything else in it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_state(Path(folder), "sums", {0: (1.5, torch.tensor([2, 3]))})
        ...     read_state(Path(folder), "sums")
        {'0': [1.5, tensor([2, 3])]}
    """
    tensors: dict[str, Tensor] = {}
    plain = _without_tensors(state, "", tensors)
    safetensors.torch.save_file(tensors, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(plain))


def read_state(folder: Path, name: str) -> Any:
    """Read what `write_state` wrote, tensors on the CPU and contiguous.

    Raises:
        OSError: If there is no such file.
    """
    tensors = safetensors.torch.load_file(folder / f"{name}.safetensors")
    return json.loads(
        (folder / f"{name}.json").read_text(),
        object_hook=lambda part: tensors[part[_TENSOR]] if part.keys() == {_TENSOR} else part,
    )


def _without_tensors(state: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(state, Tensor):
        # A copy: safetensors refuses tensors that share memory, and wants them contiguous.
        tensors[place] = state.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {_TENSOR: place}
    if isinstance(state, Mapping):
        return {str(key): _without_tensors(value, f"{place}/{key}", tensors) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [_without_tensors(value, f"{place}/{index}", tensors) for index, value in enumerate(state)]
    if state is None or isinstance(state, bool | int | float | str):
        return state
    raise TypeError(f"write_state: {place} is a {type(state).__name__}; only tensors and plain values can be written.")


def random_state() -> dict[str, Any]:
    """The state of the process's random number generators: Python's, NumPy's, torch's and the accelerator's."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global one, which others draw from
    state = {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
    }
    if torch.accelerator.is_available():
        state["accelerator"] = torch.get_device_module().get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put them back; without an accelerator its state is left out."""
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    name, words, *rest = state["numpy"]
    np.random.set_state((name, words.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if "accelerator" in state and torch.accelerator.is_available():
        torch.get_device_module().set_rng_state(state["accelerator"])


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Give an optimizer the state that `write_state` wrote of its ``state_dict()``.

    What belongs to a weight is laid out in memory as that weight is: arithmetic in another layout may round otherwise.

    Args:
        optimizer: Of the same weights in the same groups; changed in place.
        state: What `read_state` gave.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    groups = [
        {name: tuple(value) if isinstance(own.get(name), tuple) else value for name, value in group.items()}
        for own, group in zip(optimizer.param_groups, state["param_groups"], strict=True)
    ]
    of_weights = {
        int(place): {name: _laid_out_as(weights[int(place)], value) for name, value in kept.items()}
        for place, kept in state["state"].items()
    }
    optimizer.load_state_dict({"state": of_weights, "param_groups": groups})


def _laid_out_as(weight: Tensor, value: Any) -> Any:
    if not isinstance(value, Tensor) or value.shape != weight.shape:
        return value
    return torch.empty_like(weight, dtype=value.dtype, device=value.device).copy_(value)
