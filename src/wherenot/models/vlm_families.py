"""What vision-language models of different families want to be asked like: one small class each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

Inputs = dict[str, Tensor]


class VlmFamily:
    """What most families have in common; a family overrides what it does otherwise.

    A model fits if its processor gives ``pixel_values`` and ``input_ids`` for an image and a text, its ``model``
    attribute turns them into hidden states, and its output embeddings turn these into logits.

    Attributes:
        model_types: ``config.model_type`` of its members.
        joins: Axis of ``pixel_values`` along which several images follow each other.
        looks_back: Whether no token sees a later one, so that what was computed up to some token serves whatever
            follows it.
        answer_type: Type of an answer's tokens, where the processor gives types.
        tiled: Whether ``pixel_values`` have an axis for the tiles of one image, filled up where others have more.
    """

    model_types: ClassVar[tuple[str, ...]] = ()
    joins: ClassVar[int] = 0
    looks_back: ClassVar[bool] = True
    answer_type: ClassVar[int] = 0
    tiled: ClassVar[bool] = False

    def several(self, inputs: Inputs, pixels: Float[Tensor, "N ..."]) -> Inputs:
        """The inputs of one image, for N masked copies of it.

        Args:
            inputs: Of one image; a batch of one.
            pixels: The copies' ``pixel_values``.
        """
        copies = len(pixels)
        repeated = {name: torch.cat([value] * copies) for name, value in inputs.items() if name != "pixel_values"}
        joined = torch.cat(list(pixels.to(inputs["pixel_values"].dtype)), dim=self.joins)
        return {**repeated, "pixel_values": joined}

    def longer(self, inputs: Inputs, answer: Int[Tensor, " T"]) -> Inputs:
        """The inputs of one image with an answer after the prompt."""
        length = inputs["input_ids"].shape[1]
        added = {"input_ids": answer, "attention_mask": torch.ones_like(answer)}
        types = torch.full_like(answer, self.answer_type)
        return {
            name: torch.cat([value, added.get(name, types)[None].to(value)], dim=1)
            if _per_token(value, length)
            else value
            for name, value in inputs.items()
        }

    def together(self, several: Sequence[Inputs]) -> Inputs:
        """The inputs of several different sequences, each a batch of one, as one batch.

        Shorter sequences are filled up at their end, and hidden there; images with fewer tiles too.
        """
        lengths = [inputs["input_ids"].shape[1] for inputs in several]
        whole = {}
        for name, value in several[0].items():
            values = [inputs[name] for inputs in several]
            if _per_token(value, lengths[0]) or (self.tiled and name in ("pixel_values", "pixel_attention_mask")):
                whole[name] = pad_sequence([each[0] for each in values], batch_first=True)
            else:
                whole[name] = torch.cat(values, dim=self.joins if name == "pixel_values" else 0)
        return whole

    def positions(self, model: nn.Module, inputs: Inputs) -> Int[Tensor, "*P S"]:  # noqa: ARG002
        """Position of each token of one sequence, as the language model counts them."""
        return torch.arange(inputs["input_ids"].shape[1], device=inputs["input_ids"].device)[None]

    def logits(self, model: Any, hidden: Float[Tensor, "... D"]) -> Float[Tensor, "... V"]:
        """Vocabulary logits of hidden states."""
        logits = model.get_output_embeddings()(hidden)
        cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def remembering_nothing(self, model: Any) -> AbstractContextManager[None]:  # noqa: ARG002
        """Leave nothing of a call behind in the model."""
        return nullcontext()

    def part(self, inputs: Inputs, start: int, stop: int) -> Inputs:
        """Tokens `start` to `stop` of the inputs; what belongs to the image stays with the part that has its tokens."""
        length = inputs["input_ids"].shape[1]
        kept = {}
        for name, value in inputs.items():
            if name == "attention_mask":
                kept[name] = value[:, :stop]
            elif _per_token(value, length):
                kept[name] = value[:, start:stop]
        return kept

    def of_image(self, inputs: Inputs) -> Inputs:
        """What belongs to the image and not to single tokens."""
        length = inputs["input_ids"].shape[1]
        return {name: value for name, value in inputs.items() if not _per_token(value, length)}


def _per_token(value: Tensor, length: int) -> bool:
    return value.ndim == 2 and value.shape == (1, length)


class Llava(VlmFamily):
    """LLaVA 1.5: a square of the image, before the text."""

    model_types = ("llava",)


class LlavaOneVision(VlmFamily):
    """LLaVA-OneVision: the whole image and tiles of it."""

    model_types = ("llava_onevision",)
    tiled = True


class InternVL(VlmFamily):
    """InternVL: square tiles and a thumbnail, one after the other."""

    model_types = ("internvl",)


class Idefics3(VlmFamily):
    """Idefics3 and SmolVLM: tiles with text between them. An image that is 0 everywhere is taken for padding."""

    model_types = ("idefics3", "smolvlm")
    tiled = True


class QwenVL(VlmFamily):
    """Qwen2-VL, 2.5-VL and 3-VL: patches in the order of their windows, positions in time, height and width."""

    model_types = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")

    def positions(self, model: Any, inputs: Inputs) -> Int[Tensor, "*P S"]:
        """Three numbers for each token; given outright, since the model would otherwise keep them between calls."""
        names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
        return model.model.get_rope_index(**{name: inputs[name] for name in names})[0]

    @contextmanager
    def remembering_nothing(self, model: Any) -> Iterator[None]:
        """Generating leaves the distance between tokens and positions behind."""
        before = model.model.rope_deltas
        try:
            yield
        finally:
            model.model.rope_deltas = before


class Gemma3(VlmFamily):
    """Gemma 3: tokens of an image see each other."""

    model_types = ("gemma3",)
    looks_back = False


class PaliGemma(VlmFamily):
    """PaliGemma: image and prompt see each other, the answer looks back; positions are counted from 1."""

    model_types = ("paligemma",)
    looks_back = False
    answer_type = 1

    def positions(self, model: nn.Module, inputs: Inputs) -> Int[Tensor, "*P S"]:
        """Counted from 1."""
        return super().positions(model, inputs) + 1


class MiniCPM(VlmFamily):
    """MiniCPM-V 4.6: all patches of all images in one row; some layers of its language model keep a running state."""

    model_types = ("minicpmv4_6",)
    joins = -1
    looks_back = False


_FAMILIES: tuple[type[VlmFamily], ...] = (
    Llava, LlavaOneVision, InternVL, Idefics3, QwenVL, Gemma3, PaliGemma, MiniCPM,
)  # fmt: skip


def family_of(model: Any, inputs: Mapping[str, Tensor]) -> VlmFamily:
    """The family of a model, or the general one where its processor gives one plain image.

    Args:
        model: A transformers model.
        inputs: What its processor makes of an image and a prompt.

    Raises:
        ValueError: If the model is of no known family and its ``pixel_values`` are not one image.
    """
    kind = model.config.model_type
    for family in _FAMILIES:
        if kind in family.model_types:
            return family()
    pixels = inputs.get("pixel_values")
    if pixels is not None and pixels.ndim == 4 and len(pixels) == 1 and hasattr(model, "model"):
        return VlmFamily()
    known = ", ".join(name for family in _FAMILIES for name in family.model_types)
    shape = "none" if pixels is None else tuple(pixels.shape)
    raise ValueError(
        f"VisionLanguageModel: {kind!r} is no family known here ({known}), and its pixel_values of shape {shape} are "
        "not one image of shape (1, C, H, W). Pass family=: a subclass of VlmFamily that says how inputs are repeated "
        "for several images (several), lengthened by an answer (longer), counted (positions) and turned into logits "
        "(logits)."
    )
