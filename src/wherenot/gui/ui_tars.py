"""UI-TARS's actions: `Thought: ...`, then `Action: click(point='<point>x y</point>')`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wherenot.gui.actions import Action, Direction, Point, key_name
from wherenot.gui.coordinates import Number, Scale
from wherenot.gui.reading import Fields, Notes, Unreadable, note_outside, place, read_reply
from wherenot.gui.replies import Reply

# The side that a scroll shows more of lies opposite to where the finger goes.
_OPPOSITE: dict[str, Direction] = {"up": "down", "down": "up", "left": "right", "right": "left"}
_ARGUMENTS: dict[str, frozenset[str]] = {
    "click": frozenset({"point", "start_box"}),
    "long_press": frozenset({"point", "start_box"}),
    "scroll": frozenset({"point", "start_box", "direction"}),
    "drag": frozenset({"start_point", "end_point", "start_box", "end_box"}),
    "type": frozenset({"content"}),
    "hotkey": frozenset({"key"}),
    "press_home": frozenset(),
    "press_back": frozenset(),
    "wait": frozenset(),
    "finished": frozenset({"content"}),
    "call_user": frozenset(),
}

_LINE = re.compile(r"^[ \t]*Action:", re.MULTILINE)
_INLINE = re.compile(r"Action:(?=\s*\w+\()")
_THOUGHT = re.compile(r"^[ \t]*Thought:", re.MULTILINE)
_CALL = re.compile(r"\s*(?:```(?:\w*[ \t]*\n)?\s*)?(\w+)[ \t]*\(")
_ARGUMENT = re.compile(
    r"""\s*(\w+)\s*=\s*(?:'([^'\\]*(?:\\.[^'\\]*)*)'|"([^"\\]*(?:\\.[^"\\]*)*)")\s*(,|(?=\)))""", re.DOTALL
)
_END = re.compile(r"\s*\)")
_UNESCAPED = re.compile(r"\s*content\s*=\s*(['\"])(.*?)\1\s*\)(?=[ \t]*(?:\n|```|\Z))", re.DOTALL)
_NEXT = re.compile(r"\s*(?:Action:\s*)?\w+\(")

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
_PLACE = re.compile(
    rf"(?:<point>|<bbox>|<\|box_start\|>)? ?[(\[]? ?({_NUMBER}(?:(?: ?, ?| ){_NUMBER}){{1,3}}) ?[)\]]? ?"
    r"(?:</point>|</bbox>|<\|box_end\|>)?"
)
_EXACT_DIGITS = 15


@dataclass(frozen=True, slots=True)
class UiTars:
    """The codec of UI-TARS.

    Places are `point='<point>x y</point>'`, or `start_box='(x,y)'` as the first version had them; both are read, and of
    a box with four numbers the centre. `scroll` names the side that it shows more of, `Action.to` the way of the
    finger: one is the opposite of the other. Waits and long presses have no duration in this format. Double and right
    clicks and `open_app` have no kind in `Action`.

    Args:
        boxes: Write places as the first version did.

    Example:
        >>> from wherenot.gui import CONVENTIONS
        >>> scale = CONVENTIONS["resized"].scale((1120, 504))
        >>> print(UiTars().write(Action(kind="click", point=(0.5, 0.25)), scale=scale, thought="Open it."))
        Thought: Open it.
        Action: click(point='<point>252 280</point>')
        >>> UiTars().read("Action: click(start_box='(252,280)')", scale=scale).action.point
        (0.5, 0.25)

    References:
        UI-TARS's prompts for computers and phones.
    """

    boxes: bool = False

    def write(self, action: Action, *, scale: Scale, thought: str | None = None) -> str:
        """Write an action as the `Codec` protocol says."""
        head = ""
        if thought is not None:
            if not thought or thought != thought.strip() or _LINE.search(f"\n{thought}"):
                raise ValueError(
                    f"UiTars.write: the thought {thought!r}; pass one that is not empty, without blanks at its ends "
                    "and without a line that begins with 'Action:', or None."
                )
            head = f"Thought: {thought}\n"
        return f"{head}Action: {self._call(action, scale)}"

    def read(self, text: str, *, scale: Scale) -> Reply:
        """Read an output as the `Codec` protocol says."""
        return read_reply(text, lambda text, notes: _read(text, notes, scale))

    def _call(self, action: Action, scale: Scale) -> str:
        if action.duration_ms is not None:
            raise ValueError(f"UiTars.write: the format cannot say how long a {action.kind} takes; leave it out.")
        if action.kind == "swipe":
            return self._swipe(action, scale)
        if action.point is not None:
            return f"{action.kind}({self._place('point', action.point, scale)})"
        if action.key is not None:
            return f"press_{action.key}()" if action.key in ("home", "back") else f"hotkey(key={_quoted(action.key)})"
        if action.kind == "wait":
            return "wait()"
        if action.kind == "type" and action.text is not None:
            return f"type(content={_quoted(action.text)})"
        if action.status == "finish":
            return "finished()" if action.text is None else f"finished(content={_quoted(action.text)})"
        if action.status == "need_feedback" and action.text is None:
            return "call_user()"
        raise ValueError(
            f"UiTars.write: the format cannot say the status {action.status!r}; it has finish, with or without a text, "
            "and need_feedback without one."
        )

    def _swipe(self, action: Action, scale: Scale) -> str:
        if action.point is None or action.to is None:
            raise ValueError("UiTars.write: a swipe that starts nowhere; the format needs a point, pass one.")
        if isinstance(action.to, str):
            return f"scroll({self._place('point', action.point, scale)}, direction='{_OPPOSITE[action.to]}')"
        start = self._place("start_point", action.point, scale)
        return f"drag({start}, {self._place('end_point', action.to, scale)})"

    def _place(self, name: str, point: Point, scale: Scale) -> str:
        x, y = scale.from_screen(point)
        if self.boxes:
            return f"{'end_box' if name == 'end_point' else 'start_box'}='({x},{y})'"
        return f"{name}='<point>{x} {y}</point>'"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


def _unquoted(written: str) -> str:
    return re.sub(r"\\(['\"\\n])", lambda found: "\n" if found[1] == "n" else found[1], written)


def _read(text: str, notes: Notes, scale: Scale) -> Action:
    marker = _LINE.search(text) or _INLINE.search(text)
    if marker is None:
        notes.faults.add("no_marker")
    else:
        notes.thought = _thought(text[: marker.start()], notes)
    call = text if marker is None else text[marker.end() :]
    begins = _CALL.match(call)
    if begins is None:
        raise Unreadable("no_action" if marker is None else "bad_syntax")
    name = begins[1]
    values, end = _values(call, begins.end(), name, notes)
    if _NEXT.match(call, end):
        raise Unreadable("several_actions")
    note_outside(call[: begins.start(1)] + " " + call[end:], notes)
    if name not in _ARGUMENTS:
        raise Unreadable("unknown_action")
    fields = Fields(values, _ARGUMENTS[name], notes)
    action = _action(name, fields, scale, notes)
    fields.close()
    return action


def _thought(head: str, notes: Notes) -> str | None:
    marker = _THOUGHT.search(head)
    note_outside(head if marker is None else head[: marker.start()], notes)
    return (head if marker is None else head[marker.end() :]).strip() or None


def _values(call: str, start: int, name: str, notes: Notes) -> tuple[dict[str, str], int]:
    """The arguments of a call, and where it ends."""
    values: dict[str, str] = {}
    at = start
    while found := _ARGUMENT.match(call, at):
        if found[1] in values:
            raise Unreadable("repeated_key")
        values[found[1]] = _unquoted(found[2] if found[2] is not None else found[3])
        at = found.end()
    if ends := _END.match(call, at):
        return values, ends.end()
    raw = _UNESCAPED.match(call, start) if "content" in _ARGUMENTS.get(name, frozenset()) else None
    if raw is None:
        raise Unreadable("bad_syntax")
    notes.faults.add("unescaped_quote")
    return {"content": _unquoted(raw[2])}, raw.end()


def _action(name: str, fields: Fields, scale: Scale, notes: Notes) -> Action:
    if name == "click":
        return Action(kind="click", point=_point(fields, "point", "start_box", scale, notes))
    if name == "long_press":
        return Action(kind="long_press", point=_point(fields, "point", "start_box", scale, notes))
    if name == "scroll":
        point = _point(fields, "point", "start_box", scale, notes)
        return Action(kind="swipe", point=point, to=fields.choice("direction", _OPPOSITE))
    if name == "drag":
        point = _point(fields, "start_point", "start_box", scale, notes)
        return Action(kind="swipe", point=point, to=_point(fields, "end_point", "end_box", scale, notes))
    if name == "type":
        return Action(kind="type", text=fields.text("content"))
    if name == "hotkey":
        key = key_name(fields.text("key"))
        if not key:
            raise Unreadable("bad_value")
        return Action(kind="press", key=key)
    if name in ("press_home", "press_back"):
        return Action(kind="press", key=name.removeprefix("press_"))
    if name == "wait":
        return Action(kind="wait")
    if name == "finished":
        return Action(kind="status", status="finish", text=fields.text("content") if "content" in fields else None)
    return Action(kind="status", status="need_feedback")


def _point(fields: Fields, new: str, old: str, scale: Scale, notes: Notes) -> Point:
    written = fields.take(new if new in fields else old, otherwise="no_point")
    found = _PLACE.fullmatch(" ".join(written.split()))
    numbers = [_number(number) for number in found[1].replace(",", " ").split()] if found else []
    if len(numbers) == 2:
        return place(numbers[0], numbers[1], scale, notes)
    if len(numbers) == 4:
        left, top = place(numbers[0], numbers[1], scale, notes)
        right, bottom = place(numbers[2], numbers[3], scale, notes)
        return (left + right) / 2, (top + bottom) / 2
    raise Unreadable("bad_point")


def _number(written: str) -> Number:
    is_whole = written.removeprefix("-").isdigit() and len(written) <= _EXACT_DIGITS
    return int(written) if is_whole else float(written)
