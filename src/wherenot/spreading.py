"""Priors for images that nobody annotated, and better ones for those that were annotated badly.

A linear model learns from the priors there are what they have in common, from what a network sees at each place. What
annotators get wrong at random, it averages out; what a few of them marked, it finds in the other images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from wherenot.drawn_priors import DrawnPriors
from wherenot.feature_grids import FeatureGrid
from wherenot.guided_filter import guided_filter
from wherenot.priors import Prior
from wherenot.ridge import Ridge

_FOLDS = 4
_TRUSTED = 0.9
_RIDGE = 10.0  # hundreds of features, and often no more than a handful of images to learn them from
_MAX_SIDE = 128  # of the images that the borders of priors are drawn on, in pixels
_WINDOW_FRACS = (0.0, 0.1, 0.2)  # of the longer side: how far from where cells end a border is looked for
_ASKED = 64  # annotated images that tell which
_KEPT = 4096  # images whose features are in memory
_TOGETHER = 16  # images
_MAX_PIXELS = 1 << 24


@runtime_checkable
class Images(Protocol):
    """Images in a model's input space, all of one size; a tensor of them is one."""

    def __getitem__(self, indices: list[int], /) -> Float[Tensor, "_ C H W"]:
        """Return some of them."""
        ...


@dataclass(frozen=True)
class Spread:
    """What `spread_priors` found.

    Attributes:
        priors: One per image, in their order; None only if nothing or everything of an image would be allowed.
        learned: Which of them the linear model drew, or drew a part of; the others are as given.
        agreement: How well the linear model, fitted to other images, ranks the cells of each image as the prior it was
            given does (area under the ROC curve); nan where none was given of the kind that is drawn.
    """

    priors: Sequence[Prior | None]
    learned: list[bool]
    agreement: Float[Tensor, " B"]

    def summary(self) -> dict[str, int | float | None]:
        """How many priors were given, kept, replaced and added, and the median agreement of the given ones."""
        given = (~self.agreement.isnan()).tolist()
        counts = {
            "given": sum(given),
            "kept": sum(had and not new for had, new in zip(given, self.learned, strict=True)),
            "replaced": sum(had and new for had, new in zip(given, self.learned, strict=True)),
            "added": sum(new and not had for had, new in zip(given, self.learned, strict=True)),
        }
        return {**counts, "agreement": round(self.agreement.nanmedian().item(), 3) if any(given) else None}


def spread_priors(
    model: nn.Module,
    images: Images,
    priors: Sequence[Prior | None],
    *,
    trusted: float = _TRUSTED,
    ridge: float = _RIDGE,
    batch_size: int = _TOGETHER,
    on_images: Callable[[int], None] | None = None,
) -> Spread:
    """Draw priors by what the given ones have in common.

    It learns where evidence may lie from the priors that say so, and where it may not from all. Where fewer than two
    say where it may, it draws where it may not: marked watermarks are found in the other images.

    A given prior that the others bear out is kept as it is. One that they contradict, and one that is missing, is
    replaced by what the linear model allows: what it scores highest, and as large a share of all images' pixels as the
    given priors have of theirs; in no image less than the smallest of these, or more than the largest. Before, scores
    are brought to the edges of the image (`wherenot.guided_filter`), as far as this ranks the pixels of the annotated
    images best, each scored without its own prior; that may be not at all. What is forbidden or ignored in an image
    stays so, whatever is drawn beside it; ignored pixels teach nothing.

    Each image is asked for once. Of at most 4096 images features are kept, and pictures of at most 128 px, in half
    precision: 240 kB and 100 kB for an image of 224 px seen by EfficientNet-Lite0. Where there are more images, it
    learns from no more than 2048 of the annotated ones, and tells from 2048 of all how high to score is high.

    Args:
        model: A pretrained CNN or vision transformer; asked once per image, in eval mode, without gradients.
        images: What the model sees; brought to the model's device.
        priors: One per image on its pixels, None where nobody gave one; read more than once, but never all at a time.
        trusted: Keep a given prior from this agreement on, in [0, 1]; 0 keeps all, above 1 replaces all.
        ridge: Penalty on the squared weights of the linear model, whose features have variance 1.
        batch_size: Images at once.
        on_images: Called with the number of images after each batch.

    Returns:
        The priors and how they came about. With fewer than two priors of one kind there is nothing to learn from
        safely: they come back as given.

    Raises:
        ValueError: If there is no image.

    Example:
        >>> images = torch.zeros(4, 1, 8, 8)
        >>> images[:, :, 2:5, 2:5] = 1.0  # a bright object
        >>> prior = Prior.from_boxes([[2, 2, 5, 5]], 8, 8)
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1))
        >>> spread = spread_priors(model, images, [prior, prior, None, None])
        >>> spread.learned, bool((spread.priors[3].allowed == prior.allowed).all())
        ([False, False, True, True], True)

    References:
        Ours.
    """
    if not len(priors):
        raise ValueError("spread_priors: there are no images; pass one at least.")
    lesson = _Lesson(priors)
    agreement = torch.full((len(priors),), torch.nan, dtype=torch.float64)
    if len(lesson.judged) < 2:
        return Spread(priors, [False] * len(priors), agreement)
    taught, kept = lesson.taught(_KEPT), lesson.kept(_KEPT)
    reader = _Reader(model, images, batch_size, on_images)
    features, pictures = (torch.cat(parts) for parts in zip(*reader.batches(kept), strict=True))
    areas = {index: lesson.areas(index) for index in taught}
    place = {index: position for position, index in enumerate(kept)}
    fit, score = _fit(features, [place[index] for index in taught], [*areas.values()], ridge)

    known = [index for index in taught if index in lesson.judged]
    some = known[:: math.ceil(len(known) / _ASKED)]
    rows = [place[index] for index in some]
    radius = _best_radius(score[rows], pictures[rows], torch.stack([areas[index] for index in some]))
    pixels = _with_edges(score, pictures, radius)
    pen = _Pen(pixels, [areas[index] for index in known])

    drawn = DrawnPriors(priors, forbids=not lesson.allows)
    learned = [False] * len(priors)

    def draw(indices: Sequence[int], score: Float[Tensor, "B h w"], pixels: Float[Tensor, "B H W"]) -> None:
        for index, cells, fine in zip(indices, score, pixels, strict=True):
            if index in lesson.judged:
                inside, outside = _on_cells(lesson.areas(index), cells.shape)
                agreement[index] = _auc(cells, inside > outside, inside + outside > 0)
            if not agreement[index] >= trusted:
                learned[index] = drawn.draw(index, pen.inside(fine))

    draw(kept, score, pixels)
    rest = sorted({*range(len(priors))} - {*kept})
    for start, (features, pictures) in zip(range(0, len(rest), batch_size), reader.batches(rest), strict=True):
        score = fit(features)
        draw(rest[start : start + batch_size], score, _with_edges(score, pictures, radius))
    return Spread(drawn, learned, agreement)


