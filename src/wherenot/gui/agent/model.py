"""The tiny agent: LLaVA's architecture with 1.4 million weights, for screens of 128 x 256 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from wherenot.gui.agent.words import agent_tokenizer
from wherenot.models.tiny_vlms.templates import turns
from wherenot.models.tiny_vlms.tokenizer import token_ids

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

WIDTH, HEIGHT, PATCH = 128, 256, 16  # pixels
_HIDDEN = 128


def build_agent(*, seed: int = 0) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Build the agent with random weights, and its processor; it knows nothing yet.

    An InternVL tower of 3 layers reads patches of 16 x 16 pixels, two layers project them, a Llama of 4 layers reads
    them and the instruction. The tower's table of positions is a square, which it stretches to the screen's shape.

    Args:
        seed: Of the weights; the global generator is left as it is.

    Returns:
        The model, in float32 and eval mode, and the processor. Both can be saved with ``save_pretrained``.

    Example:
        >>> model, processor = build_agent()
        >>> 1.3e6 < sum(weight.numel() for weight in model.parameters()) < 1.6e6
        True
    """
    from transformers import (
        InternVLVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    words = agent_tokenizer()
    processor = LlavaProcessor(
        CLIPImageProcessorPil(
            do_resize=True, size={"height": HEIGHT, "width": WIDTH}, do_center_crop=False,
            image_mean=[0.5] * 3, image_std=[0.5] * 3,
        ),
        words,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=turns("<image>", opening="", closing="</s>", reply="", images_first=True),
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=InternVLVisionConfig(
            hidden_size=_HIDDEN, intermediate_size=3 * _HIDDEN, num_hidden_layers=3, num_attention_heads=4,
            image_size=[WIDTH, WIDTH], patch_size=[PATCH, PATCH], layer_scale_init_value=1.0,
        ),
        text_config=LlamaConfig(
            hidden_size=_HIDDEN, intermediate_size=3 * _HIDDEN, num_hidden_layers=4, num_attention_heads=4,
            max_position_embeddings=512, vocab_size=len(words), tie_word_embeddings=False,
            **token_ids(words, "bos_token_id", "eos_token_id", "pad_token_id"),
        ),
        **token_ids(words, "image_token_id"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(WIDTH // PATCH) * (HEIGHT // PATCH),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
    return model.eval(), processor
