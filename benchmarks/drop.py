"""Dropping hidden patches against masking them, on vision transformers: is it faithful, and is it faster?

    wherenot train examples/vit.yaml --out runs/vit
    python benchmarks/drop.py runs/drop --model runs/vit --images 60 --seconds-images 2

Faithfulness: full orders (exact search, 7 x 7 grid, a = b = 1) found with each fill, on test digits that the model
gets right; each order's insertion and deletion AUC measured with every fill. Time: a ViT-S/16 of random weights
(and a ViT-B/16) at 224 px, k = 10 of 49 regions, every candidate scored in every round, the same grid.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from transformers import ViTConfig, ViTForImageClassification

from wherenot.data import load_dataset
from wherenot.explain import explain
from wherenot.metrics import area_axis, bootstrap_interval, deletion_auc, insertion_auc
from wherenot.models import load_classifier
from wherenot.regions import Grid, count_regions, label_maps
from wherenot.scoring import RegionScore, hiding
from wherenot.search import Exact

FILLS = ("mean", "blur", "drop")
SIZES = {"ViT-S/16": (384, 6, 1536), "ViT-B/16": (768, 12, 3072)}


def aucs(classifier, image, labels, target, order, fill):
    """Insertion and deletion AUC of an order, measured with one fill."""
    labels, hidden = hiding(classifier, image, labels, fill, classifier.normalization)
    [count] = count_regions(labels)
    score = RegionScore(classifier, image, labels, target, hidden)
    keep = torch.zeros(count + 1, count, dtype=torch.bool)
    for rank in range(count):
        keep[rank + 1 :, order[rank]] = True
    zeros = torch.zeros(count + 1, dtype=torch.long)
    insertion, deletion = (score(zeros, rows)[:, 0].double() for rows in (keep, ~keep))
    areas = np.bincount(labels.numpy().ravel())[order] / labels.numel()
    axis = area_axis(torch.from_numpy(areas))
    return insertion_auc(float(insertion[0]), insertion[1:], axis), deletion_auc(float(deletion[0]), deletion[1:], axis)


def faithfulness(options):
    classifier = load_classifier(options.model)
    samples = [sample for sample in load_dataset(options.data).samples if sample.split == "test_unbiased"]
    rng = np.random.default_rng(0)
    records = []
    for index in rng.permutation(len(samples)):
        sample = samples[index]
        image = classifier.preprocess(sample.read_image())[None]
        target = torch.tensor([sample.label])
        with torch.no_grad():
            if classifier(image).argmax(1) != target:
                continue
        labels = label_maps(image, Grid(7, 7))
        found = {}
        for fill in FILLS:
            [evidence] = explain(classifier, image, target, regions=labels, fill=fill)
            order = evidence.order.tolist()
            found[fill] = {by: aucs(classifier, image, labels, target, order, by) for by in FILLS}
        order = rng.permutation(49).tolist()
        found["random order"] = {by: aucs(classifier, image, labels, target, order, by) for by in FILLS}
        records.append(found)
        print(f"\r{len(records)} of {options.images}", end="", flush=True)
        if len(records) == options.images:
            break
    print()
    (options.out / "faithfulness.json").write_text(json.dumps(records))
    for side, name in enumerate(("insertion AUC (higher is better)", "deletion AUC (lower is better)")):
        print(f"\n{name}, {len(records)} digits, measured with:\n\n| order found with | {' | '.join(FILLS)} |")
        print("|---|" + "---:|" * len(FILLS))
        for how in (*FILLS, "random order"):
            cells = []
            for by in FILLS:
                values = torch.tensor([record[how][by][side] for record in records], dtype=torch.float64)
                interval = bootstrap_interval(values, seed=0)
                cells.append(f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]")
            print(f"| {how} | {' | '.join(cells)} |")


def timing(options):
    print("\n| model | fill | s / image | forwards | times faster |\n|---|---|---:|---:|---:|")
    for name, (width, heads, inner) in list(SIZES.items())[: options.models]:
        torch.manual_seed(0)
        config = ViTConfig(
            hidden_size=width, num_attention_heads=heads, intermediate_size=inner, num_hidden_layers=12, num_labels=1000
        )
        network = ViTForImageClassification(config).eval()

        class Logits(torch.nn.Module):
            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def forward(self, images):
                return self.inner(images).logits

        model = Logits(network)
        images = torch.rand(options.seconds_images, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
        targets = torch.zeros(len(images), dtype=torch.long)
        seconds = {}
        for fill in ("mean", "drop"):
            settings = {"regions": Grid(7, 7), "fill": fill, "max_regions": 10, "search": Exact(wave=49)}
            explain(model, images[:1], targets[:1], **{**settings, "max_regions": 1})  # measures the micro-batch
            started = time.perf_counter()
            found = explain(model, images, targets, **settings)
            seconds[fill] = (time.perf_counter() - started) / len(images)
            forwards = np.mean([evidence.forwards for evidence in found])
            faster = seconds["mean"] / seconds[fill]
            print(f"| {name} | {fill} | {seconds[fill]:.1f} | {forwards:.0f} | {faster:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="runs/vit")
    parser.add_argument("--data", default="decoy:no-shortcut")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--seconds-images", type=int, default=2)
    parser.add_argument("--models", type=int, default=1, choices=[1, 2], help="1: ViT-S/16 alone; 2: ViT-B/16 too")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.images:
        faithfulness(options)
    if options.seconds_images:
        timing(options)


if __name__ == "__main__":
    main()
