"""Saliency-Bench, object classification (PASCAL): as the authors of "Where Not to Learn" use it.

    Saliency-Bench/
      train.txt, test.txt                       their lists: image, mask, class
      pascal/image/<class>/<id>.png
      pascal/attention_mask/<class>/<id>.npy    2-D, of the image's size; not zero = evidence may lie here

The lists' paths are ``Saliency-Bench/pascal/...``, whatever the folder is called here. An image with objects of two
classes occurs once under each, so no model can be right on all of them.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from wherenot.data.checked import OnBad, Problems, checked_dataset, checked_sample, existing_folder
from wherenot.data.lists import Line, lists_in, read_lines, read_mask_prior
from wherenot.data.samples import DataError, Dataset, Rejected, Sample

IMAGE = re.compile(r"(?:Saliency-Bench/)?(pascal/image/([^/]+)/([^/]+)\.png)")
MASK = re.compile(r"(?:Saliency-Bench/)?(pascal/attention_mask/([^/]+)/([^/]+)\.npy)")


def read_saliency_bench(path: str | Path, *, on_bad: OnBad = "error") -> Dataset:
    """Read the PASCAL part of Saliency-Bench (see the module) and check everything but the images' pixels.

    The layout is the one that the lists of the authors of "Where Not to Learn" imply; what the download looks like
    beyond them is not published with the lists. The prior is where the mask is not zero, whatever its weight there.

    Args:
        path: The folder that holds ``pascal``, with the lists in it.
        on_bad: Whether a bad sample makes the whole an error, or is left out and listed in `rejected`.

    Returns:
        The data set; ids such as ``pascal/image/horse/2007_006151.png``, classes in alphabetical order.

    Raises:
        DataError: If the folder or the lists are missing or no sample is good; and with `on_bad` "error" if any line is
            bad: a path of another layout, image, mask and class that do not belong together, a file missing or
            unreadable, an empty mask or one of another size. It names list, line and reason.

    Example:
        >>> read_saliency_bench("nowhere")
        Traceback (most recent call last):
        wherenot.data.samples.DataError: read_saliency_bench: nowhere does not exist; pass the folder that holds ...

    References:
        Zhang et al., "Saliency-Bench", arXiv 2310.08537: Object-XAI. "Where Not to Learn", arXiv 2602.07008, says that
        it is made from MS COCO; the authors' lists are PASCAL's.
    """
    root = existing_folder("read_saliency_bench", path)
    files = lists_in(root)
    if not files:
        raise DataError(
            f"read_saliency_bench: {path} holds neither train.txt nor test.txt; put the lists, of lines 'image mask"
            " class', beside the folder pascal."
        )
    lines, bad = read_lines("read_saliency_bench", files, root.parent)
    classes = tuple(sorted({line.label for line in lines}))
    found: list[Sample | Rejected] = list(bad)
    first: dict[str, str] = {}
    for line in lines:
        problems = Problems()
        image = mask = ""
        with problems.noting():
            image, mask = _paths(line)
        if image in first:
            problems.append(f"the same image as {first[image]}")
        if problems:
            found.append(Rejected(line.where, f"{line.where}: {'; '.join(problems)}"))
            continue
        first[image] = line.where
        read = partial(read_mask_prior, root / mask)
        found.append(checked_sample(image, classes.index(line.label), line.split, root / image, read, where=line.where))
    return checked_dataset("read_saliency_bench", path, "saliency-bench", classes, found, on_bad)


def _paths(line: Line) -> tuple[str, str]:
    image, mask = IMAGE.fullmatch(line.image), MASK.fullmatch(line.mask)
    if not image or not mask:
        raise ValueError(
            f"{line.image} {line.mask} are not pascal/image/<class>/<id>.png and pascal/attention_mask/<class>/<id>.npy"
        )
    if image[2] != line.label or mask.groups()[1:] != image.groups()[1:]:
        raise ValueError(f"{line.image}, {line.mask} and class {line.label!r} do not belong together")
    return image[1], mask[1]
