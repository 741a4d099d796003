"""The alignment losses: pure functions of what the objective says of prefixes of an order.

A *utility* is the objective of a subset, in probability space (`Objective.__call__`, in [0, a + b]) or in log space
(`Objective.log_penalty`, in [0, inf)). Each loss takes one entry per example: a region that lies off the prior.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Reduction = Literal["mean", "sum", "batch"]


def reduced(
    examples: Float[Tensor, " E"], reduction: Reduction = "mean", *, batch_size: int | None = None
) -> Float[Tensor, ""]:
    """One number from a loss per example; 0 (with a gradient of 0) when there is no example.

    Args:
        examples: One value per example.
        reduction: ``mean`` over the examples; ``sum`` over them, as Eq. 3 and 4 print it; ``batch``: the sum
            divided by the number of images in the batch.
        batch_size: Images in the batch, for ``batch``.

    Raises:
        ValueError: For an unknown reduction, or ``batch`` without a positive `batch_size`.

    Example:
        >>> import torch
        >>> reduced(torch.tensor([0.6, 0.0, 0.2]), "batch", batch_size=4)
        tensor(0.2000)
    """
    match reduction:
        case "mean":
            return examples.sum() / max(len(examples), 1)
        case "sum":
            return examples.sum()
        case "batch":
            if batch_size is None or batch_size < 1:
                raise ValueError(f"reduced: reduction 'batch' needs the batch size, got {batch_size}.")
            return examples.sum() / batch_size
        case _:
            raise ValueError(f"reduced: reduction must be 'mean', 'sum' or 'batch', got {reduction!r}.")


def deviation(
    utility: Float[Tensor, " E"], reduction: Reduction = "mean", *, batch_size: int | None = None
) -> Float[Tensor, ""]:
    r"""Utility of top regions that lie off the prior, $L_{dev} = \sum_i F(v_{i,\pi_1})\,1[\phi < \tau]$.

    0 when the off-prior region alone says nothing of the target and the image without it says everything; at most
    a + b in probability space. Minimising it takes the score out of the region *and* makes the class survive without.

    Args:
        utility: F of the top region, one per image whose top region is off-prior; differentiable.
        reduction: See `reduced`.
        batch_size: See `reduced`.

    Example:
        >>> import torch
        >>> deviation(torch.tensor([1.89, 1.16]))
        tensor(1.5250)

    References:
        "Where Not to Learn", Eq. 3. The paper sums; the authors' code takes the mean, the default here.
    """
    return reduced(utility, reduction, batch_size=batch_size)


def redundancy(
    after: Float[Tensor, " E"],
    before: Float[Tensor, " E"],
    reduction: Reduction = "mean",
    *,
    batch_size: int | None = None,
    detach_before: bool = True,
) -> Float[Tensor, ""]:
    r"""Gain that later off-prior regions bring.

    $L_{red} = \sum_{i, r \ge 2} ReLU(F(\pi_{:r}) - F(\pi_{:r-1}))\,1[\phi(v_{\pi_r}, H) < \tau]$

    0 when no off-prior region adds anything to the regions before it.

    Args:
        after: Utility of the prefix that ends with the off-prior region.
        before: Utility of the prefix without it.
        reduction: See `reduced`.
        batch_size: See `reduced`.
        detach_before: Hold `before` constant, so that the loss cannot be lowered by raising it.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> redundancy(torch.tensor([2.2]), torch.tensor([1.6]))
        tensor(0.6000)

    References:
        "Where Not to Learn", Eq. 4; the paper does not say whether `before` is held constant, the authors' code does.
    """
    _check_equal("redundancy", after, before)
    gain = after - (before.detach() if detach_before else before)
    return reduced(gain.relu(), reduction, batch_size=batch_size)


def two_sided_redundancy(
    insertion_after: Float[Tensor, " E"],
    insertion_before: Float[Tensor, " E"],
    deletion_after: Float[Tensor, " E"],
    deletion_before: Float[Tensor, " E"],
    reduction: Reduction = "mean",
    *,
    margin: float = 0.1,
    batch_size: int | None = None,
) -> Float[Tensor, ""]:
    r"""The form behind the paper's tables: insertion and deletion penalised apart, each beyond a margin.

    $ReLU(p^{ins}_r - p^{ins}_{r-1} - m) + ReLU(p^{del}_{r-1} - p^{del}_r - m)$, with the scores of the shorter prefix
    held constant. Unlike `redundancy` it is positive when one side gains and the other loses.

    Example:
        >>> import torch
        >>> ins_after, ins_before, del_after, del_before = torch.tensor([[0.7], [0.5], [0.2], [0.4]])
        >>> two_sided_redundancy(ins_after, ins_before, del_after, del_before)
        tensor(0.2000)

    References:
        The authors' legacy scripts (v3: margin 0.1; an earlier draft: 0). The paper prints one ReLU on the
        difference of F.
    """
    for other in (insertion_before, deletion_after, deletion_before):
        _check_equal("two_sided_redundancy", insertion_after, other)
    inserted = (insertion_after - insertion_before.detach() - margin).relu()
    deleted = (deletion_before.detach() - deletion_after - margin).relu()
    return reduced(inserted + deleted, reduction, batch_size=batch_size)


def adaptive_log(
    gain: Float[Tensor, " E"],
    human_gain: Float[Tensor, " E"],
    full_confidence: Float[Tensor, " E"],
    reduction: Reduction = "mean",
    *,
    beta: float = 2.0,
    batch_size: int | None = None,
) -> Float[Tensor, ""]:
    r"""Off-prior gain beyond what the prior's own regions bring, on a logarithmic scale.

    $\frac{2}{\beta} \log(1 + (q / r)^\beta)$ with $q = ReLU(G - h)$ and $r = \max(h, 1 - p_{full}, 10^{-6})$.
    Exactly 0, with zero gradient, while the off-prior gain G does not exceed the human gain h; beyond, it grows like
    2 log(q / r).

    Args:
        gain: Gain of the off-prior region divided by a + b; differentiable.
        human_gain: Largest positive gain of an on-prior region of the same image, same scale; 0 if none. Constant.
        full_confidence: p(y | whole image). Constant.
        reduction: See `reduced`.
        beta: Sharpness of the transition, > 0; the authors use 1, 2 and 4.
        batch_size: See `reduced`.

    Raises:
        ValueError: If the shapes differ or beta is not positive.

    Example:
        >>> import torch
        >>> adaptive_log(torch.tensor([0.2]), torch.tensor([0.1]), torch.tensor([0.95]))
        tensor(0.6931)

    References:
        The `adaptive_log` variant of the authors' code. There, as here, the gain of the *first* region does not
        subtract F(empty) while later gains subtract the prefix before them.
    """
    _check_equal("adaptive_log", gain, human_gain)
    _check_equal("adaptive_log", gain, full_confidence)
    if beta <= 0:
        raise ValueError(f"adaptive_log: beta must be positive, got {beta}.")
    human = human_gain.detach()
    reference = torch.maximum(human, 1 - full_confidence.detach()).clamp_min(1e-6)
    excess = (gain - human).relu() / reference
    return reduced(2 / beta * torch.log1p(excess**beta), reduction, batch_size=batch_size)


def _check_equal(function: str, first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"{function}: all arguments hold one value per example, got shapes {tuple(first.shape)} and "
            f"{tuple(second.shape)}."
        )
