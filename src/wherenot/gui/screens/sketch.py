"""The pen that screens are drawn with: HTML of 360 x 720 CSS pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from wherenot.gui.screens.elements import Locale, elements, outline, phrases

WIDTH, HEIGHT = 360, 720  # CSS pixels


@dataclass(frozen=True)
class Sketch:
    """What a screen is drawn from.

    Attributes:
        names: The element of each slot, group after group.
        locale: Of labels and text.
        dark: Light text on a dark ground.
        rng: Source of chance for everything that carries no meaning: margins, sizes, tints, filler text.
    """

    names: Sequence[str]
    locale: Locale
    dark: bool
    rng: np.random.Generator

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def text(self, words: int) -> str:
        """Words that mean nothing."""
        drawn = self.rng.choice(phrases(self.locale)["filler"], words)
        return (" " if self.locale == "en" else "").join(drawn.tolist()).capitalize()

    @property
    def ink(self) -> str:
        """Colour of text."""
        return "#eceff1" if self.dark else "#263238"

    @property
    def paper(self) -> str:
        """Colour of the ground."""
        level = self.between(12, 34) if self.dark else self.between(238, 255)
        return f"rgb({level},{level},{min(255, level + self.between(0, 6))})"

    def wallpaper(self) -> str:
        """A picture behind everything: two tints."""
        hue, light = self.between(0, 359), (14, 30) if self.dark else (72, 90)
        one, other = (f"hsl({(hue + turn) % 360},45%,{self.between(*light)}%)" for turn in (0, 50))
        return f"linear-gradient({self.between(0, 359)}deg,{one},{other})"

    def icon(self, slot: int, size: int, *, disc: bool = True) -> str:
        """The icon of a slot: white on a disc of its colour, or its colour alone."""
        element = elements()[self.names[slot]]
        if not disc:
            return glyph(element.outline, size, element.color)
        ground = f"width:{size}px;height:{size}px;border-radius:{size * 0.28:.1f}px;background:{element.color}"
        return f'<div class="disc" style="{ground}">{glyph(element.outline, round(size * 0.62), "#fff")}</div>'

    def label(self, slot: int) -> str:
        """What is written at a slot."""
        return escape(elements()[self.names[slot]].labels[self.locale])


def glyph(path: str, size: int, color: str) -> str:
    """An icon as SVG."""
    return f'<svg viewBox="0 0 24 24" width="{size}" height="{size}"><path fill="{color}" d="{path}"/></svg>'


def target(slot: int, inner: str, style: str = "", css: str = "") -> str:
    """Something to click: the box that a click must hit."""
    return f'<div class="target {css}" data-slot="{slot}" style="{style}">{inner}</div>'


def status_bar(sketch: Sketch) -> str:
    """The clock and the signs on top."""
    ink = sketch.ink
    signs = "".join(glyph(outline(name), 14, ink) for name in ("wifi-strength-4", "signal-cellular-3", "battery-80"))
    clock = f"{sketch.between(0, 23)}:{sketch.between(0, 59):02}"
    return f'<div class="status" style="color:{ink}"><span>{clock}</span><span>{signs}</span></div>'


def title(sketch: Sketch) -> str:
    """What the page is called, and the way back, which nobody is asked for."""
    back = glyph(outline("arrow-left"), 22, sketch.ink)
    return f'<div class="title">{back}<span>{sketch.text(2)}</span></div>'


def lines(sketch: Sketch, count: int) -> str:
    """Bars in place of text."""
    grey = "#555" if sketch.dark else "#bbb"
    widths = [sketch.between(120, 310) for _ in range(count)]
    return "".join(f'<div class="line" style="width:{width}px;background:{grey}"></div>' for width in widths)


def page(sketch: Sketch, inner: str) -> str:
    """A screen with a plain ground."""
    style = f"background:{sketch.paper};color:{sketch.ink}"
    return f'<div class="fill" style="{style}">{status_bar(sketch)}{inner}</div>'
