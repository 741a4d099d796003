"""Reads the files and keys of one sample of the native format: an image, its masks, its shapes."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

import torch

from wherenot.data.origins import KEY as ORIGIN_KEY
from wherenot.data.origins import Box
from wherenot.data.pictures import read_mask
from wherenot.priors import Prior
from wherenot.rasters import Coordinates

MASK_KEYS = ("mask_file_name", "forbidden_mask_file_name", "ignore_mask_file_name")
SHAPE_KEYS = ("objects", "polygons", "rle", "click", "forbidden")
KEYS = ("file_name", "label", "split", "group", *MASK_KEYS, *SHAPE_KEYS, ORIGIN_KEY)
LOOKALIKES = (*KEYS, "mask", "masks", "bbox", "boxes", "polygon", "prior", "allowed", "forbidden_mask", "ignore_mask")

_LARGEST = 1e9  # pixels; also what keeps absurdly long whole numbers from becoming floats


def read_prior(folder: Path, keys: Mapping[str, Any], size: tuple[int, int]) -> Prior | None:
    """Build the prior that one metadata line describes; several keys are united.

    Args:
        folder: Where the line's file names start.
        keys: The line.
        size: Height and width of the image.

    Returns:
        The prior; None if no key gives one. Empty lists and nulls give none.

    Raises:
        ValueError: If a key is malformed, a file is bad, or the result is no valid prior (`wherenot.priors.Prior`).
    """
    height, width = size
    parts: list[Prior] = []
    for key, forbidden in (("mask_file_name", False), ("forbidden_mask_file_name", True)):
        if keys.get(key):
            inside = _sized_mask(folder, keys, key, size)
            if not inside.any():
                raise ValueError(
                    f"{key}: {keys[key]} is zero everywhere, an empty prior; correct or leave out the mask"
                )
            parts.append(Prior.from_mask(inside, forbidden=forbidden))
    for key, forbidden in (("objects", False), ("forbidden", True)):
        if boxes := _boxes(keys.get(key), key):
            parts.append(Prior.from_boxes(boxes, height, width, forbidden=forbidden))
    if polygons := _lists_of_numbers(keys.get("polygons") or [], "polygons"):
        parts.append(Prior.from_polygons(polygons, height, width))
    if rle := _mapping(keys.get("rle"), "rle"):
        if rle.get("size") != [height, width]:
            raise ValueError(f"rle: size is {rle.get('size')}, the image's is {[height, width]} (height, width)")
        parts.append(Prior.from_rle(rle))
    if click := _mapping(keys.get("click"), "click"):
        if set(click) != {"x", "y", "radius"} or not all(is_number(value) for value in click.values()):
            raise ValueError(f'click: {dict(click)} is not numbers {{"x": ..., "y": ..., "radius": ...}} in pixels')
        parts.append(Prior.from_click(click["x"], click["y"], height, width, click["radius"]))
    if not parts and keys.get("ignore_mask_file_name"):
        raise ValueError("ignore_mask_file_name without a prior says nothing; give a prior or leave it out")
    prior = None
    for part in parts:
        prior = part if prior is None else prior | part
    if prior is not None and keys.get("ignore_mask_file_name"):
        prior = prior.with_ignore(_sized_mask(folder, keys, "ignore_mask_file_name", size))
    return prior


def only_boxes(keys: Mapping[str, Any]) -> tuple[Box, ...]:
    """The boxes that one metadata line gives as its prior, xyxy; none if something else says where evidence may lie.

    Args:
        keys: The line; its prior can be read (`read_prior`).
    """
    if any(keys.get(key) for key in ("mask_file_name", "polygons", "rle", "click")):
        return ()
    boxes = (map(float, box) for box in _boxes(keys.get("objects"), "objects"))
    return tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in boxes)


def inner_path(folder: Path, name: object, key: str) -> Path:
    """Resolve a file name of a metadata line; it must stay inside the folder, as it must for `datasets`.

    Args:
        folder: Where the line's file names start.
        name: The value of the key.
        key: For the message.

    Returns:
        The path.

    Raises:
        ValueError: If the name is no relative path with ``/`` inside the folder.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"{key}: {name!r} is not a file name")
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or "\0" in name:
        raise ValueError(f"{key}: {name!r} is not a relative path with / inside the folder of metadata.jsonl")
    return folder / PurePosixPath(name)


def refuse_way_out(root: Path, path: Path, key: str) -> None:
    """Refuse a file that a symbolic link leads out of the data folder: what names it may come from anybody.

    Links that the Hugging Face hub lays from a snapshot to its own blobs are none.

    Args:
        root: The data folder; it may itself be reached through a link.
        path: The file.
        key: What named it, for the message.

    Raises:
        ValueError: If the file that is meant lies outside; no message tells whether it exists.
    """
    home = root.resolve()
    if "snapshots" in home.parts:
        cache = Path(*home.parts[: home.parts.index("snapshots")])
        home = cache if (cache / "blobs").is_dir() else home
    # Not Path.resolve, which takes a link that leads to itself for an error of the program until Python 3.13.
    if not Path(os.path.realpath(path)).is_relative_to(home):
        raise ValueError(f"{key}: a symbolic link leads out of {root}; put the file itself there")


@functools.cache
def is_lookalike(key: str, keys: tuple[str, ...] = KEYS, lookalikes: tuple[str, ...] = LOOKALIKES) -> bool:
    """Tell whether an unknown key looks like one of ours, misspelt; all others are the user's own business."""
    return key not in keys and bool(difflib.get_close_matches(key, lookalikes, n=1, cutoff=0.86))


def _sized_mask(folder: Path, keys: Mapping[str, Any], key: str, size: tuple[int, int]) -> torch.Tensor:
    inside = read_mask(inner_path(folder, keys[key], key))
    if inside.shape != size:
        raise ValueError(f"{key}: {keys[key]} has size {inside.shape}, the image {size} (height, width)")
    return torch.from_numpy(inside)


def _boxes(value: object, key: str) -> Sequence[Coordinates]:
    given = _mapping(value, key)
    boxes = _lists_of_numbers(given.get("bbox") or [], f"{key}.bbox")
    if not boxes:
        return []
    if any(len(box) != 4 for box in boxes):
        raise ValueError(f"{key}.bbox: each box is four numbers")
    categories = given.get("categories")
    if categories is not None and (not isinstance(categories, list) or len(categories) != len(boxes)):
        raise ValueError(f"{key}.categories: not one for each of the {len(boxes)} boxes")
    if given.get("bbox_format") not in ("xywh", "xyxy"):
        raise ValueError(
            f'{key}: bbox needs "bbox_format": "xywh" (COCO: x, y, width, height) or "xyxy" (x0, y0, x1, y1); both are'
            f" in use and cannot be told apart by their numbers; got {given.get('bbox_format')!r}"
        )
    if given["bbox_format"] == "xywh":
        return [[x, y, x + width, y + height] for x, y, width, height in boxes]
    return boxes


def _mapping(value: object, key: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{key}: {value!r} is not an object {{...}}")
    return value or {}


def _lists_of_numbers(value: object, key: str) -> Sequence[Coordinates]:
    if not isinstance(value, list) or not all(isinstance(row, list) and all(map(is_number, row)) for row in value):
        raise ValueError(f"{key}: not a list of lists of numbers")
    return value


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a value of JSON is a number that can be a coordinate."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST
