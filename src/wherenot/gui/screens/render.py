"""Screens rendered by a headless Chromium, many in one page and cut apart."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from PIL import Image

from wherenot.gui.screens.elements import Locale, elements
from wherenot.gui.screens.kinds import KINDS
from wherenot.gui.screens.layouts import LayoutName, draw_layout
from wherenot.gui.screens.sketch import HEIGHT, WIDTH, Sketch

_STYLE = (files("wherenot.gui.screens") / "screens.css").read_text(encoding="utf-8")
_ACROSS = 8  # screens side by side in a page
_PAGE_PX = 12e6  # about the most pixels of a page
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
          "--disable-sync", "--no-first-run", "--force-color-profile=srgb", "--font-render-hinting=none")  # fmt: skip

# Boxes of everything that can be clicked, in pixels of its screen, and whether a click in the middle reaches it.
_MEASURE = """screens => screens.map(at => {
  const screen = document.getElementById('screen-' + at), own = screen.getBoundingClientRect();
  return [...screen.querySelectorAll('.target')].map(target => {
    const box = target.getBoundingClientRect();
    const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    return [Number(target.dataset.slot), box.x - own.x, box.y - own.y, box.right - own.x, box.bottom - own.y,
            target.contains(hit)];
  });
})"""
_HAS_CHINESE = """() => {
  const drawn = text => {
    const canvas = document.createElement('canvas'), pen = canvas.getContext('2d');
    pen.font = '20px sans-serif'; pen.fillText(text, 0, 24);
    return canvas.toDataURL();
  };
  return drawn('\\u8bbe') !== drawn('\\u4e01');
}"""


@dataclass(frozen=True, kw_only=True)
class ScreenPlan:
    """One screen to be rendered; everything about it follows from this.

    Attributes:
        kind: One of `KINDS`.
        layout: Whether elements lie where they usually do (`draw_layout`).
        rho: How strong the habit is.
        locale: Language of labels.
        seed: Of everything that is drawn by chance.
    """

    kind: str
    layout: LayoutName = "habitual"
    rho: float = 1.0
    locale: Locale = "en"
    seed: int | tuple[int, ...] = 0


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An element on a rendered screen.

    Attributes:
        name: Of the element.
        label: What a person calls it, in the screen's language.
        box: xyxy, half-open, in pixels of the screen.
        habitual: Whether it lies where it usually does.
    """

    name: str
    label: str
    box: tuple[float, float, float, float]
    habitual: bool


@dataclass(frozen=True, kw_only=True)
class Screen:
    """A rendered screen.

    Attributes:
        image: RGB.
        shown: What can be clicked on it, from the first slot to the last.
        plan: What it was rendered from.
    """

    image: Image.Image
    shown: tuple[Shown, ...]
    plan: ScreenPlan