class _Lesson:
    """Which images teach, and what: where evidence may lie, if two priors at least say so, else where it may not."""

    def __init__(self, priors: Sequence[Prior | None]) -> None:
        self._priors = priors
        says = {index: prior.allowed is not None for index, prior in enumerate(priors) if prior is not None}
        where, where_not = ([index for index, each in says.items() if each == kind] for kind in (True, False))
        self.allows = len(where) >= 2
        self.judged = frozenset(where if self.allows else where_not)
        self._besides = where_not if self.allows else []

    def taught(self, most: int) -> list[int]:
        """Images to learn from: all, if no more are to be kept; else a quarter of that of each kind."""
        each = most if len(self._priors) <= most else most // 4
        return sorted(_thinned(sorted(self.judged), each) + _thinned(self._besides, each))

    def kept(self, most: int) -> list[int]:
        """Images to keep in memory: all, if these are not too many; else those that teach, and some of all."""
        if len(self._priors) <= most:
            return [*range(len(self._priors))]
        return sorted({*self.taught(most), *_thinned(range(len(self._priors)), most // 2)})

    def areas(self, index: int) -> Bool[Tensor, "2 H W"]:
        """What teaches that evidence may lie there, and what that it may not; ignored pixels teach nothing.

        Where others say where it may lie, one who only says where not has said nothing of the rest of the image.
        """
        prior = self._priors[index]
        assert prior is not None, "only annotated images teach"
        inside, outside = prior.evidence_allowed(), ~prior.evidence_allowed()
        if self.allows and prior.allowed is None:
            inside = torch.zeros_like(inside)
        counted = torch.ones_like(inside) if prior.ignore is None else ~prior.ignore
        return torch.stack([inside & counted, outside & counted]).cpu()


def _thinned(indices: Sequence[int], most: int) -> list[int]:
    """At most so many, evenly spaced."""
    return [*indices[:: math.ceil(len(indices) / most) or 1]]


class _Reader:
    """Asks a network about images, a batch at a time."""

    def __init__(
        self, model: nn.Module, images: Images, batch_size: int, on_images: Callable[[int], None] | None
    ) -> None:
        self._model, self._images, self._batch_size, self._on_images = model, images, batch_size, on_images
        self._grid: FeatureGrid | None = None

    def batches(self, indices: Sequence[int]) -> Iterator[tuple[Float[Tensor, "_ D h w"], Float[Tensor, "_ C H W"]]]:
        """Features of images, and pictures to draw borders on, both in half precision and on the CPU."""
        device = next((weight.device for weight in self._model.parameters()), None)
        for start in range(0, len(indices), self._batch_size):
            some = [*indices[start : start + self._batch_size]]
            images = self._images[some].to(device)
            self._grid = self._grid or FeatureGrid(self._model, images)
            features = self._grid(images).half().cpu()  # the rounding is far below what a linear model can tell apart
            height, width = images.shape[-2:]
            scale = min(1.0, _MAX_SIDE / max(height, width))
            size = (max(1, round(scale * height)), max(1, round(scale * width)))
            yield features, F.interpolate(images, size=size, mode="area").half().cpu()
            if self._on_images is not None:
                self._on_images(len(some))


def _fit(
    features: Float[Tensor, "B D h w"], taught: list[int], areas: Sequence[Bool[Tensor, "2 H W"]], ridge: float
) -> tuple[Callable[[Tensor], Tensor], Float[Tensor, "B h w"]]:
    """The linear model, and scores of images: of those that teach, by what all but a fold of them teach."""
    inside, outside = torch.stack([_on_cells(each, features.shape[-2:]) for each in areas]).unbind(1)
    folds = min(_FOLDS, len(taught))
    linear = Ridge(features[taught], inside, outside, folds=folds, ridge=ridge)
    fit = linear.fit()
    score = fit(features)
    for fold in range(folds):
        held = taught[fold::folds]
        score[held] = linear.fit(without=fold)(features[held])
    return fit, score


def _best_radius(
    score: Float[Tensor, "A h w"], images: Float[Tensor, "A C H W"], areas: Bool[Tensor, "A 2 _ _"]
) -> int:
    """How far from where cells end to look for borders, in pixels of the reduced images."""
    height, width = images.shape[-2:]
    inside, outside = F.interpolate(areas.float(), size=(height, width), mode="nearest-exact").unbind(1)

    def agreement(radius: int) -> float:
        scores = _with_edges(score, images, radius).float()
        return sum(_auc(*each) for each in zip(scores, inside > 0.5, inside + outside > 0.5, strict=True))

    return max((int(frac * max(height, width)) for frac in _WINDOW_FRACS), key=agreement)


def _with_edges(score: Float[Tensor, "B h w"], images: Float[Tensor, "B C H W"], radius: int) -> Float[Tensor, "B H W"]:
    """The linear model's scores on the pixels of the images, in half precision."""
    parts = zip(score.split(_TOGETHER), images.split(_TOGETHER), strict=True)
    return torch.cat(
        [guided_filter(_resized(cells[:, None], part.shape[-2:])[:, 0], part, radius).half() for cells, part in parts]
    )


def _threshold(scores: Float[Tensor, "*B H W"], share: float) -> float:
    """A score that this share of all pixels is above, in the middle between two neighbours."""
    step = math.ceil(math.sqrt(scores.numel() / _MAX_PIXELS))  # more pixels tell nothing new
    asked = scores[..., ::step, ::step].flatten().float()
    rank = min(len(asked) - 1, max(1, round((1 - share) * len(asked))))
    return float(asked.kthvalue(rank).values + asked.kthvalue(rank + 1).values) / 2


def _resized(maps: Float[Tensor, "B C _ _"], shape: Sequence[int]) -> Float[Tensor, "B C H W"]:
    return F.interpolate(maps.float(), size=tuple(shape), mode="bilinear", align_corners=False)


def _on_cells(areas: Bool[Tensor, "2 H W"], shape: Sequence[int]) -> Float[Tensor, "2 h w"]:
    """Share of each cell's pixels."""
    rows, columns = shape
    return F.adaptive_avg_pool2d(areas.float(), (rows, columns))


class _Pen:
    """Draws areas as large as those that were given: all together, and none smaller or larger than any of these."""

    def __init__(self, pixels: Float[Tensor, "B H W"], given: Sequence[Bool[Tensor, "2 _ _"]]) -> None:
        means = [each.float().mean((1, 2)).tolist() for each in given]
        shares = [inside / (inside + outside) for inside, outside in means]
        self._least, self._most = min(shares), max(shares)
        self._above = _threshold(pixels, sum(shares) / len(shares))
        self._shape = given[0].shape[1:]

    def inside(self, pixels: Float[Tensor, "_ _"]) -> Bool[Tensor, "H W"]:
        """The pixels of one image that score high."""
        above = max(min(self._above, _threshold(pixels, self._least)), _threshold(pixels, self._most))
        return _resized(pixels[None, None], self._shape)[0, 0] > above


def _auc(score: Float[Tensor, "h w"], inside: Bool[Tensor, "h w"], counted: Bool[Tensor, "h w"]) -> float:
    """Share of pairs of a cell inside and one outside that the score orders rightly; ties count half, 1 if no pair."""
    positive, negative = score[inside & counted], score[~inside & counted].sort().values
    if not len(positive) or not len(negative):
        return 1.0
    below = torch.searchsorted(negative, positive) + torch.searchsorted(negative, positive, right=True)
    return float(below.double().mean()) / (2 * len(negative))
