"""Reads the files and keys of one sample of the native format: an image, its masks, its shapes."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image, ImageOps

from wherenot.data.samples import DataError
from wherenot.priors import Prior
from wherenot.rasters import Coordinates

MASK_KEYS = ("mask_file_name", "forbidden_mask_file_name", "ignore_mask_file_name")
KEYS = ("file_name", "label", "split", "group", *MASK_KEYS, "objects", "polygons", "rle", "click", "forbidden")
LOOKALIKES = (*KEYS, "mask", "masks", "bbox", "boxes", "polygon", "prior", "allowed", "forbidden_mask", "ignore_mask")

ORIENTATION = 0x0112  # EXIF; 5 to 8 are turned by a quarter
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def image_size(path: Path) -> tuple[int, int]:
    """Read an image's header.

    Args:
        path: The file.

    Returns:
        Height and width in pixels, upright as EXIF says: what `read_image` will give.

    Raises:
        DataError: If there is no such file, its header cannot be read, or it has more than 8 bits per channel.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise DataError(f"{path}: mode {image.mode} has more than 8 bits per channel; convert it to 8")
            # Asking a PNG for EXIF data that come last would decode its pixels.
            asked = image.format != "PNG" or "exif" in image.info
            quarter_turn = asked and image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
            return (image.width, image.height) if quarter_turn else (image.height, image.width)
    except DataError:
        raise
    except UNREADABLE as error:
        raise DataError(f"{path}: not an image that can be read ({error})") from error


def read_image(path: Path, size: tuple[int, int]) -> Image.Image:
    """Read an image, turned upright as EXIF says; transparency is dropped.

    Args:
        path: The file.
        size: Height and width that its annotation was checked against.

    Returns:
        The image as RGB.

    Raises:
        DataError: If the pixels cannot be decoded, as in a truncated file, or have another size.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            upright = upright.convert("RGBA") if upright.has_transparency_data else upright
            rgb = upright.convert("RGB")
    except UNREADABLE as error:
        raise DataError(f"{path}: the pixels cannot be decoded ({error}); replace the file") from error
    if (rgb.height, rgb.width) != size:
        raise DataError(f"{path}: {rgb.height} x {rgb.width} pixels, was {size[0]} x {size[1]}; read the data again")
    return rgb


def read_mask(path: Path) -> Bool[np.ndarray, "H W"]:
    """Read a mask: True where the file is not zero.

    Args:
        path: A lossless image of one channel (mode 1, L, P or 16 bit), where a palette's index counts, or a 2-D .npy.

    Returns:
        The mask.

    Raises:
        DataError: If there is no such file or it is not such a mask.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            with Image.open(path) as image:
                if image.format == "JPEG":
                    raise DataError(f"{path}: JPEG blurs zero and non-zero; save masks as PNG")
                if image.mode not in ("1", "L", "P", "I", "I;16"):
                    raise DataError(f"{path}: a mask of mode {image.mode}; save it with one channel (1, L or P)")
                values = np.asarray(image)
    except DataError:
        raise
    except UNREADABLE as error:
        raise DataError(f"{path}: not a mask that can be read ({error})") from error
    if values.ndim != 2 or values.dtype.kind not in "biuf" or np.isnan(values).any():
        raise DataError(f"{path}: {values.dtype} of shape {values.shape}; a mask is 2-D and numeric, without NaN")
    return values != 0


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
        ImportError: If compressed RLE needs pycocotools.
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
        if set(click) != {"x", "y", "radius"} or not all(_is_number(value) for value in click.values()):
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
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
        raise ValueError(f"{key}: {name!r} is not a relative path with / inside the folder of metadata.jsonl")
    return folder / PurePosixPath(name)


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
    if not isinstance(value, list) or not all(isinstance(row, list) and all(map(_is_number, row)) for row in value):
        raise ValueError(f"{key}: not a list of lists of numbers")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
