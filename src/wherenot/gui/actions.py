"""What an agent does on a screen, whatever the format it says so in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["click", "long_press", "swipe", "press", "type", "wait", "status"]
Direction = Literal["up", "down", "left", "right"]
Status = Literal["continue", "finish", "satisfied", "impossible", "interrupt", "need_feedback"]
Point = tuple[float, float]

KINDS: tuple[Kind, ...] = get_args(Kind)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
STATUSES: tuple[Status, ...] = get_args(Status)

# Per kind: the fields that it needs, and those that it may have.
_FIELDS: dict[Kind, tuple[frozenset[str], frozenset[str]]] = {
    "click": (frozenset({"point"}), frozenset()),
    "long_press": (frozenset({"point"}), frozenset({"duration_ms"})),
    "swipe": (frozenset({"to"}), frozenset({"point", "duration_ms"})),
    "press": (frozenset({"key"}), frozenset()),
    "type": (frozenset({"text"}), frozenset()),
    "wait": (frozenset(), frozenset({"duration_ms"})),
    "status": (frozenset({"status"}), frozenset({"text"})),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """One step of an agent, in coordinates of the screen.

    A place is (x, y), each in [0, 1] of the screenshot, origin top left, x to the right: it does not depend on the size
    at which a model sees the screenshot. `gui.coordinates` converts from and to what models write.

    Attributes:
        kind: What is done. `status` does nothing but say how the task stands.
        point: Where. click and long_press need it; a swipe to a direction may leave it open.
        to: Of a swipe: the second point, or the direction in which the finger moves (what is shown moves along).
        duration_ms: Of a long press, a swipe or a wait, in milliseconds; None if it is left open.
        key: Of a press: names in lower case, one space between those that are held together ("home", "ctrl c").
        text: Of type: what is typed. Of a status: what is said, if anything.
        status: Of a status.

    Raises:
        ValueError: If a field that the kind needs is missing, one is given that it has not, a coordinate lies outside
            the screen, or a value is not one of its field's.

    Example:
        >>> Action(kind="click", point=(0.5, 0.9))
        Action(kind='click', point=(0.5, 0.9), to=None, duration_ms=None, key=None, text=None, status=None)
        >>> Action(kind="swipe", point=(0.5, 0.5), to="down").to
        'down'
        >>> Action(kind="click", point=(480.0, 320.0))
        Traceback (most recent call last):
        ...
        ValueError: Action: point (480.0, 320.0) lies outside the screen; ...
    """

    kind: Kind
    point: Point | None = None
    to: Direction | Point | None = None
    duration_ms: int | None = None
    key: str | None = None
    text: str | None = None
    status: Status | None = None

    def __post_init__(self) -> None:
        if self.kind not in _FIELDS:
            raise ValueError(f"Action: no kind is called {self.kind!r}; choose one of {', '.join(KINDS)}.")
        needed, optional = _FIELDS[self.kind]
        names = ("point", "to", "duration_ms", "key", "text", "status")
        given = {name for name in names if getattr(self, name) is not None}
        if needed - given:
            raise ValueError(f"Action: a {self.kind} needs {', '.join(sorted(needed - given))}; pass it.")
        if given - needed - optional:
            extra = ", ".join(sorted(given - needed - optional))
            raise ValueError(f"Action: a {self.kind} has no {extra}; leave it out.")
        if isinstance(self.to, str):
            if self.to not in DIRECTIONS:
                raise ValueError(f"Action: to={self.to!r}; pass one of {', '.join(DIRECTIONS)}, or a point.")
        elif self.to is not None and self.point is None:
            raise ValueError(f"Action: a swipe to the point {self.to} starts nowhere; pass point.")
        else:
            _check_point("to", self.to)
        _check_point("point", self.point)
        if self.duration_ms is not None and self.duration_ms < 0:
            raise ValueError(f"Action: duration_ms={self.duration_ms}; pass milliseconds >= 0.")
        if self.key is not None and (not self.key or self.key != key_name(self.key)):
            raise ValueError(
                f"Action: key={self.key!r}; pass names in lower case with one space between them, such as 'ctrl c'."
            )
        if self.status is not None and self.status not in STATUSES:
            raise ValueError(f"Action: status={self.status!r}; pass one of {', '.join(STATUSES)}.")


def key_name(written: str) -> str:
    """The name of a key, or of keys held together, as `Action.key` has it; empty if nothing is written.

    Example:
        >>> key_name("HOME"), key_name(" Ctrl  C ")
        ('home', 'ctrl c')
    """
    return " ".join(written.lower().split())


def _check_point(name: str, point: Point | None) -> None:
    if point is not None and not all(0 <= number <= 1 for number in point):
        raise ValueError(
            f"Action: {name} {point} lies outside the screen; pass shares of its width and height, in [0, 1] "
            "(Scale.to_screen makes them)."
        )
