"""Which method to try: a decision table, kept as data, and what an audit says about where one stands in it.

Two lines are measured on photographs made for it (one small network, ``docs/log.md``). The others are PROVISIONAL:
expectations from decoy digits and pilots on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from wherenot.report.columns import find_metric
from wherenot.report.runs import Run

Priors = Literal["exact", "rough", "wrong"]
Context = Literal["spurious", "informative"]

SOURCE = "provisional: expected from a pilot on decoy digits, not yet measured on photographs"
MEASURED = "measured: cutouts, masks on a tenth or fewer of 400 images, three shortcuts, five seeds (docs/log.md)"
MEASURED_ROUGH = "measured: cutouts with a watermark, all 400 boxes misplaced, three seeds (docs/log.md)"
FEW_PRIORS_FRAC = 0.1
ON_PRIOR_FRAC = 0.9
CONFIDENT_FRAC = 0.5
SPURIOUS_GAP = 0.1
ENOUGH_IMAGES = 30


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One line of the table.

    Attributes:
        priors: Quality of the priors it is for.
        few: Whether it is for few priors (at most a tenth of the images).
        context: What lies off the prior it is for.
        methods: To try, the best first; none where alignment is not expected to help.
        because: Why.
        source: Where it comes from.
    """

    priors: Priors
    few: bool
    context: Context
    methods: tuple[str, ...]
    because: str
    source: str = SOURCE


_UNIFORM = "good priors: suppressing everything off the prior does as well as selecting, and costs a third"
_SELECT = "wrong priors: what only acts on the evidence it finds off the prior loses least"
_SPREAD = (
    "few priors: those that there are tell where evidence may lie in all images; the best method that uses only the "
    "annotated images came .36 below it with a watermark, .16 with backgrounds that tell, .18 with a second object; "
    "marks on the shortcut itself, where evidence may not lie, do at least as well"
)
_AVERAGED = (
    "misplaced priors: faults that differ from image to image average out when priors are learned from each other; "
    "background_swap by the misplaced boxes came .11 below it"
)
_MANY_NEEDED = "few priors: every image that has one must count, so use all of its pixels, not a few regions"
_NOTHING_GOOD = "misplaced priors on few images: mend the priors before training with them"
_KEEP_CONTEXT = (
    "context helps honestly: uniform suppression takes it away; a selective method acts only on wrong top evidence"
)
_TOO_LITTLE = "rough priors on few images, and context that helps: there is more to lose than to gain"
_CONFUSED = "misplaced priors forbid what helps: no method can tell"

