"""What every audit does: draw the samples to be searched, go on where it stopped, measure evidence against priors."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8

from wherenot.data import DataError, Dataset, Sample, UiElement, read_feedback, with_feedback
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
from wherenot.ranks import process_rank, seal_journals, wait_for_all
from wherenot.records import RecordStore, RecordWriter
from wherenot.region_cache import CachedPartition, default_cache
from wherenot.regions import parse_partition
from wherenot.rejected import write_rejected
from wherenot.run import RunFolder, read_warnings
from wherenot.search import parse_search
from wherenot.summary import metric_rows

_NAME = 60  # letters of what an element says that are kept


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """What all audits can be told."""

    splits: tuple[str, ...] = ()
    """Splits to audit; none means every split that is neither train nor validation, or all if there is no other."""
    max_images: int | None = None
    """Images per split whose evidence is searched, drawn by seed, 0 for none; all images count for accuracy."""
    max_pictures: int | None = 2000
    """Images per split whose picture and regions are kept for the report, of those whose evidence is searched; None:
    all. Each takes some ten to two hundred kilobytes."""
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
        for option in ("max_images", "max_pictures"):
            count = getattr(self, option)
            if count is not None and count < 0:
                raise ValueError(f"{type(self).__name__}: {option} must be at least 0, got {count}.")
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
        pictured: Those whose picture is kept, if their evidence is searched.
    """

    folder: Path
    numbers: dict[tuple[str, str], int]
    searched: set[tuple[str, str]]
    pictured: set[tuple[str, str]]

    def number(self, sample: Sample) -> int:
        """Place of a sample among all that are audited."""
        return self.numbers[_key(sample)]

    def is_searched(self, sample: Sample) -> bool:
        """Whether a sample was drawn to have its evidence searched."""
        return _key(sample) in self.searched

    def picture(self, sample: Sample) -> str | None:
        """Where the picture of a sample is kept, relative to the folder; None if it is not."""
        return f"evidence/{self.number(sample):06d}.npz" if _key(sample) in self.pictured else None


@dataclass(frozen=True)
class Prepared:
    """A sample as far as no model is needed.

    Attributes:
        content: Whatever its auditor wants to have; None if it cannot be read.
        error: Why.
    """

    sample: Sample
    content: Any
    error: str | None = None


@runtime_checkable
class Preparer(Protocol):
    """Reads and cuts; it goes to other machines, as pickle, and needs no model."""

    def __call__(self, sample: Sample, /, *, searched: bool) -> Any:
        """Prepare a sample whose evidence is or is not searched.

        Raises:
            DataError, OSError, ValueError: If it cannot be used.
        """
        ...


@runtime_checkable
class Auditor(Protocol):
    """Asks one kind of model."""

    @property
    def preparer(self) -> Preparer:
        """What is done before the model is asked."""
        ...

    def records(self, prepared: list[Prepared], plan: Plan, /) -> list[dict[str, Any]]:
        """Make the record of each sample, in order; one that fails has an ``error``."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Where the records of samples are made."""

    def batches(
        self, auditor: Auditor, samples: list[Sample], plan: Plan, *, at_once: int
    ) -> Iterator[list[tuple[int, dict[str, Any]]]]:
        """Yield each sample's number and record once, in any order, after what belongs to it is in the folder."""
        ...


class Here:
    """In this process, batch by batch."""

    def batches(
        self, auditor: Auditor, samples: list[Sample], plan: Plan, *, at_once: int
    ) -> Iterator[list[tuple[int, dict[str, Any]]]]:
        """Yield each sample's number and record, in order."""
        for start in range(0, len(samples), at_once):
            batch = [
                prepared(auditor.preparer, sample, searched=plan.is_searched(sample))
                for sample in samples[start : start + at_once]
            ]
            yield made(auditor, batch, plan)


