"""Audits the same samples here and on a cluster of this machine, where an actor dies once; prints what differs."""

import json
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from wherenot.audit import AuditConfig, ClassifierAuditor, audit
from wherenot.audit_ray import RayEngine
from wherenot.data import load_dataset
from wherenot.models import build_classifier
from wherenot.records import RecordStore

CONFIG = AuditConfig(max_images=3, max_pictures=2, partition="grid:3x3", noise=(0.1,), batch_size=4)


def auditor(classifier, marker):
    """Its process dies at its first batch, if none did yet."""

    class Dying(ClassifierAuditor):
        def records(self, prepared, plan, /):
            if not marker.exists():
                marker.touch()
                os._exit(1)
            return super().records(prepared, plan)

    return Dying(classifier, CONFIG)


def main(place):
    torch.manual_seed(0)
    dataset = load_dataset(str(place / "data"), on_bad="skip")
    classifier = build_classifier("small-cnn", classes=dataset.classes)
    options = {"name": "toy", "model": "toy"}
    here = audit(classifier, dataset, place / "here", CONFIG, **options)
    cluster = audit(
        classifier, dataset, place / "cluster", replace(CONFIG), **options,
        engine=RayEngine(load=partial(auditor, classifier, place / "died"), actors=1),
    )  # fmt: skip
    records = [list(RecordStore(folder).read()) for folder in (here, cluster)]
    pictures = [sorted(path.name for path in (folder / "evidence").iterdir()) for folder in (here, cluster)]
    print(json.dumps({"died": (place / "died").exists(), "records": records, "pictures": pictures}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
