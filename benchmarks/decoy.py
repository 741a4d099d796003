"""The study on decoy digits: every method over 5 seeds, its weight chosen on validation data that have the bias.

    python benchmarks/decoy.py runs/study            # everything; goes on where it stopped
    python benchmarks/decoy.py runs/study --choose   # only the choice of weights, on seed 0
    python benchmarks/decoy.py runs/study --table    # only the tables, from the runs that are there

A weight is chosen by the validation split of seed 0: among those whose accuracy is within one point of the best, the
one whose evidence lies on the prior most often. Every method tries three weights. The table shows fine-tuning as the
floor and training without the shortcut as the ceiling.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from wherenot.audit import AuditConfig, audit
from wherenot.data import load_dataset
from wherenot.experiments.decoy import AUDIT, GRID, METHODS, decoy_config
from wherenot.metrics import over_seeds
from wherenot.models import load_classifier
from wherenot.train.training import train

SEEDS = range(5)
CEILING = "no shortcut"
EVIDENCE_IMAGES = 60
COLUMNS = (
    ("biased acc", "test_biased", "top1"),
    ("unbiased acc", "test_unbiased", "top1"),
    ("swapped acc", "test_swapped", "top1"),
    ("pointing, biased", "test_biased", "pointing_coverage@0.2"),
    ("pointing, unbiased", "test_unbiased", "pointing_coverage@0.2"),
)


def measure(config, out, audited, data="decoy"):
    """Train and audit one configuration; what is done already is not done again."""
    dataset = load_dataset(data, seed=config.seed)
    trained = train(config, out / "train", dataset=dataset, quiet=True)
    folder = audit(
        load_classifier(str(trained)), dataset, out / "audit", audited, name=config.title, model=config.title
    )
    return metrics_of(folder), json.loads((trained / "run.json").read_text())["seconds"]


def metrics_of(folder):
    rows = json.loads((folder / "metrics.json").read_text())["rows"]
    return {(row["split"], row["metric"]): row["value"] for row in rows}


def choose(out, methods):
    """The weight of each method, from the validation split of seed 0."""
    audited = AuditConfig(partition=AUDIT.partition, splits=("validation",), max_images=EVIDENCE_IMAGES, noise=())
    chosen, lines = {}, ["| method | weight | validation acc | validation pointing | chosen |", "|---|---|---|---|---|"]
    for method, (_, weights) in GRID.items():
        if method not in methods:
            continue
        found = {}
        for weight in weights:
            config = decoy_config(method, seed=0, value=weight)
            metrics, _ = measure(config, out / "grid" / f"{method}-{weight:g}", audited)
            found[weight] = [metrics["validation", name] for name in ("top1", "pointing_coverage@0.2")]
            print(method, weight, found[weight], flush=True)
        best = max(accuracy for accuracy, _ in found.values())
        chosen[method] = max((w for w in weights if found[w][0] >= best - 0.01), key=lambda w: found[w][1])
        lines += [
            f"| {method} | {weight:g} | {accuracy:.3f} | {pointing:.2f} | {'x' if weight == chosen[method] else ''} |"
            for weight, (accuracy, pointing) in found.items()
        ]
    (out / "weights.json").write_text(json.dumps(chosen, indent=1))
    (out / "weights.md").write_text("\n".join(lines) + "\n")


def run_seeds(out, seeds, methods):
    """Every method with its weight, on these seeds."""
    chosen = json.loads((out / "weights.json").read_text())
    audited = replace(AUDIT, max_images=EVIDENCE_IMAGES, noise=())
    for seed in seeds:
        for method in methods:
            config = decoy_config(method, seed=seed, value=chosen.get(method))
            metrics, seconds = measure(config, out / "seeds" / f"{method}-{seed}", audited)
            print(method, seed, [round(metrics[split, name], 3) for _, split, name in COLUMNS], seconds, flush=True)
        config = replace(decoy_config("finetune", seed=seed), data="decoy:no-shortcut", name=CEILING)
        measure(config, out / "seeds" / f"ceiling-{seed}", audited, data="decoy:no-shortcut")


def table(out, methods):
    """The table, mean and 95 % t-interval over seeds; cost is training time against fine-tuning, same seed."""
    chosen = json.loads((out / "weights.json").read_text())
    heads = ["method", "weight", *(head for head, _, _ in COLUMNS), "cost"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    seconds = {}
    for method in (*methods, "ceiling"):
        folders = [out / "seeds" / f"{method}-{seed}" for seed in SEEDS]
        metrics = [metrics_of(folder / "audit") for folder in folders]
        seconds[method] = [json.loads((f / "train" / "run.json").read_text())["seconds"] for f in folders]
        cells = [over_seeds([m[split, name] for m in metrics]) for _, split, name in COLUMNS]
        ratio = over_seeds([own / plain for own, plain in zip(seconds[method], seconds["finetune"], strict=True)])
        lines.append(
            f"| {method} | {chosen.get(method, '')} | "
            + " | ".join(f"{cell.value:.3f} ± {cell.high - cell.value:.3f}" for cell in cells)
            + f" | {ratio.value:.1f}x |"
        )
    (out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="share the seeds among processes")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, help="with finetune, for the cost")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.table:
        if not (options.out / "weights.json").is_file():
            choose(options.out, options.methods)
        if options.choose:
            return
        run_seeds(options.out, options.seeds, options.methods)
    if set(options.seeds) == set(SEEDS):
        table(options.out, options.methods)


if __name__ == "__main__":
    main()
