"""Data sets by name: what is built in, and every format with its reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from wherenot.data.checked import OnBad
from wherenot.data.coco import read_coco
from wherenot.data.cutouts import cutouts, cutouts_config
from wherenot.data.decoy import decoy
from wherenot.data.folder import read_folder
from wherenot.data.gui import read_agentcpm, read_android_steps, read_gui, read_screenspot
from wherenot.data.image_text import read_image_text
from wherenot.data.imagenet_s import read_imagenet_s
from wherenot.data.lists import read_lists
from wherenot.data.saliency_bench import read_saliency_bench
from wherenot.data.samples import DataError, Dataset
from wherenot.data.voc import read_voc

_SCREENS = Path(__file__).parents[1] / "gui" / "screens" / "shipped"

BUILT_IN: dict[str, Callable[[int], Dataset]] = {
    "decoy": decoy,
    "decoy:shifted": partial(decoy, prior="shifted"),
    "decoy:half": partial(decoy, prior="half"),
    "decoy:no-shortcut": partial(decoy, shortcut=False),
    "screens": lambda _: replace(read_gui(_SCREENS), name="screens"),
}


def load_dataset(spec: str, *, seed: int = 0, on_bad: OnBad = "error") -> Dataset:
    """Load a data set by name or path.

    Args:
        spec: A name of `BUILT_IN`; ``cutouts:SHORTCUT`` or ``cutouts:FILE.yaml`` (`cutouts_config`), composed when
            read; ``FORMAT:PATH`` with a format of `FORMATS`, such as ``imagenet-s50:ImageNetS50`` or
            ``coco:data/coco#dog,cat``; anything else is a folder in the native format (`read_folder`; write
            ``./decoy`` for a folder of that name).
        seed: For built-in data sets and cutouts; files have no use for it.
        on_bad: For files: whether bad samples are an error or left out and listed.

    Returns:
        The data set.

    Raises:
        ValueError: If there is neither such a built-in data set nor such a format or folder; as `DataError` if the data
            are bad.

    Example:
        >>> load_dataset("decoy").splits
        ('train', 'validation', 'test_biased', 'test_unbiased', 'test_swapped')
    """
    if spec in BUILT_IN:
        return BUILT_IN[spec](seed)
    format, colon, path = spec.partition(":")
    if colon and format == "cutouts":
        return cutouts(replace(cutouts_config(path), seed=seed))
    if colon and format in FORMATS:
        if not path:
            raise DataError(f"load_dataset: {spec!r} has no path; write {format}:PATH.")
        return FORMATS[format](path, on_bad=on_bad)
    if Path(spec).exists():
        return read_folder(spec, on_bad=on_bad)
    raise ValueError(
        f"load_dataset: {spec!r} is neither a folder nor built in; built in are {', '.join(BUILT_IN)} and"
        f" cutouts:SHORTCUT, and FORMAT:PATH reads {', '.join(FORMATS)}."
    )


def _coco(path: str, *, on_bad: OnBad) -> Dataset:
    path, _, categories = path.partition("#")
    return read_coco(path, [name for name in categories.split(",") if name], on_bad=on_bad)


@runtime_checkable
class Reader(Protocol):
    """Reads one format."""

    def __call__(self, path: str, *, on_bad: OnBad) -> Dataset:
        """Read what lies at a path."""
        ...


FORMATS: dict[str, Reader] = {
    "folder": read_folder,
    "list": read_lists,
    "image-text": read_image_text,
    "imagenet-s50": partial(read_imagenet_s, variant=50),
    "imagenet-s300": partial(read_imagenet_s, variant=300),
    "imagenet-s919": partial(read_imagenet_s, variant=919),
    "imagenet-s50-legacy": partial(read_imagenet_s, variant=50, legacy=True),
    "imagenet-s300-legacy": partial(read_imagenet_s, variant=300, legacy=True),
    "imagenet-s919-legacy": partial(read_imagenet_s, variant=919, legacy=True),
    "saliency-bench": read_saliency_bench,
    "coco": _coco,
    "voc": partial(read_voc, prior="boxes"),
    "voc-masks": partial(read_voc, prior="masks"),
    "gui": read_gui,
    "agentcpm": read_agentcpm,
    "screenspot": partial(read_screenspot, version="screenspot"),
    "screenspot-pro": partial(read_screenspot, version="pro"),
    "android-steps": read_android_steps,
}
