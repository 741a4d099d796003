"""Signs that training hurts, read off what a run recorded of itself.

Every rule is to stay silent on a healthy run, however short: it asks for more than chance explains, by an interval,
and for more than healthy runs do by themselves, by a margin. So it may miss trouble; what it says, it has seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist, median

from wherenot.metrics.shares import share_drop, share_interval
from wherenot.run import RunWarning
from wherenot.train.history import History, Step

_LEVEL = 0.95
_FALL = 0.02  # accuracies of a healthy run's last epochs differ by a point or so, whatever the number of images
_CONFIDENCE_FALL = 0.1
_CONFIDENCE_GAP = 0.2
_QUARTERS = 4
_FEWEST_STEPS = 2 * _QUARTERS  # at least two to each quarter
_DRIED_UP = 0.2  # of what two quarters let through together, the last one: fewer than one for every four before
_MOST = 0.5
_GROWTH = 1.5
_LEARNED = 0.2
_SKILL = 1 / 3
_AGREEMENT = 0.75  # half-way from a coin's .5 to 1
_FEWEST_PRIORS = 10


def run_warnings(history: History) -> list[RunWarning]:
    """Say what went wrong in a training run, as far as its own numbers show it.

    Args:
        history: What the run recorded.

    Returns:
        One warning per sign, at most one of each kind; none for a healthy run, and none for one too short to tell.

    Example:
        >>> from wherenot.train.history import Epoch
        >>> good, bad = (Epoch(epoch=n, accuracy=a, loss=1.0, confidence=0.9) for n, a in ((1.0, 0.95), (2.0, 0.75)))
        >>> [warning] = run_warnings(History(epochs=(good, bad), num_validation=200, chance=0.1))
        >>> warning.kind, warning.seen[:47]
        ('accuracy_fell', 'Validation accuracy fell from 95% (epoch 1) to ')
    """
    return [warning for rule in _RULES if (warning := rule(history)) is not None]


def _not_finite(history: History) -> RunWarning | None:
    """A loss that is no number leaves weights that are none."""
    if not history.not_finite:
        return None
    step, name = history.not_finite[0]
    count = len({step for step, _ in history.not_finite})
    return RunWarning(
        kind="not_finite",
        seen=f"{_name(name)} was not a finite number at step {step}, the first of {_counted(count, 'logged step')} "
        "with such a loss; numbers after it mean little.",
        advice=f"Lower {_levers(history)}; with precision fp16, try bf16 or fp32.",
    )


def _terms_skipped(history: History) -> RunWarning | None:
    """The method's terms were no numbers, and training went on without them."""
    skipped = [step for step in history.steps if step.get("skipped")]
    if not skipped:
        return None
    names = [name for name, value in skipped[0].items() if not math.isfinite(value)]
    what = f" ({', '.join(names)})" if names else ""
    return RunWarning(
        kind="terms_skipped",
        seen=f"The method's loss{what} was not a finite number at {_counted(len(skipped), 'step')} of the "
        f"{len(history.steps)} on which it acted, first at step {skipped[0]['step']}; they were trained without it.",
        advice=f"Lower {_levers(history)}; with precision fp16, try bf16 or fp32.",
    )


def _accuracy_fell(history: History) -> RunWarning | None:
    """The last epoch is worse than the best by more than the draw of validation images explains.

    The images are the same in all epochs, which makes the interval too wide, and the best is the best of several, which
    makes it too narrow: the level is shared among them.
    """
    if len(history.epochs) < 2:
        return None
    last, n = history.epochs[-1], history.num_validation
    best = max(history.epochs, key=lambda epoch: epoch.accuracy)
    fall = share_drop(best.accuracy, n, last.accuracy, n, level=_shared_level(history))
    if fall.low <= _FALL:
        return None
    kept = f" The run kept the weights of epoch {best.epoch:g}." if history.keeps_best else ""
    keep = "" if history.keeps_best else " With optimization.keep best a run keeps the weights of its best epoch."
    plain = "" if history.method is None else " If finetune falls the same way, it is not the method."
    return RunWarning(
        kind="accuracy_fell",
        seen=f"Validation accuracy fell from {_percent(best.accuracy)} (epoch {best.epoch:g}) to "
        f"{_percent(last.accuracy)} (epoch {last.epoch:g}); measured on {_counted(n, 'image')}, that is a fall of at "
        f"least {100 * fall.low:.0f} points (95% interval).{kept}",
        advice=f"Lower {_levers(history)}.{keep}{plain}",
    )


def _confidence_collapsed(history: History) -> RunWarning | None:
    """The model has grown unsure: less sure than it was, or, without growing surer, less sure than it is right.

    A young model, too, is less sure than it is right (.48 against .89 after the first epoch of a healthy run), but its
    confidence rises from epoch to epoch.
    """
    epochs = [epoch for epoch in history.epochs if math.isfinite(epoch.confidence)]
    if len(epochs) < 2 or epochs[-1] is not history.epochs[-1]:
        return None
    last, n, level = epochs[-1], history.num_validation, _shared_level(history)
    peak = max(epochs[:-1], key=lambda epoch: epoch.confidence)
    fell = share_drop(peak.confidence, n, last.confidence, n, level=level).low > _CONFIDENCE_FALL
    below = share_drop(last.accuracy, n, last.confidence, n).low > _CONFIDENCE_GAP
    if not fell and not (below and last.confidence <= peak.confidence):
        return None
    gate = history.confidence_above
    shut = (
        f" The method looks only at images with more than {_percent(gate)}."
        if gate is not None and last.confidence < gate
        else ""
    )
    return RunWarning(
        kind="confidence_collapsed",
        seen=f"The model has grown unsure: its mean confidence on {_counted(n, 'validation image')} went from "
        f"{_percent(peak.confidence)} (epoch {peak.epoch:g}) to {_percent(last.confidence)} (epoch {last.epoch:g}), "
        f"while {_percent(last.accuracy)} are right.{shut}",
        advice=f"Lower {_levers(history)}." + (" A lower method.confidence_above only lets it go on." if shut else ""),
    )


def _never_acted(history: History) -> RunWarning | None:
    """A method that never found an image is plain fine-tuning under another name."""
    if history.method is None or any(_looked_at(step) for step in history.steps):
        return None
    if not history.steps:
        why = "its interval is longer than the run"
        advice = "Lower method.interval, or train longer."
    elif "aligned" in history.steps[-1]:
        gate = history.confidence_above
        sure = f" with more than {_percent(gate)}" if gate else ""
        why = f"in {_counted(len(history.steps), 'step')} no image that has a prior was predicted right{sure}"
        advice = "Train longer, lower method.confidence_above, and see with wherenot data check that there are priors."
    else:
        why = f"in {_counted(len(history.steps), 'step')} no image had a prior that it could use"
        advice = "See with wherenot data check that there are priors."
    return RunWarning(
        kind="never_acted",
        seen=f"The method {history.method} never acted: {why}. The model is that of plain fine-tuning.",
        advice=advice,
    )


def _gate_closed(history: History) -> RunWarning | None:
    """Hardly any image passes the gate any more, though many did."""
    quarters = _quartered([step for step in history.steps if "aligned" in step])
    if quarters is None:
        return None
    sums = [sum(step["aligned"] for step in quarter) for quarter in quarters]
    best = max(range(_QUARTERS - 1), key=sums.__getitem__)
    both = round(sums[best] + sums[-1])
    # Counts of equally many steps: if nothing had changed, each image would be in either with the same probability.
    if both == 0 or share_interval(sums[-1] / (sums[best] + sums[-1]), both).high >= _DRIED_UP:
        return None
    size = len(quarters[-1])
    sure = "" if not history.confidence_above else f", right with more than {_percent(history.confidence_above)},"
    return RunWarning(
        kind="gate_closed",
        seen=f"Hardly any image passes the gate any more: {sums[-1] / size:.1f} per acting step{sure} in steps "
        f"{_span(quarters[-1])}, after {sums[best] / size:.1f} in steps {_span(quarters[best])}.",
        advice=f"The method makes the model unsure or wrong: lower {_levers(history)}, or raise method.interval.",
    )


def _evidence_stays_off(history: History) -> RunWarning | None:
    """The strongest region of most images lies off the prior at the end, and no less often than at first.

    A share that rises is no sign by itself: before a model has found its shortcut its evidence is on the prior. With
    `log` on decoy digits it rose in all five seeds, on average from .09 to .27, while the model got better.
    """
    quarters = _quartered([step for step in history.steps if "top_off_prior" in step])
    if quarters is None:
        return None
    (first, n_first), (last, n_last) = (
        _mean(quarter, "top_off_prior", "aligned") for quarter in quarters[:: _QUARTERS - 1]
    )
    fell = share_drop(first, n_first, last, n_last).low > 0
    if fell or share_interval(last, n_last).low <= _MOST:
        return None
    return RunWarning(
        kind="evidence_stays_off",
        seen=f"The evidence does not move onto the prior: the strongest region lay off it in {_percent(last)} of the "
        f"{_counted(n_last, 'aligned image')} of steps {_span(quarters[-1])}, in {_percent(first)} in steps "
        f"{_span(quarters[0])}.",
        advice="Look at some priors (wherenot audit): do they show what the label names? If they do, raise "
        "method.weight or lower method.interval, or try the method wherenot.",
    )


def _evidence_scatters(history: History) -> RunWarning | None:
    """Deviation falls and redundancy grows: the evidence leaves the strongest region for others off the prior."""
    nothing = math.nan
    losses = [(step, step.get("deviation", nothing), step.get("redundancy", nothing)) for step in history.steps]
    quarters = _quartered([step for step, *values in losses if all(map(math.isfinite, values))])
    if quarters is None:
        return None
    (deviations, fewer), (redundancies, more) = (
        [[step[name] for step in quarter] for quarter in (quarters[0], quarters[-1])]
        for name in ("deviation", "redundancy")
    )
    before, after = median(redundancies), median(more)
    if not (_tend(deviations, fewer) == -1 and _tend(redundancies, more) == 1 and after > _GROWTH * before):
        return None
    return RunWarning(
        kind="evidence_scatters",
        seen="The evidence scatters instead of moving onto the prior: from steps "
        f"{_span(quarters[0])} to {_span(quarters[-1])} the deviation loss fell from {median(deviations):.2g} to "
        f"{median(fewer):.2g}, but the redundancy loss, what later regions off the prior add, grew from "
        f"{before:.2g} to {after:.2g} (medians).",
        advice="Raise method.redundancy_weight against the deviation's, search more regions (max_regions), or try the "
        "method wherenot.",
    )


