"""Image folders and data sets for the tests of `wherenot.data`."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from wherenot.data import DataError, Dataset, Sample, read_folder
from wherenot.priors import Prior


def save_image(path, size=(6, 4), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path.name))).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)


def save_mask(path, inside, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, inside)
    else:
        Image.fromarray(np.asarray(inside, dtype=np.uint8)).convert(mode).save(path)


def save_lines(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))


def one(root, **keys):
    """A data set of one image, 6 x 4, with the keys in its line; gives its only sample."""
    save_image(root / "a.png")
    save_lines(root / "metadata.jsonl", {"file_name": "a.png", "label": "cat", **keys})
    (sample,) = read_folder(root).samples
    return sample


def refused(root):
    with pytest.raises(DataError) as caught:
        read_folder(root)
    return str(caught.value)


def box(x0, y0, x1, y1):
    inside = torch.zeros(4, 6, dtype=torch.bool)
    inside[y0:y1, x0:x1] = True
    return inside


def make(id, split, label=0, prior=None, group=None, size=(6, 4), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Sample(id, label, split, group, lambda: Image.fromarray(pixels), lambda: prior)


def varied():
    priors = [
        None,
        Prior.from_boxes([[0, 0, 2, 2]], 4, 6),
        Prior.from_boxes([[0, 0, 2, 2]], 4, 6, forbidden=True),
        Prior(box(0, 0, 3, 3), box(2, 2, 4, 4), box(5, 0, 6, 1)),
    ]
    samples = [
        make(f"{split}/{index:02d}.png", split, index % 3, prior, ("odd", None)[index % 2], seed=index)
        for split in ("train", "validation", "test_biased", "rain")
        for index, prior in enumerate(priors)
    ]
    return Dataset("zoo", ("zebra", "cat", "ä b"), tuple(samples))
