r"""Tasks on screenshots as conversations: the format of the paper, and AgentCPM-GUI's, which it extends.

A JSON list of tasks, or one to a line of a ``.jsonl``:

    {"id": "0",
     "image": {"<image_00>": "img/screenshot_0.jpg"},
     "conversations": [{"role": "system", "content": "# Role ..."},
                       {"role": "user", "content": "<Question>Open the browser.</Question>\nNow: <image_00>"},
                       {"role": "assistant", "content": "{\"thought\":\"...\",\"POINT\":[591,915]}"}],
     "bounding_box": [706, 2438, 858, 2590]}

- ``id``: a text, unique. ``image``: placeholder and path, relative to the file; may lead out of its folder.
- ``conversations``: perhaps a system prompt, then one user and one assistant. The user's text holds the placeholder
  once; it is taken out of the prompt, as models put the image where their template wants it.
- The assistant's text is compact JSON (`data.gui.compact`). A null says that nobody gave an answer.
- ``bounding_box``: ``[x0, y0, x1, y1]``, half-open, in pixels of the screenshot. It is needed where the answer has a
  ``POINT`` to click; a null says that nobody gave one. A point has to lie in it, up to 1 / 1000 of the side.

Of our own, all optional: ``elements``, the path of an accessibility tree (`data.gui.elements`); ``kind`` of screen or
target; ``group``, the kind if left out; ``split``, ``train`` if left out; ``instruction``, what stands in
``<Question>`` if left out; ``answer``, ``tokens`` and ``counter`` as for questions about images.

The AgentCPM-GUI format has no box, and is laxer: ``image`` may be a path, whose placeholder is ``<image>`` and may be
missing, and ``id`` may be a number or missing.

References:
    "Where Not to Learn", appendix A.1; Zhang et al., "AgentCPM-GUI", arXiv 2506.01391, its notes on fine-tuning.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from wherenot.data.annotations import is_lookalike
from wherenot.data.checked import OnBad
from wherenot.data.gui.draft import Draft, gui_dataset, listed_objects
from wherenot.data.gui.elements import four_numbers, read_elements
from wherenot.data.samples import DataError, Dataset
from wherenot.tokens import check_choice

TASKS = "tasks.json"

_GIVEN = ("answer", "tokens", "counter")
_KEYS = (
    "id", "image", "conversations", "bounding_box", "elements", "kind", "group", "split", "instruction", *_GIVEN,
)  # fmt: skip
_LOOKALIKES = (
    *_KEYS, "images", "image_path", "img", "conversation", "messages", "bounding_boxes", "boundingbox", "boundingBox",
    "bbox", "box", "POINT", "point", "thought", "label", "prompt", "question", "token", "ui_elements", "groups",
)  # fmt: skip


def read_gui(path: str | Path, *, on_bad: OnBad = "error") -> Dataset:
    """Read tasks in the format of the paper (see the module) and check everything but the images' pixels.

    Args:
        path: The file, or a folder that `write_gui` made.
        on_bad: Whether a bad task makes the whole an error, or is left out and listed in `rejected`.

    Returns:
        The data set, of `GuiSample`. Its classes are the kinds of action that occur.

    Raises:
        DataError: If there is no such file, or no task in it is good; and with `on_bad` "error" if any is bad: a key
            missing, misspelt or of the wrong type, several images or turns, a placeholder or an assistant's turn
            missing, an action that cannot be read, an image or element tree that cannot be read, a box that is empty
            or leaves the screen, a point outside its box, an id twice. It names file, place and every reason.

    Example:
        >>> read_gui("nowhere.json")
        Traceback (most recent call last):
        wherenot.data.samples.DataError: read_gui: .../nowhere.json does not exist; pass the file with the tasks.
    """
    return _read("read_gui", path, on_bad, boxed=True)


def read_agentcpm(path: str | Path, *, on_bad: OnBad = "error") -> Dataset:
    """Read AgentCPM-GUI's data for fine-tuning (see the module) and check everything but the images' pixels.

    Args:
        path: The JSON list.
        on_bad: Whether a bad task makes the whole an error, or is left out and listed in `rejected`.

    Returns:
        The data set, of `GuiSample`. Without boxes, the prior of a click is the disc around it.

    Raises:
        DataError: As `read_gui` does.

    Example:
        >>> read_agentcpm("nowhere.json")
        Traceback (most recent call last):
        wherenot.data.samples.DataError: read_agentcpm: .../nowhere.json does not exist; pass the file with the tasks.
    """
    return _read("read_agentcpm", path, on_bad, boxed=False)


def _read(reader: str, path: str | Path, on_bad: OnBad, *, boxed: bool) -> Dataset:
    place = Path(path).absolute()
    file = place / TASKS if place.is_dir() else place
    if place.is_dir() and not file.is_file():
        raise DataError(f"{reader}: {path} holds no {TASKS}; pass the file with the tasks.")
    drafts = []
    for where, keys, problems in listed_objects(reader, file):
        draft = Draft(where, keys, problems)
        drafts.append(draft)
        if not problems:
            _fill(draft, file, boxed=boxed)
    return gui_dataset(reader, path, place.stem, drafts, on_bad)


def _fill(draft: Draft, file: Path, *, boxed: bool) -> None:
    keys = draft.keys
    unknown = [key for key in keys if is_lookalike(key, _KEYS, _LOOKALIKES)]
    draft.problems += [f"unknown key {key!r}; ours are {', '.join(_KEYS)}" for key in unknown]
    if not boxed and isinstance(keys.get("id"), int) and not isinstance(keys["id"], bool):
        draft.id = str(keys["id"])
    else:
        draft.id = draft.text("id", needed=boxed) or ""
    placeholder = _take_image(draft, file, boxed=boxed)
    _take_turns(draft, placeholder, boxed=boxed)
    _take_box(draft, boxed=boxed)
    draft.kind = draft.text("kind")
    draft.group = draft.text("group") if "group" in keys else draft.kind
    draft.split = draft.text("split") or "train"
    draft.instruction = draft.text("instruction")
    draft.given = {key: text for key in _GIVEN if (text := draft.text(key)) is not None}
    if "tokens" in draft.given:
        with draft.problems.noting():
            check_choice(draft.given["tokens"])
    if (elements := draft.text("elements")) is not None:
        draft.read_elements = partial(read_elements, file.parent / elements)


def _take_image(draft: Draft, file: Path, *, boxed: bool) -> str | None:
    """Take the image and return its placeholder, if there is one image."""
    image = draft.keys.get("image")
    if isinstance(image, str) and image and not boxed:
        image = {"<image>": image}
    if image is None:
        draft.problems.append("image: missing")
    elif not isinstance(image, dict) or not all(isinstance(each, str) and each for each in image.values()):
        draft.problems.append(f'image: {image!r} is not {{"<image_00>": "path"}}')
    elif len(image) != 1:
        draft.problems.append(f"image: {len(image)} images; a task has one")
    else:
        [(placeholder, name)] = image.items()
        draft.image, draft.image_name = file.parent / name, name
        if len(placeholder) > 2 and placeholder.startswith("<") and placeholder.endswith(">"):
            return placeholder
        draft.problems.append(f"image: {placeholder!r} is no placeholder such as <image_00>")
    return None


def _take_turns(draft: Draft, placeholder: str | None, *, boxed: bool) -> None:
    turns = draft.keys.get("conversations")
    try:
        said = _turns(turns)
    except ValueError as error:
        draft.problems.append(f"conversations: {error}")
        return
    draft.system, asked, right = said.get("system"), said["user"], said["assistant"]
    if asked is not None and placeholder is not None:
        draft.prompt = _without(draft, asked, placeholder, boxed=boxed)
    if right is not None:
        draft.answer(right)


def _turns(turns: Any) -> dict[str, str | None]:
    if turns is None:
        raise ValueError("missing")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise ValueError('not a list of turns {"role": ..., "content": ...}')
    roles = [turn.get("role") for turn in turns]
    for role in roles:
        if role not in ("system", "user", "assistant"):
            raise ValueError(f"role {role!r} is none of system, user, assistant")
    for role in ("user", "assistant"):
        if role not in roles:
            raise ValueError(f"no {role} turn")
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise ValueError(f"the turns are {', '.join(roles)}; a task is one user and one assistant, after one system")
    for turn in turns:
        open_question = turn["role"] == "assistant" and "content" in turn and turn["content"] is None
        if not isinstance(turn.get("content"), str) and not open_question:
            raise ValueError(f"the {turn['role']}'s content is {turn.get('content')!r}, not a text")
    return {turn["role"]: turn["content"] for turn in turns}


def _without(draft: Draft, asked: str, placeholder: str, *, boxed: bool) -> str | None:
    times = asked.count(placeholder)
    if times > 1 or (times == 0 and (boxed or placeholder != "<image>")):
        draft.problems.append(f"the user's content holds the placeholder {placeholder} {times} times, not once")
        return None
    prompt = asked.replace(placeholder, "").strip()
    if not prompt:
        draft.problems.append("the user's content asks for nothing")
        return None
    return prompt


def _take_box(draft: Draft, *, boxed: bool) -> None:
    given = draft.keys.get("bounding_box")
    if given is None:
        clicks = draft.said is not None and draft.said.point is not None
        if boxed and clicks and "bounding_box" not in draft.keys:
            draft.problems.append("bounding_box: missing, and the answer has a POINT; null says that nobody gave one")
    elif (box := four_numbers(given)) is None:
        draft.problems.append(f"bounding_box: {given!r} is not four numbers [x0, y0, x1, y1]")
    else:
        draft.box = box
