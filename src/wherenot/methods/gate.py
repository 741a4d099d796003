"""Which images of a batch an evidence-based method looks at."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wherenot.methods.base import Batch
from wherenot.objective import log_odds


def confidently_right(
    logits: Float[Tensor, "B L"], targets: Int[Tensor, " B"], above: float = 0.75
) -> Bool[Tensor, " B"]:
    """True where the target is the prediction and has a probability above `above` (strictly).

    Evidence for a wrong or wavering decision is not worth correcting. Ties go to the first class.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[0.76, 0.24], [0.74, 0.26], [0.2, 0.8], [0.75, 0.25]]).log()
        >>> confidently_right(logits, torch.zeros(4, dtype=torch.long))
        tensor([ True, False, False, False])

    References:
        "Where Not to Learn", section 5.1 (0.75). Eq. 5 asks only for a correct prediction: `above=0`.
    """
    logits = logits.detach()
    probability = log_odds(logits, targets).sigmoid()
    # A float32 softmax puts 0.75 a few 1e-8 above or below itself; that is still not above 0.75.
    return (logits.argmax(1) == targets) & (probability > above + 1e-7)


def eligible(batch: Batch, above: float, max_images: int | None) -> Int[Tensor, " G"]:
    """Indices of the images that have a prior and are confidently right, the first `max_images` of them."""
    has_prior = torch.tensor([prior is not None for prior in batch.priors], device=batch.targets.device)
    chosen = (confidently_right(batch.logits, batch.targets, above) & has_prior).nonzero()[:, 0]
    return chosen[:max_images]