TABLE: tuple[Advice, ...] = (
    Advice(priors="exact", few=False, context="spurious", methods=("counterfactual", "rrr"), because=_UNIFORM),
    Advice(priors="exact", few=False, context="informative", methods=("paper", "log"), because=_KEEP_CONTEXT),
    Advice(
        priors="exact", few=True, context="spurious", methods=("wherenot", "background_swap"), because=_SPREAD,
        source=MEASURED,
    ),
    Advice(priors="exact", few=True, context="informative", methods=("paper",), because=_KEEP_CONTEXT),
    Advice(
        priors="rough", few=False, context="spurious", methods=("wherenot", "background_swap"), because=_AVERAGED,
        source=MEASURED_ROUGH,
    ),
    Advice(priors="rough", few=False, context="informative", methods=("log", "paper"), because=_KEEP_CONTEXT),
    Advice(priors="rough", few=True, context="spurious", methods=("rrr", "log"), because=_MANY_NEEDED),
    Advice(priors="rough", few=True, context="informative", methods=(), because=_TOO_LITTLE),
    Advice(priors="wrong", few=False, context="spurious", methods=("log", "rrr"), because=_SELECT),
    Advice(priors="wrong", few=False, context="informative", methods=(), because=_CONFUSED),
    Advice(priors="wrong", few=True, context="spurious", methods=(), because=_NOTHING_GOOD),
    Advice(priors="wrong", few=True, context="informative", methods=(), because=_NOTHING_GOOD),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an audit shows, over all splits it looked at.

    Attributes:
        name: The audit.
        searched: Images whose evidence was searched.
        priors_frac: Share of these that have a prior.
        pointing: Share of those with a prior whose strongest region lies on it; None without priors.
        confident: Share of the images that are right with a probability above .75: what alignment acts on.
        worst_gap: Accuracy minus the worst group's, the largest over splits; None without groups.
    """

    name: str
    searched: int
    priors_frac: float
    pointing: float | None
    confident: float
    worst_gap: float | None

    @property
    def context(self) -> Context | None:
        """What the groups say of what lies off the prior; None if they say nothing."""
        return "spurious" if self.worst_gap is not None and self.worst_gap >= SPURIOUS_GAP else None


def facts_of(run: Run) -> Facts:
    """Read the facts off an audit.

    Raises:
        ValueError: If it searched the evidence of no image.
    """
    read = [record for record in run.records if record.error is None]
    searched = [record.true for record in read if record.searched and record.true is not None]
    if not searched:
        raise ValueError(f"advise: the audit {run.name!r} searched the evidence of no image; audit some.")
    hits = [hit for true in searched if (hit := true.get("pointing_coverage@0.2")) is not None]
    gaps = []
    for split in dict.fromkeys(record.split for record in read):
        top1, worst = (find_metric(run, split, metric) for metric in ("top1", "worst_group"))
        if top1 is not None and worst is not None and None not in (top1.value, worst.value):
            gaps.append(float(top1.value or 0.0) - float(worst.value or 0.0))
    grouped = _across_splits(run)
    return Facts(
        name=run.name,
        searched=len(searched),
        priors_frac=len(hits) / len(searched),
        pointing=sum(map(float, hits)) / len(hits) if hits else None,
        confident=sum(bool(r.correct) and (r.p_label or 0.0) > 0.75 for r in read) / len(read),
        worst_gap=max([*gaps, *grouped], default=None),
    )


def _across_splits(run: Run) -> list[float]:
    """Accuracy of the best group minus the worst's, over all splits: groups may be split apart."""
    right: dict[str, list[bool]] = {}
    for record in run.records:
        if record.group is not None:
            right.setdefault(record.group, []).append(bool(record.correct))
    rates = [sum(values) / len(values) for values in right.values() if len(values) >= ENOUGH_IMAGES]
    return [max(rates) - min(rates)] if len(rates) > 1 else []


def obstacles(facts: Facts, priors_frac: float) -> list[str]:
    """Why alignment will not help this model, whatever the method; none if nothing speaks against it.

    Example:
        >>> facts = Facts(name="a", searched=200, priors_frac=1.0, pointing=0.97, confident=0.8, worst_gap=0.0)
        >>> obstacles(facts, priors_frac=1.0)
        ['the strongest evidence already lies on the prior in 97% of the images: there is little left to move']
    """
    found = []
    if priors_frac == 0:
        found.append(
            "no image has a prior: there is nothing to align with; mark in the report what the model should never rely "
            "on, in ten training images, and train on the marks (docs/report.md)"
        )
    if facts.pointing is not None and facts.pointing >= ON_PRIOR_FRAC and facts.context is None:
        found.append(
            f"the strongest evidence already lies on the prior in {facts.pointing:.0%} of the images: there is little "
            "left to move"
        )
    if facts.confident < CONFIDENT_FRAC:
        found.append(
            f"only {facts.confident:.0%} of the images are right with more than 75 %: methods that wait for that will "
            "seldom act; train longer first, or lower confidence_above"
        )
    return found


def advise(
    facts: Facts, *, priors: Priors | None = None, priors_frac: float | None = None, context: Context | None = None
) -> list[Advice]:
    """The lines of the table that fit; several where quality or context are not known.

    Args:
        facts: Of an audit.
        priors: Quality of the priors; an audit cannot see it.
        priors_frac: Share of the training images that have one; None takes the audit's.
        context: Whether what lies off the prior helps honestly; None takes what the groups say.

    Raises:
        ValueError: If the share is not in [0, 1].

    Example:
        >>> facts = Facts(name="a", searched=200, priors_frac=1.0, pointing=0.6, confident=0.9, worst_gap=0.3)
        >>> [advice.methods[0] for advice in advise(facts, priors="exact")]
        ['counterfactual']
    """
    if priors_frac is not None and not 0 <= priors_frac <= 1:
        raise ValueError(f"advise: --priors-frac {priors_frac}: pass a share in [0, 1].")
    share = facts.priors_frac if priors_frac is None else priors_frac
    context = facts.context if context is None else context
    return [
        advice
        for advice in TABLE
        if advice.few == (share <= FEW_PRIORS_FRAC)
        and priors in (None, advice.priors)
        and context in (None, advice.context)
    ]


def advice_text(
    runs: Sequence[Run], *, priors: Priors | None, priors_frac: float | None, context: Context | None
) -> str:
    """Facts, obstacles and advice on each audit, in words."""
    parts = []
    for run in runs:
        facts = facts_of(run)
        share = facts.priors_frac if priors_frac is None else priors_frac
        lines = [f"{facts.name}: {_sentence(facts)}"]
        if facts.searched < ENOUGH_IMAGES:
            lines.append(
                f"  Evidence of {facts.searched} images is too little to go by; audit {ENOUGH_IMAGES} or more."
            )
        against = obstacles(facts, share)
        lines += [f"  Against it: {reason}." for reason in against]
        if share > 0:
            for advice in advise(facts, priors=priors, priors_frac=priors_frac, context=context):
                case = f"{advice.priors} priors, {advice.context} context"
                what = f"try {', then '.join(advice.methods)}" if advice.methods else "alignment will not help"
                measured = f" [{advice.source}]" if advice.source != SOURCE else ""
                lines.append(f"  With {case}: {what} ({advice.because}).{measured}")
        parts.append("\n".join(lines))
    unknown = [name for name, value in (("--priors", priors), ("--context", context)) if value is None]
    if unknown:
        parts.append(f"Say what you know with {' and '.join(unknown)}; an audit cannot see all of it.")
    return "\n\n".join([*parts, f"Where nothing else is said, advice is {SOURCE}."])


def advice_facts(
    runs: Sequence[Run], *, priors: Priors | None, priors_frac: float | None, context: Context | None
) -> list[dict[str, Any]]:
    """What `advice_text` says of each audit, as data: ``facts``, ``against``, and lines of the table as ``advice``."""
    found = []
    for facts in map(facts_of, runs):
        share = facts.priors_frac if priors_frac is None else priors_frac
        lines = advise(facts, priors=priors, priors_frac=priors_frac, context=context) if share > 0 else []
        advice = [asdict(line) for line in lines]
        found.append({"facts": asdict(facts), "against": obstacles(facts, share), "advice": advice})
    return found


def _sentence(facts: Facts) -> str:
    words = [f"{facts.searched} images searched, {facts.priors_frac:.0%} with a prior"]
    if facts.pointing is not None:
        words.append(f"strongest evidence on it in {facts.pointing:.0%}")
    words.append(f"confidently right in {facts.confident:.0%}")
    if facts.worst_gap is not None:
        words.append(f"groups differ by {facts.worst_gap:.0%} in accuracy")
    return "; ".join(words) + "."
