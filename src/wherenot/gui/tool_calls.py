"""Actions as calls of Qwen's tools: `mobile_use` and `computer_use`."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from wherenot.gui.actions import DIRECTIONS, Action, Direction, Status, key_name
from wherenot.gui.coordinates import Scale
from wherenot.gui.reading import Fields, Found, Notes, Unreadable, find_objects, note_outside, read_reply
from wherenot.gui.replies import Reply

Tool = Literal["mobile_use", "computer_use"]

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_THINKING = re.compile(r"<(think(?:ing)?)>(.*)</\1>", re.DOTALL)
_KEYS: dict[Tool, frozenset[str]] = {
    "mobile_use": frozenset({"action", "coordinate", "coordinate2", "direction", "text", "time", "button", "status"}),
    "computer_use": frozenset({"action", "coordinate", "keys", "text", "time", "pixels", "status"}),
}
_DIRECTIONS: dict[str, Direction] = {name: name for name in DIRECTIONS}
_BUTTONS = {"home": "Home", "back": "Back", "menu": "Menu", "enter": "Enter"}
_ENDS: dict[Status, str] = {"finish": "success", "impossible": "failure"}
_ENDED: dict[str, Status] = {"success": "finish", "failure": "impossible", "fail": "impossible"}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The codec of calls of one of Qwen's tools.

    What stands before the call is the thought; it is written between `<thinking>` tags. Ending the task with a text is
    the tool's `answer`, without one its `terminate`. A swipe to a direction is written as MAI-UI has it, with the key
    `direction`; Qwen's own description knows a second point only. Double, right and middle clicks, pointer moves, drags
    and scrolls of `computer_use` have no kind in `Action`.

    Args:
        tool: Which one. A call of the other is an unknown action.

    Example:
        >>> from wherenot.gui import CONVENTIONS
        >>> scale = CONVENTIONS["0-1000"].scale()
        >>> print(ToolCall("mobile_use").write(Action(kind="click", point=(0.447, 0.081)), scale=scale))
        <tool_call>
        {"name": "mobile_use", "arguments": {"action": "click", "coordinate": [447, 81]}}
        </tool_call>

    References:
        Qwen's agent cookbooks (Qwen2.5-VL, Qwen3-VL); MAI-UI's prompts.
    """

    tool: Tool

    def write(self, action: Action, *, scale: Scale, thought: str | None = None) -> str:
        """Write an action as the `Codec` protocol says."""
        head = ""
        if thought is not None:
            if not thought or thought != thought.strip() or _OPEN in thought:
                raise ValueError(
                    f"ToolCall.write: the thought {thought!r}; pass one that is not empty, without blanks at its ends "
                    f"and without {_OPEN}, or None."
                )
            head = f"<thinking>\n{thought}\n</thinking>\n"
        arguments = _mobile(action, scale) if self.tool == "mobile_use" else _computer(action, scale)
        call = json.dumps({"name": self.tool, "arguments": arguments}, ensure_ascii=False)
        return f"{head}{_OPEN}\n{call}\n{_CLOSE}"

    def read(self, text: str, *, scale: Scale) -> Reply:
        """Read an output as the `Codec` protocol says."""
        return read_reply(text, lambda text, notes: _read(text, notes, self.tool, scale))


def _mobile(action: Action, scale: Scale) -> dict[str, Any]:
    point = {} if action.point is None else {"coordinate": list(scale.from_screen(action.point))}
    if action.kind == "click":
        return {"action": "click", **point}
    if action.kind == "long_press":
        return {"action": "long_press", **point, **_seconds(action)}
    if action.kind == "swipe" and action.to is not None:
        if action.duration_ms is not None:
            raise ValueError("ToolCall.write: mobile_use cannot say how long a swipe takes; leave duration_ms out.")
        if isinstance(action.to, str):
            return {"action": "swipe", **point, "direction": action.to}
        return {"action": "swipe", **point, "coordinate2": list(scale.from_screen(action.to))}
    if action.kind == "press" and action.key is not None:
        if action.key in _BUTTONS:
            return {"action": "system_button", "button": _BUTTONS[action.key]}
        return {"action": "key", "text": action.key}
    return _either(action)


def _computer(action: Action, scale: Scale) -> dict[str, Any]:
    if action.kind == "click" and action.point is not None:
        return {"action": "left_click", "coordinate": list(scale.from_screen(action.point))}
    if action.kind == "press" and action.key is not None:
        return {"action": "key", "keys": action.key.split(" ")}
    if action.kind in ("long_press", "swipe"):
        raise ValueError(f"ToolCall.write: computer_use has no {action.kind}; choose another codec or action.")
    return _either(action)


