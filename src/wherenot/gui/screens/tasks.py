"""What is asked on a rendered screen, and what a good agent thinks before it clicks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from wherenot.gui.screens.elements import Locale, elements, phrases
from wherenot.gui.screens.render import Screen, Shown

Style: TypeAlias = Literal["direct", "functional", "contrast"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing to click on a screen.

    Attributes:
        screen: Where.
        target: What.
        style: How it is asked: by its name, by what it is for, or told apart from another element on the screen.
        instruction: What the user says.
        thought: What leads to the click.
    """

    screen: Screen
    target: Shown
    style: Style
    instruction: str
    thought: str

    @property
    def point(self) -> tuple[float, float]:
        """The middle of the target, x and y in [0, 1]."""
        left, top, right, bottom = self.target.box
        return (left + right) / 2 / self.screen.image.width, (top + bottom) / 2 / self.screen.image.height


def draw_task(screen: Screen, target: Shown, style: Style, rng: np.random.Generator) -> Task:
    """Ask for an element of a screen.

    Args:
        screen: The screen.
        target: One of `Screen.shown`.
        style: How to ask.
        rng: Draws the words, and the element that a contrast names.
    """
    locale = screen.plan.locale
    element = elements()[target.name]
    others = [shown.label for shown in screen.shown if shown is not target]
    instruction = str(rng.choice(phrases(locale)[style])).format(
        label=target.label, use=element.uses[locale], other=str(rng.choice(others))
    )
    middle = [(target.box[axis] + target.box[axis + 2]) / 2 for axis in (0, 1)]
    thought = phrases(locale)["thought"].format(
        label=target.label, zone=zone_name(middle[0] / screen.image.width, middle[1] / screen.image.height, locale)
    )
    return Task(screen=screen, target=target, style=style, instruction=instruction, thought=thought)


def zone_name(x: float, y: float, locale: Locale = "en") -> str:
    """Where a point lies, in words: one of nine parts of the screen.

    Args:
        x: From the left, in [0, 1].
        y: From the top, in [0, 1].
        locale: Of the words.

    Example:
        >>> zone_name(0.1, 0.9), zone_name(0.5, 0.5), zone_name(0.9, 0.1, "zh")
        ('lower left', 'centre', '右上')
    """
    column, row = (min(2, int(3 * at)) for at in (x, y))
    return phrases(locale)["zones"][3 * row + column]
