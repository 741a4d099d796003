"""Three-column lists: image, mask and class of a sample per line, as the authors of "Where Not to Learn" keep them.

    Saliency-Bench/pascal/image/horse/2007_006151.png Saliency-Bench/pascal/attention_mask/horse/2007_006151.npy horse

Columns are parted by tabs or, where the line has none, by spaces. Paths start at the list's folder. A folder of lists
holds ``train.txt``, ``validation.txt``, ``test.txt`` or ``test_....txt``. Beside a list, ``classes.txt`` may name the
classes, one a line in the order of their indices; without it they are the sorted names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image

from wherenot.data.annotations import inner_path
from wherenot.data.checked import OnBad, Problems, checked_dataset, checked_sample, is_file, read_text
from wherenot.data.folder import IMAGE_SUFFIXES, SPLIT_ALIASES, SPLIT_FOLDER, new_folder, write_new
from wherenot.data.pictures import read_mask
from wherenot.data.samples import DataError, Dataset, GuiSample, ImageTextSample, Rejected, Sample
from wherenot.priors import Prior

MASK_SUFFIXES = IMAGE_SUFFIXES | {".npy"}
_MOST_GAPS = 200  # every two of them are tried


@dataclass(frozen=True)
class Line:
    """One line of a list.

    Attributes:
        where: File and number, for messages.
        split: The split its list stands for.
        image: As written.
        mask: As written.
        label: Name of the class.
    """

    where: str
    split: str
    image: str
    mask: str
    label: str


def read_lists(path: str | Path, *, on_bad: OnBad = "error") -> Dataset:
    """Read three-column lists (see the module) and check everything but the images' pixels.

    Args:
        path: A list, whose name without ``.txt`` is its split, or a folder of lists.
        on_bad: Whether a bad sample makes the whole an error, or is left out and listed in `rejected`. Its class keeps
            its index either way.

    Returns:
        The data set. An id is the image's path, without ``..`` and ``/`` in front; the second and later lines of one
        image, as where it shows two classes, get ``#2``, ``#3``... behind it. The prior is where the mask is not zero.

    Raises:
        DataError: If there is no such file or folder, no list in it, or no sample is good; and with `on_bad` "error" if
            any line is bad: not three columns, a file missing or unreadable, an empty mask or one of another size than
            its image, a line twice. It names list, line and reason.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Image.new("RGB", (4, 2)).save(Path(root, "a b.png"))
        ...     np.save(Path(root, "a b.npy"), np.eye(2, 4))
        ...     _ = Path(root, "test.txt").write_text("a b.png a b.npy cat")
        ...     data = read_lists(root)
        >>> data.classes, data.samples[0].id, data.splits
        (('cat',), 'a b.png', ('test',))
    """
    start = Path(path).absolute()
    files = lists_in(start) if start.is_dir() else [start]
    if not files:
        raise DataError(f"read_lists: {path} holds no list; call them train.txt, validation.txt, test.txt.")
    root = start if start.is_dir() else start.parent
    lines, bad = read_lines("read_lists", files, root)
    classes = _classes(root, lines)
    ids = unique_ids(lines)
    seen: dict[tuple[str, ...], str] = {}
    found: list[Sample | Rejected] = list(bad)
    for id, line in zip(ids, lines, strict=True):
        problems = Problems()
        if line.label not in classes:
            problems.append(f"class {line.label!r} is not in classes.txt")
        first = seen.setdefault((line.split, line.image, line.mask, line.label), line.where)
        if first != line.where:
            problems.append(f"the same as {first}")
        found.append(
            checked_sample(
                id=id,
                label=0 if problems else classes.index(line.label),  # a sample with problems is none
                split=line.split,
                image=root / line.image,
                read_prior=partial(read_mask_prior, root / line.mask),
                where=line.where,
                problems=problems,
            )
        )
    return checked_dataset("read_lists", path, start.stem, classes, found, on_bad)


def write_lists(dataset: Dataset, path: str | Path) -> None:
    """Write a data set as three-column lists: PNGs, one list per split, ``classes.txt``.

    `read_lists` gives back the same images, priors, labels and splits. Lists cannot say more than where evidence may
    lie: for priors that forbid or ignore, for images without a prior and for groups there is `write_folder`, and for
    prompts `write_image_text`.

    Args:
        dataset: What to write; every pixel is read.
        path: A folder that is empty or not there yet.

    Raises:
        ValueError: If the folder is not empty, a sample says what lists cannot, a split is no name that `read_lists`
            looks for, an id cannot be a file name, or two samples would become the same file.

    Example:
        >>> import tempfile
        >>> from wherenot.data import decoy
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_lists(decoy(num_train=3, num_validation=1, num_test=1).split("train"), root)
        ...     len(read_lists(root))
        Traceback (most recent call last):
        ValueError: write_lists: 'train/00000.png' has a group; lists cannot hold it, write_folder can.
    """
    root = new_folder("write_lists", path)
    rows: dict[str, list[str]] = {}
    for sample in dataset.samples:
        image, mask = _write_sample(root, sample)
        columns = (image, mask, dataset.classes[sample.label])
        blank = any(re.search(r"\s", column) for column in columns)
        rows.setdefault(sample.split, []).append(("\t" if blank else " ").join(columns) + "\n")
    for split, lines in rows.items():
        write_new("write_lists", root / f"{split}.txt", "".join(lines))
    write_new("write_lists", root / "classes.txt", "".join(f"{name}\n" for name in dataset.classes))


def lists_in(folder: Path) -> list[Path]:
    """The lists that a folder holds: text files called like a split."""
    return [file for file in sorted(folder.glob("*.txt")) if SPLIT_FOLDER.fullmatch(file.stem)]


def read_lines(reader: str, files: Sequence[Path], root: Path) -> tuple[list[Line], list[Rejected]]:
    """Read lists.

    Args:
        reader: For the message if a list cannot be read.
        files: The lists.
        root: Where the paths in them start.

    Returns:
        The lines, and those that are not three columns.

    Raises:
        DataError: If a list cannot be read.
    """
    lines, bad = [], []
    for file in files:
        split = SPLIT_ALIASES.get(file.stem, file.stem)
        for number, text in enumerate(read_text(reader, file).split("\n"), start=1):
            where = f"{file.name}:{number}"
            if not text.strip():
                continue
            try:
                lines.append(Line(where, split, *_columns(text, root)))
            except ValueError as error:
                bad.append(Rejected(where, f"{where}: {error}"))
    return lines, bad


def unique_ids(lines: Sequence[Line]) -> list[str]:
    """The image's path as each line's id, numbered from the second line of one image on."""
    plain = ["/".join(part for part in PurePosixPath(line.image).parts if part not in ("/", "..")) for line in lines]
    count: Counter[str] = Counter()
    ids = []
    for id in plain:
        count[id] += 1
        ids.append(id if count[id] == 1 else f"{id}#{count[id]}")
    return ids


def read_mask_prior(path: Path, size: tuple[int, int]) -> Prior:
    """Read the prior of a mask file, not zero where evidence may lie, for an image of height and width."""
    inside = read_mask(path)
    if inside.shape != size:
        raise DataError(f"{path}: size {inside.shape}, the image {size} (height, width)")
    if not inside.any():
        raise DataError(f"{path}: zero everywhere, an empty prior; correct or leave out the mask")
    return Prior.from_mask(torch.from_numpy(inside))


def _columns(text: str, root: Path) -> tuple[str, str, str]:
    text = text.strip()
    if "\t" in text:
        columns = [column.strip() for column in text.split("\t")]
        if len(columns) != 3 or not all(columns):
            raise ValueError(f"{len(columns)} columns parted by tabs, not image, mask, class")
        return columns[0], columns[1], columns[2]
    gaps = [gap.span() for gap in re.finditer(" +", text)]
    if len(gaps) > _MOST_GAPS:
        raise ValueError(f"{len(gaps)} spaces, too many to tell the columns by; part them by tabs")
    cuts = [
        (text[:start], text[stop:later], text[end:])
        for index, (start, stop) in enumerate(gaps)
        for later, end in gaps[index + 1 :]
        if _has(IMAGE_SUFFIXES, text[:start]) and _has(MASK_SUFFIXES, text[stop:later])
    ]
    if len(cuts) > 1:  # spaces in the paths: the cut whose files are there
        cuts = [cut for cut in cuts if is_file(root / cut[0]) and is_file(root / cut[1])]
    if len(cuts) != 1:
        raise ValueError(f"{text!r} cannot be parted into image, mask and class; part the columns by tabs")
    return cuts[0]


def _has(suffixes: frozenset[str], path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in suffixes


def _classes(root: Path, lines: Sequence[Line]) -> tuple[str, ...]:
    file = root / "classes.txt"
    if not file.is_file():
        return tuple(sorted({line.label for line in lines}))
    names = [line.strip() for line in read_text("read_lists", file).split("\n") if line.strip()]
    if not names or len(set(names)) < len(names):
        raise DataError(f"read_lists: {file} is empty or names a class twice; correct or remove it.")
    return tuple(names)


def _write_sample(root: Path, sample: Sample) -> tuple[str, str]:
    prior = sample.read_prior()
    lacking = {
        "a prompt": isinstance(sample, ImageTextSample),
        "a group": sample.group is not None,
        "no prior": prior is None,
        "a forbidden area": prior is not None and prior.forbidden is not None,
        "ignored pixels": prior is not None and prior.ignore is not None and bool(prior.ignore.any()),
    }
    if what := [name for name, so in lacking.items() if so]:
        prompted = "write_gui" if isinstance(sample, GuiSample) else "write_image_text"
        other = prompted if isinstance(sample, ImageTextSample) else "write_folder"
        raise ValueError(f"write_lists: {sample.id!r} has {what[0]}; lists cannot hold it, {other} can.")
    if not SPLIT_FOLDER.fullmatch(sample.split):
        raise ValueError(f"write_lists: split {sample.split!r} is not train, validation, test or test_...; rename it.")
    assert prior is not None
    assert prior.allowed is not None
    name = sample.id if sample.id.endswith(".png") else f"{sample.id}.png"
    names = f"images/{name}", f"masks/{name}"
    inside = Image.fromarray(prior.allowed.cpu().numpy().astype(np.uint8) * 255)
    for each, image in zip(names, (sample.read_image(), inside), strict=True):
        write_new("write_lists", inner_path(root, each, "write_lists: id"), image)
    return names
