"""The study on cutouts: every method on three shortcuts, with exact, careless and few priors, over five seeds.

    python benchmarks/cutouts.py runs/cutouts                        # everything; goes on where it stopped
    python benchmarks/cutouts.py runs/cutouts --part 1/2             # every second run, for two processes
    python benchmarks/cutouts.py runs/cutouts --table                # only the tables, from the runs that are there

`--settings`, `--conditions`, `--methods` and `--seeds` run a part of it, which later runs complete.

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

from wherenot import explain
from wherenot.data import cutouts
from wherenot.experiments.cutouts import GRID, METHODS, cutouts_config, cutouts_data
from wherenot.metrics import over_seeds, pointing_coverage
from wherenot.models import load_classifier
from wherenot.regions import Grid, label_maps
from wherenot.search import Exact
from wherenot.train.training import train

SETTINGS = ("watermark", "background", "object")
CONDITIONS = ("exact", "shifted", "tenth", "fiftieth")
SEEDS = range(5)
TESTS = ("test_biased", "test_unbiased", "test_conflict", "test_swapped")
POINTED = 30
TOLERANCE = 0.01


def measure(folder, setting, condition, method, seed, value=None, *, ceiling=False, splits=TESTS):
    """Train one configuration and measure it; what is done already is not done again."""
    done = folder / "measured.json"
    if done.is_file():
        return json.loads(done.read_text())
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
    part = done.with_suffix(".part")
    part.write_text(json.dumps(found))
    part.replace(done)
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


def choose(out, setting, method):
    """The value of a method's option, from the validation split of seed 0; None while runs are missing."""
    found = {value: read(out / setting / "grid" / f"{method}-{value:g}") for value in GRID[method][1]}
    if not all(found.values()):
        return None
    best = max(each["validation"] for each in found.values())
    within = [value for value, each in found.items() if each["validation"] >= best - TOLERANCE]
    return max(within, key=lambda value: found[value]["pointing_mean"])


def jobs(out, settings, conditions, methods, seeds):
    """Folder and arguments of each run, in the order in which they are wanted: one setting after the other."""
    tuned = [method for method in methods if method in GRID]
    for setting in settings:
        for method in tuned:
            for value in GRID[method][1]:
                folder = out / setting / "grid" / f"{method}-{value:g}"
                yield folder, (setting, "exact", method, 0, value), {"splits": ("validation",)}
        for seed in seeds:
            yield out / setting / "ceiling" / f"{seed}", (setting, "exact", "finetune", seed), {"ceiling": True}
            yield out / setting / "finetune" / f"{seed}", (setting, "exact", "finetune", seed), {}
        for condition in conditions:
            for seed in seeds:
                for method in tuned:
                    yield out / setting / condition / method / f"{seed}", (setting, condition, method, seed), {}


def run(out, planned, part, parts):
    """Do this process's share; a run whose weight is not chosen yet waits for the others."""
    for number, (folder, arguments, options) in enumerate(planned):
        if number % parts != part or read(folder):
            continue
        setting, _, method = arguments[:3]
        if len(arguments) == 4 and method in GRID:
            while (value := choose(out, setting, method)) is None:
                time.sleep(20)
            arguments = (*arguments, value)
        found = measure(folder, *arguments, **options)
        print(time.strftime("%H:%M"), *folder.parts[-3:], {k: v for k, v in found.items() if k != "priors"}, flush=True)


def read(folder):
    file = folder / "measured.json"
    return json.loads(file.read_text()) if file.is_file() else None


def grid_table(out, setting):
    """What the values of each method's option were chosen by."""
    lines = ["| method | option | value | validation acc | validation pointing | chosen |", "|---" * 6 + "|"]
    for method, (option, values) in GRID.items():
        chosen = choose(out, setting, method)
        for value in values:
            if each := read(out / setting / "grid" / f"{method}-{value:g}"):
                found = f"{each['validation']:.3f} | {each['pointing_mean']:.2f}"
                lines.append(f"| {method} | {option} | {value:g} | {found} | {'x' if value == chosen else ''} |")
    return ["", f"{setting}, chosen with exact priors on validation images of seed 0", "", *lines]


def table(out, settings, conditions):
    """Per setting and condition: mean and 95 % t-interval over seeds, paired difference of ours from each, cost."""
    columns = ("test_biased", "test_unbiased", "test_swapped", "pointing_mean", "pointing_black")
    lines = []
    for setting in settings:
        lines += grid_table(out, setting)
        for condition in conditions:
            rows = {"no shortcut": [read(out / setting / "ceiling" / f"{seed}") for seed in SEEDS]}
            for method in METHODS:
                place = out / setting / ("finetune" if method == "finetune" else f"{condition}/{method}")
                rows[method] = [read(place / f"{seed}") for seed in SEEDS]
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
    (out / "table.md").write_text("\n".join(lines) + "\n")
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
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if not options.table:
        part, parts = (int(number) for number in options.part.split("/"))
        planned = list(jobs(options.out, options.settings, options.conditions, options.methods, options.seeds))
        run(options.out, planned, part - 1, parts)
    table(options.out, options.settings, options.conditions)


if __name__ == "__main__":
    main()
