"""How the tiny agent's weights are trained, in both of its lessons."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

_WARMUP = 50  # steps
_LAST = 0.02  # share of the learning rate that is left at the end


def optimizer_steps(
    weights: Sequence[nn.Parameter], steps: int, learning_rate: float
) -> Iterator[Callable[[Float[Tensor, ""]], None]]:
    """Yield, for each step, what takes its loss: it computes gradients, clips them to length 1 and steps.

    AdamW without weight decay; the learning rate rises over 50 steps and falls along a cosine.

    Example:
        >>> weight = nn.Parameter(torch.ones(()))
        >>> for step in optimizer_steps([weight], 100, learning_rate=0.1):
        ...     step(weight**2)
        >>> abs(weight.item()) < 0.1
        True
    """
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=0.0)
    for done in range(steps):
        share = min(1.0, (done + 1) / _WARMUP) * (_LAST + (1 - _LAST) * (1 + math.cos(math.pi * done / steps)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * share

        def step(loss: Float[Tensor, ""]) -> None:
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()

        yield step