def _either(action: Action) -> dict[str, Any]:
    """What both tools have."""
    if action.kind == "type":
        return {"action": "type", "text": action.text}
    if action.kind == "wait":
        return {"action": "wait", **_seconds(action)}
    if action.text is not None and action.status == "finish":
        return {"action": "answer", "text": action.text}
    if action.text is not None or action.status is None or action.status not in _ENDS:
        raise ValueError(
            f"ToolCall.write: the tools cannot say the status {action.status!r}"
            f"{'' if action.text is None else ' with a text'}; they have {', '.join(_ENDS)}, and finish with a text."
        )
    return {"action": "terminate", "status": _ENDS[action.status]}


def _seconds(action: Action) -> dict[str, Any]:
    if action.duration_ms is None:
        return {}
    whole, rest = divmod(action.duration_ms, 1000)
    return {"time": action.duration_ms / 1000 if rest else whole}


def _read(text: str, notes: Notes, tool: Tool, scale: Scale) -> Action:
    opened = text.find(_OPEN)
    objects = find_objects(text[opened:] if opened >= 0 else text)
    if opened < 0:
        notes.faults.add("no_marker")
        head, call = text[: objects[0].start] if objects else text, text
    else:
        head, call = text[:opened], text[opened:]
    if not objects and opened < 0:
        raise Unreadable("no_action")
    notes.thought = _thought(head)
    if not objects:
        raise Unreadable("bad_syntax")
    if len(objects) > 1:
        raise Unreadable("several_actions")
    _note_around(call, objects[0], opened >= 0, notes)
    fields = Fields(_arguments(objects[0].values, tool, notes), _KEYS[tool], notes)
    name = fields.take("action", otherwise="no_action")
    action = _action(name, fields, scale, tool)
    fields.close()
    return action


def _thought(head: str) -> str | None:
    head = head.strip()
    tagged = _THINKING.fullmatch(head)
    return (tagged[2].strip() if tagged else head) or None


def _note_around(call: str, found: Found, marked: bool, notes: Notes) -> None:
    before = call[: found.start] if marked else ""
    after = call[found.end :]
    if marked and _CLOSE not in after:
        notes.faults.add("no_marker")
    note_outside(before.replace(_OPEN, "", 1) + " " + after.replace(_CLOSE, "", 1), notes)


def _arguments(values: dict[str, Any], tool: Tool, notes: Notes) -> dict[str, Any]:
    """The arguments of a call; they may also stand alone."""
    if "arguments" not in values and "action" in values:
        notes.faults.add("no_marker")
        return values
    call = Fields(values, frozenset({"name", "arguments"}), notes)
    if call.text("name") != tool:
        raise Unreadable("unknown_action")
    arguments = call.take("arguments")
    if not isinstance(arguments, dict):
        raise Unreadable("bad_value")
    return arguments


def _action(name: Any, fields: Fields, scale: Scale, tool: Tool) -> Action:
    if name == ("click" if tool == "mobile_use" else "left_click"):
        return Action(kind="click", point=fields.point("coordinate", scale))
    if name == "type":
        return Action(kind="type", text=fields.text("text"))
    if name == "wait":
        return Action(kind="wait", duration_ms=_milliseconds(fields))
    if name == "answer":
        return Action(kind="status", status="finish", text=fields.text("text"))
    if name == "terminate":
        return Action(kind="status", status=fields.choice("status", _ENDED))
    if name == "key":
        return Action(kind="press", key=_key(fields, tool))
    if tool == "mobile_use":
        return _mobile_action(name, fields, scale)
    raise Unreadable("unknown_action")


def _mobile_action(name: Any, fields: Fields, scale: Scale) -> Action:
    if name == "long_press":
        point = fields.point("coordinate", scale)
        return Action(kind="long_press", point=point, duration_ms=_milliseconds(fields))
    if name == "swipe" and "coordinate2" not in fields and "direction" in fields:
        point = fields.point("coordinate", scale) if "coordinate" in fields else None
        return Action(kind="swipe", point=point, to=fields.choice("direction", _DIRECTIONS))
    if name == "swipe":
        point = fields.point("coordinate", scale)
        return Action(kind="swipe", point=point, to=fields.point("coordinate2", scale))
    if name == "system_button":
        button = key_name(fields.text("button"))
        if button not in _BUTTONS:
            raise Unreadable("bad_value")
        return Action(kind="press", key=button)
    raise Unreadable("unknown_action")


def _key(fields: Fields, tool: Tool) -> str:
    names = fields.take("keys") if tool == "computer_use" else [fields.text("text")]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Unreadable("bad_value")
    key = key_name(" ".join(names))
    if not key:
        raise Unreadable("bad_value")
    return key


def _milliseconds(fields: Fields) -> int | None:
    if "time" not in fields:
        return None
    milliseconds = fields.number("time") * 1000
    if isinstance(milliseconds, float) and not math.isfinite(milliseconds):
        raise Unreadable("bad_value")
    return round(milliseconds)
