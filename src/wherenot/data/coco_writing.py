"""Writes a data set of classes and priors as COCO instances, which `data.coco` and the tools of others read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from wherenot.data.annotations import inner_path
from wherenot.data.folder import new_folder, picture_name, write_new
from wherenot.data.samples import Dataset, GuiSample, ImageTextSample, Rejected, Sample
from wherenot.priors import Prior
from wherenot.rasters import encode_rle


def write_coco(dataset: Dataset, path: str | Path, *, on_sample: Callable[[], None] | None = None) -> None:
    """Write ``annotations/instances_<split>.json`` and the images as ``<split>/<name>.png``.

    `read_coco` gives back the same images, classes, splits and groups, and the same priors but for pixels that are
    both allowed and ignored, which become ignored alone. Every connected part of a prior is an instance with its box;
    a part that fills its box is a polygon, any other one plain run lengths. Ignored pixels are a crowd. Split and group
    are keys of ours (``info.split``; ``group`` of an image), which others pass over.

    Args:
        dataset: What to write; every pixel is read. What was `rejected` is not written.
        path: A folder that is empty or not there yet. Each file appears whole or not at all.
        on_sample: Called after each sample, for a progress bar.

    Raises:
        ValueError: If the folder is not empty, an id or split cannot be a file name, two samples would become the same
            file, or a sample has what COCO cannot say: a prompt, no prior, a forbidden area (`sayable_in_coco`).

    Example:
        >>> import tempfile
        >>> from wherenot.data import decoy, read_coco
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_coco(decoy(num_train=10, num_validation=2, num_test=2), Path(root, "coco"))
        ...     read_coco(Path(root, "coco")).splits
        ('test_biased', 'test_swapped', 'test_unbiased', 'train', 'validation')

    References:
        https://cocodataset.org/#format-data; boxes are x, y, width, height, from 0 at the top left.
    """
    root = new_folder("write_coco", path)
    contents: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for sample in dataset.samples:
        rows = contents.setdefault(sample.split, {"images": [], "annotations": []})
        _add(rows, root, sample)
        if on_sample is not None:
            on_sample()
    categories = [{"id": index, "name": name} for index, name in enumerate(dataset.classes, start=1)]
    for split, rows in contents.items():
        info = {"description": dataset.name, "split": split}
        text = json.dumps({"info": info, **rows, "categories": categories}, ensure_ascii=False)
        write_new("write_coco", root / "annotations" / f"instances_{split}.json", text)


def sayable_in_coco(dataset: Dataset) -> Dataset:
    """Leave out what COCO cannot say: its classes are those of objects, so an image without a prior would have none.

    Args:
        dataset: Any; every prior is read.

    Returns:
        The data set with the other samples in `rejected`, with the reason.

    Example:
        >>> from wherenot.data import decoy
        >>> from dataclasses import replace
        >>> data = decoy(num_train=2, num_validation=1, num_test=1).split("train")
        >>> bare = replace(data.samples[0], read_prior=lambda: None)
        >>> sayable_in_coco(replace(data, samples=(bare, data.samples[1]))).rejected[0].reason
        'train/00000.png: no prior, and so no object; COCO cannot say its class'
    """
    kept: list[Sample] = []
    left_out: list[Rejected] = []
    for sample in dataset.samples:
        reason = _unsayable(sample, sample.read_prior())
        if reason is None:
            kept.append(sample)
        else:
            left_out.append(Rejected(sample.id, f"{sample.id}: {reason}"))
    return replace(dataset, samples=tuple(kept), rejected=(*dataset.rejected, *left_out))


def instances(inside: Bool[Tensor, "H W"], category: int) -> Iterator[dict[str, Any]]:
    """Describe each connected part of an area as COCO does, without ids; the largest first.

    Args:
        inside: True on the area; parts touch at sides or corners.
        category: Their category's id.

    Returns:
        One annotation per part: ``bbox`` (x, y, width, height), ``area`` in pixels, ``segmentation``; none of an empty
        area.

    Example:
        >>> [part] = instances(torch.tensor([[False, True, True]]), category=3)
        >>> part["bbox"], part["area"], part["segmentation"]
        ([1, 0, 2, 1], 2, [[1, 0, 3, 0, 3, 1, 1, 1]])
    """
    from skimage.measure import label

    parts = torch.from_numpy(label(inside.cpu().numpy(), connectivity=2))
    areas = torch.bincount(parts.flatten())[1:]
    for number in areas.argsort(descending=True, stable=True).tolist():
        yield instance(parts == number + 1, category)


def instance(inside: Bool[Tensor, "H W"], category: int) -> dict[str, Any]:
    """Describe an area that is not empty as one instance, connected or not, without ids.

    Args:
        inside: True on the area.
        category: Its category's id.

    Returns:
        ``category_id``, ``bbox``, ``area``, ``segmentation`` (a polygon if it fills its box) and ``iscrowd`` 0.

    Example:
        >>> instance(torch.tensor([[True, False, True]]), category=1)["segmentation"]
        {'size': [1, 3], 'counts': [0, 1, 1, 1]}
    """
    rows, columns = (inside.any(axis).nonzero().flatten() for axis in (1, 0))
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    area = int(inside.sum())
    is_box = area == (x1 - x0) * (y1 - y0)
    return {
        "category_id": category,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": area,
        "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]] if is_box else encode_rle(inside),
        "iscrowd": 0,
    }


def _add(rows: dict[str, list[dict[str, Any]]], root: Path, sample: Sample) -> None:
    """Write a sample's image, and add its rows."""
    name = picture_name("write_coco", sample)
    image, prior = sample.read_image(), sample.read_prior()
    if reason := _unsayable(sample, prior):
        raise ValueError(f"write_coco: {sample.id!r}: {reason}; leave it out (sayable_in_coco) or write_folder.")
    assert prior is not None
    assert prior.allowed is not None
    if prior.shape != (image.height, image.width):
        raise ValueError(f"write_coco: {sample.id!r} has a prior of {prior.shape} and an image of {image.size[::-1]}.")
    write_new("write_coco", inner_path(root / sample.split, name, "write_coco: id"), image)
    number = len(rows["images"]) + 1
    row = {"id": number, "file_name": name, "height": image.height, "width": image.width}
    rows["images"].append(row if sample.group is None else {**row, "group": sample.group})
    category = sample.label + 1
    ignore = torch.zeros_like(prior.allowed) if prior.ignore is None else prior.ignore
    found = list(instances(prior.allowed & ~ignore, category))
    if ignore.any():
        found.append({**instance(ignore, category), "segmentation": encode_rle(ignore), "iscrowd": 1})
    first = len(rows["annotations"]) + 1
    rows["annotations"] += [{"id": first + index, "image_id": number, **each} for index, each in enumerate(found)]


def _unsayable(sample: Sample, prior: Prior | None) -> str | None:
    if isinstance(sample, ImageTextSample):
        return f"it has a prompt; {'write_gui' if isinstance(sample, GuiSample) else 'write_image_text'} can hold it"
    if prior is None:
        return "no prior, and so no object; COCO cannot say its class"
    if prior.allowed is None or prior.forbidden is not None:
        return "its prior forbids an area, which COCO cannot say"
    return None
