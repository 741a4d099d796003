"""Picture how a few marks are found in all images: ``python docs/marks_picture.py PICTURE.png``.

Views of the photographs that come with scikit-image and scikit-learn get a stamp at a random place. Boxes on eight of
them, drawn as a person would, are all that is known; the picture shows what is drawn in views of other photographs.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from wherenot.bench.photographs import crops, shipped_photographs
from wherenot.models import load_classifier
from wherenot.priors import Prior
from wherenot.report.figures import FORBIDDEN_COLOR, draw_outline
from wherenot.spreading import spread_priors

MARKED, SHOWN = 8, 4
TEACHERS = {"astronaut", "cat", "coffee", "motorcycle", "china"}


def stamped(view: Image.Image, random: np.random.Generator) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """A copy with a stamp, and its box."""
    image = view.copy()
    pen = ImageDraw.Draw(image, "RGBA")
    font = ImageFont.load_default(22)
    left, top, right, bottom = pen.textbbox((0, 0), "© PHOTO", font=font, stroke_width=1)
    x, y = (int(random.integers(2, side - size)) for side, size in zip(image.size, (right, bottom), strict=True))
    pen.text((x, y), "© PHOTO", font=font, fill=(255, 235, 60, 210), stroke_width=1, stroke_fill=(0, 0, 0, 210))
    return image, (x + left, y + top, x + right, y + bottom)


def main(picture: Path) -> None:
    """Stamp, mark, spread, and draw both; print how well what is drawn meets the stamps."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    model = load_classifier("efficientnet-lite0")
    whole = model.preprocess.whole()
    names, images, boxes = [], [], []
    for name, photograph in shipped_photographs():
        for _, view in crops(photograph):
            image, box = stamped(whole.pixels(view), random)
            names.append(name)
            images.append(image)
            boxes.append(box)
    size = images[0].size[::-1]
    forbidden = [Prior.from_boxes([box], *size, forbidden=True) for box in boxes]
    candidates = [index for index, name in enumerate(names) if name in TEACHERS]
    marked = sorted(random.choice(candidates, MARKED, replace=False).tolist())
    priors = [prior if index in marked else None for index, prior in enumerate(forbidden)]
    found = spread_priors(model, torch.stack([whole(image) for image in images]), priors).priors
    others = [index for index, name in enumerate(names) if name not in TEACHERS]
    overlaps = {i: _overlap(found[i].forbidden, forbidden[i].forbidden) for i in others}
    mean = np.mean([*overlaps.values()])
    print(f"views of other photographs: {len(others)}; mean overlap with the box of the stamp: {mean:.2f}")
    shown = [_one_each(names, each)[:SHOWN] for each in (marked, random.permutation(others).tolist())]
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    rows = zip((f"marked by hand, on {MARKED} of {len(images)} images", "drawn on the others"), shown, strict=True)
    for axes_row, (title, indices) in zip(figure.subplots(2, SHOWN), rows, strict=True):
        for axes, index in zip(axes_row, indices, strict=True):
            axes.imshow(images[index])
            draw_outline(axes, found[index].forbidden.numpy(), FORBIDDEN_COLOR, "dashed", linewidth=1.6)
            axes.set_axis_off()
        axes_row[0].set_title(title, loc="left", fontsize=9)
    figure.savefig(picture, dpi=100)
    Image.open(picture).convert("RGB").quantize(256).save(picture, optimize=True)


def _one_each(names: list[str], indices: list[int]) -> list[int]:
    """The first view of every photograph."""
    return list({names[index]: index for index in reversed(indices)}.values())[::-1]


def _overlap(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one & other).sum() / (one | other).sum())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
