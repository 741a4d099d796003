"""Single steps of recorded Android episodes: AITZ, the same keys for other data, and AndroidControl.

PATH is a folder, whose ``.json`` and ``.jsonl`` files are all read, or one such file. Each holds a list of objects, or
an object to a line, in one of two layouts. These keys are understood; others are not looked at.

A step, as in AITZ (Android in the Zoo), and as AgentCPM-GUI's evaluation writes AndroidControl:

- ``image_path``, below the file's folder or one of the three around it; ``instruction``; ``low_instruction`` of this
  step, optional; ``episode_id`` and ``step_id``.
- ``result_action_type``: 0 long press, 1 wait, 3 type, 4 touch, 5 back, 6 home, 7 enter, 10 finished, 11 impossible,
  12 open an app. ``result_action_text``: what is typed. ``result_touch_yx``, ``result_lift_yx``: ``[y, x]`` in [0, 1],
  perhaps as a text; at most 0.04 apart they are a click, else a swipe along the longer way. ``duration`` of a wait.
- ``ui_positions``, ``[[y, x, height, width], ...]`` in [0, 1], ``ui_text`` and ``ui_types``: the elements, as lists or
  as texts of lists; optional. ``coat_action_think``: the thought, optional. ``category`` or ``subset``: the kind.

An episode, with AndroidControl's names and files instead of bytes:

- ``episode_id``, ``goal``, ``step_instructions``, ``screenshots`` (paths), ``actions``: objects, or texts of them, with
  ``action_type``: ``click`` and ``long_press`` with ``x`` and ``y`` in pixels, ``scroll`` with ``direction``,
  ``input_text`` with ``text``, ``navigate_back``, ``navigate_home``, ``wait``, ``open_app``, ``type``.
- ``accessibility_trees``: paths of what `data.gui.elements` reads; optional. Its own protocol buffers are not read.

A step may hold such an ``action`` instead of AITZ's keys, and the path of one such tree as ``elements``.

The actions become compact JSON. A scroll *down* is a finger that moves *up*. Opening an app by name, and
AndroidControl's ``type``, which presses enter as well, are no actions there: such steps are listed in `rejected`, but
are no error. The last screenshot of an episode, which no action follows, is no step. ``split`` in the object wins over
the names of the folders, such as ``test``; without either it is ``train``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from wherenot.data.annotations import image_size
from wherenot.data.checked import OnBad, Problems
from wherenot.data.folder import SPLIT_ALIASES
from wherenot.data.gui.compact import SCALE, TAP_MS, strict_json, write_compact
from wherenot.data.gui.draft import Draft, find_image, gui_dataset, listed_objects
from wherenot.data.gui.elements import four_numbers, is_number, on_screen, read_elements
from wherenot.data.samples import DataError, Dataset, Rejected, UiElement

SWIPE_FRAC = 0.04  # of height and width together, as Android in the Wild tells a swipe from a click
LONG_MS = 1000
SPLITS = ("train", "validation", "test", *SPLIT_ALIASES)

_PRESSES = {5: "BACK", 6: "HOME", 7: "ENTER", "navigate_back": "BACK", "navigate_home": "HOME"}
_STATUSES = {10: "finish", 11: "impossible"}
_FINGER = {"up": "down", "down": "up", "left": "right", "right": "left"}  # of a scroll in that direction


class _NoAction(Exception):
    """A step that is sound, but whose action compact JSON cannot say."""


def read_android_steps(path: str | Path, *, on_bad: OnBad = "error") -> Dataset:
    """Read steps of Android episodes (see the module) and check everything but the images' pixels.

    Args:
        path: The folder or file.
        on_bad: Whether a bad step makes the whole an error, or is left out and listed in `rejected`.

    Returns:
        The data set, of `GuiSample`: the prompt is the goal and, in a second line, the instruction of the step where
        there is one. There are no boxes: the prior of a click is the element around it.

    Raises:
        DataError: If there is no such folder or file, or no step is good; and with `on_bad` "error" if any is bad: a
            key missing or of the wrong type, an unknown action, a point off the screen, an image or tree missing.

    Example:
        >>> read_android_steps("nowhere")
        Traceback (most recent call last):
        wherenot.data.samples.DataError: read_android_steps: nowhere does not exist; pass the folder with the steps.

    References:
        Zhang et al., "Android in the Zoo", EMNLP 2024 Findings; Li et al., "On the Effects of Data Scale on UI Control
        Agents" (AndroidControl), NeurIPS 2024; Rawles et al., "Android in the Wild", NeurIPS 2023 (click or swipe).
    """
    root = Path(path).absolute()
    if not root.exists():
        raise DataError(f"read_android_steps: {path} does not exist; pass the folder with the steps.")
    files = [root] if root.is_file() else sorted([*root.rglob("*.json"), *root.rglob("*.jsonl")])
    drafts, outside = [], []
    for file in files:
        for where, keys, problems in listed_objects("read_android_steps", file):
            for draft in _steps(where, keys, problems):
                try:
                    _fill(draft, file, root)
                    drafts.append(draft)
                except _NoAction as error:
                    outside.append(Rejected(draft.id or draft.where, f"{draft.where}: {error}", faulty=False))
    return gui_dataset("read_android_steps", path, root.stem, drafts, on_bad, outside)


def _steps(where: str, keys: dict[str, Any], problems: Problems) -> Iterator[Draft]:
    """Cut an episode into its steps; a step is its only one."""
    if problems or "actions" not in keys:
        yield Draft(where, keys, problems)
        return
    actions, shown = keys["actions"], keys.get("screenshots")
    told, trees = keys.get("step_instructions"), keys.get("accessibility_trees")
    for name, listed in (("actions", actions), ("screenshots", shown), ("step_instructions", told)):
        if not isinstance(listed, list):
            problems.append(f"{name}: missing" if listed is None else f"{name}: not a list")
    if trees is not None and not isinstance(trees, list):
        problems.append("accessibility_trees: not a list")
    if not problems:
        if len(shown) not in (len(actions), len(actions) + 1) or len(told) != len(actions):
            counts = f"{len(actions)} actions, {len(shown)} screenshots, {len(told)} step_instructions"
            problems.append(f"{counts}; each action has a screenshot and an instruction, and one screenshot may follow")
        if trees is not None and len(trees) != len(shown):
            problems.append(f"{len(trees)} accessibility_trees for {len(shown)} screenshots")
    if problems:
        yield Draft(where, keys, problems)
        return
    same = {key: keys[key] for key in ("episode_id", "split", "category", "subset") if key in keys}
    for place, action in enumerate(actions):
        tree = {"elements": trees[place]} if trees is not None else {}
        own = {"image_path": shown[place], "instruction": keys.get("goal"), "low_instruction": told[place]}
        yield Draft(f"{where}.actions[{place}]", {**same, **own, **tree, "step_id": place, "action": action})


def _fill(draft: Draft, file: Path, root: Path) -> None:
    if draft.problems:
        return
    keys = draft.keys
    episode, step = keys.get("episode_id"), keys.get("step_id")
    if isinstance(episode, str | int) and isinstance(step, str | int):
        draft.id = f"{episode}_{step}"
    else:
        draft.problems.append(f"episode_id, step_id: {episode!r}, {step!r} are not both a text or a whole number")
    if (name := draft.text("image_path", needed=True)) is not None:
        draft.image, draft.image_name = find_image(file, name), name
    goal, low = draft.text("instruction", needed=True), draft.text("low_instruction")
    if goal is not None:
        draft.prompt = goal.strip() if low is None else f"{goal.strip()}\n{low.strip()}"
        draft.instruction = (low or goal).strip()
    named = [part for part in (root.name, *file.relative_to(root).parts[:-1]) if part in SPLITS]
    draft.split = draft.text("split") or (named[-1] if named else "train")
    draft.kind = draft.group = draft.text("category") or draft.text("subset")
    with draft.problems.noting():
        if keys.get("ui_positions") is not None:
            rows, texts, roles = (_parsed(keys, key) for key in ("ui_positions", "ui_text", "ui_types"))
            draft.read_elements = partial(_elements, rows, texts, roles)
    if (tree := draft.text("elements")) is not None:
        draft.read_elements = partial(read_elements, find_image(file, tree))
    with draft.problems.noting():
        thought = draft.text("coat_action_think")
        draft.answer(write_compact(thought=thought, **(_control(draft) if "action" in keys else _touch(keys))))


def _touch(keys: dict[str, Any]) -> dict[str, Any]:
    """Say an action of AITZ's keys in those of compact JSON."""
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
        raise _NoAction("opens an app by name, which compact JSON cannot say")
    raise ValueError(f"result_action_type: {kind} is none of 0, 1, 3 to 7, 10 to 12")


