"""Gemma 3 and PaliGemma: a SigLIP tower on the image made square, one embedding for reading and writing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherenot.models.tiny_vlms.templates import gemma, plain
from wherenot.models.tiny_vlms.tokenizer import tiny_tokenizer, token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

_TOWER: dict[str, Any] = {
    "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 14,
    "vision_use_head": False,
}  # fmt: skip
_LANGUAGE: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 4096,
}  # fmt: skip
_SPECIAL = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}


def gemma3() -> tuple[PreTrainedModel, ProcessorMixin]:
    """Gemma 3: 8 x 8 patches pooled to 4 x 4 tokens that see each other; one sliding layer, one full."""
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3Processor,
        Gemma3TextConfig,
        SiglipVisionConfig,
    )
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    words = tiny_tokenizer(
        {
            **_SPECIAL, "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
        others=("<start_of_turn>", "<end_of_turn>"),
        starts_with_bos=True,
        padding_side="left",
    )  # fmt: skip
    processor = Gemma3Processor(
        Gemma3ImageProcessorPil(size={"height": 112, "width": 112}),
        words,
        image_seq_length=16,
        chat_template=gemma("<start_of_image>"),
    )
    config = Gemma3Config(
        vision_config=SiglipVisionConfig(**_TOWER, image_size=112),
        text_config=Gemma3TextConfig(
            **_LANGUAGE,
            vocab_size=len(words),
            layer_types=["sliding_attention", "full_attention"],
            sliding_window=32,
            query_pre_attn_scalar=16,
            **token_ids(words, "bos_token_id", "eos_token_id", "pad_token_id"),
        ),
        mm_tokens_per_image=16,
        **token_ids(words, "image_token_id", "boi_token_id", "eoi_token_id"),
    )
    return Gemma3ForConditionalGeneration(config), processor


def paligemma() -> tuple[PreTrainedModel, ProcessorMixin]:
    """PaliGemma: image and prompt see each other, only the answer is read from left to right."""
    from transformers import (
        GemmaConfig,
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
        SiglipVisionConfig,
    )
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    words = tiny_tokenizer({**_SPECIAL, "image_token": "<image>"}, starts_with_bos=True)
    # The processor adds its marks for places and shapes to the vocabulary.
    processor = PaliGemmaProcessor(
        SiglipImageProcessorPil(size={"height": 84, "width": 84}, image_seq_length=36),
        words,
        chat_template=plain("<image>"),
    )
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(**_TOWER, image_size=84),
        text_config=GemmaConfig(
            **_LANGUAGE,
            vocab_size=len(words),
            **token_ids(words, "bos_token_id", "eos_token_id", "pad_token_id"),
        ),
        projection_dim=64,
        hidden_size=64,
        **token_ids(words, "image_token_id"),
    )
    return PaliGemmaForConditionalGeneration(config), processor
