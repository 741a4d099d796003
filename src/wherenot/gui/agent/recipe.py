"""How the tiny agent is made from nothing: screens, then seeing, then answering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from wherenot.gui.agent.answering import learn_to_answer
from wherenot.gui.agent.bank import render_bank
from wherenot.gui.agent.model import WIDTH, build_agent
from wherenot.gui.agent.seeing import learn_to_see
from wherenot.gui.screens.render import open_renderer

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

Lesson: TypeAlias = Literal["render", "see", "answer"]


@dataclass(frozen=True, kw_only=True)
class AgentRecipe:
    """How much the tiny agent sees and practises. The defaults make one that finds almost everything."""

    screens: int = 2100
    """Screens with shuffled layouts: where something lies tells nothing."""
    seeing_steps: int = 1600
    """Steps of learning to see, 16 screens each."""
    answering_steps: int = 2000
    """Steps of learning to answer, 8 questions on each of 4 screens; about 300 leave one that sees where to click and
    often misses."""
    seed: int = 0
    """Of screens, weights and questions."""

    def steps(self, lesson: Lesson) -> int:
        """How many steps a lesson has; of rendering, how many screens."""
        return {"render": self.screens, "see": self.seeing_steps, "answer": self.answering_steps}[lesson]


def make_agent(
    recipe: AgentRecipe = AgentRecipe(), *, on_step: Callable[[Lesson, float], None] | None = None
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Make the tiny agent from random weights; takes about a quarter of an hour on one core.

    Args:
        recipe: How much it practises.
        on_step: Called after each screen and step with the lesson and how well it goes, in [0, 1].

    Returns:
        The model, in eval mode, and its processor.

    Raises:
        ValueError: If no browser can render screens.
    """

    def tell(lesson: Lesson, well: float = 1.0) -> None:
        if on_step is not None:
            on_step(lesson, well)

    with open_renderer(WIDTH) as renderer:
        bank = render_bank(renderer, recipe.screens, seed=recipe.seed, on_screen=partial(tell, "render"))
    model, processor = build_agent(seed=recipe.seed)
    model.set_attn_implementation("eager")  # the only one that shows where it looks
    learn_to_see(
        model, processor.tokenizer, bank, steps=recipe.seeing_steps, seed=recipe.seed, on_step=partial(tell, "see")
    )
    learn_to_answer(
        model,
        processor.tokenizer,
        bank,
        steps=recipe.answering_steps,
        seed=recipe.seed,
        on_step=partial(tell, "answer"),
    )
    model.set_attn_implementation("sdpa")
    model.zero_grad()
    return model, processor
