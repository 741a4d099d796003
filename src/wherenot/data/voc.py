"""Pascal VOC: photographs with objects of twenty classes, read as one class per image.

    VOC2012/                                    or the VOCdevkit around one
      Annotations/2007_000027.xml               boxes
      ImageSets/Main/train.txt, val.txt         one image id a line
      ImageSets/Segmentation/train.txt, val.txt
      JPEGImages/2007_000027.jpg
      SegmentationClass/2007_000027.png         class of each pixel by palette index; 255 = border or difficult

The class of an image is the one with the largest area: pixels in masks, and in boxes the sum of those that are not
marked difficult; of equal ones the first in alphabetical order. The prior is all of that class in the image. VOC's
``val`` is our `validation` if there is a ``test`` list, as for VOC2007, else our `test`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8

from wherenot import rasters
from wherenot.data.checked import (
    OnBad,
    Problems,
    checked_dataset,
    checked_sample,
    existing_folder,
    is_file,
    read_text,
    read_xml,
)
from wherenot.data.origins import Box
from wherenot.data.pictures import opened
from wherenot.data.samples import DataError, Dataset, Rejected, Sample
from wherenot.priors import Prior

VocPrior: TypeAlias = Literal["boxes", "masks"]

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VOID = 255
LISTS = {"boxes": "Main", "masks": "Segmentation"}


def read_voc(path: str | Path, prior: VocPrior = "boxes", *, on_bad: OnBad = "error") -> Dataset:
    """Read Pascal VOC (see the module) and check everything but the images' pixels.

    Args:
        path: The folder with ``JPEGImages``, or the one around it if it holds a single year.
        prior: "boxes" reads the images of ``ImageSets/Main`` and their XML; "masks" those of
            ``ImageSets/Segmentation`` and ``SegmentationClass``. Boxes of difficult objects of the image's class, and
            pixels of value 255, are ignored.
        on_bad: Whether a bad sample makes the whole an error, or is left out and listed in `rejected`.

    Returns:
        The data set; ids are the images' names. Classes in alphabetical order: with boxes those that occur in the XML,
        with masks VOC's twenty. Images without a class (no object, or difficult ones only) are listed in `rejected`,
        but are no error.

    Raises:
        DataError: If folder or lists are missing or no sample is good; and with `on_bad` "error" if any sample is bad:
            a file missing or broken, XML that declares a document type (its entities could read files or fill the
            memory), a box off the image, a mask of another size or with unknown values, an image in two lists.

    Example:
        >>> read_voc("nowhere")
        Traceback (most recent call last):
        wherenot.data.samples.DataError: read_voc: nowhere does not exist; pass the folder that holds the images.

    References:
        Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 2010 and 2015. VOC counts pixels from 1
        and includes both ends: ``xmin = 1, xmax = 2`` is our half-open ``[0, 2)``.
    """
    root = _year(existing_folder("read_voc", path))
    scenes = {id: _scene(root, id, splits, prior) for id, splits in _listed(root, LISTS[prior]).items()}
    named = {name for scene in scenes.values() for name in scene.areas}
    classes = tuple(sorted(named)) if prior == "boxes" else CLASSES
    found: list[Sample | Rejected] = []
    outside: list[Rejected] = []
    for id, scene in scenes.items():
        image = _image(root, id)
        name = max(sorted(scene.areas), key=lambda each: scene.areas[each], default=None)
        if name is not None and scene.areas[name] > 0:
            label, read = classes.index(name), partial(scene.read_prior, name)
            boxes = tuple(scene.boxes.get(name, ()))
            found.append(
                checked_sample(image.name, label, scene.split, image, read, problems=scene.problems, boxes=boxes)
            )
        elif scene.problems:
            found.append(Rejected(image.name, f"{id}: {'; '.join(scene.problems)}"))
        else:
            outside.append(Rejected(image.name, f"{id}: no object that is not difficult, so no class", faulty=False))
    return checked_dataset("read_voc", path, root.name.lower(), classes, found, on_bad, outside)


@dataclass
class _Scene:
    """What is annotated in one image."""

    split: str
    read_prior: Callable[[str, tuple[int, int]], Prior]
    areas: dict[str, float] = field(default_factory=dict)
    boxes: dict[str, list[Box]] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)


@dataclass(frozen=True)
class _Object:
    """One box, half-open; `of` is height and width of the image it was drawn on, if the file says."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool
    of: tuple[int, int] | None

    @property
    def area(self) -> float:
        x0, y0, x1, y1 = self.box
        return 0.0 if self.difficult else (x1 - x0) * (y1 - y0)


