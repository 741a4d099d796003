"""Reads the arrays that an audit kept for one image."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRegions:
    """How an image was cut, and what its regions are worth.

    Attributes:
        labels: The region of each pixel.
        order: Regions by rank; may cover only the first few.
        insertion: Probability with nothing shown, and with the first regions of the order alone; None if not kept.
        deletion: Probability with everything shown, and without the first regions; None if not kept.
        view: What the picture shows of the original image, `x0, y0, x1, y1` in fractions of its width and height.
    """

    labels: Int[np.ndarray, "H W"]
    order: Int[np.ndarray, " R"]
    insertion: Float[np.ndarray, " P"] | None = None
    deletion: Float[np.ndarray, " P"] | None = None
    view: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEvidence:
    """The arrays an audit kept for one image.

    Attributes:
        image: As the model saw it.
        map: In [0, 1], 1 = strongest evidence.
        top_region: True on the region the search took first.
        allowed: True where evidence may lie; all True without a prior.
        forbidden: True where a person said evidence may not lie.
        elements: Of a screenshot, the boxes of what it consists of, xyxy in its pixels; empty where nobody said.
        element_names: What each of them says, or is; none where the audit did not keep that.
        regions: The regions; None where they were not kept.
    """

    image: UInt8[np.ndarray, "H W 3"]
    map: Float[np.ndarray, "H W"]
    top_region: Bool[np.ndarray, "H W"]
    allowed: Bool[np.ndarray, "H W"]
    forbidden: Bool[np.ndarray, "H W"]
    elements: Float[np.ndarray, "E 4"] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    element_names: tuple[str, ...] = ()
    regions: StoredRegions | None = None


def load_evidence(path: Path) -> StoredEvidence:
    """Read the arrays an audit kept for one image; pickled content is refused.

    Args:
        path: An `.npz` of a run's `evidence` folder.

    Returns:
        The arrays, on one grid.

    Raises:
        ValueError: If the file is missing, unreadable, or lacks an array; the message names the file.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            image = arrays["image"]
            evidence_map = arrays["map"].astype(np.float32)
            keeps = {name: arrays[name].astype(bool) for name in ("top_region", "allowed", "forbidden")}
            elements = arrays["elements"] if "elements" in arrays else np.zeros((0, 4), np.float32)
            names = tuple(arrays["element_names"].astype(str).tolist()) if "element_names" in arrays else ()
            regions = _stored_regions(arrays)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"load_evidence: cannot read {path}: {error}") from error
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"load_evidence: {path}: image is {image.dtype} {image.shape}, not uint8 [H, W, 3]")
    planes = {"map": evidence_map, **keeps} | ({} if regions is None else {"labels": regions.labels})
    for name, plane in planes.items():
        if plane.shape != image.shape[:2]:
            raise ValueError(f"load_evidence: {path}: {name} has shape {plane.shape}, its image {image.shape[:2]}")
    if elements.ndim != 2 or elements.shape[1] != 4 or elements.dtype.kind != "f":
        raise ValueError(f"load_evidence: {path}: elements are {elements.dtype} {elements.shape}, not boxes [E, 4]")
    if names and len(names) != len(elements):
        raise ValueError(f"load_evidence: {path}: {len(names)} element_names of {len(elements)} elements")
    return StoredEvidence(
        image=image, map=evidence_map, elements=elements, element_names=names, regions=regions, **keeps
    )


def load_regions(path: Path) -> StoredRegions | None:
    """Read only how an image was cut and what its regions are worth: much less than the pictures beside that.

    Args:
        path: As for `load_evidence`.

    Returns:
        The regions; None where the audit did not keep them.

    Raises:
        ValueError: If the file is missing or unreadable; the message names it.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _stored_regions(arrays)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"load_regions: cannot read {path}: {error}") from error


def _stored_regions(arrays: Mapping[str, np.ndarray]) -> StoredRegions | None:
    """Read the regions, with curves and view where the audit kept them."""
    if "labels" not in arrays or "order" not in arrays:
        return None
    labels, order = arrays["labels"], arrays["order"]
    if labels.min() < 0 or len(np.unique(order)) < len(order) or not np.isin(order, labels).all():
        raise ValueError("its order does not name regions of its labels, each once")
    curves = {name: arrays[name] for name in ("insertion", "deletion") if name in arrays}
    for name, curve in curves.items():
        if curve.shape != (len(order) + 1,):
            raise ValueError(f"{name} has shape {curve.shape}; {len(order)} regions and a start make {len(order) + 1}")
    view = arrays["view"].astype(float).tolist() if "view" in arrays else (0.0, 0.0, 1.0, 1.0)
    x0, y0, x1, y1 = view
    return StoredRegions(labels=labels, order=order, view=(x0, y0, x1, y1), **curves)
