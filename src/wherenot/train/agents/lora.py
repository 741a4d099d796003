"""Low-rank adapters on chosen parts of a vision-language model."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import peft
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from wherenot.models.vlm import VisionLanguageModel
from wherenot.train.agents.config import LoraConfig

Part = Literal["language", "vision", "projector"]
PARTS: tuple[Part, ...] = ("language", "vision", "projector")


def linear_parts(model: Any) -> dict[Part, list[str]]:
    """Which linear layers belong to which part of a vision-language model, by its structure.

    Language: what lies in the decoder. Vision: the blocks of the image encoder, and what in it stays at its own width.
    Projector: what lies outside of both, and what the encoder has outside of its blocks to widen its features to the
    decoder's (Qwen's mergers). The output layer belongs to none.

    Args:
        model: A transformers model, not wrapped.

    Returns:
        Names of layers, in their order.

    Example:
        >>> from wherenot.models.tiny_vlms import tiny_vlm
        >>> {part: len(names) for part, names in linear_parts(tiny_vlm("qwen2_5_vl")[0]).items()}
        {'language': 14, 'vision': 10, 'projector': 2}
    """
    part_of, head = _parts(model), model.get_output_embeddings()
    found: dict[Part, list[str]] = {part: [] for part in PARTS}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module is not head:
            found[part_of(module)].append(name)
    return found


def count_weights(model: Any) -> dict[Part, int]:
    """How many weights each part of a model has; its output layer and its words count as language.

    Args:
        model: As for `linear_parts`.

    Example:
        >>> from wherenot.models.tiny_vlms import tiny_vlm
        >>> model = tiny_vlm("qwen2_5_vl")[0]
        >>> sum(count_weights(model).values()) == model.num_parameters()
        True
    """
    part_of, head = _parts(model), model.get_output_embeddings()
    counts: dict[Part, int] = dict.fromkeys(PARTS, 0)
    counted: set[int] = set()
    for module in model.modules():
        part: Part = "language" if module is head else part_of(module)
        for weight in module.parameters(recurse=False):
            if id(weight) not in counted:
                counted.add(id(weight))
                counts[part] += weight.numel()
    return counts


def _parts(model: Any) -> Callable[[nn.Module], Part]:
    """Which part a module belongs to."""
    decoder, encoder = model.get_decoder(), model.get_encoder(modality="image")
    width = model.config.get_text_config().hidden_size
    in_decoder = {id(module) for module in decoder.modules()}
    in_encoder = set() if encoder is model or encoder is decoder else {id(module) for module in encoder.modules()}
    widening = {id(part) for child in encoder.children() for part in _widening(child, width)} if in_encoder else set()

    def part_of(module: nn.Module) -> Part:
        if id(module) in in_decoder:
            return "language"
        return "vision" if id(module) in in_encoder and id(module) not in widening else "projector"

    return part_of


def _widening(child: nn.Module, width: int) -> Iterator[nn.Module]:
    """A part of the encoder that has no blocks and ends at the decoder's width, with what is in it."""
    if any(isinstance(module, GradientCheckpointingLayer) for module in child.modules()):
        return
    layers = [module for module in child.modules() if isinstance(module, nn.Linear)]
    if layers and layers[-1].out_features == width:
        yield from child.modules()


def attach(vlm: VisionLanguageModel, config: LoraConfig) -> tuple[VisionLanguageModel, list[str]]:
    """Make the weights of a scope trainable, and no others.

    Args:
        vlm: Its model is changed in place.
        config: Scope, and the adapters' size.

    Returns:
        The model with its adapters, and the names of the layers that have one; none for the scope ``full``.

    Raises:
        ValueError: If the model has no linear layer in the scope, as Gemma 3 has none in its projector.
    """
    if config.scope == "full":
        vlm.model.requires_grad_(requires_grad=True)
        return vlm, []
    parts = linear_parts(vlm.model)
    names = [name for part in PARTS if config.scope in (part, "all") for name in parts[part]]
    if not names:
        found = ", ".join(f"{part} {len(layers)}" for part, layers in parts.items())
        raise ValueError(
            f"attach: {vlm.name} has no linear layer in the scope {config.scope!r} (it has: {found}); choose another."
        )
    adapters = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # pyright: ignore[reportArgumentType]
        lora_dropout=config.dropout,
        target_modules=f"({'|'.join(map(re.escape, names))})",  # the whole name must match
    )
    with warnings.catch_warnings():
        # peft asks for it by the name that transformers used before.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        wrapped: Any = peft.get_peft_model(vlm.model, adapters)
    assert sorted(wrapped.targeted_module_names) == sorted(names)
    return VisionLanguageModel(wrapped, vlm.processor, family=vlm.family), names


def summary(names: list[str]) -> str:
    """Names of layers, those that differ in a number told together.

    Example:
        >>> summary(["layers.0.q", "layers.1.q", "head"])
        'layers.*.q (2), head'
    """
    counts: dict[str, int] = {}
    for name in names:
        kind = re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name)
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{kind} ({count})" if count > 1 else kind for kind, count in counts.items())
