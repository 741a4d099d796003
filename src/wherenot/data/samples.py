"""What every reader gives: samples that load their pixels late, and the data set around them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from wherenot.data.origins import Box, Origin
from wherenot.priors import Prior

# Control characters, those that turn the direction of what follows, and halves of characters.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST = 2000


def printable(text: str) -> str:
    r"""Write what could take over a terminal, break a line or not be written at all as escapes; cut off what is long.

    Example:
        >>> print(printable("a\x1b[2Jb\n"))
        a\x1b[2Jb\n
    """
    shown = _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text[:_LONGEST])
    return shown if len(text) <= _LONGEST else f"{shown}... ({len(text)} characters)"


class DataError(ValueError):
    """Data that cannot be used as it is; the message names each problem, up to ten, and says what to do."""

    @classmethod
    def listing(cls, what: str, problems: Sequence[str], remedy: str) -> DataError:
        """Make the error of several problems.

        Args:
            what: Function and data, for the first line.
            problems: One line each; the first ten are shown, all are counted.
            remedy: What to do, for the last line.

        Returns:
            The error, to be raised.

        Example:
            >>> print(DataError.listing("read_folder: birds", ["a.png: no such file"], "Add it."))
            read_folder: birds: 1 problem:
              a.png: no such file
            Add it.
        """
        shown = [f"  {printable(problem)}" for problem in problems[:10]]
        if len(problems) > len(shown):
            shown.append(f"  ... and {len(problems) - len(shown)} more")
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        return cls("\n".join([f"{what}: {count}:", *shown, remedy]))


@dataclass(frozen=True)
class Sample:
    """One image, its class and perhaps a prior. Pixels are read when asked for; samples can be pickled.

    Attributes:
        id: Unique within the data set.
        label: Index into the data set's classes.
        split: Such as ``train``, ``validation``, ``test``.
        group: A subset to report on separately, such as ``conflicting``; None = no group.
        read_image: Gives the image as RGB.
        read_prior: Gives the prior on the image's pixel grid; None where nobody gave one.
        boxes: The boxes that say where evidence may lie, where they alone do; empty where it is masks or the like.
        origin: Where the prior came from; None = from a person, or there is none.
    """

    id: str
    label: int
    split: str
    group: str | None
    read_image: Callable[[], Image.Image]
    read_prior: Callable[[], Prior | None]
    boxes: tuple[Box, ...] = field(default=(), kw_only=True)
    origin: Origin | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class ImageTextSample(Sample):
    """A question about an image.

    Attributes:
        prompt: What the user says.
        answer: What a model is taken to say; None = what it says.
        tokens: Which tokens of the answer are to be explained (`tokens.choose_tokens`).
        counter: A word that would contradict the answer.
        right: The right answer: the name of the sample's class; None where nobody gave one.
    """

    prompt: str
    answer: str | None = None
    tokens: str = "answer"
    counter: str | None = None
    right: str | None = None


@dataclass(frozen=True)
class UiElement:
    """An element of the interface that a screenshot shows, as an accessibility tree tells it.

    Attributes:
        box: ``(x0, y0, x1, y1)``, half-open, in pixels of the screenshot, cut off at its border.
        text: What it says, or else what it is described as; None = nothing.
        role: What it is, such as ``android.widget.Button``; None = nobody said.
        clickable: Whether it is known to react to a click.
        visible: Whether it is not known to be hidden.
    """

    box: tuple[float, float, float, float]
    text: str | None = None
    role: str | None = None
    clickable: bool = False
    visible: bool = True


def no_elements() -> tuple[UiElement, ...]:
    """Give no elements: nobody said what the interface consists of."""
    return ()


@dataclass(frozen=True)
class GuiSample(ImageTextSample):
    """An instruction on a screenshot of an interface.

    The prompt is the user's text without the image's placeholder. `right` is the assistant's text: what is to be done,
    as compact JSON; its classes are the kinds of action. `read_prior` gives the box; without one the smallest
    element around the point, or else a disc around it (`data.gui.target_prior`).

    Attributes:
        system: The system prompt; None = none.
        instruction: What is asked for, without the words around it.
        box: The target, ``(x0, y0, x1, y1)``, half-open, in pixels of the screenshot; None where nobody gave one.
        point: Where to click, ``(x, y)`` in [0, 1] of width and height; None where nobody said, or for other actions.
        thought: What the assistant thinks before it acts.
        elements: Gives what the interface consists of; empty where nobody said.
        kind: What kind of screen or target it is, such as ``mobile text``; None = nobody said.
        screenshot: Names the screenshot: tasks on the same one have the same name; None = no other task is on it.
    """

    system: str | None = None
    instruction: str = ""
    box: tuple[float, float, float, float] | None = None
    point: tuple[float, float] | None = None
    thought: str | None = None
    elements: Callable[[], tuple[UiElement, ...]] = no_elements
    kind: str | None = None
    screenshot: str | None = field(default=None, compare=False)  # the same tasks may lie elsewhere


@dataclass(frozen=True)
class Rejected:
    """A sample that was left out, and why; both are made `printable`.

    Attributes:
        id: The sample's id, or the file and line that should have described it.
        reason: Every problem found with it.
        faulty: False where nothing is wrong with it, but it is no sample, such as an image without any object.
    """

    id: str
    reason: str
    faulty: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", printable(self.id))
        object.__setattr__(self, "reason", printable(self.reason))


@dataclass(frozen=True)
class Dataset:
    """Samples with a common list of classes.

    Attributes:
        name: For reports.
        classes: Class names in the order of their indices.
        samples: All samples, of all splits.
        rejected: What the reader left out; a part of the data set, such as one split, keeps the whole list.

    Raises:
        ValueError: If two samples share an id, two classes share a name, or a label is no index into the classes.

    Example:
        >>> sample = Sample("a.png", 1, "train", None, lambda: Image.new("RGB", (4, 2)), lambda: None)
        >>> data = Dataset("pets", classes=("cat", "dog"), samples=(sample,))
        >>> len(data), data.splits, data.split("train").samples[0].read_image().size
        (1, ('train',), (4, 2))
    """

    name: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    rejected: tuple[Rejected, ...] = ()

    def __post_init__(self) -> None:
        for what, names in (("class", self.classes), ("sample id", [sample.id for sample in self.samples])):
            if twice := [name for name, count in Counter(names).items() if count > 1]:
                raise ValueError(f"Dataset: {what} {twice[0]!r} occurs more than once; give each its own name.")
        for sample in self.samples:
            if not 0 <= sample.label < len(self.classes):
                found = f"sample {sample.id!r} has label {sample.label}"
                raise ValueError(f"Dataset: {found}; labels are indices into the {len(self.classes)} classes.")

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits in order of appearance."""
        return tuple(dict.fromkeys(sample.split for sample in self.samples))

    def split(self, name: str) -> Dataset:
        """Take one split.

        Args:
            name: One of `splits`.

        Returns:
            The data set with only the samples of that split.

        Raises:
            ValueError: If there is no such split.
        """
        if name not in self.splits:
            raise ValueError(f"Dataset.split: {self.name!r} has no split {name!r}; its splits are {list(self.splits)}.")
        return replace(self, samples=tuple(sample for sample in self.samples if sample.split == name))


def with_classes(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """The same samples, labelled by the classes of a model that knows all their names, and perhaps more.

    Args:
        dataset: Its class names mean what the model's mean.
        classes: The model's; upper and lower case are the same, where that leaves no two alike.

    Raises:
        ValueError: If a class of the data is none of the model's.

    Example:
        >>> from PIL import Image
        >>> sample = Sample("a.png", 0, "test", None, lambda: Image.new("RGB", (4, 2)), lambda: None)
        >>> pets = Dataset("pets", classes=("dog",), samples=(sample,))
        >>> found = with_classes(pets, ("bird", "cat", "dog"))
        >>> found.samples[0].label, found.classes
        (2, ('bird', 'cat', 'dog'))
    """
    exact = {name: place for place, name in enumerate(classes)}
    lowered = {name.lower(): place for name, place in exact.items()}
    folded = lowered if len(lowered) == len(exact) else {}
    places = [exact.get(name, folded.get(name.lower())) for name in dataset.classes]
    if unknown := [name for name, place in zip(dataset.classes, places, strict=True) if place is None]:
        raise ValueError(
            f"with_classes: {dataset.name} has the classes {_some(dataset.classes)}, the model {_some(classes)}; "
            f"{len(unknown)} of the data's are none of the model's ({_some(unknown)}). Rename the classes of the data "
            "as the model calls them, or train on these data first."
        )
    known = [place for place in places if place is not None]
    samples = tuple(replace(sample, label=known[sample.label]) for sample in dataset.samples)
    return replace(dataset, classes=tuple(classes), samples=samples)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")


def limit(dataset: Dataset, images_per_split: int, seed: int) -> Dataset:
    """Draw at most so many samples of each split, evenly over its classes as far as they go.

    Splits with the same labels in the same order keep the same positions. The larger of two draws with one seed holds
    the smaller one.

    Args:
        dataset: Any.
        images_per_split: At least 1; a split with no more samples stays whole.
        seed: Chooses the samples.

    Returns:
        The same data set with fewer samples, in the same order.

    Raises:
        ValueError: If the number is below 1.

    Example:
        >>> from wherenot.data import decoy
        >>> [len(limit(decoy(num_train=100), 20, seed=0).split(split)) for split in ("train", "test_biased")]
        [20, 20]
    """
    if images_per_split < 1:
        raise ValueError(f"limit: images_per_split is {images_per_split}; pass at least 1.")
    kept: set[str] = set()
    for split in dataset.splits:
        samples = dataset.split(split).samples
        order = np.random.default_rng(seed).permutation(len(samples)).tolist()
        turn: Counter[int] = Counter()
        drawn = []
        for place, index in enumerate(order):  # the first of every class, then the second of every class, ...
            label = samples[index].label
            drawn.append((turn[label], place, samples[index].id))
            turn[label] += 1
        kept.update(id for _, _, id in sorted(drawn)[:images_per_split])
    return replace(dataset, samples=tuple(sample for sample in dataset.samples if sample.id in kept))


def hold_out(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Cut a `validation` split out of `train`, so that nothing is ever selected on test data.

    Each class and group gives its share, rounded so that the total is ``round(fraction * train)``: first the whole
    part of each share, then one more from the largest fractional parts. The last training sample of a class and group
    is never taken, so the total can fall short. The choice depends on the ids and the seed, not on the samples' order.

    Args:
        dataset: With a `train` split. If it has a `validation` split, it comes back as it is.
        fraction: Share of the training samples to hold out, in (0, 1).
        seed: Chooses the samples.

    Returns:
        The same samples in the same order, some of `train` moved to `validation`.

    Raises:
        ValueError: If the fraction is out of range, there is no `train` split, or nothing could be held out.

    Example:
        >>> from wherenot.data import decoy
        >>> data = hold_out(decoy(num_train=100).split("train"), fraction=0.2, seed=0)
        >>> {split: len(data.split(split)) for split in sorted(data.splits)}
        {'train': 80, 'validation': 20}
    """
    if not 0 < fraction < 1:
        raise ValueError(f"hold_out: fraction is {fraction}; pass a share in (0, 1).")
    if "validation" in dataset.splits:
        return dataset
    strata: dict[tuple[int, str], list[str]] = defaultdict(list)
    for sample in dataset.split("train").samples:
        strata[sample.label, sample.group or ""].append(sample.id)
    takes = _shares([len(strata[key]) for key in sorted(strata)], fraction)
    if not any(takes):
        raise ValueError(
            f"hold_out: a fraction of {fraction} of {len(dataset.split('train'))} training samples in {len(strata)}"
            " classes and groups is no sample; raise it, or give a validation split."
        )
    random = np.random.default_rng(seed)
    held = set()
    for key, take in zip(sorted(strata), takes, strict=True):
        held.update(random.permutation(sorted(strata[key]))[:take].tolist())
    moved = (replace(sample, split="validation") if sample.id in held else sample for sample in dataset.samples)
    return replace(dataset, samples=tuple(moved))


def _shares(sizes: Sequence[int], fraction: float) -> list[int]:
    wanted = [fraction * size for size in sizes]
    takes = [int(share) for share in wanted]
    by_remainder = sorted(range(len(sizes)), key=lambda stratum: takes[stratum] - wanted[stratum])
    spare = [stratum for stratum in by_remainder if takes[stratum] < sizes[stratum] - 1]
    for stratum in spare[: round(fraction * sum(sizes)) - sum(takes)]:
        takes[stratum] += 1
    return takes
