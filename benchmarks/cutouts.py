"""The study on cutouts: every method on three shortcuts, with exact, careless and few priors, over five seeds.

    python benchmarks/cutouts.py runs/cutouts                        # everything; goes on where it stopped
    python benchmarks/cutouts.py runs/cutouts --part 1/2             # every second run, for two processes
    python benchmarks/cutouts.py runs/cutouts --table                # only the tables, from the runs that are there

For each shortcut every method's weight is chosen on the validation split of seed 0 with exact priors, which has the
shortcut too: among those whose accuracy is within one point of the best, the one whose evidence lies on the prior most
often. Ceiling: the same images with cues drawn at random. Floor: fine-tuning.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

import torch

from wherenot import explain
from wherenot.data import cutouts
from wherenot.experiments.cutouts import GRID, METHODS, cutouts_config, cutouts_data
from wherenot.masking import fill_images
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
    dataset = cutouts(cutouts_data(setting, condition, shortcut=not ceiling, seed=seed))
    trained = train(cutouts_config(method, seed=seed, value=value), folder / "train", dataset=dataset, quiet=True)
    model = load_classifier(str(trained)).to(memory_format=torch.channels_last)
    run = json.loads((trained / "run.json").read_text())
    found = {"seconds": run["seconds"], "resumed": run["resumed"], "priors": run.get("priors")}
    for split in splits:
        found[split] = accuracy(model, dataset.split(split).samples)
    # Evidence by another partition than the methods train with, and by mean and black fill.
    for fill in ("mean", "black"):
        found[f"pointing_{fill}"] = pointing(model, dataset.split(splits[0]).samples[:POINTED], fill)
    part = done.with_suffix(".part")
    part.write_text(json.dumps(found))
    part.replace(done)
    return found


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
    """Share of images whose first region, for the true label, lies on the object; no prior counts as a miss."""
    hits = 0
    for sample in samples:
        prior = sample.read_prior()
        prior = prior and model.preprocess.prior(prior)
        if prior is None:
            continue
        images = model.preprocess(sample.read_image())[None]
        labels = label_maps(images, Grid(7, 7), model.normalization)
        [evidence] = explain(
            model, images, torch.tensor([sample.label]), regions=labels, search=Exact(), max_regions=1,
            fill=fill_images(images, fill, model.normalization), chunk=8,
        )  # fmt: skip
        top = labels == int(evidence.order[0])
        hits += bool(pointing_coverage(top, prior.evidence_allowed()[None]))
    return hits / len(samples)


def choose(out, setting):
    """The value of each method's option, from the validation split of seed 0; None while runs are missing."""
    chosen, lines = (
        {},
        ["| method | option | value | validation acc | validation pointing | chosen |", "|---" * 6 + "|"],
    )
    for method, (option, values) in GRID.items():
        files = {value: out / setting / "grid" / f"{method}-{value:g}" / "measured.json" for value in values}
        if not all(file.is_file() for file in files.values()):
            return None
        found = {value: json.loads(file.read_text()) for value, file in files.items()}
        best = max(each["validation"] for each in found.values())
        within = [value for value in values if found[value]["validation"] >= best - TOLERANCE]
        chosen[method] = max(within, key=lambda value: found[value]["pointing_mean"])
        lines += [
            f"| {method} | {option} | {value:g} | {each['validation']:.3f} | {each['pointing_mean']:.2f} | "
            f"{'x' if value == chosen[method] else ''} |"
            for value, each in found.items()
        ]
    (out / setting / "weights.md").write_text("\n".join(lines) + "\n")
    return chosen


def jobs(out, settings, conditions, seeds):
    """Folder and arguments of each run, in the order in which they are wanted: one setting after the other."""
    for setting in settings:
        for method, (_, values) in GRID.items():
            for value in values:
                folder = out / setting / "grid" / f"{method}-{value:g}"
                yield folder, (setting, "exact", method, 0, value), {"splits": ("validation",)}
        for seed in seeds:
            yield out / setting / "ceiling" / f"{seed}", (setting, "exact", "finetune", seed), {"ceiling": True}
            yield out / setting / "finetune" / f"{seed}", (setting, "exact", "finetune", seed), {}
        for condition in conditions:
            for seed in seeds:
                for method in METHODS:
                    if method != "finetune":
                        folder = out / setting / condition / method / f"{seed}"
                        yield folder, (setting, condition, method, seed), {}


def run(out, planned, part, parts):
    """Do this process's share; a run whose weight is not chosen yet waits for the others."""
    chosen = {}
    for number, (folder, arguments, options) in enumerate(planned):
        if number % parts != part or (folder / "measured.json").is_file():
            continue
        setting, _, method = arguments[:3]
        if len(arguments) == 4 and method in GRID:
            while chosen.get(setting) is None:
                chosen[setting] = choose(out, setting)
                if chosen[setting] is None:
                    time.sleep(20)
            arguments = (*arguments, chosen[setting][method])
        found = measure(folder, *arguments, **options)
        print(time.strftime("%H:%M"), *folder.parts[-3:], {k: v for k, v in found.items() if k != "priors"}, flush=True)


def read(folder):
    file = folder / "measured.json"
    return json.loads(file.read_text()) if file.is_file() else None


def table(out, settings, conditions):
    """Per setting and condition: mean and 95 % t-interval over seeds, paired difference of ours from each, cost."""
    columns = ("test_biased", "test_unbiased", "test_swapped", "pointing_mean", "pointing_black")
    lines = []
    for setting in settings:
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
                    each["seconds"] / plain["seconds"]
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
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--part", default="1/1", help="such as 2/3: the second of three processes")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if not options.table:
        part, parts = (int(number) for number in options.part.split("/"))
        planned = list(jobs(options.out, options.settings, options.conditions, options.seeds))
        run(options.out, planned, part - 1, parts)
    table(options.out, options.settings, options.conditions)


if __name__ == "__main__":
    main()
