"""From the records of tasks on screenshots to the metrics of agents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wherenot.metrics import Interval, bootstrap_interval, ratio_interval
from wherenot.record_table import RecordTable

Row = tuple[str, Interval, bool | None]

GAMES = ("pointing_coverage@0.2", "pointing_touch")
DISTANCES = ("click_distance_px", "click_distance_1000")
_SHARES = (("click_success", True), ("type_match", True), ("exact_match", True), ("malformed", False))
_CONSISTENCY = ("consistency_first", "consistency_iou@2", "consistency_correlation", "consistency_pointing@0.2")


def agent_rows(table: RecordTable, *, seed: int) -> Iterator[Row]:
    """Metrics of the tasks on screenshots in one split; none if there are no such tasks.

    What failed, and an answer that cannot be read, is no success and matches nothing, and has no distance: ``missing``
    counts those without. ``given`` a pointing game: among the tasks whose evidence lies on the target by that game;
    ``n`` says how many these are.

    Args:
        table: Numbers of the records of the split.
        seed: Of the bootstrap.

    Yields:
        Metric, interval, whether higher is better: over all tasks, by group, given where the evidence lies, and how
        far thought and action agree.
    """
    tasks = table.where(~table.numbers("malformed").isnan().numpy())
    if not len(tasks):
        return
    failed = int((tasks.flag["failed"] & ~tasks.flag["answered"]).sum())
    for metric, higher in _SHARES:
        values = tasks.numbers(metric)
        if not values.isnan().all():
            yield metric, replace(bootstrap_interval(values, seed=seed), missing=failed), higher
    yield from _measured(tasks, seed)
    for group in tasks.groups():
        yield from _of_group(tasks.where(tasks.group == group), group, seed)
    searched = tasks.where(tasks.flag["searched"])
    for game in GAMES:
        yield from _given(searched, game, seed)
    for metric in _CONSISTENCY:
        values = searched.numbers(f"consistency.{metric}")
        if not values.isnan().all():
            yield metric, bootstrap_interval(values, seed=seed), True


def _measured(tasks: RecordTable, seed: int) -> Iterator[Row]:
    for metric in DISTANCES:
        values = tasks.numbers(metric)
        if not values.isnan().all():
            yield metric, bootstrap_interval(values, seed=seed), False
            yield f"{metric} (median)", bootstrap_interval(values, seed=seed, statistic=_median), False
    reliances = tasks.numbers("reliance")
    if not reliances.isnan().all():
        yield "reliance", bootstrap_interval(reliances, seed=seed), True


def _of_group(own: RecordTable, group: str, seed: int) -> Iterator[Row]:
    """The same for one kind of screen; accuracy by group is there for all data."""
    searched = own.where(own.flag["searched"])
    found = [
        ("click_success", own.numbers("click_success"), True),
        *((metric, own.numbers(metric), False) for metric in DISTANCES),
        ("reliance", own.numbers("reliance"), True),
        *((game, hits(searched, f"true.{game}"), True) for game in GAMES),
    ]
    for metric, values, higher in found:
        if not values.isnan().all():
            yield f"{metric} [{group}]", bootstrap_interval(values, seed=seed), higher


def _given(searched: RecordTable, game: str, seed: int) -> Iterator[Row]:
    """Clicks of the tasks whose evidence lies on the target, which is the paper's PG = 1."""
    hit = hits(searched, f"true.{game}")
    for metric, higher in (("click_success", True), *((metric, False) for metric in DISTANCES)):
        values = searched.numbers(metric)
        if (hit + values).isnan().all():
            continue
        counted = hit.where(~values.isnan(), torch.nan)
        interval = ratio_interval(values * hit, counted, seed=seed)
        missing = int((hit == 1).sum()) - int((counted == 1).sum())
        yield f"{metric}_given_{game}", replace(interval, n=int((counted == 1).sum()), missing=missing), higher


def hits(searched: RecordTable, path: str) -> Float[Tensor, " B"]:
    """1 for a hit, 0 for a miss or what failed, nan without a prior.

    What failed is a miss if anything in the split has a prior, or if all failed and none can be known to have one.

    Args:
        searched: Records whose evidence was to be searched.
        path: Of the evidence and the pointing game, as in ``true.pointing_touch``.
    """
    found, failed = searched.numbers(path), torch.from_numpy(searched.flag["failed"])
    return found.masked_fill(failed, 0.0) if failed.all() or not found.isnan().all() else found


def _median(samples: Float[np.ndarray, "R B"], /) -> Float[np.ndarray, " R"]:
    return np.median(samples, axis=-1)
