"""COCO: images with instances of many classes, read as one class per image.

    coco/
      annotations/instances_train2017.json      our split `train`
      annotations/instances_val2017.json        our split `test`: the official test set has no annotations
      train2017/000000000009.jpg                or images/train2017/...
      val2017/...

A file with "train" in its name is `train`, every other one `test`, but those that `write_coco` wrote say their split
themselves (``info.split``), and perhaps a group of each image. The class of an image is the one whose instances
cover most of it: the largest sum of ``area`` over those that are no crowd; of equal ones the category with the smaller
id. The prior is all its instances, united. Crowds of that class are ignored where no instance lies: they are areas, not
objects. Instances of other classes are off the prior.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from wherenot import rasters
from wherenot.data.annotations import inner_path, is_number, refuse_way_out
from wherenot.data.checked import (
    OnBad,
    Problems,
    checked_dataset,
    checked_sample,
    existing_folder,
    is_file,
    parse_json,
    read_text,
)
from wherenot.data.samples import DataError, Dataset, Rejected, Sample
from wherenot.priors import Prior

OVERSHOOT_PX = 1


def read_coco(
    path: str | Path,
    categories: Sequence[str] = (),
    *,
    images: str | Path | None = None,
    on_bad: OnBad = "error",
) -> Dataset:
    """Read COCO instances (see the module) and check everything but the images' pixels.

    Args:
        path: The folder around ``annotations``, or one JSON file of instances.
        categories: Names of the classes to tell apart; none = all. An image's class is then the largest of these, and
            images without any of them do not belong to the data set.
        images: Folder of the images of a single JSON file; left out, it is looked for as in the module.
        on_bad: Whether a bad sample makes the whole an error, or is left out and listed in `rejected`.

    Returns:
        The data set; ids such as ``val2017/000000000139.jpg``, classes in the order of their category ids. Images
        without an object, or with crowds only, have no class: without `categories` they are listed in `rejected`, but
        are no error, as COCO has a thousand of them.

    Raises:
        DataError: If a file is missing or is no such JSON, a category is unknown, or no sample is good; and with
            `on_bad` "error" if any sample is bad: an image missing or of another size, an annotation without image,
            category or area, a malformed shape, an empty mask.

    Example:
        >>> read_coco("nowhere")
        Traceback (most recent call last):
        wherenot.data.samples.DataError: read_coco: nowhere does not exist; pass the folder that holds the images.

    References:
        Lin et al., "Microsoft COCO", ECCV 2014; https://cocodataset.org/#format-data. A pixel is inside a polygon when
        its centre is (`wherenot.rasters`); pycocotools differs along the border. Corners up to a pixel outside the
        image are moved onto its border, as COCO's annotators overshoot by fractions.
    """
    start = Path(path).absolute()
    if start.is_file():
        files = [start]
    else:
        files = sorted(existing_folder("read_coco", path).glob("annotations/instances_*.json"))
        if not files:
            raise DataError(f"read_coco: {path} holds no annotations/instances_*.json; pass COCO's folder or a JSON.")
    contents = [_load(file) for file in files]
    names = _category_names(contents, files)
    unknown = sorted(set(categories) - set(names.values()))
    if unknown:
        known = ", ".join(list(names.values())[:5])
        raise DataError(f"read_coco: no category {unknown[0]!r} in {path}; there are {len(names)}: {known}...")
    chosen = {id: name for id, name in names.items() if not categories or name in categories}
    labels = {id: index for index, id in enumerate(chosen)}
    found: list[Sample | Rejected] = []
    outside: list[Rejected] = []
    for file, content in zip(files, contents, strict=True):
        folder = Path(images).absolute() if images is not None else _images_folder(file, content)
        found += _described(file, content, folder, labels, names, outside)
    return checked_dataset(
        "read_coco", path, "coco", list(chosen.values()), found, on_bad, () if categories else outside
    )


def _load(file: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_text("read_coco", file))
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"read_coco: {file} is not JSON that can be read ({error}); get it again.") from error
    for key in ("images", "annotations", "categories"):
        rows = content.get(key) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(f"read_coco: {file} has no list of objects {key!r}; pass COCO's instances_*.json.")
    return content


def _category_names(contents: Sequence[Mapping[str, Any]], files: Sequence[Path]) -> dict[int, str]:
    names: dict[int, str] = {}
    for content, file in zip(contents, files, strict=True):
        for row in content["categories"]:
            id, name = row.get("id"), row.get("name")
            if not isinstance(id, int) or not isinstance(name, str) or names.setdefault(id, name) != name:
                raise DataError(f"read_coco: {file}: category {row} has no id or name, or another file's id.")
    if len(set(names.values())) < len(names):
        raise DataError(f"read_coco: {files[0]}: two categories share a name; give each its own.")
    return dict(sorted(names.items()))


def _images_folder(file: Path, content: Mapping[str, Any]) -> Path:
    root, split = file.parent.parent, file.stem.removeprefix("instances_")
    places = [root / split, root / "images" / split, root / "images", file.parent / "images", file.parent]
    names = [name for row in content["images"][:1] if isinstance(name := row.get("file_name"), str)]
    for place in places:
        if all(is_file(place / name) for name in names) and place.is_dir():
            return place
    # The first image may be the only one that is missing.
    return next((place for place in places[:3] if place.is_dir()), places[0])


def _plain(value: Any) -> Any:
    """A value of JSON as something that can be looked up."""
    return repr(value) if isinstance(value, dict | list) else value


def _described(
    file: Path,
    content: Mapping[str, Any],
    folder: Path,
    labels: Mapping[int, int],
    names: Mapping[int, str],
    outside: list[Rejected],
) -> Iterator[Sample | Rejected]:
    split = _said(content, file)
    instances: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for annotation in content["annotations"]:
        instances[_plain(annotation.get("image_id"))].append(annotation)
    counts = Counter(_plain(row.get(key)) for row in content["images"] for key in ("id", "file_name"))
    listed = {_plain(row.get("id")) for row in content["images"]}
    for row in content["images"]:
        number, name = _plain(row.get("id")), _plain(row.get("file_name"))
        id, where = f"{folder.name}/{name}", f"{file.name}: image {number}"
        own = instances[number]
        problems = Problems(problem for annotation in own for problem in _faults(annotation, names))
        if counts[number] > 1 or counts[name] > 1:
            problems.append("its id or file name occurs more than once")
        with problems.noting():
            refuse_way_out(folder, inner_path(folder, name, "file_name"), "file_name")
        if problems:
            yield Rejected(f"{file.name}:{number}", f"{where}: {'; '.join(problems)}")
            continue
        category = _largest(own, labels)
        if category is None:
            outside.append(Rejected(id, f"{where}: no object that is not a crowd, so no class", faulty=False))
            continue
        mine = [_shape(annotation) for annotation in own if annotation["category_id"] == category]
        read = partial(_read_prior, mine, (row.get("height"), row.get("width")))
        group = row.get("group") if isinstance(row.get("group"), str) else None
        yield checked_sample(id, labels[category], split, folder / name, read, group=group, where=where)
    for number, lost in instances.items():
        if number not in listed:
            problem = f"{file.name}: {len(lost)} annotations of image {number!r}, which is not listed"
            yield Rejected(f"{file.name}:{number}", problem)


def _said(content: Mapping[str, Any], file: Path) -> str:
    info = content.get("info")
    said = info.get("split") if isinstance(info, dict) else None
    return said if isinstance(said, str) and said else "train" if "train" in file.stem else "test"


def _faults(annotation: Mapping[str, Any], names: Mapping[int, str]) -> Iterator[str]:
    id, area = annotation.get("id"), annotation.get("area")
    if _plain(annotation.get("category_id")) not in names:
        yield f"annotation {id}: category {annotation.get('category_id')!r} is not listed"
    if not is_number(area) or not area >= 0:
        yield f"annotation {id}: area is {area!r}, not a number of pixels"
    if annotation.get("iscrowd", 0) not in (0, 1):
        yield f"annotation {id}: iscrowd is {annotation['iscrowd']!r}, not 0 or 1"


def _largest(annotations: Sequence[Mapping[str, Any]], labels: Mapping[int, int]) -> int | None:
    areas: dict[int, float] = defaultdict(float)
    for annotation in annotations:
        if annotation["category_id"] in labels and not annotation.get("iscrowd"):
            areas[annotation["category_id"]] += annotation["area"]
    return min(areas, key=lambda category: (-areas[category], category), default=None)


def _shape(annotation: Mapping[str, Any]) -> tuple[Any, bool]:
    return annotation.get("segmentation"), bool(annotation.get("iscrowd"))


def _read_prior(shapes: Sequence[tuple[Any, bool]], stated: tuple[Any, Any], size: tuple[int, int]) -> Prior:
    if stated != size:
        raise DataError(f"height and width are {stated}, the image's are {size}")
    allowed, crowd = torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)
    for shape, is_crowd in shapes:
        inside = _pixels(shape, size)
        if is_crowd:
            crowd |= inside
        else:
            allowed |= inside
    crowd &= ~allowed
    return Prior(allowed=allowed, ignore=crowd if crowd.any() else None)


def _pixels(shape: Any, size: tuple[int, int]) -> torch.Tensor:
    if isinstance(shape, list) and shape and all(isinstance(polygon, list) for polygon in shape):
        return rasters.fill_polygons([_clipped(polygon, size) for polygon in shape], *size)
    if isinstance(shape, dict):
        if shape.get("size") != list(size):
            raise DataError(f"segmentation: size is {shape.get('size')}, the image's is {list(size)} (height, width)")
        return rasters.decode_rle(shape)
    raise DataError("segmentation: neither polygons [[x, y, ...], ...] nor run lengths {size, counts}")


def _clipped(polygon: Sequence[Any], size: tuple[int, int]) -> list[float]:
    if not all(map(is_number, polygon)):
        raise DataError("segmentation: a polygon that is not a list of numbers of pixels")
    limits = [size[1 - index % 2] for index in range(len(polygon))]
    return [
        float(min(max(each, 0), limit)) if -OVERSHOOT_PX <= each <= limit + OVERSHOOT_PX else float(each)
        for each, limit in zip(polygon, limits, strict=True)
    ]
