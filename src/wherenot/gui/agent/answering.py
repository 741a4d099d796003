"""The agent's second lesson: to find what it is asked for among what it sees, and to say where that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from wherenot.data.gui.compact import SCALE, write_compact
from wherenot.gui.agent.bank import NAMES, Bank
from wherenot.gui.agent.schedule import optimizer_steps
from wherenot.gui.agent.seeing import features
from wherenot.gui.agent.words import STEP
from wherenot.gui.screens.tasks import Style, instruct, think

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

STYLES: tuple[Style, ...] = ("direct", "functional", "contrast")
_LOOKING = (1, 2)  # layers of which the first heads are shown where to look
_HEADS = 2
_IGNORED = -100  # label of a token that is not learned


@dataclass(frozen=True)
class Questions:
    """Tasks on some screens, the same number on each.

    Attributes:
        ids: Instruction and answer, right-padded.
        labels: The same ids where an answer is to be said, else -100.
        patches: Which patches show what is asked for.
        boxes: Where it is, xyxy in shares of the screen.
    """

    ids: Int[Tensor, "Q T"]
    labels: Int[Tensor, "Q T"]
    patches: Bool[Tensor, "Q P"]
    boxes: Float[Tensor, "Q 4"]


def draw_questions(
    words: PreTrainedTokenizerBase, bank: Bank, rows: Sequence[int], tasks: int, rng: np.random.Generator
) -> Questions:
    """Ask for elements of screens: each as often as any other, in all styles, with the answer in the paper's form.

    Args:
        words: The agent's tokenizer.
        bank: The screens.
        rows: Which of them.
        tasks: Questions on each; different elements as far as there are enough.
        rng: Draws elements, styles and words.
    """
    ids, labels, chosen = [], [], []
    middles = bank.middles(torch.tensor(rows))
    for place, row in enumerate(rows):
        names = [NAMES[which] for which in bank.names[row].tolist() if which >= 0]
        for at in rng.choice(len(names), tasks, replace=len(names) < tasks):
            others = names[:at] + names[at + 1 :]
            asked = instruct(names[at], STYLES[int(rng.integers(len(STYLES)))], others, rng)
            x, y = middles[place, at].tolist()
            point = [round(share * SCALE / STEP) * STEP for share in (x, y)]
            said = write_compact(thought=think(names[at], x, y), POINT=point)
            question, answer = (words(text, add_special_tokens=False)["input_ids"] for text in (f"{asked}</s>", said))
            answer = [*answer, words.eos_token_id]
            ids.append(torch.tensor([*question, *answer]))
            labels.append(torch.tensor([_IGNORED] * len(question) + answer))
            chosen.append((place, int(at)))
    screen, element = torch.tensor(chosen).unbind(1)
    return Questions(
        ids=pad_sequence(ids, batch_first=True),  # padding is the first word
        labels=pad_sequence(labels, batch_first=True, padding_value=_IGNORED),
        patches=bank.on_targets(torch.tensor(rows))[screen, element],
        boxes=bank.boxes[torch.tensor(rows)][screen, element],
    )


def learn_to_answer(
    model: LlavaForConditionalGeneration,
    words: PreTrainedTokenizerBase,
    bank: Bank,
    *,
    steps: int,
    guidance: float = 0.5,
    screens: int = 4,
    tasks: int = 8,
    learning_rate: float = 3e-3,
    seed: int = 0,
    on_step: Callable[[float], None] | None = None,
) -> None:
    """Train the language model on questions about screens; what it sees and reads stays as it is.

    Two heads in each of two layers are shown where to look while the answer is said: without that it takes many times
    as long until the model looks at the screen at all. Questions about one screen share its forward.

    Args:
        model: Trained in place, with attention that can be seen (``attn_implementation="eager"``).
        words: Its tokenizer.
        bank: Screens.
        steps: Optimizer steps.
        guidance: Weight of showing where to look; 0 leaves it to find out.
        screens: Screens per step.
        tasks: Questions about each of them.
        learning_rate: Highest, of AdamW.
        seed: Of screens and questions.
        on_step: Called after each step with the probability of the answers' tokens (geometric mean).
    """
    rng = np.random.default_rng(seed)
    learning = [*model.model.language_model.layers.parameters(), *model.model.language_model.norm.parameters()]
    learning += list(model.lm_head.parameters())
    with torch.no_grad():
        seen = torch.cat([features(model, bank.pixels(some)) for some in torch.arange(len(bank)).split(32)])
    for step in optimizer_steps(learning, steps, learning_rate):
        rows = rng.integers(len(bank), size=screens).tolist()
        asked = draw_questions(words, bank, rows, tasks, rng)
        logits, attentions = _answers(model, seen[rows], asked.ids, watch=guidance > 0)
        said = F.cross_entropy(logits[:, :-1].flatten(0, 1), asked.labels[:, 1:].flatten(), ignore_index=_IGNORED)
        step(said + guidance * _looked_away(attentions, asked) if guidance else said)
        if on_step is not None:
            on_step(float((-said.detach()).exp()))


def _answers(
    model: Any, seen: Float[Tensor, "B P D"], ids: Int[Tensor, "Q T"], *, watch: bool
) -> tuple[Float[Tensor, "Q T V"], Any]:
    """Logits of every token, and attentions; each screen is read once for all of its questions."""
    language = model.model.language_model
    cache = language(inputs_embeds=seen, use_cache=True).past_key_values
    cache.batch_repeat_interleave(len(ids) // len(seen))
    embedded = model.get_input_embeddings()(ids).detach()
    out = language(inputs_embeds=embedded, past_key_values=cache, use_cache=True, output_attentions=watch)
    return model.lm_head(out.last_hidden_state), out.attentions


def _looked_away(attentions: Any, asked: Questions) -> Float[Tensor, ""]:
    """Cross-entropy of looking at what is asked for, wherever a token of the answer is about to be said."""
    about_to_say = F.pad(asked.labels[:, 1:], (0, 1), value=_IGNORED) != _IGNORED
    losses = []
    for layer in _LOOKING:
        on_patches = attentions[layer][:, :_HEADS, :, : asked.patches.shape[1]]
        right = (on_patches * asked.patches[:, None, None]).sum(-1).clamp(min=1e-6).log()
        losses.append(-right.mT[about_to_say].mean())
    return torch.stack(losses).mean()
