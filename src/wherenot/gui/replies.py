"""What a model's output was read as, and how it was malformed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from wherenot.gui.actions import Action

TolerableFault = Literal[
    "fenced", "extra_text", "no_marker", "float_coordinates", "unescaped_quote", "unknown_key", "unused_key"
]
FatalFault = Literal[
    "empty", "no_action", "bad_syntax", "several_actions", "repeated_key", "unknown_action", "missing_key", "no_point",
    "bad_point", "out_of_range", "bad_value",
]  # fmt: skip
Fault = TolerableFault | FatalFault

FAULTS: dict[Fault, str] = {
    "fenced": "in a code fence",
    "extra_text": "text beside the action, where the format has none",
    "no_marker": "what the format puts around an action (<tool_call>, Action:) is missing or not closed",
    "float_coordinates": "a fraction where the format has whole numbers; taken as it is",
    "unescaped_quote": "a quotation mark inside a quoted text is not escaped",
    "unknown_key": "a key that the format does not know; ignored",
    "unused_key": "a key of the format that the action has no use for, as POINT beside STATUS finish; ignored",
    "empty": "nothing but blanks",
    "no_action": "nothing that looks like an action",
    "bad_syntax": "an action that cannot be parsed: cut off, not JSON, NaN, nested too deeply",
    "several_actions": "more than one action",
    "repeated_key": "a key given twice",
    "unknown_action": "an action that Action has no kind for, or that the format does not know",
    "missing_key": "a key that the action needs is missing",
    "no_point": "the place is missing",
    "bad_point": "the place is not two numbers",
    "out_of_range": "the place lies outside the screen",
    "bad_value": "a value of the wrong type, or not one of those allowed",
}
TOLERABLE: tuple[TolerableFault, ...] = get_args(TolerableFault)
FATAL: tuple[FatalFault, ...] = get_args(FatalFault)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a model's output was read as.

    Deviations that leave no doubt of what is meant are tolerated and named; the others leave no action. A reply without
    an action is malformed, and a failure in every metric.

    Attributes:
        action: What the model does; None if that cannot be said.
        thought: What it wrote as its reasoning; None if there is none, or the output could not be taken apart.
        faults: How the output differs from its format, each once, in the order of `FAULTS`; empty if it does not.

    Raises:
        ValueError: If `faults` are not in that order or not known, or do not agree with `action`: there is one exactly
            if no fault is fatal.

    Example:
        >>> Reply(action=None, thought=None, faults=("no_action",)).malformed
        True
    """

    action: Action | None
    thought: str | None
    faults: tuple[Fault, ...]

    def __post_init__(self) -> None:
        if list(self.faults) != [fault for fault in FAULTS if fault in self.faults]:
            raise ValueError(f"Reply: faults {self.faults}; pass names of FAULTS, each once, in their order.")
        fatal = [fault for fault in self.faults if fault in FATAL]
        if (self.action is None) != bool(fatal):
            raise ValueError(
                f"Reply: action {self.action} with fatal faults {fatal}; a reply has an action or a reason for none."
            )

    @property
    def malformed(self) -> bool:
        """Whether no action could be read."""
        return self.action is None


def clicked_points(replies: Sequence[Reply]) -> Float[Tensor, "B 2"]:
    """Where each reply clicks, as the metrics of `metrics.clicks` take it.

    Args:
        replies: One per task.

    Returns:
        x and y in [0, 1] of the screen, in float64; nan for a reply that is malformed or no click: those are failures.

    Example:
        >>> click = Reply(action=Action(kind="click", point=(0.25, 0.5)), thought=None, faults=())
        >>> clicked_points([click, Reply(action=None, thought=None, faults=("empty",))])
        tensor([[0.2500, 0.5000],
                [   nan,    nan]], dtype=torch.float64)
    """
    nowhere = (float("nan"), float("nan"))
    points = [
        reply.action.point if reply.action is not None and reply.action.kind == "click" else None for reply in replies
    ]
    return torch.tensor([nowhere if point is None else point for point in points], dtype=torch.float64).reshape(-1, 2)


def count_faults(replies: Sequence[Reply]) -> dict[Fault, int]:
    """How many replies have each fault: those that occur, in the order of `FAULTS`.

    Example:
        >>> count_faults([Reply(action=None, thought=None, faults=("empty",))] * 2)
        {'empty': 2}
    """
    counts = Counter(fault for reply in replies for fault in reply.faults)
    return {fault: counts[fault] for fault in FAULTS if counts[fault]}
