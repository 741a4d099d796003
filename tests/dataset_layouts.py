"""Tiny data sets in the exact layouts of the real ones, with classes that can be learnt: each object has its colour.

Every image is grey noise with one 24 x 24 object of its class's colour; the mask is the object. `classes` is how many
classes have images, `images` how many each has per split.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, OBJECT = 64, 24
COLOURS = [(230, 40, 40), (40, 200, 40), (60, 60, 240), (230, 220, 40), (220, 40, 220), (40, 220, 220)]
WNIDS = [f"n{number:08d}" for number in range(1440764, 1440764 + 919)]
VOC_CLASSES = ["aeroplane", "bicycle", "bird", "boat", "bottle", "bus"]


def scene(seed, label, second=None):
    """Pixels, the box of the object (xyxy, half-open), and that of a second class's smaller object."""
    random = np.random.default_rng(seed)
    pixels = random.integers(90, 150, (SIDE, SIDE, 3), dtype=np.uint8)
    x, y = random.integers(0, SIDE // 2 - OBJECT, 2).tolist()
    box = (x, y, x + OBJECT, y + OBJECT)
    pixels[y : y + OBJECT, x : x + OBJECT] = COLOURS[label % len(COLOURS)]
    other = (40, 40, 56, 56)
    if second is not None:
        pixels[40:56, 40:56] = COLOURS[second % len(COLOURS)]
    return pixels, box, other


def inside(box, size=SIDE):
    x0, y0, x1, y1 = box
    mask = np.zeros((size, size), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def rgb_ids(ids):
    """The picture that stands for ImageNet-S ids."""
    ids = np.asarray(ids)
    return np.stack([ids % 256, ids // 256, np.zeros_like(ids)], axis=-1).astype(np.uint8)


def make_imagenet_s(root, variant=50, classes=3, images=2, names=True, seed=0):
    """ImageNetS<variant>: another class (id) in each mask, a strip to ignore, and a test split without masks."""
    root = Path(root) / f"ImageNetS{variant}"
    wnids = WNIDS[:variant]
    write(root / f"ImageNetS_categories_im{variant}.txt", "\n".join(reversed(wnids)) + "\n")
    if names:
        lines = [f"{wnid} thing {index}, a gloss" for index, wnid in enumerate(wnids)]
        lines[:2] = [f"{wnids[0]} crane", f"{wnids[1]} crane, a bird"]
        write(root / "LOC_synset_mapping.txt", "\n".join(lines))
    for part, folder in enumerate(("train-semi", "validation", "test")):
        for label in range(classes):
            for number in range(images):
                pixels, box, other = scene([seed, part, label, number], label, second=label + 1)
                name = f"{wnids[label]}/{wnids[label]}_{part}{number}"
                save(root / folder / f"{name}.JPEG", pixels, quality=95, subsampling=0)
                if folder != "test":
                    ids = np.where(inside(box), label + 1, 0)
                    ids[inside(other)] = label + 2
                    ids[-2:] = 1000
                    save(root / f"{folder}-segmentation" / f"{name}.png", rgb_ids(ids))
    return root


def make_saliency_bench(root, classes=3, images=2, seed=0):
    """Saliency-Bench/pascal with the two lists."""
    root = Path(root) / "Saliency-Bench"
    for part, split in enumerate(("train", "test")):
        lines = []
        for label, name in enumerate(VOC_CLASSES[:classes]):
            for number in range(images):
                pixels, box, _ = scene([seed, part, label, number], label)
                id = f"{name}/2007_{part}{label}{number:04d}"
                save(root / f"pascal/image/{id}.png", pixels)
                mask = root / f"pascal/attention_mask/{id}.npy"
                mask.parent.mkdir(parents=True, exist_ok=True)
                np.save(mask, inside(box) * 0.7)
                lines.append(
                    f"Saliency-Bench/pascal/image/{id}.png Saliency-Bench/pascal/attention_mask/{id}.npy {name}"
                )
        write(root / f"{split}.txt", "\n".join(lines) + "\n")
    return root


def make_lists(root, classes=3, images=2, seed=0):
    """Three-column lists, with spaces in paths and class names."""
    root = Path(root)
    for part, split in enumerate(("train", "test")):
        lines = []
        for label in range(classes):
            for number in range(images):
                pixels, box, _ = scene([seed, part, label, number], label)
                image, mask = f"my images/{split} {label} {number}.png", f"masks/{split} {label} {number}.npy"
                save(root / image, pixels)
                (root / "masks").mkdir(exist_ok=True)
                np.save(root / mask, inside(box))
                lines.append(f"{image} {mask} class {label}")
        write(root / f"{split}.txt", "\n".join(lines))
    return root


def run_lengths(mask):
    """COCO's uncompressed counts: down the columns, starting outside."""
    flat = np.asarray(mask).T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges.tolist(), flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


def compressed(mask):
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


def corners(box):
    x0, y0, x1, y1 = box
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def make_coco(root, classes=3, images=2, rle="list", seed=0):
    """COCO: per image a polygon, a smaller object of another class as RLE, and a crowd over a strip."""
    root = Path(root) / "coco"
    categories = [{"id": 10 * label + 1, "name": f"thing {label}"} for label in range(classes)]
    for part, split in enumerate(("train2017", "val2017")):
        content = {"images": [], "annotations": [], "categories": categories}
        for label in range(classes):
            for number in range(images):
                other = (label + 1) % classes
                pixels, box, small = scene([seed, part, label, number], label, second=other)
                id = 100 * label + number + 1
                name = f"{id:012d}.jpg"
                save(root / split / name, pixels, quality=95, subsampling=0)
                content["images"].append({"id": id, "file_name": name, "height": SIDE, "width": SIDE})
                mask, crowd = inside(small), inside((0, 0, SIDE, 30))
                shape = compressed(mask) if rle == "compressed" else {"size": [SIDE] * 2, "counts": run_lengths(mask)}
                for category, area, segmentation, is_crowd in (
                    (label, OBJECT**2, [corners(box)], 0),
                    (other, 256, shape, 0),
                    (label, SIDE * 30, {"size": [SIDE] * 2, "counts": run_lengths(crowd)}, 1),
                ):
                    content["annotations"].append(
                        {
                            "id": len(content["annotations"]) + 1,
                            "image_id": id,
                            "category_id": 10 * category + 1,
                            "area": area,
                            "segmentation": segmentation,
                            "iscrowd": is_crowd,
                        }
                    )
        write(root / "annotations" / f"instances_{split}.json", json.dumps(content))
    return root


def make_voc(root, classes=3, images=2, lists=("train", "val"), seed=0):
    """VOCdevkit/VOC2012: boxes, class masks with a void border, and lists; a second smaller object in each image."""
    root = Path(root) / "VOCdevkit" / "VOC2012"
    palette = [level for index in range(256) for level in (index, 255 - index, index // 2)]
    for part, split in enumerate(lists):
        ids = []
        for label in range(classes):
            for number in range(images):
                other = (label + 1) % classes
                pixels, box, small = scene([seed, part, label, number], label, second=other)
                id = f"2007_{part}{label}{number:04d}"
                ids.append(id)
                save(root / "JPEGImages" / f"{id}.jpg", pixels, quality=95, subsampling=0)
                mask = np.where(inside(box), label + 1, 0).astype(np.uint8)
                mask[inside(small)] = other + 1
                mask[-2:] = 255
                picture = Image.fromarray(mask).convert("P")
                picture.putpalette(palette)
                (root / "SegmentationClass").mkdir(exist_ok=True)
                picture.save(root / "SegmentationClass" / f"{id}.png")
                objects = [(label, box, 0), (other, small, 0), (label, (50, 0, 64, 30), 1)]
                write(root / "Annotations" / f"{id}.xml", voc_xml(objects))
        for kind in ("Main", "Segmentation"):
            write(root / "ImageSets" / kind / f"{split}.txt", "\n".join(ids) + "\n")
    return root


def voc_xml(objects, size=SIDE):
    shown = "".join(
        f"<object><name>{VOC_CLASSES[label]}</name><difficult>{difficult}</difficult><bndbox>"
        f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for label, (x0, y0, x1, y1), difficult in objects
    )
    size = f"<size><width>{size}</width><height>{size}</height><depth>3</depth></size>"
    return f"<annotation><folder>VOC2012</folder>{size}{shown}</annotation>"
