"""Marks that a person made in a report, as priors: what evidence must never rest on, and what is fine."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from wherenot import rasters
from wherenot.data.checked import Problems, read_text
from wherenot.data.samples import DataError, Dataset, Rejected, Sample
from wherenot.priors import Prior

_KINDS = ("forbidden", "allowed")


@dataclass(frozen=True, eq=False)
class Marks:
    """What a person marked on one sample, on a grid that covers a part of its image.

    Attributes:
        split: The sample's split.
        id: The sample's id.
        view: The part, ``(x0, y0, x1, y1)`` in fractions of the image's width and height.
        forbidden: True where evidence may not lie; None = nothing was marked so.
        allowed: True where it may; None = nothing was marked so.
        where: File and line, for messages.
    """

    split: str
    id: str
    view: tuple[float, float, float, float]
    forbidden: Bool[Tensor, "h w"] | None
    allowed: Bool[Tensor, "h w"] | None
    where: str

    def on_image(self, prior: Prior | None, height: int, width: int) -> Prior:
        """Lay the marks over what was known before; where both speak of a pixel, the marks hold.

        What is forbidden is no longer allowed and the other way round, and a marked pixel is no longer ignored. Where
        the two kinds of marks meet, forbidden wins. Nobody having said where evidence may lie, what is allowed here
        becomes the only place for it; without such marks it may lie wherever it is not forbidden.

        Args:
            prior: What was known, on the image's pixels; None = nothing.
            height: Height of the image in pixels.
            width: Width of the image in pixels.

        Returns:
            A new prior on the image's pixels.

        Raises:
            ValueError: If evidence could lie nowhere any more.

        Example:
            >>> corner = torch.tensor([[True, False], [False, False]])
            >>> marks = Marks("train", "a.png", (0.0, 0.0, 1.0, 1.0), forbidden=corner, allowed=None, where="")
            >>> marks.on_image(None, height=2, width=4).evidence_allowed()
            tensor([[False, False,  True,  True],
                    [ True,  True,  True,  True]])
        """
        nowhere = torch.zeros(height, width, dtype=torch.bool)
        forbid = nowhere if self.forbidden is None else self._placed(self.forbidden, height, width)
        allow = nowhere if self.allowed is None else self._placed(self.allowed, height, width) & ~forbid
        before = Prior(forbidden=forbid) if prior is None and forbid.any() else prior
        if before is None:
            return Prior(allowed=allow)
        allowed = before.allowed
        if allowed is not None:
            allowed = (allowed | allow) & ~forbid
        elif allow.any():
            allowed = allow
        forbidden = (nowhere if before.forbidden is None else before.forbidden) & ~allow | forbid
        ignore = None if before.ignore is None else before.ignore & ~allow & ~forbid
        return Prior(allowed, forbidden if forbidden.any() else None, ignore)

    def _placed(self, inside: Bool[Tensor, "h w"], height: int, width: int) -> Bool[Tensor, "H W"]:
        """An area of the grid on the image's pixels, by their centres; one finer than they are covers what it hits."""
        x0, y0, x1, y1 = self.view
        high, wide = inside.shape
        rows = torch.floor(((torch.arange(height) + 0.5) / height - y0) / (y1 - y0) * high).long()
        columns = torch.floor(((torch.arange(width) + 0.5) / width - x0) / (x1 - x0) * wide).long()
        in_view = ((rows >= 0) & (rows < high))[:, None] & ((columns >= 0) & (columns < wide))
        placed = inside[rows.clamp(0, high - 1)][:, columns.clamp(0, wide - 1)] & in_view
        if inside.any() and not placed.any():
            for row, column in inside.nonzero().tolist():
                y = (y0 + (row + 0.5) / high * (y1 - y0)) * height
                x = (x0 + (column + 0.5) / wide * (x1 - x0)) * width
                placed[min(height - 1, max(0, int(y))), min(width - 1, max(0, int(x)))] = True
        return placed


def read_feedback(path: str | Path) -> tuple[Marks, ...]:
    """Read the marks that a report lets one download.

    One line of JSON per sample: its ``split`` and ``id``; ``height`` and ``width`` of the grid that the marks lie on;
    ``view``, the part of the image that the grid covers, ``[x0, y0, x1, y1]`` in fractions of it (left out: all); and
    under ``forbidden`` and ``allowed`` the ``boxes`` (xyxy, in pixels of the grid) and ``runs`` (the lengths of runs
    of pixels outside and inside by turns, row by row, beginning outside) of what was marked.

    Args:
        path: The file, such as ``feedback.jsonl``.

    Returns:
        One entry per line.

    Raises:
        DataError: If the file cannot be read or holds nothing, or lines are not of this format; each is named.
    """
    file = Path(path)
    found: list[Marks] = []
    problems = Problems()
    for number, line in enumerate(read_text("read_feedback", file).splitlines(), start=1):
        if line.strip():
            with problems.noting():
                found.append(_marks(line, f"{file.name}, line {number}"))
    if problems:
        raise DataError.listing(f"read_feedback: {file}", problems, "Download the marks from the report again.")
    if not found:
        raise DataError(f"read_feedback: {file} holds no marks; mark regions in a report and download them.")
    return tuple(found)