def _control(draft: Draft) -> dict[str, Any]:
    """Say an action of AndroidControl in the keys of compact JSON."""
    action = _parsed(draft.keys, "action")
    if not isinstance(action, dict):
        raise ValueError(f"action: {action!r} is not an object {{...}}")
    kind = action.get("action_type")
    if kind in ("click", "long_press"):
        if not is_number(action.get("x")) or not is_number(action.get("y")):
            raise ValueError(f"action: x and y of {action!r} are not numbers of pixels")
        if draft.image is None:
            raise ValueError("action: without a screenshot its pixels mean nothing")
        height, width = image_size(draft.image)
        point = _location(action["x"] / width, action["y"] / height)
        return {"POINT": point, "duration": LONG_MS if kind == "long_press" else None}
    if kind == "scroll":
        if action.get("direction") not in _FINGER:
            raise ValueError(f"action: direction {action.get('direction')!r} is none of {', '.join(_FINGER)}")
        return {"POINT": [SCALE // 2, SCALE // 2], "to": _FINGER[action["direction"]]}
    if kind == "input_text":
        return {"TYPE": _typed(action, "text")}
    if kind in _PRESSES:
        return {"PRESS": _PRESSES[kind]}
    if kind == "wait":
        return {"duration": TAP_MS}
    if kind in ("open_app", "type"):
        raise _NoAction(f"action_type {kind!r}, which compact JSON cannot say")
    raise ValueError(f"action: action_type {kind!r} is unknown")


def _typed(keys: dict[str, Any], key: str) -> str:
    if not isinstance(keys.get(key), str):
        raise ValueError(f"{key}: {keys.get(key)!r} is not a text")
    return keys[key]


def _parsed(keys: dict[str, Any], key: str) -> Any:
    """Take a value that may be a text of JSON."""
    value = keys.get(key)
    try:
        return strict_json(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"{key}: a text that is not JSON ({error})") from error


def _position(keys: dict[str, Any], key: str) -> tuple[float, float]:
    value = _parsed(keys, key)
    if not isinstance(value, list) or len(value) != 2 or not all(is_number(each) and 0 <= each <= 1 for each in value):
        raise ValueError(f"{key}: {value!r} is not [y, x] in [0, 1]")
    return value[0], value[1]


def _location(x: float, y: float) -> list[int]:
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise ValueError(f"the point ({x:.3f}, {y:.3f}) of width and height is off the screen")
    return [int(x * SCALE), int(y * SCALE)]


def _elements(rows: Any, texts: Any, roles: Any, size: tuple[int, int]) -> tuple[UiElement, ...]:
    height, width = size
    boxes = [four_numbers(row) for row in rows] if isinstance(rows, list) else [None]
    placed = [box for box in boxes if box is not None]
    if len(placed) < len(boxes):
        raise ValueError("ui_positions: not a list of [y, x, height, width]")
    for key, listed in (("ui_text", texts), ("ui_types", roles)):
        if listed is not None and (not isinstance(listed, list) or len(listed) != len(placed)):
            raise ValueError(f"{key}: not one for each of the {len(placed)} ui_positions")
    found = []
    for place, (y, x, tall, wide) in enumerate(placed):
        box = (x * width, y * height, (x + wide) * width, (y + tall) * height)
        text, role = (None if listed is None else listed[place] or None for listed in (texts, roles))
        found.append(UiElement(box, text, role))
    return on_screen(found, size)
