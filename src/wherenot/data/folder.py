"""The native format: folders of images, with priors in ``metadata.jsonl`` as the `datasets` library reads it.

Each line of a ``metadata.jsonl`` describes one image of its folder or the folders below:

- ``file_name``: relative to the line's file, with ``/``. All other keys are optional.
- ``label``: a class name or its index; without it, the name of the image's folder.
- ``mask_file_name``: evidence may lie where this image or ``.npy`` is not zero.
- ``objects``: ``{"bbox": [[...], ...], "bbox_format": "xywh" | "xyxy"}``; each box counts, whatever ``categories`` say.
- ``polygons``: ``[[x, y, x, y, ...], ...]``. ``rle``: COCO's. ``click``: ``{"x", "y", "radius"}``.
- ``forbidden_mask_file_name``, ``forbidden`` (like ``objects``): where evidence may not lie.
- ``ignore_mask_file_name``: pixels that do not count.
- ``split``: wins over the folder. ``group``: a subset to report on separately.
- ``prior_from``: where the prior came from, if not from a person (`wherenot.data.origins`).

Several keys of one kind are united. Coordinates are pixels of the upright image. ``dataset.json`` at the root may hold
``{"classes": [...]}`` in order; without it the classes are the sorted names. A folder that no ``metadata.jsonl``
covers is read as ``<class>/<image>`` or ``<split>/.../<class>/<image>``, without priors. Hidden files, and files
that are no images, are not looked at.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from wherenot.data.annotations import (
    KEYS,
    MASK_KEYS,
    inner_path,
    is_lookalike,
    only_boxes,
    read_prior,
    refuse_way_out,
)
from wherenot.data.checked import (
    OnBad,
    Problems,
    checked_dataset,
    checked_sample,
    existing_folder,
    is_text,
    parse_json,
    read_text,
)
from wherenot.data.origins import KEY as ORIGIN_KEY
from wherenot.data.origins import Box, Origin, read_origin
from wherenot.data.samples import DataError, Dataset, GuiSample, ImageTextSample, Rejected, Sample

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
SPLIT_ALIASES = {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "testing": "test",
}
SPLIT_FOLDER = re.compile("train|validation|test([-_.].*)?|" + "|".join(SPLIT_ALIASES))


@dataclass
class _Entry:
    """One image on its way to a sample."""

    where: str
    id: str = ""
    split: str = "train"
    label: str | int | None = None
    group: str | None = None
    keys: dict[str, Any] = field(default_factory=dict)
    origin: Origin | None = None
    problems: Problems = field(default_factory=Problems)


def read_folder(path: str | Path, *, on_bad: OnBad = "error") -> Dataset:
    """Read a data set in the native format (see the module) and check everything but the images' pixels.

    Args:
        path: The root folder.
        on_bad: Whether a bad sample makes the whole an error, or is left out and listed in `rejected`. Its class keeps
            its index either way.

    Returns:
        The data set; ids are paths relative to the root. Images and masks are read when asked for.

    Raises:
        DataError: If there is no such folder, no image in it, no list of classes can be made, or no sample is good;
            and with `on_bad` "error" if any sample is bad. It names file, line and reason.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("dog", "cat"):
        ...         Path(root, "train", name).mkdir(parents=True)
        ...         Image.new("RGB", (4, 2)).save(Path(root, "train", name, "1.png"))
        ...     data = read_folder(root)
        >>> data.classes, [(sample.id, sample.label) for sample in data.samples]
        (('cat', 'dog'), [('train/cat/1.png', 0), ('train/dog/1.png', 1)])

    References:
        https://huggingface.co/docs/datasets/image_dataset, "ImageFolder". Stricter: images without a line are refused.
    """
    root = existing_folder("read_folder", path)
    entries = _entries(root)
    if not entries:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"read_folder: {path} holds no images ({suffixes}) and no lines in a metadata.jsonl.")
    name, declared = _declared(root)
    classes = declared or _found_classes(entries)
    indices = {each: index for index, each in enumerate(classes)}
    numbers_count = declared is not None or not any(isinstance(entry.label, str) for entry in entries)
    counts = Counter(entry.id for entry in entries)
    for entry in entries:
        if entry.id and counts[entry.id] > 1:
            entry.problems.append(f"{entry.id} is listed {counts[entry.id]} times")
    found = [_sample(root, entry, indices, numbers_count) for entry in entries]
    return checked_dataset("read_folder", path, name or root.name, classes, found, on_bad)


def write_folder(dataset: Dataset, path: str | Path, *, on_sample: Callable[[], None] | None = None) -> None:
    """Write a data set in the native format: PNGs, one ``metadata.jsonl`` per split, ``dataset.json``.

    `read_folder` gives back the same images, priors, labels, splits and groups in the same order, and the same ids if
    they are ``<split>/<name>.png``; else ids become so. What was `rejected` is not written. `datasets` reads the folder
    as ``imagefolder``, if each kind of mask that occurs at all occurs in every split; it takes all ``test_*`` for one.

    Args:
        dataset: What to write; every pixel is read.
        path: A folder that is empty or not there yet. Each file appears whole or not at all.
        on_sample: Called after each sample, for a progress bar.

    Raises:
        ValueError: If the folder is not empty, a sample has a prompt, an id or split cannot be a file name, two samples
            would become the same file, or a prior has another size than its image.

    Example:
        >>> import tempfile
        >>> from wherenot.data import decoy
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_folder(decoy(num_train=10, num_validation=2, num_test=2), Path(root, "decoy"))
        ...     len(read_folder(Path(root, "decoy")).split("train"))
        10
    """
    for sample in dataset.samples:
        if isinstance(sample, ImageTextSample):
            other = "write_gui" if isinstance(sample, GuiSample) else "write_image_text"
            raise ValueError(f"write_folder: {sample.id!r} has a prompt; folders cannot hold it, {other} can.")
    root = new_folder("write_folder", path)
    lines: dict[str, list[dict[str, Any]]] = {}
    for sample in dataset.samples:
        lines.setdefault(sample.split, []).append(_write_sample(root / sample.split, sample, dataset.classes))
        if on_sample is not None:
            on_sample()
    used = [key for key in KEYS if any(key in line for split in lines.values() for line in split)]
    for split, rows in lines.items():
        text = "".join(json.dumps({key: row.get(key) for key in used}, ensure_ascii=False) + "\n" for row in rows)
        write_new("write_folder", root / split / "metadata.jsonl", text)
    write_new(
        "write_folder",
        root / "dataset.json",
        json.dumps({"name": dataset.name, "classes": dataset.classes}, ensure_ascii=False),
    )


def new_folder(writer: str, path: str | Path) -> Path:
    """Return a folder that is empty or not there yet, or complain in the writer's name."""
    root = Path(path)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ValueError(f"{writer}: {root} exists and is not an empty folder; pass a new one.")
    return root


