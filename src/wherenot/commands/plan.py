"""What the training of an agent would take, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherenot.train.agents.planning import AgentPlan


def plan_markdown(plan: AgentPlan, *, tflops: float, dollars_per_hour: float) -> str:
    """A plan as Markdown: the model, its tasks, memory, what goes through it, hours, and what is assumed.

    Args:
        plan: What was rehearsed.
        tflops: What the GPU sustains, in units of 1e12 operations a second.
        dollars_per_hour: Its price.
    """
    parts = [
        "### Model and tasks", _model(plan), "### Memory (GB)", _memory(plan), "### Time", _time(plan, tflops),
        _total(plan, tflops, dollars_per_hour), "Assumed:", "\n".join(f"- {note}" for note in _assumed(plan, tflops)),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _model(plan: AgentPlan) -> str:
    tokens = plan.tokens
    parts = ", ".join(f"{part} {_count(number)}" for part, number in plan.weights.items())
    regions = f", {tokens.regions:.0f} regions" if tokens.regions else ""
    lines = [
        f"{plan.config.model}: {_count(sum(plan.weights.values()))} weights ({parts})",
        f"trains {_count(plan.trainable)} weights: {plan.adapted or 'all'}",
        f"a task has {tokens.median:.0f} tokens, the longest {tokens.largest}; the screenshot {tokens.image:.0f}, the "
        f"answer {tokens.answer:.0f}{regions} (medians of {tokens.tasks} tasks)",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _memory(plan: AgentPlan) -> str:
    from wherenot.train.agents.planning import CARDS

    size = plan.config.optimization.batch_size
    without, recomputing = plan.memory[False], plan.memory[True]
    names = {
        "weights that do not train": "frozen",
        "weights that train": "trained",
        "their gradients": "gradients",
        "AdamW": "optimizer",
        f"longest batch of {size}": "task",
        f"what {plan.config.method.name} adds": "penalty",
        "together": "total",
    }
    lines = [
        [name, *(f"{getattr(memory, field) / 1e9:.2f}" for memory in (without, recomputing))]
        for name, field in names.items()
    ]
    for card in CARDS:
        fits = [memory.batch_size(card, size) for memory in (without, recomputing)]
        lines.append([f"largest batch on {card} GB", *(str(batch) if batch else "none" for batch in fits)])
    return _table(["", "gradient_checkpointing: false", "true"], lines)


def memory_gb(plan: AgentPlan) -> dict[str, float]:
    """Memory in units of 1e9 bytes, without and with gradient checkpointing, for a whole batch."""
    return {name: plan.memory[how].total / 1e9 for name, how in (("without", False), ("checkpointing", True))}


def _time(plan: AgentPlan, tflops: float) -> str:
    work, speed = plan.work, tflops * 1e12 * 3600
    lines = [
        (f"{work.trained:.0f} tasks, forward and backward", plan.task_flops, work.trained),
        (f"{work.penalised:.0f} masked screenshots, forward and backward", plan.penalty_flops, work.penalised),
        (f"{work.looked:.0f} looks, forward alone", plan.look_flops, work.looked),
        (f"{work.answered:.0f} prompts read before they are answered", plan.look_flops, work.answered),
    ]
    return _table(
        ["", "TFLOP each", "hours"],
        [[name, f"{each / 1e12:.2f}", f"{each * times / speed:.2f}"] for name, each, times in lines if times],
    )


def _total(plan: AgentPlan, tflops: float, dollars_per_hour: float) -> str:
    training, validation = plan.hours(tflops)
    price = (training + validation) * dollars_per_hour
    return (
        f"{plan.config.optimization.steps} steps: {training:.2f} hours; validation ({plan.validated} tasks): "
        f"{validation:.2f} hours; ${price:.2f} at ${dollars_per_hour:g} an hour."
    )


def _assumed(plan: AgentPlan, tflops: float) -> list[str]:
    from wherenot.train.agents.planning import SECONDS_PER_TOKEN, USABLE_FRAC

    notes = [
        "memory and operations: of the model's own code, run on tensors without numbers; not measured on a GPU",
        f"memory: GB of 1e9 bytes; {1 - USABLE_FRAC:.0%} of a GPU is left to CUDA and its allocator; it grows with the "
        "batch; attention keeps no scores; logits of learned tokens alone, as trl has it",
        f"speed: {tflops:g} TFLOP/s sustained; reading images and saving cost nothing; "
        f"{SECONDS_PER_TOKEN:g} seconds for each generated token, answers as long as the right ones",
        "a task alone has the tokens of the batches looked at; masks of attention save nothing",
    ]
    if plan.work.looked or plan.work.penalised:
        notes.append(
            f"{plan.config.method.name}: {plan.tokens.targeted:.0%} of the tasks have a target, as of those looked at; "
            "all of them are right, all their tokens count, all evidence is off, no search stops early: an upper bound"
        )
    if plan.work.answered:
        notes.append("memory: of the step that learns; generating keeps keys and values of all answers of a step")
    return notes


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rules = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rules, *lines))


def _count(number: int) -> str:
    """A number of weights.

    Example:
        >>> _count(3_754_622_976), _count(29_933_568), _count(812)
        ('3.75 B', '29.9 M', '812')
    """
    for unit, name in ((1e9, "B"), (1e6, "M")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number}"
