"""LLaVA 1.5 and LLaVA-OneVision: a tower of its own, two layers of projection, a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherenot.models.images_only import no_videos
from wherenot.models.tiny_vlms.templates import chatml, vicuna
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


def llava_onevision() -> tuple[PreTrainedModel, ProcessorMixin]:
    """LLaVA-OneVision: a SigLIP tower on the whole image and on tiles of the grid that fits its shape best."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionProcessor,
        Qwen2Config,
        SiglipVisionConfig,
    )
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

    tile, rows_and_columns = 56, (1, 2, 3)
    grids = [[tile * rows, tile * columns] for rows in rows_and_columns for columns in rows_and_columns]
    words = tiny_tokenizer(
        {
            "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
            "image_token": "<image>", "video_token": "<video>",
        },
        others=("<|im_start|>",),
    )  # fmt: skip
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessorPil(size={"height": tile, "width": tile}, image_grid_pinpoints=grids),
        words,
        no_videos()(video_processor_type="LlavaOnevisionVideoProcessor"),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=chatml("<image>\n", after_turn="", images_first=True),
    )
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**_TOWER, image_size=tile, patch_size=14, vision_use_head=False),
        text_config=Qwen2Config(
            **_LANGUAGE,
            vocab_size=len(words),
            **token_ids(words, "bos_token_id", "eos_token_id", "pad_token_id"),
        ),
        image_grid_pinpoints=grids,
        **token_ids(words, "image_token_id", "video_token_id"),
    )
    return LlavaOnevisionForConditionalGeneration(config), processor
