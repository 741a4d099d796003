"""What the assistant says in GUI data: one action as compact JSON, read strictly.

    {"thought":"The browser opens it.","POINT":[591,915]}

The keys are AgentCPM-GUI's, all optional: ``thought``, a text; ``POINT``, two whole numbers in 0..1000, x first, of
the screen's width and height; ``to``, a direction or a second such point; ``duration``, whole milliseconds;
``PRESS``, ``HOME``, ``BACK`` or ``ENTER``; ``TYPE``, a text; ``STATUS``. Anything else is a fault: these are data to
learn from, not what a model said.

References:
    Zhang et al., "AgentCPM-GUI", arXiv 2506.01391, its action space and JSON schema. The schema in A.1 of "Where Not to
    Learn" is the same, but for its braces, which close ``properties`` too early.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wherenot.data.checked import parse_json

SCALE = 1000  # of POINT
TAP_MS = 200  # the schema's default duration; a longer one makes a long press
DIRECTIONS = ("up", "down", "left", "right")
PRESSES = ("HOME", "BACK", "ENTER")
STATUSES = ("continue", "finish", "satisfied", "impossible", "interrupt", "need_feedback")


@dataclass(frozen=True)
class Compact:
    """An action, as far as the data need to know it.

    Attributes:
        kind: ``click``, ``long_press``, ``swipe``, ``press``, ``type``, ``wait`` or ``status``.
        point: Where to click or press long, ``(x, y)`` in [0, 1] of width and height; None for other actions.
        thought: What was thought before; None = nothing.
    """

    kind: str
    point: tuple[float, float] | None = None
    thought: str | None = None


def strict_json(text: str) -> Any:
    """Parse JSON that names no key twice and holds no NaN or infinity; else a ValueError, as of `parse_json`."""
    return parse_json(text, object_pairs_hook=_different, parse_constant=_no_number)


def read_compact(text: str) -> Compact:
    """Read what the assistant says.

    Args:
        text: One JSON object and nothing around it.

    Returns:
        The action. Its kind is found as AgentCPM's evaluator finds it: a status other than ``continue`` first, then
        text, then what is done at the point, then a key, then a wait.

    Raises:
        ValueError: If it is no JSON object, has an unknown key, a value that its key does not allow, ``to`` without a
            point, or no action. It names every fault.

    Example:
        >>> read_compact('{"thought":"There.","POINT":[500,250]}')
        Compact(kind='click', point=(0.5, 0.25), thought='There.')
    """
    try:
        said = strict_json(text)
    except ValueError as error:
        raise ValueError(f"the assistant's content is not JSON ({error})") from error
    if not isinstance(said, dict):
        raise ValueError(f"the assistant's content is {said!r}, not a JSON object {{...}}")
    faults = [f"{key!r} is no key of an action; they are {', '.join(_RULES)}" for key in said if key not in _RULES]
    for key, (fits, rule) in _RULES.items():
        if key in said and not fits(said[key]):
            faults.append(f"{key}: {said[key]!r} is not {rule}")
    if "to" in said and "POINT" not in said:
        faults.append("to: there is no POINT to start from")
    if not said.keys() & {"POINT", "duration", "PRESS", "TYPE", "STATUS"}:
        faults.append("no action")
    if faults:
        raise ValueError("; ".join(faults))
    x, y = said.get("POINT", (0, 0))
    clicks = "POINT" in said and "to" not in said
    return Compact(_kind(said), (x / SCALE, y / SCALE) if clicks else None, said.get("thought"))


def write_compact(**said: Any) -> str:
    """Write an action; keys whose value is None are left out.

    Args:
        **said: The keys, as in the module's description.

    Returns:
        Compact JSON that `read_compact` reads.

    Raises:
        ValueError: If `read_compact` would refuse it.

    Example:
        >>> write_compact(thought=None, POINT=[500, 250])
        '{"POINT":[500,250]}'
    """
    given = {key: value for key, value in said.items() if value is not None}
    text = json.dumps(given, ensure_ascii=False, separators=(",", ":"))
    read_compact(text)
    return text


def _kind(said: dict[str, Any]) -> str:
    if said.get("STATUS", "continue") != "continue":
        return "status"
    if "TYPE" in said:
        return "type"
    if "POINT" in said:
        held = said.get("duration", TAP_MS) > TAP_MS
        return "swipe" if "to" in said else "long_press" if held else "click"
    if "PRESS" in said:
        return "press"
    return "wait" if "duration" in said else "status"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_location(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_is_whole(each) and 0 <= each <= SCALE for each in value)


# What each key allows, and in words.
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "thought": (lambda value: isinstance(value, str), "a text"),
    "POINT": (_is_location, f"two whole numbers in 0..{SCALE}"),
    "to": (
        lambda value: _is_location(value) or value in DIRECTIONS,
        f"one of {', '.join(DIRECTIONS)}, nor two whole numbers in 0..{SCALE}",
    ),
    "duration": (lambda value: _is_whole(value) and value >= 0, "a whole number of milliseconds"),
    "PRESS": (lambda value: value in PRESSES, f"one of {', '.join(PRESSES)}"),
    "TYPE": (lambda value: isinstance(value, str), "a text"),
    "STATUS": (lambda value: value in STATUSES, f"one of {', '.join(STATUSES)}"),
}


def _different(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in keys if names.count(name) > 1)!r} stands twice in one object")
    return keys


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")
