"""From the records of tasks on screenshots to the metrics of agents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wherenot.metrics import Interval, bootstrap_interval, ratio_interval

Row = tuple[str, Interval, bool | None]

GAMES = ("pointing_coverage@0.2", "pointing_touch")
DISTANCES = ("click_distance_px", "click_distance_1000")
_SHARES = (("click_success", True), ("type_match", True), ("exact_match", True), ("malformed", False))
_CONSISTENCY = ("consistency_first", "consistency_iou@2", "consistency_correlation", "consistency_pointing@0.2")


def agent_rows(members: Sequence[dict[str, Any]], *, seed: int) -> Iterator[Row]:
    """Metrics of the tasks on screenshots in one split; none if there are no such tasks.

    What failed, and an answer that cannot be read, is no success and matches nothing, and has no distance: ``missing``
    counts those without. ``given`` a pointing game: among the tasks whose evidence lies on the target by that game;
    ``n`` says how many these are.

    Args:
        members: Records of the split.
        seed: Of the bootstrap.

    Yields:
        Metric, interval, whether higher is better: over all tasks, by group, given where the evidence lies, and how
        far thought and action agree.
    """
    tasks = [record for record in members if "malformed" in record]
    if not tasks:
        return
    for metric, higher in _SHARES:
        values = [record.get(metric) for record in tasks]
        if any(value is not None for value in values):
            failed = sum(record["error"] is not None and record["predicted"] is None for record in tasks)
            yield metric, replace(_interval(values, seed), missing=failed), higher
    yield from _measured(tasks, seed)
    searched = [record for record in tasks if record["searched"]]
    for group in sorted({record["group"] for record in tasks if record["group"] is not None}):
        yield from _of_group(tasks, group, seed)
    for game in GAMES:
        yield from _given(searched, game, seed)
    for metric in _CONSISTENCY:
        values = [(record.get("consistency") or {}).get(metric) for record in searched]
        if any(value is not None for value in values):
            yield metric, _interval(values, seed), True


def _measured(tasks: Sequence[dict[str, Any]], seed: int) -> Iterator[Row]:
    for metric in DISTANCES:
        values = [record.get(metric) for record in tasks]
        if any(value is not None for value in values):
            yield metric, _interval(values, seed), False
            yield f"{metric} (median)", _interval(values, seed, _median), False
    reliances = [record.get("reliance") for record in tasks]
    if any(value is not None for value in reliances):
        yield "reliance", _interval(reliances, seed), True


def _of_group(tasks: Sequence[dict[str, Any]], group: str, seed: int) -> Iterator[Row]:
    """The same for one kind of screen; accuracy by group is there for all data."""
    own = [record for record in tasks if record["group"] == group]
    searched = [record for record in own if record["searched"]]
    found: list[tuple[str, Sequence[float | bool | None], bool]] = [
        ("click_success", [record.get("click_success") for record in own], True),
        *((metric, [record.get(metric) for record in own], False) for metric in DISTANCES),
        ("reliance", [record.get("reliance") for record in own], True),
        *((game, hits(searched, game).tolist(), True) for game in GAMES),
    ]
    for metric, values, higher in found:
        known = [value for value in values if value is not None and not math.isnan(value)]
        if known:
            yield f"{metric} [{group}]", _interval(values, seed), higher


def _given(searched: Sequence[dict[str, Any]], game: str, seed: int) -> Iterator[Row]:
    """Clicks of the tasks whose evidence lies on the target, which is the paper's PG = 1."""
    hit = hits(searched, game)
    for metric, higher in (("click_success", True), *((metric, False) for metric in DISTANCES)):
        values = _numbers([record.get(metric) for record in searched])
        if (hit + values).isnan().all():
            continue
        counted = hit.where(~values.isnan(), torch.nan)
        interval = ratio_interval(values * hit, counted, seed=seed)
        missing = int((hit == 1).sum()) - int((counted == 1).sum())
        yield f"{metric}_given_{game}", replace(interval, n=int((counted == 1).sum()), missing=missing), higher


def hits(searched: Sequence[dict[str, Any]], game: str) -> Float[Tensor, " B"]:
    """1 for a hit of the answer's evidence, 0 for a miss, nan without a target.

    What could not be explained is a miss, if anything in the split has a target, or nothing could be explained.
    """
    found = _numbers([(record.get("true") or {}).get(game) for record in searched])
    failed = torch.tensor([record["error"] is not None for record in searched], dtype=torch.bool)
    return found.masked_fill(failed, 0.0) if failed.all() or not found.isnan().all() else found


def _interval(
    values: Sequence[float | bool | None],
    seed: int,
    statistic: Callable[[Float[np.ndarray, "R B"]], Float[np.ndarray, " R"]] | None = None,
) -> Interval:
    numbers = _numbers(values)
    if statistic is None:
        return bootstrap_interval(numbers, seed=seed)
    return bootstrap_interval(numbers, seed=seed, statistic=statistic)


def _median(samples: Float[np.ndarray, "R B"], /) -> Float[np.ndarray, " R"]:
    return np.median(samples, axis=-1)


def _numbers(values: Sequence[float | int | None]) -> Float[Tensor, " B"]:
    """Numbers as float64, nan where there is none."""
    return torch.tensor([math.nan if value is None else float(value) for value in values], dtype=torch.float64)
