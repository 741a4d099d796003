"""What a study costs before it is run: forwards and backwards counted from its configuration, then hours and money."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherenot.data.loading import BUILT_IN
from wherenot.experiments.trials import Trial
from wherenot.masking import Normalization
from wherenot.methods import Recomposition
from wherenot.methods.augmentation import Augmentation
from wherenot.regions import Grid, parse_partition
from wherenot.search import parse_search, search_cost
from wherenot.train.config import MethodConfig, TrainConfig
from wherenot.train.recipe import build_method, method_options, training_data
from wherenot.types import Partition

BACKWARD = 2  # forwards that a backward is worth
GATE_FRAC = 0.7
WRONG_FRAC = 0.3
FORWARDS_PER_SECOND_AT_MOST = 20_000.0

# Multiply-adds counted as two, one image at the model's own resolution; from the models' papers. Searched in order.
GFLOPS_PER_FORWARD = {
    "clip-vit-large": 162.0,
    "clip-vit-base-patch32": 8.8,
    "vit-large": 123.0,
    "vit-base": 35.2,
    "vit_b_16": 35.2,
    "resnet-101": 15.6,
    "resnet101": 15.6,
    "resnet-50": 8.2,
    "resnet50": 8.2,
    "efficientnet-lite0": 0.8,
    "small-vit": 0.05,
    "small-cnn": 0.005,
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Images of a data set that a trial sees."""

    train: int
    validation: int
    test: int
    test_splits: int = 1


# As published; the labels of ImageNet-S's own test split are not, so its validation split is the test here.
KNOWN_SIZES = {
    "imagenet-s50": Sizes(train=500, validation=0, test=752),
    "imagenet-s300": Sizes(train=3000, validation=0, test=4097),
    "imagenet-s919": Sizes(train=9190, validation=0, test=12419),
    "saliency-bench": Sizes(train=3446, validation=0, test=864),
}


@dataclass(frozen=True, kw_only=True)
class Work:
    """Images through a model.

    Attributes:
        forwards: Alone.
        backwards: Each after a forward that is counted, too.
    """

    forwards: float = 0.0
    backwards: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(forwards=self.forwards + other.forwards, backwards=self.backwards + other.backwards)

    def __mul__(self, times: float) -> Work:
        return Work(forwards=self.forwards * times, backwards=self.backwards * times)

    @property
    def units(self) -> float:
        """In forwards."""
        return self.forwards + BACKWARD * self.backwards


