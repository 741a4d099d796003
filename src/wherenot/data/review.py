"""What a person decided on priors that a model or a method proposed: accepted ones stay, rejected ones go."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import torch

from wherenot import rasters
from wherenot.data.checked import Problems, parse_json, read_text
from wherenot.data.origins import Box
from wherenot.data.samples import DataError, Dataset, Rejected, Sample
from wherenot.priors import Prior

Verdict: TypeAlias = Literal["accepted", "rejected"]

_VERDICTS = ("accepted", "rejected")


@dataclass(frozen=True)
class Decision:
    """What a person decided on one prior.

    Attributes:
        split: The sample's split.
        id: The sample's id.
        verdict: Whether the prior is accepted or rejected.
        prior: Which prior it was (`prior_key`).
        where: File and line, for messages.
    """

    split: str
    id: str
    verdict: Verdict
    prior: str
    where: str


@dataclass(frozen=True)
class Reviewed:
    """A data set after a review.

    Attributes:
        dataset: Accepted priors are marked as such; rejected ones are gone.
        accepted: How many were accepted.
        rejected: How many were rejected.
        skipped: Decisions that fit no prior of the data, and why.
    """

    dataset: Dataset
    accepted: int
    rejected: int
    skipped: tuple[Rejected, ...]


def prior_key(prior: Prior) -> str:
    """Name what a prior allows, so that a decision on it holds for no other.

    Example:
        >>> one, other = (Prior.from_boxes([[0, 0, side, 1]], 2, 2) for side in (1, 2))
        >>> len(prior_key(one)), prior_key(one) == prior_key(other)
        (16, False)
    """
    allowed = prior.evidence_allowed() if prior.allowed is None else prior.allowed
    pixels = allowed.to("cpu", torch.uint8).contiguous().numpy().tobytes()
    return hashlib.sha256(f"{prior.shape}".encode() + pixels).hexdigest()[:16]


def read_review(path: str | Path) -> tuple[Decision, ...]:
    """Read the decisions that a review page lets one download.

    One line of JSON per decision: the sample's ``split`` and ``id``, ``decision``, which is ``accepted`` or
    ``rejected``, and ``prior``, which names the prior that was looked at (`prior_key`).

    Args:
        path: The file, such as ``review.jsonl``.

    Returns:
        One entry per line.

    Raises:
        DataError: If the file cannot be read or holds nothing, or lines are not of this format; each is named.
    """
    file = Path(path)
    found: list[Decision] = []
    problems = Problems()
    for number, line in enumerate(read_text("read_review", file).splitlines(), start=1):
        if line.strip():
            with problems.noting():
                found.append(_decision(line, f"{file.name}, line {number}"))
    if problems:
        raise DataError.listing(f"read_review: {file}", problems, "Download the decisions from the page again.")
    if not found:
        raise DataError(f"read_review: {file} holds no decisions; accept or reject priors on the page and download.")
    return tuple(found)


def with_review(dataset: Dataset, decisions: Sequence[Decision]) -> Reviewed:
    """Apply decisions: an accepted prior is marked, a rejected one is taken away.

    What a person forbade in an image stays. Where the rejected prior had been made of boxes by hand, these are the
    prior again.

    Args:
        dataset: The one whose priors were reviewed.
        decisions: From `read_review`; of several on one sample the last holds.

    Raises:
        DataError: If not one decision fits; each is named. A prior that was made anew since it was looked at is
            another one.
    """
    last = {(each.split, each.id): each for each in decisions}
    counts = {"accepted": 0, "rejected": 0}
    skipped: list[Rejected] = []
    samples: list[Sample] = []
    for sample in dataset.samples:
        decision = last.pop((sample.split, sample.id), None)
        if decision is not None and (problem := _misfit(sample, decision)) is not None:
            skipped.append(Rejected(sample.id, f"{decision.where}: {sample.id}: {problem}"))
        elif decision is not None:
            counts[decision.verdict] += 1
            sample = _decided(sample, decision.verdict)
        samples.append(sample)
    missing = f"no such sample in {dataset.name}"
    skipped += [Rejected(each.id, f"{each.where}: {each.split}/{each.id}: {missing}") for each in last.values()]
    if not any(counts.values()):
        raise DataError.listing(
            f"with_review: not one decision fits {dataset.name}",
            [each.reason for each in skipped],
            "Pass the data that the page was made of.",
        )
    return Reviewed(replace(dataset, samples=tuple(samples)), counts["accepted"], counts["rejected"], tuple(skipped))


def _misfit(sample: Sample, decision: Decision) -> str | None:
    if sample.origin is None:
        return "its prior is by hand, or it has none"
    prior = sample.read_prior()
    if prior is None:
        return "it has no prior"
    if prior_key(prior) != decision.prior:
        return "its prior is not the one that was looked at"
    return None


def _decided(sample: Sample, verdict: Verdict) -> Sample:
    assert sample.origin is not None
    if verdict == "accepted":
        return replace(sample, origin=replace(sample.origin, accepted=True))
    read = partial(_read_rejected, sample.read_prior, sample.origin.boxes)
    return replace(sample, read_prior=read, boxes=sample.origin.boxes, origin=None)


def _read_rejected(read_prior: Callable[[], Prior | None], boxes: tuple[Box, ...]) -> Prior | None:
    prior = read_prior()
    if prior is None:
        return None
    if boxes:
        return replace(prior, allowed=rasters.fill_boxes(boxes, *prior.shape))
    return None if prior.forbidden is None else replace(prior, allowed=None)


def _decision(line: str, where: str) -> Decision:
    try:
        entry = parse_json(line)
        split, id, verdict, prior = (entry[key] for key in ("split", "id", "decision", "prior"))
    except KeyError as error:
        raise DataError(f"{where}: {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {error}") from error
    if not all(isinstance(each, str) for each in (split, id, prior)):
        raise DataError(f"{where}: split, id and prior are {split!r}, {id!r} and {prior!r}; they are names")
    if verdict not in _VERDICTS:
        raise DataError(f"{where}: decision is {verdict!r}, neither accepted nor rejected")
    return Decision(split, id, verdict, prior, where)
