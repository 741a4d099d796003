"""Vision-language models of every family at a tiny size: the real classes, random weights, no download."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool
from torch import Tensor

from wherenot.models.images_only import images_only
from wherenot.models.tiny_vlms.gemma import gemma3, paligemma
from wherenot.models.tiny_vlms.llava import llava, llava_onevision
from wherenot.models.tiny_vlms.minicpm import minicpmv4_6
from wherenot.models.tiny_vlms.qwen import qwen2_5_vl, qwen2_vl, qwen3_vl
from wherenot.models.tiny_vlms.tiles import idefics3, internvl, smolvlm

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

_LOUD, _QUIET = 2.0, 0.25  # standard deviations of the logits of tokens that are text, and of the others

_BUILDERS: dict[str, Callable[[], tuple[PreTrainedModel, ProcessorMixin]]] = {
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "llava": llava,
    "llava_onevision": llava_onevision,
    "internvl": internvl,
    "smolvlm": smolvlm,
    "idefics3": idefics3,
    "gemma3": gemma3,
    "paligemma": paligemma,
    "minicpmv4_6": minicpmv4_6,
}

FAMILIES: tuple[str, ...] = tuple(_BUILDERS)


def tiny_vlm(family: str, *, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Build a vision-language model with a few hundred thousand weights, and its processor.

    It has the family's own model class, image processor, placeholder tokens and turns; the geometry is real (windows,
    tiles, dynamic resolution), the images are small. It knows nothing: its answers depend on the image, as those of a
    trained model do, and mean nothing.

    Weights are normal with variance one over the number of inputs, so that a signal keeps its size from the first
    patch to the last token; the output layer is twice as large, so that some tokens are likely, but not for tokens that
    are no printable text, so that no answer has a placeholder in it. With the families' own initialisation (0.02,
    Gemma 3's projection at zero) an image would change nothing one could measure.

    Args:
        family: One of `FAMILIES`.
        seed: Of the weights; the global generator is left as it is.

    Returns:
        The model, in float32 and eval mode, and the processor. Both can be saved with ``save_pretrained``.

    Raises:
        ValueError: If no family has that name, or transformers is not installed.

    Example:
        >>> model, processor = tiny_vlm("llava")
        >>> type(model).__name__, type(processor).__name__
        ('LlavaForConditionalGeneration', 'LlavaProcessor')
    """
    if family not in _BUILDERS:
        raise ValueError(f"tiny_vlm: unknown family {family!r}; choose one of: {', '.join(FAMILIES)}")
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise ValueError("tiny_vlm: needs transformers; run: pip install 'wherenot[hf]'") from error
    with torch.random.fork_rng(devices=[]), images_only():
        torch.manual_seed(seed)
        model, processor = _BUILDERS[family]()
        _draw(model, processor.tokenizer)
    return model.eval(), processor


@torch.no_grad()
def _draw(model: PreTrainedModel, words: PreTrainedTokenizerBase) -> None:
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.normal_(std=weight[0].numel() ** -0.5)
    head: Any = model.get_output_embeddings()
    head.weight.mul_(torch.where(_are_text(words), _LOUD, _QUIET)[:, None])


def _are_text(words: PreTrainedTokenizerBase) -> Bool[Tensor, " V"]:
    special = {token for token, added in words.added_tokens_decoder.items() if added.special}
    texts = [str(words.decode([token])) for token in range(len(words))]
    return torch.tensor(
        [text.isascii() and text.isprintable() and token not in special for token, text in enumerate(texts)]
    )
