"""What trials found, read from their folders."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherenot.experiments.studies import Row
from wherenot.experiments.trials import AgentTrial, AnyTrial
from wherenot.run import RunFolder


@dataclass(frozen=True, kw_only=True)
class Result:
    """One finished trial.

    Attributes:
        trial: Which.
        metrics: Rows of the audit's ``metrics.json`` by split and metric.
        validation: Validation accuracy after the last epoch; of an agent, share of right answers after training.
        seconds: Of training; nan if it was interrupted and went on, since only the last part was timed.
        forwards: Masked or repeated images that the method showed the model in training, on top of the task's own; nan
            for an agent's, which are not counted.
        priors_used: Images whose prior the method looked at, counted each time.
        images_trained: Images of the task's own forwards in training.
    """

    trial: AnyTrial
    metrics: dict[tuple[str, str], dict[str, Any]] = field(repr=False)
    validation: float
    seconds: float
    forwards: float
    priors_used: int
    images_trained: int

    def value(self, split: str, metric: str) -> float:
        """A metric's value; nan where there is none."""
        value = self.metrics.get((split, metric), {}).get("value")
        return math.nan if value is None else float(value)


def read_result(trial: AnyTrial, root: Path) -> Result | None:
    """What a trial found; None if it is not finished.

    Example:
        >>> from wherenot.audit import AuditConfig
        >>> from wherenot.experiments.trials import Trial
        >>> from wherenot.train.config import TrainConfig
        >>> read_result(Trial(train=TrainConfig(), audit=AuditConfig()), Path("nowhere")) is None
        True
    """
    if not trial.is_finished(root):
        return None
    trained = trial.train_folder(root)
    run = json.loads((trained / "run.json").read_text())
    rows = json.loads((trial.audit_folder(root) / "metrics.json").read_text())["rows"]
    forwards, priors_used = method_cost(trained)
    validation, plan = json.loads((trained / "metrics.json").read_text())["validation"], trial.train.optimization
    of_agent = isinstance(trial, AgentTrial)
    right = validation["correct"] if of_agent else validation["last"]["accuracy"]
    return Result(
        trial=trial,
        metrics={(row["split"], row["metric"]): row for row in rows},
        validation=math.nan if right is None else float(right),
        seconds=math.nan if run.get("resumed") else float(run["seconds"]),
        forwards=math.nan if of_agent and trial.train.method.name != "sft" else float(forwards),
        priors_used=priors_used,
        images_trained=int(run["steps"]) * plan.batch_size * getattr(plan, "accumulation", 1),
    )


def method_cost(trained: Path) -> tuple[int, int]:
    """Forwards that the method of a training run made, and how many priors it looked at.

    A method that logs the images it acted on and no forwards (RRR, XIL, MEGL) makes one per image. Of a step that was
    taken again after an interruption the last account counts.

    Args:
        trained: The training's run folder.

    Returns:
        Forwards and priors; 0 and 0 for plain fine-tuning.
    """
    steps: dict[int, tuple[float, float]] = {}
    for line in RunFolder(trained).records("steps.jsonl"):
        images = [value for key, value in line.items() if key == "aligned" or key.endswith("_images")]
        if images:
            steps[line["step"]] = (line.get("forwards", images[0]), images[0])
    return round(sum(forwards for forwards, _ in steps.values())), round(sum(used for _, used in steps.values()))


def read_results(rows: Sequence[Row], root: Path) -> dict[AnyTrial, Result]:
    """The finished trials of a study."""
    found = {trial: read_result(trial, root) for row in rows for trial in row.trials}
    return {trial: result for trial, result in found.items() if result is not None}


def audited_splits(rows: Sequence[Row], results: dict[AnyTrial, Result]) -> list[str]:
    """Splits that any of these rows' audits looked at, in their order."""
    splits = (split for row in rows for trial in row.trials if trial in results for split, _ in results[trial].metrics)
    return list(dict.fromkeys(splits))
