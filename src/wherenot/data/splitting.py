"""Cuts a part off the training samples so that nothing in it is known from what stays."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wherenot.data.check import content_hash
from wherenot.data.samples import DataError, Dataset, GuiSample, Sample


@dataclass(frozen=True)
class _Cluster:
    """Samples that stay together, and how many of each stratum they are."""

    samples: tuple[Sample, ...]
    counts: Counter[tuple[int, str]]


def split_off(
    dataset: Dataset,
    into: str,
    frac: float,
    *,
    seed: int,
    keep_groups: bool = False,
    on_sample: Callable[[], None] | None = None,
) -> Dataset:
    """Move a share of the training samples to another split; what shows the same never comes to lie on both sides.

    Samples with the same pixels and tasks on the same screenshot stay together, and with `keep_groups` all samples of a
    group. Each class, and each group of it unless groups are kept, gives its share as far as the pieces allow, rounded
    so that the total comes out right (`hold_out` does the same without looking at pixels). The last training sample of
    a class is never taken. The choice depends on the ids and the seed, not on the samples' order.

    Args:
        dataset: With a ``train`` split; other splits stay as they are.
        into: The new split, such as ``validation``.
        frac: Share of the training samples to move, in (0, 1).
        seed: Chooses them.
        keep_groups: Whether a group is one person, film or place, whose samples are too alike to be parted. Otherwise
            groups are subsets to report on, and every one is in both splits.
        on_sample: Called after each training sample is read, for a progress bar.

    Returns:
        The same samples in the same order, some of them moved; ids that begin with ``train/`` begin with the new split.

    Raises:
        DataError: If there is no ``train`` split, the new one exists already, an image cannot be decoded, or no piece
            is small enough.
        ValueError: If the share is out of range.

    Example:
        >>> from wherenot.data import decoy
        >>> data = split_off(decoy(num_train=100).split("train"), "validation", 0.2, seed=0)
        >>> {split: len(data.split(split)) for split in sorted(data.splits)}
        {'train': 80, 'validation': 20}
    """
    if not 0 < frac < 1:
        raise ValueError(f"split_off: frac is {frac}; pass a share in (0, 1).")
    if "train" not in dataset.splits or into in dataset.splits:
        lack = f"has a {into} split already" if into in dataset.splits else "has no train split"
        raise DataError(f"split_off: {dataset.name} {lack}; its splits are {', '.join(dataset.splits)}.")
    train = dataset.split("train").samples
    clusters = _clusters(train, keep_groups, on_sample)
    chosen = _choose(clusters, frac, seed)
    if not chosen:
        smallest = min(len(cluster.samples) for cluster in clusters)
        raise DataError(
            f"split_off: no piece of {dataset.name} is small enough to hold out {frac:g} of {len(train)} training "
            f"samples: the smallest has {smallest}, or is the last of its class; raise the share."
        )
    moved = {sample.id for cluster in chosen for sample in cluster.samples}
    return replace(
        dataset,
        samples=tuple(_moved(sample, into) if sample.id in moved else sample for sample in dataset.samples),
    )


def _clusters(samples: Sequence[Sample], keep_groups: bool, on_sample: Callable[[], None] | None) -> list[_Cluster]:
    """Join samples that share pixels, screenshot or group, however long the chain, in the order of their ids."""
    ordered = sorted(samples, key=lambda sample: sample.id)
    parents = list(range(len(ordered)))

    def first_of(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    seen: dict[Hashable, int] = {}
    for index, sample in enumerate(ordered):
        try:
            marks: list[Hashable] = [content_hash(sample)]
        except (OSError, ValueError) as error:
            raise DataError(f"split_off: {sample.id}: {error}; correct the image or leave it out.") from error
        if isinstance(sample, GuiSample) and sample.screenshot is not None:
            marks.append(("screenshot", sample.screenshot))
        if keep_groups and sample.group is not None:
            marks.append(("group", sample.group))
        for mark in marks:
            one, other = sorted((first_of(index), first_of(seen.setdefault(mark, index))))
            parents[other] = one
        if on_sample is not None:
            on_sample()
    members: dict[int, list[Sample]] = defaultdict(list)
    for index, sample in enumerate(ordered):
        members[first_of(index)].append(sample)
    return [
        _Cluster(tuple(group), Counter((sample.label, "" if keep_groups else sample.group or "") for sample in group))
        for group in members.values()
    ]


def _choose(clusters: Sequence[_Cluster], frac: float, seed: int) -> list[_Cluster]:
    """First what fits whole into every stratum's share, then what goes least beyond, until the total is reached."""
    sizes: Counter[tuple[int, str]] = sum((cluster.counts for cluster in clusters), Counter())
    total = round(frac * sizes.total())
    order = [clusters[index] for index in np.random.default_rng(seed).permutation(len(clusters))]
    taken: Counter[tuple[int, str]] = Counter()
    chosen: list[_Cluster] = []

    def excess(cluster: _Cluster) -> float:
        return max(taken[stratum] + count - frac * sizes[stratum] for stratum, count in cluster.counts.items())

    def take(cluster: _Cluster, beyond: float | int) -> bool:
        leaves = all(taken[stratum] + count < sizes[stratum] for stratum, count in cluster.counts.items())
        fits = leaves and excess(cluster) < beyond and taken.total() + cluster.counts.total() <= total
        if fits:
            taken.update(cluster.counts)
            chosen.append(cluster)
        return fits

    rest = [cluster for cluster in order if not take(cluster, 1e-9)]
    for cluster in sorted(rest, key=excess):
        take(cluster, max(cluster.counts.values()))
    return chosen


def _moved(sample: Sample, into: str) -> Sample:
    rest = sample.id.removeprefix("train/")
    return replace(sample, split=into, id=sample.id if rest == sample.id else f"{into}/{rest}")
