"""What of `wherenot` does it: the spreading of priors or the recomposing of images? Runs on cutouts, like the study.

    python benchmarks/cutouts.py runs/cutouts              # first: the study, whose runs are the other columns
    python benchmarks/cutouts_ablation.py runs/cutouts     # goes on where it stopped
    python benchmarks/cutouts_ablation.py runs/cutouts --table

`wherenot` recomposes with the priors as they are given; every other method gets the priors that `wherenot` spreads.
Weights are those that the study chose, with exact priors, from which spreading changes little.
"""

import argparse
import os
import time
from pathlib import Path

import torch
from cutouts import choose, interval, measure
from measured import Measured

from wherenot.experiments.cutouts import GRID
from wherenot.methods import Alignment, BackgroundSwap, BoxGuided, RandomRegions, Recomposition
from wherenot.methods.megl import MEGL
from wherenot.spreading import Spread, spread_priors

METHODS = {
    "wherenot": Recomposition,
    "background_swap": BackgroundSwap,
    "box_guided": BoxGuided,
    "random_regions": RandomRegions,
    "paper": Alignment,
    "megl": MEGL,
}
TRUSTED = Recomposition().trusted


def give_and_take():
    """Let the method that spreads priors take them as given, and all others spread them; for this process."""
    for method in METHODS.values():
        method.spread = as_given if method is Recomposition else spread
        if method is not Recomposition:
            method.augment = lambda _, images, priors, step: images  # noqa: ARG005


def spread(_, model, images, priors, **options):
    return spread_priors(model, images, priors, trusted=TRUSTED, **options)


def as_given(_, model, images, priors, **options):  # noqa: ARG001
    return Spread(
        priors, [prior is not None for prior in priors], [False] * len(priors), torch.full((len(priors),), float("nan"))
    )


def place(setting, condition, method, seed, *, turned):
    return f"{setting}/{condition}{'-ablation' if turned else ''}/{method}/{seed}"


def table(runs, setting, conditions, seeds):
    """Per condition and method, on the same seeds: unbiased accuracy with priors as given, and spread."""
    lines = []
    for condition in conditions:
        lines += ["", f"{setting}, priors {condition}, unbiased accuracy", ""]
        lines += ["| method | priors as given | priors spread | spread - given | seeds |", "|---" * 5 + "|"]
        for method in METHODS:
            found = [
                [runs.read(place(setting, condition, method, seed, turned=turned)) for turned in (False, True)]
                for seed in seeds
            ]
            pairs = [[each["test_unbiased"] for each in pair] for pair in found if all(pair)]
            if not pairs:
                continue
            given, spread = zip(*(pair[::-1] if method == "wherenot" else pair for pair in pairs), strict=True)
            differences = [after - before for before, after in zip(given, spread, strict=True)]
            cells = [interval(list(values)) for values in (given, spread, differences)]
            lines.append(f"| {method} | {' | '.join(cells)} | {len(pairs)} |")
    print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--setting", default="watermark")
    parser.add_argument("--conditions", nargs="+", default=["tenth"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    runs = Measured("cutouts", options.out)
    if not options.table:
        give_and_take()
        for condition in options.conditions:
            for seed in options.seeds:
                for method in options.methods:
                    where = place(options.setting, condition, method, seed, turned=True)
                    if runs.read(where):
                        continue
                    value = choose(runs, options.setting, method)
                    if value is None and method in GRID:
                        raise SystemExit(f"The study has not chosen the weight of {method} yet; run it first.")
                    found = measure(options.out / where, options.setting, condition, method, seed, value)
                    runs.write(where, found)
                    print(time.strftime("%H:%M"), condition, method, seed, found["test_unbiased"], flush=True)
    table(runs, options.setting, options.conditions, options.seeds)


if __name__ == "__main__":
    main()
