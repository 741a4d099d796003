"""InternVL, Idefics3 and SmolVLM: square tiles and the whole image at the size of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherenot.models.images_only import no_videos
from wherenot.models.tiny_vlms.templates import chatml, spoken
from wherenot.models.tiny_vlms.tokenizer import tiny_tokenizer, token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

_TOWER: dict[str, Any] = {
    "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
}  # fmt: skip
_LANGUAGE: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096,
}  # fmt: skip


def internvl() -> tuple[PreTrainedModel, ProcessorMixin]:
    """InternVL 3: up to six tiles in the grid nearest to the image's shape, and a thumbnail if there are several."""
    from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLProcessor, Qwen2Config
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    words = tiny_tokenizer(
        {
            "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "start_image_token": "<img>",
            "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>", "video_token": "<video>",
        },
        others=("<|im_start|>",),
    )  # fmt: skip
    processor = InternVLProcessor(
        GotOcr2ImageProcessorPil(
            size={"height": 84, "width": 84}, crop_to_patches=True, max_patches=6,
            image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
        ),
        words,
        no_videos()(video_processor_type="InternVLVideoProcessor"),
        image_seq_length=9,
        chat_template=chatml("<IMG_CONTEXT>\n"),
    )  # fmt: skip
    config = InternVLConfig(
        vision_config={**_TOWER, "image_size": [84, 84], "patch_size": [14, 14], "model_type": "internvl_vision"},
        text_config=Qwen2Config(**_text(words)),
        image_token_id=token_ids(words, "context_image_token_id")["context_image_token_id"],
        image_seq_length=9,
        tie_word_embeddings=False,
    )
    return InternVLForConditionalGeneration(config), processor


def idefics3() -> tuple[PreTrainedModel, ProcessorMixin]:
    """Idefics3: the long side becomes three tiles of 4 x 4 patches, four tokens each; then the whole image."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor, LlamaConfig
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    words = _words(bos="<|begin_of_text|>", pad="<|end_of_text|>")
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil(size={"longest_edge": 168}, max_image_size={"longest_edge": 56}),
        words,
        image_seq_len=4,
        chat_template=spoken("<image>", start="<|begin_of_text|>"),
    )
    config = Idefics3Config(
        vision_config={**_TOWER, "image_size": 56, "patch_size": 14},
        text_config=LlamaConfig(**_text(words)),
        scale_factor=2,
        **token_ids(words, "image_token_id"),
    )
    return Idefics3ForConditionalGeneration(config), processor


def smolvlm() -> tuple[PreTrainedModel, ProcessorMixin]:
    """SmolVLM: the long side becomes two tiles of 8 x 8 patches, of which sixteen make one token."""
    from transformers import LlamaConfig, SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMProcessor
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    words = _words(bos="<|im_start|>", pad="<|im_end|>")
    processor = SmolVLMProcessor(
        SmolVLMImageProcessorPil(size={"longest_edge": 128}, max_image_size={"longest_edge": 64}),
        words,
        no_videos()(video_processor_type="SmolVLMVideoProcessor"),
        image_seq_len=4,
        chat_template=spoken("<image>", start="<|im_start|>"),
    )
    config = SmolVLMConfig(
        vision_config={**_TOWER, "image_size": 64, "patch_size": 8},
        text_config=LlamaConfig(**_text(words)),
        scale_factor=4,
        **token_ids(words, "image_token_id"),
    )
    return SmolVLMForConditionalGeneration(config), processor


def _words(bos: str, pad: str) -> PreTrainedTokenizerFast:
    places = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
    return tiny_tokenizer(
        {
            "bos_token": bos, "eos_token": "<end_of_utterance>", "pad_token": pad, "image_token": "<image>",
            "fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>",
            "end_of_utterance_token": "<end_of_utterance>",
        },
        others=places,
        padding_side="left",
    )  # fmt: skip


def _text(words: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        **_LANGUAGE,
        "vocab_size": len(words),
        **token_ids(words, "bos_token_id", "eos_token_id", "pad_token_id"),
    }
