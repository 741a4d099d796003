"""Kinds of screens: what can lie where, and how they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wherenot.gui.screens.elements import outline
from wherenot.gui.screens.layouts import Group
from wherenot.gui.screens.sketch import Sketch, glyph, lines, page, status_bar, target, title

_APPS = (
    "Camera", "Gallery", "Mail", "Messages", "Calendar", "Clock", "Calculator", "Maps", "Music", "Podcasts", "Notes",
    "Weather", "Files", "Games", "Books", "News", "Phone", "Contacts", "Browser", "Settings", "Health", "Store",
    "Wallet", "Flashlight",
)  # fmt: skip
_SWITCHES = (
    "Wi-Fi", "Bluetooth", "Airplane mode", "Notifications", "Volume", "Brightness", "Battery", "Storage", "Location",
    "Lock screen", "Language", "Profile",
)  # fmt: skip
_TOOLS = ("Search", "Share", "Favorite", "Delete", "Add", "Bookmark", "Print", "Download", "Save", "Edit")
_TARGETS = (
    "Messages", "Mail", "Bluetooth", "Notes", "Print", "Files", "Browser", "Gallery", "Contacts", "Books", "News",
    "Maps",
)  # fmt: skip
_TABS = ("Home", "Search", "Cart", "Favorite", "Profile", "Store", "Wallet", "Notifications")
_FIELDS = ("Profile", "Mail", "Phone", "Location", "Calendar", "Language", "Wallet", "Lock screen")
_BUTTONS = ("Delete", "Save", "Share", "Print")
_CONTROLS = ("Shuffle", "Previous", "Play", "Next", "Repeat")
_EXTRAS = ("Favorite", "Playlist", "Download", "Share", "Volume", "Add")


def _home(sketch: Sketch) -> str:
    size, gap, top = sketch.between(44, 54), sketch.between(18, 30), sketch.between(40, 76)
    cells = [
        target(slot, sketch.icon(slot, size) + f"<span>{sketch.label(slot)}</span>", f"width:{size + 22}px", "app")
        for slot in range(20)
    ]
    dock = f"background:{'#0006' if sketch.dark else '#fff8'};bottom:{sketch.between(14, 40)}px"
    return (
        f'<div class="fill" style="background:{sketch.wallpaper()};color:{sketch.ink}">{status_bar(sketch)}'
        f'<div class="grid" style="margin-top:{top}px;row-gap:{gap}px">{"".join(cells[:16])}</div>'
        f'<div class="dock" style="{dock}">{"".join(cells[16:])}</div></div>'
    )


def _settings(sketch: Sketch) -> str:
    height, size = sketch.between(54, 64), sketch.between(28, 36)
    more = glyph(outline("chevron-right"), 20, "#9e9e9e")
    rows = [
        target(slot, f"{sketch.icon(slot, size)}<b>{sketch.label(slot)}</b>{more}", f"height:{height}px", "row")
        for slot in range(9)
    ]
    return page(sketch, title(sketch) + f'<div style="margin-top:{sketch.between(2, 30)}px">{"".join(rows)}</div>')


def _toolbar(sketch: Sketch) -> str:
    size = sketch.between(28, 36)
    tools = "".join(target(slot, sketch.icon(slot, size), "", "tool") for slot in range(4))
    corner = f"right:{sketch.between(12, 30)}px;bottom:{sketch.between(16, 50)}px"
    floating = target(4, sketch.icon(4, sketch.between(50, 60)), corner, "floating")
    text = f"<h3>{sketch.text(4)}</h3>{lines(sketch, sketch.between(8, 16))}"
    return page(sketch, f'<div class="tools">{tools}</div><div class="text">{text}</div>{floating}')


def _dialog(sketch: Sketch) -> str:
    size = sketch.between(42, 52)
    cells = "".join(
        target(slot, sketch.icon(slot, size) + f"<span>{sketch.label(slot)}</span>", f"width:{size + 24}px", "app")
        for slot in range(8)
    )
    behind = f'<div class="text">{lines(sketch, 12)}</div>'
    sheet = f'<h3>{sketch.text(3)}</h3><div class="grid" style="row-gap:{sketch.between(14, 26)}px">{cells}</div>'
    return page(
        sketch,
        f'{title(sketch)}{behind}<div class="scrim"></div>'
        f'<div class="sheet" style="background:{sketch.paper};padding-bottom:{sketch.between(16, 44)}px">{sheet}</div>',
    )


def _navigation(sketch: Sketch) -> str:
    cards = "".join(
        f'<div class="card" style="background:{sketch.wallpaper()};height:{sketch.between(80, 150)}px"></div>'
        f'<div class="text">{lines(sketch, 2)}</div>'
        for _ in range(3)
    )
    size = sketch.between(26, 34)
    tabs = "".join(
        target(slot, sketch.icon(slot, size) + f"<span>{sketch.label(slot)}</span>", "", "tab") for slot in range(5)
    )
    bar = f'<div class="tabs" style="background:{sketch.paper};height:{sketch.between(60, 74)}px">{tabs}</div>'
    return page(sketch, f"{title(sketch)}{cards}{bar}")


def _form(sketch: Sketch) -> str:
    height, size = sketch.between(50, 62), sketch.between(26, 32)
    edge = "#666" if sketch.dark else "#bdbdbd"
    rows = "".join(
        target(
            slot,
            f"{sketch.icon(slot, size)}<b>{sketch.label(slot)}</b>",
            f"height:{height}px;border-color:{edge}",
            "field",
        )
        for slot in range(6)
    )
    buttons = "".join(
        target(slot, f"{sketch.icon(slot, 24)}<b>{sketch.label(slot)}</b>", f"border-color:{edge}", "button")
        for slot in (6, 7)
    )
    return page(
        sketch,
        f'{title(sketch)}{rows}<div class="buttons" style="margin-top:{sketch.between(8, 60)}px">{buttons}</div>',
    )


def _player(sketch: Sketch) -> str:
    side = sketch.between(220, 280)
    cover = f'<div class="cover" style="width:{side}px;height:{side}px;background:{sketch.wallpaper()}"></div>'
    controls = "".join(target(slot, sketch.icon(slot, 54 if slot == 2 else 40), "", "tool") for slot in range(5))
    extras = "".join(target(slot, sketch.icon(slot, 34), "", "tool") for slot in range(5, 9))
    return page(
        sketch,
        f'{cover}<h3 style="text-align:center">{sketch.text(3)}</h3><div class="bar"></div>'
        f'<div class="tools wide" style="margin-top:{sketch.between(16, 40)}px">{controls}</div>'
        f'<div class="tools wide" style="margin-top:{sketch.between(20, 50)}px">{extras}</div>',
    )


@dataclass(frozen=True)
class Kind:
    """A kind of screen.

    Attributes:
        groups: Its slots.
        draw: Makes its HTML.
    """

    groups: tuple[Group, ...]
    draw: Callable[[Sketch], str]


KINDS: dict[str, Kind] = {
    "home": Kind((Group(_APPS, 20),), _home),
    "settings": Kind((Group(_SWITCHES, 9),), _settings),
    "toolbar": Kind((Group(_TOOLS, 5),), _toolbar),
    "dialog": Kind((Group(_TARGETS, 8),), _dialog),
    "navigation": Kind((Group(_TABS, 5),), _navigation),
    "form": Kind((Group(_FIELDS, 6), Group(_BUTTONS, 2)), _form),
    "player": Kind((Group(_CONTROLS, 5), Group(_EXTRAS, 4)), _player),
}
"""All kinds of screens by name."""
