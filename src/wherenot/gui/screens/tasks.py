"""What is asked on a rendered screen, and what a good agent thinks before it clicks."""

from __future__ import annotations

from collections.abc import Sequence
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
    others = [shown.name for shown in screen.shown if shown is not target]
    x, y = ((target.box[axis] + target.box[axis + 2]) / 2 for axis in (0, 1))
    return Task(
        screen=screen,
        target=target,
        style=style,
        instruction=instruct(target.name, style, others, rng, locale),
        thought=think(target.name, x / screen.image.width, y / screen.image.height, locale),
    )


def instruct(name: str, style: Style, others: Sequence[str], rng: np.random.Generator, locale: Locale = "en") -> str:
    """What a user says who wants an element to be clicked.

    Args:
        name: Of the element.
        style: How to ask.
        others: Names of what else is on the screen.
        rng: Draws the words, and the other element that a contrast names.
        locale: Of the words.

    Example:
        >>> instruct("Camera", "contrast", ["Mail"], np.random.default_rng(0))
        'Leave Mail alone and select Camera.'
    """
    element = elements()[name]
    phrase = str(rng.choice(phrases(locale)[style]))
    other = elements()[str(rng.choice(list(others)))].labels[locale]
    return phrase.format(label=element.labels[locale], use=element.uses[locale], other=other)


def think(name: str, x: float, y: float, locale: Locale = "en") -> str:
    """What a good agent thinks before it clicks an element.

    Args:
        name: Of the element.
        x: Where its middle is, from the left, in [0, 1].
        y: From the top, in [0, 1].
        locale: Of the words.

    Example:
        >>> think("Camera", 0.1, 0.9)
        'Camera is what is asked for; its icon is at the lower left of the screen.'
    """
    label = elements()[name].labels[locale]
    return phrases(locale)["thought"].format(label=label, zone=zone_name(x, y, locale))


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