def write_new(writer: str, file: Path, content: str | Image.Image) -> None:
    """Write a new file, whole or not at all; complain in the writer's name if it is there already."""
    if file.exists():
        raise ValueError(f"{writer}: two samples would become {file}; give them different ids.")
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    if isinstance(content, str):
        part.write_text(content, encoding="utf-8")
    else:
        content.save(part, format="PNG")
    part.replace(file)


def picture_name(writer: str, sample: Sample) -> str:
    """Return a sample's file name in the folder of its split, or complain in the writer's name of the split's name."""
    if not re.fullmatch(r"\w[\w.-]*", sample.split):
        raise ValueError(f"{writer}: split {sample.split!r} cannot be a folder; use letters, digits, '_', '-', '.'.")
    parts = PurePosixPath(sample.id).parts
    name = "/".join(parts[1:] if len(parts) > 1 and parts[0] == sample.split else parts)
    return name if name.endswith(".png") else f"{name}.png"


def _entries(root: Path) -> list[_Entry]:
    files = [file for file in sorted(root.rglob("*")) if not _hidden(file.relative_to(root)) and file.is_file()]
    metadata = [file for file in files if file.name == "metadata.jsonl"]
    own = {file.parent.name for file in metadata if file.parent.parent == root}
    entries = []
    for file in metadata:
        for number, text in enumerate(file.read_bytes().split(b"\n"), start=1):
            if text.strip():
                entries.append(_described(root, file, number, text, own))
    known = {entry.id for entry in entries} | {mask for entry in entries for mask in _masks(entry)}
    covered = {file.parent for file in metadata}
    for file in files:
        id = file.relative_to(root).as_posix()
        if file.suffix.lower() in IMAGE_SUFFIXES and id not in known:
            entries.append(_plain(id) if covered.isdisjoint(file.parents) else _unlisted(id))
    return entries


