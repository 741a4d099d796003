"""How much faster do two actors of a Ray cluster on this machine audit than one? Each has one thread.

    python benchmarks/ray_speed.py                             # three times each
    python benchmarks/ray_speed.py --images 60 --repeats 1     # a try

`wherenot audit --engine ray --actors 1` and `2` on decoy, every image searched, in turn; medians
are told. What counts is the time from the first records to the last: neither starting the cluster nor metrics. Records
come in blocks of 32. Efficiency is images per second of two over twice those of one. The process that writes the
records and Ray's own processes share the cores with the actors.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import ray
import torch

from wherenot.audit import AuditConfig, audit
from wherenot.audit_ray import RayEngine
from wherenot.data import decoy
from wherenot.models import build_classifier


def speed(model, data, config, actors):
    """Images per second."""
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        audit(
            model, data, Path(folder) / "run", config, name="speed", model="speed",
            engine=RayEngine(actors=actors, address="auto"),
            on_images=lambda count, _: seen.append((time.perf_counter(), count)),
        )  # fmt: skip
    (first, begun), (last, done) = seen[0], seen[-1]
    return (done - begun) / (last - first)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="small-vit")
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--partition", default="grid:5x5")
    parser.add_argument("--max-regions", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = decoy(0, num_train=10, num_validation=10, num_test=options.images)
    model = build_classifier(options.model, classes=data.classes)
    config = AuditConfig(
        splits=("test_biased",), max_images=options.images, max_pictures=0, partition=options.partition, batch_size=8,
        max_regions=options.max_regions, noise=(),
    )  # fmt: skip
    # A third that no actor takes, or nothing could be done beside them; there are as many cores as the machine has.
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    found = {1: [], 2: []}
    for _ in range(options.repeats):
        for actors in found:
            found[actors].append(speed(model, data, config, actors))
            print(f"{actors}: {found[actors][-1]:.2f} images/s", flush=True)
    one, two = (median(found[actors]) for actors in (1, 2))
    pairs = ", ".join(f"{b / (2 * a):.2f}" for a, b in zip(found[1], found[2], strict=True))
    print(
        f"{options.model}, {options.images} images: {one:.2f} images/s by one actor, {two:.2f} by two, efficiency "
        f"{two / (2 * one):.2f} (of single pairs {pairs})"
    )


if __name__ == "__main__":
    main()
