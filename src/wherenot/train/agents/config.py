"""What `wherenot train` is told of an agent: dataclasses whose field comments are the help text, read from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict

from wherenot.gui.clicks import Tokens
from wherenot.gui.violation import Test
from wherenot.masking import FillName
from wherenot.train.config import TrainConfig, checked, config_from, read_yaml

Scope = Literal["language", "vision", "projector", "all", "full"]
Precision = Literal["fp32", "bf16", "fp16"]
AgentMethodName = Literal["sft", "paper", "necessity", "paste", "rearrange", "random_regions", "swap", "grpo"]


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Which weights train."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=False)

    scope: Scope = "language"
    """Linear layers that get an adapter: those of the language model, of the vision tower, of the projector between
    them, or all; never the output layer. full trains every weight, without adapters."""
    rank: int = 16
    """Rank of the adapters."""
    alpha: float = 32.0
    """Their strength; they are scaled by alpha / rank."""
    dropout: float = 0.0
    """Dropout in front of them."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"rank must be >= 1, alpha > 0 and dropout in [0, 1), got {self}")


@dataclass(frozen=True, kw_only=True)
class AgentMethodConfig:
    """What is added to the task loss. An option left out keeps the method's own default."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=False)

    name: AgentMethodName = "rearrange"
    """sft adds nothing. paper: search the evidence, penalise what is off the target. necessity: the answer must not
    survive without its target; paste: nor with something else in its place. rearrange: all elements of a screen change
    places, so that places say nothing. Controls: random_regions penalises without a search; swap lets the target and
    one other element change places. grpo learns from rewards for right clicks instead of right answers; a batch then
    holds answers, several to each task."""
    weight: float | None = None
    """Weight of its loss (lambda)."""
    interval: int | None = None
    """Act every so many optimizer steps."""
    tokens: Tokens | None = None
    """Tokens of the answer that count: location: those that fall when the target is hidden; sensitive: when all is;
    all."""
    right_above: float | None = None
    """Only tasks whose counted tokens have more than this probability on average."""
    max_tasks: int | None = None
    """Look at so many tasks of a step at most, drawn by chance; a search over all of a large batch takes long."""
    form: Literal["utility", "insertion", "deviation_redundancy", "constant", "probability", "log"] | None = None
    """paper: utility, insertion, deviation_redundancy, constant. necessity and paste: probability, log."""
    max_regions: int | None = None
    """paper: regions that are searched (k)."""
    test: Test | None = None
    """When a region is off: overlap (by tau), strict (no part of the target) or coverage."""
    tau: float | None = None
    """A region is off below this overlap."""
    search: str | None = None
    """paper: how evidence is searched; exact, fast, ... (docs/search.md)."""
    partition: str | None = None
    """How screenshots are cut: elements, slico:50, grid:8x4; left out, elements of the interface where the data tell
    them, and slico:50 elsewhere."""
    fill: FillName | None = None
    """What hidden pixels show: black, mean or blur."""
    share: float | None = None
    """rearrange: share of the screens of a batch that are changed; swap: of the tasks."""
    evidence: Literal["reliance", "pointing"] | None = None
    """grpo: what the evidence of right answers is rewarded for: reliance (how far the answer's probability falls when
    the target is hidden) or pointing (whether the strongest region is on it); left out, only right clicks count."""
    generations: int | None = None
    """grpo: answers to each task."""
    temperature: float | None = None
    """grpo: of the answers that are drawn."""
    kl: float | None = None
    """grpo: weight of staying close to the model that training began with; left out, 0."""


@dataclass(frozen=True, kw_only=True)
class AgentOptimizationConfig:
    """How the weights are trained."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=False)

    steps: int = 300
    """Optimizer steps."""
    batch_size: int = 1
    """Tasks that a device takes at once."""
    accumulation: int = 8
    """Batches per optimizer step."""
    tasks_per_screen: int = 1
    """Tasks of one screenshot that follow each other; those in one batch share the reading of it, which is faster."""
    learning_rate: float = 1e-4
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.0
    """Weight decay of AdamW."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup_frac: float = 0.03
    """Share of the steps over which the learning rate rises."""
    precision: Precision = "fp32"
    """Of the forwards, and of weights that do not train; those that do stay in fp32. fp16 needs a GPU."""
    gradient_checkpointing: bool = False
    """Compute activations twice to keep fewer of them."""
    save_every: int = 100
    """Steps between checkpoints, from which an interrupted run goes on."""
    workers: int = 0
    """Processes that read screenshots."""

    def __post_init__(self) -> None:
        """Check ranges."""
        lowest = {"steps": 1, "batch_size": 1, "accumulation": 1, "tasks_per_screen": 1, "save_every": 1, "workers": 0}
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be >= {low}, got {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be > 0, got {self.learning_rate}")


@dataclass(frozen=True, kw_only=True)
class AgentTrainConfig:
    """One training run of an agent."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=False)

    task: Literal["agent"] = "agent"
    """What tells such a configuration from that of a classifier."""
    data: str = ""
    """Tasks on screenshots: gui:PATH, agentcpm:PATH, android-steps:PATH, screenspot:PATH (docs/data.md)."""
    feedback: str | None = None
    """Marks made in a report (feedback.jsonl): where evidence must not lie, and where it may, beside the target; for
    paper, necessity, paste, random_regions and grpo with evidence."""
    model: str = ""
    """A vision-language model, by transformers id or path (docs/answers.md)."""
    name: str | None = None
    """What tables and reports call this run; left out, the method's name."""
    seed: int = 0
    """Of the adapters, the order of tasks and whatever a method draws."""
    tasks_per_split: int | None = None
    """At most so many tasks of each split, drawn by the seed; left out, all."""
    holdout_frac: float = 0.1
    """Share of the training split held out for validation if the data has no validation split."""
    max_side: int = 1120
    """Larger screenshots are shrunk until their longer side has so many pixels; the processor has its own limits."""
    thought: bool = True
    """Whether the agent learns to write what it thinks before it acts, where the data have that."""
    max_tokens: int = 128
    """Longest answer that is generated in validation."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Which weights train."""
    method: AgentMethodConfig = field(default_factory=AgentMethodConfig)
    """What is added to the task loss."""
    optimization: AgentOptimizationConfig = field(default_factory=AgentOptimizationConfig)
    """How the weights are trained."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.max_side < 1 or self.max_tokens < 1:
            raise ValueError(f"max_side and max_tokens must be >= 1, got {self.max_side} and {self.max_tokens}")

    @property
    def title(self) -> str:
        """The run's name."""
        return self.name or self.method.name


def read_any_config(path: Path, recipes: Mapping[str, TrainConfig]) -> TrainConfig | AgentTrainConfig:
    """Read a YAML file: the configuration of an agent if it says ``task: agent``, or else of a classifier.

    Raises:
        ValueError: As `train.config.read_config`.
    """
    content = read_yaml(path, recipes)
    if isinstance(content, Mapping) and content.get("task") == "agent":
        return parse_agent_config(content, source=str(path))
    return config_from(content, path, recipes)


def parse_agent_config(content: Any, *, source: str = "the configuration") -> AgentTrainConfig:
    """Check a nested dictionary against `AgentTrainConfig`.

    Raises:
        ValueError: Naming every unknown key and every wrong value.

    Example:
        >>> parse_agent_config({"task": "agent", "method": {"name": "necessity", "interval": 2}}).method.interval
        2
    """
    return checked(AgentTrainConfig, content, source)
