"""Questions about images, for vision-language models: a JSON object per line.

    {"image": "images/17.jpg", "prompt": "Is there a dog?", "label": "Yes", "boxes": [[40, 12, 96, 80]]}

- ``image``: path, relative to the lines' file. ``prompt``: what the user says. All other keys are optional.
- ``label``: the right answer. ``answer``: what a model is taken to say, instead of what it says.
- ``tokens``: which tokens of the answer are explained (`wherenot.tokens.choose_tokens`); without it, all but thoughts.
- ``counter``: a word that would contradict the answer.
- Where the object lies that question or answer is about, several of them united: ``boxes`` ``[[x0, y0, x1, y1], ...]``,
  half-open; ``polygons`` ``[[x, y, x, y, ...], ...]``; ``rle``, COCO's; ``mask``, the path of a PNG of one channel or
  a ``.npy``, not zero where evidence may lie. Coordinates are pixels of the upright image.
- ``split``: ``train`` if left out. ``group``: a subset to report on separately.
- ``id``: the image's path if left out; further lines of one image get ``#2``, ``#3``...

The classes of the data set are the right answers, sorted; questions without one share the class `NO_LABEL`, the last.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from wherenot.data.annotations import inner_path, is_lookalike, is_number, read_prior
from wherenot.data.check import image_hash
from wherenot.data.checked import OnBad, Problems, checked_dataset, checked_sample, parse_json, read_text
from wherenot.data.folder import SPLIT_ALIASES, new_folder, write_new
from wherenot.data.lists import read_mask_prior
from wherenot.data.samples import DataError, Dataset, GuiSample, ImageTextSample, Rejected, Sample
from wherenot.metrics import answer_agrees
from wherenot.priors import Prior
from wherenot.tokens import check_choice, choose_tokens

NO_LABEL = "(no label)"

_TEXTS = ("image", "prompt", "answer", "tokens", "counter", "label", "mask", "split", "group", "id")
_KEYS = (*_TEXTS, "boxes", "polygons", "rle")
_LOOKALIKES = (
    *_KEYS, "question", "labels", "token", "counter_word", "counter_answer", "bbox", "box", "polygon", "segmentation",
    "masks", "mask_path", "mask_file_name", "objects", "click", "forbidden",
)  # fmt: skip


@dataclass
class _Line:
    """One line on its way to a sample."""

    where: str
    keys: dict[str, Any] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)
    id: str = ""

    def text(self, key: str) -> str | None:
        """A key's text; None if it is left out or wrong, which is a problem by then."""
        value = self.keys.get(key)
        return value if isinstance(value, str) and value else None


def read_image_text(path: str | Path, *, on_bad: OnBad = "error") -> Dataset:
    """Read questions about images (see the module) and check everything but the images' pixels.

    Args:
        path: The file with the lines.
        on_bad: Whether a bad line makes the whole an error, or is left out and listed in `rejected`. Its label stays
            among the classes either way.

    Returns:
        The data set, of `ImageTextSample`.

    Raises:
        DataError: If there is no such file, or no line in it is good; and with `on_bad` "error" if any is bad: no JSON
            object, a key missing, misspelt or of the wrong type, an image or mask missing or unreadable, a shape that
            leaves the image, a choice of tokens that cannot be read or names nothing in the given answer, an id twice.
            It names file, line and reason.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Image.new("RGB", (4, 2)).save(Path(root, "1.png"))
        ...     _ = Path(root, "pairs.jsonl").write_text('{"image": "1.png", "prompt": "A dog?", "label": "No"}')
        ...     data = read_image_text(Path(root, "pairs.jsonl"))
        >>> data.classes, data.samples[0].id, data.samples[0].prompt
        (('No',), '1.png', 'A dog?')
    """
    file = Path(path).absolute()
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise DataError(f"read_image_text: {path} {what}; pass the .jsonl file that holds a question per line.")
    texts = enumerate(read_text("read_image_text", file).split("\n"), start=1)
    lines = [_read_line(f"{file.name}:{number}", text) for number, text in texts if text.strip()]
    _name(lines)
    labels = sorted({label for line in lines if (label := line.text("label")) is not None})
    without = [NO_LABEL] if any(line.text("label") is None for line in lines) else []
    indices = {name: index for index, name in enumerate([*labels, *without])}
    found = [_sample(file.parent, line, indices) for line in lines]
    return checked_dataset("read_image_text", path, file.stem, [*indices], found, on_bad)


