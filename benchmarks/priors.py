"""How good priors without a model trained for it are on cutouts, whose objects are known.

    python benchmarks/priors.py

Overlap: intersection over union of prior and object, 0 where nothing was found. On the object: the share of the prior
that lies on it, where something was found. Means over training images with 95 % bootstrap intervals. Spreading learns
from masks, or boxes, of every fifth image and is measured on the others.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from wherenot.data import cutouts
from wherenot.data.cutouts import cutouts_config
from wherenot.metrics.statistics import bootstrap_interval
from wherenot.proposals import ProposalConfig, asked_about, build_source, propose, spreading_source
from wherenot.run import RunFolder

MODEL = "efficientnet-lite0"
SHORTCUTS = ("background", "object", "watermark", "tint")


def told(values):
    found = bootstrap_interval(torch.tensor(values, dtype=torch.float32), seed=0)
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def compared(samples, objects):
    """Overlap of each prior with the object, and the share of it on the object."""
    overlaps, shares = [], []
    for sample, truth in zip(samples, objects, strict=True):
        prior = sample.read_prior()
        both = 0.0 if prior is None else float((prior.allowed & truth.allowed).sum())
        overlaps.append(0.0 if prior is None else both / float((prior.allowed | truth.allowed).sum()))
        shares += [] if prior is None else [both / float(prior.allowed.sum())]
    return overlaps, shares


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    options = parser.parse_args()
    print("| shortcut | prior | found | overlap | on the object |")
    print("|---|---|---:|---:|---:|")
    for shortcut in SHORTCUTS:
        config = replace(cutouts_config(shortcut), num_train=options.images)
        objects = [sample.read_prior() for sample in cutouts(config).split("train").samples]
        boxes = cutouts(replace(config, prior="box")).split("train")
        bare = replace(boxes, samples=tuple(replace(s, read_prior=lambda: None) for s in boxes.samples))
        rows = [("its box, by hand", boxes, len(boxes))]
        for kind, dataset in (("boxes", boxes), ("saliency", bare)):
            source = build_source(ProposalConfig(kind=kind), boxes.classes)
            with tempfile.TemporaryDirectory() as folder:
                proposed = propose(dataset, source, asked_about(dataset, source), RunFolder(Path(folder)))
            rows.append((f"{kind} ({source.model})", proposed.dataset, proposed.made))
        for name, dataset, made in rows:
            say(shortcut, name, made, dataset.samples, objects)
        for word, by_hand in (("masks", cutouts(config).split("train")), ("boxes", boxes)):
            few = replace(
                by_hand,
                samples=tuple(
                    s if place % 5 == 0 else replace(s, read_prior=lambda: None)
                    for place, s in enumerate(by_hand.samples)
                ),
            )
            source = spreading_source(few, MODEL).source
            with tempfile.TemporaryDirectory() as folder:
                proposed = propose(few, source, asked_about(few, source), RunFolder(Path(folder)))
            new = [place for place in range(len(objects)) if place % 5]
            left = [proposed.dataset.samples[place] for place in new]
            say(shortcut, f"spreading, {word} on a fifth", proposed.made, left, [objects[place] for place in new])


def say(shortcut, name, made, samples, objects):
    overlaps, shares = compared(samples, objects)
    row = (shortcut, name, f"{made / len(objects):.2f}", told(overlaps), told(shares))
    print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
