"""Taking a model's output apart without ever failing: each fault is noted, and a fatal one ends the reading."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from wherenot.gui.actions import Action, Point
from wherenot.gui.coordinates import Number, Scale
from wherenot.gui.replies import FAULTS, FatalFault, Fault, Reply

_Value = TypeVar("_Value")

# An object begins like this; a brace in a sentence does not. Each match but the last ends before the next begins.
_OBJECT = re.compile(r'\{\s*"[^"\\]*(?:\\.[^"\\]*)*"\s*:', re.DOTALL)
_FENCE = re.compile(r"```\w*")


class Unreadable(Exception):
    """Ends a reading: what the model does cannot be said."""

    def __init__(self, fault: FatalFault) -> None:
        super().__init__(fault)
        self.fault: FatalFault = fault


@dataclass(kw_only=True, slots=True)
class Notes:
    """What is found on the way to the action."""

    thought: str | None = None
    faults: set[Fault] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A JSON object in a text.

    Attributes:
        values: The object.
        start: Where its text begins.
        end: Where it ends.
    """

    values: dict[str, Any]
    start: int
    end: int


def read_reply(text: str, parse: Callable[[str, Notes], Action]) -> Reply:
    """Read a text with a parser that notes faults and raises `Unreadable`.

    Example:
        >>> read_reply(" ", lambda text, notes: Action(kind="wait"))
        Reply(action=None, thought=None, faults=('empty',))
    """
    notes, action = Notes(), None
    if not text.strip():
        notes.faults.add("empty")
    else:
        try:
            action = parse(text, notes)
        except Unreadable as error:
            notes.faults.add(error.fault)
    return Reply(action=action, thought=notes.thought, faults=tuple(fault for fault in FAULTS if fault in notes.faults))


def find_objects(text: str) -> list[Found]:
    """The first JSON objects of a text, two at most: more than one is one too many. Braces in sentences are none.

    Raises:
        Unreadable: If something begins like an object and is none, or a key is given twice.

    Example:
        >>> [found.values for found in find_objects('Tap {x}: {"POINT": [1, 2]}')]
        [{'POINT': [1, 2]}]
    """
    decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)
    objects: list[Found] = []
    while len(objects) < 2 and (begins := _OBJECT.search(text, objects[-1].end if objects else 0)):
        try:
            values, end = decoder.raw_decode(text, begins.start())
        except (ValueError, RecursionError) as error:
            raise Unreadable("bad_syntax") from error
        objects.append(Found(values=values, start=begins.start(), end=end))
    return objects


def note_outside(outside: str, notes: Notes) -> None:
    """Note what stands around an action, in a format that has nothing there."""
    rest, fences = _FENCE.subn("", outside)
    if fences:
        notes.faults.add("fenced")
    if rest.strip():
        notes.faults.add("extra_text")


def place(x: Number, y: Number, scale: Scale, notes: Notes) -> Point:
    """The place on the screen that two numbers stand for."""
    if not scale.holds(x, y):
        raise Unreadable("out_of_range")
    if not scale.decimals and (isinstance(x, float) or isinstance(y, float)):
        notes.faults.add("float_coordinates")
    return scale.to_screen(x, y)


class Fields:
    """The values of an action by their keys; remembers which have been asked for.

    Args:
        values: The values.
        known: The keys that the format has.
        notes: Where faults go.
    """

    def __init__(self, values: Mapping[str, Any], known: frozenset[str], notes: Notes) -> None:
        self._values = {key: value for key, value in values.items() if key in known}
        self._left = set(self._values)
        self._notes = notes
        if len(self._values) < len(values):
            notes.faults.add("unknown_key")

    def __contains__(self, key: str) -> bool:
        """Whether the key is given, be its value what it may."""
        return key in self._values

    def take(self, key: str, otherwise: FatalFault = "missing_key") -> Any:
        """The value of a key; if it is missing, the reading ends with the fault `otherwise`."""
        if key not in self._values:
            raise Unreadable(otherwise)
        self._left.discard(key)
        return self._values[key]

    def text(self, key: str) -> str:
        """A value that must be a text."""
        value = self.take(key)
        if not isinstance(value, str):
            raise Unreadable("bad_value")
        return value

    def choice(self, key: str, allowed: Mapping[str, _Value]) -> _Value:
        """What a text stands for that must be one of several."""
        name = self.text(key)
        if name not in allowed:
            raise Unreadable("bad_value")
        return allowed[name]

    def number(self, key: str) -> Number:
        """A value that must be a number >= 0; it may be infinite."""
        value = self.take(key)
        if not _is_number(value) or not value >= 0:
            raise Unreadable("bad_value")
        return value

    def point(self, key: str, scale: Scale) -> Point:
        """A value that must be a place: a list of two numbers."""
        value = self.take(key, otherwise="no_point")
        if not isinstance(value, list) or len(value) != 2 or not all(_is_number(number) for number in value):
            raise Unreadable("bad_point")
        return place(value[0], value[1], scale, self._notes)

    def close(self) -> None:
        """Note the keys that nothing asked for."""
        if self._left:
            self._notes.faults.add("unused_key")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ: of two values nobody can say which one is meant."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise Unreadable("repeated_key")
    return values


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON
