"""How numbers and metric names are put into words; the only place that knows their units."""

from __future__ import annotations

import math

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

POINTING_GAMES = ("pointing_coverage", "pointing_argmax", "pointing_touch")

_KINDS = {
    "predicted": "for the class the model predicts",
    "thought": "for the words of the agent's thought alone",
    "action": "for what the agent writes besides its thought",
}
_SHARES = (
    "top", "accuracy", "pointing_", "worst_group", "click_success", "correction_rate", "type_match", "exact_match",
    "malformed", "consistency_first", "consistency_pointing",
)  # fmt: skip
_COUNTS = ("forwards",)
_DISTANCES = ("click_distance_",)
_MEDIAN = " (median)"

_MEANINGS = {
    "top1": "share of images the model gets right.",
    "top2": "share of images whose label is among the model's first two guesses.",
    "worst_group": "accuracy within the group of images that does worst.",
    "top1_noise": "share of images the model gets right under noise of standard deviation {variant}.",
    "top1_corrupted": "share of images the model gets right under the corruption {variant} (1 mild, 5 severe).",
    "pointing_coverage": (
        "share of images whose strongest region lies on the prior with more than {variant} of its area."
    ),
    "pointing_argmax": "share of images whose strongest pixel lies on the prior.",
    "pointing_touch": "share of images whose strongest region touches the prior at all (lenient).",
    "energy_pointing": "share of the whole map's evidence that lies on the prior.",
    "accuracy_given_pointing": "share of right answers among the images whose strongest region lies on the prior.",
    "accuracy_given_no_pointing": "share of right answers among the images whose strongest region is off the prior.",
    "pointing_given_correct": "share of images whose strongest region lies on the prior, among right answers.",
    "pointing_given_wrong": "share of images whose strongest region lies on the prior, among wrong answers.",
    "insertion_auc": "mean confidence while regions are revealed, strongest first.",
    "deletion_auc": "mean confidence while regions are hidden, strongest first.",
    "highest_confidence": "best confidence that any number of the strongest regions reaches.",
    "insertion_auc_sensitive": "insertion_auc of the words that lose more than 0.2 when the image is hidden.",
    "deletion_auc_sensitive": "deletion_auc of the words that lose more than 0.2 when the image is hidden.",
    "highest_confidence_sensitive": "highest_confidence of the words that lose more than 0.2 when the image is hidden.",
    "influence": "how far the image, and not the words before, decides an answer's words (0 not at all).",
    "sensitive_tokens": "share of an answer's tokens that lose more than 0.2 when the image is hidden.",
    "removed_area": "smallest share of the image whose removal corrects a wrong answer (1 if none does).",
    "correction_rate": "share of wrong answers that are corrected by removing {variant} of the image or less.",
    "correction_rate_of_corrected": (
        "the same among the answers alone that some removal corrects; the rest is not counted."
    ),
    "click_success": "share of tasks whose click lies in the target's box; an answer without a click is a failure.",
    "type_match": "share of answers whose action is of the right type, by AgentCPM-GUI's rules.",
    "exact_match": (
        "share of answers whose action is right by AgentCPM-GUI's rules, which take clicks within 14% of the screen."
    ),
    "malformed": "share of answers that cannot be read as an action.",
    "click_distance_px": "how far clicks miss the target's box, in pixels of the screenshot; a hit has 0.",
    "click_distance_1000": "how far clicks miss the target's box, in thousandths of the screen's width and height.",
    "reliance": (
        "how much probability the first word that tells where to click loses when the target is hidden (0: the agent "
        "answers without looking at it)."
    ),
    **{
        f"{metric}_given_{game}": f"{metric} of the tasks with evidence on the target by {game}{variant}."
        for metric in ("click_success", "click_distance_px", "click_distance_1000")
        for game, variant in (("pointing_coverage", "@{variant}"), ("pointing_touch", ""))
    },
    "consistency_first": "share of answers whose thought and action rest on the same region first of all.",
    "consistency_iou": "area that the first {variant} regions of thought and action share, of the area of either.",
    "consistency_correlation": "how far the maps of thought and action rise and fall together (1 alike, 0 unrelated).",
    "consistency_pointing": (
        "share of answers whose thought and action both rest on the target first of all, with more than {variant} of "
        "the region."
    ),
    "forwards_per_image": "masked images the model was shown to find the evidence of one image (cost).",
}
_DETAILS = (
    "top2",
    "top1_noise",
    "top1_corrupted",
    "pointing_argmax",
    "pointing_touch",
    "accuracy_given_no_pointing",
    "pointing_given_correct",
    "pointing_given_wrong",
    "highest_confidence",
    "insertion_auc_sensitive",
    "deletion_auc_sensitive",
    "highest_confidence_sensitive",
    "sensitive_tokens",
    "correction_rate_of_corrected",
    "click_distance_1000",
    "click_distance_1000_given_pointing_coverage",
    "click_success_given_pointing_touch",
    "click_distance_px_given_pointing_touch",
    "click_distance_1000_given_pointing_touch",
    "consistency_first",
    "consistency_correlation",
    "forwards_per_image",
)
_APART = ("pointing_coverage",)  # what is worth seeing of thought and action, too


def base_metric(metric: str) -> str:
    """Return a metric's name without its variant.

    Args:
        metric: Full name, as in `metrics.json`.

    Returns:
        The part before `@`, before ` (predicted)` and the like, before ` (median)` and before ` [group]`.

    Example:
        >>> base_metric("pointing_coverage@0.2 (predicted)"), base_metric("click_distance_px (median)")
        ('pointing_coverage', 'click_distance_px')
    """
    return without_kind(metric.partition(" [")[0]).removesuffix(_MEDIAN).partition("@")[0]


def kind_of(metric: str) -> str:
    """Say whose evidence a metric looks at, if not that for the label or the whole answer.

    Args:
        metric: Full name, as in `metrics.json`.

    Returns:
        ``predicted`` (class), ``thought`` or ``action`` (of an agent); empty for all others.

    Example:
        >>> kind_of("pointing_argmax (thought)"), kind_of("click_distance_px (median)")
        ('thought', '')
    """
    return next((kind for kind in _KINDS if metric.endswith(f" ({kind})")), "")


def without_kind(metric: str) -> str:
    """Return a metric's name without what `kind_of` reads.

    Args:
        metric: Full name, as in `metrics.json`.

    Returns:
        The name that the evidence of every kind has for it.

    Example:
        >>> without_kind("pointing_coverage@0.2 (action)")
        'pointing_coverage@0.2'
    """
    kind = kind_of(metric)
    return metric.removesuffix(f" ({kind})") if kind else metric


def group_of(metric: str) -> str | None:
    """Return the group of images that a metric is confined to.

    Args:
        metric: Full name, as in `metrics.json`.

    Returns:
        The group's name; None if the metric is over all images.

    Example:
        >>> group_of("top1 [water]"), group_of("top1")
        ('water', None)
    """
    _, opening, group = metric.partition(" [")
    return group[:-1] if opening and group.endswith("]") else None


def is_detail(metric: str) -> bool:
    """Say whether a metric can wait until someone asks for it.

    Args:
        metric: Full name, as in `metrics.json`.

    Returns:
        True for variants and by-products; False for the metrics to read first, and for any metric not known here.
    """
    if kind_of(metric) in ("thought", "action"):
        return base_metric(metric) not in _APART
    return (
        kind_of(metric) != ""
        or metric.endswith(_MEDIAN)
        or group_of(metric) is not None
        or base_metric(metric) in _DETAILS
    )


def is_share(metric: str) -> bool:
    """Say whether a metric counts images, and so reads best in per cent.

    Args:
        metric: Full name, as in `metrics.json`.

    Returns:
        True for accuracies, pointing games and answers that cannot be read.
    """
    return metric.startswith(_SHARES)


def meaning(metric: str) -> str:
    """Explain a metric to a newcomer in one sentence.

    Args:
        metric: Full name, as in `metrics.json`.

    Returns:
        The sentence; empty for a metric this version does not know.

    Example:
        >>> meaning("pointing_coverage@0.2")
        'share of images whose strongest region lies on the prior with more than 0.2 of its area.'
    """
    name = metric if group_of(metric) is None else metric.partition(" [")[0]
    variant = without_kind(name).partition("@")[2]
    text = _MEANINGS.get(base_metric(name), "").format(variant=variant)
    if text and group_of(metric) is not None:
        return (
            "share of images of this group that the model gets right." if name == "top1" else f"in this group: {text}"
        )
    if text and kind_of(name):
        return f"{_KINDS[kind_of(name)]}: {text}"
    return f"median instead of mean: {text}" if text and metric.endswith(_MEDIAN) else text


def number(metric: str, value: float | None, *, digits: int = 1) -> str:
    """Write one value of a metric.

    Args:
        metric: Full name; decides between per cent and decimals.
        value: None or NaN where there is none.
        digits: Decimals of a percentage and of a distance; other numbers get two more, counts none.

    Returns:
        The text, a dash for a missing value.

    Example:
        >>> number("top1", 0.7143), number("insertion_auc", 0.7143), number("top1", None)
        ('71.4%', '0.714', '–')
    """
    if value is None or math.isnan(value):
        return MISSING
    if is_share(metric):
        return f"{100 * value:.{digits}f}%"
    if metric.startswith(_COUNTS):
        return f"{value:.0f}"
    return f"{value:.{digits if metric.startswith(_DISTANCES) else digits + 2}f}"


def interval(metric: str, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Write an interval in brackets.

    Args:
        metric: Full name; decides between per cent and decimals.
        low: Lower end; None or NaN where there is none.
        high: Upper end.
        signed: True for the interval of a difference.

    Returns:
        The text, a dash if an end is missing.

    Example:
        >>> interval("top1", 0.67, 0.75), interval("top1", -0.01, 0.05, signed=True)
        ('[67.0, 75.0]', '[−1.0, +5.0]')
    """
    write = change if signed else number
    ends = [write(metric, end).removesuffix("%") for end in (low, high)]
    return MISSING if MISSING in ends else f"[{', '.join(ends)}]"


def change(metric: str, value: float | None) -> str:
    """Write a difference with its sign; differences of percentages are in points.

    Args:
        metric: Full name; decides between points and decimals.
        value: None or NaN where there is none.

    Returns:
        The text, a dash for a missing value.

    Example:
        >>> change("top1", 0.041), change("deletion_auc", -0.0312), change("top1", -0.0)
        ('+4.1', '−0.031', '0.0')
    """
    text = number(metric, value).removesuffix("%")
    if text == MISSING:
        return text
    size = text.removeprefix("-")
    if not size.strip("0."):
        return size
    return f"{MINUS}{size}" if text.startswith("-") else f"+{size}"


def arrow(higher_is_better: bool | None) -> str:
    """Return the sign for a metric's good direction.

    Args:
        higher_is_better: None where neither direction is better.

    Returns:
        An arrow, or nothing.
    """
    return {True: "↑", False: "↓", None: ""}[higher_is_better]
