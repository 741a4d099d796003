"""An audit: run attribution over a data set and compare the evidence with the priors, resumably."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wherenot.auditing import AuditSettings, Engine, Here, Plan, Prepared, measures, run_audit, save_picture
from wherenot.auditing import default_splits as default_splits
from wherenot.data import Dataset, ImageTextSample, Sample, with_classes
from wherenot.explain import explain
from wherenot.masking import FillName
from wherenot.metrics import add_noise, corrupt, parse_corruption
from wherenot.microbatch import default_chunk
from wherenot.models import Classifier, Preprocess
from wherenot.priors import Prior
from wherenot.regions import label_maps, uint8_pixels
from wherenot.scoring import evaluating
from wherenot.search import parse_search
from wherenot.types import Partition


@dataclass(frozen=True, kw_only=True)
class AuditConfig(AuditSettings):
    """What an audit of a classifier looks at, and how."""

    fill: FillName = "mean"
    """What hidden pixels show."""
    noise: tuple[float, ...] = (0.05, 0.1, 0.2)
    """Standard deviations of the Gaussian noise under which accuracy is measured, pixels in [0, 1]."""
    corruptions: tuple[str, ...] = ()
    """Corruptions with their severity, such as jpeg:3, under which accuracy is measured, too."""
    batch_size: int = 32
    """Images that share forwards; does not change any result."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for corruption in self.corruptions:
            parse_corruption(corruption)
        if self.batch_size < 1:
            raise ValueError(f"AuditConfig: batch_size must be at least 1, got {self.batch_size}.")


def audit(
    classifier: Classifier,
    dataset: Dataset,
    out: Path,
    config: AuditConfig = AuditConfig(),
    *,
    name: str,
    model: str,
    engine: Engine = Here(),
    on_images: Callable[[int, int], None] | None = None,
) -> Path:
    """Ask a classifier about every image of a data set, and find on what its answers rest.

    Writes ``records/`` (`RecordStore`: one row per image, kept as it is done), ``evidence/`` and at the end
    ``metrics.json``. Interrupted and called again with the same configuration it goes on where it stopped. An image
    that cannot be read becomes a record with an ``error``, counted in ``run.json``; it never disappears.

    Started by ``accelerate launch`` or ``torchrun`` each process takes its share of the images.

    Args:
        classifier: What is audited.
        dataset: What it is asked about; its classes may be some of the classifier's, in any order (`with_classes`).
        out: The run folder.
        config: Splits, regions, fill, search.
        name: What tables and reports call this run.
        model: Where the classifier came from, for the record. From the folder of a training run, the record takes that
            run's warnings, too.
        engine: Where records are made: in this process, or on a cluster (`audit_ray.RayEngine`).
        on_images: Called with images done and images in all.

    Returns:
        The run folder.

    Raises:
        ValueError: If the model does not know a class of the data or has only one, the data asks questions, a split
            does not exist, or the folder cannot be used.
    """
    if any(isinstance(sample, ImageTextSample) for sample in dataset.samples):
        raise ValueError(
            f"audit: {dataset.name} asks questions, which a classifier does not read; audit a vision-language model "
            "(audit_answers)."
        )
    dataset = with_classes(dataset, classifier.classes)
    if len(dataset.classes) < 2:
        raise ValueError(
            f"audit: {dataset.name} has one class, {' '.join(dataset.classes)!r}; every answer would be right."
        )
    return run_audit(
        ClassifierAuditor(classifier, config), dataset, out, config, name=name, model=model, at_once=config.batch_size,
        engine=engine, on_images=on_images, classes=list(dataset.classes),
    )  # fmt: skip


@dataclass(frozen=True)
class _Read:
    """A sample as the model sees it, which part of the original image that is, and how it is cut if it is searched."""

    image: Float[Tensor, "C H W"]
    prior: Prior | None
    view: tuple[float, float, float, float]
    labels: Int[Tensor, "H W"] | None


