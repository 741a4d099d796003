"""The tiny agent: a small LLaVA for screens of 128 x 256 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherenot.gui.agent.words import agent_tokenizer
from wherenot.models.small_llava import small_llava

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

WIDTH, HEIGHT, PATCH = 128, 256, 16  # pixels


def build_agent(*, seed: int = 0) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Build the agent with random weights, and its processor; it knows nothing yet (`models.small_llava`).

    Args:
        seed: Of the weights.

    Example:
        >>> model, processor = build_agent()
        >>> 1.3e6 < sum(weight.numel() for weight in model.parameters()) < 1.6e6
        True
    """
    return small_llava(agent_tokenizer(), height=HEIGHT, width=WIDTH, patch=PATCH, seed=seed)