def _described(root: Path, file: Path, number: int, text: bytes, own: set[str]) -> _Entry:
    entry = _Entry(f"{file.relative_to(root).as_posix()}:{number}")
    with entry.problems.noting():
        keys = parse_json(text)
        if not isinstance(keys, dict):
            raise ValueError("not a JSON object {...}")
        entry.keys = keys
        image = inner_path(file.parent, keys.get("file_name"), "file_name")
        refuse_way_out(root, image, "file_name")
        entry.id = image.relative_to(root).as_posix()
        for key in MASK_KEYS:
            if keys.get(key):
                refuse_way_out(root, inner_path(file.parent, keys[key], key), key)
    if not entry.id:
        return entry
    entry.problems += [f"unknown key {key!r}; ours are {', '.join(KEYS)}" for key in entry.keys if is_lookalike(key)]
    first, *rest = PurePosixPath(entry.id).parts
    in_split_folder = bool(rest) and (first in own or SPLIT_FOLDER.fullmatch(first) is not None)
    with entry.problems.noting():
        named = _text(entry.keys, "split") or (first if in_split_folder else "train")
        entry.split = SPLIT_ALIASES.get(named, named)
    with entry.problems.noting():
        entry.group = _text(entry.keys, "group")
    with entry.problems.noting():
        entry.origin = read_origin(entry.keys.get(ORIGIN_KEY))
    with entry.problems.noting():
        label = entry.keys.get("label")
        if label is None:
            entry.label = _class_folder(entry.id, in_split_folder)
        elif isinstance(label, bool) or not isinstance(label, str | int) or label == "":
            raise ValueError(f"label: {label!r} is neither a class name nor its index")
        else:
            entry.label = label
    return entry


def _plain(id: str) -> _Entry:
    entry = _Entry(where=id, id=id)
    first, *rest = PurePosixPath(id).parts
    in_split_folder = bool(rest) and SPLIT_FOLDER.fullmatch(first) is not None
    entry.split = SPLIT_ALIASES.get(first, first) if in_split_folder else "train"
    with entry.problems.noting():
        entry.label = _class_folder(id, in_split_folder)
        if len(rest) > 1 and not in_split_folder:
            raise ValueError(
                f"folder {first!r} is not called train, validation or test...; rename it or write metadata.jsonl"
            )
    return entry


def _unlisted(id: str) -> _Entry:
    problem = "not listed in metadata.jsonl, neither as an image nor as a mask; add a line or remove the file"
    return _Entry(where=id, id=id, problems=Problems([problem]))


def _masks(entry: _Entry) -> list[str]:
    folder = PurePosixPath(entry.where).parent
    return [(folder / entry.keys[key]).as_posix() for key in MASK_KEYS if isinstance(entry.keys.get(key), str)]


def _class_folder(id: str, in_split_folder: bool) -> str:
    folders = PurePosixPath(id).parent.parts[1 if in_split_folder else 0 :]
    if not folders:
        raise ValueError("no label, and the image lies in no class folder")
    return is_text(folders[-1])