def write_image_text(dataset: Dataset, path: str | Path) -> None:
    """Write questions about images: a line each, and beside the file the images and masks as PNGs.

    `read_image_text` gives back the same images, priors, questions, splits, groups and ids in the same order. An image
    that several questions are about is written once.

    Args:
        dataset: What to write; every pixel is read.
        path: The file for the lines, in a folder that is empty or not there yet. Each file appears whole or not at all.

    Raises:
        ValueError: If the folder is not empty, a sample has no prompt or is a `GuiSample`, its prior forbids or
            ignores pixels, or an id cannot be a file name.

    Example:
        >>> import tempfile
        >>> from wherenot.data import decoy
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_image_text(decoy(num_train=1, num_validation=1, num_test=1), Path(root, "pairs.jsonl"))
        Traceback (most recent call last):
        ValueError: write_image_text: 'train/00000.png' has no prompt; write_folder can hold it.
    """
    file = Path(path)
    root = new_folder("write_image_text", file.parent)
    images: dict[str, str] = {}
    lines = [_write_sample(root, sample, images) for sample in dataset.samples]
    write_new("write_image_text", file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _read_line(where: str, text: str) -> _Line:
    line = _Line(where)
    with line.problems.noting():
        keys = parse_json(text)
        if not isinstance(keys, dict):
            raise ValueError("not a JSON object {...}")
        line.keys = keys
        for key in ("image", "prompt"):
            if keys.get(key) is None:
                line.problems.append(f"{key}: missing")
        for key in _TEXTS:
            if keys.get(key) is not None and line.text(key) is None:
                line.problems.append(f'{key}: {keys[key]!r} is not a text "..." with something in it')
        unknown = [key for key in keys if is_lookalike(key, _KEYS, _LOOKALIKES)]
        line.problems += [f"unknown key {key!r}; ours are {', '.join(_KEYS)}" for key in unknown]
    label, tokens, answer = line.text("label"), line.text("tokens"), line.text("answer")
    if label is not None:
        with line.problems.noting():
            answer_agrees("", label)
    if tokens is not None:
        with line.problems.noting():
            check_choice(tokens)
            if answer is not None and tokens.partition(":")[0] in ("word", "regex", "field"):
                choose_tokens(list(answer), tokens)  # letters, as the model's own pieces are not known yet
    return line


def _name(lines: list[_Line]) -> None:
    """Give each line its id, or one made of its image; two lines with one id are a problem of both."""
    count: Counter[str] = Counter()
    for line in lines:
        image = line.text("image")
        if (own := line.text("id")) is not None:
            line.id = own
        elif image is not None:
            plain = "/".join(part for part in PurePosixPath(image).parts if part not in ("/", ".."))
            count[plain] += 1
            line.id = plain if count[plain] == 1 else f"{plain}#{count[plain]}"
    uses = Counter(line.id for line in lines if line.id)
    for line in lines:
        if uses[line.id] > 1:
            line.problems.append(f"id: {line.id!r} is used {uses[line.id]} times")


def _sample(folder: Path, line: _Line, indices: dict[str, int]) -> Sample | Rejected:
    image, prompt, right = line.text("image"), line.text("prompt"), line.text("label")
    if image is None or prompt is None:
        return Rejected(line.id or line.where, f"{line.where}: {'; '.join(line.problems)}")
    split = line.text("split") or "train"
    sample = checked_sample(
        id=line.id,
        label=indices[NO_LABEL if right is None else right],
        split=SPLIT_ALIASES.get(split, split),
        image=folder / image,
        read_prior=partial(_read_prior, folder, line.keys),
        group=line.text("group"),
        where=line.where,
        problems=line.problems,
    )
    if isinstance(sample, Rejected):
        return sample
    return ImageTextSample(
        **vars(sample),
        prompt=prompt,
        answer=line.text("answer"),
        tokens=line.text("tokens") or "answer",
        counter=line.text("counter"),
        right=right,
    )


def _read_prior(folder: Path, keys: dict[str, Any], size: tuple[int, int]) -> Prior | None:
    height, width = size
    prior = read_prior(folder, {key: keys.get(key) for key in ("polygons", "rle")}, size)
    others = []
    if boxes := keys.get("boxes"):
        if not isinstance(boxes, list) or not all(isinstance(box, list) and all(map(is_number, box)) for box in boxes):
            raise ValueError(f"boxes: {boxes!r} is not a list of [x0, y0, x1, y1]")
        others.append(Prior.from_boxes(boxes, height, width))
    if isinstance(mask := keys.get("mask"), str) and mask:
        others.append(read_mask_prior(folder / mask, size))
    for other in others:
        prior = other if prior is None else prior | other
    return prior


def _write_sample(root: Path, sample: Sample, images: dict[str, str]) -> dict[str, Any]:
    if not isinstance(sample, ImageTextSample):
        raise ValueError(f"write_image_text: {sample.id!r} has no prompt; write_folder can hold it.")
    if isinstance(sample, GuiSample):
        raise ValueError(
            f"write_image_text: {sample.id!r} is a task on a screen; a line cannot hold it, write_gui can."
        )
    image, prior = sample.read_image(), sample.read_prior()
    if prior is not None and (prior.forbidden is not None or prior.ignore is not None):
        raise ValueError(f"write_image_text: the prior of {sample.id!r} forbids or ignores pixels; a line cannot.")
    name = sample.id if sample.id.endswith(".png") else f"{sample.id}.png"
    shown = image_hash(image)
    if shown not in images:
        images[shown] = f"images/{name}"
        write_new("write_image_text", inner_path(root, images[shown], "write_image_text: id"), image)
    said = {
        "image": images[shown],
        "prompt": sample.prompt,
        "answer": sample.answer,
        "tokens": None if sample.tokens == "answer" else sample.tokens,
        "counter": sample.counter,
        "label": sample.right,
        "split": sample.split,
        "group": sample.group,
        "id": sample.id,
    }
    if prior is not None and prior.allowed is not None:
        said["mask"] = f"masks/{name}"
        inside = Image.fromarray(prior.allowed.cpu().numpy().astype(np.uint8) * 255)
        write_new("write_image_text", inner_path(root, said["mask"], "write_image_text: id"), inside)
    return {key: value for key, value in said.items() if value is not None}
