"""A page on which a person accepts or rejects proposed priors, and downloads the decisions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from markupsafe import Markup
from PIL import Image

from wherenot.data.origins import Origin, told_origins
from wherenot.data.review import prior_key
from wherenot.data.samples import DataError, Dataset, Rejected, Sample
from wherenot.priors import Prior
from wherenot.rasters import any_touched
from wherenot.report.figures import FORBIDDEN_COLOR, PRIOR_COLOR
from wherenot.report.pages import page_environment, script_hash, write_page
from wherenot.report.samples import pack, runs_of, script_json
from wherenot.report.tiles import TINY_PX, css_gradient, image_uri

SHOWN = 500
SIDE_PX = 320


@dataclass(frozen=True, kw_only=True)
class ReviewPage:
    """What a page shows.

    Attributes:
        shown: Priors on the page.
        undecided: Priors that nobody accepted yet; more than are shown if not all are.
        bad: Samples that cannot be read, and why.
    """

    shown: int
    undecided: int
    bad: tuple[Rejected, ...]


def write_review(
    dataset: Dataset,
    out: Path,
    *,
    splits: Sequence[str] = (),
    at_most: int = SHOWN,
    on_sample: Callable[[], None] | None = None,
) -> ReviewPage:
    """Write the page on which a person decides on the priors that came from a model or a method.

    One file without anything else: pictures as WebP, one script that the page's own policy names by its hash.

    Args:
        dataset: Whose priors are looked at. Those by hand, and those that were accepted before, are left out.
        out: The file to write.
        splits: Those to look at; none = all.
        at_most: Priors on the page: of more, those with the lowest scores.
        on_sample: Called after each prior, for a progress bar.

    Returns:
        What is on it.

    Raises:
        ValueError: If the number is below 1 or there is no such split.
        DataError: If there is no prior to decide on.
        OSError: If `out` cannot be written.
    """
    if at_most < 1:
        raise ValueError(f"write_review: at_most is {at_most}; pass at least 1.")
    chosen = [sample for split in splits or dataset.splits for sample in dataset.split(split).samples]
    waiting = [sample for sample in chosen if sample.origin is not None and not sample.origin.accepted]
    waiting.sort(key=_score)  # stable: without scores, as in the data
    entries: list[dict[str, Any]] = []
    pictures: list[Markup] = []
    origins: list[Origin | None] = []
    bad: list[Rejected] = []
    left = 0
    for sample in waiting:
        if len(entries) == at_most:
            left += 1
            continue
        try:
            drawn = _drawn(sample, dataset.classes[sample.label])
        except (OSError, ValueError) as error:
            bad.append(Rejected(sample.id, str(error)))
            continue
        if drawn is not None:
            entries.append(drawn[0])
            pictures.append(script_json(drawn[1]))
            origins.append(sample.origin)
        if on_sample is not None:
            on_sample()
    if not entries:
        problems = [each.reason for each in bad]
        reasons = problems or ["every prior is by hand or accepted, or there is none"]
        raise DataError.listing(
            f"write_review: {dataset.name} has no prior to decide on", reasons, "wherenot data prior makes priors."
        )
    write_page("write_review", _page(dataset.name, entries, pictures, told_origins(origins), left), out)
    return ReviewPage(shown=len(entries), undecided=len(entries) + left, bad=tuple(bad))


def _page(name: str, entries: list[dict[str, Any]], pictures: list[Markup], told: str, left: int) -> str:
    key = hashlib.sha256("".join([*(f"{each['id']} {each['prior']}" for each in entries)]).encode("utf-8", "replace"))
    environment = page_environment()
    script = Markup(environment.get_template("script/review_page.js.j2").render())
    return environment.get_template("review.html.j2").render(
        name=name,
        told=told,
        left=left,
        count=len(entries),
        index=script_json({"key": key.hexdigest()[:16], "samples": entries}),
        pictures=pictures,
        script=script,
        script_hash=script_hash(script),
        acts=False,
        num_columns=1,
        gradient=css_gradient(),
        prior_color=PRIOR_COLOR,
        forbidden_color=FORBIDDEN_COLOR,
    )


def _score(sample: Sample) -> float:
    score = None if sample.origin is None else sample.origin.score
    return 2.0 if score is None else score


def _drawn(sample: Sample, name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What is known of a prior, and its picture; None where there is no prior after all."""
    prior, image, origin = sample.read_prior(), sample.read_image(), sample.origin
    if prior is None or origin is None:
        return None
    allowed = prior.evidence_allowed()
    entry = {
        "id": sample.id,
        "split": sample.split,
        "group": sample.group,
        "label": name,
        "origin": origin.named(),
        "prompt": origin.prompt,
        "score": None if origin.score is None else round(origin.score, 4),
        "area": round(float(allowed.float().mean()), 4),
        "prior": prior_key(prior),
    }
    return entry, _pictured(image, prior)


def _pictured(image: Image.Image, prior: Prior) -> dict[str, Any]:
    scale = min(1.0, SIDE_PX / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    is_tiny = max(size) <= TINY_PX
    pixels = np.asarray(image.convert("RGB"))
    return {
        "image": {"uri": image_uri(pixels, size, lossless=is_tiny), "tiny": is_tiny},
        "width": size[0],
        "height": size[1],
        "allowed": _packed(prior.allowed, size),
        "forbidden": _packed(prior.forbidden, size),
    }


def _packed(inside: Bool[torch.Tensor, "H W"] | None, size: tuple[int, int]) -> str | None:
    """An area at the picture's size, in which even the thinnest line is left."""
    return None if inside is None else pack(runs_of(any_touched(inside, (size[1], size[0])).numpy()))
