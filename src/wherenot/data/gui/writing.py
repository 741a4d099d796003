"""Writes tasks on screenshots in the format of the paper (`data.gui.tasks`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wherenot.data.annotations import inner_path
from wherenot.data.check import image_hash
from wherenot.data.folder import new_folder, write_new
from wherenot.data.gui.compact import Compact, read_compact
from wherenot.data.gui.draft import instruction_in
from wherenot.data.gui.elements import Box, target_prior
from wherenot.data.gui.tasks import TASKS
from wherenot.data.samples import Dataset, GuiSample, Sample, UiElement

PLACEHOLDER = "<image_00>"


def write_gui(dataset: Dataset, path: str | Path, *, on_sample: Callable[[], None] | None = None) -> None:
    """Write tasks on screenshots: ``tasks.json``, and beside it the images as PNGs and the elements as JSON.

    `read_gui` gives back the same images, priors, splits, groups and ids in the same order, and the same of everything
    a `GuiSample` has, if the classes are the kinds of action, as those of all our readers are. A screenshot that
    several tasks are about is written once, and so are its elements. What was `rejected` is not written. The
    placeholder comes last in the user's text; without an answer the assistant's content is null.

    Args:
        dataset: What to write; every pixel is read.
        path: A folder that is empty or not there yet. Each file appears whole or not at all.
        on_sample: Called after each sample, for a progress bar.

    Raises:
        ValueError: If the folder is not empty, a sample is no `GuiSample`, an id cannot be a file name, or a sample has
            what the format cannot say: a prior, point or thought that is not that of its box and answer, an answer
            that is no action, a prompt with the placeholder in it or with blanks around it.

    Example:
        >>> import tempfile
        >>> from wherenot.data import decoy
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_gui(decoy(num_train=1, num_validation=1, num_test=1), root)
        Traceback (most recent call last):
        ValueError: write_gui: 'train/00000.png' is no task on a screenshot; write_folder can hold it.
    """
    root = new_folder("write_gui", path)
    written: dict[str, str] = {}  # by content: a screen's picture and elements serve all of its tasks
    tasks = []
    for sample in dataset.samples:
        tasks.append(json.dumps(_task(root, sample, written), ensure_ascii=False))
        if on_sample is not None:
            on_sample()
    write_new("write_gui", root / TASKS, "[\n" + ",\n".join(tasks) + "\n]\n")


def _task(root: Path, sample: Sample, written: dict[str, str]) -> dict[str, Any]:
    if not isinstance(sample, GuiSample):
        raise ValueError(f"write_gui: {sample.id!r} is no task on a screenshot; write_folder can hold it.")
    said = _said(sample)
    image, elements = sample.read_image(), sample.elements()
    _check_prior(sample, (image.height, image.width), elements)
    name = sample.id if sample.id.endswith(".png") else f"{sample.id}.png"
    shown = image_hash(image)
    if shown not in written:
        written[shown] = f"images/{name}"
        write_new("write_gui", inner_path(root, written[shown], "write_gui: id"), image)
    turns = [("system", sample.system), ("user", f"{sample.prompt}\n{PLACEHOLDER}"), ("assistant", sample.right)]
    task: dict[str, Any] = {
        "id": sample.id,
        "image": {PLACEHOLDER: written[shown]},
        "conversations": [
            {"role": role, "content": text} for role, text in turns if role != "system" or text is not None
        ],
    }
    if sample.box is not None or said.point is not None:
        task["bounding_box"] = None if sample.box is None else _plain(sample.box)
    if elements:
        listed = json.dumps([_element(each) for each in elements], ensure_ascii=False)
        if listed not in written:
            written[listed] = f"elements/{name.removesuffix('.png')}.json"
            write_new("write_gui", inner_path(root, written[listed], "write_gui: id"), listed)
        task["elements"] = written[listed]
    if sample.split != "train":
        task["split"] = sample.split
    if sample.group != sample.kind:
        task["group"] = sample.group
    own = {
        "kind": sample.kind,
        "instruction": None if sample.instruction == instruction_in(sample.prompt) else sample.instruction,
        "answer": sample.answer,
        "tokens": None if sample.tokens == "answer" else sample.tokens,
        "counter": sample.counter,
    }
    return {**task, **{key: value for key, value in own.items() if value is not None}}


def _said(sample: GuiSample) -> Compact:
    """Read a sample's answer, if it is one that says all the sample does."""
    if PLACEHOLDER in sample.prompt or sample.prompt != sample.prompt.strip() or not sample.prompt:
        raise ValueError(
            f"write_gui: the prompt of {sample.id!r} is empty, has blanks around it or {PLACEHOLDER} in it."
        )
    try:
        said = Compact("") if sample.right is None else read_compact(sample.right)
    except ValueError as error:
        raise ValueError(f"write_gui: the answer of {sample.id!r} is no action: {error}.") from error
    for name in ("point", "thought"):
        if getattr(sample, name) != getattr(said, name):
            given = f"the {name} of {sample.id!r} is {getattr(sample, name)!r}"
            raise ValueError(f"write_gui: {given}, its answer says {getattr(said, name)!r}; correct one of them.")
    return said


def _check_prior(sample: GuiSample, size: tuple[int, int], elements: tuple[UiElement, ...]) -> None:
    prior, told = sample.read_prior(), target_prior(sample.box, sample.point, lambda _: elements, size)
    same = prior is told is None
    if prior is not None and told is not None and prior.forbidden is prior.ignore is None:
        same = prior.allowed is not None and told.allowed is not None and prior.allowed.equal(told.allowed)
    if not same:
        raise ValueError(
            f"write_gui: the prior of {sample.id!r} is not that of its box, or of its point and elements; a task cannot"
            " hold another."
        )


def _element(element: UiElement) -> dict[str, Any]:
    sides = dict(zip(("x_min", "y_min", "x_max", "y_max"), _plain(element.box), strict=True))
    return {
        "text": element.text,
        "class_name": element.role,
        "bbox_pixels": sides,
        "is_clickable": element.clickable,
        "is_visible": element.visible,
    }


def _plain(box: Box) -> list[float | int]:
    return [int(side) if float(side).is_integer() else float(side) for side in box]
