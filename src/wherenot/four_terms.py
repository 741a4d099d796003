"""What LIMA's four-term objective reads from a classifier: probability, confidence and a feature."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from wherenot.objective import confidence
from wherenot.scoring import RegionScore


class FourTermScore(RegionScore):
    """A reading of (probability, confidence, feature...) per subset, for one target per image.

    The feature is what goes into the model's last linear layer, taken from the same forward.

    Raises:
        ValueError: If the model's logits do not come from a linear layer, or an image has several targets.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self._targets.shape[1] != 1:
            raise ValueError(
                f"FourTermScore: the four-term objective explains one target at a time, got {self._targets.shape[1]}."
            )
        self._features: list[Tensor] = []

    @torch.no_grad()
    def __call__(self, image: Int[Tensor, " N"], keep: Tensor) -> Float[Tensor, "N R"]:
        """Return probability, confidence and feature of each subset."""
        with self._seeing_features():
            return super().__call__(image, keep)

    def _read(self, logits_NL: Tensor, image_N: Tensor) -> Tensor:
        probability_N1 = super()._read(logits_NL, image_N)
        sure_N = confidence(logits_NL.float().softmax(1))
        if not self._features:
            raise ValueError(
                f"FourTermScore: the logits of {type(self._model).__name__} do not come from an nn.Linear, so there is "
                "no feature to compare regions by; use an objective without effectiveness."
            )
        features_ND = self._features[-1].flatten(1).to(probability_N1)
        return torch.cat([probability_N1, sure_N[:, None].to(probability_N1), features_ND], dim=1)

    def _logits(self, image_N: Tensor, keep_NK: Tensor) -> Tensor:
        self._features.clear()
        return super()._logits(image_N, keep_NK)

    @contextmanager
    def _seeing_features(self) -> Iterator[None]:
        """Within it the input of every linear layer passes by; the last one of a forward is the head's."""

        def see(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
            if output.ndim == 2 and output.shape[1] == module.out_features:
                self._features[:] = [given[0].detach()]

        linear = [] if not isinstance(self._model, nn.Module) else list(self._model.modules())
        hooks = [module.register_forward_hook(see) for module in linear if isinstance(module, nn.Linear)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
