"""Which numbers models write for a place on the screen.

A wrong convention looks like a bad model, so it is data, one row per family, and never guessed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from wherenot.gui.actions import Point

Number = int | float


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """The numbers in which a model writes places on one screen.

    Attributes:
        width: What is written for the right border.
        height: What is written for the bottom border.
        decimals: Decimals that are written; 0 = whole numbers.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> scale = Scale(width=1000, height=1000)
        >>> scale.to_screen(591, 915), scale.from_screen((0.591, 0.915))
        ((0.591, 0.915), (591, 915))
    """

    width: int
    height: int
    decimals: int = 0

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1 or self.decimals < 0:
            raise ValueError(f"Scale: {self}; pass width and height >= 1 and decimals >= 0.")

    def holds(self, x: Number, y: Number) -> bool:
        """Whether a place lies on the screen, borders included; false for NaN."""
        return 0 <= x <= self.width and 0 <= y <= self.height

    def to_screen(self, x: Number, y: Number) -> Point:
        """The place that a model means, each in [0, 1] of the screen.

        Raises:
            ValueError: If it lies outside the screen.
        """
        if not self.holds(x, y):
            raise ValueError(
                f"Scale.to_screen: ({x}, {y}) lies outside 0..{self.width} and 0..{self.height}; is this the model's "
                "convention?"
            )
        return x / self.width, y / self.height

    def from_screen(self, point: Point) -> tuple[Number, Number]:
        """What a model writes for a place, rounded to `decimals`; `to_screen` and back gives the same numbers.

        Raises:
            ValueError: If the place lies outside the screen.
        """
        if not all(0 <= number <= 1 for number in point):
            raise ValueError(f"Scale.from_screen: {point} lies outside the screen; pass shares in [0, 1].")
        x, y = point[0] * self.width, point[1] * self.height
        return (round(x, self.decimals), round(y, self.decimals)) if self.decimals else (round(x), round(y))


@dataclass(frozen=True, kw_only=True, slots=True)
class Convention:
    """How a family of models writes a place.

    Attributes:
        largest: What is written for the right and for the bottom border; None = the pixels of the image as the model
            gets it, after resizing.
        decimals: Decimals that are written; 0 = whole numbers.
    """

    largest: int | None
    decimals: int = 0

    def scale(self, resized: tuple[int, int] | None = None) -> Scale:
        """The numbers for one screen.

        Args:
            resized: Height and width of the image as the model gets it (`resized_size`, `resized_for`). Only pixels
                depend on it; the other conventions need none.

        Raises:
            ValueError: If the convention is pixels and `resized` is missing.

        Example:
            >>> CONVENTIONS["resized"].scale((1120, 504))
            Scale(width=504, height=1120, decimals=0)
        """
        if self.largest is not None:
            return Scale(width=self.largest, height=self.largest, decimals=self.decimals)
        if resized is None:
            raise ValueError(
                "Convention.scale: places are pixels of the resized image; pass its height and width, from resized_for."
            )
        height, width = resized
        return Scale(width=width, height=height, decimals=self.decimals)


ConventionName = Literal["unit", "0-999", "0-1000", "resized"]

CONVENTIONS: dict[ConventionName, Convention] = {
    "unit": Convention(largest=1, decimals=3),
    "0-999": Convention(largest=999),
    "0-1000": Convention(largest=1000),
    "resized": Convention(largest=None),
}


@dataclass(frozen=True, slots=True)
class Family:
    """A family of models, its convention, and where that is written down."""

    convention: ConventionName
    source: str


FAMILIES: dict[str, Family] = {
    "agentcpm-gui": Family("0-1000", "OpenBMB/AgentCPM-GUI, eval/utils/schema/schema.json"),
    "os-atlas": Family("0-1000", "OS-Atlas, README, Notes"),
    "uground-v1": Family("0-1000", "OSU-NLP-Group/UGround, README (the Qwen2-VL models)"),
    "qwen2-vl": Family("0-1000", "likaixin2000/ScreenSpot-Pro-GUI-Grounding, models/"),
    "internvl": Family("0-1000", "likaixin2000/ScreenSpot-Pro-GUI-Grounding, models/"),
    "minicpm-v": Family("0-1000", "likaixin2000/ScreenSpot-Pro-GUI-Grounding, models/"),
    "cogagent": Family("0-1000", "likaixin2000/ScreenSpot-Pro-GUI-Grounding, models/ (the model of 2024-12)"),
    "qwen2.5-vl": Family("resized", "QwenLM/Qwen3-VL#721, #866"),
    "qwen3-vl": Family("0-1000", "QwenLM/Qwen3-VL#1427, #1623"),
    "gui-owl-1.5": Family("0-1000", "built on Qwen3-VL"),
    "mai-ui": Family("0-999", "Tongyi-MAI/MAI-UI, src/*agent.py (its evaluation/ divides by 1000)"),
    "ui-tars": Family("0-1000", "bytedance/UI-TARS#157 (the first version)"),
    "ui-tars-1.5": Family("resized", "bytedance/UI-TARS, README_coordinates.md"),
    "holo1.5": Family("resized", "likaixin2000/ScreenSpot-Pro-GUI-Grounding, models/holo1_5.py"),
    "seeclick": Family("unit", "SeeClick, README"),
    "showui": Family("unit", "likaixin2000/ScreenSpot-Pro-GUI-Grounding, models/showui.py"),
    "kimi-vl": Family("unit", "likaixin2000/ScreenSpot-Pro-GUI-Grounding, models/kimivl.py"),
}


def convention_of(model: str) -> Convention:
    """The convention of a model, by its name or identifier: that of the longest family name in it.

    A model that was trained on other coordinates than its family has another convention; nobody but its authors knows.

    Raises:
        ValueError: If no family is known.

    Example:
        >>> convention_of("Qwen/Qwen2.5-VL-3B-Instruct") == CONVENTIONS["resized"]
        True
        >>> convention_of("ByteDance-Seed/UI-TARS-1.5-7B") == convention_of("bytedance-research/UI-TARS-7B-DPO")
        False
    """
    found = [name for name in FAMILIES if name in model.lower()]
    if not found:
        raise ValueError(
            f"convention_of: the coordinates of {model!r} are not known; known are {', '.join(FAMILIES)}. Take "
            f"one of CONVENTIONS: {', '.join(CONVENTIONS)}."
        )
    return CONVENTIONS[FAMILIES[max(found, key=len)].convention]


def resized_size(height: int, width: int, *, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """The size to which Qwen's processors resize an image: multiples of `factor`, about the same shape, bounded area.

    Args:
        height: Of the screenshot, in pixels.
        width: Of the screenshot.
        factor: Patch size times merge size: 28 for Qwen2-VL and Qwen2.5-VL, 32 for Qwen3-VL.
        min_pixels: An image with fewer pixels is enlarged.
        max_pixels: An image with more is reduced; an extreme one may keep more, since no side gets below `factor`.

    Returns:
        Height and width in pixels.

    Raises:
        ValueError: If a number is not positive, or one side is more than 200 times the other, as in the processors.

    Example:
        >>> resized_size(2720, 1260, factor=28, min_pixels=56 * 56, max_pixels=1280 * 28 * 28)
        (1456, 672)

    References:
        transformers, models/qwen2_vl, `smart_resize`: the same sizes.
    """
    if min(height, width, factor, min_pixels, max_pixels) < 1:
        raise ValueError(
            f"resized_size: {height}x{width}, factor {factor}, {min_pixels} to {max_pixels} pixels; pass numbers >= 1."
        )
    if max(height, width) / min(height, width) > 200:
        raise ValueError(f"resized_size: {height}x{width}; one side may be 200 times the other, crop the image.")
    # Python rounds halves to even, and so do the processors.
    rows, columns = round(height / factor), round(width / factor)
    if rows * columns * factor**2 > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rows = max(1, math.floor(height / shrink / factor))
        columns = max(1, math.floor(width / shrink / factor))
    elif rows * columns * factor**2 < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rows, columns = math.ceil(height * grow / factor), math.ceil(width * grow / factor)
    return rows * factor, columns * factor


@runtime_checkable
class ResizingProcessor(Protocol):
    """What is asked of a loaded image processor (`processor.image_processor`) of the Qwen family."""

    patch_size: int
    merge_size: int
    size: Any  # indexed by "shortest_edge" and "longest_edge", which hold numbers of pixels in spite of their names


def resized_for(image_processor: ResizingProcessor, height: int, width: int) -> tuple[int, int]:
    """Height and width to which a loaded processor of the Qwen family resizes a screenshot of that size.

    Raises:
        ValueError: As `resized_size`.
    """
    return resized_size(
        height,
        width,
        factor=image_processor.patch_size * image_processor.merge_size,
        min_pixels=image_processor.size["shortest_edge"],
        max_pixels=image_processor.size["longest_edge"],
    )
