"""Weighted least squares on the cells of many images: which of their features tell inside from outside."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


class Ridge:
    """Weighted least squares from features to +1 inside and -1 outside, both of the same total weight.

    Sums over cells are kept per fold, so that fitting without one of them needs no second pass.

    Args:
        features: Of the cells of A images; standardized here.
        inside: Share of each cell that is inside: with this weight the cell pulls to +1.
        outside: Share of it that is outside, so that it pulls to -1; the two need not sum to 1.
        folds: Image i is in fold ``i % folds``.
        ridge: Penalty on the squared weights; the constant is free.

    Example:
        >>> features = torch.tensor([[[[0.0, 1.0]]], [[[1.0, 0.0]]]])
        >>> inside = features[:, 0]
        >>> score = Ridge(features, inside, 1 - inside, folds=2, ridge=1e-3).fit()
        >>> score(features).round(decimals=1)
        tensor([[[-1.,  1.]],
        <BLANKLINE>
                [[ 1., -1.]]])

    References:
        Ours.
    """

    def __init__(
        self,
        features: Float[Tensor, "A D h w"],
        inside: Float[Tensor, "A h w"],
        outside: Float[Tensor, "A h w"],
        folds: int,
        ridge: float,
    ) -> None:
        self._ridge = ridge
        self._mean = features.mean((0, 2, 3), dtype=torch.float32)
        self._scale = features.float().std((0, 2, 3)) + 1e-6
        self._inside, self._outside = ([], []), ([], [])
        for fold in range(folds):
            rows = self._rows(features[fold::folds])
            for part, (squares, sums) in ((inside, self._inside), (outside, self._outside)):
                weight = part[fold::folds].flatten()
                squares.append(((rows * weight[:, None]).T @ rows).double())
                sums.append((weight @ rows).double())

    def fit(self, without: int | None = None) -> Callable[[Float[Tensor, "B D h w"]], Float[Tensor, "B h w"]]:
        """The linear model of all folds, or of all but one.

        Args:
            without: A fold to leave out; None = none.

        Returns:
            Features to scores, above 0 inside.
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

    def _rows(self, features: Float[Tensor, "_ D h w"]) -> Float[Tensor, "n P"]:
        standard = (features.float() - self._mean[:, None, None]) / self._scale[:, None, None]
        rows = standard.movedim(1, -1).flatten(0, 2)
        return torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