class Renderer:
    """A headless browser that renders screens; use `open_renderer`."""

    def __init__(self, page: Any, scale: float) -> None:
        self._page = page
        self._scale = scale
        pixels = WIDTH * HEIGHT * scale**2
        self._per_page = int(min(32, max(1, _PAGE_PX // pixels)))
        self._chinese: bool | None = None

    def render(self, plans: Sequence[ScreenPlan]) -> Iterator[Screen]:
        """Render screens, in order.

        The same plans give the same pixels with the same browser and fonts. Rendered in other company a screen has the
        same elements and boxes, but its edges may be smoothed a little differently.

        Args:
            plans: What to render.

        Raises:
            ValueError: If a kind or layout is unknown, no font has Chinese letters, or an element is covered by
                something, so that a click would miss it.
        """
        for start in range(0, len(plans), self._per_page):
            yield from self._sheet(plans[start : start + self._per_page])

    def _sheet(self, plans: Sequence[ScreenPlan]) -> Iterator[Screen]:
        self._check(plans)
        drawn = [_drawn(plan) for plan in plans]
        across = min(_ACROSS, len(plans))
        down = -(-len(plans) // across)
        cells = [
            f'<div class="screen" id="screen-{at}" style="left:{at % across * WIDTH}px;top:{at // across * HEIGHT}px">'
            f"{html}</div>"
            for at, (html, _) in enumerate(drawn)
        ]
        self._page.set_viewport_size({"width": across * WIDTH, "height": down * HEIGHT})
        self._page.set_content(f"<style>{_STYLE}</style>{''.join(cells)}")
        measured = self._page.evaluate(_MEASURE, list(range(len(plans))))
        sheet = Image.open(io.BytesIO(self._page.screenshot(type="png"))).convert("RGB")
        for at, (plan, (_, names), boxes) in enumerate(zip(plans, drawn, measured, strict=True)):
            edges = [at % across * WIDTH, at // across * HEIGHT]
            left, top = (round(edge * self._scale) for edge in edges)
            size = round(WIDTH * self._scale), round(HEIGHT * self._scale)
            image = sheet.crop((left, top, left + size[0], top + size[1]))
            yield Screen(image=image, shown=self._shown(plan, names, boxes, size), plan=plan)

    def _shown(
        self, plan: ScreenPlan, names: Sequence[str], boxes: Sequence[Sequence[int | float]], size: tuple[int, int]
    ) -> tuple[Shown, ...]:
        slots = [(group, slot) for group in KINDS[plan.kind].groups for slot in range(group.slots)]
        shown = []
        for (group, slot), name, box in zip(slots, names, sorted(boxes, key=lambda box: box[0]), strict=True):
            if not box[-1]:
                raise ValueError(f"render: {name!r} of {plan} is covered; a click in its middle would miss it.")
            left, top, right, bottom = (edge * self._scale for edge in box[1:5])
            shown.append(
                Shown(
                    name=name,
                    label=elements()[name].labels[plan.locale],
                    box=(max(left, 0.0), max(top, 0.0), min(right, float(size[0])), min(bottom, float(size[1]))),
                    habitual=group.habit(name) == slot,
                )
            )
        return tuple(shown)

    def _check(self, plans: Sequence[ScreenPlan]) -> None:
        for plan in plans:
            if plan.kind not in KINDS:
                raise ValueError(f"render: no kind of screen is called {plan.kind!r}; there are {', '.join(KINDS)}.")
        if any(plan.locale == "zh" for plan in plans):
            if self._chinese is None:
                self._chinese = bool(self._page.evaluate(_HAS_CHINESE))
            if not self._chinese:
                raise ValueError(
                    "render: no font has Chinese letters; install one (apt install fonts-noto-cjk), or leave out zh."
                )


def _drawn(plan: ScreenPlan) -> tuple[str, list[str]]:
    """HTML of a screen, and the element of each slot."""
    rng = np.random.default_rng(plan.seed)
    kind = KINDS[plan.kind]
    names = [name for group in kind.groups for name in draw_layout(group, plan.layout, plan.rho, rng)]
    return kind.draw(Sketch(names, plan.locale, bool(rng.random() < 0.5), rng)), names


@contextmanager
def open_renderer(width: int = 360, *, browser: str | None = None) -> Iterator[Renderer]:
    """Start a headless Chromium that renders screens of a given width; their height is twice that.

    Args:
        width: Of a screen, in pixels.
        browser: Path of a Chromium; left out, the one in ``$CHROMIUM``, on the PATH, or Playwright's own.

    Raises:
        ValueError: If Playwright or a browser is missing, or the width is below 64.
    """
    if width < 64:
        raise ValueError(f"open_renderer: width must be >= 64 pixels, got {width}.")
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise ValueError("open_renderer: needs Playwright; run: pip install 'wherenot[screens]'") from error
    path = browser or os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    scale = width / WIDTH
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        except Error as error:
            raise ValueError(
                "open_renderer: no Chromium starts; run: playwright install chromium (or apt install chromium)."
                f" It says: {str(error).splitlines()[0]}"
            ) from error
        try:
            yield Renderer(chromium.new_page(device_scale_factor=scale), scale)
        finally:
            chromium.close()
