"""The agent's first lesson: to see what is where."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from wherenot.gui.agent.bank import NAMES, Bank
from wherenot.gui.agent.schedule import optimizer_steps

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

_SHARP = 20.0  # of cosines, before a softmax
_BINS = 17, 33  # of places across and down


def learn_to_see(
    model: LlavaForConditionalGeneration,
    words: PreTrainedTokenizerBase,
    bank: Bank,
    *,
    steps: int,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    seed: int = 0,
    on_step: Callable[[float], None] | None = None,
) -> None:
    """Train the vision tower and the projector, so that what shows an element resembles the word for it.

    Of all patches of a screen those of an element are to have the features most similar to its name's embedding
    (cosine): that is how a language model will find them. And where the element's middle lies is to be read off them by
    a linear layer, which is thrown away. Embeddings stay as they are.

    Args:
        model: Trained in place; its mode is left as found.
        words: Its tokenizer.
        bank: Screens.
        steps: Optimizer steps.
        batch_size: Screens per step.
        learning_rate: Highest, of AdamW.
        seed: Of the order of screens and of the layer for places.
        on_step: Called after each step with the mean probability of the right patches.
    """
    names = names_of(model, words)
    seeing = [*model.model.vision_tower.parameters(), *model.model.multi_modal_projector.parameters()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        places = nn.Linear(names.shape[1], sum(_BINS), bias=False)
    draw = torch.Generator().manual_seed(seed)
    for step in optimizer_steps([*seeing, *places.parameters()], steps, learning_rate):
        rows = torch.randint(len(bank), (batch_size,), generator=draw)
        found = F.normalize(features(model, bank.pixels(rows)), dim=-1)
        right = right_patches(found, names, bank, rows)
        loss = -right.mean() + _misplaced(_SHARP * places(found), bank, rows)
        step(loss)
        if on_step is not None:
            on_step(float(right.detach().exp().mean()))


def features(model: LlavaForConditionalGeneration, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B P D"]:
    """What the language model gets to see of each patch."""
    found: Any = model.get_image_features(
        pixel_values=pixels, vision_feature_layer=-1, vision_feature_select_strategy="default"
    )
    return torch.stack(list(found.pooler_output))


def names_of(model: LlavaForConditionalGeneration, words: PreTrainedTokenizerBase) -> Float[Tensor, "N D"]:
    """Embeddings of the names of all elements, of length 1, without gradients."""
    embeddings: Any = model.get_input_embeddings()
    return F.normalize(embeddings.weight.detach()[torch.tensor(words.convert_tokens_to_ids(list(NAMES)))], dim=-1)


def right_patches(
    found: Float[Tensor, "B P D"], names: Float[Tensor, "N D"], bank: Bank, rows: Int[Tensor, " B"]
) -> Float[Tensor, " A"]:
    """For all elements of the screens the log-probability that a patch drawn by similarity to its name shows it.

    Args:
        found: Features of length 1.
        names: `names_of`.
        bank: The screens.
        rows: Which of them.
    """
    which = bank.names[rows]
    similar = _SHARP * found @ names.T
    of_elements = similar.gather(2, which.clamp(min=0)[:, None].expand(-1, similar.shape[1], -1)).mT
    on = bank.on_targets(rows)
    right = of_elements.log_softmax(-1).masked_fill(~on, -torch.inf)
    return right[which >= 0].logsumexp(-1)


def _misplaced(read: Float[Tensor, "B P X"], bank: Bank, rows: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Cross-entropy of where the middle lies, read off each patch of each element."""
    on, middles = bank.on_targets(rows), bank.middles(rows)
    screen, element, patch = on.nonzero(as_tuple=True)
    logits = read[screen, patch].split(_BINS, dim=-1)
    wanted = middles[screen, element].unbind(-1)
    losses = [
        F.cross_entropy(each, (share * (bins - 1)).round().long())
        for each, share, bins in zip(logits, wanted, _BINS, strict=True)
    ]
    return losses[0] + losses[1]
