import math
import random

import pytest

from wherenot.gui import Action, exact_match, text_ratio, type_match
from wherenot.gui.matching import ANDROID_CONTROL_RADIUS, RADIUS, swipe_direction


def at(x, y, kind="click"):
    return Action(kind=kind, point=(x, y))


def status(name):
    return Action(kind="status", status=name)


@pytest.mark.parametrize(
    ("predicted", "truth", "matches"),
    [
        (None, at(0.5, 0.5), False),
        (at(0.1, 0.1), at(0.9, 0.9), True),
        (at(0.1, 0.1), at(0.1, 0.1, "long_press"), False),
        (status("finish"), status("impossible"), True),
        (Action(kind="wait"), status("interrupt"), True),
        (status("continue"), status("finish"), False),
        (status("continue"), status("continue"), True),
        (Action(kind="press", key="home"), Action(kind="press", key="back"), True),
    ],
)
def test_types(predicted, truth, matches):
    assert type_match(predicted, truth) is matches


@pytest.mark.parametrize(
    ("predicted", "truth", "matches"),
    [
        ("Hello", "hello ", True),
        ("hello world", "World", True),
        ("o w", "hello world", True),
        ("hello", "help", False),
        ("", "hello", False),
        ("  ", "hello", False),
        ("hello", "", False),
        ("", " ", True),
    ],
)
def test_typed_texts_match_if_one_contains_the_other(predicted, truth, matches):
    assert exact_match(Action(kind="type", text=predicted), Action(kind="type", text=truth)) is matches


def test_keys_and_ends():
    assert exact_match(Action(kind="press", key="home"), Action(kind="press", key="home"))
    assert not exact_match(Action(kind="press", key="home"), Action(kind="press", key="back"))
    assert exact_match(Action(kind="wait"), status("finish"))
    assert not exact_match(None, status("finish"))


@pytest.mark.parametrize(
    ("to", "way"),
    [
        ("left", "left"),
        ((0.5, 0.9), "down"),
        ((0.5, 0.1), "up"),
        ((0.1, 0.6), "left"),
        ((0.9, 0.4), "right"),
        ((0.75, 0.75), "down"),  # a tie: down stands before right
        ((0.25, 0.25), "up"),
        ((0.5, 0.5), None),
    ],
)
def test_the_way_of_a_swipe(to, way):
    swipe = Action(kind="swipe", point=(0.5, 0.5), to=to)
    assert swipe_direction(swipe) == way
    for other in ("up", "down", "left", "right"):
        assert exact_match(swipe, Action(kind="swipe", to=other)) is (way == other)
    assert exact_match(swipe, swipe) is (way is not None)


def test_what_is_no_swipe_has_no_way():
    assert swipe_direction(at(0.5, 0.5)) is None


def test_clicks_near_the_true_point_match():
    truth = at(0.5, 0.5)
    assert (RADIUS, ANDROID_CONTROL_RADIUS) == (0.14, 0.04)
    for distance, matches, control in [(0.0, 1, 1), (0.03, 1, 1), (0.05, 1, 0), (0.139, 1, 0), (0.141, 0, 0)]:
        assert exact_match(at(0.5 + distance, 0.5), truth) is bool(matches)
        assert exact_match(at(0.5, 0.5 - distance), truth, radius=ANDROID_CONTROL_RADIUS) is bool(control)
    assert exact_match(at(0.25, 0.5), at(0.0, 0.5), radius=0.25)  # the bound belongs to it
    assert not exact_match(at(0.5, 0.5, "long_press"), truth)


def test_boxes_are_enlarged_and_must_hold_the_true_point():
    truth, size = at(0.1, 0.5), (100, 200)
    wide = (10.0, 40.0, 110.0, 60.0)  # 0.05..0.55 of the width; enlarged 0..0.6
    assert exact_match(at(0.59, 0.5), truth, boxes=[wide], size=size)
    assert not exact_match(at(0.61, 0.5), truth, boxes=[wide], size=size)
    assert not exact_match(at(0.59, 0.63), truth, boxes=[wide], size=size)
    assert not exact_match(at(0.59, 0.5), at(0.1, 0.2), boxes=[wide], size=size)
    with pytest.raises(ValueError, match="pass size"):
        exact_match(truth, truth, boxes=[wide])


def slowly(predicted, truth, boxes, size, radius):
    """The rule with boxes as top, left, height and width in shares of the screen, box after box."""
    height, width = size
    hits = []
    for left, top, right, bottom in boxes:
        y, x, h, w = top / height, left / width, (bottom - top) / height, (right - left) / width
        y, x, h, w = max(0, y - 0.1 * h), max(0, x - 0.1 * w), min(1, 1.2 * h), min(1, 1.2 * w)
        if x <= truth[0] <= x + w and y <= truth[1] <= y + h:
            hits.append(x <= predicted[0] <= x + w and y <= predicted[1] <= y + h)
    return any(hits) or math.hypot(predicted[0] - truth[0], predicted[1] - truth[1]) <= radius


def test_clicks_match_as_the_loops_say():
    chance, outcomes = random.Random(3), []
    for _ in range(4000):
        size = chance.randint(50, 3000), chance.randint(50, 3000)
        boxes = []
        for _ in range(chance.randint(0, 4)):
            left, right = sorted(chance.sample(range(size[1] + 1), 2))
            top, bottom = sorted(chance.sample(range(size[0] + 1), 2))
            boxes.append((float(left), float(top), float(right), float(bottom)))
        predicted, truth = ((chance.random(), chance.random()) for _ in range(2))
        radius = chance.choice([RADIUS, ANDROID_CONTROL_RADIUS])
        found = exact_match(at(*predicted), at(*truth), boxes=boxes, size=size, radius=radius)
        assert found is slowly(predicted, truth, boxes, size, radius)
        outcomes.append(found)
    assert 0.1 < sum(outcomes) / len(outcomes) < 0.9


def longest_common(first, second):
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for letter in first:
        before = 0
        for place, other in enumerate(second, start=1):
            before, row[place] = row[place], before + 1 if letter == other else max(row[place], row[place - 1])
    return row[-1]


def test_text_ratio_is_what_insertions_and_deletions_leave():
    chance = random.Random(5)
    assert text_ratio("", " ") == 1
    for _ in range(300):
        first, second = ("".join(chance.choices("abc", k=chance.randint(0, 8))) for _ in range(2))
        if first or second:
            expected = 2 * longest_common(first, second) / (len(first) + len(second))
            assert text_ratio(first.upper(), f" {second}\n") == pytest.approx(expected)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rapidfuzz.distance", None)
    with pytest.raises(ValueError, match=r"pip install 'wherenot\[mllm\]'"):
        text_ratio("a", "b")
