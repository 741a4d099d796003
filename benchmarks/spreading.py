"""How well priors are spread on cutouts: overlap with the true objects before and after.

    python benchmarks/spreading.py --settings watermark object

Rows: which priors were given, and to how many of the images. Given: mean intersection over union of the given priors
with the objects. Spread: of all images' priors afterwards; an image left without a prior counts as 0.
"""

import argparse
import time
from dataclasses import replace

import torch

from wherenot.data import cutouts
from wherenot.experiments.cutouts import cutouts_data
from wherenot.models import load_classifier
from wherenot.spreading import spread_priors

GIVEN = (
    ("exact", 1.0), ("exact", 0.1), ("exact", 0.05), ("exact", 0.02), ("box", 1.0), ("shifted", 1.0), ("shifted", 0.1),
    ("loose", 1.0), ("partial", 1.0), ("wrong", 1.0),
)  # fmt: skip


def overlap(priors, objects):
    pairs = [
        0.0 if prior is None else float((prior.allowed & one.allowed).sum() / (prior.allowed | one.allowed).sum())
        for prior, one in zip(priors, objects, strict=True)
    ]
    return sum(pairs) / len(pairs)


def read(config, model):
    priors = [sample.read_prior() for sample in cutouts(config).split("train").samples]
    return [prior and model.preprocess.prior(prior) for prior in priors]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", default=["watermark"])
    parser.add_argument("--images", type=int, default=240)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_classifier("efficientnet-lite0@112")
    print("| setting | prior | annotated | given | spread | drawn anew | median agreement | seconds |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for setting in options.settings:
        config = replace(cutouts_data(setting), num_train=options.images)
        images = torch.stack([model.preprocess(s.read_image()) for s in cutouts(config).split("train").samples])
        objects = read(config, model)
        for prior, share in GIVEN:
            priors = read(replace(config, prior=prior, prior_frac=share), model)
            annotated = [index for index, one in enumerate(priors) if one is not None]
            started = time.perf_counter()
            spread = spread_priors(model, images, priors)
            seconds = time.perf_counter() - started
            before = overlap([priors[index] for index in annotated], [objects[index] for index in annotated])
            summary = spread.summary()
            print(
                f"| {setting} | {prior} | {len(annotated)} | {before:.2f} | {overlap(spread.priors, objects):.2f} | "
                f"{summary['replaced'] + summary['added']} | {summary['agreement']} | {seconds:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
