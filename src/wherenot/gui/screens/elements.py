"""What can be clicked on rendered screens: names, icons, colours, and what each is for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, TypeAlias

import yaml

Locale: TypeAlias = Literal["en", "zh"]


@dataclass(frozen=True, kw_only=True)
class Element:
    """Something to click.

    Attributes:
        name: In English; what everything is told apart by.
        labels: What is written below it, by locale.
        uses: What somebody wants who clicks it, by locale.
        color: Of its icon, ``#rrggbb``; no two have the same.
        outline: Of its icon: an SVG path in a square of 24.
    """

    name: str
    labels: dict[Locale, str]
    uses: dict[Locale, str]
    color: str
    outline: str


@cache
def elements() -> dict[str, Element]:
    """All elements by name.

    Example:
        >>> elements()["Camera"].labels["zh"], elements()["Camera"].uses["en"]
        ('相机', 'take a photograph')
    """
    here = files("wherenot.gui.screens")
    listed = yaml.safe_load((here / "elements.yaml").read_text(encoding="utf-8"))
    return {
        name: Element(
            name=name,
            labels={"en": name, "zh": chinese},
            uses={"en": use, "zh": chinese_use},
            color=color,
            outline=outline(icon),
        )
        for name, (icon, chinese, color, use, chinese_use) in listed.items()
    }


@cache
def phrases(locale: Locale) -> dict[str, Any]:
    """How a language puts things: filler words, instructions, thoughts, places on the screen."""
    return yaml.safe_load((files("wherenot.gui.screens") / "phrases.yaml").read_text(encoding="utf-8"))[locale]


def outline(icon: str) -> str:
    """The SVG path of an icon, also of those that only decorate."""
    return _outlines()[icon]


@cache
def _outlines() -> dict[str, str]:
    return json.loads((files("wherenot.gui.screens") / "icons.json").read_text(encoding="utf-8"))
