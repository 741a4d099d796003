"""What an audit costs per image on this machine, and what one of any size costs then: docs/scaling.md.

    python benchmarks/audit_cost.py                    # EfficientNet-Lite0, 224 px, 50 regions, on photographs
    python benchmarks/audit_cost.py --images 8 --search turbo

Three prices per image are measured on the first half of the photographs: reading, cutting, and a forward of the search,
which also says how many there are. Predicted: reading + cutting + forwards x price. That is checked against an audit of
the other half, whole, and a cluster against a simulation of CPU workers, a bounded queue and model holders that draws
each image's latencies from those measured. Prices are seconds of one processor thread; others at work make them longer.
"""

import argparse
import heapq
import random
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import mean

import torch

from wherenot import explain
from wherenot.audit import AuditConfig, audit
from wherenot.bench.photographs import crops, shipped_photographs
from wherenot.data import Dataset, Sample
from wherenot.models import load_classifier
from wherenot.regions import Slico, label_maps
from wherenot.search import parse_search

IMAGENET_VALIDATION, IMAGENET_TRAIN, BILLION = 50_000, 1_281_167, 1_000_000_000
BOTH = torch.tensor([[0, 1]])  # an audit searches the evidence of the label and of the prediction
HOLDERS = 8  # of the model, in the simulated cluster


def seconds(do):
    """What it gives, and seconds of the processor."""
    started = time.process_time()
    found = do()
    return found, time.process_time() - started


def prices(classifier, paths, search, max_regions):
    """Of each image: seconds of reading, of cutting and of the search, and its forwards."""
    found = []
    for path in paths:
        sample = Sample(path.name, 0, "test", None, partial(opened, path), none)
        image, reading = seconds(lambda sample=sample: classifier.preprocess(sample.read_image())[None])
        labels, cutting = seconds(lambda image=image: label_maps(image, Slico(50), classifier.normalization))
        both, searching = seconds(
            lambda image=image, labels=labels: explain(
                classifier,
                image,
                BOTH,
                regions=labels,
                search=parse_search(search),
                max_regions=max_regions,
                chunk=None,
            )
        )
        found.append((reading, cutting, searching, sum(each.forwards for each in both)))
    return found


def simulated(latencies, images, workers, holders, *, queue, seed=0):
    """Seconds until the last record: images go through a worker, wait in the queue, and through a holder."""
    rng = random.Random(seed)
    free_workers, free_holders = [0.0] * workers, [0.0] * holders
    begun = []  # when holders took each image: a worker may be `queue` images ahead of them
    last = 0.0
    for number in range(images):
        reading, cutting, searching, _ = rng.choice(latencies)
        room = begun[number - queue] if number >= queue else 0.0
        start = max(heapq.heappop(free_workers), room)
        heapq.heappush(free_workers, start + reading + cutting)
        taken = max(heapq.heappop(free_holders), start + reading + cutting)
        begun.append(taken)
        heapq.heappush(free_holders, taken + searching)
        last = max(last, taken + searching)
    return last


def opened(path):
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB")


def none():
    return None


def said(amount):
    for unit, size in (("years", 31_557_600), ("days", 86_400), ("h", 3600), ("min", 60)):
        if amount >= size:
            return f"{amount / size:,.1f} {unit}"
    return f"{amount:.1f} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--search", default="fast")
    parser.add_argument("--max-regions", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    classifier = load_classifier(options.model)
    classifier.classes = tuple(map(str, range(len(classifier.classes))))  # ImageNet has two of some names
    pictures = [crop for _, photograph in shipped_photographs() for _, crop in crops(photograph)][:: 66 // 33]
    with tempfile.TemporaryDirectory() as place:
        paths = [Path(place) / f"{number:03d}.jpg" for number in range(options.images)]
        for number, path in enumerate(paths):
            pictures[number % len(pictures)].save(path, quality=92)
        half = options.images // 2
        latencies = prices(classifier, paths[:half], options.search, options.max_regions)
        reading, cutting, searching, forwards = (mean(column) for column in zip(*latencies, strict=True))
        forward = searching / forwards
        predicted = reading + cutting + forwards * forward
        print(f"{options.model}, {options.search}, {half} photographs; seconds of one thread per image:")
        print(f"reading {reading:.4f}, cutting {cutting:.4f}, {forwards:.0f} forwards x {forward:.5f}: {predicted:.3f}")
        samples = tuple(Sample(path.name, 0, "test", None, partial(opened, path), none) for path in paths[half:])
        dataset = Dataset("photographs", tuple(classifier.classes), samples)
        config = AuditConfig(search=options.search, max_regions=options.max_regions, noise=(), batch_size=8)
        whole = partial(audit, classifier, dataset, Path(place) / "run", config, name="cost", model=options.model)
        _, spent = seconds(whole)
        each = spent / len(samples)
        print(f"an audit of {len(samples)} others, whole: {each:.3f} an image, {each / predicted:.2f} of that")
    for speed, workers in ((1, 8), (100, 2), (100, 8), (100, 32)):
        faster = [
            (reading, cutting, searching / speed, forwards) for reading, cutting, searching, forwards in latencies
        ]
        ideal = max((reading + cutting) / workers, searching / speed / HOLDERS)
        took = simulated(faster, 20_000, workers, HOLDERS, queue=4 * HOLDERS)
        print(
            f"{HOLDERS} holders {speed} times as fast, {workers} workers: {20_000 / took:.4g} images/s simulated, "
            f"{1 / ideal:.4g} by formula"
        )
    for name, images in (("ImageNet validation", IMAGENET_VALIDATION), ("train", IMAGENET_TRAIN), ("1 B", BILLION)):
        print(f"{name}: {said(images * predicted)} of one thread")


if __name__ == "__main__":
    main()
