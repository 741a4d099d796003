"""The same samples under every audited model: which are drawn, and what stands below them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from wherenot.report.columns import Column
from wherenot.report.content import spread
from wherenot.report.runs import Record, Run
from wherenot.report.stored import load_evidence
from wherenot.report.studies import Shown, evidence_grid
from wherenot.report.style import PAGE_IN

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def grid_figure(
    columns: Sequence[Column],
    *,
    samples: int = 4,
    splits: Sequence[str] = (),
    pointing: str | None = None,
    top_regions: int = 3,
    seed: int = 0,
    width: float = PAGE_IN,
) -> Figure:
    """Draw samples in rows: the image with its prior, then each model's evidence with its strongest regions numbered.

    Args:
        columns: Models; of several seeds the first is shown.
        samples: How many; drawn by chance, not chosen, equally many per split, from those that every model's audit
            searched; those with a prior, if there are any.
        splits: Those to draw from; none = all.
        pointing: The pointing game that a caption's on and off mean; None = say nothing of it.
        top_regions: How many regions to outline.
        seed: Of the draw.
        width: In inches.

    Returns:
        A figure that belongs to no window.

    Raises:
        ValueError: If no sample was searched in every run, or the arrays of one cannot be read.
    """
    runs = [column.runs[0] for column in columns]
    keys = drawn_samples(runs, samples, splits=splits, seed=seed)
    if not keys:
        raise ValueError("grid_figure: no sample has stored evidence in every run; audit the same ones.")
    found = [{record.key: record for record in run.records} for run in runs]
    several = len({split for split, _ in keys}) > 1
    rows = []
    for key in keys:
        records = [known[key] for known in found]
        tiles = [audited_tile(run, record, pointing) for run, record in zip(runs, records, strict=True)]
        asked = records[0].prompt or f"{PurePosixPath(key[1]).name}: {runs[0].class_name(records[0].label)}"
        rows.append((f"{asked}\n{key[0]}" if several else asked, tiles))
    return evidence_grid(rows, [column.name for column in columns], top_regions=top_regions, width=width)


def drawn_samples(
    runs: Sequence[Run], count: int, *, splits: Sequence[str] = (), seed: int = 0
) -> list[tuple[str, str]]:
    """Draw samples by chance, equally many per split, from those whose evidence every run kept.

    Args:
        runs: Audits of the same data.
        count: At most so many.
        splits: Those to draw from; none = all.
        seed: Of the draw.

    Returns:
        Split and id, in the first run's order; of samples with a prior, if any have one.

    Example:
        >>> kept = [Record(id=str(n), split="test", evidence_file=f"{n}.npz") for n in range(9)]
        >>> drawn_samples([Run(name="paper", records=tuple(kept))], 3)
        [('test', '1'), ('test', '3'), ('test', '4')]
    """
    kept = [{record.key for record in run.records if record.evidence_file is not None} for run in runs]
    candidates = [
        record
        for record in runs[0].records
        if record.key in set.intersection(*kept) and (not splits or record.split in splits)
    ]
    measured = [record for record in candidates if (record.true or {}).get("coverage") is not None]
    keys = [record.key for record in measured or candidates]
    shuffled = [keys[index] for index in np.random.default_rng(seed).permutation(len(keys))]
    drawn = set(spread(shuffled, count))
    return [key for key in keys if key in drawn]


def audited_tile(run: Run, record: Record, pointing: str | None) -> Shown | None:
    """One sample under one model, with what the model said; None if its arrays were not kept.

    Args:
        run: The model's audit.
        record: Of the sample.
        pointing: The pointing game that on and off mean; None = say nothing of it.
    """
    if record.evidence_file is None:
        return None
    words = run.class_name(record.predicted)
    if record.correct is not None:
        words = f"{words}, {'right' if record.correct else 'wrong'}"
    hit = (record.true or {}).get(pointing) if pointing else None
    if hit is not None:
        words = f"{words}; {'on' if hit else 'off'} prior"
    return Shown(evidence=load_evidence(run.path / record.evidence_file), caption=words, clicked=record.clicked)
