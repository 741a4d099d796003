"""Rendered screens in memory, as the tiny agent learns from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from wherenot.gui.agent.model import HEIGHT, PATCH, WIDTH
from wherenot.gui.screens.elements import elements
from wherenot.gui.screens.kinds import KINDS
from wherenot.gui.screens.layouts import LayoutName
from wherenot.gui.screens.render import Renderer, ScreenPlan

NAMES: tuple[str, ...] = tuple(elements())
"""All elements; an element is known by its place in this list."""
ACROSS, DOWN = WIDTH // PATCH, HEIGHT // PATCH  # patches


@dataclass(frozen=True)
class Bank:
    """Screens and what is on them. An element that a screen does not have has the name -1.

    Attributes:
        images: RGB.
        names: Which element, as an index into `NAMES`.
        boxes: Where it is: xyxy in shares of the screen, in [0, 1].
        habitual: Whether it lies where it usually does.
    """

    images: UInt8[Tensor, "N H W 3"]
    names: Int[Tensor, "N E"]
    boxes: Float[Tensor, "N E 4"]
    habitual: Int[Tensor, "N E"]

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, rows: Int[Tensor, " B"]) -> Float[Tensor, "B 3 H W"]:
        """Images as the agent's processor makes them."""
        return self.images[rows].permute(0, 3, 1, 2).float() / 127.5 - 1

    def on_targets(self, rows: Int[Tensor, " B"]) -> Bool[Tensor, "B E P"]:
        """Which patches show each element: those whose middle it covers, and the one that holds its own middle.

        Nothing shows an element that a screen does not have.
        """
        left, top, right, bottom = (edge[..., None] for edge in self.boxes[rows].unbind(-1))
        x, y = patch_middles().unbind(-1)
        covered = (left <= x) & (x < right) & (top <= y) & (y < bottom)
        column, row = (((left + right) / 2 * ACROSS).long(), ((top + bottom) / 2 * DOWN).long())
        holding = row.clamp(max=DOWN - 1) * ACROSS + column.clamp(max=ACROSS - 1) == torch.arange(ACROSS * DOWN)
        return (covered | holding) & (self.names[rows] >= 0)[..., None]

    def middles(self, rows: Int[Tensor, " B"]) -> Float[Tensor, "B E 2"]:
        """Middles of the elements, x and y, in shares of the screen."""
        boxes = self.boxes[rows]
        return (boxes[..., :2] + boxes[..., 2:]) / 2


def patch_middles() -> Float[Tensor, "P 2"]:
    """Middles of the patches, x and y, in shares of the screen; row by row.

    Example:
        >>> patch_middles()[[0, 1, 8]]
        tensor([[0.0625, 0.0312],
                [0.1875, 0.0312],
                [0.0625, 0.0938]])
    """
    y, x = torch.meshgrid((torch.arange(DOWN) + 0.5) / DOWN, (torch.arange(ACROSS) + 0.5) / ACROSS, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


def render_bank(
    renderer: Renderer,
    count: int,
    *,
    layout: LayoutName = "shuffled",
    rho: float = 1.0,
    seed: int = 0,
    kinds: Sequence[str] = tuple(KINDS),
    on_screen: Callable[[], None] | None = None,
) -> Bank:
    """Render screens of the agent's size.

    Args:
        renderer: Of the agent's width.
        count: How many.
        layout: Where elements lie.
        rho: How strong the habit is, for ``habitual``.
        seed: Of the screens.
        kinds: Kinds of screens, one after the other.
        on_screen: Called after each.
    """
    plans = [
        ScreenPlan(kind=kinds[index % len(kinds)], layout=layout, rho=rho, seed=(seed, index)) for index in range(count)
    ]
    most = max(sum(group.slots for group in KINDS[kind].groups) for kind in kinds)
    images = np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)
    names, habitual = torch.full((count, most), -1), torch.zeros(count, most, dtype=torch.long)
    boxes = torch.zeros(count, most, 4)
    size = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    for row, screen in enumerate(renderer.render(plans)):
        images[row] = np.asarray(screen.image)
        for place, shown in enumerate(screen.shown):
            names[row, place] = NAMES.index(shown.name)
            boxes[row, place] = torch.tensor(shown.box) / size
            habitual[row, place] = int(shown.habitual)
        if on_screen is not None:
            on_screen()
    return Bank(torch.from_numpy(images), names, boxes, habitual)
