"""Folders with the configurations of published models and a tiny processor: no weights, no vocabulary of theirs."""

from wherenot.models.tiny_vlms import tiny_vlm

_PLACES = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
_QWEN_2_5 = {
    "qwen2.5-vl-3b": {
        "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
        "num_attention_heads": 16, "num_key_value_heads": 2,
    },
    "qwen2.5-vl-7b": {
        "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4,
    },
}  # fmt: skip


def real_size(name, folder):
    """Write the configuration of a published model, and a processor that makes as many image tokens as its own."""
    if name in _QWEN_2_5:
        config, processor = _qwen_2_5(_QWEN_2_5[name], tied=name.endswith("3b"))
    else:
        config, processor = {"qwen3-vl-4b": _qwen_3, "minicpm-v-4.6": _minicpm}[name]()
    config.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _qwen_2_5(text, *, tied):
    tiny, processor = tiny_vlm("qwen2_5_vl")
    processor.image_processor.size = {"shortest_edge": 4 * 28**2, "longest_edge": 16384 * 28**2}
    rope = {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6}
    config = type(tiny.config)(
        vision_config={
            "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "window_size": 112,
            "out_hidden_size": text["hidden_size"], "fullatt_block_indexes": [7, 15, 23, 31],
        },
        text_config={**text, "rope_parameters": rope, "max_position_embeddings": 128000},
        tie_word_embeddings=tied,
        **{name: getattr(tiny.config, name) for name in _PLACES},
    )  # fmt: skip
    return config, processor


def _qwen_3():
    tiny, processor = tiny_vlm("qwen3_vl")
    processor.image_processor.size = {"shortest_edge": 64 * 32**2, "longest_edge": 16384 * 32**2}
    rope = {"rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True, "rope_theta": 5e6}
    config = type(tiny.config)(
        vision_config={
            "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "patch_size": 16,
            "out_hidden_size": 2560, "deepstack_visual_indexes": [5, 11, 17], "num_position_embeddings": 2304,
        },
        text_config={
            "vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
            "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 262144,
            "rope_parameters": rope,
        },
        tie_word_embeddings=True,
        **{name: getattr(tiny.config, name) for name in _PLACES},
    )  # fmt: skip
    return config, processor


def _minicpm():
    from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil

    tiny, processor = tiny_vlm("minicpmv4_6")
    processor.image_processor = MiniCPMV4_6ImageProcessorPil()
    text = type(tiny.config.text_config)(
        vocab_size=248094, hidden_size=1024, intermediate_size=3584, num_hidden_layers=24, num_attention_heads=8,
        num_key_value_heads=2, head_dim=256, linear_num_value_heads=16, max_position_embeddings=262144,
        tie_word_embeddings=True,
    )  # fmt: skip
    config = type(tiny.config)(
        vision_config={
            "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
            "image_size": 980, "patch_size": 14,
        },
        text_config=text,
        tie_word_embeddings=True,
        image_token_id=tiny.config.image_token_id,
        video_token_id=tiny.config.video_token_id,
    )  # fmt: skip
    return config, processor
