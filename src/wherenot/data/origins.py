"""Where a prior came from, if not from a person: kept beside it, so that nobody takes a machine's guess for a word."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

KEY = "prior_from"
BY_HAND = "by hand"

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How a prior was made.

    Attributes:
        kind: In a word: ``grounding``, ``segment``, ``boxes``, ``saliency``; other programs may have their own.
        model: What made it: ids of models, or the name of a method; None = not said.
        prompt: The words a model was given; None = none.
        score: How sure it was, in [0, 1]; what it means depends on what made it; None = it does not say.
        threshold: From which score on something became a part of the prior, in the units of what made it; None = there
            is none.
        boxes: The boxes by hand, xyxy in pixels, that were refined; empty if there were none.
        wherenot: Version of wherenot.
        accepted: Whether a person looked at it and accepted it.

    Example:
        >>> Origin(kind="grounding", model="IDEA-Research/grounding-dino-tiny", prompt="cat.", score=0.6).named()
        'grounding (IDEA-Research/grounding-dino-tiny)'
    """

    kind: str
    model: str | None = None
    prompt: str | None = None
    score: float | None = None
    threshold: float | None = None
    boxes: tuple[Box, ...] = ()
    wherenot: str | None = None
    accepted: bool = False

    def named(self) -> str:
        """Kind and model, for people."""
        return self.kind if self.model is None else f"{self.kind} ({self.model})"

    def written(self) -> dict[str, Any]:
        """The value of `KEY` in a line of ``metadata.jsonl``; always with all keys, as `datasets` wants it."""
        return {**asdict(self), "boxes": [list(box) for box in self.boxes] or None}


def read_origin(value: object) -> Origin | None:
    """Read the value of `KEY` in a line of ``metadata.jsonl``.

    Args:
        value: What stands there; None, or nothing but nulls, as `datasets` fills in, is no origin. Keys that are not
            known are none of ours.

    Raises:
        ValueError: If it is no object with a ``kind``, or a known key has a value of another type.

    Example:
        >>> read_origin({"kind": "saliency", "score": 0.5}).score
        0.5
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError(f"{KEY}: {value!r} is not an object {{...}}")
    if all(each is None for each in value.values()):
        return None
    kind = _text(value, "kind")
    if not kind:
        raise ValueError(f'{KEY}: it needs "kind", a word for what made the prior')
    accepted = value.get("accepted") or False
    if not isinstance(accepted, bool):
        raise ValueError(f"{KEY}.accepted: {accepted!r} is neither true nor false")
    return Origin(
        kind=kind,
        model=_text(value, "model"),
        prompt=_text(value, "prompt"),
        score=_number(value, "score"),
        threshold=_number(value, "threshold", most=math.inf),
        boxes=_boxes(value.get("boxes") or []),
        wherenot=_text(value, "wherenot"),
        accepted=accepted,
    )


def told_origins(origins: Sequence[Origin | None]) -> str:
    """Say how many priors came from where.

    Args:
        origins: One per prior; None = by hand.

    Returns:
        Such as ``120 by hand; 80 by grounding (ID), 60 of them accepted``; empty without priors.

    Example:
        >>> told_origins([None, Origin(kind="saliency"), Origin(kind="saliency", accepted=True)])
        '1 by hand; 2 by saliency, 1 of them accepted'
    """
    seen: dict[str, list[bool]] = defaultdict(list)
    for origin in origins:
        seen["" if origin is None else origin.named()].append(origin is not None and origin.accepted)
    parts = []
    for name in sorted(seen):  # by hand comes first
        accepted = f", {sum(seen[name])} of them accepted" if any(seen[name]) else ""
        parts.append(f"{len(seen[name])} {f'by {name}' if name else BY_HAND}{accepted}")
    return "; ".join(parts)


def _text(value: dict[str, Any], key: str) -> str | None:
    text = value.get(key)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{KEY}.{key}: {text!r} is not text")
    return text


def _number(value: dict[str, Any], key: str, most: float = 1.0) -> float | None:
    number = value.get(key)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= most:
        raise ValueError(f"{KEY}.{key}: {number!r} is not a number from 0 to {most:g}")
    return float(min(number, 1e9))  # whole numbers of JSON may be too long for a float


def _boxes(value: object) -> tuple[Box, ...]:
    if not isinstance(value, list) or not all(isinstance(row, list) and len(row) == 4 for row in value):
        raise ValueError(f"{KEY}.boxes: not a list of boxes [x0, y0, x1, y1]")
    if not all(_is_place(each) for row in value for each in row):
        raise ValueError(f"{KEY}.boxes: not a list of boxes of numbers")
    return tuple((float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in value)


def _is_place(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -1e9 < value < 1e9 and math.isfinite(value)
