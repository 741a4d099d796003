"""The study on decoy digits when priors are careless or few; every option as the study with exact priors chose it.

    python benchmarks/decoy_priors.py runs/decoy_priors              # everything; goes on where it stopped
    python benchmarks/decoy_priors.py runs/decoy_priors --table      # only the tables, from the runs that are there
    python benchmarks/decoy_priors.py runs/decoy_priors --keep       # keep what was measured in benchmarks/measured

Conditions: every prior shifted by 7 of 28 pixels; exact priors for a tenth or a fiftieth of the images of training and
validation, drawn by the seed; for a fiftieth, nothing but a mark on the square, where evidence may not lie. Cost:
processor seconds of training against those of fine-tuning, of the same seed.
"""

import argparse
import os
import random
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from cutouts import interval
from decoy import COLUMNS, EVIDENCE_IMAGES, metrics_of
from measured import Measured

from wherenot.audit import audit
from wherenot.data import load_dataset
from wherenot.experiments.decoy import AUDIT, METHODS, decoy_config
from wherenot.models import load_classifier
from wherenot.priors import Prior
from wherenot.train.training import train

SHARES = {"shifted": 1.0, "tenth": 0.1, "fiftieth": 0.02, "marks": 0.02}
SEEDS = range(5)
VALUES = {  # as docs/log.md has them
    "wherenot": 0.5, "background_swap": 0.3, "box_guided": 3.0, "counterfactual": 3.0, "random_regions": 2.0,
    "paper": 5.0, "log": 2.0, "rrr": 10_000.0, "xil": 10.0, "megl": 1.0,
}  # fmt: skip


def decoys(condition, seed):
    if condition == "ceiling":
        return load_dataset("decoy:no-shortcut", seed=seed)
    if condition == "shifted":
        return load_dataset("decoy:shifted", seed=seed)
    dataset = load_dataset("decoy", seed=seed)
    kept = set()
    for split in ("train", "validation"):
        ids = [sample.id for sample in dataset.split(split).samples]
        kept |= set(random.Random(seed).sample(ids, round(SHARES.get(condition, 1.0) * len(ids))))
    return replace(dataset, samples=tuple(annotated(sample, kept, condition) for sample in dataset.samples))


def annotated(sample, kept, condition):
    if sample.split.startswith("test"):
        return sample
    if sample.id not in kept:
        return replace(sample, read_prior=no_prior)
    return replace(sample, read_prior=partial(square, sample.read_image)) if condition == "marks" else sample


def no_prior():
    return None


def square(read_image):
    """Evidence may not lie where there is colour."""
    pixels = torch.from_numpy(np.array(read_image()))
    return Prior.from_mask((pixels != pixels[..., :1]).any(-1), forbidden=True)


def measure(folder, condition, method, seed):
    """Train one configuration and audit it."""
    dataset = decoys(condition, seed)
    config = decoy_config(method, seed=seed, value=VALUES.get(method))
    started = time.process_time()
    trained = train(config, folder / "train", dataset=dataset, quiet=True)
    seconds = time.process_time() - started
    audited = replace(AUDIT, max_images=EVIDENCE_IMAGES, noise=())
    found = metrics_of(
        audit(load_classifier(str(trained)), dataset, folder / "audit", audited, name=method, model=method)
    )
    return {head: found[split, name] for head, split, name in COLUMNS} | {"cpu_seconds": seconds}


def jobs(conditions, methods, seeds):
    for seed in seeds:
        yield f"ceiling/{seed}", "ceiling", "finetune", seed
        yield f"finetune/{seed}", "exact", "finetune", seed
        for condition in conditions:
            for method in methods:
                yield f"{condition}/{method}/{seed}", condition, method, seed


def table(runs, conditions, methods):
    heads = [head for head, _, _ in COLUMNS]
    lines = []
    for condition in conditions:
        lines += ["", f"Priors {condition}", "", f"| method | {' | '.join(heads)} | wherenot - it, unbiased | cost |"]
        lines += ["|---" * (len(heads) + 3) + "|"]
        ours = [runs.read(f"{condition}/wherenot/{seed}") for seed in SEEDS]
        plain = [runs.read(f"finetune/{seed}") for seed in SEEDS]
        for method in ("ceiling", "finetune", *methods):
            place = method if method in ("ceiling", "finetune") else f"{condition}/{method}"
            found = [runs.read(f"{place}/{seed}") for seed in SEEDS]
            if not any(found):
                continue
            cells = [interval([each[head] for each in found if each]) for head in heads]
            ahead = [
                mine["unbiased acc"] - each["unbiased acc"]
                for mine, each in zip(ours, found, strict=True)
                if mine and each
            ]
            cost = [
                each["cpu_seconds"] / base["cpu_seconds"]
                for each, base in zip(found, plain, strict=True)
                if each and base
            ]
            name = method if all(found) else f"{method} ({sum(each is not None for each in found)} seeds)"
            lines.append(f"| {name} | {' | '.join(cells)} | {interval(ahead)} | {sum(cost) / len(cost):.1f}x |")
    print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--conditions", nargs="+", default=list(SHARES), choices=SHARES)
    parser.add_argument("--methods", nargs="+", default=METHODS[1:], choices=METHODS[1:])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    runs = Measured("decoy_priors", options.out)
    if not (options.table or options.keep):
        for place, condition, method, seed in jobs(options.conditions, options.methods, options.seeds):
            if not runs.read(place):
                found = measure(runs.out / place, condition, method, seed)
                runs.write(place, found)
                print(time.strftime("%H:%M"), place, {k: round(v, 3) for k, v in found.items()}, flush=True)
    if options.keep:
        runs.keep()
    table(runs, options.conditions, options.methods)


if __name__ == "__main__":
    main()
