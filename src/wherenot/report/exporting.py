"""Audits for the tools of others: COCO JSON with maps as pictures, which FiftyOne reads, or arrays as Quantus has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from wherenot.data import Rejected
from wherenot.data.coco_writing import instance, instances
from wherenot.data.folder import new_folder, write_new
from wherenot.report.runs import Record, Run
from wherenot.report.stored import StoredEvidence, load_evidence

Arrays = dict[str, np.ndarray]


def export_coco(
    run: Run, out: Path, *, top_regions: int = 3, on_sample: Callable[[], None] | None = None
) -> tuple[Rejected, ...]:
    """Write an audit's searched samples as COCO data sets, all on the pixels that the model saw.

    ``images/*.png``; ``prior.json``, an instance for each connected part of where evidence may lie; ``evidence.json``,
    an instance for each of the first regions, with ``score`` (its value on the map, in [0, 1]) and ``rank`` (from 1);
    ``maps/*.png``, grey, 0 no evidence and 255 the strongest. The category is the sample's label, for which evidence is
    searched. Images are numbered from 1 in the order of their names; their rows have ``sample_id``, ``split``,
    ``group``, ``label``, ``predicted`` and ``correct``, too.

    Args:
        run: A finished audit.
        out: A folder that is empty or not there yet.
        top_regions: How many regions of each sample.
        on_sample: Called after each searched sample, for a progress bar.

    Returns:
        Searched samples that are not written since their arrays were not kept or cannot be read, and why.

    Raises:
        ValueError: If the folder is not empty, or no sample is left.

    References:
        https://docs.voxel51.com: ``fo.types.COCODetectionDataset`` reads images with ``prior.json``,
        ``fiftyone.utils.coco.add_coco_labels`` adds ``evidence.json``, and ``fo.Heatmap(map_path=...)`` takes whole
        numbers as 0 to 255.
    """
    root = new_folder("export_coco", out)
    bad: list[Rejected] = []
    categories: dict[str, int] = {name: number for number, name in enumerate(run.classes, start=1)}
    images: list[dict[str, Any]] = []
    priors: list[dict[str, Any]] = []
    evidence: list[dict[str, Any]] = []
    for record, stored in _searched(run, bad, on_sample):
        number = len(images) + 1
        name = f"{number:06d}.png"
        write_new("export_coco", root / "images" / name, Image.fromarray(stored.image))
        write_new("export_coco", root / "maps" / name, Image.fromarray(_levels(stored.map)))
        images.append(_row(run, record, number, name, stored))
        category = categories.setdefault(run.class_name(record.label), len(categories) + 1)
        if not stored.allowed.all():
            priors += [{"image_id": number, **each} for each in instances(torch.from_numpy(stored.allowed), category)]
        evidence += [{"image_id": number, **each} for each in _regions(stored, category, top_regions)]
    if not images:
        raise ValueError(f"export_coco: no sample of {run.path} has stored evidence; run the audit again.")
    named = [{"id": number, "name": name} for name, number in categories.items()]
    for what, rows in (("prior", priors), ("evidence", evidence)):
        annotations = [{"id": number, **each} for number, each in enumerate(rows, start=1)]
        content = {
            "info": {"description": f"{run.name} on {run.data}: {what}"},
            "images": images,
            "annotations": annotations,
            "categories": named,
        }
        write_new("export_coco", root / f"{what}.json", json.dumps(content, ensure_ascii=False))
    return tuple(bad)


def export_arrays(run: Run, out: Path, *, on_sample: Callable[[], None] | None = None) -> tuple[Rejected, ...]:
    """Write an audit's searched samples as one file of arrays, named and shaped as Quantus' evaluation takes them.

    ``x_batch`` uint8 [B, 3, H, W], the images as the model saw them, before its normalisation. ``y_batch`` int64 [B],
    labels; not there if labels are answers in words. ``a_batch`` float32 [B, 1, H, W], the map in [0, 1], 1 =
    strongest, for the label. ``s_batch`` bool [B, 1, H, W], True where evidence may lie, everywhere without a prior.
    ``ids`` and ``splits``, text [B].

    Args:
        run: A finished audit.
        out: The file, ``.npz``.
        on_sample: Called after each searched sample, for a progress bar.

    Returns:
        Searched samples that are not written, and why.

    Raises:
        ValueError: If the file is there already, no sample is left, or images differ in size.
    """
    bad: list[Rejected] = []
    found = list(_searched(run, bad, on_sample))
    sizes = {stored.map.shape for _, stored in found}
    if len(sizes) != 1:
        raise ValueError(
            f"export_arrays: the samples of {run.path} have the sizes {sorted(sizes)}; one array needs one size, "
            "export to COCO instead."
        )
    if out.exists():
        raise ValueError(f"export_arrays: {out} is there already; name a new file.")
    arrays: Arrays = {
        "x_batch": np.stack([stored.image for _, stored in found]).transpose(0, 3, 1, 2),
        "a_batch": np.stack([stored.map for _, stored in found])[:, None].astype(np.float32),
        "s_batch": np.stack([stored.allowed & ~stored.forbidden for _, stored in found])[:, None],
        "ids": np.array([record.id for record, _ in found]),
        "splits": np.array([record.split for record, _ in found]),
    }
    labels = [record.label for record, _ in found]
    if all(isinstance(label, int) for label in labels):
        arrays["y_batch"] = np.array(labels, dtype=np.int64)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    with part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]
    part.replace(out)
    return tuple(bad)


def _searched(
    run: Run, bad: list[Rejected], on_sample: Callable[[], None] | None
) -> Iterator[tuple[Record, StoredEvidence]]:
    """Records with their arrays; those without join the bad ones."""
    for record in run.records:
        if not record.searched:
            continue
        try:
            if record.evidence_file is None:
                raise ValueError(record.error or "its evidence was not kept")
            stored = load_evidence(run.path / record.evidence_file)
        except ValueError as error:
            bad.append(Rejected(record.id, f"{record.split}/{record.id}: {error}"))
        else:
            yield record, stored
        if on_sample is not None:
            on_sample()


def _levels(values: Float[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    return np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)


def _row(run: Run, record: Record, number: int, name: str, stored: StoredEvidence) -> dict[str, Any]:
    height, width = stored.map.shape
    return {
        "id": number,
        "file_name": name,
        "height": height,
        "width": width,
        "sample_id": record.id,
        "split": record.split,
        "group": record.group,
        "label": run.class_name(record.label),
        "predicted": run.class_name(record.predicted),
        "correct": record.correct,
    }


def _regions(stored: StoredEvidence, category: int, top_regions: int) -> Iterator[dict[str, Any]]:
    """The first regions of the order; where regions were not kept, the strongest alone."""
    regions = stored.regions
    areas = (
        [stored.top_region] if regions is None else [regions.labels == region for region in regions.order[:top_regions]]
    )
    for rank, inside in enumerate(areas[:top_regions], start=1):
        score = float(np.clip(stored.map[inside].max(), 0, 1))
        yield {**instance(torch.from_numpy(inside), category), "score": round(score, 4), "rank": rank}
