"""Actions of recorded Android episodes, said in the keys of compact JSON (`data.gui.compact`)."""

from __future__ import annotations

import math
from typing import Any

from wherenot.data.annotations import is_number
from wherenot.data.gui.compact import SCALE, TAP_MS, strict_json

SWIPE_FRAC = 0.04  # of height and width together, as Android in the Wild tells a swipe from a click
LONG_MS = 1000

_PRESSES = {5: "BACK", 6: "HOME", 7: "ENTER", "navigate_back": "BACK", "navigate_home": "HOME"}
_STATUSES = {10: "finish", 11: "impossible"}
_FINGER = {"up": "down", "down": "up", "left": "right", "right": "left"}  # of a scroll in that direction


class NoActionError(Exception):
    """The step is sound, but compact JSON cannot say what is done in it."""


def touched(keys: dict[str, Any]) -> dict[str, Any]:
    """Say an action of AITZ's keys in those of compact JSON.

    Args:
        keys: With ``result_action_type`` and what belongs to it.

    Returns:
        Keys for `write_compact`. Points are cut off to whole thousandths, as in the data of the paper.

    Raises:
        ValueError: If a key is missing or malformed, or the action is unknown.
        NoActionError: If compact JSON cannot say it.

    Example:
        >>> touched({"result_action_type": 4, "result_touch_yx": "[0.8, 0.5]", "result_lift_yx": "[0.2, 0.5]"})
        {'POINT': [500, 800], 'to': 'up'}
    """
    kind = keys.get("result_action_type")
    if isinstance(kind, bool) or not isinstance(kind, int):
        raise ValueError(f"result_action_type: {kind!r} is not a whole number")
    if kind in (0, 4):
        (y0, x0), (y1, x1) = (_position(keys, key) for key in ("result_touch_yx", "result_lift_yx"))
        point = _location(x0, y0)
        if kind == 0:
            return {"POINT": point, "duration": LONG_MS}
        if math.hypot(x1 - x0, y1 - y0) <= SWIPE_FRAC:
            return {"POINT": point}
        upright = abs(y1 - y0) >= abs(x1 - x0)
        return {"POINT": point, "to": ("up" if y1 < y0 else "down") if upright else "left" if x1 < x0 else "right"}
    if kind == 1:
        return {"duration": TAP_MS if keys.get("duration") is None else keys["duration"]}
    if kind == 3:
        return {"TYPE": _typed(keys, "result_action_text")}
    if kind in _PRESSES:
        return {"PRESS": _PRESSES[kind]}
    if kind in _STATUSES:
        return {"STATUS": _STATUSES[kind]}
    if kind == 12:
        raise NoActionError("opens an app by name, which compact JSON cannot say")
    raise ValueError(f"result_action_type: {kind} is none of 0, 1, 3 to 7, 10 to 12")


def controlled(keys: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Say an action of AndroidControl in the keys of compact JSON.

    Args:
        keys: With ``action``, an object or a text of one.
        size: Height and width of the screenshot.

    Returns:
        Keys for `write_compact`. Scrolling down is a finger that moves up, from the middle of the screen.

    Raises:
        ValueError: If it is malformed, unknown, or points off the screen.
        NoActionError: If compact JSON cannot say it.

    Example:
        >>> controlled({"action": {"action_type": "scroll", "direction": "down"}}, size=(2400, 1080))
        {'POINT': [500, 500], 'to': 'up'}
    """
    action = parsed(keys, "action")
    if not isinstance(action, dict):
        raise ValueError(f"action: {action!r} is not an object {{...}}")
    kind, direction = action.get("action_type"), action.get("direction")
    if kind in ("click", "long_press"):
        if not is_number(action.get("x")) or not is_number(action.get("y")):
            raise ValueError(f"action: x and y of {action!r} are not numbers of pixels")
        height, width = size
        point = _location(action["x"] / width, action["y"] / height)
        return {"POINT": point, "duration": LONG_MS if kind == "long_press" else None}
    if kind == "scroll":
        if not isinstance(direction, str) or direction not in _FINGER:
            raise ValueError(f"action: direction {direction!r} is none of {', '.join(_FINGER)}")
        return {"POINT": [SCALE // 2, SCALE // 2], "to": _FINGER[direction]}
    if kind == "input_text":
        return {"TYPE": _typed(action, "text")}
    if isinstance(kind, str) and kind in _PRESSES:
        return {"PRESS": _PRESSES[kind]}
    if kind == "wait":
        return {"duration": TAP_MS}
    if kind in ("open_app", "type"):
        raise NoActionError(f"action_type {kind!r}, which compact JSON cannot say")
    raise ValueError(f"action: action_type {kind!r} is unknown")


def _typed(keys: dict[str, Any], key: str) -> str:
    if not isinstance(keys.get(key), str):
        raise ValueError(f"{key}: {keys.get(key)!r} is not a text")
    return keys[key]


def parsed(keys: dict[str, Any], key: str) -> Any:
    """Take a value that may be a text of JSON; None if it is not there."""
    value = keys.get(key)
    try:
        return strict_json(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"{key}: a text that is not JSON ({error})") from error


def _position(keys: dict[str, Any], key: str) -> tuple[float, float]:
    value = parsed(keys, key)
    if not isinstance(value, list) or len(value) != 2 or not all(is_number(each) and 0 <= each <= 1 for each in value):
        raise ValueError(f"{key}: {value!r} is not [y, x] in [0, 1]")
    return float(value[0]), float(value[1])


def _location(x: float, y: float) -> list[int]:
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise ValueError(f"the point ({x:.3f}, {y:.3f}) of width and height is off the screen")
    return [int(round(x * SCALE, 6)), int(round(y * SCALE, 6))]  # 0.3 * 1000 and its like may fall short by noise