def _recomposed_not_learned(history: History) -> RunWarning | None:
    """Plain images are learned, those that keep only what their prior shows are not: it does not show the class."""
    quarters = _quartered([step for step in history.steps if "recomposed" in step])
    if quarters is None:
        return None
    recomposed, n_recomposed = _mean(quarters[-1], "accuracy_recomposed", "recomposed")
    plain, n_plain = _mean(quarters[-1], "accuracy_plain", "plain")
    learned = share_interval(plain, n_plain).low - history.chance
    most = share_interval(recomposed, n_recomposed).high - history.chance
    if learned <= _LEARNED or most >= _SKILL * (plain - history.chance):
        return None
    return RunWarning(
        kind="recomposed_not_learned",
        seen=f"Recomposed images are not learned: in steps {_span(quarters[-1])} {_percent(recomposed)} of them were "
        f"right, of the plain ones {_percent(plain)}; guessing gets {_percent(history.chance)}.",
        advice="The priors probably do not show what the label names: look at some that were drawn (wherenot data "
        "preview, of priors/ in the run folder). If they do, lower method.share: the class may need its surroundings.",
    )


def _priors_disagree(history: History) -> RunWarning | None:
    """The given priors have little in common in what the network sees."""
    priors = history.priors or {}
    given, agreement, replaced = (priors.get(name) for name in ("given", "agreement", "replaced"))
    if given is None or agreement is None or given < _FEWEST_PRIORS or agreement >= _AGREEMENT:
        return None
    return RunWarning(
        kind="priors_disagree",
        seen="The priors have little in common: what the others allow ranks the places of an image as its own prior "
        f"does with a median of {agreement} (1 is agreement, 0.5 a coin); {replaced} of {given} were drawn anew.",
        advice="Look at some priors (wherenot data preview): are they where they should be? If they are, the network "
        "may not see what they mark: start from a pretrained one, or keep them all with method.trusted 0.",
    )


_RULES: tuple[Callable[[History], RunWarning | None], ...] = (
    _not_finite,
    _terms_skipped,
    _accuracy_fell,
    _confidence_collapsed,
    _never_acted,
    _gate_closed,
    _evidence_stays_off,
    _evidence_scatters,
    _recomposed_not_learned,
    _priors_disagree,
)


def _shared_level(history: History) -> float:
    """The level at which each earlier epoch is compared, so that all comparisons together have the usual one."""
    return 1 - (1 - _LEVEL) / max(1, len(history.epochs) - 1)


def _quartered(steps: Sequence[Step]) -> list[Sequence[Step]] | None:
    """Four parts of equal length, the first at the start and the last at the end; None if there is too little."""
    size = len(steps) // _QUARTERS
    if len(steps) < _FEWEST_STEPS:
        return None
    return [steps[:size], steps[size : 2 * size], steps[-2 * size : -size], steps[-size:]]


def _mean(steps: Sequence[Step], share: str, count: str) -> tuple[float, int]:
    """A share over all images of some steps, and how many there are; 0 without any."""
    known = [step for step in steps if math.isfinite(step.get(share, math.nan))]
    total = sum(step[count] for step in known)
    return (sum(step[share] * step[count] for step in known) / total if total else 0.0), round(total)


def _tend(before: Sequence[float], after: Sequence[float]) -> int:
    """1 if values are larger after than before, -1 if smaller, 0 if chance may be it: Mann and Whitney's test, 99%."""
    wins = sum((late > early) + 0.5 * (late == early) for early in before for late in after)
    pairs = len(before) * len(after)
    z = (wins - pairs / 2) / math.sqrt(pairs * (len(before) + len(after) + 1) / 12)
    return 0 if abs(z) < NormalDist().inv_cdf(0.995) else (1 if z > 0 else -1)


def _levers(history: History) -> str:
    """The options by which a run is made gentler."""
    rate = "optimization.learning_rate"
    if history.method is None:
        return rate
    return f"{'method.share' if history.method == 'wherenot' else 'method.weight'} or {rate}"


def _looked_at(step: Step) -> bool:
    return any(step[name] > 0 for name in step if name in ("aligned", "recomposed") or name.endswith("_images"))


def _span(steps: Sequence[Step]) -> str:
    return f"{steps[0]['step']:.0f} to {steps[-1]['step']:.0f}"


def _name(loss: str) -> str:
    return {"loss": "The training loss", "eval_loss": "The validation loss", "task_loss": "The task loss"}.get(
        loss, f"The method's {loss}"
    )


def _percent(share: float) -> str:
    return f"{round(100 * share, 1):g}%"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
