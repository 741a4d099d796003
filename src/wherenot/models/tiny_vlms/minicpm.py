"""MiniCPM-V 4.6: an image and its slices as one long row of patches, and a language model that is half recurrent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherenot.models.images_only import no_videos
from wherenot.models.tiny_vlms.templates import chatml
from wherenot.models.tiny_vlms.tokenizer import tiny_tokenizer, token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin


def minicpmv4_6() -> tuple[PreTrainedModel, ProcessorMixin]:
    """MiniCPM-V 4.6: images above 64 x 64 pixels are also read in slices; 4 x 4 patches become one token."""
    from transformers import MiniCPMV4_6Config, MiniCPMV4_6ForConditionalGeneration, MiniCPMV4_6Processor
    from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil
    from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5TextConfig

    words = tiny_tokenizer(
        {
            "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
            "image_token": "<|image_pad|>", "video_token": "<|video_pad|>",
            "image_start_token": "<image>", "image_end_token": "</image>",
            "slice_start_token": "<slice>", "slice_end_token": "</slice>",
            "image_id_start_token": "<image_id>", "image_id_end_token": "</image_id>",
        },
        others=("<|im_start|>",),
        padding_side="left",
    )  # fmt: skip
    processor = MiniCPMV4_6Processor(
        MiniCPMV4_6ImageProcessorPil(scale_resolution=64, patch_size=8, max_slice_nums=6),
        no_videos()(video_processor_type="MiniCPMV4_6VideoProcessor"),
        words,
        chat_template=chatml("<|image_pad|>"),
    )
    config = MiniCPMV4_6Config(
        vision_config={
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
            "image_size": 64, "patch_size": 8,
        },
        text_config=Qwen3_5TextConfig(
            vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=16, layer_types=["linear_attention", "full_attention"],
            linear_key_head_dim=16, linear_value_head_dim=16, linear_num_key_heads=2, linear_num_value_heads=4,
            max_position_embeddings=4096, **token_ids(words, "bos_token_id", "eos_token_id", "pad_token_id"),
        ),
        insert_layer_id=1,
        image_size=64,
        **token_ids(words, "image_token_id", "video_token_id"),
    )  # fmt: skip
    return MiniCPMV4_6ForConditionalGeneration(config), processor
