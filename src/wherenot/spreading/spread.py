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

from wherenot.priors import Prior
from wherenot.spreading.drawn_priors import DrawnPriors
from wherenot.spreading.feature_grids import FeatureGrid
from wherenot.spreading.guided_filter import guided_filter
from wherenot.spreading.lessons import Lesson, TaughtAreas, on_cells
from wherenot.spreading.ridge import Ridge

_FOLDS = 4
_TRUSTED = 0.9
_RIDGE = 10.0  # hundreds of features, and often no more than a handful of images to learn them from
_MAX_SIDE = 128  # of the images that the borders of priors are drawn on, in pixels
_WINDOW_FRACS = (0.0, 0.1, 0.2)  # of the longer side: how far from where cells end a border is looked for
_ASKED = 64  # annotated images that tell which
_KEPT_BYTES = 2 << 30  # of features and reduced images in memory
_FEWEST_KEPT = 512
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
        priors: One per image, in their order; None where nobody gave one and nothing or everything would be allowed.
            Those that were drawn anew are on the CPU.
        given: Where somebody gave one.
        learned: Which of them the linear model drew, or drew a part of; the others are as given.
        agreement: How well the linear model, fitted to other images, ranks the cells of each image as the prior it was
            given does (area under the ROC curve); nan where none was given of the kind that is drawn.
    """

    priors: Sequence[Prior | None]
    given: list[bool]
    learned: list[bool]
    agreement: Float[Tensor, " B"]

    def summary(self) -> dict[str, int | float | None]:
        """How many priors were given, kept, replaced and added, and the median agreement of the given ones.

        Added are also drawings beside a prior that says only where evidence may not lie.
        """
        judged = (~self.agreement.isnan()).tolist()
        counts = {
            "given": sum(self.given),
            "kept": sum(had and not new for had, new in zip(self.given, self.learned, strict=True)),
            "replaced": sum(asked and new for asked, new in zip(judged, self.learned, strict=True)),
            "added": sum(new and not asked for asked, new in zip(judged, self.learned, strict=True)),
        }
        return {**counts, "agreement": round(self.agreement.nanmedian().item(), 3) if any(judged) else None}


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
    are brought to the edges of the image (`spreading.guided_filter`), as far as this ranks the pixels of the annotated
    images best, each scored without its own prior; that may be not at all. What is forbidden or ignored in an image
    stays so, whatever is drawn beside it; ignored pixels teach nothing.

    Each image is asked for once, the first twice. Features are kept, and pictures of at most 128 px, in half precision,
    of as many images as fit into 2 GB: 240 kB and 100 kB for an image of 224 px seen by EfficientNet-Lite0. If that is
    not all of them, it learns from a quarter of that number of priors of each kind, drawn at random, and tells from
    half of it, drawn from all images, how high to score is high.

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
    lesson = Lesson(priors)
    agreement = torch.full((len(priors),), torch.nan, dtype=torch.float64)
    learned = [False] * len(priors)
    if len(lesson.judged) < 2:
        return Spread(priors, lesson.given, learned, agreement)
    reader = _Reader(model, images, batch_size, on_images)
    most = max(_FEWEST_KEPT, _KEPT_BYTES // reader.bytes_per_image)
    taught, sampled = lesson.taught(most), lesson.sampled(most)
    kept = sorted({*taught, *sampled})
    features, pictures = reader.read(kept)
    place = {index: position for position, index in enumerate(kept)}
    areas = lesson.read(taught, features.shape[-2:], num_whole=_ASKED)
    fit, score = _fit(features, [place[index] for index in taught], areas.cells, ridge)
    rows = [place[index] for index in areas.whole]
    radius = _best_radius(score[rows], pictures[rows], torch.stack([*areas.whole.values()]))
    pixels = _with_edges(score, pictures, radius)
    pen = _Pen(pixels[[place[index] for index in sampled]], areas)
    drawn = DrawnPriors(priors, forbids=not lesson.allows)

    def draw(indices: Sequence[int], score: Float[Tensor, "B h w"], pixels: Float[Tensor, "B H W"]) -> None:
        for index, cells, fine in zip(indices, score, pixels, strict=True):
            if index in lesson.judged:
                inside, outside = on_cells(lesson.areas(index), cells.shape)
                agreement[index] = _auc(cells, inside > outside, inside + outside > 0)
            if not agreement[index] >= trusted:
                learned[index] = drawn.draw(index, pen.inside(fine))

    draw(kept, score, pixels)
    rest = sorted({*range(len(priors))} - {*kept})
    for start, (features, pictures) in zip(range(0, len(rest), batch_size), reader.batches(rest), strict=True):
        score = fit(features)
        draw(rest[start : start + batch_size], score, _with_edges(score, pictures, radius))
    return Spread(drawn, lesson.given, learned, agreement)


class _Reader:
    """Asks a network about images, a batch at a time."""

    def __init__(
        self, model: nn.Module, images: Images, batch_size: int, on_images: Callable[[int], None] | None
    ) -> None:
        self._model, self._images, self._batch_size, self._on_images = model, images, batch_size, on_images
        self._device = next((weight.device for weight in model.parameters()), None)
        first = images[[0]]
        self._grid = FeatureGrid(model, first.to(self._device))
        self._first = self._seen(first)
        self.bytes_per_image = sum(each.nbytes for each in self._first)

    def read(self, indices: Sequence[int]) -> tuple[Float[Tensor, "B D h w"], Float[Tensor, "B C H W"]]:
        """What `batches` gives, of all batches."""
        features, pictures = (each.new_empty((len(indices), *each.shape[1:])) for each in self._first)
        start = 0
        for some, small in self.batches(indices):
            features[start : start + len(some)], pictures[start : start + len(some)] = some, small
            start += len(some)
        return features, pictures

    def batches(self, indices: Sequence[int]) -> Iterator[tuple[Float[Tensor, "_ D h w"], Float[Tensor, "_ C H W"]]]:
        """Features of images, and pictures to draw borders on, both in half precision and on the CPU."""
        for start in range(0, len(indices), self._batch_size):
            some = [*indices[start : start + self._batch_size]]
            yield self._seen(self._images[some])
            if self._on_images is not None:
                self._on_images(len(some))

    def _seen(self, images: Float[Tensor, "_ C H W"]) -> tuple[Float[Tensor, "_ D h w"], Float[Tensor, "_ C H W"]]:
        features = self._grid(images.to(self._device)).half()  # a rounding far below what a linear model can tell apart
        height, width = images.shape[-2:]
        scale = min(1.0, _MAX_SIDE / max(height, width))
        size = (max(1, round(scale * height)), max(1, round(scale * width)))
        return features.cpu(), F.interpolate(images.cpu(), size=size, mode="area").half()


def _fit(
    features: Float[Tensor, "B D h w"], taught: list[int], cells: Float[Tensor, "A 2 h w"], ridge: float
) -> tuple[Callable[[Tensor], Tensor], Float[Tensor, "B h w"]]:
    """The linear model, and scores of images: of those that teach, by what all but a fold of them teach."""
    folds = min(_FOLDS, len(taught))
    linear = Ridge(features, taught, *cells.unbind(1), folds=folds, ridge=ridge)
    fit = linear.fit()
    score = torch.cat([fit(part) for part in features.split(_TOGETHER)])
    for fold in range(folds):
        fit_others = linear.fit(without=fold)
        for index in taught[fold::folds]:
            score[index] = fit_others(features[index, None])[0]
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


class _Pen:
    """Draws areas as large as those that were given: all together, and none smaller or larger than any of these."""

    def __init__(self, pixels: Float[Tensor, "B H W"], given: TaughtAreas) -> None:
        self._least, self._most = min(given.shares), max(given.shares)
        self._above = _threshold(pixels, sum(given.shares) / len(given.shares))
        self._shape = given.shape

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
