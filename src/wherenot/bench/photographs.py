"""Photographs that come with packages, to measure on without a download."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from wherenot.data import load_dataset

_SCIKIT_IMAGE = ("astronaut", "camera", "cat", "clock", "coffee", "rocket", "hubble_deep_field", "coins")
_CROP_FRAC = 0.6


def shipped_photographs() -> Iterator[tuple[str, Image.Image]]:
    """The eleven photographs that scikit-image and scikit-learn ship, by name.

    Raises:
        ValueError: If scikit-learn is not installed.
    """
    import skimage.data

    for name in _SCIKIT_IMAGE:
        yield name, Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
    yield "motorcycle", Image.fromarray(skimage.data.stereo_motorcycle()[0])
    try:
        from sklearn.datasets import load_sample_images
    except ImportError as error:
        raise ValueError(
            "shipped_photographs: two of them come with scikit-learn; run: pip install 'wherenot[demo]'"
        ) from error
    for name, pixels in zip(("china", "flower"), load_sample_images().images, strict=True):
        yield name, Image.fromarray(pixels)


def crops(photograph: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """The whole photograph, and five squares of 0.6 of its shorter side: the corners and the centre."""
    yield "whole", photograph
    width, height = photograph.size
    side = int(min(width, height) * _CROP_FRAC)
    right, bottom = width - side, height - side
    places = {
        "top left": (0, 0),
        "top right": (right, 0),
        "bottom left": (0, bottom),
        "bottom right": (right, bottom),
        "centre": (right // 2, bottom // 2),
    }
    for name, (left, top) in places.items():
        yield name, photograph.crop((left, top, left + side, top + side))


def wide_photograph() -> Image.Image:
    """A photograph as wide as a small screen, 504 x 252 px.

    Example:
        >>> wide_photograph().size
        (504, 252)
    """
    import skimage.data

    return Image.fromarray(skimage.data.coffee()).crop((0, 50, 600, 350)).resize((504, 252))


def benchmark_images(source: str | None = None) -> Iterator[tuple[str, Image.Image]]:
    """What is measured on.

    Args:
        source: A folder of photographs, or a data set (`wherenot.data.load_dataset`) of which all that is neither
            train nor validation is taken; None takes 66 views of the eleven photographs that are shipped.

    Raises:
        ValueError: If there is no such source, it holds no image, or one that cannot be read; it is named.
    """
    if source is None:
        for name, photograph in shipped_photographs():
            for view, crop in crops(photograph):
                yield f"{name}, {view}", crop
        return
    folder = Path(source)
    if not folder.is_dir() or (folder / "metadata.jsonl").is_file():
        for sample in load_dataset(source).samples:
            if sample.split not in ("train", "validation"):
                yield f"{sample.split}, {sample.id}", Image.fromarray(np.asarray(sample.read_image()))
        return
    from wherenot.models import read_photograph

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    if not paths:
        raise ValueError(f"benchmark_images: {folder} holds no .jpg, .jpeg, .png or .webp.")
    for path in paths:
        yield str(path.relative_to(folder)), read_photograph(path)
