"""What an interface consists of, from accessibility trees, and which element a click is about.

Two layouts are read:

- XML of ``uiautomator dump`` and its like: every node with ``bounds="[left,top][right,bottom]"`` is an element; of its
  other attributes ``text``, ``content-desc``, ``class``, ``clickable`` and ``visible-to-user`` count.
- JSON, a list of android_world's ``UIElement``: ``text``, ``content_description``, ``class_name``, ``is_clickable``,
  ``is_visible``, and ``bbox_pixels``, ``{"x_min", "y_min", "x_max", "y_max"}`` or ``[x0, y0, x1, y1]``.

Coordinates are pixels of the screenshot. Boxes are cut off at its border: lists scroll beyond it. What has no box, or
none on the screen, is no element; trees are full of such nodes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from wherenot.data.annotations import is_number
from wherenot.data.checked import read_text, read_xml
from wherenot.data.gui.compact import strict_json
from wherenot.data.samples import DataError, UiElement
from wherenot.priors import Prior

Box: TypeAlias = tuple[float, float, float, float]

DISC_FRAC = 0.04
_BOUNDS = re.compile(r"\[(-?\d{1,9}),(-?\d{1,9})\]\[(-?\d{1,9}),(-?\d{1,9})\]")
_SIDES = ("x_min", "y_min", "x_max", "y_max")


def read_elements(path: str | Path, size: tuple[int, int]) -> tuple[UiElement, ...]:
    """Read the elements of one screen (see the module).

    Args:
        path: An ``.xml`` of uiautomator or a ``.json`` of UIElements.
        size: Height and width of the screenshot.

    Returns:
        The elements in the order of the file, those that hold others first.

    Raises:
        DataError: If there is no such file or it cannot be read. It names file and reason.

    Example:
        >>> import tempfile
        >>> node = '<node class="Button" text="OK" clickable="true" bounds="[10,20][90,60]" />'
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = Path(root, "ui.xml").write_text(f"<hierarchy>{node}</hierarchy>")
        ...     read_elements(Path(root, "ui.xml"), size=(100, 50))
        (UiElement(box=(10.0, 20.0, 50.0, 60.0), text='OK', role='Button', clickable=True, visible=True),)
    """
    file = Path(path)
    if file.suffix.lower() == ".xml":
        found = _from_xml(file)
    elif file.suffix.lower() == ".json":
        found = _from_json(file)
    else:
        raise DataError(f"{file}: neither .xml of uiautomator nor .json of UIElements")
    return on_screen(found, size)


def on_screen(elements: list[UiElement], size: tuple[int, int]) -> tuple[UiElement, ...]:
    """Cut elements off at the border of the screen, and leave out those that have no area there."""
    height, width = size
    shown = []
    for each in elements:
        x0, y0, x1, y1 = each.box
        box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
        if box[0] < box[2] and box[1] < box[3]:
            shown.append(UiElement(box, each.text, each.role, each.clickable, each.visible))
    return tuple(shown)


def target_element(
    elements: tuple[UiElement, ...], point: tuple[float, float], size: tuple[int, int]
) -> UiElement | None:
    """Find what a click is about: the smallest clickable element around it, or else the smallest visible one.

    Hidden elements and those that fill the whole screen are no targets. Of equally small ones the first is taken.

    Args:
        elements: All of the screen.
        point: ``(x, y)`` in [0, 1] of width and height.
        size: Height and width of the screenshot.

    Returns:
        The element; None if no element is there.

    Example:
        >>> row = UiElement((0.0, 10.0, 100.0, 30.0), "Row", clickable=True)
        >>> icon = UiElement((0.0, 10.0, 20.0, 30.0), "Icon")
        >>> target_element((row, icon), (0.1, 0.2), size=(100, 100)).text  # the icon cannot be clicked
        'Row'
        >>> target_element((icon,), (0.1, 0.2), size=(100, 100)).text
        'Icon'
    """
    height, width = size
    x, y = _pixel(point, size)
    around = []
    for each in elements:
        x0, y0, x1, y1 = each.box
        fills = (x1 - x0) * (y1 - y0) >= width * height
        if each.visible and not fills and x0 <= x < x1 and y0 <= y < y1:
            around.append((not each.clickable, (x1 - x0) * (y1 - y0), len(around), each))
    return min(around)[-1] if around else None


def target_prior(
    box: Box | None,
    point: tuple[float, float] | None,
    read: Callable[[tuple[int, int]], tuple[UiElement, ...]],
    size: tuple[int, int],
) -> Prior | None:
    """Make the prior of a target: its box; without one the element around the point; without that a disc.

    The disc's radius is 4 % of the shorter side: what lies in it is right by AndroidControl's rule, which takes clicks
    within 4 % of width and height, and it is about as large as what a finger covers.

    Args:
        box: ``(x0, y0, x1, y1)``, half-open, in pixels.
        point: ``(x, y)`` in [0, 1] of width and height.
        read: Gives the elements for height and width; asked only where they count.
        size: Height and width of the screenshot.

    Returns:
        The prior; None without box and point.

    Raises:
        ValueError: If the box is empty or leaves the screen, or the elements cannot be read.

    Example:
        >>> int(target_prior(None, (0.5, 0.5), lambda size: (), size=(100, 100)).allowed.sum())
        52
    """
    if box is not None:
        return Prior.from_boxes([box], *size)
    if point is None:
        return None
    target = target_element(read(size), point, size)
    if target is not None:
        return Prior.from_boxes([target.box], *size)
    return Prior.from_click(*_pixel(point, size), *size, radius_px=DISC_FRAC * min(size))


def four_numbers(value: object) -> Box | None:
    """Take a value of JSON as four numbers; None if it is not."""
    if not isinstance(value, list) or len(value) != 4 or not all(map(is_number, value)):
        return None
    first, second, third, fourth = value
    return float(first), float(second), float(third), float(fourth)


def _pixel(point: tuple[float, float], size: tuple[int, int]) -> tuple[float, float]:
    # The far border of the screen, 1.0, belongs to its last pixel.
    (x, y), (height, width) = point, size
    return min(x * width, math.nextafter(width, 0)), min(y * height, math.nextafter(height, 0))


def _from_xml(file: Path) -> list[UiElement]:
    found = []
    for node in read_xml(file).iter():
        bounds = node.get("bounds")
        if bounds is None:
            continue
        corners = _BOUNDS.fullmatch(bounds)
        if corners is None:
            raise DataError(f'{file}: bounds="{bounds}" is not "[left,top][right,bottom]"')
        x0, y0, x1, y1 = map(float, corners.groups())
        text, role = node.get("text") or node.get("content-desc") or None, node.get("class") or node.tag
        clickable, visible = node.get("clickable") == "true", node.get("visible-to-user") != "false"
        found.append(UiElement((x0, y0, x1, y1), text, role, clickable, visible))
    return found


def _from_json(file: Path) -> list[UiElement]:
    if not file.is_file():
        raise DataError(f"{file}: no such file")
    try:
        listed = strict_json(read_text("read_elements", file))
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise ValueError("not a list of objects [{...}, ...]")
        return [_element(each) for each in listed if each.get("bbox_pixels") is not None]
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{file}: {error}") from error


def _element(keys: dict[str, Any]) -> UiElement:
    given = keys["bbox_pixels"]
    box = four_numbers([given.get(side) for side in _SIDES] if isinstance(given, dict) else given)
    if box is None:
        raise ValueError(f"bbox_pixels: {given!r} is not the numbers {', '.join(_SIDES)}")
    for key in ("text", "content_description", "class_name"):
        if not isinstance(keys.get(key), str | None):
            raise ValueError(f"{key}: {keys[key]!r} is not a text")
    for key in ("is_clickable", "is_visible"):
        if not isinstance(keys.get(key), bool | None):
            raise ValueError(f"{key}: {keys[key]!r} is neither true nor false")
    return UiElement(
        box,
        keys.get("text") or keys.get("content_description") or None,
        keys.get("class_name") or None,
        keys.get("is_clickable") is True,
        keys.get("is_visible") is not False,
    )
