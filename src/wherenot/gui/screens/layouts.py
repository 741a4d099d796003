"""Which element lies in which slot of a screen: by habit, or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from wherenot.gui.screens.elements import elements

LayoutName: TypeAlias = Literal["habitual", "shuffled", "moved", "distractor"]


@dataclass(frozen=True)
class Group:
    """Slots of a screen that the same elements can lie in.

    Attributes:
        pool: Names of the elements. The first has its habitual place in the first slot, the second in the second, and
            so on, from the start again where there are more elements than slots.
        slots: How many there are.
    """

    pool: tuple[str, ...]
    slots: int

    def habit(self, name: str) -> int:
        """The slot where an element usually lies."""
        return self.pool.index(name) % self.slots


def draw_layout(group: Group, layout: LayoutName, rho: float, rng: np.random.Generator) -> list[str]:
    """Draw which element lies in which slot.

    Args:
        group: The slots, and what can lie in them.
        layout: ``habitual``: everything in its habitual slot, but for a share of 1 - rho, drawn by chance, that
            exchange slots. ``shuffled``: by chance, habits say nothing. ``moved``: by chance, nothing in its habitual
            slot. ``distractor``: by habit, but elements that look most alike (by colour) have changed places, so that
            each habitual slot holds what is most easily taken for its element; of an odd number one stays.
        rho: How strong the habit is in ``habitual``, in [0, 1].
        rng: Source of chance.

    Returns:
        A name per slot.

    Example:
        >>> group = Group(("Wi-Fi", "Battery", "Volume", "Location"), 2)
        >>> names = draw_layout(group, "moved", 1.0, np.random.default_rng(0))
        >>> [group.habit(name) for name in names]
        [1, 0]
    """
    if layout in ("shuffled", "moved"):
        while True:
            names = [str(name) for name in rng.permutation(group.pool)[: group.slots]]
            if layout == "shuffled" or all(group.habit(name) != slot for slot, name in enumerate(names)):
                return names
    usual = [group.pool[slot :: group.slots] for slot in range(group.slots)]
    names = [str(rng.choice(those)) for those in usual]
    if layout == "distractor":
        for one, other in _look_alikes(names):
            names[one], names[other] = names[other], names[one]
        return names
    displaced = np.flatnonzero(rng.random(group.slots) >= rho).tolist()
    shift = int(rng.integers(1, len(displaced))) if len(displaced) > 1 else 0
    turned = displaced[shift:] + displaced[:shift]
    moved = {slot: names[other] for slot, other in zip(displaced, turned, strict=True)}
    return [moved.get(slot, name) for slot, name in enumerate(names)]


def _look_alikes(names: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of slots, the pair of most similar colours first, then the most similar of the rest."""
    colors = np.array([[int(elements()[name].color[at : at + 2], 16) for at in (1, 3, 5)] for name in names])
    distance = np.abs(colors[:, None] - colors[None]).sum(-1)
    pairs, left = [], set(range(len(names)))
    for one, other in sorted(
        ((one, other) for one in left for other in left if one < other), key=lambda pair: (distance[pair], pair)
    ):
        if one in left and other in left:
            pairs.append((one, other))
            left -= {one, other}
    return pairs
