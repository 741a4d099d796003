"""The study on cutouts: every method on three shortcuts, with exact, careless and few priors, over five seeds.

    python benchmarks/cutouts.py runs/cutouts                        # everything; goes on where it stopped
    python benchmarks/cutouts.py runs/cutouts --part 1/2             # every second run, for two processes
    python benchmarks/cutouts.py runs/cutouts --table                # only the tables, from the runs that are there
    python benchmarks/cutouts.py runs/cutouts --keep                 # keep what was measured in benchmarks/measured

`--settings`, `--conditions`, `--methods` and `--seeds` run a part of it, which later runs complete. What was kept is
not run again.

For each shortcut every method's weight is chosen on the validation split of seed 0 with exact priors, which has the
shortcut too: among those whose accuracy is within one point of the best, the one whose evidence lies on the prior most
often. Ceiling: the same images with cues drawn at random. Floor: fine-tuning. Cost: processor seconds of training, on
images that are in memory, against those of fine-tuning.
"""

import argparse
import json
import math
import os
import time
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

import torch
from measured import Measured

from wherenot import explain
from wherenot.data import cutouts
from wherenot.experiments.cutouts import GRID, METHODS, cutouts_config, cutouts_data
from wherenot.metrics import over_seeds, pointing_coverage
from wherenot.models import load_classifier
from wherenot.regions import Grid, label_maps
from wherenot.search import Exact
from wherenot.train.training import train

SETTINGS = ("watermark", "background", "object")
CONDITIONS = ("exact", "shifted", "tenth", "fiftieth", "marks")
SEEDS = range(5)
TESTS = ("test_biased", "test_unbiased", "test_conflict", "test_swapped")
POINTED = 30
TOLERANCE = 0.01


def measure(folder, setting, condition, method, seed, value=None, *, ceiling=False, splits=TESTS):
    """Train one configuration and measure it."""
    dataset = in_memory(setting, condition, seed, not ceiling)
    started = time.process_time()
    trained = train(cutouts_config(method, seed=seed, value=value), folder / "train", dataset=dataset, quiet=True)
    found = {"cpu_seconds": time.process_time() - started}
    model = load_classifier(str(trained)).to(memory_format=torch.channels_last)
    run = json.loads((trained / "run.json").read_text())
    found |= {"resumed": run["resumed"], "priors": run.get("priors")}
    for split in splits:
        found[split] = accuracy(model, dataset.split(split).samples)
    found["diverged"] = not all(weight.isfinite().all() for weight in model.parameters())
    # Evidence by another partition than the methods train with, by mean and black fill; none where training diverged.
    for fill in ("mean", "black"):
        samples = () if found["diverged"] else dataset.split(splits[0]).samples[:POINTED]
        found[f"pointing_{fill}"] = pointing(model, samples, fill) / POINTED
    return found


@lru_cache(maxsize=1)
def in_memory(setting, condition, seed, shortcut):
    """The data of a run, composed once for all methods; it is no part of their cost."""
    dataset = cutouts(cutouts_data(setting, condition, shortcut=shortcut, seed=seed))
    samples = tuple(
        replace(sample, read_image=cache(sample.read_image), read_prior=cache(sample.read_prior))
        for sample in dataset.samples
    )
    for sample in samples:
        sample.read_image()
        sample.read_prior()
    return replace(dataset, samples=samples)


@torch.no_grad()
def accuracy(model, samples):
    right = 0
    for start in range(0, len(samples), 25):
        part = samples[start : start + 25]
        images = torch.stack([model.preprocess(sample.read_image()) for sample in part])
        logits = model(images.contiguous(memory_format=torch.channels_last))
        right += int((logits.argmax(1) == torch.tensor([sample.label for sample in part])).sum())
    return right / len(samples)


def pointing(model, samples, fill):
    """On how many images the first region, for the true label, lies on the object; no prior counts as a miss."""
    hits = 0
    for sample in samples:
        prior = sample.read_prior()
        prior = prior and model.preprocess.prior(prior)
        if prior is None:
            continue
        images = model.preprocess(sample.read_image())[None]
        labels = label_maps(images, Grid(4, 4), model.normalization)
        [evidence] = explain(
            model, images, torch.tensor([sample.label]), regions=labels, search=Exact(), max_regions=1,
            fill=fill, chunk=8,
        )  # fmt: skip
        top = labels == int(evidence.order[0])
        hits += bool(pointing_coverage(top, prior.evidence_allowed()[None]))
    return hits


def choose(runs, setting, method):
    """The value of a method's option, from the validation split of seed 0; None while runs are missing."""
    found = {value: runs.read(f"{setting}/grid/{method}-{value:g}") for value in GRID[method][1]}
    if not all(found.values()):
        return None
    best = max(each["validation"] for each in found.values())
    within = [value for value, each in found.items() if each["validation"] >= best - TOLERANCE]
    return max(within, key=lambda value: found[value]["pointing_mean"])