def run_audit(
    auditor: Auditor,
    dataset: Dataset,
    out: Path,
    config: AuditSettings,
    *,
    name: str,
    model: str,
    at_once: int,
    engine: Engine = Here(),
    on_images: Callable[[int, int], None] | None = None,
    **facts: Any,
) -> Path:
    """Make a record of every sample, and metrics of the records.

    Writes ``run.json``, ``records/`` (`RecordStore`, as they are made), ``rejected.jsonl`` (`write_rejected`), whatever
    the auditor keeps in ``evidence/`` and at the end ``metrics.json``. Interrupted and called again with the same
    configuration it goes on where it stopped. Processes of one launch (`process_rank`) share the samples; the first of
    them waits for the others and writes the metrics.

    Args:
        auditor: Makes the records.
        dataset: What is asked about.
        out: The run folder.
        config: What was asked for; all of it is kept in ``run.json``.
        name: What tables and reports call this run.
        model: Where the model came from. From the folder of a training run, the record takes that run's warnings, too.
        at_once: Samples whose records are made together.
        engine: Where records are made.
        on_images: Called with images done and images in all, those of this process.
        facts: More for ``run.json``.

    Returns:
        The run folder.

    Raises:
        ValueError: If a split does not exist, the folder cannot be used, or another process stopped before its share
            was done.
    """
    if config.feedback is not None:
        dataset = with_feedback(dataset, read_feedback(config.feedback))
    rank, ranks = process_rank()
    folder = RunFolder(out)
    splits = config.splits or default_splits(dataset)
    samples = [sample for split in splits for sample in dataset.split(split).samples]
    rejected = [vars(rejected) for rejected in dataset.rejected]
    folder.begin(
        "audit", name, asdict(config), model=model, data=dataset.name, seed=config.seed, **facts,
        rejected=rejected, training_warnings=[asdict(warning) for warning in read_warnings(model)],
    )  # fmt: skip
    (folder.path / "evidence").mkdir(exist_ok=True)
    started = time.perf_counter()
    store = RecordStore(folder.path)
    plan = Plan(
        folder=folder.path,
        numbers={_key(sample): number for number, sample in enumerate(samples)},
        searched=_drawn(dataset, splits, config.max_images, config.seed),
        pictured=_drawn(dataset, splits, config.max_pictures, config.seed),
    )
    done = store.numbers()
    if len(done) == len(samples) and folder.read("metrics.json") is not None:
        return folder.path
    if rank == 0:
        write_rejected(folder.path, rejected, _failures(store))
    own = [sample for number, sample in enumerate(samples) if number % ranks == rank]
    left = [sample for sample in own if plan.number(sample) not in done]
    count = len(own) - len(left)
    with RecordWriter(folder.path, f"{rank:05d}") as writer:
        for batch in engine.batches(auditor, left, plan, at_once=at_once):
            writer.add(batch)
            count += len(batch)
            if on_images is not None:
                on_images(count, len(own))
    if rank != 0:
        return folder.path
    wait_for_all(store, len(samples), ranks=ranks)
    seal_journals(folder.path)
    failed = list(_failures(store))
    folder.amend(seconds=round(time.perf_counter() - started, 2), failed=len(failed), images=len(samples))
    write_rejected(folder.path, rejected, failed)
    folder.write("metrics.json", {"rows": metric_rows(store.tables(), seed=config.seed)})
    return folder.path


def prepared(preparer: Preparer, sample: Sample, *, searched: bool) -> Prepared:
    """Prepare a sample, or say why it cannot be used."""
    try:
        return Prepared(sample, preparer(sample, searched=searched))
    except (DataError, OSError, ValueError) as error:
        return Prepared(sample, None, str(error))


def made(auditor: Auditor, batch: list[Prepared], plan: Plan) -> list[tuple[int, dict[str, Any]]]:
    """Numbers and records of samples as they are kept."""
    return [
        (
            plan.number(each.sample),
            {
                **record,
                "error": record["error"] and printable(record["error"]),
                "searched": plan.is_searched(each.sample),
            },
        )
        for each, record in zip(batch, auditor.records(batch, plan), strict=True)
    ]


def _failures(store: RecordStore) -> Iterator[dict[str, Any]]:
    for row in store.read_rows("failed", "record"):
        if row["failed"]:
            yield json.loads(row["record"])


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
    elements: Sequence[UiElement] = (),
    view: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
) -> None:
    """Keep what a report needs to draw one image, in one piece; of a screenshot its elements, too.

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
            elements=np.array([each.box for each in elements], dtype=np.float32).reshape(-1, 4),
            element_names=np.array([printable(each.text or each.role or "") for each in elements], dtype=f"U{_NAME}"),
        )
    partial.replace(path)


def _key(sample: Sample) -> tuple[str, str]:
    return sample.split, sample.id


def _drawn(dataset: Dataset, splits: tuple[str, ...], count: int | None, seed: int) -> set[tuple[str, str]]:
    """Images drawn from each split: the same positions in every split and for every model; fewer are among more."""
    chosen: set[tuple[str, str]] = set()
    for split in splits:
        samples = dataset.split(split).samples
        order = np.random.default_rng(seed).permutation(len(samples))
        chosen |= {_key(samples[index]) for index in order[:count]}
    return chosen
