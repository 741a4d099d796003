"""How well an agent clicks on the tasks that were held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from wherenot.data import GuiSample
from wherenot.gui.codecs import CODECS
from wherenot.gui.coordinates import CONVENTIONS
from wherenot.gui.judging import judge
from wherenot.metrics import click_rates
from wherenot.models.vlm import VisionLanguageModel
from wherenot.train.agents.records import shrunk


def validated(
    vlm: VisionLanguageModel,
    samples: Sequence[GuiSample],
    *,
    max_side: int,
    max_tokens: int,
    on_task: Callable[[], None] | None = None,
) -> list[dict[str, Any]]:
    """Let an agent answer tasks greedily, and judge the answers.

    Args:
        vlm: The agent; it speaks AgentCPM-GUI's format in thousandths of the screen, as the data do.
        samples: The tasks.
        max_side: Longest side of the screenshots that it sees, in pixels; distances are those of the whole ones.
        max_tokens: Longest answer.
        on_task: Called after each.

    Returns:
        A record per task.
    """
    codec, scale = CODECS["agentcpm"], CONVENTIONS["0-1000"].scale()
    records = []
    for sample in samples:
        whole = sample.read_image()
        encoding = vlm.encode(shrunk(sample, max_side)[1], sample.prompt, sample.system)
        said = vlm.text(vlm.generate(encoding, max_tokens=max_tokens)).strip()
        judged = judge(sample, said, (whole.height, whole.width), codec=codec, scale=scale)
        action = judged.reply.action
        records.append(
            {
                "id": sample.id,
                "said": said,
                "correct": judged.correct,
                "malformed": judged.reply.malformed,
                "faults": list(judged.reply.faults),
                "clicked": action.point if action is not None and action.kind == "click" else None,
                "box": sample.box,
                "size": (whole.height, whole.width),
            }
        )
        if on_task is not None:
            on_task()
    return records


def click_summary(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The records in numbers: share of correct answers, malformed ones, and clicks where the target is a box.

    Args:
        records: Of `validated`.

    Example:
        >>> record = {"correct": True, "malformed": False, "clicked": (0.5, 0.5), "box": (0, 0, 9, 9), "size": (9, 9)}
        >>> click_summary([record])["clicks"]["success"]
        1.0
    """
    boxed = [record for record in records if record["box"] is not None]
    nowhere = (float("nan"), float("nan"))
    clicks = click_rates(
        torch.tensor([record["clicked"] or nowhere for record in boxed], dtype=torch.float64).reshape(-1, 2),
        torch.tensor([record["box"] for record in boxed], dtype=torch.float64).reshape(-1, 4),
        torch.tensor([record["size"] for record in boxed], dtype=torch.float64).reshape(-1, 2),
    )
    told = {name: None if value != value else value for name, value in asdict(clicks).items()}
    return {
        "n": len(records),
        "correct": sum(bool(record["correct"]) for record in records) / len(records) if records else None,
        "malformed": sum(record["malformed"] for record in records),
        "clicks": told,
    }