def _text(keys: dict[str, Any], key: str) -> str | None:
    value = keys.get(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise ValueError(f"{key}: {value!r} is not a name")
    return value


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _declared(root: Path) -> tuple[str | None, tuple[str, ...] | None]:
    file = root / "dataset.json"
    if not file.exists():
        return None, None
    try:
        declared = parse_json(read_text("read_folder", file))
        name, classes = declared.get("name"), declared.get("classes")
        good = isinstance(classes, list) and classes and all(isinstance(each, str) and each for each in classes)
        if not good or len(set(classes)) < len(classes) or not isinstance(name, str | None):
            raise ValueError('it needs "classes", a list of different names; "name" is optional')
    except (ValueError, AttributeError) as error:
        raise DataError(f"read_folder: {file}: {error}; correct or remove the file.") from error
    return name, tuple(classes)


def _found_classes(entries: Sequence[_Entry]) -> tuple[str, ...]:
    names = {entry.label for entry in entries if isinstance(entry.label, str)}
    numbers = {entry.label for entry in entries if isinstance(entry.label, int)}
    if numbers and not names:
        if numbers != set(range(len(numbers))):
            raise DataError(
                f"read_folder: the labels are {len(numbers)} numbers from {min(numbers)} to {max(numbers)}, not all of"
                " 0..L-1; list the classes in dataset.json."
            )
        return tuple(str(number) for number in sorted(numbers))
    return tuple(sorted(names))


def _sample(root: Path, entry: _Entry, indices: dict[str, int], numbers_count: bool) -> Sample | Rejected:
    if not entry.id:
        return Rejected(entry.where, f"{entry.where}: {'; '.join(entry.problems)}")
    index = None
    with entry.problems.noting():
        index = _index(entry.label, indices, numbers_count)
    return checked_sample(
        id=entry.id,
        label=0 if index is None else index,  # without one, there is a problem
        split=entry.split,
        image=root / entry.id,
        read_prior=partial(read_prior, root / PurePosixPath(entry.where).parent, entry.keys),
        group=entry.group,
        where=entry.where,
        problems=entry.problems,
        boxes=_boxes(entry),
        origin=entry.origin,
    )


def _boxes(entry: _Entry) -> tuple[Box, ...]:
    try:
        return only_boxes(entry.keys)
    except (TypeError, ValueError):  # a fault that is noted where the prior is read
        return ()


def _index(label: str | int | None, indices: dict[str, int], numbers_count: bool) -> int | None:
    if isinstance(label, str) and label not in indices:
        raise ValueError(f"label: {label!r} is not a class of dataset.json")
    if isinstance(label, int) and not numbers_count:
        raise ValueError(f"label: {label} is a number and others are names; list the classes in dataset.json")
    if isinstance(label, int) and not 0 <= label < len(indices):
        raise ValueError(f"label: {label} is not an index into the {len(indices)} classes")
    return indices[label] if isinstance(label, str) else label


def _write_sample(folder: Path, sample: Sample, classes: tuple[str, ...]) -> dict[str, Any]:
    name = picture_name("write_folder", sample)
    image, prior = sample.read_image(), sample.read_prior()
    if prior is not None and prior.shape != (image.height, image.width):
        raise ValueError(
            f"write_folder: {sample.id!r} has a prior of {prior.shape} and an image of {image.size[::-1]}."
        )
    line: dict[str, Any] = {"file_name": name, "label": classes[sample.label], "split": sample.split}
    write_new("write_folder", inner_path(folder, name, "write_folder: id"), image)
    if sample.group is not None:
        line["group"] = sample.group
    if prior is not None:
        for key, inside in zip(MASK_KEYS, (prior.allowed, prior.forbidden, prior.ignore), strict=True):
            if inside is not None:
                line[key] = f"masks/{key.removesuffix('_file_name')}/{name}"
                write_new(
                    "write_folder", folder / line[key], Image.fromarray(inside.cpu().numpy().astype(np.uint8) * 255)
                )
        if sample.origin is not None:
            line[ORIGIN_KEY] = sample.origin.written()
    return line
