"""A contact sheet: what samples look like, what they are called, and where a person says evidence may lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from textwrap import shorten, wrap
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image

from wherenot.data import Dataset, GuiSample, ImageTextSample, Rejected, Sample, limit
from wherenot.rasters import any_touched
from wherenot.report.figures import FORBIDDEN_COLOR, PRIOR_COLOR, draw_outline
from wherenot.report.studies import STAR_COLOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_IN = 9.0
_LONGEST_PX = 480
_LETTERS = 18  # below an inch of picture
_MOST = 400


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A contact sheet.

    Attributes:
        figure: It belongs to no window.
        bad: Samples on it that cannot be read, and why.
    """

    figure: Figure
    bad: tuple[Rejected, ...]


def drawn_sheet(dataset: Dataset, max_images: int, *, splits: Sequence[str] = (), seed: int = 0) -> Dataset:
    """Draw samples for a sheet: equally many per split, evenly over classes.

    Args:
        dataset: Any.
        max_images: At most so many, from 1 to 400.
        splits: Those to draw from; none = all.
        seed: Of the draw.

    Returns:
        These samples, split by split.

    Raises:
        ValueError: If the number is out of range, there is no such split, or there are more splits than images.

    Example:
        >>> from wherenot.data import decoy
        >>> len(drawn_sheet(decoy(num_train=100), 12, splits=["train", "validation"]))
        12
    """
    names = splits or dataset.splits
    if not len(names) <= max_images <= _MOST:
        raise ValueError(
            f"drawn_sheet: max_images is {max_images}; pass at least one per split, {len(names)}, and at most {_MOST}."
        )
    samples: list[Sample] = []
    for place, split in enumerate(names):
        quota = max_images // len(names) + (place < max_images % len(names))
        samples += limit(dataset.split(split), quota, seed).samples
    return replace(dataset, samples=tuple(samples))


def contact_sheet(dataset: Dataset, *, title: str | None = None, columns: int = 6) -> Sheet:
    """Draw samples in rows, each with its prior, its class, its split and its name; tasks with their instruction.

    Solid outlines are where evidence may lie, dashed ones where it may not, a star is where to click. A sample that
    cannot be read is shown as its reason.

    Args:
        dataset: What to show, all of it.
        title: A line above.
        columns: Pictures in a row.

    Returns:
        The sheet, and which samples cannot be read.

    Raises:
        ValueError: If there is no sample.

    Example:
        >>> from wherenot.data import decoy
        >>> sheet = contact_sheet(drawn_sheet(decoy(num_train=10), 4, splits=["train"]))
        >>> len(sheet.figure.axes), sheet.bad
        (6, ())
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not len(dataset):
        raise ValueError(f"contact_sheet: {dataset.name} has no samples to show.")
    read = [_read(sample) for sample in dataset.samples]
    inches = _WIDTH_IN / columns - 0.1
    captions = [
        _caption(sample, each, dataset.classes, int(_LETTERS * inches))
        for sample, each in zip(dataset.samples, read, strict=True)
    ]
    rows = math.ceil(len(read) / columns)
    heights = [
        max(
            inches * each.tall + 0.13 * (caption.count("\n") + 1) + 0.12
            for each, caption in zip(read[start : start + columns], captions[start : start + columns], strict=True)
        )
        for start in range(0, rows * columns, columns)
    ]
    figure = Figure(
        figsize=(_WIDTH_IN, sum(heights) + (0.4 if title else 0.1)),
        layout=ConstrainedLayoutEngine(h_pad=0.03, w_pad=0.03, hspace=0.01),
    )
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=heights).ravel()
    for axes in grid:
        axes.set_axis_off()
        axes.set_anchor("N")
    for axes, sample, each, caption in zip(grid, dataset.samples, read, captions, strict=False):
        _draw(axes, sample, each)
        below = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center", "va": "top"}
        axes.annotate(caption, (0.5, 0), (0, -3), fontsize=7, parse_math=False, **below)
    if title is not None:
        figure.suptitle(title, fontsize=10, parse_math=False)
    bad = (
        Rejected(sample.id, each.problem)
        for sample, each in zip(dataset.samples, read, strict=True)
        if each.problem is not None
    )
    return Sheet(figure=figure, bad=tuple(bad))


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """A sample's image and areas, small enough to draw; or what is wrong with it."""

    image: Image.Image | None = None
    allowed: Bool[np.ndarray, "H W"] | None = None
    forbidden: Bool[np.ndarray, "H W"] | None = None
    problem: str | None = None

    @property
    def tall(self) -> float:
        """Height in widths."""
        return 1.0 if self.image is None else self.image.height / self.image.width


def _read(sample: Sample) -> _Picture:
    try:
        image, prior = sample.read_image(), sample.read_prior()
    except (OSError, ValueError) as error:
        reason = str(error)
        return _Picture(problem=reason if sample.id in reason else f"{sample.id}: {reason}")
    scale = min(1.0, _LONGEST_PX / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS) if scale < 1 else image.convert("RGB")
    return _Picture(
        image=small,
        allowed=None if prior is None else _shrunk(prior.allowed, size),
        forbidden=None if prior is None else _shrunk(prior.forbidden, size),
    )


def _shrunk(inside: Bool[torch.Tensor, "H W"] | None, size: tuple[int, int]) -> Bool[np.ndarray, "h w"] | None:
    """An area at a picture's size, in which even the thinnest line is left."""
    return None if inside is None else any_touched(inside, (size[1], size[0])).numpy()


def _draw(axes: Axes, sample: Sample, picture: _Picture) -> None:
    if picture.image is None:
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[], aspect=1)
        words = "\n".join(wrap(f"cannot be read: {picture.problem}", 24)[:8])
        axes.text(0.5, 0.5, words, ha="center", va="center", color="#B00020", fontsize=6, parse_math=False)
        return
    axes.imshow(picture.image, interpolation="nearest")
    if picture.allowed is not None:
        draw_outline(axes, picture.allowed, PRIOR_COLOR, "solid", linewidth=1.4)
    if picture.forbidden is not None:
        draw_outline(axes, picture.forbidden, FORBIDDEN_COLOR, "dashed", linewidth=1.4)
    if isinstance(sample, GuiSample) and sample.point is not None:
        x, y = sample.point[0] * picture.image.width - 0.5, sample.point[1] * picture.image.height - 0.5
        axes.plot(x, y, "*", markersize=9, color=STAR_COLOR, markeredgecolor="black", markeredgewidth=0.6)


def _caption(sample: Sample, picture: _Picture, classes: Sequence[str], letters: int) -> str:
    """Question or instruction, class, split and group, name; and that there is no prior, if there is none."""
    asked = ""
    if isinstance(sample, ImageTextSample):
        asked = sample.instruction if isinstance(sample, GuiSample) and sample.instruction else sample.prompt
    lines = wrap(shorten(asked, 3 * letters, placeholder=" ..."), letters) if asked else []
    where = sample.split if sample.group is None else f"{sample.split}, {sample.group}"
    for text in (classes[sample.label], where):
        lines += wrap(text, letters)[:2]
    name = PurePosixPath(sample.id).name
    lines.append(name if len(name) <= letters else f"...{name[3 - letters :]}")
    if picture.image is not None and picture.allowed is None and picture.forbidden is None:
        lines.append("no prior")
    return "\n".join(lines)
