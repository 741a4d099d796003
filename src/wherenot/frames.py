"""Films: some of their frames, side by side, so that what is found in an image can be found in them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from PIL import Image, ImageOps, ImageSequence

from wherenot.types import Partition

_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
_MOVING = {".gif", ".webp", ".apng", ".png"}


def frames_of(picture: Image.Image | Sequence[Image.Image]) -> list[Image.Image]:
    """An image as its only frame, frames as they are.

    Raises:
        ValueError: If there is no frame, or they differ in size.
    """
    frames = [picture] if isinstance(picture, Image.Image) else list(picture)
    sizes = {frame.size for frame in frames}
    if len(sizes) != 1:
        raise ValueError(f"frames: need one frame at least, and all of one size; got sizes {sorted(sizes)}.")
    return frames


def film_strip(frames: Image.Image | Sequence[Image.Image]) -> Image.Image:
    """Frames side by side, the first at the left.

    Args:
        frames: RGB, of one size.

    Raises:
        ValueError: If there is no frame, or they differ in size.

    Example:
        >>> film_strip([Image.new("RGB", (30, 20)), Image.new("RGB", (30, 20))]).size
        (60, 20)
    """
    return Image.fromarray(np.concatenate([np.asarray(each.convert("RGB")) for each in frames_of(frames)], axis=1))


def film_labels(frames: Image.Image | Sequence[Image.Image], partition: Partition) -> Int[np.ndarray, "H W"]:
    """Cut every frame by itself; no region lies in two frames.

    Args:
        frames: RGB, of one size.
        partition: How to cut one.

    Returns:
        Label map 0..K-1 of the film strip: the regions of the first frame, then those of the second, and so on.

    Raises:
        ValueError: If there is no frame, or they differ in size.

    Example:
        >>> from wherenot.regions import Grid
        >>> film_labels([Image.new("RGB", (2, 1)), Image.new("RGB", (2, 1))], Grid(1, 2)).tolist()
        [[0, 1, 2, 3]]

    References:
        EAGLE's video tutorial: 5 x 5 cells of every frame; areas are shares of all frames together.
    """
    parts, count = [], 0
    for frame in frames_of(frames):
        labels = partition(np.asarray(frame.convert("RGB")))
        parts.append(labels + count)
        count += int(labels.max()) + 1
    return np.concatenate(parts, axis=1)


def read_frames(path: Path, count: int) -> list[Image.Image]:
    """Read frames that are evenly spread over a film: the middle one of each of `count` equal parts.

    Args:
        path: A moving image (GIF, WebP, APNG), a folder of images in the order of their names, turned as their EXIF
            orientation says, or a video that OpenCV can read.
        count: How many; a film with fewer gives them all.

    Raises:
        ValueError: If the count is below 1, or the film is missing, has no frame or cannot be decoded, naming it.
    """
    path = Path(path)
    if count < 1:
        raise ValueError(f"read_frames: count must be >= 1, got {count}.")
    if not path.exists():
        raise ValueError(f"read_frames: {path} does not exist.")
    try:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in _PICTURES)
            places = set(_spread(len(files), count))
            frames = [_upright(file) for place, file in enumerate(files) if place in places]
        elif path.suffix.lower() in _MOVING:
            with Image.open(path) as film:
                places = set(_spread(getattr(film, "n_frames", 1), count))
                moving = enumerate(ImageSequence.Iterator(film))
                frames = [frame.convert("RGB") for place, frame in moving if place in places]
        else:
            frames = _video_frames(path, count)
    except ValueError:
        raise
    except Exception as error:  # a decoder that meets nonsense raises anything
        raise ValueError(f"read_frames: {path} cannot be read as a film ({error}).") from error
    if not frames:
        raise ValueError(f"read_frames: {path} has no frame that can be read.")
    return frames


def _upright(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def _spread(number: int, count: int) -> list[int]:
    """Middle places of equal parts."""
    count = min(number, count)
    return [(2 * part + 1) * number // (2 * count) for part in range(count)]


def _video_frames(path: Path, count: int) -> list[Image.Image]:
    try:
        import cv2
    except ImportError as error:
        raise ValueError(
            f"read_frames: {path} needs OpenCV; run: pip install 'wherenot[opencv]', or pass a folder of frames."
        ) from error

    def positions(film: Any) -> Iterator[int]:
        return itertools.takewhile(lambda _: film.grab(), itertools.count())

    # Containers often lie about how many frames they have, so these are counted.
    number = sum(1 for _ in positions(cv2.VideoCapture(str(path))))
    places, film = set(_spread(number, count)), cv2.VideoCapture(str(path))
    found = [film.retrieve()[1] for place in positions(film) if place in places]
    return [Image.fromarray(frame[..., ::-1]) for frame in found]