def _scene(root: Path, id: str, splits: Sequence[str], prior: VocPrior) -> _Scene:
    mask = root / "SegmentationClass" / f"{id}.png"
    scene = _Scene(splits[0], partial(_read_mask, mask))
    if "/" in id or "\\" in id:
        scene.problems.append(f"{id!r} is not the name of an image of JPEGImages")
        return scene
    if len(splits) > 1:
        scene.problems.append(f"in the lists of {' and '.join(splits)}")
    with scene.problems.noting():
        if prior == "masks":
            counts = np.bincount(_class_pixels(mask).ravel(), minlength=len(CLASSES) + 1)
            scene.areas = {name: float(count) for name, count in zip(CLASSES, counts[1:], strict=False)}
        else:
            objects = _objects(root / "Annotations" / f"{id}.xml")
            scene.read_prior = partial(_read_boxes, objects)
            scene.areas = {each.name: 0.0 for each in objects}
            for each in objects:
                scene.areas[each.name] += each.area
                if not each.difficult:
                    scene.boxes.setdefault(each.name, []).append(each.box)
    return scene


def _read_boxes(objects: Sequence[_Object], name: str, size: tuple[int, int]) -> Prior:
    if wrong := [each.of for each in objects if each.of not in (None, size)]:
        raise DataError(f"height and width are {wrong[0]} in the XML, the image's are {size}")
    allowed = rasters.fill_boxes([each.box for each in objects if each.name == name and not each.difficult], *size)
    difficult = rasters.fill_boxes([each.box for each in objects if each.name == name and each.difficult], *size)
    difficult &= ~allowed
    return Prior(allowed=allowed, ignore=difficult if difficult.any() else None)


def _read_mask(path: Path, name: str, size: tuple[int, int]) -> Prior:
    pixels = _class_pixels(path)
    if pixels.shape != size:
        raise DataError(f"{path}: size {pixels.shape}, the image {size} (height, width)")
    inside = torch.from_numpy(pixels == CLASSES.index(name) + 1)
    return Prior(allowed=inside, ignore=torch.from_numpy(pixels == VOID))


def _class_pixels(path: Path) -> UInt8[np.ndarray, "H W"]:
    with opened(path, "not a mask that can be read") as image:
        if image.format != "PNG" or image.mode not in ("P", "L"):
            raise DataError(f"{path}: a {image.format} of mode {image.mode}; VOC's masks are PNGs with a palette")
        pixels = np.array(image)
    unknown = np.setdiff1d(pixels, [*range(len(CLASSES) + 1), VOID])
    if len(unknown):
        raise DataError(f"{path}: value {unknown[0]} is none of VOC's {len(CLASSES)} classes")
    return pixels


def _objects(path: Path) -> tuple[_Object, ...]:
    tree = read_xml(path)
    try:
        height, width = (tree.findtext(f"size/{side}") for side in ("height", "width"))
        of = (int(height), int(width)) if height and width else None
        objects = []
        for each in tree.findall("object"):
            name = (each.findtext("name") or "").strip()
            x0, y0, x1, y1 = (float(each.findtext(f"bndbox/{key}") or "") for key in ("xmin", "ymin", "xmax", "ymax"))
            if not name:
                raise ValueError("an object without a name")
            if not (-math.inf < x0 <= x1 < math.inf and -math.inf < y0 <= y1 < math.inf):
                raise ValueError(f"the box {x0}, {y0}, {x1}, {y1} has no area")
            objects.append(_Object(name, (x0 - 1, y0 - 1, x1, y1), each.findtext("difficult") == "1", of))
    except ValueError as error:
        raise DataError(f"{path}: size, name or box of an object cannot be read ({error})") from error
    return tuple(objects)


def _image(root: Path, id: str) -> Path:
    jpg = root / "JPEGImages" / f"{id}.jpg"
    others = (jpg.with_suffix(suffix) for suffix in (".jpeg", ".png"))
    return jpg if is_file(jpg) else next((file for file in others if is_file(file)), jpg)


def _listed(root: Path, kind: str) -> dict[str, list[str]]:
    folder = root / "ImageSets" / kind
    files = {name: folder / f"{name}.txt" for name in ("train", "val", "test") if (folder / f"{name}.txt").is_file()}
    if not files:
        raise DataError(f"read_voc: {folder} holds none of train.txt, val.txt and test.txt; pass the folder of a year.")
    splits = {"train": "train", "val": "validation" if "test" in files else "test", "test": "test"}
    listed: dict[str, list[str]] = defaultdict(list)
    for name, file in files.items():
        for line in read_text("read_voc", file).split("\n"):
            if line.strip():
                listed[line.strip()].append(splits[name])
    return listed


def _year(root: Path) -> Path:
    if (root / "JPEGImages").is_dir():
        return root
    years = sorted(folder.parent for folder in root.glob("*/JPEGImages"))
    if len(years) != 1:
        found = f"several years: {', '.join(year.name for year in years)}" if years else "no folder JPEGImages"
        raise DataError(f"read_voc: {root} holds {found}; pass the folder of one year, such as VOCdevkit/VOC2012.")
    return years[0]
