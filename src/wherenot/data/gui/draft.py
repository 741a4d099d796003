"""What the readers of GUI data share: a task on its way to a sample, with all that is wrong with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from wherenot import rasters
from wherenot.data.checked import OnBad, Problems, checked_dataset, is_file, read_text
from wherenot.data.folder import SPLIT_ALIASES
from wherenot.data.gui.compact import SCALE, Compact, read_compact, strict_json
from wherenot.data.gui.elements import Box, target_prior
from wherenot.data.image_text import NO_LABEL
from wherenot.data.pictures import image_size, read_image
from wherenot.data.samples import DataError, Dataset, GuiSample, Rejected, Sample, UiElement

ReadElements: TypeAlias = Callable[[tuple[int, int]], tuple[UiElement, ...]]

_QUESTION = re.compile(r"<Question>(.*?)</Question>", re.DOTALL)


def without_elements(_size: tuple[int, int]) -> tuple[UiElement, ...]:
    """Give no elements, whatever the size of the screen."""
    return ()


@dataclass
class Draft:
    """One task on its way to a sample.

    Attributes:
        where: File and place that describe it, for messages.
        keys: What the file says.
        problems: What is wrong with it.
        id: Its own id, or one made of its image.
        image: The screenshot; None where the file does not say.
        image_name: What an id can be made of.
        prompt: What the user says.
        instruction: What is asked for, where the prompt does not tell.
        right: What the assistant says.
        said: What that means.
        box: The target, xyxy.
        read_elements: Gives the elements for height and width.
        system: The system prompt.
        kind: Kind of screen or target.
        group: For reports.
        split: Its name.
        given: Further fields of `ImageTextSample`.
    """

    where: str
    keys: dict[str, Any] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)
    id: str = ""
    image: Path | None = None
    image_name: str = ""
    prompt: str | None = None
    instruction: str | None = None
    right: str | None = None
    said: Compact | None = None
    box: Box | None = None
    read_elements: ReadElements = without_elements
    system: str | None = None
    kind: str | None = None
    group: str | None = None
    split: str = "train"
    given: dict[str, str] = field(default_factory=dict)

    def text(self, key: str, *, needed: bool = False) -> str | None:
        """Take a text from the keys; None if it is left out or wrong, which is noted."""
        value = self.keys.get(key)
        if value is None:
            if needed:
                self.problems.append(f"{key}: missing")
        elif not isinstance(value, str) or not value.strip():
            self.problems.append(f'{key}: {value!r} is not a text "..." with something in it')
        else:
            return value
        return None

    def answer(self, right: str) -> None:
        """Take what the assistant says, if it can be read."""
        with self.problems.noting():
            self.said, self.right = read_compact(right), right

    def sample(self, indices: dict[str, int]) -> Sample | Rejected:
        """Make the sample, or say why it is none."""
        point = None if self.said is None else self.said.point
        size = None
        if self.image is not None:
            with self.problems.noting():
                size = image_size(self.image)
        if size is not None:
            with self.problems.noting():
                self.read_elements(size)
            if self.box is not None:
                self._check_box(self.box, point, size)
        if self.problems or self.image is None or self.prompt is None or size is None:
            return Rejected(self.id or self.where, f"{self.where}: {'; '.join(dict.fromkeys(self.problems))}")
        return GuiSample(
            id=self.id,
            label=indices[NO_LABEL if self.said is None else self.said.kind],
            split=SPLIT_ALIASES.get(self.split, self.split),
            group=self.group,
            read_image=partial(read_image, self.image, size),
            read_prior=partial(target_prior, self.box, point, self.read_elements, size),
            prompt=self.prompt,
            answer=self.given.get("answer"),
            tokens=self.given.get("tokens", "answer"),
            counter=self.given.get("counter"),
            right=self.right,
            system=self.system,
            instruction=self.instruction or instruction_in(self.prompt),
            box=self.box,
            point=point,
            thought=None if self.said is None else self.said.thought,
            elements=partial(self.read_elements, size),
            kind=self.kind,
            screenshot=str(self.image),
        )

    def _check_box(self, box: Box, point: tuple[float, float] | None, size: tuple[int, int]) -> None:
        with self.problems.noting():
            rasters.fill_boxes([box], *size)  # as the prior will; a whole one takes 10 ms on a large screen
        if point is not None and _is_off(box, point, size):
            x, y = round(point[0] * size[1], 1), round(point[1] * size[0], 1)
            self.problems.append(f"POINT: ({x}, {y}) in pixels is outside the box {[*box]}")


def _is_off(box: Box, point: tuple[float, float], size: tuple[int, int]) -> bool:
    # POINT is a whole thousandth of the side: a click on the box's border may be told one thousandth off.
    sides = zip(box[:2], box[2:], point, reversed(size), strict=True)
    return any(not low - side / SCALE <= share * side <= high + side / SCALE for low, high, share, side in sides)


def instruction_in(prompt: str) -> str:
    """Take what is asked for out of a prompt: what stands in ``<Question>``, or else all of it."""
    asked = _QUESTION.search(prompt)
    return (asked[1] if asked else prompt).strip()


def gui_dataset(
    reader: str,
    path: str | Path,
    name: str,
    drafts: Sequence[Draft],
    on_bad: OnBad,
    outside: Sequence[Rejected] = (),
) -> Dataset:
    """Give every draft an id and make the data set of what is good; its classes are the kinds of action."""
    count: Counter[str] = Counter()
    for draft in drafts:
        if not draft.id and draft.image_name:
            plain = "/".join(part for part in PurePosixPath(draft.image_name).parts if part not in ("/", ".."))
            count[plain] += 1
            draft.id = plain if count[plain] == 1 else f"{plain}#{count[plain]}"
    uses = Counter(draft.id for draft in drafts if draft.id)
    for draft in drafts:
        if uses[draft.id] > 1:
            draft.problems.append(f"id: {draft.id!r} is used {uses[draft.id]} times")
    kinds = sorted({draft.said.kind for draft in drafts if draft.said is not None})
    without = [NO_LABEL] if any(draft.said is None and not draft.problems for draft in drafts) else []
    classes = [*kinds, *without]
    found = [draft.sample({each: index for index, each in enumerate(classes)}) for draft in drafts]
    return checked_dataset(reader, path, name, classes, found, on_bad, outside)


def listed_objects(reader: str, file: Path) -> Iterator[tuple[str, dict[str, Any], Problems]]:
    """Read the objects of a JSON list, a single object, or an object per line of a ``.jsonl``.

    Args:
        reader: The reader's name, for messages.
        file: The file.

    Yields:
        For each object its place, its keys, and what is wrong: what is no object has no keys.

    Raises:
        DataError: If there is no such file, or a ``.json`` is none.
    """
    if not file.is_file():
        raise DataError(f"{reader}: {file} does not exist; pass the file with the tasks.")
    text = read_text(reader, file)
    if file.suffix.lower() == ".jsonl":
        entries = [(f"{file.name}:{number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        parse = strict_json
    else:
        try:
            whole = strict_json(text)
        except ValueError as error:
            raise DataError(f"{reader}: {file} is not JSON ({error}); correct the file.") from error
        listed = whole if isinstance(whole, list) else [whole]
        entries, parse = [(f"{file.name}[{place}]", each) for place, each in enumerate(listed)], _itself
    for where, entry in entries:
        problems, keys = Problems(), {}
        with problems.noting():
            keys = parse(entry)
            if not isinstance(keys, dict):
                raise ValueError("not a JSON object {...}")
        yield where, keys if isinstance(keys, dict) else {}, problems


def find_image(file: Path, name: str, folders: Sequence[str] = (".",)) -> Path:
    """Find a screenshot: below the folder of the file that names it, or below one of the three folders around that.

    Args:
        file: The file that names it.
        name: Its path in that file.
        folders: Where it may lie in those folders.

    Returns:
        The first that exists; if none does, where it should lie.
    """
    places = [around / folder / name for around in list(file.parents)[:4] for folder in folders]
    return next((place for place in places if is_file(place)), places[0])


def _itself(entry: Any) -> Any:
    return entry
