"""Priors for images that nobody annotated, and better ones for those that were annotated badly.

A linear model learns from the priors there are what they have in common, from what a network sees at each place. What
annotators get wrong at random, it averages out; what a few of them marked, it finds in the other images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from wherenot.feature_grids import FeatureGrid
from wherenot.guided_filter import guided_filter
from wherenot.priors import Prior

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
        learned: Which of them the linear model drew; the others are as given.
        agreement: How well the linear model, fitted to the other annotated images, ranks the cells of each annotated
            image as its prior does (area under the ROC curve); nan where there is no prior.
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

    A given prior that the others bear out is kept as it is. One that they contradict, and one that is missing, is
    replaced by what the linear model allows: what it scores highest, and as large a share of all images' pixels as the
    given priors have of theirs; in no image less than the smallest of these, or more than the largest. Before, scores
    are brought to the edges of the image (`wherenot.guided_filter`), as far as this ranks the pixels of the annotated
    images best, each scored without its own prior; that may be not at all. Features of all images, and images of at
    most 128 px, are kept in half precision until then: 240 kB and 100 kB for an image of 224 px seen by
    EfficientNet-Lite0.

    Args:
        model: A pretrained CNN or vision transformer; asked once per image, in eval mode, without gradients.
        batches: Images in the model's input space with their priors on the same pixels; all of one size.
        trusted: Keep a given prior from this agreement on, in [0, 1]; 0 keeps all, above 1 replaces all.
        ridge: Penalty on the squared weights of the linear model, whose features have variance 1.
        on_batch: Called with the number of images of each batch.

    Returns:
        The priors and how they came about. With fewer than two annotated images there is nothing to learn from
        safely: priors come back as given.

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
    annotated = [index for index, prior in enumerate(given) if prior is not None]
    agreement = torch.full((len(given),), torch.nan, dtype=torch.float64)
    if len(annotated) < 2:
        return Spread(given, [False] * len(given), agreement)
    rows, columns = features.shape[-2:]
    cells = torch.stack([_on_cells(given[index], rows, columns) for index in annotated])
    folds = min(_FOLDS, len(annotated))
    linear = _Ridge(features[annotated], cells, folds, ridge)
    score = linear.fit()(features)
    for fold in range(folds):
        held = annotated[fold::folds]
        score[held] = linear.fit(without=fold)(features[held])
    for position, index in enumerate(annotated):
        agreement[index] = _auc(score[index], cells[position] > 0.5)
    some = annotated[:: math.ceil(len(annotated) / _ASKED)]
    radius = _best_radius(score[some], images[some], [given[index] for index in some])
    scores = _with_edges(score, images, radius)
    allowed = [prior.evidence_allowed() for prior in given if prior is not None]
    shares = [float(inside.float().mean()) for inside in allowed]
    keeps = (agreement >= trusted).tolist()
    above, shape = _threshold(scores, sum(shares) / len(shares)), allowed[0].shape
    priors = [
        prior if keep else _drawn(each, shape, above, min(shares), max(shares))
        for prior, keep, each in zip(given, keeps, scores, strict=True)
    ]
    return Spread(priors, [not keep for keep in keeps], agreement)


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
    score: Float[Tensor, "A h w"], images: Float[Tensor, "A C H W"], priors: Sequence[Prior | None]
) -> int:
    """How far from where cells end to look for borders, in pixels of the reduced images."""
    height, width = images.shape[-2:]
    whole = torch.stack([prior.evidence_allowed().cpu() for prior in priors if prior is not None])
    inside = F.interpolate(whole[:, None].float(), size=(height, width), mode="nearest-exact")[:, 0] > 0.5

    def agreement(radius: int) -> float:
        scores = _with_edges(score, images, radius).float()
        return sum(_auc(*each) for each in zip(scores, inside, strict=True))

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


def _on_cells(prior: Prior | None, rows: int, columns: int) -> Float[Tensor, "h w"]:
    """Share of each cell's pixels where evidence may lie."""
    assert prior is not None, "only annotated images are looked at"
    return F.adaptive_avg_pool2d(prior.evidence_allowed()[None].float().cpu(), (rows, columns))[0]


def _drawn(scores: Float[Tensor, "_ _"], shape: Sequence[int], above: float, least: float, most: float) -> Prior | None:
    """What scores above a value, but of one image neither less nor more than these shares."""
    above = max(min(above, _threshold(scores, least)), _threshold(scores, most))
    inside = _resized(scores[None, None], shape)[0, 0] > above
    return Prior.from_mask(inside) if inside.any() and not inside.all() else None


def _auc(score: Float[Tensor, "h w"], inside: Bool[Tensor, "h w"]) -> float:
    """Share of pairs of a cell inside and one outside that the score orders rightly; ties count half, 1 if no pair."""
    positive, negative = score[inside], score[~inside].sort().values
    if not len(positive) or not len(negative):
        return 1.0
    below = torch.searchsorted(negative, positive) + torch.searchsorted(negative, positive, right=True)
    return float(below.double().mean()) / (2 * len(negative))


class _Ridge:
    """Weighted least squares from features to +1 inside and -1 outside, both of the same total weight.

    Sums over cells are kept per fold, so that fitting without one of them needs no second pass.
    """

    def __init__(self, features: Float[Tensor, "A D h w"], cells: Float[Tensor, "A h w"], folds: int, ridge: float):
        self._ridge = ridge
        self._mean = features.mean((0, 2, 3), dtype=torch.float32)
        self._scale = features.float().std((0, 2, 3)) + 1e-6
        # A cell is as much inside as its share of allowed pixels: a share of its weight pulls to +1, the rest to -1.
        self._inside, self._outside = ([], []), ([], [])
        for fold in range(folds):
            rows = self._rows(features[fold::folds])
            for part, (squares, sums) in ((cells, self._inside), (1 - cells, self._outside)):
                weight = part[fold::folds].flatten()
                squares.append(((rows * weight[:, None]).T @ rows).double())
                sums.append((weight @ rows).double())

    def _rows(self, features: Float[Tensor, "A D h w"]) -> Float[Tensor, "n P"]:
        standard = (features.float() - self._mean[:, None, None]) / self._scale[:, None, None]
        rows = standard.movedim(1, -1).flatten(0, 2)
        return torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)

    def fit(self, without: int | None = None) -> Callable[[Tensor], Tensor]:
        """The linear model of all folds, or of all but one: features to scores, above 0 inside."""
        used = [fold for fold in range(len(self._inside[0])) if fold != without]
        gram, target = 0.0, 0.0
        for sign, (squares, sums) in ((1, self._inside), (-1, self._outside)):
            mean = torch.stack([sums[fold] for fold in used]).sum(0)
            weight = mean[-1].clamp_min(1e-12)  # the last column is 1
            gram = gram + torch.stack([squares[fold] for fold in used]).sum(0) / weight
            target = target + sign * mean / weight
        assert isinstance(gram, Tensor)
        penalty = torch.full((len(gram),), self._ridge, dtype=gram.dtype)
        penalty[-1] = 1e-9  # the constant is free
        weights = torch.linalg.solve(gram + penalty.diag(), target).float()
        return lambda features: (self._rows(features) @ weights).unflatten(
            0, (len(features), features.shape[-2], features.shape[-1])
        )
