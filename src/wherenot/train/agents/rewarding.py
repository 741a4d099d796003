"""Training on top of `trl.GRPOTrainer`: agents that are rewarded for their clicks, and for looking where they click."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset as Rows
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from wherenot.data import GuiSample
from wherenot.gui.rewards import EvidenceReward, Reward, TaskReward
from wherenot.models.vlm import VisionLanguageModel
from wherenot.train.agents.arguments import shared_arguments
from wherenot.train.agents.config import AgentTrainConfig
from wherenot.train.agents.records import shrunk
from wherenot.train.checkpoints import CheckpointMixin
from wherenot.train.guards import NotFiniteMixin

GENERATIONS = 4
"""Answers to each task, unless a configuration says otherwise."""
TEMPERATURE = 1.0
"""Of the answers that are drawn."""


def prompts(samples: Sequence[GuiSample], max_side: int) -> Rows:
    """Tasks as GRPO wants them: conversation, screenshot, and the place of the task for its rewards.

    Screenshots are read when a row is.

    Args:
        samples: The tasks.
        max_side: Longest side of a screenshot in pixels.
    """

    def read(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        tasks = [shrunk(samples[row], max_side) for row in batch["row"]]
        return {
            "prompt": [_conversation(sample) for sample, _ in tasks],
            "images": [[screenshot] for _, screenshot in tasks],
            "row": batch["row"],
        }

    return Rows.from_dict({"row": list(range(len(samples)))}).with_transform(read)


def _conversation(sample: GuiSample) -> list[dict[str, str]]:
    turns = [] if sample.system is None else [{"role": "system", "content": sample.system}]
    return [*turns, {"role": "user", "content": sample.prompt}]


class Rewarding:
    """A reward as `GRPOTrainer` calls it.

    Args:
        reward: What an answer is worth.
        vlm: The model that trains.
        samples: The tasks, in the order of `prompts`.
    """

    def __init__(self, reward: Reward, vlm: VisionLanguageModel, samples: Sequence[GuiSample]) -> None:
        self._reward, self._vlm, self._samples = reward, vlm, samples
        self.__name__ = type(reward).__name__  # trl logs it by this name

    def __call__(self, completions: Sequence[Any], row: Sequence[int], **_: Any) -> list[float]:
        """Return what each completion is worth."""
        said = [completion[0]["content"] for completion in completions]
        return [self._reward(self._vlm, self._samples[which], text) for which, text in zip(row, said, strict=True)]


def reward_trainer(
    config: AgentTrainConfig, vlm: VisionLanguageModel, samples: Sequence[GuiSample], checkpoints: Path
) -> RewardTrainer:
    """A trainer that rewards right clicks, and with a weight also the evidence of right clicks.

    A batch holds answers, not tasks: each task is answered ``generations`` times, and an answer is as good as its
    reward is above the mean of its task's answers.

    Args:
        config: Its method is ``grpo``.
        vlm: The model, its adapters in place.
        samples: Tasks to train on.
        checkpoints: Where checkpoints go.

    Raises:
        ValueError: If the answers of a step cannot be dealt out to whole tasks.
    """
    plan, method = config.optimization, config.method
    generations = method.generations or GENERATIONS
    if plan.batch_size * plan.accumulation % generations:
        raise ValueError(
            f"train: grpo answers each task {generations} times; a step of {plan.batch_size} x {plan.accumulation} "
            "answers does not hold whole tasks. Change batch_size, accumulation or generations."
        )
    rewards: list[Reward] = [TaskReward()]
    weights = [1.0]
    if method.evidence is not None:
        rewards.append(EvidenceReward(form=method.evidence, tokens=method.tokens or "location"))
        weights.append(1.0 if method.weight is None else method.weight)
    arguments = GRPOConfig(
        **shared_arguments(plan, checkpoints, config.seed),
        num_generations=generations,
        max_completion_length=config.max_tokens,
        temperature=method.temperature or TEMPERATURE,
        beta=method.kl or 0.0,
        reward_weights=weights,
    )
    trainer = RewardTrainer(
        model=vlm.wrapped,  # pyright: ignore[reportArgumentType]
        reward_funcs=[Rewarding(reward, vlm, samples) for reward in rewards],  # pyright: ignore[reportArgumentType]
        args=arguments,
        train_dataset=prompts(samples, config.max_side),
        processing_class=vlm.processor,
    )
    trainer.samples = samples
    return trainer


class RewardTrainer(NotFiniteMixin, CheckpointMixin, GRPOTrainer):
    """`GRPOTrainer` whose checkpoints are whole, and which stops at losses that are no numbers.

    Attributes:
        samples: The tasks, in the order of `prompts`.
    """

    samples: Sequence[GuiSample] = ()

    def sample_ids(self, inputs: Sequence[dict[str, Any]]) -> list[str]:
        """The names of the tasks that were answered together."""
        return [self.samples[row].id for row in dict.fromkeys(item["row"] for item in inputs)]

    def _send_telemetry(self) -> None:
        """Nothing about a run leaves the machine."""
