"""Weighted least squares on the cells of many images: which of their features tell inside from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_TOGETHER = 16  # images in single precision at a time


class Ridge:
    """Weighted least squares from features to +1 inside and -1 outside, both of the same total weight.

    Sums over cells are kept per fold, so that fitting without one of them needs no second pass.

    Args:
        features: Of the cells of images.
        taught: Images to learn from; the i-th is in fold ``i % folds``. Features are standardized over these.
        inside: Share of each of their cells that is inside: with this weight the cell pulls to +1.
        outside: Share of it that is outside, so that it pulls to -1; the two need not sum to 1.
        folds: How many folds there are.
        ridge: Penalty on the squared weights; the constant is free.

    Example:
        >>> features = torch.tensor([[[[0.0, 1.0]]], [[[1.0, 0.0]]]])
        >>> inside = features[:, 0]
        >>> score = Ridge(features, [0, 1], inside, 1 - inside, folds=2, ridge=1e-3).fit()
        >>> score(features).round(decimals=1)
        tensor([[[-1.,  1.]],
        <BLANKLINE>
                [[ 1., -1.]]])

    References:
        Ours.
    """

    def __init__(
        self,
        features: Float[Tensor, "B D h w"],
        taught: Sequence[int],
        inside: Float[Tensor, "A h w"],
        outside: Float[Tensor, "A h w"],
        *,
        folds: int,
        ridge: float,
    ) -> None:
        self._ridge = ridge
        self._mean, self._scale = _moments(features[part].float() for part in _parts(taught))
        self._inside, self._outside = ([], []), ([], [])
        for fold in range(folds):
            for weights, (squares, sums) in ((inside, self._inside), (outside, self._outside)):
                parts = zip(_parts(taught[fold::folds]), weights[fold::folds].split(_TOGETHER), strict=True)
                products = [self._products(features[part], weight) for part, weight in parts]
                squares.append(torch.stack([each for each, _ in products]).sum(0))
                sums.append(torch.stack([each for _, each in products]).sum(0))

    def fit(self, without: int | None = None) -> Callable[[Float[Tensor, "B D h w"]], Float[Tensor, "B h w"]]:
        """The linear model of all folds, or of all but one.

        Args:
            without: A fold to leave out; None = none.

        Returns:
            Features to scores, above 0 inside; a few images at a time take least memory.
        """
        used = [fold for fold in range(len(self._inside[0])) if fold != without]
        gram, target = 0.0, 0.0
        for sign, (squares, sums) in ((1, self._inside), (-1, self._outside)):
            mean = torch.stack([sums[fold] for fold in used]).sum(0)
            weight = mean[-1].clamp_min(1e-12)  # the last column is 1
            gram = gram + torch.stack([squares[fold] for fold in used]).sum(0) / weight
            target = target + sign * mean / weight
        assert isinstance(gram, Tensor)
        penalty = torch.full((len(gram),), self._ridge, dtype=gram.dtype)
        penalty[-1] = 1e-9
        weights = torch.linalg.solve(gram + penalty.diag(), target).float()
        return lambda features: (self._rows(features) @ weights).unflatten(
            0, (len(features), features.shape[-2], features.shape[-1])
        )

    def _products(
        self, features: Float[Tensor, "_ D h w"], weights: Float[Tensor, "_ h w"]
    ) -> tuple[Float[Tensor, "P P"], Float[Tensor, " P"]]:
        """Weighted sums over cells of the products of features, and of features."""
        rows, weight = self._rows(features), weights.flatten()
        return ((rows * weight[:, None]).T @ rows).double(), (weight @ rows).double()

    def _rows(self, features: Float[Tensor, "_ D h w"]) -> Float[Tensor, "n P"]:
        standard = (features.float() - self._mean[:, None, None]) / self._scale[:, None, None]
        rows = standard.movedim(1, -1).flatten(0, 2)
        return torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)


def _parts(indices: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(indices), _TOGETHER):
        yield [*indices[start : start + _TOGETHER]]


def _moments(parts: Iterable[Float[Tensor, "_ D h w"]]) -> tuple[Float[Tensor, " D"], Float[Tensor, " D"]]:
    """Mean and standard deviation of each feature over all cells."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for part in parts:
        wide = part.double()
        count += wide[:, 0].numel()
        total, squares = total + wide.sum((0, 2, 3)), squares + wide.square().sum((0, 2, 3))
    mean = total / count
    variance = (squares - count * mean.square()).clamp_min(0) / max(1, count - 1)
    return mean.float(), variance.sqrt().float() + 1e-6
