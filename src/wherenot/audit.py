"""An audit: run attribution over a data set and compare the evidence with the priors, resumably."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wherenot.data import DataError, Dataset, Sample
from wherenot.evidence import Evidence
from wherenot.explain import explain
from wherenot.masking import FillName
from wherenot.metrics import (
    add_noise,
    area_axis,
    corrupt,
    deletion_auc,
    energy_pointing,
    highest_confidence,
    insertion_auc,
    parse_corruption,
    pointing_argmax,
    pointing_coverage,
    pointing_touch,
    region_coverage,
)
from wherenot.microbatch import default_chunk
from wherenot.models import Classifier
from wherenot.priors import Prior
from wherenot.region_cache import CachedPartition, default_cache
from wherenot.regions import parse_partition, uint8_pixels
from wherenot.run import RunFolder, read_warnings
from wherenot.scoring import evaluating
from wherenot.search import parse_search
from wherenot.summary import metric_rows


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """What an audit looks at, and how."""

    splits: tuple[str, ...] = ()
    """Splits to audit; none means every split that is neither train nor validation, or all if there is no other."""
    max_images: int | None = None
    """Images per split whose evidence is searched, drawn by seed, 0 for none; all images count for accuracy."""
    partition: str = "slico:50"
    """How images are cut: slico:50, grid:7x7, opencv-slico:50 or seeds:50."""
    fill: FillName = "mean"
    """What hidden pixels show."""
    search: str = "exact"
    """How the order is found, a name of `wherenot.search.SEARCHES`."""
    noise: tuple[float, ...] = (0.05, 0.1, 0.2)
    """Standard deviations of the Gaussian noise under which accuracy is measured, pixels in [0, 1]."""
    corruptions: tuple[str, ...] = ()
    """Corruptions with their severity, such as jpeg:3, under which accuracy is measured, too."""
    batch_size: int = 32
    """Images that share forwards; does not change any result."""
    seed: int = 0
    """Of the drawn images, the noise and the bootstrap."""

    def __post_init__(self) -> None:
        parse_partition(self.partition)
        parse_search(self.search)
        for corruption in self.corruptions:
            parse_corruption(corruption)
        for name, value, low in (("max_images", self.max_images, 0), ("batch_size", self.batch_size, 1)):
            if value is not None and value < low:
                raise ValueError(f"AuditConfig: {name} must be at least {low}, got {value}.")


def audit(
    classifier: Classifier,
    dataset: Dataset,
    out: Path,
    config: AuditConfig = AuditConfig(),
    *,
    name: str,
    model: str,
    on_images: Callable[[int, int], None] | None = None,
) -> Path:
    """Ask a classifier about every image of a data set, and find on what its answers rest.

    Writes ``records.jsonl`` (one line per image as it is done), ``evidence/`` and at the end ``metrics.json``.
    Interrupted and called again with the same configuration it goes on where it stopped. An image that cannot be
    read becomes a record with an ``error``, counted in ``run.json``; it never disappears.

    Args:
        classifier: What is audited.
        dataset: What it is asked about.
        out: The run folder.
        config: Splits, regions, fill, search.
        name: What tables and reports call this run.
        model: Where the classifier came from, for the record. From the folder of a training run, the record takes that
            run's warnings, too.
        on_images: Called with images done and images in all.

    Returns:
        The run folder.

    Raises:
        ValueError: If the classes of data and model differ, a split does not exist, or the folder cannot be used.
    """
    if tuple(dataset.classes) != tuple(classifier.classes):
        raise ValueError(
            f"audit: the data has the classes {_some(dataset.classes)}, the model {_some(classifier.classes)}; "
            "labels would mean different things. Train on this data first, or rename the classes."
        )
    folder = RunFolder(out)
    splits = config.splits or default_splits(dataset)
    samples = [sample for split in splits for sample in dataset.split(split).samples]
    folder.begin(
        "audit", name, asdict(config), model=model, data=dataset.name, seed=config.seed,
        classes=list(dataset.classes), rejected=[vars(rejected) for rejected in dataset.rejected],
        training_warnings=[asdict(warning) for warning in read_warnings(model)],
    )  # fmt: skip
    (folder.path / "evidence").mkdir(exist_ok=True)
    started = time.perf_counter()
    done = {(record["split"], record["id"]) for record in folder.records("records.jsonl")}
    searched = _drawn(dataset, splits, config)
    auditor = _Auditor(classifier, config, folder, {_key(s): number for number, s in enumerate(samples)})
    left = [sample for sample in samples if _key(sample) not in done]
    if not left and folder.read("metrics.json") is not None:
        return folder.path
    for start in range(0, len(left), config.batch_size):
        batch = left[start : start + config.batch_size]
        folder.append("records.jsonl", *auditor.records(batch, searched))
        if on_images is not None:
            on_images(len(samples) - len(left) + start + len(batch), len(samples))
    records = list(folder.records("records.jsonl"))
    folder.amend(
        seconds=round(time.perf_counter() - started, 2),
        failed=sum(record["error"] is not None for record in records),
        images=len(records),
    )
    folder.write("metrics.json", {"rows": metric_rows(records, seed=config.seed)})
    return folder.path


def default_splits(dataset: Dataset) -> tuple[str, ...]:
    """Every split but train and validation; all of them if there is no other."""
    return tuple(split for split in dataset.splits if split not in ("train", "validation")) or tuple(dataset.splits)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")


def _key(sample: Sample) -> tuple[str, str]:
    return sample.split, sample.id


def _drawn(dataset: Dataset, splits: tuple[str, ...], config: AuditConfig) -> set[tuple[str, str]]:
    """The images whose evidence is searched: the same positions in every split and for every model."""
    chosen: set[tuple[str, str]] = set()
    for split in splits:
        samples = dataset.split(split).samples
        order = np.random.default_rng(config.seed).permutation(len(samples))
        chosen |= {_key(samples[index]) for index in order[: config.max_images]}
    return chosen


class _Auditor:
    """Makes the records of a batch of samples."""

    def __init__(
        self, classifier: Classifier, config: AuditConfig, folder: RunFolder, numbers: dict[tuple[str, str], int]
    ) -> None:
        self._classifier = classifier
        self._config = config
        self._folder = folder
        self._numbers = numbers

    def records(self, samples: list[Sample], searched: set[tuple[str, str]]) -> list[dict[str, Any]]:
        read: list[tuple[Sample, Tensor, Prior | None]] = []
        records: dict[tuple[str, str], dict[str, Any]] = {}
        for sample in samples:
            try:
                image = self._classifier.preprocess(sample.read_image())
                prior = sample.read_prior()
                prior = None if prior is None else self._classifier.preprocess.prior(prior)
            except (DataError, OSError, ValueError) as error:
                records[_key(sample)] = {**_facts(sample), "error": str(error)}
            else:
                read.append((sample, image, prior))
        if read:
            images = torch.stack([image for _, image, _ in read])
            answers = self._answers(images)
            changed = self._changed(images, [sample for sample, _, _ in read])
            for row, (sample, _, _) in enumerate(read):
                right = {how: bool(predicted[row] == sample.label) for how, predicted in changed.items()}
                records[_key(sample)] = _answer_record(sample, answers[row], right, self._config)
            wanted = [row for row, (sample, _, _) in enumerate(read) if _key(sample) in searched]
            if wanted:
                self._explain([read[row] for row in wanted], images[wanted], answers[wanted], records)
        return [{**records[_key(sample)], "searched": _key(sample) in searched} for sample in samples]

    @torch.no_grad()
    def _answers(self, images_BCHW: Tensor) -> Tensor:
        """Probabilities, from the same forward sizes as the search uses."""
        with evaluating(self._classifier):
            logits = [self._classifier(some).float() for some in images_BCHW.split(default_chunk(images_BCHW))]
        return torch.cat(logits).softmax(1)

    def _changed(self, images_BCHW: Tensor, samples: list[Sample]) -> dict[float | str, Tensor]:
        """Predictions under each noise and corruption; what is drawn depends on the sample and the seed alone."""
        normalization = self._classifier.normalization
        pixels = normalization.invert(images_BCHW).clamp(0, 1)
        predicted: dict[float | str, Tensor] = {}
        for how in (*self._config.noise, *self._config.corruptions):
            spoil = partial(corrupt, spec=how) if isinstance(how, str) else partial(add_noise, sigma=how)
            spoiled = [
                spoil(pixels[row : row + 1], generator=_generator(self._config.seed, self._numbers[_key(sample)]))
                for row, sample in enumerate(samples)
            ]
            predicted[how] = self._answers(normalization.apply(torch.cat(spoiled))).argmax(1)
        return predicted

    def _explain(
        self,
        read: list[tuple[Sample, Tensor, Prior | None]],
        images: Tensor,
        answers: Tensor,
        records: dict[tuple[str, str], dict[str, Any]],
    ) -> None:
        """Search the evidence for the true label and for the predicted one, with shared forwards."""
        labels = torch.tensor([sample.label for sample, _, _ in read])
        found = explain(
            self._classifier,
            images,
            torch.stack([labels, answers.argmax(1)], dim=1),
            regions=CachedPartition(parse_partition(self._config.partition), default_cache() / "regions"),
            fill=self._config.fill,
            search=parse_search(self._config.search),
            chunk=None,  # the same on every machine and every time, so that an audit can be repeated
        )
        pixels = uint8_pixels(images, self._classifier.normalization)
        for row, (sample, _, prior) in enumerate(read):
            record = records[_key(sample)]
            true, predicted = found[2 * row : 2 * row + 2]
            record["true"] = measures(true, prior)
            record["predicted_evidence"] = (
                record["true"] if predicted.target == true.target else measures(predicted, prior)
            )
            record["evidence_file"] = f"evidence/{self._numbers[_key(sample)]:06d}.npz"
            _save_picture(self._folder.path / record["evidence_file"], pixels[row], true, prior)


def measures(evidence: Evidence, prior: Prior | None) -> dict[str, Any]:
    """Everything measured on one image's evidence; pointing games are None without a prior.

    A prior that only forbids allows everything else. Ignored pixels count nowhere.
    """
    area = torch.from_numpy(np.diff(evidence.areas, prepend=0.0))
    axis = area_axis(area)
    insertion, deletion = torch.from_numpy(evidence.insertion), torch.from_numpy(evidence.deletion)
    result: dict[str, Any] = {
        "insertion_auc": insertion_auc(evidence.empty, insertion, axis),
        "deletion_auc": deletion_auc(evidence.full, deletion, axis),
        "highest_confidence": highest_confidence(evidence.empty, insertion),
        "forwards": evidence.forwards,
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


def _facts(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "split": sample.split,
        "group": sample.group,
        "label": sample.label,
        "predicted": None,
        "correct": None,
        "correct_top2": None,
        "p_label": None,
        "p_predicted": None,
        "noise": {},
        "corrupted": {},
        "true": None,
        "predicted_evidence": None,
        "evidence_file": None,
        "error": None,
    }


def _answer_record(
    sample: Sample, probabilities: Tensor, right: dict[float | str, bool], config: AuditConfig
) -> dict[str, Any]:
    order = probabilities.sort(descending=True, stable=True).indices.tolist()
    return {
        **_facts(sample),
        "predicted": order[0],
        "correct": order[0] == sample.label,
        "correct_top2": sample.label in order[:2],
        "p_label": probabilities[sample.label].item(),
        "p_predicted": probabilities[order[0]].item(),
        "noise": {str(sigma): right[sigma] for sigma in config.noise},
        "corrupted": {corruption: right[corruption] for corruption in config.corruptions},
    }


def _generator(seed: int, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + number)


def _save_picture(path: Path, pixels: np.ndarray, evidence: Evidence, prior: Prior | None) -> None:
    """What a report needs to draw one image."""
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
            top_region=evidence.top_region,
            allowed=allowed,
            forbidden=forbidden,
            has_prior=np.array(prior is not None),
        )
    partial.replace(path)
