"""When an action counts as the right one, by the rules of AgentCPM-GUI's evaluator."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wherenot.gui.actions import Action, Direction, Point

Box = tuple[float, float, float, float]

RADIUS = 0.14
"""How far from the true point a click still counts, as a share of the screen; `ANDROID_CONTROL_RADIUS` for that set."""
ANDROID_CONTROL_RADIUS = 0.04

_ENLARGED = 1.2
_WAYS: dict[Direction, tuple[int, int]] = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0)}


def type_match(predicted: Action | None, truth: Action) -> bool:
    """Whether an action is of the right type.

    Waiting and the statuses that end a task are one type; the status `continue` is one of its own.

    Args:
        predicted: `Reply.action`; None, a malformed output, never matches.
        truth: The right action.

    Example:
        >>> type_match(Action(kind="wait", duration_ms=500), Action(kind="status", status="finish"))
        True
    """
    return predicted is not None and _type(predicted) == _type(truth)


def exact_match(
    predicted: Action | None,
    truth: Action,
    *,
    boxes: Sequence[Box] = (),
    size: tuple[int, int] | None = None,
    radius: float = RADIUS,
) -> bool:
    """Whether an action is the right one.

    A click or long press must lie in a box that also holds the true point, both after enlarging the box 1.2 times, or
    within `radius` of the true point. A swipe must have the direction, a press the key, and of two typed texts one must
    contain the other, whatever their case and the blanks around them. For stopping and waiting the type is enough.

    Args:
        predicted: `Reply.action`; None, a malformed output, never matches.
        truth: The right action.
        boxes: Elements of the screen, xyxy in pixels of the screenshot.
        size: Height and width of the screenshot; `boxes` need it.
        radius: Euclidean, in shares of width and height, bound included: `ANDROID_CONTROL_RADIUS` for AndroidControl.

    Raises:
        ValueError: If there are boxes without a size.

    Example:
        >>> truth = Action(kind="click", point=(0.5, 0.5))
        >>> exact_match(Action(kind="click", point=(0.6, 0.5)), truth)
        True
        >>> exact_match(Action(kind="click", point=(0.6, 0.5)), truth, radius=ANDROID_CONTROL_RADIUS)
        False

    References:
        AgentCPM-GUI, eval/utils/evaluator.py, after Qwen2.5-VL's. As there, a box that enlarging pushes over the top or
        left border is moved back, not cut. Differs from it: an empty typed text matches an empty one only, and a swipe
        that goes nowhere matches none. For AndroidControl it tries the five nearest boxes in place of those that hold
        the true point; pass those that should count.
    """
    if boxes and size is None:
        raise ValueError("exact_match: boxes are in pixels; pass size, the height and width of the screenshot.")
    if predicted is None or not type_match(predicted, truth):
        return False
    if truth.point is not None and truth.kind in ("click", "long_press"):
        assert predicted.point is not None  # the same kind needs one, too
        enlarged = [] if size is None else [_enlarge(box, size) for box in boxes]
        if any(_inside(truth.point, box) and _inside(predicted.point, box) for box in enlarged):
            return True
        return math.dist(predicted.point, truth.point) <= radius
    if truth.kind == "swipe":
        direction = swipe_direction(predicted)
        return direction is not None and direction == swipe_direction(truth)
    if truth.text is not None and predicted.text is not None and truth.kind == "type":
        return _texts_match(predicted.text, truth.text)
    return truth.kind != "press" or predicted.key == truth.key


def swipe_direction(swipe: Action) -> Direction | None:
    """The way of a swipe: the one its two points come closest to, up and down before left and right in a tie.

    None for a swipe that goes nowhere, and for what is no swipe. Points are compared in shares of the screen, not in
    pixels, as the evaluator does: on a tall screen that favours left and right.

    Example:
        >>> swipe_direction(Action(kind="swipe", point=(0.5, 0.8), to=(0.4, 0.2)))
        'up'
    """
    if swipe.to is None or isinstance(swipe.to, str):
        return swipe.to
    assert swipe.point is not None  # a swipe to a point starts at one
    across, down = swipe.to[0] - swipe.point[0], swipe.to[1] - swipe.point[1]
    if across == down == 0:
        return None
    return max(_WAYS, key=lambda way: across * _WAYS[way][0] + down * _WAYS[way][1])


def text_ratio(predicted: str, truth: str) -> float:
    """How alike two typed texts are, in [0, 1], whatever their case and the blanks around them. Needs rapidfuzz.

    1 minus the insertions and deletions that turn one into the other over the sum of their lengths; 1 for two empty
    texts.

    Raises:
        ValueError: If rapidfuzz is not installed.

    Example:
        >>> text_ratio("Hello ", "hallo")
        0.8
    """
    try:
        from rapidfuzz.distance import Indel
    except ImportError as error:
        raise ValueError("text_ratio: needs rapidfuzz; run: pip install 'wherenot[mllm]'") from error
    return Indel.normalized_similarity(predicted.lower().strip(), truth.lower().strip())


def _type(action: Action) -> str:
    stops = action.kind == "wait" or (action.kind == "status" and action.status != "continue")
    return "stop" if stops else action.kind


def _enlarge(box: Box, size: tuple[int, int]) -> Box:
    """The box in shares of the screen, 1.2 times as wide and high about its middle, moved back onto the screen."""
    height, width = size
    left, top = box[0] / width, box[1] / height
    wide, high = box[2] / width - left, box[3] / height - top
    left = max(0.0, left - (_ENLARGED - 1) * wide / 2)
    top = max(0.0, top - (_ENLARGED - 1) * high / 2)
    return left, top, left + min(1.0, _ENLARGED * wide), top + min(1.0, _ENLARGED * high)


def _inside(point: Point, box: Box) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def _texts_match(predicted: str, truth: str) -> bool:
    shorter, longer = sorted((predicted.lower().strip(), truth.lower().strip()), key=len)
    return shorter in longer if shorter else not longer
