"""Priors for images that nobody annotated, and better ones for those that were annotated badly.

A linear model learns from the priors there are what they have in common, from what a network sees at each place. What
annotators get wrong at random, it averages out; what a few of them marked, it finds in the other images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

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
_TOGETHER = 16  # images
_MAX_PIXELS = 1 << 24


@dataclass(frozen=True)
class Spread:
    """What `spread_priors` found.

    Attributes:
        priors: One per image, in their order; None only if nothing or everything of an image would be allowed.
        learned: Which of them the linear model drew, or drew a part of; the others are as given.
        agreement: How well the linear model, fitted to the other images that it learns from, ranks the cells of each of
            them as its prior does (area under the ROC curve); nan for images that it does not learn from.
    """

    priors: list[Prior | None]
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
    batches: Iterable[tuple[Float[Tensor, "_ C H W"], Sequence[Prior | None]]],
    *,
    trusted: float = _TRUSTED,
    ridge: float = _RIDGE,
    on_batch: Callable[[int], None] | None = None,
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

    Features of all images, and images of at most 128 px, are kept in half precision until then: 240 kB and 100 kB for
    an image of 224 px seen by EfficientNet-Lite0.

    Args:
        model: A pretrained CNN or vision transformer; asked once per image, in eval mode, without gradients.
        batches: Images in the model's input space with their priors on the same pixels; all of one size.
        trusted: Keep a given prior from this agreement on, in [0, 1]; 0 keeps all, above 1 replaces all.
        ridge: Penalty on the squared weights of the linear model, whose features have variance 1.
        on_batch: Called with the number of images of each batch.

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
        >>> spread = spread_priors(model, [(images, [prior, prior, None, None])])
        >>> spread.learned, bool((spread.priors[3].allowed == prior.allowed).all())
        ([False, False, True, True], True)

    References:
        Ours.
    """
    features, images, given = _read(model, batches, on_batch)
    where = [index for index, prior in enumerate(given) if prior is not None and prior.allowed is not None]
    where_not = [index for index, prior in enumerate(given) if prior is not None and prior.allowed is None]
    allows = len(where) >= 2
    judged, taught = (where, sorted(where + where_not)) if allows else (where_not, where_not)
    agreement = torch.full((len(given),), torch.nan, dtype=torch.float64)
    if len(judged) < 2:
        return Spread(given, [False] * len(given), agreement)
    rows, columns = features.shape[-2:]
    areas = {index: _areas(given[index], allows) for index in taught}
    cells = {index: F.adaptive_avg_pool2d(area.float(), (rows, columns)) for index, area in areas.items()}
    folds = min(_FOLDS, len(taught))
    linear = Ridge(features[taught], *torch.stack([*cells.values()]).unbind(1), folds=folds, ridge=ridge)
    score = linear.fit()(features)
    for fold in range(folds):
        held = taught[fold::folds]
        score[held] = linear.fit(without=fold)(features[held])
    for index in judged:
        inside, outside = cells[index]
        agreement[index] = _auc(score[index], inside > outside, inside + outside > 0)
    some = judged[:: math.ceil(len(judged) / _ASKED)]
    radius = _best_radius(score[some], images[some], torch.stack([areas[index] for index in some]))
    scores = _with_edges(score, images, radius)
    shares = [_share(areas[index]) for index in judged]
    above, shape = _threshold(scores, sum(shares) / len(shares)), areas[judged[0]].shape[1:]
    draw = _allowing if allows else _forbidding
    priors = [
        prior if keep else draw(prior, _above(each, shape, above, min(shares), max(shares)))
        for prior, keep, each in zip(given, (agreement >= trusted).tolist(), scores, strict=True)
    ]
    learned = [prior is None or prior is not before for prior, before in zip(priors, given, strict=True)]
    return Spread(priors, learned, agreement)


def _allowing(prior: Prior | None, inside: Bool[Tensor, "H W"]) -> Prior | None:
    """Evidence may lie inside, except for where a person said that it may not."""
    if prior is None or (prior.forbidden is None and prior.ignore is None):
        return Prior(allowed=inside) if inside.any() and not inside.all() else None
    try:
        return replace(prior, allowed=inside.to(prior.device))
    except ValueError:  # nothing would be left
        return prior


def _forbidding(prior: Prior | None, inside: Bool[Tensor, "H W"]) -> Prior | None:
    """Evidence may not lie outside, nor where a person said that it may not."""
    if prior is None:
        return Prior(forbidden=~inside) if inside.any() and not inside.all() else None
    try:
        return prior.with_forbidden(~inside.to(prior.device))
    except ValueError:  # nothing would be left, or nothing is added
        return prior


def _read(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Sequence[Prior | None]]],
    on_batch: Callable[[int], None] | None,
) -> tuple[Float[Tensor, "B D h w"], Float[Tensor, "B C H W"], list[Prior | None]]:
    grid: FeatureGrid | None = None
    read: list[Tensor] = []
    small: list[Tensor] = []
    given: list[Prior | None] = []
    for images, priors in batches:
        grid = grid or FeatureGrid(model, images)
        read.append(grid(images).half().cpu())  # the rounding is far below what a linear model can tell apart
        height, width = images.shape[-2:]
        scale = min(1.0, _MAX_SIDE / max(height, width))
        size = (max(1, round(scale * height)), max(1, round(scale * width)))
        small.append(F.interpolate(images, size=size, mode="area").half().cpu())
        given += priors
        if on_batch is not None:
            on_batch(len(images))
    if not read:
        raise ValueError("spread_priors: there are no images; pass at least one batch.")
    return torch.cat(read), torch.cat(small), given


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


def _areas(prior: Prior | None, allows: bool) -> Bool[Tensor, "2 H W"]:
    """What teaches that evidence may lie there, and what that it may not; ignored pixels teach nothing.

    Where others say where it may lie, one who only says where not has said nothing of the rest of the image.
    """
    assert prior is not None, "only annotated images teach"
    inside, outside = prior.evidence_allowed(), ~prior.evidence_allowed()
    if allows and prior.allowed is None:
        inside = torch.zeros_like(inside)
    counted = torch.ones_like(inside) if prior.ignore is None else ~prior.ignore
    return torch.stack([inside & counted, outside & counted]).cpu()


def _share(areas: Bool[Tensor, "2 H W"]) -> float:
    """Of the pixels that are not ignored, how many evidence may lie on."""
    inside, outside = areas.float().mean((1, 2)).tolist()
    return inside / (inside + outside)


def _above(scores: Float[Tensor, "_ _"], shape: Sequence[int], above: float, least: float, most: float) -> Tensor:
    """Pixels that score above a value, but of one image neither less nor more than these shares."""
    above = max(min(above, _threshold(scores, least)), _threshold(scores, most))
    return _resized(scores[None, None], shape)[0, 0] > above


def _auc(score: Float[Tensor, "h w"], inside: Bool[Tensor, "h w"], counted: Bool[Tensor, "h w"]) -> float:
    """Share of pairs of a cell inside and one outside that the score orders rightly; ties count half, 1 if no pair."""
    positive, negative = score[inside & counted], score[~inside & counted].sort().values
    if not len(positive) or not len(negative):
        return 1.0
    below = torch.searchsorted(negative, positive) + torch.searchsorted(negative, positive, right=True)
    return float(below.double().mean()) / (2 * len(negative))