@dataclass(frozen=True)
class _Preparer:
    """Reads images as the model sees them, and cuts those that are searched."""

    preprocess: Preprocess
    partition: Partition

    def __call__(self, sample: Sample, /, *, searched: bool) -> _Read:
        original = sample.read_image()
        image = self.preprocess(original)
        prior = sample.read_prior()
        labels = None
        if searched:
            labels = label_maps(image[None], self.partition, self.preprocess.normalization)[0]
            if int(labels.max()) == 0:
                raise ValueError("it has a single region, so there is nothing to rank; use a finer partition.")
        return _Read(
            image=image,
            prior=None if prior is None else self.preprocess.prior(prior),
            view=self.preprocess.view(original.height, original.width),
            labels=labels,
        )


class ClassifierAuditor:
    """Makes the records of a batch of samples."""

    def __init__(self, classifier: Classifier, config: AuditConfig) -> None:
        self._classifier = classifier
        self._config = config
        self._device = next((weight.device for weight in classifier.parameters()), torch.device("cpu"))

    @property
    def preparer(self) -> _Preparer:
        """Reads and cuts."""
        return _Preparer(self._classifier.preprocess, self._config.cut())

    def records(self, prepared: list[Prepared], plan: Plan, /) -> list[dict[str, Any]]:
        """Ask the model about each sample, and search the evidence of those that were drawn for it."""
        records = {plan.number(each.sample): {**_facts(each.sample), "error": each.error} for each in prepared}
        read = [each for each in prepared if each.error is None]
        if read:
            images = torch.stack([each.content.image for each in read])
            answers = self._answers(images)
            changed = self._changed(images, [plan.number(each.sample) for each in read])
            for row, each in enumerate(read):
                right = {how: bool(predicted[row] == each.sample.label) for how, predicted in changed.items()}
                records[plan.number(each.sample)] = _answer_record(each.sample, answers[row], right, self._config)
            wanted = [row for row, each in enumerate(read) if plan.is_searched(each.sample)]
            if wanted:
                self._explain([read[row] for row in wanted], images[wanted], answers[wanted], records, plan)
        return [records[plan.number(each.sample)] for each in prepared]

    @torch.no_grad()
    def _answers(self, images_BCHW: Tensor) -> Tensor:
        """Probabilities, from the same forward sizes as the search uses."""
        with evaluating(self._classifier):
            some = images_BCHW.to(self._device)
            logits = [self._classifier(part).float() for part in some.split(default_chunk(some))]
        return torch.cat(logits).softmax(1).cpu()

    def _changed(self, images_BCHW: Tensor, numbers: list[int]) -> dict[float | str, Tensor]:
        """Predictions under each noise and corruption; what is drawn depends on the sample and the seed alone."""
        normalization = self._classifier.normalization
        pixels = normalization.invert(images_BCHW).clamp(0, 1)
        predicted: dict[float | str, Tensor] = {}
        for how in (*self._config.noise, *self._config.corruptions):
            spoil = partial(corrupt, spec=how) if isinstance(how, str) else partial(add_noise, sigma=how)
            spoiled = [
                spoil(pixels[row : row + 1], generator=_generator(self._config.seed, number))
                for row, number in enumerate(numbers)
            ]
            predicted[how] = self._answers(normalization.apply(torch.cat(spoiled))).argmax(1)
        return predicted

    def _explain(
        self,
        read: list[Prepared],
        images: Tensor,
        answers: Tensor,
        records: dict[int, dict[str, Any]],
        plan: Plan,
    ) -> None:
        """Search the evidence for the true label and for the predicted one, with shared forwards."""
        labels = torch.tensor([each.sample.label for each in read])
        found = explain(
            self._classifier,
            images.to(self._device),
            torch.stack([labels, answers.argmax(1)], dim=1).to(self._device),
            regions=torch.stack([each.content.labels for each in read]).to(self._device),
            fill=self._config.fill,
            search=parse_search(self._config.search),
            max_regions=self._config.max_regions,
            chunk=None,  # the same on every machine and every time, so that an audit can be repeated
        )
        pixels = uint8_pixels(images, self._classifier.normalization)
        for row, each in enumerate(read):
            record = records[plan.number(each.sample)]
            true, predicted = found[2 * row : 2 * row + 2]
            record["true"] = measures(true, each.content.prior)
            record["predicted_evidence"] = (
                record["true"] if predicted.target == true.target else measures(predicted, each.content.prior)
            )
            record["evidence_file"] = place = plan.picture(each.sample)
            if place is not None:
                save_picture(plan.folder / place, pixels[row], true, each.content.prior, view=each.content.view)


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
