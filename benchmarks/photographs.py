"""Is the evidence faithful? Insertion and deletion AUC against other orders of the same regions, on photographs.

    python benchmarks/photographs.py runs/photographs
    python benchmarks/photographs.py runs/photographs \
        --objects /usr/share/tuxpaint/stamps/animals --backgrounds /usr/share/backgrounds/mate/nature

Photographs are those that scikit-image and scikit-learn ship; with --objects (PNG with alpha) and --backgrounds, a
dozen composites besides. One model (EfficientNet-Lite0), one partition (50 SLICO regions), one fill (mean): only the
order differs. Random is one shuffle per image, Grad-CAM ranks regions by their mean, occlusion by what hiding each
costs (Captum's FeatureAblation).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from captum.attr import FeatureAblation
from PIL import Image

from wherenot.bench.photographs import shipped_photographs
from wherenot.explain import explain
from wherenot.maps import grad_cam_map
from wherenot.masking import fill_images
from wherenot.metrics import area_axis, bootstrap_interval, deletion_auc, insertion_auc, paired_difference
from wherenot.models import load_classifier
from wherenot.regions import Slico, label_maps
from wherenot.scoring import RegionScore
from wherenot.search import SEARCHES, parse_search

OBJECTS = (
    "birds/ostrich", "birds/peacock", "birds/penguin", "birds/pelican", "birds/pink_flamingo", "birds/rooster",
    "birds/hen", "birds/tucan", "fish/clownfish", "fish/lobster", "mammals/apes/gorilla", "mammals/aquatic/otter",
)  # fmt: skip


def photographs(objects, backgrounds):
    yield from shipped_photographs()
    if objects is None:
        return
    places = sorted(backgrounds.glob("*.jpg"))
    for number, name in enumerate(OBJECTS):
        place = Image.open(places[number % len(places)]).convert("RGB").resize((448, 448))
        cutout = Image.open((objects / name).with_suffix(".png")).convert("RGBA")
        cutout.thumbnail((260, 260))
        corner = np.random.default_rng(number).integers(0, 448 - np.array(cutout.size))
        place.paste(cutout, tuple(corner.tolist()), cutout)
        yield f"{Path(name).name} on {places[number % len(places)].stem}", place


def aucs(score, order, num_regions, labels):
    """Insertion and deletion AUC of an order of all regions."""
    keep = torch.zeros(num_regions, num_regions, dtype=torch.bool)
    for rank in range(num_regions):
        keep[rank, list(order[: rank + 1])] = True
    zeros = torch.zeros(num_regions, dtype=torch.long)
    insertion, deletion = score(zeros, keep)[:, 0].double(), score(zeros, ~keep)[:, 0].double()
    ends = score(zeros[:2], torch.tensor([[True], [False]]).expand(2, num_regions))[:, 0]
    areas = np.bincount(labels.numpy().ravel(), minlength=num_regions)[list(order)] / labels.numel()
    axis = area_axis(torch.from_numpy(areas))
    return insertion_auc(ends[1].item(), insertion, axis), deletion_auc(ends[0].item(), deletion, axis)


def measure(classifier, name, photograph, search):
    images = classifier.preprocess(photograph)[None]
    with torch.no_grad():
        target = classifier(images).argmax(1)
    labels = label_maps(images, Slico(50), classifier.normalization)
    count = int(labels.max()) + 1
    [evidence] = explain(classifier, images, target, regions=labels, search=parse_search(search))
    fill = fill_images("mean", images, classifier.normalization)
    score = RegionScore(classifier, images, labels, target, fill)
    heat = torch.nn.functional.interpolate(
        grad_cam_map(classifier, images, target)[None], labels.shape[1:], mode="bilinear"
    )
    pixels = torch.bincount(labels.ravel(), minlength=count)
    cam = torch.bincount(labels.ravel(), heat.detach().ravel().double(), minlength=count) / pixels
    occlusion = FeatureAblation(lambda shown: classifier(shown).softmax(1)[:, target[0]]).attribute(
        images, baselines=fill, feature_mask=labels[:, None]
    )
    lost = torch.tensor([occlusion[0, 0][labels[0] == region][0].item() for region in range(count)])
    orders = {
        search: evidence.order.tolist(),
        "random": np.random.default_rng(0).permutation(count).tolist(),
        "grad-cam": cam.argsort(descending=True, stable=True).tolist(),
        "occlusion": lost.argsort(descending=True, stable=True).tolist(),
    }
    found = {how: aucs(score, order, count, labels[0]) for how, order in orders.items()}
    return {
        "name": name, "class": classifier.classes[target[0]], "p": evidence.full, "regions": count,
        "forwards": evidence.forwards, "auc": found,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--objects", type=Path)
    parser.add_argument("--backgrounds", type=Path)
    parser.add_argument("--search", default="scoped", choices=list(SEARCHES))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    store = options.out / f"{options.search}.jsonl"
    done = [json.loads(line) for line in store.read_text().splitlines()] if store.is_file() else []
    classifier = load_classifier("efficientnet-lite0")
    for name, photograph in photographs(options.objects, options.backgrounds):
        if name in {record["name"] for record in done}:
            continue
        done.append(measure(classifier, name, photograph, options.search))
        with store.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
        print(done[-1], flush=True)
    print(f"{len(done)} photographs, {np.mean([r['forwards'] for r in done]):.0f} forwards each")
    print(
        "| order | insertion AUC | deletion AUC | insertion: ours higher by | deletion: ours lower by |\n"
        "|---|---|---|---|---|"
    )
    columns = {how: np.array([record["auc"][how] for record in done]) for how in done[0]["auc"]}
    ours = columns[options.search]
    for how, values in columns.items():
        own = [bootstrap_interval(torch.from_numpy(values[:, side]), seed=0) for side in (0, 1)]
        gains = [
            paired_difference(torch.from_numpy(sign * ours[:, side]), torch.from_numpy(sign * values[:, side]), seed=0)
            for side, sign in ((0, 1), (1, -1))
        ]
        cells = [f"{i.value:.3f} [{i.low:.3f}, {i.high:.3f}]" for i in (*own, *gains)]
        print(f"| {how} | " + " | ".join(cells if how != options.search else [*cells[:2], "", ""]) + " |")


if __name__ == "__main__":
    main()
