"""Priors for a data set, image by image: kept as they are made, so that an interrupted run goes on."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

import wherenot
from wherenot.data.origins import Box, Origin
from wherenot.data.samples import Dataset, Sample
from wherenot.priors import Prior
from wherenot.proposals.sources import Proposal, Source, Task
from wherenot.proposals.spread import prior_by_person
from wherenot.run import RunFolder

JOURNAL = "proposals.jsonl"

_Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """A data set with proposed priors.

    Attributes:
        dataset: All samples, those with a proposal with it as their prior and its origin beside it.
        made: Samples that have one now.
        nothing: Ids of those in which nothing was found; they stay as they were.
        kept: Samples that were not asked about: they have a prior.
    """

    dataset: Dataset
    made: int
    nothing: tuple[str, ...]
    kept: int


def asked_about(
    dataset: Dataset, source: Source, *, replace_priors: bool = False, splits: Collection[str] = ()
) -> tuple[Sample, ...]:
    """The samples for which a source is to make a prior.

    Args:
        dataset: Any; every prior is read.
        source: What makes them.
        replace_priors: Also where somebody said where evidence may lie; for spreading, only where a machine did.
        splits: Of these splits alone; none = all.

    Returns:
        For boxes, those whose prior is boxes alone, or a mask that consists of filled boxes, each with its `boxes`;
        else those whose prior does not say where evidence may lie.

    Raises:
        ValueError: If there is none, or no such split.

    Example:
        >>> from wherenot.data import decoy
        >>> from wherenot.proposals import ProposalConfig, build_source
        >>> source = build_source(ProposalConfig(kind="saliency"), ["0"])
        >>> len(asked_about(decoy(num_train=10).split("train"), source, replace_priors=True))
        10
    """
    among = [sample for split in splits or dataset.splits for sample in dataset.split(split).samples]
    if source.kind == "boxes":
        boxed = [(sample, _boxes_by_hand(sample)) for sample in among if sample.origin is None]
        found = tuple(replace(sample, boxes=boxes) for sample, boxes in boxed if boxes)
        if not found:
            raise ValueError(
                f"data prior: no sample of {dataset.name} has a prior that is boxes alone; --from boxes turns boxes by "
                "hand into masks, --from grounding finds boxes."
            )
        return found
    if source.kind == "spreading" and replace_priors:
        found = tuple(sample for sample in among if prior_by_person(sample) is None)
    else:
        found = tuple(sample for sample in among if replace_priors or not _says_where(sample))
    if not found:
        more = (
            "--from spreading leaves those by people alone"
            if source.kind == "spreading" and replace_priors
            else "--replace makes new ones"
        )
        raise ValueError(f"data prior: every sample of {dataset.name} asked about has a prior already; {more}.")
    return found


def propose(
    dataset: Dataset,
    source: Source,
    samples: Sequence[Sample],
    folder: RunFolder,
    *,
    batch_size: int = 8,
    on_samples: Callable[[int], None] | None = None,
) -> Proposed:
    """Make priors, a batch at a time, and put each into a journal; what the journal has is not made again.

    Where the memory of a GPU does not suffice, batches are halved.

    Args:
        dataset: All samples.
        source: What makes the priors.
        samples: For which (`asked_about`).
        folder: Where the journal lies.
        batch_size: Images at once.
        on_samples: Called with how many were done, for a progress bar.

    Raises:
        ValueError: If an image cannot be read, or the journal cannot.
    """
    journal = {(line["split"], line["id"]): line for line in folder.records(JOURNAL)}
    left = [sample for sample in samples if _key(sample) not in journal]
    if on_samples is not None:
        on_samples(len(samples) - len(left))
    for start in range(0, len(left), batch_size):
        batch = left[start : start + batch_size]
        lines = [_line(sample, proposal) for sample, proposal in zip(batch, _made(source, batch), strict=True)]
        folder.append(JOURNAL, *lines)
        journal |= {(line["split"], line["id"]): line for line in lines}
        if on_samples is not None:
            on_samples(len(batch))
    return _joined(dataset, source, samples, journal)


def _joined(
    dataset: Dataset, source: Source, samples: Sequence[Sample], journal: dict[_Key, dict[str, Any]]
) -> Proposed:
    asked = {_key(sample): sample for sample in samples}
    joined: list[Sample] = []
    nothing: list[str] = []
    for sample in dataset.samples:
        line = journal[_key(sample)] if _key(sample) in asked else None
        if line is not None and line["mask"] is None:
            nothing.append(sample.id)
        elif line is not None:
            boxes = asked[_key(sample)].boxes
            origin = Origin(
                kind=source.kind,
                model=source.model,
                prompt=source.texts[sample.label] if source.texts else None,
                score=line["score"],
                threshold=source.threshold,
                boxes=boxes if source.kind == "boxes" else (),
                wherenot=wherenot.__version__,
            )
            read = partial(_read_proposed, sample.read_prior, line["mask"], tuple(line["size"]))
            sample = replace(sample, read_prior=read, boxes=(), origin=origin)
        joined.append(sample)
    made = len(samples) - len(nothing)
    return Proposed(
        dataset=replace(dataset, samples=tuple(joined)),
        made=made,
        nothing=tuple(nothing),
        kept=len(dataset) - len(samples),
    )


def _made(source: Source, batch: Sequence[Sample]) -> Iterator[Proposal]:
    """Proposals that are priors: where what a person forbade leaves nothing of one, nothing was found."""
    tasks = [
        Task(
            image=sample.read_image(),
            text=source.texts[sample.label] if source.texts else "",
            boxes=sample.boxes,
            key=_key(sample),
        )
        for sample in batch
    ]
    for sample, proposal in zip(batch, _fitting(source, tasks), strict=True):
        yield proposal if proposal.inside is None or _leaves_some(sample, proposal.inside) else Proposal()


def _leaves_some(sample: Sample, inside: Bool[Tensor, "H W"]) -> bool:
    try:
        _with_allowed(sample.read_prior(), inside)
    except ValueError:
        return False
    return True


def _fitting(source: Source, tasks: Sequence[Task]) -> list[Proposal]:
    try:
        return source.propose(tasks)
    except torch.OutOfMemoryError:
        if len(tasks) == 1:
            raise
    half = len(tasks) // 2
    return [*_fitting(source, tasks[:half]), *_fitting(source, tasks[half:])]


def _line(sample: Sample, proposal: Proposal) -> dict[str, Any]:
    inside = proposal.inside
    line = {"split": sample.split, "id": sample.id, "score": proposal.score}
    return {**line, "mask": None} if inside is None else {**line, "size": [*inside.shape], "mask": _packed(inside)}


def _packed(inside: Bool[Tensor, "H W"]) -> str:
    """A mask as text of a kilobyte or so: there may be a hundred thousand of them in memory."""
    return base64.b64encode(zlib.compress(np.packbits(inside.numpy()).tobytes())).decode("ascii")


def _read_proposed(read_prior: Callable[[], Prior | None], mask: str, size: tuple[int, int]) -> Prior:
    bits = np.frombuffer(zlib.decompress(base64.b64decode(mask)), dtype=np.uint8)
    inside = np.unpackbits(bits, count=size[0] * size[1]).reshape(size).astype(bool)
    return _with_allowed(read_prior(), torch.from_numpy(inside))


def _with_allowed(before: Prior | None, inside: Bool[Tensor, "H W"]) -> Prior:
    """What a person forbade, or left out of the count, stays."""
    return Prior(allowed=inside) if before is None else replace(before, allowed=inside)


def _boxes_by_hand(sample: Sample) -> tuple[Box, ...]:
    """The boxes that a prior is made of; none if it is anything else."""
    if sample.boxes:
        return sample.boxes
    from skimage.measure import label, regionprops

    prior = sample.read_prior()
    if prior is None or prior.allowed is None or prior.allowed.all():
        return ()
    found = regionprops(label(prior.allowed.numpy(), connectivity=1))
    if not all(each.area == each.area_bbox for each in found):
        return ()
    corners = ([float(edge) for edge in each.bbox] for each in found)  # rows come first
    return tuple((x0, y0, x1, y1) for y0, x0, y1, x1 in corners)


def _says_where(sample: Sample) -> bool:
    prior = sample.read_prior()
    return prior is not None and prior.allowed is not None


def _key(sample: Sample) -> _Key:
    return sample.split, sample.id
