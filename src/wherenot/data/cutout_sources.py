"""What cutouts are made of: alpha objects in folders by class, and photographs in families that look alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from wherenot.data.folder import IMAGE_SUFFIXES
from wherenot.data.pictures import opened
from wherenot.data.samples import DataError

SPLIT_SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}
_THUMBNAIL_PX = 8
_SAME_PHOTOGRAPH = 5.0  # mean grey levels between thumbnails, of 255
_TEST_PHOTOGRAPHS = 0.3


@dataclass(frozen=True)
class ObjectClass:
    """The cut-out objects of one class, by split; no object is in two splits.

    Attributes:
        name: Of the class.
        files: Split to files, sorted.
    """

    name: str
    files: dict[str, tuple[Path, ...]]


def read_object_classes(root: Path, specs: Sequence[str], seed: int) -> tuple[ObjectClass, ...]:
    """Find the objects of each class and share them out among the splits.

    A class is one or more folders of images with transparency; their subfolders are not looked at. ``cup`` and
    ``cup_mirror`` show one object and stay together.

    Args:
        root: Where the folders are.
        specs: ``folder``, ``name=folder`` or ``name=folder+folder`` for each class, folders relative to `root`.
        seed: Shares the objects out.

    Returns:
        One `ObjectClass` per spec, in their order.

    Raises:
        DataError: If a folder is missing or has fewer than three different objects with transparency, or two classes
            share a name.
    """
    classes = []
    for index, spec in enumerate(specs):
        name, _, folder = spec.rpartition("=")
        name = name or Path(folder).name
        families: dict[str, list[Path]] = defaultdict(list)
        for file in (file for part in folder.split("+") for file in object_files(root / part)):
            families[file.stem.lower().removesuffix("_mirror")].append(file)
        if len(families) < len(SPLIT_SHARES):
            raise DataError(
                f"read_object_classes: class {name!r} has {len(families)} different objects in {root / folder}; "
                f"each needs {len(SPLIT_SHARES)}, one for every split."
            )
        if name in (known.name for known in classes):
            raise DataError(f"read_object_classes: two classes are called {name!r}; write NAME=FOLDER.")
        classes.append(ObjectClass(name, _share_out(families, np.random.default_rng([seed, index]))))
    return tuple(classes)


def object_files(folder: Path) -> list[Path]:
    """Images with transparency right in a folder, sorted.

    Raises:
        DataError: If there is no such folder, or an image in it cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"object_files: {folder} is not a folder.")
    files = []
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in IMAGE_SUFFIXES:
            with opened(file, "cannot be read as an image", "; remove it") as image:
                if image.has_transparency_data:
                    files.append(file)
    return files


def _share_out(families: dict[str, list[Path]], random: np.random.Generator) -> dict[str, tuple[Path, ...]]:
    names = [sorted(families)[index] for index in random.permutation(len(families))]
    others = {split: max(1, round(share * len(names))) for split, share in SPLIT_SHARES.items() if split != "train"}
    shared, start = {}, 0
    for split, count in {**others, "train": len(names) - sum(others.values())}.items():
        picked = names[start : start + count]
        shared[split] = tuple(sorted(file for name in picked for file in families[name]))
        start += count
    return shared


def find_photographs(folders: Sequence[Path], min_px: int) -> tuple[Path, ...]:
    """Find the photographs below some folders; of those that look the same, only the largest.

    Args:
        folders: Searched with all their subfolders.
        min_px: The shorter side is at least so long.

    Returns:
        Sorted files.

    Raises:
        DataError: If a folder is missing or an image cannot be read.
    """
    found: list[tuple[int, Path, np.ndarray]] = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"find_photographs: {folder} is not a folder.")
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() not in IMAGE_SUFFIXES or not file.is_file():
                continue
            width, height = _size(file)
            if min(width, height) >= min_px:
                found.append((width * height, file, _thumbnail(file)))
    kept: list[tuple[Path, np.ndarray]] = []
    for _, file, thumbnail in sorted(found, key=lambda one: (-one[0], one[1])):
        if all(np.abs(thumbnail - other).mean() > _SAME_PHOTOGRAPH for _, other in kept):
            kept.append((file, thumbnail))
    return tuple(sorted(file for file, _ in kept))


def _size(file: Path) -> tuple[int, int]:
    with opened(file, "cannot be read as an image", "; remove it") as image:
        return image.size


@cache
def _thumbnail(file: Path) -> Float[np.ndarray, "S S 3"]:
    """The photograph in 8 x 8 pixels; kept, for decoding a large one takes a second."""
    with opened(file, "cannot be decoded", "; remove it") as image:
        image.draft("RGB", (256, 256))  # a JPEG is decoded at an eighth of its size
        small = image.convert("RGB").resize((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64)


@dataclass(frozen=True)
class Family:
    """Photographs that look alike, some to train on and others, never seen in training, to test on."""

    train: tuple[Path, ...]
    test: tuple[Path, ...]


def photograph_families(files: Sequence[Path], count: int, seed: int) -> tuple[Family, ...]:
    """Group photographs into families of nearly equal size by their colours and layout.

    Balanced k-means on thumbnails of 8 x 8 pixels: an assignment problem in each round, so that no family gets more
    than one photograph more than another.

    Args:
        files: Of `find_photographs`.
        count: Number of families.
        seed: Picks the first centres and the photographs for testing.

    Returns:
        The families; of each at least one photograph and three in ten are for testing.

    Raises:
        DataError: If there are fewer than two photographs per family.
    """
    from scipy.optimize import linear_sum_assignment

    if len(files) < 2 * count:
        raise DataError(
            f"photograph_families: {len(files)} photographs are too few for {count} families; each needs two, "
            "one to train and one to test on. Name more folders, or fewer classes."
        )
    features = np.stack([_thumbnail(file).ravel() for file in files])
    random = np.random.default_rng(seed)
    centres = features[random.choice(len(files), count, replace=False)]
    slots = np.arange(len(files)) % count  # as many seats per family as it may have photographs
    assigned = np.full(len(files), -1)
    for _ in range(50):
        cost = np.square(features[:, None] - centres[slots][None]).sum(-1)
        seats = linear_sum_assignment(cost)[1]
        if (slots[seats] == assigned).all():
            break
        assigned = slots[seats]
        centres = np.stack([features[assigned == family].mean(0) for family in range(count)])
    families = []
    for family in range(count):
        members = [files[index] for index in random.permutation(np.flatnonzero(assigned == family))]
        num_test = max(1, round(_TEST_PHOTOGRAPHS * len(members)))
        families.append(Family(tuple(sorted(members[num_test:])), tuple(sorted(members[:num_test]))))
    return tuple(families)
