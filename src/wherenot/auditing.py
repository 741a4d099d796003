"""What every audit does: draw the samples to be searched, go on where it stopped, measure evidence against priors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8

from wherenot.data import Dataset, Sample, read_feedback, with_feedback
from wherenot.data.samples import printable
from wherenot.evidence import Evidence
from wherenot.metrics import (
    area_axis,
    deletion_auc,
    energy_pointing,
    highest_confidence,
    insertion_auc,
    pointing_argmax,
    pointing_coverage,
    pointing_touch,
    region_coverage,
)
from wherenot.priors import Prior
from wherenot.region_cache import CachedPartition, default_cache
from wherenot.regions import parse_partition
from wherenot.rejected import write_rejected
from wherenot.run import RunFolder, read_warnings
from wherenot.search import parse_search
from wherenot.summary import metric_rows


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """What all audits can be told."""

    splits: tuple[str, ...] = ()
    """Splits to audit; none means every split that is neither train nor validation, or all if there is no other."""
    max_images: int | None = None
    """Images per split whose evidence is searched, drawn by seed, 0 for none; all images count for accuracy."""
    partition: str = "slico:50"
    """How images are cut: slico:50, grid:7x7, opencv-slico:50 or seeds:50."""
    search: str = "exact"
    """How the order is found, a name of `wherenot.search.SEARCHES`."""
    max_regions: int | None = None
    """Regions that are ordered, strongest first; None: all. Fewer cost less, insertion and deletion stay unknown."""
    feedback: str | None = None
    """Marks made in a report (feedback.jsonl): what evidence must not lie on, and what it may; they are priors."""
    seed: int = 0
    """Of the drawn images, the bootstrap, and whatever else an audit draws."""

    def __post_init__(self) -> None:
        parse_partition(self.partition)
        parse_search(self.search)
        if self.max_images is not None and self.max_images < 0:
            raise ValueError(f"{type(self).__name__}: max_images must be at least 0, got {self.max_images}.")
        if self.max_regions is not None and self.max_regions < 1:
            raise ValueError(f"{type(self).__name__}: max_regions must be at least 1, got {self.max_regions}.")

    def cut(self) -> CachedPartition:
        """The partition, which remembers what it cut before."""
        return CachedPartition(parse_partition(self.partition), default_cache() / "regions")


@dataclass(frozen=True)
class Plan:
    """Where an audit writes, and which of its samples are searched.

    Attributes:
        folder: The run folder.
        numbers: Place of each sample, by split and id, among all that are audited.
        searched: Those whose evidence is searched.
    """

    folder: Path
    numbers: dict[tuple[str, str], int]
    searched: set[tuple[str, str]]

    def number(self, sample: Sample) -> int:
        """Place of a sample among all that are audited."""
        return self.numbers[_key(sample)]

    def is_searched(self, sample: Sample) -> bool:
        """Whether a sample was drawn to have its evidence searched."""
        return _key(sample) in self.searched

    def picture(self, sample: Sample) -> str:
        """Where the picture of a sample is kept, relative to the folder."""
        return f"evidence/{self.number(sample):06d}.npz"


@runtime_checkable
class Auditor(Protocol):
    """Asks one kind of model."""

    def records(self, samples: list[Sample], plan: Plan, /) -> list[dict[str, Any]]:
        """Make the record of each sample, in order; one that cannot be read has an ``error``."""
        ...


def run_audit(
    auditor: Auditor,
    dataset: Dataset,
    out: Path,
    config: AuditSettings,
    *,
    name: str,
    model: str,
    at_once: int,
    on_images: Callable[[int, int], None] | None = None,
    **facts: Any,
) -> Path:
    """Make a record of every sample, and metrics of the records.

    Writes ``run.json``, ``records.jsonl`` (lines as they are made), ``rejected.jsonl`` (`write_rejected`), whatever the
    auditor keeps in ``evidence/`` and at the end ``metrics.json``. Interrupted and called again with the same
    configuration it goes on where it stopped.

    Args:
        auditor: Makes the records.
        dataset: What is asked about.
        out: The run folder.
        config: What was asked for; all of it is kept in ``run.json``.
        name: What tables and reports call this run.
        model: Where the model came from. From the folder of a training run, the record takes that run's warnings, too.
        at_once: Samples whose records are made together.
        on_images: Called with images done and images in all.
        facts: More for ``run.json``.

    Returns:
        The run folder.

    Raises:
        ValueError: If a split does not exist, or the folder cannot be used.
    """
    if config.feedback is not None:
        dataset = with_feedback(dataset, read_feedback(config.feedback))
    folder = RunFolder(out)
    splits = config.splits or default_splits(dataset)
    samples = [sample for split in splits for sample in dataset.split(split).samples]
    folder.begin(
        "audit", name, asdict(config), model=model, data=dataset.name, seed=config.seed, **facts,
        rejected=[vars(rejected) for rejected in dataset.rejected],
        training_warnings=[asdict(warning) for warning in read_warnings(model)],
    )  # fmt: skip
    rejected = [vars(each) for each in dataset.rejected]
    write_rejected(folder.path, rejected, folder.records("records.jsonl"))
    (folder.path / "evidence").mkdir(exist_ok=True)
    started = time.perf_counter()
    done = {(record["split"], record["id"]) for record in folder.records("records.jsonl")}
    numbers = {_key(sample): number for number, sample in enumerate(samples)}
    plan = Plan(folder.path, numbers, _drawn(dataset, splits, config))
    left = [sample for sample in samples if _key(sample) not in done]
    if not left and folder.read("metrics.json") is not None:
        return folder.path
    for start in range(0, len(left), at_once):
        batch = left[start : start + at_once]
        made = [{**each, "error": each["error"] and printable(each["error"])} for each in auditor.records(batch, plan)]
        records = zip(batch, made, strict=True)
        folder.append("records.jsonl", *({**each, "searched": plan.is_searched(sample)} for sample, each in records))
        if on_images is not None:
            on_images(len(samples) - len(left) + start + len(batch), len(samples))
    records = list(folder.records("records.jsonl"))
    folder.amend(
        seconds=round(time.perf_counter() - started, 2),
        failed=sum(record["error"] is not None for record in records),
        images=len(records),
    )
    write_rejected(folder.path, rejected, records)
    folder.write("metrics.json", {"rows": metric_rows(records, seed=config.seed)})
    return folder.path


def default_splits(dataset: Dataset) -> tuple[str, ...]:
    """Every split but train and validation; all of them if there is no other."""
    return tuple(split for split in dataset.splits if split not in ("train", "validation")) or tuple(dataset.splits)


def measures(evidence: Evidence, prior: Prior | None) -> dict[str, Any]:
    """Everything measured on one image's evidence; pointing games are None without a prior.

    A prior that only forbids allows everything else. Ignored pixels count nowhere. What needs the whole curve is None
    where the order was cut short.
    """
    result: dict[str, Any] = {
        "insertion_auc": None,
        "deletion_auc": None,
        "highest_confidence": None,
        "forwards": evidence.forwards,
    }
    if evidence.complete:
        axis = area_axis(torch.from_numpy(np.diff(evidence.areas, prepend=0.0)))
        insertion, deletion = torch.from_numpy(evidence.insertion), torch.from_numpy(evidence.deletion)
        result |= {
            "insertion_auc": insertion_auc(evidence.empty, insertion, axis),
            "deletion_auc": deletion_auc(evidence.full, deletion, axis),
            "highest_confidence": highest_confidence(evidence.empty, insertion),
        }
    if prior is None:
        return {
            "coverage": None,
            "pointing_coverage@0.2": None,
            "pointing_argmax": None,
            "pointing_touch": None,
            "energy_pointing": None,
            **result,
        }
    inside = prior.evidence_allowed()[None]
    ignore = None if prior.ignore is None else prior.ignore[None]
    top = torch.from_numpy(evidence.top_region)[None]
    heat = torch.from_numpy(evidence.map())[None]
    return {
        "coverage": region_coverage(top, inside, ignore=ignore).item(),
        "pointing_coverage@0.2": bool(pointing_coverage(top, inside, ignore=ignore)),
        "pointing_argmax": bool(pointing_argmax(heat, inside, ignore=ignore)),
        "pointing_touch": bool(pointing_touch(heat, inside, ignore=ignore)),
        "energy_pointing": energy_pointing(heat, inside, ignore=ignore).item(),
        **result,
    }


def save_picture(
    path: Path,
    pixels: UInt8[np.ndarray, "H W 3"],
    evidence: Evidence,
    prior: Prior | None,
    *,
    elements: Sequence[tuple[float, float, float, float]] = (),
    view: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
) -> None:
    """Keep what a report needs to draw one image, in one piece; of a screenshot the boxes of its elements, too.

    The curves start with nothing (insertion) and with everything (deletion) shown. `view` is the part of the original
    image that the pixels show, ``(x0, y0, x1, y1)`` in fractions of its width and height.
    """
    everywhere = np.ones(evidence.labels.shape, dtype=bool)
    allowed = prior.allowed.cpu().numpy() if prior is not None and prior.allowed is not None else everywhere
    forbidden = prior.forbidden.cpu().numpy() if prior is not None and prior.forbidden is not None else ~everywhere
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        np.savez_compressed(
            file,
            image=pixels,
            map=evidence.map().astype(np.float32),
            labels=evidence.labels.astype(np.int32),
            order=evidence.order.astype(np.int32),
            insertion=np.array([evidence.empty, *evidence.insertion], dtype=np.float32),
            deletion=np.array([evidence.full, *evidence.deletion], dtype=np.float32),
            view=np.array(view),
            top_region=evidence.top_region,
            allowed=allowed,
            forbidden=forbidden,
            has_prior=np.array(prior is not None),
            elements=np.array(elements, dtype=np.float32).reshape(-1, 4),
        )
    partial.replace(path)


def _key(sample: Sample) -> tuple[str, str]:
    return sample.split, sample.id


def _drawn(dataset: Dataset, splits: tuple[str, ...], config: AuditSettings) -> set[tuple[str, str]]:
    """The images whose evidence is searched: the same positions in every split and for every model."""
    chosen: set[tuple[str, str]] = set()
    for split in splits:
        samples = dataset.split(split).samples
        order = np.random.default_rng(config.seed).permutation(len(samples))
        chosen |= {_key(samples[index]) for index in order[: config.max_images]}
    return chosen
