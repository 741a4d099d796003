"""Rendered tasks as a data set."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

from PIL import Image

from wherenot.data import Dataset, GuiSample, UiElement
from wherenot.data.gui.compact import SCALE, write_compact
from wherenot.data.gui.elements import target_prior
from wherenot.gui.screens.config import SPLITS, ScreensConfig, render_tasks
from wherenot.gui.screens.render import Renderer
from wherenot.gui.screens.tasks import Task
from wherenot.priors import Prior


def render_dataset(config: ScreensConfig, renderer: Renderer, *, on_task: Callable[[], None] | None = None) -> Dataset:
    """Render all splits as click tasks in the form of the paper's.

    Answers are compact JSON: what the agent thinks, and the middle of the element in thousandths of the screen. Each
    sample brings its screen's elements; its kind, and its group, is the kind of screen. Screens are kept as PNGs.

    Args:
        config: What they are made of.
        renderer: Of the configuration's width.
        on_task: Called after each task.

    Returns:
        The data set; its only class is ``click``.
    """
    samples = []
    for split in SPLITS:
        last: tuple[Task, bytes, str] | None = None
        for number, task in enumerate(render_tasks(config, split, renderer)):
            # Tasks of one screen follow each other, and share its PNG.
            name = f"{split}/{number:05}"
            same = last is not None and last[0].screen is task.screen
            png, screen = last[1:] if last is not None and same else (_png(task.screen.image), name)
            last = task, png, screen
            samples.append(_sample(config, task, png, screen, name, split))
            if on_task is not None:
                on_task()
    return Dataset("screens", ("click",), tuple(samples))


def _sample(config: ScreensConfig, task: Task, png: bytes, screen: str, name: str, split: str) -> GuiSample:
    step = config.coordinate_step
    x, y = (round(share * SCALE / step) * step for share in task.point)
    elements = tuple(
        UiElement(box=shown.box, text=shown.label, role=shown.name, clickable=True) for shown in task.screen.shown
    )
    size = task.screen.image.height, task.screen.image.width
    thought = task.thought if config.thoughts else None
    return GuiSample(
        id=name,
        label=0,
        split=split,
        group=task.screen.plan.kind,
        read_image=partial(_image, png),
        read_prior=partial(_prior, task.target.box, size),
        prompt=task.instruction,
        right=write_compact(thought=thought, POINT=[x, y]),
        instruction=task.instruction,
        box=task.target.box,
        point=(x / SCALE, y / SCALE),
        thought=thought,
        elements=partial(tuple, elements),
        kind=task.screen.plan.kind,
        screenshot=screen,
    )


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _image(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def _prior(box: tuple[float, float, float, float], size: tuple[int, int]) -> Prior | None:
    return target_prior(box, None, lambda _: (), size)
