"""LLaVA's architecture at 1.5 million weights, for screens: what the tiny agent is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from wherenot.models.tiny_vlms.templates import turns
from wherenot.models.tiny_vlms.tokenizer import token_ids

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast

_HIDDEN = 128


def small_llava(
    words: PreTrainedTokenizerFast, *, height: int, width: int, patch: int, seed: int = 0
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Build a LLaVA that can be trained from scratch on a CPU, with random weights, and its processor.

    An InternVL tower of 3 layers reads patches, two layers project them, a Llama of 4 layers reads them and the text.
    The tower's table of positions is a square, which it stretches to the image's shape.

    Weights of the language model have variance one over the number of inputs, embeddings the size of what the
    projector gives, and keys start as queries do: so its heads attend from the first step to what resembles what they
    are asked for.

    Args:
        words: Its tokenizer.
        height: Of images, in pixels; they are resized to it.
        width: Of images.
        patch: Side of a patch; divides both.
        seed: Of the weights; the global generator is left as it is.

    Returns:
        The model, in float32 and eval mode, and the processor. Both can be saved with ``save_pretrained``.
    """
    from transformers import (
        InternVLVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = LlavaProcessor(
        CLIPImageProcessorPil(
            do_resize=True, size={"height": height, "width": width}, do_center_crop=False,
            image_mean=[0.5] * 3, image_std=[0.5] * 3,
        ),
        words,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=turns("<image>", opening="", closing="</s>", reply="", images_first=True),
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=InternVLVisionConfig(
            hidden_size=_HIDDEN, intermediate_size=3 * _HIDDEN, num_hidden_layers=3, num_attention_heads=4,
            image_size=[width, width], patch_size=[patch, patch], layer_scale_init_value=1.0,
        ),
        text_config=LlamaConfig(
            hidden_size=_HIDDEN, intermediate_size=3 * _HIDDEN, num_hidden_layers=4, num_attention_heads=4,
            max_position_embeddings=512, vocab_size=len(words), tie_word_embeddings=False,
            **token_ids(words, "bos_token_id", "eos_token_id", "pad_token_id"),
        ),
        **token_ids(words, "image_token_id"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(width // patch) * (height // patch),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
        _draw(model)
    return model.eval(), processor


@torch.no_grad()
def _draw(model: Any) -> None:
    model.get_input_embeddings().weight.normal_(std=0.25)
    for layer in model.model.language_model.layers:
        for weight in layer.parameters():
            if weight.dim() == 2:
                weight.normal_(std=weight.shape[1] ** -0.5)
        layer.self_attn.o_proj.weight.mul_(0.5)
        layer.mlp.down_proj.weight.mul_(0.5)
        layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)