def train_work(trial: Trial, sizes: Sizes) -> Work:
    """What training asks of the model: the task, validation after each epoch, and the method.

    Example:
        >>> from wherenot.audit import AuditConfig
        >>> from wherenot.train.config import OptimizationConfig
        >>> plain = TrainConfig(optimization=OptimizationConfig(epochs=2), method=MethodConfig(name="finetune"))
        >>> train_work(Trial(train=plain, audit=AuditConfig()), Sizes(train=100, validation=10, test=50))
        Work(forwards=220.0, backwards=200.0)
    """
    plan = trial.train.optimization
    seen = float(sizes.train * plan.epochs)
    steps = plan.epochs * -(-sizes.train // plan.batch_size)
    task = Work(forwards=seen + plan.epochs * sizes.validation, backwards=seen)
    return task + method_work(trial.train.method, steps, plan.batch_size, plan.epochs)


def audit_work(trial: Trial, sizes: Sizes) -> Work:
    """What the audit asks of the model: answers, also under noise, and the evidence of the images drawn for it.

    Example:
        >>> from wherenot.audit import AuditConfig
        >>> trial = Trial(train=TrainConfig(), audit=AuditConfig(max_images=0, noise=(0.1,)))
        >>> audit_work(trial, Sizes(train=100, validation=10, test=50))
        Work(forwards=100.0, backwards=0.0)
    """
    config = trial.audit
    asked = sizes.validation if config.splits == ("validation",) else sizes.test
    # max_images is per split; the test splits are counted together here.
    searched = asked if config.max_images is None else min(asked, config.max_images * sizes.test_splits)
    answers = asked * (1 + len(config.noise) + len(config.corruptions))
    each = search_cost(parse_search(config.search), count_regions(parse_partition(config.partition)))
    return Work(forwards=float(answers + searched * (1 + WRONG_FRAC) * each))


def method_work(config: MethodConfig, steps: int, batch_size: int, epochs: int = 1) -> Work:
    """What a method asks of the model over a training run.

    Example:
        >>> method_work(MethodConfig(name="rrr"), steps=10, batch_size=4)
        Work(forwards=40.0, backwards=120.0)
        >>> method_work(MethodConfig(name="paper", interval=5, max_images=1), steps=10, batch_size=4).forwards / 2
        930.0
    """
    method: Any = build_method(config, Normalization(), seed=0)
    if method is None:
        return Work()
    options = method_options(config.name)
    if isinstance(method, Recomposition):  # changes what the task's own forward sees; before that, each image once
        return Work(forwards=float(steps * batch_size) / epochs)
    acting = steps // method.interval
    if isinstance(method, Augmentation):
        return Work(forwards=1.0, backwards=1.0) * float(acting * batch_size)
    if "confidence_above" not in options:  # a map penalty: a forward, its gradient, and the gradient of that
        return Work(forwards=1.0, backwards=3.0) * float(acting * batch_size)
    eligible = batch_size * GATE_FRAC
    images = float(acting * (eligible if method.max_images is None else min(method.max_images, eligible)))
    if "search" not in options:  # a pair of images each
        return Work(forwards=2.0, backwards=2.0) * images
    regions = count_regions(method.partition)
    depth = min(method.max_regions, regions)
    each = search_cost(method.search, regions, depth) + 2 * depth
    return Work(forwards=float(each), backwards=float(2 * depth)) * images


def count_regions(partition: Partition) -> int:
    """How many regions a partition gives, as asked for.

    Example:
        >>> count_regions(parse_partition("grid:4x4")), count_regions(parse_partition("slico:50"))
        (16, 50)
    """
    return (
        partition.rows * partition.columns
        if isinstance(partition, Grid)
        else int(getattr(partition, "num_regions", 50))
    )


def sizes_of(trial: Trial) -> Sizes:
    """Sizes of a trial's data: counted where the data are at hand, else as published.

    Raises:
        ValueError: If the data are neither at hand nor known.
    """
    spec, config = trial.train.data, trial.train
    name, _, path = spec.partition(":")
    known = KNOWN_SIZES.get(name)
    if known is None or (Path(path).is_dir() and path):
        if known is None and spec not in BUILT_IN and name != "cutouts" and not Path(path or spec).exists():
            raise ValueError(
                f"sizes_of: {spec!r} is not at hand, and its size is not known; known are {', '.join(KNOWN_SIZES)}."
            )
        dataset = training_data(config)
        count = {split: len(dataset.split(split)) for split in dataset.splits}
        wanted = trial.audit.splits if trial.audit.splits != ("validation",) else ()
        tests = wanted or [split for split in count if split not in ("train", "validation")]
        return Sizes(
            train=count["train"],
            validation=count["validation"],
            test=sum(count.get(split, 0) for split in tests),
            test_splits=max(1, len(tests)),
        )
    limit = config.images_per_split or max(known.train, known.test)
    train, test = min(known.train, limit), min(known.test, limit)
    held_out = round(train * config.holdout_frac)
    return Sizes(train=train - held_out, validation=held_out, test=test)


def forwards_per_second(model: str, tflops: float) -> float:
    """How many images a second go forward through a model.

    Args:
        model: Its spec.
        tflops: What the device sustains, in units of 1e12 operations a second.

    Raises:
        ValueError: If nothing is known of the model.

    Example:
        >>> round(forwards_per_second("google/vit-base-patch16-224", tflops=35.2))
        1000
    """
    for name, gflops in GFLOPS_PER_FORWARD.items():
        if name in model.lower():
            return min(FORWARDS_PER_SECOND_AT_MOST, tflops * 1e3 / gflops)
    raise ValueError(
        f"forwards_per_second: the operations of {model!r} are not known; measure how many images a second go forward "
        "through it and pass --forwards-per-second."
    )


@dataclass(frozen=True, kw_only=True)
class PlanLine:
    """What the trials of one row cost, all seeds."""

    data: str
    model: str
    label: str
    trials: int
    finished: int
    train_hours: float
    audit_hours: float

    @property
    def hours(self) -> float:
        """All together."""
        return self.train_hours + self.audit_hours


def plan_lines(
    groups: Sequence[tuple[str, Sequence[Trial]]], root: Path, speed: Callable[[str], float]
) -> list[PlanLine]:
    """Cost of groups of trials. A trial that several groups need is paid for by the first; so is a shared training.

    Args:
        groups: Labels and trials.
        root: Where finished trials are.
        speed: Forwards a second of a model.
    """
    sizes: dict[tuple[object, ...], Sizes] = {}
    paid: set[Trial] = set()
    trained: set[TrainConfig] = set()
    lines = []
    for label, trials in groups:
        new = [trial for trial in dict.fromkeys(trials) if trial not in paid]
        paid.update(new)
        if not new:
            continue
        first = new[0]
        key = (first.train.data, first.train.images_per_split, first.train.holdout_frac, first.audit.splits)
        if key not in sizes:
            sizes[key] = sizes_of(first)
        left = [trial for trial in new if not trial.is_finished(root)]
        # Trials that differ only in the audit share the training.
        untrained = [trial for trial in left if trial.train not in trained and not trial.is_trained(root)]
        trained.update(trial.train for trial in left)
        seconds = 1 / speed(first.train.model)
        lines.append(
            PlanLine(
                data=first.train.data,
                model=first.train.model,
                label=label,
                trials=len(new),
                finished=len(new) - len(left),
                train_hours=sum(train_work(trial, sizes[key]).units for trial in untrained) * seconds / 3600,
                audit_hours=sum(audit_work(trial, sizes[key]).units for trial in left) * seconds / 3600,
            )
        )
    return lines


def assumptions(tflops: float, dollars_per_hour: float, measured: float | None) -> list[str]:
    """What the plan takes for granted."""
    speed = (
        f"{measured:g} forwards a second, as given"
        if measured is not None
        else f"{tflops:g} TFLOP/s sustained (an H100 without mixed precision: 67 at its peak), at most "
        f"{FORWARDS_PER_SECOND_AT_MOST:.0f} forwards a second; operations per forward from the models' papers"
    )
    return [
        f"speed: {speed}",
        f"price: ${dollars_per_hour:g} an hour",
        f"a backward costs {BACKWARD} forwards; nothing else costs time: reading images, cutting them, saving",
        f"alignment: {GATE_FRAC:.0%} of a batch are confidently right and have a prior; no search stops early, "
        "no bound spares a forward, every region is off-prior: an upper bound",
        "RRR, XIL, MEGL: one forward and three backwards for every image of a step they act on",
        f"audit: every region of a searched image is ordered, and for a second class where the model is wrong "
        f"({WRONG_FRAC:.0%}); --max-images searches fewer images",
    ]
