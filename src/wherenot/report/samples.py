"""Every searched sample as data for the page: what a person filters by, and what the view of one sample draws."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from markupsafe import Markup
from PIL import Image

from wherenot.report.content import Content, spread
from wherenot.report.provenance import run_label
from wherenot.report.runs import Record, Run
from wherenot.report.spoken import read_curves
from wherenot.report.stored import StoredEvidence, StoredRegions, load_evidence
from wherenot.report.tiles import SCREEN_PX, SIDE_PX, TINY_PX, color_table, image_uri, resized

SAMPLES_SHOWN = 1000
GRID_PX = 512
_NAME = 60  # letters of an element's name

_Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleData:
    """What the script of the page reads, each a JSON text that is safe inside of a script element.

    Attributes:
        index: Names, verdicts and numbers of all samples.
        samples: Picture, regions, orders, curves and prior of each.
        num_searched: Samples whose evidence was searched; more than there are `samples` if not all are shown.
    """

    index: Markup
    samples: tuple[Markup, ...]
    num_searched: int


def sample_data(content: Content, *, at_most: int = SAMPLES_SHOWN) -> SampleData:
    """Collect the searched samples of all runs. Evidence files are read now; one that cannot be read leaves a note.

    Args:
        content: From `build_content`.
        at_most: Samples to show; of more, equally many per split are taken, at even distances.

    Returns:
        The data of the page.
    """
    runs = [(run_label(column, run), run) for column in content.columns for run in column.runs]
    found = [{record.key: record for record in run.records} for _, run in runs]
    searched = dict.fromkeys(key for records in found for key, record in records.items() if record.evidence_file)
    keys = spread(list(searched), at_most)
    side = SCREEN_PX if content.acts else SIDE_PX
    entries: list[dict[str, Any]] = []
    samples: list[Markup] = []
    for key in keys:
        each = [(run, records.get(key)) for (_, run), records in zip(runs, found, strict=True)]
        entries.append(_entry(each, content.pointing))
        samples.append(script_json(_pictured(each, side)))
    index = {
        "runs": [label for label, _ in runs],
        "pointing": content.pointing,
        "colors": color_table().tolist(),
        "key": hashlib.sha256("".join(samples).encode()).hexdigest()[:16],
        "samples": entries,
    }
    return SampleData(index=script_json(index), samples=tuple(samples), num_searched=len(searched))


def script_json(value: Any) -> Markup:
    r"""Write JSON that stays inside its script element, whatever the names in it are.

    Args:
        value: Plain data without NaN.

    Returns:
        JSON with `<`, `>` and `&` as escapes, so that neither `</script>` nor `<!--` can occur.

    Example:
        >>> print(script_json({"id": "</script>"}))
        {"id":"\u003c/script\u003e"}
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def pack(numbers: Sequence[int]) -> str:
    """Write whole numbers from 0 as base64 of bytes: seven bits each, the lowest first, the eighth says that more come.

    Args:
        numbers: Any, from 0.

    Returns:
        Text.

    Example:
        >>> base64.b64decode(pack([1, 127, 300])).hex()
        '017fac02'
    """
    data = bytearray()
    for number in numbers:
        while number > 127:
            data.append(number & 127 | 128)
            number >>= 7
        data.append(number)
    return base64.b64encode(bytes(data)).decode("ascii")


def runs_of(labels: Int[np.ndarray, "H W"] | Bool[np.ndarray, "H W"]) -> list[int]:
    """Write a map as runs of equal pixels, row by row: label, length, label, length.

    Args:
        labels: From 0.

    Returns:
        Two numbers per run.

    Example:
        >>> runs_of(np.array([[0, 0, 3], [3, 3, 1]]))
        [0, 2, 3, 3, 1, 1]
    """
    flat = labels.ravel().astype(np.int64)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    return np.stack([flat[starts], np.diff(starts, append=len(flat))], axis=1).ravel().tolist()


def _entry(each: Sequence[tuple[Run, Record | None]], pointing: str | None) -> dict[str, Any]:
    """What is known of a sample without its picture."""
    run, record = next((run, record) for run, record in each if record is not None)
    return {
        "id": record.id,
        "split": record.split,
        "group": record.group,
        "prompt": record.prompt,
        "label": run.class_name(record.label),
        "runs": [None if record is None else _verdict(run, record, pointing) for run, record in each],
    }


