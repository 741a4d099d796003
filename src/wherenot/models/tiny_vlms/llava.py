"""LLaVA 1.5 and LLaVA-OneVision: a tower of its own, two layers of projection, a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherenot.models.tiny_vlms.templates import vicuna
from wherenot.models.tiny_vlms.tokenizer import tiny_tokenizer, token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

_TOWER: dict[str, Any] = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
_LANGUAGE: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096,
}  # fmt: skip


def llava() -> tuple[PreTrainedModel, ProcessorMixin]:
    """LLaVA 1.5: a CLIP tower on the square in the middle; its class token and its last layer go unused."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    words = tiny_tokenizer(
        {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "image_token": "<image>"},
        starts_with_bos=True,
        padding_side="left",
    )
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 84}, crop_size={"height": 84, "width": 84}),
        words,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=vicuna("<image>\n"),
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**_TOWER, image_size=84, patch_size=14),
        text_config=LlamaConfig(
            **_LANGUAGE,
            vocab_size=len(words),
            **token_ids(words, "bos_token_id", "eos_token_id", "pad_token_id"),
        ),
        **token_ids(words, "image_token_id"),
        image_seq_length=36,
    )
    return LlavaForConditionalGeneration(config), processor
