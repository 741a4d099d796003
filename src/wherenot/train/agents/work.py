"""What a run asks of an agent, counted from its configuration: screenshots that go through it."""

from __future__ import annotations

from dataclasses import dataclass

from wherenot.gui.controls import RandomRegions
from wherenot.gui.penalties import AgentMethod, EvidencePenalty, Necessity, Penalty
from wherenot.gui.rewards import EvidenceReward
from wherenot.search import Search, search_cost
from wherenot.train.agents.config import AgentMethodConfig, AgentTrainConfig
from wherenot.train.agents.recipe import build_agent_method
from wherenot.train.agents.rewarding import GENERATIONS


@dataclass(frozen=True, kw_only=True)
class AgentWork:
    """Screenshots, each with its prompt and answer.

    Attributes:
        trained: For the task's loss, forward and backward.
        looked: Whole or masked, forward alone.
        penalised: Masked, forward and backward.
        answered: Answers that are generated.
    """

    trained: float | int = 0.0
    looked: float | int = 0.0
    penalised: float | int = 0.0
    answered: float | int = 0.0

    def __add__(self, other: AgentWork) -> AgentWork:
        return AgentWork(
            trained=self.trained + other.trained,
            looked=self.looked + other.looked,
            penalised=self.penalised + other.penalised,
            answered=self.answered + other.answered,
        )

    def __mul__(self, times: float | int) -> AgentWork:
        return AgentWork(
            trained=self.trained * times,
            looked=self.looked * times,
            penalised=self.penalised * times,
            answered=self.answered * times,
        )


def training_work(config: AgentTrainConfig, *, regions: float | int = 1.0, targeted: float | int = 1.0) -> AgentWork:
    """What training asks of the model if all that a method could act on is right, and off; validation is left out.

    A screenshot that tasks share is counted for each.

    Args:
        config: The run.
        regions: Of a screenshot, for methods that search; rounded up.
        targeted: Share of the tasks that have a target.

    Example:
        >>> from wherenot.train.agents.config import AgentOptimizationConfig
        >>> plan = AgentOptimizationConfig(steps=10, batch_size=2, accumulation=4)
        >>> training_work(AgentTrainConfig(method=AgentMethodConfig(name="necessity"), optimization=plan))
        AgentWork(trained=80.0, looked=32.0, penalised=16.0, answered=0.0)
    """
    plan = config.optimization
    tasks = float(plan.batch_size * plan.accumulation)
    step = AgentWork(trained=tasks)
    if config.method.name == "grpo":
        return (step + _rewarded(config.method, tasks, targeted, regions)) * plan.steps
    method = build_agent_method(config.method, config.seed)
    if method is None or not method.weight:
        return step * plan.steps
    acted = AgentWork(looked=looks(method, regions), penalised=float(copies(method, regions)))
    most = tasks * targeted if method.max_tasks is None else min(tasks * targeted, method.max_tasks)
    return step * plan.steps + acted * (most * (plan.steps // method.interval))


def looks(method: AgentMethod, regions: float | int) -> float:
    """Screenshots that a method looks at without gradients, for a task with a target."""
    if not isinstance(method, Penalty):
        return 0.0
    searched = _searched(method.search, regions, method.max_regions) if isinstance(method, EvidencePenalty) else 0
    return float(_read(method.tokens) + searched)


def copies(method: AgentMethod, regions: float | int) -> int:
    """Masked screenshots that a method looks at with gradients, for a task that is off."""
    if isinstance(method, EvidencePenalty):
        most = 2 * min(method.max_regions, _whole(regions))
        return {"utility": 2, "insertion": 1, "deviation_redundancy": most, "constant": 0}[method.form]
    return 1 if isinstance(method, Necessity) else 2 if isinstance(method, RandomRegions) else 0


def _rewarded(
    config: AgentMethodConfig, answers: float | int, targeted: float | int, regions: float | int
) -> AgentWork:
    """Answers are read by the model while it writes them; then it is asked about them."""
    asked = 0
    if config.evidence is not None:
        reward = EvidenceReward(form=config.evidence, tokens=config.tokens or "location")
        searched = _searched(reward.search, regions, 1) if config.evidence == "pointing" else 2
        asked = _read(reward.tokens) + searched
    return AgentWork(looked=answers * (targeted * asked + bool(config.kl)), answered=answers)


def tasks_per_step(config: AgentTrainConfig) -> float:
    """Different tasks of an optimizer step; with ``grpo`` each has several answers."""
    plan = config.optimization
    each = (config.method.generations or GENERATIONS) if config.method.name == "grpo" else 1
    return plan.batch_size * plan.accumulation / each


def _read(tokens: str) -> int:
    """The whole screenshot, and the one that tells which tokens count."""
    return 1 if tokens == "all" else 2


def _searched(search: Search, regions: float | int, depth: int) -> int:
    return search_cost(search, _whole(regions), depth)


def _whole(regions: float | int) -> int:
    return -int(-regions // 1)
