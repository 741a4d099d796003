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

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from wherenot.data.checked import OnBad, Problems
from wherenot.data.folder import SPLIT_ALIASES
from wherenot.data.gui.android_actions import NoActionError, controlled, parsed, touched
from wherenot.data.gui.compact import write_compact
from wherenot.data.gui.draft import Draft, find_image, gui_dataset, listed_objects
from wherenot.data.gui.elements import four_numbers, on_screen, read_elements
from wherenot.data.pictures import image_size
from wherenot.data.samples import DataError, Dataset, Rejected, UiElement

SPLITS = ("train", "validation", "test", *SPLIT_ALIASES)

_COLUMNS = ("actions", "screenshots", "step_instructions", "accessibility_trees")


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
                except NoActionError as error:
                    if not draft.problems:
                        outside.append(Rejected(draft.id or draft.where, f"{draft.where}: {error}", faulty=False))
                        continue
                drafts.append(draft)
    return gui_dataset("read_android_steps", path, root.stem, drafts, on_bad, outside)


def _steps(where: str, keys: dict[str, Any], problems: Problems) -> Iterator[Draft]:
    """Cut an episode into its steps; a step is its only one."""
    if problems or "actions" not in keys:
        yield Draft(where, keys, problems)
        return
    lists: dict[str, list[Any]] = {}
    for name in _COLUMNS:
        column = keys.get(name)
        if isinstance(column, list):
            lists[name] = column
        elif column is not None or name != "accessibility_trees":
            problems.append(f"{name}: missing" if column is None else f"{name}: not a list")
    if not isinstance(keys.get("goal"), str):
        problems.append(f"goal: {keys.get('goal')!r} is not a text")
    if not problems:
        actions, shown, told = (len(lists[name]) for name in _COLUMNS[:3])
        if shown not in (actions, actions + 1) or told != actions:
            counts = f"{actions} actions, {shown} screenshots, {told} step_instructions"
            problems.append(f"{counts}; each action has a screenshot and an instruction, and one screenshot may follow")
        if (trees := len(lists.get("accessibility_trees", lists["screenshots"]))) != shown:
            problems.append(f"{trees} accessibility_trees for {shown} screenshots")
    if problems:
        yield Draft(where, keys, problems)
        return
    same = {key: keys[key] for key in ("episode_id", "split", "category", "subset") if key in keys}
    names = {"action": "actions", "image_path": "screenshots", "low_instruction": "step_instructions"}
    if "accessibility_trees" in lists:
        names["elements"] = "accessibility_trees"
    for place in range(len(lists["actions"])):
        own = {name: lists[column][place] for name, column in names.items()}
        yield Draft(f"{where}.actions[{place}]", {**same, **own, "instruction": keys.get("goal"), "step_id": place})


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
    if keys.get("ui_positions") is not None:
        with draft.problems.noting():
            rows, texts, roles = (parsed(keys, key) for key in ("ui_positions", "ui_text", "ui_types"))
            draft.read_elements = partial(_elements, rows, texts, roles)
    if (tree := draft.text("elements")) is not None:
        draft.read_elements = partial(read_elements, find_image(file, tree))
    with draft.problems.noting():
        thought = draft.text("coat_action_think")
        said = _control(draft) if "action" in keys else touched(keys)
        draft.answer(write_compact(thought=thought, **said))


def _control(draft: Draft) -> dict[str, Any]:
    if draft.image is None:
        raise ValueError("action: without a screenshot its pixels mean nothing")
    return controlled(draft.keys, image_size(draft.image))


def _elements(rows: Any, texts: Any, roles: Any, size: tuple[int, int]) -> tuple[UiElement, ...]:
    height, width = size
    boxes = [four_numbers(row) for row in rows] if isinstance(rows, list) else [None]
    placed = [box for box in boxes if box is not None]
    if len(placed) < len(boxes):
        raise ValueError("ui_positions: not a list of [y, x, height, width]")
    for key, listed in (("ui_text", texts), ("ui_types", roles)):
        if listed is not None and (not isinstance(listed, list) or len(listed) != len(placed)):
            raise ValueError(f"{key}: not one for each of the {len(placed)} ui_positions")
        if listed is not None and not all(isinstance(each, str | None) for each in listed):
            raise ValueError(f"{key}: not all of it is text")
    found = []
    for place, (y, x, tall, wide) in enumerate(placed):
        # Shares of whole pixels are whole pixels but for noise, which would make a box touch one pixel more.
        box = (round(x * width, 3), round(y * height, 3), round((x + wide) * width, 3), round((y + tall) * height, 3))
        text, role = (None if listed is None else listed[place] or None for listed in (texts, roles))
        found.append(UiElement(box, text, role))
    return on_screen(found, size)