def jobs(settings, conditions, methods, seeds):
    """Place and arguments of each run, in the order in which they are wanted: one setting after the other."""
    tuned = [method for method in methods if method in GRID]
    for setting in settings:
        for method in tuned:
            for value in GRID[method][1]:
                place = f"{setting}/grid/{method}-{value:g}"
                yield place, (setting, "exact", method, 0, value), {"splits": ("validation",)}
        for seed in seeds:
            yield f"{setting}/ceiling/{seed}", (setting, "exact", "finetune", seed), {"ceiling": True}
            yield f"{setting}/finetune/{seed}", (setting, "exact", "finetune", seed), {}
        for condition in conditions:
            if (setting, condition) == ("background", "marks"):  # all but the object: masks say that
                continue
            for seed in seeds:
                for method in tuned:
                    yield f"{setting}/{condition}/{method}/{seed}", (setting, condition, method, seed), {}


def run(runs, planned, part, parts):
    """Do this process's share; a run whose weight is not chosen yet waits for the others."""
    for number, (place, arguments, options) in enumerate(planned):
        if number % parts != part or runs.read(place):
            continue
        setting, _, method = arguments[:3]
        if len(arguments) == 4 and method in GRID:
            while (value := choose(runs, setting, method)) is None:
                time.sleep(20)
            arguments = (*arguments, value)
        found = measure(runs.out / place, *arguments, **options)
        runs.write(place, found)
        print(time.strftime("%H:%M"), place, {k: v for k, v in found.items() if k != "priors"}, flush=True)


def grid_table(runs, setting):
    """What the values of each method's option were chosen by."""
    lines = ["| method | option | value | validation acc | validation pointing | chosen |", "|---" * 6 + "|"]
    for method, (option, values) in GRID.items():
        chosen = choose(runs, setting, method)
        for value in values:
            if each := runs.read(f"{setting}/grid/{method}-{value:g}"):
                found = f"{each['validation']:.3f} | {each['pointing_mean']:.2f}"
                lines.append(f"| {method} | {option} | {value:g} | {found} | {'x' if value == chosen else ''} |")
    return ["", f"{setting}, chosen with exact priors on validation images of seed 0", "", *lines]


def table(runs, settings, conditions):
    """Per setting and condition: mean and 95 % t-interval over seeds, paired difference of ours from each, cost."""
    columns = ("test_biased", "test_unbiased", "test_swapped", "pointing_mean", "pointing_black")
    lines = []
    for setting in settings:
        lines += grid_table(runs, setting)
        for condition in conditions:
            rows = {"no shortcut": [runs.read(f"{setting}/ceiling/{seed}") for seed in SEEDS]}
            for method in METHODS:
                place = "finetune" if method == "finetune" else f"{condition}/{method}"
                rows[method] = [runs.read(f"{setting}/{place}/{seed}") for seed in SEEDS]
            if not any(rows["wherenot"]):
                continue
            lines += ["", f"{setting}, priors {condition}", ""]
            lines += ["| method | " + " | ".join(columns) + " | wherenot - it, unbiased | cost |", "|---" * 8 + "|"]
            for name, found in rows.items():
                if not any(found):
                    continue
                cells = [interval([each[column] for each in found if each]) for column in columns]
                ours = [
                    mine["test_unbiased"] - each["test_unbiased"]
                    for mine, each in zip(rows["wherenot"], found, strict=True)
                    if mine and each
                ]
                cost = [
                    each["cpu_seconds"] / plain["cpu_seconds"]
                    for each, plain in zip(found, rows["finetune"], strict=True)
                    if each and plain and not (each["resumed"] or plain["resumed"])
                ]
                shown = sum(each is not None for each in found)
                label = name if shown == len(SEEDS) else f"{name} ({shown} seeds)"
                ratio = f"{sum(cost) / len(cost):.1f}x" if cost else ""
                lines.append(f"| {label} | {' | '.join(cells)} | {interval(ours)} | {ratio} |")
    runs.out.mkdir(parents=True, exist_ok=True)
    (runs.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def interval(values):
    if not values:
        return ""
    spread = over_seeds(values)
    if math.isnan(spread.high):
        return f"{spread.value:.3f}"
    return f"{spread.value:.3f} ± {spread.high - spread.value:.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--settings", nargs="+", default=SETTINGS, choices=SETTINGS)
    parser.add_argument("--conditions", nargs="+", default=CONDITIONS, choices=CONDITIONS)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--part", default="1/1", help="such as 2/3: the second of three processes")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    runs = Measured("cutouts", options.out)
    if not (options.table or options.keep):
        part, parts = (int(number) for number in options.part.split("/"))
        planned = list(jobs(options.settings, options.conditions, options.methods, options.seeds))
        run(runs, planned, part - 1, parts)
    if options.keep:
        runs.keep()
    table(runs, options.settings, options.conditions)


if __name__ == "__main__":
    main()
