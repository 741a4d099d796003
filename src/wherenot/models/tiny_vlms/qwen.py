"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: as many patches as the image needs, in the order of their windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherenot.models.images_only import no_videos
from wherenot.models.tiny_vlms.templates import chatml
from wherenot.models.tiny_vlms.tokenizer import tiny_tokenizer, token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

_PLACES = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


def qwen2_vl() -> tuple[PreTrainedModel, ProcessorMixin]:
    """Qwen2-VL: every layer of the tower sees everything."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    words = _words()
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessorPil(**_sizes(patch=14)),
        words,
        no_videos()(video_processor_type="Qwen2VLVideoProcessor"),
        chat_template=chatml(_IMAGE, system="You are a helpful assistant."),
    )
    config = Qwen2VLConfig(
        vision_config={
            "depth": 2, "embed_dim": 48, "hidden_size": 64, "mlp_ratio": 2, "num_heads": 4, "patch_size": 14,
        },
        text_config=_mrope_text(words),
        **token_ids(words, *_PLACES),
    )  # fmt: skip
    return Qwen2VLForConditionalGeneration(config), processor


def qwen2_5_vl() -> tuple[PreTrainedModel, ProcessorMixin]:
    """Qwen2.5-VL: windows of 2 x 2 tokens in the first layer of the tower, everything in the second."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    words = _words()
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessorPil(**_sizes(patch=14)),
        words,
        no_videos()(video_processor_type="Qwen2VLVideoProcessor"),
        chat_template=chatml(_IMAGE, system="You are a helpful assistant."),
    )
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 2, "hidden_size": 48, "intermediate_size": 96, "num_heads": 4, "patch_size": 14,
            "window_size": 56, "fullatt_block_indexes": [1], "out_hidden_size": 64,
        },
        text_config=_mrope_text(words),
        **token_ids(words, *_PLACES),
    )  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(config), processor


def qwen3_vl() -> tuple[PreTrainedModel, ProcessorMixin]:
    """Qwen3-VL: patches of 16, features of the tower's first layer added to the language model's first layer too."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    words = _words()
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessorPil(**_sizes(patch=16), image_mean=[0.5] * 3, image_std=[0.5] * 3),
        words,
        no_videos()(video_processor_type="Qwen3VLVideoProcessor"),
        chat_template=chatml(_IMAGE),
    )
    config = Qwen3VLConfig(
        vision_config={
            "depth": 2, "hidden_size": 48, "intermediate_size": 96, "num_heads": 4, "patch_size": 16,
            "num_position_embeddings": 64, "deepstack_visual_indexes": [0], "out_hidden_size": 64,
        },
        text_config={
            **_text(words), "num_key_value_heads": 2, "head_dim": 16,
            "rope_parameters": {
                "rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True, "rope_theta": 5e6,
            },
        },
        **token_ids(words, *_PLACES),
    )  # fmt: skip
    return Qwen3VLForConditionalGeneration(config), processor


def _mrope_text(words: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Of Qwen2-VL and Qwen2.5-VL: positions in time, height and width share the channels."""
    return {
        **_text(words), "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6},
    }  # fmt: skip


def _words() -> PreTrainedTokenizerFast:
    return tiny_tokenizer(
        {
            "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
            "image_token": "<|image_pad|>", "video_token": "<|video_pad|>",
            "vision_start_token": "<|vision_start|>", "vision_end_token": "<|vision_end|>",
        },
        others=("<|im_start|>",),
    )  # fmt: skip


def _sizes(patch: int) -> dict[str, Any]:
    """Between 16 and 64 image tokens of 2 x 2 patches."""
    token = (2 * patch) ** 2
    return {"patch_size": patch, "min_pixels": 16 * token, "max_pixels": 64 * token}


def _text(words: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(words), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 4096,
        **token_ids(words, "bos_token_id", "eos_token_id", "pad_token_id"),
    }  # fmt: skip
