"""Looks a data set over: every pixel is read, images are told apart by content, and what is found is counted."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from PIL import Image

from wherenot.data.checked import OnBad
from wherenot.data.origins import Origin
from wherenot.data.samples import DataError, Dataset, Rejected, Sample
from wherenot.priors import Prior


@dataclass(frozen=True)
class Duplicate:
    """Samples that show the same pixels.

    Attributes:
        ids: Of the samples, in the data set's order.
        splits: The splits they are in.
        labels: The classes they are given.
    """

    ids: tuple[str, ...]
    splits: tuple[str, ...]
    labels: tuple[int, ...]

    @property
    def crosses(self) -> bool:
        """Whether a model may have seen, or been chosen on, an image that it is tested on or chosen on."""
        return len({"test" if split.startswith("test") else split for split in self.splits}) > 1


@dataclass(frozen=True)
class SplitCount:
    """How many samples of a split are good, and what their priors say.

    Attributes:
        split: Its name.
        images: Good samples.
        classes: Classes that occur.
        priors: Samples with a prior.
        forbidden: Samples whose prior forbids an area.
        ignore: Samples whose prior ignores pixels.
    """

    split: str
    images: int
    classes: int
    priors: int
    forbidden: int
    ignore: int


@dataclass(frozen=True)
class Findings:
    """What is in a data set, and what is wrong with it.

    Attributes:
        counts: One per split.
        bad: What the reader left out for a fault, and samples that cannot be decoded.
        left_out: How many the reader left out without a fault.
        duplicates: Samples with the same pixels.
        origins: Where the priors came from, one per prior; None = from a person.
    """

    counts: tuple[SplitCount, ...]
    bad: tuple[Rejected, ...]
    left_out: int
    duplicates: tuple[Duplicate, ...]
    origins: tuple[Origin | None, ...] = ()


def check_dataset(dataset: Dataset, on_sample: Callable[[], None] | None = None) -> Findings:
    """Read every image and prior, and compare the images by content.

    Args:
        dataset: Read with ``on_bad="skip"``, so that every fault is in the findings.
        on_sample: Called after each sample, for a progress bar.

    Returns:
        The findings.

    Example:
        >>> from wherenot.data import decoy
        >>> found = check_dataset(decoy(num_train=10, num_validation=5, num_test=5))
        >>> found.counts[0].images, found.counts[0].priors, found.bad
        (10, 10, ())
    """
    kinds = {split: Counter[str]() for split in dataset.splits}
    labels: dict[str, set[int]] = {split: set() for split in dataset.splits}
    hashed: list[tuple[str, Sample]] = []
    origins: list[Origin | None] = []
    bad = [each for each in dataset.rejected if each.faulty]
    left_out = len(dataset.rejected) - len(bad)
    for sample in dataset.samples:
        try:
            key, prior = content_hash(sample), sample.read_prior()
        except (OSError, ValueError) as error:
            bad.append(Rejected(sample.id, str(error)))
        else:
            hashed.append((key, sample))
            labels[sample.split].add(sample.label)
            kinds[sample.split].update(["images"] if prior is None else ["images", "priors", *_said(prior)])
            origins += [] if prior is None else [sample.origin]
        if on_sample is not None:
            on_sample()
    counts = tuple(
        SplitCount(split, seen["images"], len(labels[split]), seen["priors"], seen["forbidden"], seen["ignore"])
        for split, seen in kinds.items()
    )
    return Findings(counts, tuple(bad), left_out, _duplicates(hashed), tuple(origins))


def readable(
    dataset: Dataset, splits: Collection[str], on_bad: OnBad, on_sample: Callable[[], None] | None = None
) -> Dataset:
    """Read every image and prior of some splits once, so that none is found to be bad in the middle of long work.

    Args:
        dataset: Any.
        splits: Those that will be read.
        on_bad: Whether a sample that cannot be read is an error, the first one, or left out and listed in `rejected`.
        on_sample: Called after each sample, for a progress bar.

    Returns:
        The data set without what cannot be read.

    Raises:
        DataError: With `on_bad` "error" if a sample cannot be read; if none can be, always.

    Example:
        >>> from wherenot.data import decoy
        >>> len(readable(decoy(num_train=10, num_validation=5, num_test=5), ["train"], "skip"))
        30
    """
    bad: dict[str, Rejected] = {}
    for sample in dataset.samples:
        if sample.split not in splits:
            continue
        try:
            sample.read_image()
            sample.read_prior()
        except (OSError, ValueError) as error:
            bad[sample.id] = Rejected(sample.id, str(error))
            if on_bad == "error" or len(bad) == len(dataset):
                remedy = "Correct it, or leave out --strict to go on without it."
                raise DataError.listing(f"readable: {dataset.name}", [bad[sample.id].reason], remedy) from error
        if on_sample is not None:
            on_sample()
    samples = tuple(sample for sample in dataset.samples if sample.id not in bad)
    return replace(dataset, samples=samples, rejected=(*dataset.rejected, *bad.values()))


def duplicates_across_splits(dataset: Dataset) -> tuple[Duplicate, ...]:
    """Find images that are in several splits: what a model was trained or chosen on must not be what it is tested on.

    Images are the same if their decoded pixels are, whatever their files are called or how they are compressed without
    loss; a resized or recompressed copy is another image. All splits called ``test...`` count as one: they may show
    the same images on purpose.

    Args:
        dataset: Every image is read.

    Returns:
        One entry per image that is in several splits, in the order of their first samples.

    Raises:
        DataError: If an image cannot be decoded.

    Example:
        >>> from wherenot.data import decoy
        >>> duplicates_across_splits(decoy(num_train=20, num_validation=5, num_test=5))
        ()
    """
    found = _duplicates((content_hash(sample), sample) for sample in dataset.samples)
    return tuple(duplicate for duplicate in found if duplicate.crosses)


def content_hash(sample: Sample) -> str:
    """Return a hash of the size and the pixels of a sample's image."""
    return image_hash(sample.read_image())


def image_hash(image: Image.Image) -> str:
    """Return a hash of an image's size and pixels."""
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def _duplicates(hashed: Iterable[tuple[str, Sample]]) -> tuple[Duplicate, ...]:
    groups: dict[str, list[Sample]] = defaultdict(list)
    for key, sample in hashed:
        groups[key].append(sample)
    return tuple(
        Duplicate(
            ids=tuple(sample.id for sample in group),
            splits=tuple(dict.fromkeys(sample.split for sample in group)),
            labels=tuple(dict.fromkeys(sample.label for sample in group)),
        )
        for group in groups.values()
        if len(group) > 1
    )


def _said(prior: Prior) -> list[str]:
    return [name for name in ("forbidden", "ignore") if (mask := getattr(prior, name)) is not None and mask.any()]
