"""What a set of rendered tasks is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wherenot.gui.screens.elements import Locale
from wherenot.gui.screens.kinds import KINDS
from wherenot.gui.screens.layouts import LayoutName
from wherenot.gui.screens.render import Renderer, ScreenPlan
from wherenot.gui.screens.tasks import Style, Task, draw_task

SPLITS: dict[str, LayoutName] = {
    "train": "habitual",
    "validation": "habitual",
    "test_habitual": "habitual",
    "test_shuffled": "shuffled",
    "test_moved": "moved",
    "test_distractor": "distractor",
}
"""Each split's layouts: who clicks from memory does well on the first three, and badly on the others."""


@dataclass(frozen=True, kw_only=True)
class ScreensConfig:
    """Click tasks on rendered screens, with a shortcut: where things usually are.

    Raises:
        ValueError: For numbers out of range, or a kind, locale or style that there is none of.
    """

    num_train: int = 771
    """Tasks to train on; with those of validation and one test set 936, as many as the paper has."""
    num_validation: int = 100
    """Tasks to choose settings by; laid out as those of training."""
    num_test: int = 65
    """Tasks of each of the four test sets: habitual, shuffled, moved, distractor."""
    tasks_per_screen: int = 1
    """Elements that are asked for on one screen."""
    rho: float = 0.9
    """Share of elements that lie in their habitual place, in train, validation and test_habitual."""
    kinds: tuple[str, ...] = tuple(KINDS)
    """Kinds of screens: home, settings, toolbar, dialog, navigation, form, player."""
    locales: tuple[Locale, ...] = ("en",)
    """Languages, one drawn for each screen."""
    styles: tuple[Style, ...] = ("direct", "functional", "contrast")
    """How things are asked for: by name, by what they are for, told apart from something else."""
    width: int = 360
    """Width of a screen in pixels; its height is twice that."""
    coordinate_step: int = 1
    """Coordinates are multiples of this, in thousandths of the screen."""
    thoughts: bool = True
    """Answers say what they think before they click."""
    seed: int = 0
    """Same seed, same screens."""

    def __post_init__(self) -> None:
        if min(self.num_train, self.num_validation, self.num_test) < 0 or self.tasks_per_screen < 1:
            raise ValueError("ScreensConfig: numbers of tasks must be >= 0, and tasks_per_screen >= 1.")
        if not 1 <= self.coordinate_step <= 100:
            raise ValueError(f"ScreensConfig: coordinate_step must lie in 1..100, got {self.coordinate_step}.")
        if not 0 <= self.rho <= 1:
            raise ValueError(f"ScreensConfig: rho must lie in [0, 1], got {self.rho}.")
        for what, given, known in (
            ("kinds", self.kinds, KINDS), ("locales", self.locales, ("en", "zh")),
            ("styles", self.styles, ("direct", "functional", "contrast")),
        ):  # fmt: skip
            if not given or set(given) - set(known):
                raise ValueError(f"ScreensConfig: {what} must be some of {', '.join(known)}, got {given}.")

    def number(self, split: str) -> int:
        """Tasks of a split."""
        return {"train": self.num_train, "validation": self.num_validation}.get(split, self.num_test)


def render_tasks(config: ScreensConfig, split: str, renderer: Renderer) -> Iterator[Task]:
    """Render the screens of a split, one after the other, and ask for elements on each.

    Args:
        config: What they are made of.
        split: One of `SPLITS`.
        renderer: Of the configuration's width.
    """
    number, place = config.number(split), list(SPLITS).index(split)
    done = first = 0
    while done < number:
        # A screen with few elements is asked about all of them; further screens make up for it.
        count = -(-(number - done) // config.tasks_per_screen)
        plans = [_plan(config, split, (config.seed, place, index)) for index in range(first, first + count)]
        for index, screen in enumerate(renderer.render(plans), start=first):
            rng = np.random.default_rng((config.seed, place, index, 2))
            for at in rng.permutation(len(screen.shown))[: min(config.tasks_per_screen, number - done)]:
                style = config.styles[int(rng.integers(len(config.styles)))]
                yield draw_task(screen, screen.shown[int(at)], style, rng)
                done += 1
        first += count


def _plan(config: ScreensConfig, split: str, seed: tuple[int, int, int]) -> ScreenPlan:
    rng = np.random.default_rng(seed)
    return ScreenPlan(
        kind=str(rng.choice(config.kinds)),
        layout=SPLITS[split],
        rho=config.rho,
        locale=config.locales[int(rng.integers(len(config.locales)))],
        seed=(*seed, 1),
    )