def _verdict(run: Run, record: Record, pointing: str | None) -> dict[str, Any]:
    measures = record.true or {}
    hit, coverage = (measures.get(name) if name else None for name in (pointing, "coverage"))
    return {
        "says": run.class_name(record.predicted),
        "right": record.correct,
        "sure": _rounded(record.p_predicted),
        "label": _rounded(record.p_label),
        "hit": None if hit is None else bool(hit),
        "coverage": _rounded(coverage),
        "error": record.error,
    }


def _pictured(each: Sequence[tuple[Run, Record | None]], side: int) -> dict[str, Any]:
    """Picture, prior and regions: what several runs share is written once."""
    images: dict[tuple[str, bool], int] = {}
    grids: dict[str, int] = {}
    runs: list[dict[str, Any] | None] = []
    for run, record in each:
        if record is None or not record.evidence_file:
            runs.append(None)
            continue
        path = run.path / record.evidence_file
        try:
            stored = load_evidence(path)
        except ValueError:
            runs.append({"problem": f"{Path(record.evidence_file).as_posix()} is missing or broken"})
            continue
        if stored.regions is None:
            runs.append({"problem": "no regions were kept; audit again"})
            continue
        size = _fitted(stored.image.shape[:2], side)
        is_tiny = max(size) <= TINY_PX
        image = images.setdefault((image_uri(stored.image, size, lossless=is_tiny), is_tiny), len(images))
        labels, grid = _grid(stored, stored.regions, image)
        number = grids.setdefault(json.dumps(grid), len(grids))
        ranked = _ranked(stored, stored.regions, labels)
        words = None if record.prompt is None else _words(path, len(ranked["order"]))
        runs.append({"grid": number, "clicked": record.clicked, "words": words, **ranked})
    return {
        "images": [{"uri": uri, "tiny": is_tiny} for uri, is_tiny in images],
        "grids": [json.loads(grid) for grid in grids],
        "runs": runs,
    }


def _grid(stored: StoredEvidence, regions: StoredRegions, image: int) -> tuple[Int[np.ndarray, "h w"], dict[str, Any]]:
    """The regions and the prior on the pixels that marks refer to: the picture's own, if there are not too many."""
    size = _fitted(stored.image.shape[:2], GRID_PX)
    labels = regions.labels.astype(np.int32)
    if labels.shape != size[::-1]:
        labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    named: dict[str, Any] = {"image": image, "width": size[0], "height": size[1], "view": list(regions.view)}
    for name in ("allowed", "forbidden"):
        inside = resized(getattr(stored, name), size)
        named[name] = None if inside.all() or not inside.any() else pack(runs_of(inside))
    scale = np.array(size * 2) / np.array(stored.image.shape[1::-1] * 2)
    boxes = np.round(stored.elements * scale).astype(int).tolist()
    named["elements"] = [
        [name[:_NAME], *box] for name, box in zip(stored.element_names or ("",) * len(boxes), boxes, strict=True)
    ]
    return labels, {**named, "labels": pack(runs_of(labels))}


def _words(path: Path, regions: int) -> dict[str, Any] | None:
    """The words of an answer, and what each is worth along the order."""
    curves = read_curves(path, regions)
    if curves is None:
        return None
    packed = {"shown": pack(curves.shown), "rest": pack(curves.rest)}
    return {"pieces": curves.pieces, "chosen": curves.chosen, **packed}


def _ranked(stored: StoredEvidence, regions: StoredRegions, labels: Int[np.ndarray, "h w"]) -> dict[str, Any]:
    """The order, the evidence of each region, and the curves."""
    values = np.zeros(int(regions.labels.max()) + 1)
    values[regions.labels.ravel()] = np.clip(np.nan_to_num(stored.map.ravel()), 0, 1)
    areas = np.bincount(regions.labels.ravel(), minlength=len(values))[regions.order] / regions.labels.size
    return {
        "order": regions.order.tolist(),
        "values": np.round(values[: int(labels.max()) + 1], 3).tolist(),
        "areas": np.round(np.cumsum(areas), 4).tolist(),
        "insertion": _curve(regions.insertion),
        "deletion": _curve(regions.deletion),
    }


def _curve(values: Float[np.ndarray, " P"] | None) -> list[float] | None:
    return None if values is None or not np.isfinite(values).all() else np.round(values.astype(float), 4).tolist()


def _rounded(value: float | int | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 4)


def _fitted(shape: Sequence[int], side: int) -> tuple[int, int]:
    """Width and height, made smaller if need be."""
    scale = min(1.0, side / max(shape))
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))
