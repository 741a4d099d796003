"""ImageNet-S: ImageNet images with the pixels of their class, in the layout its authors' scripts make.

    ImageNetS50/                                or ImageNetS300, ImageNetS919
      ImageNetS_categories_im50.txt             the class list of its repository: one wnid a line, in any order
      LOC_synset_mapping.txt                    optional, from ImageNet: "n01443537 goldfish, Carassius auratus"
      train-semi/<wnid>/<image>.JPEG            our split `train`
      train-semi-segmentation/<wnid>/<image>.png
      validation/<wnid>/<image>.JPEG            our split `test`: the only images with masks beside those to train on
      validation-segmentation/<wnid>/<image>.png
      test/<wnid>/<image>.JPEG                  our split `test_no_masks`: its masks are not public

A mask is an RGB PNG whose pixels say ``R + 256 * G``: 0 is anything else, 1000 is not to be counted, ``i`` is the i-th
wnid in sorted order. Folders that are missing are not read; ``train`` and ``train-full``, without masks, never are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image

from wherenot.data.checked import OnBad, checked_dataset, checked_sample, existing_folder, read_text
from wherenot.data.folder import IMAGE_SUFFIXES
from wherenot.data.pictures import opened
from wherenot.data.samples import DataError, Dataset, Rejected, Sample
from wherenot.priors import Prior

Variant: TypeAlias = Literal[50, 300, 919]

IGNORE_ID = 1000
SPLITS = {"train-semi": "train", "validation": "test", "test": "test_no_masks"}
NAME_FILES = ("LOC_synset_mapping.txt", "synset_words.txt")
WNID = re.compile(r"n\d{8}")
# ImageNet's classes that ImageNet-S919 counts as another one.
MERGED = {
    "n04356056": "n04355933",
    "n04493381": "n02808440",
    "n03642806": "n03832673",
    "n04008634": "n03773504",
    "n03887697": "n15075141",
}


def read_imagenet_s(
    path: str | Path, variant: Variant = 919, *, legacy: bool = False, on_bad: OnBad = "error"
) -> Dataset:
    """Read ImageNet-S (see the module for the layout) and check everything but the images' pixels.

    The prior is the pixels of the image's own class; ignored pixels count neither as prior nor as region. The test
    split is what the set calls validation, as in the paper; validation is to be cut from `train` (`hold_out`).

    Args:
        path: The folder of the variant, such as ``ImageNetS50``, or the folder around it.
        variant: How many classes it has.
        legacy: Read as the authors of "Where Not to Learn" do, to compare with their tables: the prior is every pixel
            that Pillow's grey value leaves above zero, whatever its class, ignored pixels included; classes are told
            apart by name, so that both "crane" become one (918 of 919). Class id 1 has grey value 0: its images have
            no prior where nothing else is marked (the authors' is empty there, which is no prior at all here).
        on_bad: Whether a bad sample makes the whole an error, or is left out and listed in `rejected`.

    Returns:
        The data set; ids are paths relative to the variant's folder. Classes are in the order of their ids, and are
        called by ImageNet's first name if there is a file of names (`NAME_FILES`, with the wnid where a name occurs
        twice), else by wnid.

    Raises:
        DataError: If the folder or the class list is missing or has another number of classes, or no sample is good;
            and with `on_bad` "error" if any sample is bad: a mask or an image is missing, a mask holds ids of another
            variant or none of its own class. It names each file.

    Example:
        >>> read_imagenet_s("nowhere", 50)
        Traceback (most recent call last):
        wherenot.data.samples.DataError: read_imagenet_s: nowhere does not exist; pass the folder that holds the images.

    References:
        Gao et al., "Large-scale Unsupervised Semantic Segmentation", TPAMI 2022; https://github.com/LUSSeg/ImageNet-S
        (layout, ids, merged classes).
    """
    root = existing_folder("read_imagenet_s", path)
    root = inner if (inner := root / f"ImageNetS{variant}").is_dir() else root
    if not any((root / folder).is_dir() for folder in SPLITS):
        raise DataError(
            f"read_imagenet_s: {path} holds none of {', '.join(SPLITS)}; pass the folder ImageNetS{variant}."
        )
    wnids = _wnids(root, variant)
    ids = {wnid: index for index, wnid in enumerate(wnids, start=1)}
    ids |= {old: ids[new] for old, new in MERGED.items() if new in ids and old not in ids}
    names = _names(root, wnids)
    if legacy and names is None:
        raise DataError(
            f"read_imagenet_s: the legacy classes are names; put {NAME_FILES[0]} (it comes with ImageNet) into {root}."
        )
    if legacy:
        own = [name.replace(" ", "_") for name in names or ()]
    elif names:
        own = [f"{name} ({wnid})" if names.count(name) > 1 else name for name, wnid in zip(names, wnids, strict=True)]
    else:
        own = list(wnids)
    classes = tuple(sorted(set(own)) if legacy else own)
    labels = {id: classes.index(name) for id, name in enumerate(own, start=1)}
    found = [
        each
        for folder, split in SPLITS.items()
        if (root / folder).is_dir()
        for each in _split(root, folder, split, ids, labels, legacy)
    ]
    name = f"imagenet-s{variant}" + ("-legacy" if legacy else "")
    return checked_dataset("read_imagenet_s", path, name, classes, found, on_bad)


def segment_ids(path: Path) -> Int[np.ndarray, "H W"]:
    """Read the ids of an ImageNet-S mask.

    Args:
        path: An RGB PNG.

    Returns:
        ``R + 256 * G`` of every pixel.

    Raises:
        DataError: If there is no such file or it is no such PNG.
    """
    pixels = _rgb(path)
    if pixels[..., 2].any():
        raise DataError(f"{path}: blue is not zero; an ImageNet-S mask holds R + 256 * G")
    red, green = pixels[..., :2].astype(np.int64).transpose(2, 0, 1)
    return red + 256 * green


def _read_prior(path: Path, own_id: int, num_classes: int, size: tuple[int, int]) -> Prior:
    ids = segment_ids(path)
    _check_size(path, ids, size)
    unknown = np.setdiff1d(ids, [*range(num_classes + 1), IGNORE_ID])
    if len(unknown):
        raise DataError(
            f"{path}: id {unknown[0]} is no class of ImageNet-S{num_classes}; is the mask of another variant?"
        )
    own = ids == own_id
    if not own.any():
        seen = [id for id in np.unique(ids).tolist() if id not in (0, IGNORE_ID)]
        raise DataError(f"{path}: no pixel of the image's class (id {own_id}), only of {seen}; correct the mask")
    return Prior(allowed=torch.from_numpy(own), ignore=torch.from_numpy(ids == IGNORE_ID))


def _read_legacy_prior(path: Path, size: tuple[int, int]) -> Prior | None:
    inside = np.asarray(Image.fromarray(_rgb(path)).convert("L")) > 0
    _check_size(path, inside, size)
    return Prior.from_mask(torch.from_numpy(inside)) if inside.any() else None


def _no_prior(_size: tuple[int, int]) -> None:
    return None


def _rgb(path: Path) -> np.ndarray:
    with opened(path, "not a mask that can be read") as image:
        if image.mode != "RGB" or image.format != "PNG":
            raise DataError(f"{path}: a {image.format} of mode {image.mode}; an ImageNet-S mask is a PNG in RGB")
        return np.asarray(image)


def _check_size(path: Path, mask: np.ndarray, size: tuple[int, int]) -> None:
    if mask.shape != size:
        raise DataError(f"{path}: size {mask.shape}, the image {size} (height, width)")


def _split(
    root: Path, folder: str, split: str, ids: Mapping[str, int], labels: Mapping[int, int], legacy: bool
) -> Iterator[Sample | Rejected]:
    masks = root / f"{folder}-segmentation"
    used = set()
    for image in sorted((root / folder).rglob("*")):
        if not image.is_file() or image.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        id = image.relative_to(root).as_posix()
        wnid = image.parent.name
        if wnid not in ids:
            yield Rejected(id, f"{id}: {wnid!r} is none of the {len(labels)} classes; remove the folder or correct it")
            continue
        mask = (masks / image.relative_to(root / folder)).with_suffix(".png")
        used.add(mask)
        if split == "test_no_masks":
            read = _no_prior
        elif legacy:
            read = partial(_read_legacy_prior, mask)
        else:
            read = partial(_read_prior, mask, ids[wnid], len(labels))
        yield checked_sample(id, labels[ids[wnid]], split, image, read)
    for mask in sorted(masks.rglob("*.png")):
        if mask not in used:
            id = mask.relative_to(root).as_posix()
            yield Rejected(id, f"{id}: a mask without its image in {folder}")


def _wnids(root: Path, variant: Variant) -> tuple[str, ...]:
    listed = f"ImageNetS_categories_im{variant}.txt"
    file = next((folder / listed for folder in (root, root.parent) if (folder / listed).is_file()), None)
    if file is not None:
        wnids = sorted(set(read_text("read_imagenet_s", file).split()))
        source = str(file)
    else:
        folders = {folder.name for part in SPLITS for folder in (root / part).glob("n*") if folder.is_dir()}
        wnids = sorted({MERGED.get(name, name) for name in folders})
        source = f"no {listed}, so the class folders count, of which there"
    wrong = [wnid for wnid in wnids if not WNID.fullmatch(wnid)]
    if len(wnids) != variant or wrong:
        what = f"{wrong[0]!r} is no wnid" if wrong else f"{source} are {len(wnids)}, not {variant}"
        raise DataError(
            f"read_imagenet_s: {root}: {what}. The ids in the masks number the sorted classes: put {listed} of"
            " https://github.com/LUSSeg/ImageNet-S (data/categories) into this folder."
        )
    return tuple(wnids)


def _names(root: Path, wnids: Sequence[str]) -> list[str] | None:
    file = next((at / name for at in (root, root.parent) for name in NAME_FILES if (at / name).is_file()), None)
    if file is None:
        return None
    lines = (line.split(maxsplit=1) for line in read_text("read_imagenet_s", file).split("\n"))
    glosses = {line[0]: line[1] for line in lines if len(line) == 2}
    missing = [wnid for wnid in wnids if wnid not in glosses]
    if missing:
        raise DataError(
            f"read_imagenet_s: {file} has no name for {len(missing)} classes, such as {missing[0]}; take ImageNet's."
        )
    return [glosses[wnid].split(",")[0].strip() for wnid in wnids]
