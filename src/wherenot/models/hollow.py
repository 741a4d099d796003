"""Models with shapes and no numbers: what a step takes, without weights, without a GPU, and in seconds."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from wherenot.models.images_only import images_only
from wherenot.models.vlm import VisionLanguageModel

_aten: Any = torch.ops.aten
_MASKED = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default)
_FLASH = 1  # of torch's kinds of attention, the one that keeps no scores


class _HollowTensor(Tensor):
    """Seems to be on the CPU; what it stands for is on the meta device, where views share storage as they do here."""

    meta: Tensor

    @staticmethod
    def __new__(cls, meta: Tensor, requires_grad: bool = False) -> _HollowTensor:
        made: Any = Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls, meta.shape, meta.stride(), meta.storage_offset(), dtype=meta.dtype, requires_grad=requires_grad
        )
        made.meta = meta
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore[reportAssignmentType]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: a hollow tensor outlived its Hollow.")


class Hollow(TorchDispatchMode):
    """Within it models that it took (`take`) run their own code on tensors that have a shape and no numbers.

    Inputs stay as they are: what is computed of them alone (positions, windows, masks) is computed, since shapes depend
    on it. What meets a hollow tensor becomes hollow, backward too. So the operations and the memory of a step can be
    counted for any model that the code runs for, however large. Attention is counted as kernels have it that keep no
    scores, and what it masks is counted, too.

    Attributes:
        flops: Operations so far of products of matrices, convolutions and attention, multiply-adds counted as two.
        live: Bytes of hollow tensors that are alive.
        peak: The largest `live` so far.

    Example:
        >>> layer = nn.Linear(1000, 10, device="meta")
        >>> with Hollow() as hollow:
        ...     hollow.take(layer)
        ...     out = layer(torch.zeros(4, 1000))
        >>> hollow.flops, hollow.live, tuple(out.shape)
        (80000, 40200, (4, 10))
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.live = self.peak = 0
        self._known: dict[int, Any] = {}

    def take(self, model: nn.Module) -> None:
        """Replace the weights of a model on the meta device by hollow ones, as if they were in memory."""
        taken: dict[int, Tensor] = {}
        for module in model.modules():
            for values in (module._parameters, module._buffers):
                for name, value in values.items():
                    if value is not None and value.is_meta:
                        if id(value) not in taken:  # weights that are tied stay so
                            taken[id(value)] = self._hollow(value)
                        values[name] = taken[id(value)]  # pyright: ignore[reportArgumentType]

    def restart(self) -> None:
        """Count operations from here on, and look for the peak in what comes."""
        self.flops, self.peak = 0, self.live

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation: with numbers if all its tensors have some."""
        given = dict(kwargs or {})
        if not any(isinstance(each, _HollowTensor) for each in (*_tensors(args), *_tensors(given.values()))):
            return func(*args, **given)
        if func is _aten._fused_sdp_choice.default:
            return _FLASH
        if func in _MASKED:  # how much a mask lets through is known while it has numbers
            args = (args[0], _places(args[1]), *args[2:])
        if given.get("device") is not None:
            given["device"] = torch.device("meta")
        own: dict[int, Tensor] = {}
        args = _mapped(args, _to_meta, own)
        given = {name: _mapped(value, _to_meta, own) for name, value in given.items()}
        out = func(*args, **given)
        self.flops += _operations(func, args, given, out)
        return _mapped(out, self._from_meta, own)

    def _from_meta(self, value: Any, own: Any) -> Any:
        # What was changed in place is still the same tensor.
        return own[id(value)] if id(value) in own else self._wrapped(value)

    def _hollow(self, value: Tensor) -> Tensor:
        made = self._wrapped(torch.empty(value.shape, dtype=value.dtype, device="meta"))
        return nn.Parameter(made, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else made

    def _wrapped(self, meta: Tensor) -> _HollowTensor:
        storage = meta.untyped_storage()
        key = id(storage)
        if key not in self._known:
            size = storage.nbytes()
            self._known[key] = weakref.ref(storage, lambda _: self._free(key, size))
            self.live += size
            self.peak = max(self.peak, self.live)
        return _HollowTensor(meta)

    def _free(self, key: int, size: int) -> None:
        self.live -= size
        del self._known[key]


def hollow_vlm(path: str | Path, precision: torch.dtype) -> VisionLanguageModel:
    """A vision-language model without weights, on the meta device, from its configuration and processor.

    Args:
        path: A transformers id or folder.
        precision: Of the weights.

    Raises:
        ValueError: If transformers is missing, or the model cannot be built or is of no known family.
    """
    try:
        from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, GenerationConfig
    except ImportError as error:
        raise ValueError("hollow_vlm: needs transformers; run: pip install 'wherenot[mllm]'") from error
    from wherenot.gui.agent.shipped import AGENTS

    found = str(AGENTS.get(str(path), path))
    try:
        config = AutoConfig.from_pretrained(found, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config, dtype=precision, trust_remote_code=False)
        with images_only():
            processor = AutoProcessor.from_pretrained(found, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"hollow_vlm: {path} cannot be built as a vision-language model ({error}).") from error
    with suppress(OSError):  # a model without settings of its own for generating
        model.generation_config = GenerationConfig.from_pretrained(found)
    return VisionLanguageModel(model.eval(), processor)


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _mapped(value: Any, change: Any, own: Any) -> Any:
    """Change tensors in nested lists and tuples."""
    if isinstance(value, Tensor):
        return change(value, own)
    return type(value)([_mapped(each, change, own) for each in value]) if type(value) in (list, tuple) else value


def _to_meta(value: Any, own: Any) -> Any:
    if isinstance(value, _HollowTensor):
        own[id(value.meta)] = value
        return value.meta
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def _places(indices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Indices with places instead of masks."""
    found: list[Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype == torch.bool and not isinstance(index, _HollowTensor):
            found += list(index.nonzero().unbind(1))
        else:
            found.append(index)
    return found


def _operations(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    packet = func._overloadpacket
    if packet is _aten._scaled_dot_product_flash_attention_for_cpu:
        return sdpa_flop_count(*(each.shape for each in args[:3]))
    if packet is _aten._scaled_dot_product_flash_attention_for_cpu_backward:
        return sdpa_backward_flop_count(*(each.shape for each in args[:4]))
    count = flop_registry.get(packet)
    return 0 if count is None else int(count(*args, **kwargs, out_val=out))
