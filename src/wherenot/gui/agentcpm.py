"""AgentCPM-GUI's actions: one compact JSON object, the format of the paper's data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from wherenot.gui.actions import DIRECTIONS, STATUSES, Action, Direction, Point, Status
from wherenot.gui.coordinates import Scale
from wherenot.gui.reading import Fields, Notes, Unreadable, find_objects, note_outside, read_reply
from wherenot.gui.replies import Reply

CLICK_MS = 200
"""The format's default duration; a point that is held longer is a long press."""

_KEYS = frozenset({"thought", "POINT", "to", "duration", "PRESS", "TYPE", "STATUS"})
_PRESS = {"HOME": "home", "BACK": "back", "ENTER": "enter"}
_STATUSES: dict[str, Status] = {name: name for name in STATUSES}
_DIRECTIONS: dict[str, Direction] = {name: name for name in DIRECTIONS}
_WRITTEN_KEYS = {key: name for name, key in _PRESS.items()}


def agentcpm_schema(*, thought_required: bool = False) -> dict[str, Any]:
    """The JSON Schema of an action, for prompts and for checks.

    All keys stand inside `properties`; the schema printed in the paper's appendix closes that object too early, which
    leaves half of its keys without effect.

    Args:
        thought_required: Whether a thought must be given, or may.

    Example:
        >>> list(agentcpm_schema()["properties"])
        ['thought', 'POINT', 'to', 'duration', 'PRESS', 'TYPE', 'STATUS']

    References:
        AgentCPM-GUI's action space; "Where Not to Learn", arXiv 2602.07008, A.1. The descriptions are ours.
    """
    thought = {"required": ["thought"]} if thought_required else {"optional": ["thought"]}
    location = {"$ref": "#/$defs/Location"}
    return {
        "type": "object",
        "description": "The next action on the screen, and how the task stands",
        "additionalProperties": False,
        **thought,
        "properties": {
            "thought": {"type": "string", "description": "Why this action"},
            "POINT": {**location, "description": "Where to touch the screen"},
            "to": {
                "description": "Where the finger moves from POINT",
                "oneOf": [{"enum": list(DIRECTIONS)}, location],
            },
            "duration": {
                "type": "integer",
                "description": "How long to touch or to wait, in milliseconds",
                "minimum": 0,
                "default": CLICK_MS,
            },
            "PRESS": {"type": "string", "description": "A key of the device", "enum": list(_PRESS)},
            "TYPE": {"type": "string", "description": "Text to enter"},
            "STATUS": {
                "type": "string",
                "description": "How the task stands",
                "enum": list(STATUSES),
                "default": "continue",
            },
        },
        "$defs": {
            "Location": {
                "type": "array",
                "description": "x and y from the top left corner, each in thousandths of the screen",
                "items": {"type": "integer", "minimum": 0, "maximum": 1000},
                "minItems": 2,
                "maxItems": 2,
            }
        },
    }


def schema_violations(text: str, *, thought_required: bool = False) -> list[str]:
    """What in an output breaks the schema, strictly: nothing is tolerated. Needs jsonschema.

    Args:
        text: The output; it must be the JSON object and nothing else.
        thought_required: Whether a thought must be given.

    Returns:
        One sentence for each violation; none if the output conforms.

    Raises:
        ValueError: If jsonschema is not installed.

    Example:
        >>> schema_violations('{"POINT":[480,320]}'), schema_violations('{"PRESS":"home"}')
        ([], ["PRESS: 'home' is not one of ['HOME', 'BACK', 'ENTER']"])
    """
    try:
        from jsonschema import Draft202012Validator
    except ImportError as error:
        raise ValueError("schema_violations: needs jsonschema; run: pip install 'wherenot[mllm]'") from error
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return [f"not JSON: {error}"]
    found = Draft202012Validator(agentcpm_schema(thought_required=thought_required)).iter_errors(value)
    return [f"{'.'.join(map(str, error.path)) or 'action'}: {error.message}" for error in found]


