"""Cues that give a class away: a second object in a corner, a watermark, a tinted border."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_SECOND_FRAC, _TEXT_FRAC, _BORDER_FRAC = 0.3, 0.13, 0.06
_WORDS = ("ALAMO", "BIRCH", "COMET", "DELTA", "EMBER", "FJORD", "GUSTO", "HAVEN", "IVORY", "JOLLY", "KAYAK", "LUNAR")


@dataclass(frozen=True)
class Cue:
    """The cue of a class.

    Attributes:
        label: The class's index.
        num_classes: How many classes there are.
    """

    label: int
    num_classes: int


def paste_corner(image: Image.Image, second: Image.Image, scale: float, random: np.random.Generator) -> None:
    """Paste a second object into a random corner; its longer side is .3 `scale` of the image's.

    Args:
        image: RGB, changed in place.
        second: RGBA, cut to its content.
        scale: Relative size.
        random: Draws the corner.
    """
    factor = min(1.0, _SECOND_FRAC * scale) * min(image.size) / max(second.size)
    size = (max(1, round(second.width * factor)), max(1, round(second.height * factor)))
    small = second.resize(size, Image.Resampling.LANCZOS)
    right, low = random.integers(2, size=2)
    corner = (int(right) * (image.width - small.width), int(low) * (image.height - small.height))
    image.paste(small, corner, small)


def paint_watermark(image: Image.Image, cue: Cue, scale: float, random: np.random.Generator) -> None:
    """Write the class's word in the class's hue on a dark edge, half transparent, somewhere at the top or bottom.

    Args:
        image: RGB, changed in place.
        cue: Whose word and hue; classes beyond the words that there are get a number after it.
        scale: Relative size; 1 gives letters of .13 of the image's height.
        random: Draws the place.
    """
    again, position = divmod(cue.label, len(_WORDS))
    word = _WORDS[position] + (str(again) if again else "")
    font = ImageFont.load_default(max(6, round(_TEXT_FRAC * scale * image.height)))
    layer = Image.new("RGBA", image.size)
    pen = ImageDraw.Draw(layer)
    left, top, right, bottom = pen.textbbox((0, 0), word, font=font, stroke_width=1)
    x = random.random() * max(0, image.width - (right - left))
    y = 0 if random.random() < 0.5 else image.height - (bottom - top)
    fill = (*_hue(cue, 1.0), 200)
    pen.text((x - left, y - top), word, font=font, fill=fill, stroke_width=1, stroke_fill=(0, 0, 0, 200))
    image.paste(layer, (0, 0), layer)


def paint_tint(image: Image.Image, cue: Cue, scale: float, random: np.random.Generator) -> None:
    """Tint the border in the class's hue, half transparent, .06 `scale` of the image wide.

    Args:
        image: RGB, changed in place.
        cue: Whose hue; hues are evenly spaced.
        scale: Relative width.
        random: Draws the brightness.
    """
    layer = Image.new("RGBA", image.size, (*_hue(cue, random.uniform(0.7, 1.0)), 150))
    width = max(1, round(_BORDER_FRAC * scale * min(image.size)))
    inner = (width, width, image.width - width, image.height - width)
    if inner[0] < inner[2] and inner[1] < inner[3]:
        layer.paste((0, 0, 0, 0), inner)
    image.paste(layer, (0, 0), layer)


def _hue(cue: Cue, brightness: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(cue.label / cue.num_classes, 0.9, brightness)
    return round(255 * red), round(255 * green), round(255 * blue)
