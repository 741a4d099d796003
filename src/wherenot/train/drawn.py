"""Some of the priors that training drew, as data: to look at before they are believed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from PIL import Image

import wherenot
from wherenot.data import Dataset, limit, write_folder
from wherenot.data.origins import Origin
from wherenot.models import Preprocess
from wherenot.priors import Prior
from wherenot.spreading import Spread

PRIORS = "priors"
_SHOWN = 48


def write_drawn(out: Path, dataset: Dataset, preprocess: Preprocess, spread: Spread, *, model: str, seed: int) -> None:
    """Write a draw of the samples whose prior the linear model drew, as a data folder; nothing if it drew none.

    Images are as the network sees them, 48 at most, evenly over classes; `group` is ``replaced`` where a given prior
    was contradicted, else ``added``. What is there already is left alone.

    Args:
        out: The folder.
        dataset: The samples whose priors were spread, in their order.
        preprocess: Of the network that saw them.
        spread: What was found.
        model: Whose features told, for the note on where a prior came from.
        seed: Of the draw.
    """
    samples = tuple(
        replace(
            sample,
            id=f"{sample.split}/{index:06d}-{_plain(sample.id)}",
            group="added" if agreement.isnan() else "replaced",
            read_image=partial(_seen, sample.read_image, preprocess),
            read_prior=partial(_prior, spread, index),
            boxes=(),
            origin=Origin(kind="spreading", model=model, wherenot=wherenot.__version__),
        )
        for index, (sample, learned, agreement) in enumerate(
            zip(dataset.samples, spread.learned, spread.agreement, strict=True)
        )
        if learned
    )
    if not samples or out.exists():
        return
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    write_folder(limit(replace(dataset, samples=samples), _SHOWN, seed), part)
    part.replace(out)


def _seen(read_image: Callable[[], Image.Image], preprocess: Preprocess) -> Image.Image:
    return preprocess.pixels(read_image())


def _prior(spread: Spread, index: int) -> Prior | None:
    return spread.priors[index]


def _plain(id: str) -> str:
    """An id's last part as a file name, which it may not be."""
    return re.sub(r"[^\w.-]+", "_", PurePosixPath(id).stem)[:80] + ".png"