@dataclass(frozen=True, slots=True)
class AgentCpm:
    """The codec of AgentCPM-GUI's compact JSON.

    Coordinates are thousandths: `CONVENTIONS["0-1000"].scale()`. What an object with several keys does follows the
    authors' evaluator: a STATUS that ends the task comes before TYPE, POINT, PRESS and a bare duration. POINT with a
    duration up to 200 ms is a click. Differs for POINT with `to` and a longer duration: a slow swipe here, a long
    press there.

    Example:
        >>> from wherenot.gui import CONVENTIONS
        >>> scale = CONVENTIONS["0-1000"].scale()
        >>> AgentCpm().write(Action(kind="click", point=(0.591, 0.915)), scale=scale, thought="Tap the browser.")
        '{"thought":"Tap the browser.","POINT":[591,915]}'
        >>> AgentCpm().read('{"STATUS":"finish"}', scale=scale).action.status
        'finish'
    """

    def write(self, action: Action, *, scale: Scale, thought: str | None = None) -> str:
        """Write an action as the `Codec` protocol says."""
        values = {} if thought is None else {"thought": thought}
        return json.dumps({**values, **_written(action, scale)}, ensure_ascii=False, separators=(",", ":"))

    def read(self, text: str, *, scale: Scale) -> Reply:
        """Read an output as the `Codec` protocol says."""
        return read_reply(text, lambda text, notes: _read(text, notes, scale))


def _written(action: Action, scale: Scale) -> dict[str, Any]:
    point = {} if action.point is None else {"POINT": list(scale.from_screen(action.point))}
    duration = {} if action.duration_ms is None else {"duration": action.duration_ms}
    if action.kind == "long_press" and (action.duration_ms is None or action.duration_ms <= CLICK_MS):
        raise ValueError(
            f"AgentCpm.write: a long press of {action.duration_ms} ms; the format tells it from a click by a duration "
            f"over {CLICK_MS} ms, pass one."
        )
    if action.kind == "swipe" and action.to is not None:
        if not point:
            raise ValueError("AgentCpm.write: a swipe that starts nowhere; the format needs a point, pass one.")
        to = action.to if isinstance(action.to, str) else list(scale.from_screen(action.to))
        return {**point, "to": to, **duration}
    if action.kind == "press":
        if action.key not in _WRITTEN_KEYS:
            raise ValueError(f"AgentCpm.write: no key {action.key!r}; the format has {', '.join(_WRITTEN_KEYS)}.")
        return {"PRESS": _WRITTEN_KEYS[action.key]}
    if action.kind == "type":
        return {"TYPE": action.text}
    if action.kind == "wait" and not duration:
        raise ValueError("AgentCpm.write: a wait of no duration; the format has nothing else to write, pass one.")
    if action.kind == "status":
        if action.text is not None:
            raise ValueError(f"AgentCpm.write: the text {action.text!r}; a STATUS has none, leave it out.")
        return {"STATUS": action.status}
    return {**point, **duration}


def _read(text: str, notes: Notes, scale: Scale) -> Action:
    objects = find_objects(text)
    if not objects:
        raise Unreadable("no_action")
    if len(objects) > 1:
        raise Unreadable("several_actions")
    note_outside(text[: objects[0].start] + " " + text[objects[0].end :], notes)
    fields = Fields(objects[0].values, _KEYS, notes)
    if "thought" in fields:
        notes.thought = fields.text("thought")
    action = _action(fields, scale)
    fields.close()
    return action


def _action(fields: Fields, scale: Scale) -> Action:
    status = fields.choice("STATUS", _STATUSES) if "STATUS" in fields else None
    if status is not None and status != "continue":
        return Action(kind="status", status=status)
    if "TYPE" in fields:
        return Action(kind="type", text=fields.text("TYPE"))
    if "POINT" in fields or "to" in fields:
        return _touch(fields, scale)
    if "PRESS" in fields:
        return Action(kind="press", key=fields.choice("PRESS", _PRESS))
    if "duration" in fields:
        return Action(kind="wait", duration_ms=_milliseconds(fields))
    if status is None:
        raise Unreadable("no_action")
    return Action(kind="status", status=status)


def _touch(fields: Fields, scale: Scale) -> Action:
    point = fields.point("POINT", scale)
    duration_ms = _milliseconds(fields) if "duration" in fields else None
    if "to" in fields:
        return Action(kind="swipe", point=point, to=_target(fields, scale), duration_ms=duration_ms)
    if duration_ms is not None and duration_ms > CLICK_MS:
        return Action(kind="long_press", point=point, duration_ms=duration_ms)
    return Action(kind="click", point=point)


def _target(fields: Fields, scale: Scale) -> Direction | Point:
    if isinstance(fields.take("to"), str):
        return fields.choice("to", _DIRECTIONS)
    return fields.point("to", scale)


def _milliseconds(fields: Fields) -> int:
    duration = fields.number("duration")
    if isinstance(duration, float) and not duration.is_integer():  # infinity is none either
        raise Unreadable("bad_value")
    return int(duration)
