"""The object in a box by the colours inside and outside of it: GrabCut, without a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

LONGEST_PX = 400

_ROUNDS = 5
_LEAST_FRAC = 0.05  # of its box; less than that is a speck that two colours share by chance


def grab_cut(image: Image.Image, boxes: Sequence[tuple[float, float, float, float]]) -> Bool[np.ndarray, "H W"]:
    """Cut out the object in each box, where its colours are not those around the box.

    Done on a copy of at most 400 pixels, with fixed seeds; nothing outside of a box is ever inside.

    Args:
        image: Any.
        boxes: xyxy in pixels.

    Returns:
        True on the objects, united; empty where no box could be cut: one that covers the image has no outside, and a
        cut of less than a twentieth of its box is taken for none.

    Raises:
        ValueError: If OpenCV is missing.

    Example:
        >>> image = Image.new("RGB", (40, 30), "green")
        >>> image.paste("red", (14, 10, 24, 20))
        >>> grab_cut(image, [(10.0, 6.0, 28.0, 24.0)]).sum()
        np.int64(100)

    References:
        Rother, Kolmogorov and Blake, "GrabCut", SIGGRAPH 2004, as OpenCV has it.
    """
    cv2 = opencv()
    scale = min(1.0, LONGEST_PX / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    small = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BOX))[..., ::-1].copy()
    found = np.zeros((image.height, image.width), dtype=bool)
    for box in boxes:
        x0, y0 = max(0, int(box[0] * scale)), max(0, int(box[1] * scale))
        x1, y1 = min(width, int(np.ceil(box[2] * scale))), min(height, int(np.ceil(box[3] * scale)))
        if (x1 - x0) * (y1 - y0) in (0, width * height):
            continue
        marks = np.zeros((height, width), np.uint8)
        cv2.setRNGSeed(0)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(small, marks, (x0, y0, x1 - x0, y1 - y0), *models, _ROUNDS, cv2.GC_INIT_WITH_RECT)
        cut = (marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)
        if cut.sum() >= _LEAST_FRAC * (x1 - x0) * (y1 - y0):
            inside = np.asarray(Image.fromarray(cut).resize(image.size, Image.Resampling.NEAREST))
            within = np.zeros_like(found)
            within[int(box[1]) : int(np.ceil(box[3])), int(box[0]) : int(np.ceil(box[2]))] = True
            found |= inside & within
    return found


def opencv() -> Any:
    """OpenCV.

    Raises:
        ValueError: If it is missing.
    """
    try:
        import cv2
    except ImportError as error:
        raise ValueError(
            "data prior --from boxes: without --model, boxes are cut by GrabCut, which needs OpenCV; run: "
            "pip install 'wherenot[opencv]', or name a SAM 2 with --model"
        ) from error
    return cv2