def with_feedback(dataset: Dataset, feedback: Sequence[Marks]) -> Dataset:
    """Give a data set the priors that a person marked; every method and audit then takes them as any other.

    Args:
        dataset: Whole, as it was read: before samples are drawn or held out.
        feedback: From `read_feedback`; of several marks on one sample the later ones hold.

    Returns:
        The data set with these priors. Marks on samples that it does not have are in its `rejected`.

    Raises:
        DataError: If it has none of the samples, or a prior would leave evidence nowhere to lie; each is named.

    Example:
        >>> from wherenot.data import decoy
        >>> from wherenot.data.feedback import Marks, with_feedback
        >>> data = decoy(num_train=10)
        >>> corner = torch.zeros(28, 28, dtype=torch.bool)
        >>> corner[:4, :4] = True
        >>> first = data.samples[0]
        >>> marks = Marks(first.split, first.id, (0.0, 0.0, 1.0, 1.0), forbidden=corner, allowed=None, where="")
        >>> with_feedback(data, [marks]).samples[0].read_prior().forbidden.sum()
        tensor(16)
    """
    known = {(sample.split, sample.id) for sample in dataset.samples}
    marked: dict[tuple[str, str], list[Marks]] = defaultdict(list)
    unknown: list[Rejected] = []
    for marks in feedback:
        if (marks.split, marks.id) in known:
            marked[marks.split, marks.id].append(marks)
        else:
            unknown.append(Rejected(f"{marks.split}/{marks.id}", f"{marks.where}: no such sample in {dataset.name}"))
    if not marked:
        raise DataError.listing(
            f"with_feedback: {dataset.name} has none of the marked samples",
            [each.reason.replace("no such sample", f"no sample {each.id}") for each in unknown],
            "Pass the data that the report is on.",
        )
    problems = Problems()
    samples: list[Sample] = []
    for sample in dataset.samples:
        marks = tuple(marked.get((sample.split, sample.id), ()))
        if marks:
            read = partial(_read_marked, sample.read_image, sample.read_prior, marks)
            sample = replace(sample, read_prior=read)
            with problems.noting():
                read()
        samples.append(sample)
    if problems:
        raise DataError.listing(
            f"with_feedback: {dataset.name}", problems, "Take marks away, or leave these lines out."
        )
    return replace(dataset, samples=tuple(samples), rejected=(*dataset.rejected, *unknown))


def with_train_feedback(dataset: Dataset, path: str | Path) -> Dataset:
    """As `with_feedback`, from a file, to train on.

    Raises:
        DataError: As `read_feedback` and `with_feedback`, and if no training sample is marked: nothing would learn.
    """
    feedback = read_feedback(path)
    if not any(marks.split == "train" for marks in feedback):
        splits = ", ".join(sorted({marks.split for marks in feedback}))
        raise DataError(
            f"with_train_feedback: {path} marks samples of {splits} alone, and nothing learns from these; audit and "
            "mark the training split (wherenot audit --splits train)."
        )
    return with_feedback(dataset, feedback)


def _read_marked(
    read_image: Callable[[], Image.Image], read_prior: Callable[[], Prior | None], feedback: tuple[Marks, ...]
) -> Prior:
    prior = read_prior()
    if prior is None:
        image = read_image()
        height, width = image.height, image.width
    else:
        height, width = prior.shape
    for marks in feedback:
        try:
            prior = marks.on_image(prior, height, width)
        except ValueError as error:
            raise DataError(f"{marks.where}: {marks.split}/{marks.id}: {error}") from error
    assert prior is not None
    return prior


def _marks(line: str, where: str) -> Marks:
    try:
        entry = json.loads(line)
        size = rasters.checked_size("read_feedback", entry["height"], entry["width"])
        areas = {kind: _area(entry.get(kind), size) for kind in _KINDS}
        x0, y0, x1, y1 = (float(edge) for edge in entry.get("view", (0, 0, 1, 1)))
        split, id = entry["split"], entry["id"]
    except KeyError as error:
        raise DataError(f"{where}: {error} is missing") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{where}: {error}") from error
    if not (isinstance(split, str) and isinstance(id, str)):
        raise DataError(f"{where}: split and id are {split!r} and {id!r}; they are names")
    if not (all(map(math.isfinite, (x0, y0, x1, y1))) and 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise DataError(f"{where}: view {[x0, y0, x1, y1]} is no part of the image; x0 < x1 and y0 < y1 in [0, 1]")
    if all(area is None for area in areas.values()):
        raise DataError(f"{where}: nothing is marked, neither forbidden nor allowed")
    return Marks(split, id, (x0, y0, x1, y1), **areas, where=where)


def _area(marked: Any, size: tuple[int, int]) -> Bool[Tensor, "h w"] | None:
    """Boxes and runs, united; None where there is neither."""
    if marked is None:
        return None
    inside = rasters.fill_boxes(marked.get("boxes", ()), *size)
    runs = marked.get("runs", ())
    if len(runs):
        if not all(type(length) is int and length >= 0 for length in runs) or sum(runs) != size[0] * size[1]:
            raise ValueError(f"runs do not fill {size[0]} x {size[1]} pixels; whole numbers from 0 that sum up to them")
        turns = torch.arange(len(runs)) % 2 == 1
        inside |= turns.repeat_interleave(torch.tensor(runs)).view(size)
    return inside if inside.any() else None
