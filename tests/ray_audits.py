"""Audits the same samples here and on a cluster of this machine, where an actor or a node dies once; prints both."""

import json
import os
import sys
import threading
import time
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


def noting(classifier, place):
    """Says on which node it is before its first batch, and takes its time for each."""

    class Noting(ClassifierAuditor):
        def records(self, prepared, plan, /):
            import ray

            (place / f"node-{ray.get_runtime_context().get_node_id()}").touch()
            with (place / "made.txt").open("a") as made:
                made.writelines(f"{each.sample.id}\n" for each in prepared)
            time.sleep(0.5)
            return super().records(prepared, plan)

    return Noting(classifier, CONFIG)


def take_a_node_away(cluster, nodes, place):
    """Once there is an actor on one of them, in the midst of its work."""
    while not (found := list(place.glob("node-*"))):
        time.sleep(0.05)
    time.sleep(0.7)
    busy = found[0].name.removeprefix("node-")
    [node] = [node for node in nodes if node.node_id == busy]
    cluster.remove_node(node, allow_graceful=False)
    (place / "died").touch()


def with_a_node_less(place, dataset, classifier, options):
    from ray.cluster_utils import Cluster

    memory = 80 * 2**20
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": memory})
    nodes = [cluster.add_node(num_cpus=3, object_store_memory=memory) for _ in range(2)]
    thread = threading.Thread(target=take_a_node_away, args=(cluster, nodes, place), daemon=True)
    thread.start()
    engine = RayEngine(load=partial(noting, classifier, place), actors=2, address=cluster.address)
    try:
        return audit(classifier, dataset, place / "cluster", replace(CONFIG), **options, engine=engine)
    finally:
        import ray

        ray.shutdown()
        cluster.shutdown()


def main(place, dies):
    torch.manual_seed(0)
    dataset = load_dataset(str(place / "data"), on_bad="skip")
    classifier = build_classifier("small-cnn", classes=dataset.classes)
    options = {"name": "toy", "model": "toy"}
    here = audit(classifier, dataset, place / "here", CONFIG, **options)
    if dies == "node":
        cluster = with_a_node_less(place, dataset, classifier, options)
    else:
        engine = RayEngine(load=partial(auditor, classifier, place / "died"), actors=1)
        cluster = audit(classifier, dataset, place / "cluster", replace(CONFIG), **options, engine=engine)
    records = [list(RecordStore(folder).read()) for folder in (here, cluster)]
    pictures = [sorted(path.name for path in (folder / "evidence").iterdir()) for folder in (here, cluster)]
    print(json.dumps({"died": (place / "died").exists(), "records": records, "pictures": pictures}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
