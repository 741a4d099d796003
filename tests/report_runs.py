"""Writes small run folders of audits, as far as reports read them."""

import json
from pathlib import Path

import numpy as np

from record_files import write_records


def measures(*, hit=True, coverage=None, **changes):
    """Evidence measures of one image."""
    return {
        "coverage": (0.9 if hit else 0.0) if coverage is None else coverage,
        "pointing_coverage@0.2": hit,
        "pointing_argmax": hit,
        "pointing_touch": hit,
        "energy_pointing": 0.7 if hit else 0.3,
        "insertion_auc": 0.8,
        "deletion_auc": 0.2,
        "highest_confidence": 0.99,
        "forwards": 274.0,
        **changes,
    }


def record(id, *, split="test", correct=True, hit=True, coverage=None, evidence_file=None, **changes):
    """One record."""
    found = measures(hit=hit, coverage=coverage)
    return {
        "id": id,
        "split": split,
        "group": None,
        "label": 1,
        "predicted": 1 if correct else 0,
        "searched": True,
        "correct": correct,
        "correct_top2": True,
        "p_label": 0.9 if correct else 0.2,
        "p_predicted": 0.9 if correct else 0.7,
        "noise": {"0.1": correct},
        "true": found,
        "predicted_evidence": found,
        "evidence_file": evidence_file,
        "error": None,
        **changes,
    }


def failed(id, *, split="test", error="cannot identify image file"):
    """The record of an image that could not be audited."""
    nothing = dict.fromkeys(
        ("correct", "correct_top2", "predicted", "p_label", "p_predicted", "true", "predicted_evidence")
    )
    return record(id, split=split) | nothing | {"noise": {}, "error": error}


def row(metric, value, low=None, high=None, *, split="test", n=100, missing=0, higher_is_better=True):
    """One row of `metrics.json`."""
    return {
        "split": split,
        "metric": metric,
        "value": value,
        "low": low,
        "high": high,
        "n": n,
        "missing": missing,
        "higher_is_better": higher_is_better,
    }


def write_evidence(path: Path, *, height=8, width=8, seed=0, **changes):
    """The arrays of one image: a bright top-left quarter is the strongest region, the right half the prior."""
    rng = np.random.default_rng(seed)
    top_region = np.zeros((height, width), dtype=bool)
    top_region[: height // 2, : width // 2] = True
    allowed = np.zeros((height, width), dtype=bool)
    allowed[:, width // 2 :] = True
    arrays = {
        "image": rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "map": np.where(top_region, 1.0, 0.25).astype(np.float32),
        "top_region": top_region,
        "allowed": allowed,
        "forbidden": np.zeros((height, width), dtype=bool),
        "has_prior": np.array(True),
        "labels": np.where(top_region, 0, 1).astype(np.int32),
        "order": np.array([0, 1], np.int32),
        "insertion": np.array([0.1, 0.6, 0.9], np.float32),
        "deletion": np.array([0.9, 0.3, 0.1], np.float32),
        "view": np.array([0.0, 0.0, 1.0, 1.0]),
        **changes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def write_run(folder: Path, *, records=(), rows=(), **about) -> Path:
    """A whole run folder; `about` overrides `run.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    run = {
        "command": "audit",
        "name": folder.name,
        "model": f"runs/train-{folder.name}",
        "data": "decoy",
        "config": {"partition": "grid:4x4", "fill": "mean"},
        "versions": {"wherenot": "0.1.0", "torch": "2.13.0"},
        "commit": "abc1234",
        "seed": 0,
        "started": "2026-11-21T12:00:00+00:00",
        "seconds": 12.3,
        "rejected": [],
        "failed": 0,
        "classes": ["zero", "one"],
        **about,
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "metrics.json").write_text(json.dumps({"rows": list(rows)}))
    write_records(folder, records)
    return folder
