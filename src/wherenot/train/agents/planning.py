"""What a training run of an agent would take: memory, hours and money, before any weight is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import mean, median
from typing import Any

from wherenot.data import Dataset, GuiSample
from wherenot.models.hollow import Hollow, hollow_vlm
from wherenot.models.vlm import VisionLanguageModel
from wherenot.train.agents.arguments import weight_type
from wherenot.train.agents.collating import AgentCollator, Task
from wherenot.train.agents.config import AgentTrainConfig
from wherenot.train.agents.lora import Part, attach, count_weights, summary
from wherenot.train.agents.recipe import agent_method_options, build_agent_method, click_preparer
from wherenot.train.agents.records import agent_data
from wherenot.train.agents.rehearsing import Rehearsed, prepare, recompute, rehearse, rehearse_look
from wherenot.train.agents.sharing import ScreenSampler
from wherenot.train.agents.work import AgentWork, copies, training_work

TRIED = 16
"""Tasks that are looked at, the first that a run would train on; more if a batch holds more."""
CARDS = (24, 40, 80)
"""GB of the GPUs that a run is compared with."""
USABLE_FRAC = 0.9
"""Of a GPU's memory; the rest is left to CUDA and to what its allocator wastes."""
SECONDS_PER_TOKEN = 0.03
"""Of a generated token, for however many answers at once: transformers starts one small kernel after the other."""
_FULL = 4  # bytes of a number in full precision
_ADAM = 2  # numbers that AdamW keeps of each weight


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Of the tasks looked at.

    Attributes:
        tasks: How many.
        median: Tokens of a task: prompt, screenshot and answer.
        largest: The same of the longest.
        image: Median of those of the screenshot.
        answer: Median of those of the right answer.
        regions: Mean number of regions of a screenshot; 0 where the method needs none.
        targeted: Share that has a target.
    """

    tasks: int
    median: float | int
    largest: int
    image: float | int
    answer: float | int
    regions: float | int
    targeted: float | int


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes.

    Attributes:
        frozen: Weights that do not train.
        trained: Those that do.
        gradients: Of these.
        optimizer: What AdamW keeps of them.
        task: Of the longest batch beyond these, at the peak.
        penalty: What the method adds to that, at a step on which it acts.
    """

    frozen: int
    trained: int
    gradients: int
    optimizer: int
    task: int
    penalty: int

    @property
    def lasting(self) -> int:
        """What does not depend on the batch."""
        return self.frozen + self.trained + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """All of it."""
        return self.lasting + self.task + self.penalty

    def batch_size(self, card: float | int, batch_size: int) -> int:
        """The largest batch that fits a GPU of so many GB, if memory grows with the batch; 0 if none does.

        Args:
            card: GB of 1e9 bytes.
            batch_size: That this is the memory of.

        Example:
            >>> memory = Memory(frozen=10**10, trained=0, gradients=0, optimizer=0, task=4 * 10**9, penalty=0)
            >>> memory.batch_size(24, 2), memory.batch_size(11, 2)
            (5, 0)
        """
        left = USABLE_FRAC * card * 1e9 - self.lasting
        return max(0, int(left * batch_size // (self.task + self.penalty)))


@dataclass(frozen=True, kw_only=True)
class AgentPlan:
    """What a run would take.

    Attributes:
        config: The run.
        weights: Of each part of the model.
        trainable: Weights that train.
        adapted: Layers with an adapter, in words; empty if every weight trains.
        tokens: Of the tasks.
        memory: Without and with gradient checkpointing.
        work: Of training.
        validated: Tasks of the validation split.
        task_flops: Operations of a task's forward and backward.
        penalty_flops: Of a masked screenshot's that is penalised.
        look_flops: Operations of a look at a screenshot.
    """

    config: AgentTrainConfig
    weights: dict[Part, int]
    trainable: int
    adapted: str
    tokens: Tokens
    memory: dict[bool, Memory]
    work: AgentWork
    validated: int
    task_flops: float | int
    penalty_flops: float | int
    look_flops: float | int

    @property
    def training_flops(self) -> float:
        """Operations of training; answers are read once before they go on."""
        work, looked = self.work, self.work.looked + self.work.answered
        return work.trained * self.task_flops + work.penalised * self.penalty_flops + looked * self.look_flops

    def hours(self, tflops: float | int) -> tuple[float, float]:
        """Hours of training and of validation.

        Args:
            tflops: What the device sustains, in units of 1e12 operations a second.
        """
        speed = tflops * 1e12
        steps = self.config.optimization.steps if self.work.answered else 0
        training = self.training_flops / speed + steps * self.tokens.answer * SECONDS_PER_TOKEN
        validation = self.validated * (self.look_flops / speed + self.tokens.answer * SECONDS_PER_TOKEN)
        return training / 3600, validation / 3600


def plan_agent(config: AgentTrainConfig, *, dataset: Dataset | None = None) -> AgentPlan:
    """Rehearse a step of a training run without weights, and say what the run would take.

    Nothing is trained and no weight is read: of the model its configuration and processor, of the data the first
    tasks that the run would train on (`TRIED`). A batch goes forward and backward through the model's own code on
    tensors without numbers (`models.hollow`), with the adapters, the shared reading of screenshots, mixed precision and
    gradient checkpointing that the run has.

    Args:
        config: The run.
        dataset: The data, if already read; None reads ``config.data``.

    Raises:
        ValueError: For data, options or a model that cannot be used.
    """
    if not config.model:
        raise ValueError("train: no model; name one with model: in the file, or --set.model.")
    dataset = agent_data(config, dataset)
    samples = {split: [each for each in dataset.split(split).samples if isinstance(each, GuiSample)]
               for split in ("train", "validation")}  # fmt: skip
    method = build_agent_method(config.method, config.seed, samples["train"])
    vlm = hollow_vlm(config.model, weight_type(config))
    weights = count_weights(vlm.model)
    vlm, layers = attach(vlm, config.lora)
    plan, hollow = config.optimization, Hollow()
    with hollow:
        hollow.take(vlm.wrapped)
        prepare(vlm)
        batches = _batches(config, vlm, samples["train"])
        tokens = _tokens(config, vlm, [task for batch in batches for task in batch])
        masked = copies(method, tokens.regions) if method is not None and method.weight else 0
        longest = max(batches, key=lambda batch: sum(map(_length, batch)))
        rehearsed: dict[bool, tuple[Rehearsed, Rehearsed]] = {}
        for recomputes in (False, True):
            if recomputes:
                recompute(vlm)
            rehearsed[recomputes] = _rehearse(config, vlm, hollow, longest, masked, recomputes=recomputes)
        look = rehearse_look(hollow, vlm, longest[0], precision=plan.precision)
    task, both = rehearsed[plan.gradient_checkpointing]
    # Operations grow a little faster than tokens; batches are of about the same length.
    usual = mean(sum(map(_length, batch)) for batch in batches) / sum(map(_length, longest)) / len(longest)
    return AgentPlan(
        config=config,
        weights=weights,
        trainable=sum(weight.numel() for weight in vlm.wrapped.parameters() if weight.requires_grad),
        adapted=summary(layers),
        tokens=tokens,
        memory={recomputes: _memory(vlm, *found) for recomputes, found in rehearsed.items()},
        work=training_work(config, regions=tokens.regions, targeted=tokens.targeted),
        validated=len(samples["validation"]),
        task_flops=usual * task.flops,
        penalty_flops=usual * (both.flops - task.flops) / max(1, masked),
        look_flops=usual * len(longest) * look * _length(longest[0]) / max(map(_length, longest)),
    )


def _batches(config: AgentTrainConfig, vlm: VisionLanguageModel, samples: Sequence[GuiSample]) -> list[list[Task]]:
    """The first batches of the run; the last may be cut short, and is left out then."""
    plan = config.optimization
    collator = AgentCollator(vlm, samples, config.max_side)
    size = min(plan.batch_size, len(samples))
    order = ScreenSampler(samples, together=plan.tasks_per_screen, seed=config.seed)
    rows = list(islice(order, max(TRIED, size)))
    tasks = [collator.task(samples[row]) for row in rows]
    return [tasks[start : start + size] for start in range(0, len(tasks) - size + 1, size)]


def _tokens(config: AgentTrainConfig, vlm: VisionLanguageModel, tasks: Sequence[Task]) -> Tokens:
    lengths = [_length(task) for task in tasks]
    image = [int((task.asked.encoding.inputs["input_ids"] == vlm.image_token).sum()) for task in tasks]
    priors = [task.sample.read_prior() for task in tasks]
    regions: list[int] = []
    if "partition" in agent_method_options(config.method.name):
        prepared = click_preparer(config.method, vlm)
        regions = [int(click.labels.max()) + 1 for task in tasks if (click := prepared(task)) is not None]
    return Tokens(
        tasks=len(tasks),
        median=median(lengths),
        largest=max(lengths),
        image=median(image),
        answer=median(len(task.asked.answer) for task in tasks),
        regions=mean(regions) if regions else 0.0,
        targeted=mean(float(prior is not None) for prior in priors),
    )


def _length(task: Task) -> int:
    return task.asked.encoding.num_tokens + len(task.asked.answer)


def _rehearse(
    config: AgentTrainConfig, vlm: VisionLanguageModel, hollow: Hollow, tasks: Sequence[Task], masked: int,
    *, recomputes: bool,
) -> tuple[Rehearsed, Rehearsed]:  # fmt: skip
    """A batch alone, and with what a method penalises."""
    plan = config.optimization
    collator = AgentCollator(vlm, [], share=vlm.family.looks_back and not recomputes and config.method.name != "grpo")
    batch: dict[str, Any] = collator.batch(tasks)
    alone = rehearse(hollow, vlm, batch, precision=plan.precision)
    return alone, rehearse(hollow, vlm, batch, copies=masked, precision=plan.precision) if masked else alone


def _memory(vlm: VisionLanguageModel, alone: Rehearsed, both: Rehearsed) -> Memory:
    values = [*vlm.wrapped.parameters(), *vlm.wrapped.buffers()]
    trained = sum(value.numel() for value in values if value.requires_grad)
    return Memory(
        frozen=sum(value.nbytes for value in values if not value.requires_grad),
        trained=sum(value.nbytes for value in values if value.requires_grad),
        gradients=_FULL * trained,
        optimizer=_FULL * _ADAM * trained,
        task=alone.peak,
        penalty=both.peak - alone.peak,
    )
