"""Figures of agents, from the run folders of their audits: clicks and evidence, thought against action, failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from wherenot.generation_evidence import GenerationEvidence
from wherenot.report.runs import Record, Run
from wherenot.report.stored import load_evidence
from wherenot.report.studies import Shown, evidence_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PARTS = ("thought", "action")


def clicks_figure(runs: Sequence[Run], *, tasks: int = 4, seed: int = 0) -> Figure:
    """Draw tasks in rows and agents in columns: evidence for the answer, the click as a star, the target outlined.

    Args:
        runs: Audits of the agents on the same tasks, one each.
        tasks: How many; drawn by chance from those with a target that every run searched.
        seed: Of the draw.

    Returns:
        A figure that belongs to no window.

    Raises:
        ValueError: If there is no such task, or its files cannot be read.

    References:
        "Where Not to Learn", arXiv 2602.07008, Figure 4.
    """
    chosen = _drawn(runs, "clicks_figure", _has_target, tasks, seed)
    rows = [(_asked(records), [_shown(run, record) for run, record in records]) for records in chosen]
    return evidence_grid(rows, [run.name for run in runs], title="evidence for the answer; a star is the click")


def thinking_figure(runs: Sequence[Run], *, tasks: int = 4, seed: int = 0) -> Figure:
    """Draw tasks in rows, and for each agent the evidence for its thought beside that for its action.

    Args:
        runs: Audits with ``thinking``, of the same tasks.
        tasks: How many; drawn by chance from those of which every run has both.
        seed: Of the draw.

    Returns:
        A figure that belongs to no window.

    Raises:
        ValueError: If there is no such task, or its files cannot be read.

    References:
        "Where Not to Learn", arXiv 2602.07008, Figure 5.
    """
    chosen = _drawn(runs, "thinking_figure", lambda record: record.consistency is not None, tasks, seed)
    rows = [
        (_asked(records), [_part(run, record, part) for run, record in records for part in _PARTS])
        for records in chosen
    ]
    names = [f"{run.name}: {part}" for run in runs for part in _PARTS]
    return evidence_grid(rows, names, title="evidence for the thought, and for the action that follows")


def failures_figure(runs: Sequence[Run], *, tasks: int = 4, seed: int = 0) -> Figure:
    """Draw tasks that were to be clicked and were not, with what the agents said under the screenshot.

    Args:
        runs: Audits of the agents on the same tasks.
        tasks: How many; drawn by chance, first from those on which no agent clicks, then on which some do not.
        seed: Of the draw.

    Returns:
        A figure that belongs to no window.

    Raises:
        ValueError: If every searched answer has a click, or files cannot be read.

    References:
        "Where Not to Learn", arXiv 2602.07008, Figure 6.
    """
    chosen = _drawn(runs, "failures_figure", _has_no_click, tasks, seed, every=False)
    rows = [(_asked(records), [_shown(run, record, said=True) for run, record in records]) for records in chosen]
    return evidence_grid(rows, [run.name for run in runs], title="answers without a click, and what they rest on")


_Records = list[tuple[Run, Record]]


def _drawn(
    runs: Sequence[Run], name: str, wanted: Callable[[Record], bool], tasks: int, seed: int, *, every: bool = True
) -> list[_Records]:
    """Tasks that all runs searched and on which all (or, if fewer, some) records are as wanted, in the data's order."""
    if not runs or tasks < 1:
        raise ValueError(f"{name}: {len(runs)} runs and {tasks} tasks; pass at least one of each.")
    found = [records for records in _shared(runs) if any(wanted(record) for _, record in records)]
    whole = [all(wanted(record) for _, record in records) for records in found]
    order = np.random.default_rng(seed).permutation(len(found)).tolist()
    picked = sorted((place for place in order if whole[place] or not every), key=lambda place: not whole[place])[:tasks]
    if not picked:
        names = ", ".join(run.name for run in runs)
        raise ValueError(f"{name}: no task that {names} all searched is fit for it; audit more tasks (--max-images).")
    return [found[place] for place in sorted(picked)]


def _shared(runs: Sequence[Run]) -> Iterator[_Records]:
    others = [{record.key: record for record in run.records} for run in runs]
    for record in runs[0].records:
        records = [found.get(record.key) for found in others]
        if all(each is not None and each.malformed is not None and each.evidence_file for each in records):
            yield [(run, each) for run, each in zip(runs, records, strict=True) if each is not None]


def _has_target(record: Record) -> bool:
    return record.click_success is not None


def _has_no_click(record: Record) -> bool:
    return record.click_success is not None and record.clicked is None


def _asked(records: _Records) -> str:
    prompt = records[0][1].prompt or ""
    return prompt if len(prompt) <= 160 else f"{prompt[:157]}..."


def _shown(run: Run, record: Record, *, said: bool = False) -> Shown:
    assert record.evidence_file is not None
    words = (record.predicted if isinstance(record.predicted, str) else "") or "(says nothing)"
    caption = words if said else _verdict(record)
    if said and record.faults:
        caption += f"\n({', '.join(record.faults)})"
    return Shown(evidence=load_evidence(run.path / record.evidence_file), caption=caption, clicked=record.clicked)


def _part(run: Run, record: Record, part: str) -> Shown:
    """The same picture with the evidence of one part of the answer."""
    shown = _shown(run, record)
    assert record.evidence_file is not None
    file = run.path / record.evidence_file
    found = GenerationEvidence.load(file.with_name(f"{file.stem}-{part}"))
    evidence = replace(shown.evidence, map=found.evidence.map(), top_region=found.evidence.top_region)
    words = " ".join("".join(found.targets).split()) if part == "thought" else shown.caption
    return Shown(evidence=evidence, caption=words, clicked=shown.clicked if part == "action" else None)


def _verdict(record: Record) -> str:
    if record.malformed:
        return "malformed"
    if record.clicked is None:
        return "no click"
    return "hit" if record.click_success else f"{record.click_distance_px:.0f} px beside the target"
