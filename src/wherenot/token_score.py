"""The score of subsets of regions for the tokens of answers, as a search asks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wherenot.masking import show_elements
from wherenot.microbatch import chunk_of_pixels


@runtime_checkable
class Reader(Protocol):
    """Gives the probabilities of the chosen tokens of some answers for masked copies of an image."""

    @property
    def num_tokens(self) -> list[int]:
        """Chosen tokens of each answer."""
        ...

    def __call__(self, pixels: Float[Tensor, "N ..."], /) -> Float[Tensor, "N T"]:
        """Return the probabilities, answer by answer."""
        ...


class TokenScore:
    r"""The `SubsetScore` of one image for one or several answers.

    A reading of a subset S is, first, for each answer the mean over its chosen tokens of $q_t(S)$, and then all
    $q_t(S)$. A mean of probabilities, so with `Objective` F is EAGLE's insight and necessity:
    $F(S) = \operatorname{mean}_t [a\,q_t(S) + b\,(1 - q_t(V \setminus S))]$.

    Args:
        reader: Asks the model.
        pixels: The image as the model's processor laid it out.
        layout: Region of each number in it; -1 = always shown.
        fill: What hidden numbers show.
        chunk: Masked copies per forward; None chooses by device and image size. Halved when memory runs out.
        on_forward: Called with the number of copies after each forward.

    Attributes:
        forwards: Copies shown to the model so far.

    Raises:
        ValueError: For a chunk below 1.

    References:
        EAGLE. Methods and code agree on the arithmetic mean (not the product, not the geometric mean).
    """

    def __init__(
        self,
        reader: Reader,
        pixels: Float[Tensor, "*shape"],
        layout: Int[Tensor, "*shape"],
        fill: Float[Tensor, "*shape"],
        *,
        chunk: int | None = None,
        on_forward: Callable[[int], None] | None = None,
    ) -> None:
        if chunk is not None and chunk < 1:
            raise ValueError(f"TokenScore: chunk must be >= 1 or None, got {chunk}.")
        self._reader = reader
        self._pixels, self._layout, self._fill = pixels, layout, fill
        self._chunk = chunk or chunk_of_pixels(pixels.numel() // 3, pixels.device)
        self._on_forward = on_forward
        self.forwards = 0

    @torch.no_grad()
    def __call__(self, image: Int[Tensor, " N"], keep: Bool[Tensor, "N K"]) -> Float[Tensor, "N R"]:
        """Return the readings of subsets of the one image."""
        waiting = list(keep.split(self._chunk))[::-1] if len(keep) else []
        found: list[Tensor] = []
        while waiting:
            some = waiting.pop()
            try:
                found.append(self._reader(show_elements(self._pixels, self._layout, some, self._fill)))
            except torch.OutOfMemoryError:
                if len(some) == 1:
                    raise
                self._chunk = max(1, self._chunk // 2)
                waiting += some.split((len(some) + 1) // 2)[::-1]
                continue
            self.forwards += len(some)
            if self._on_forward is not None:
                self._on_forward(len(some))
        if not found:
            return self._pixels.new_zeros(len(image), len(self._reader.num_tokens) + sum(self._reader.num_tokens))
        each = torch.cat(found)
        means = [tokens.mean(1) for tokens in each.split(self._reader.num_tokens, dim=1)]
        return torch.cat([torch.stack(means, dim=1), each], dim=1)
