"""Priors from priors: what people marked in a few images, found in the others by what a network sees."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from wherenot.data.samples import Dataset, Sample
from wherenot.models import load_classifier
from wherenot.models.preprocess import Preprocess
from wherenot.priors import Prior
from wherenot.proposals.sources import Proposal, Source, Task
from wherenot.spreading import spread_priors

_FEWEST = 2
_DOUBTFUL_BELOW = 0.9  # as training does by default


@dataclass(frozen=True, kw_only=True)
class Spreading:
    """A source that has learned from the priors of a data set, and what it thinks of them.

    Attributes:
        source: Proposes for every image of the data set; for no other.
        learned_from: Images with a prior by a person, or one that a person accepted.
        doubtful: Ids of those whose prior the others do not bear out (`wherenot.spreading.Spread.agreement` below .9).
    """

    source: Source
    learned_from: int
    doubtful: tuple[str, ...]


def spreading_source(
    dataset: Dataset,
    name: str,
    *,
    splits: Collection[str] = (),
    device: str = "cpu",
    batch_size: int = 8,
    on_images: Callable[[int], None] | None = None,
) -> Spreading:
    """Learn from the priors there are where evidence may lie in all images (`wherenot.spreading`).

    Every image is read once, squeezed to the network's input as a whole, and asked about once.

    Args:
        dataset: Some of its images have priors. Those that a machine made count once a person accepted them.
        name: A classifier, as `wherenot.models.load_classifier` takes it; what classes it knows does not matter.
        splits: Learn from, and propose for, these splits alone; none = all.
        device: Where the classifier runs.
        batch_size: Images at once.
        on_images: Called with how many were read, for a progress bar.

    Raises:
        ValueError: If fewer than two images have a prior to learn from, or the classifier cannot be loaded or has no
            features with places.
    """
    samples = [sample for split in splits or dataset.splits for sample in dataset.split(split).samples]
    given = [_by_person(sample) for sample in samples]
    learned_from = sum(prior is not None and prior.allowed is not None for prior in given)
    if learned_from < _FEWEST:
        raise ValueError(
            f"data prior: --from spreading learns from priors by people, and {dataset.name} has {learned_from} in the "
            "splits asked about; mark two images at the least, some dozens are better (docs/data.md). What a machine "
            "made counts once it is accepted (wherenot data review)."
        )
    classifier = load_classifier(name).to(device)
    preprocess = classifier.preprocess.whole()
    whole = [prior and preprocess.prior(prior) for prior in given]
    read = _Inputs(samples, preprocess)
    spread = spread_priors(classifier, read, whole, trusted=0.0, batch_size=batch_size, on_images=on_images)
    place = {(sample.split, sample.id): index for index, sample in enumerate(samples) if spread.learned[index]}
    doubtful = (spread.agreement < _DOUBTFUL_BELOW).tolist()  # nan, where there is no prior, is not
    return Spreading(
        source=Source(
            kind="spreading",
            model=name,
            propose=lambda tasks: [_proposal(task, place.get(task.key), spread.priors) for task in tasks],
        ),
        learned_from=learned_from,
        doubtful=tuple(sample.id for sample, each in zip(samples, doubtful, strict=True) if each),
    )


def prior_by_person(sample: Sample) -> Prior | None:
    """The prior of a sample, if it says where evidence may lie and a person drew or accepted it."""
    prior = _by_person(sample)
    return prior if prior is not None and prior.allowed is not None else None


def _by_person(sample: Sample) -> Prior | None:
    """What a person said of a sample: that evidence may not lie somewhere is never a machine's word."""
    prior = sample.read_prior()
    if prior is None or sample.origin is None or sample.origin.accepted:
        return prior
    return None if prior.forbidden is None else replace(prior, allowed=None)


class _Inputs:
    """What a network sees of samples."""

    def __init__(self, samples: Sequence[Sample], preprocess: Preprocess) -> None:
        self._samples, self._preprocess = samples, preprocess

    def __getitem__(self, indices: list[int]) -> Float[Tensor, "_ 3 H W"]:
        return torch.stack([self._preprocess(self._samples[index].read_image()) for index in indices])


def _proposal(task: Task, place: int | None, priors: Sequence[Prior | None]) -> Proposal:
    prior = None if place is None else priors[place]
    if prior is None:
        return Proposal()
    return Proposal(inside=prior.resize(task.image.height, task.image.width).allowed)
