"""Whether an order over regions is the one that a whole answer, or what of it needs the image, rests on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from wherenot.metrics.faithfulness import deletion_auc, highest_confidence, insertion_auc


@dataclass(frozen=True, kw_only=True, slots=True)
class Faithfulness:
    """How well an order over regions follows a model.

    Attributes:
        insertion_auc: Area under the score while regions are revealed, in [0, 1]; higher is better.
        deletion_auc: The same while they are hidden; lower is better.
        highest_confidence: The highest score that any prefix reaches; higher is better.
        num_tokens: Tokens whose mean probability is the score.
    """

    insertion_auc: float
    deletion_auc: float
    highest_confidence: float
    num_tokens: int


def answer_faithfulness(
    insertion: Float[Tensor, "K T"],
    deletion: Float[Tensor, "K T"],
    *,
    empty: Float[Tensor, " T"],
    full: Float[Tensor, " T"],
    area: Float[Tensor, " K+1"],
    counted: Bool[Tensor, " T"] | None = None,
) -> Faithfulness | None:
    """Measure an order over regions on the mean probability of an answer's tokens.

    Most tokens of a sentence follow from the words before them and keep their probability whatever is hidden; in the
    mean over all of them the few that the image decides are diluted. Counting those alone gives the sensitive variants.

    Args:
        insertion: Probability of each token after revealing the first t regions, t = 1..K.
        deletion: After hiding them.
        empty: With everything hidden.
        full: With nothing hidden.
        area: Share of the image at the K+1 points, from `area_axis`.
        counted: Which tokens count; None = all.

    Returns:
        The measures; None if no token counts, since there is no mean.

    Raises:
        ValueError: If the shapes do not belong together, or as `insertion_auc` does: for a probability that is not
            finite, and for an order that does not cover the image.

    Example:
        >>> from wherenot.metrics import area_axis
        >>> column = torch.tensor([[0.75], [1.0]])
        >>> found = answer_faithfulness(
        ...     column, 1 - column, empty=torch.tensor([0.0]), full=torch.tensor([1.0]),
        ...     area=area_axis(torch.tensor([0.5, 0.5])))
        >>> found.insertion_auc, found.deletion_auc, found.highest_confidence
        (0.625, 0.375, 1.0)

    References:
        EAGLE's faithfulness evaluation. Its sensitive tokens are those whose probability falls by more than 0.2 from
        the whole image to none of it.
    """
    if insertion.shape != deletion.shape or {empty.shape, full.shape} != {insertion.shape[1:]}:
        raise ValueError(
            f"answer_faithfulness: insertion {tuple(insertion.shape)}, deletion {tuple(deletion.shape)}, empty "
            f"{tuple(empty.shape)} and full {tuple(full.shape)}; pass one column per token in all of them."
        )
    counted = torch.ones_like(empty, dtype=torch.bool) if counted is None else counted
    if counted.shape != empty.shape:
        raise ValueError(f"answer_faithfulness: counted {tuple(counted.shape)} for {len(empty)} tokens; pass one each.")
    if not counted.any():
        return None
    revealed, hidden = insertion[:, counted].mean(1), deletion[:, counted].mean(1)
    nothing, everything = float(empty[counted].mean()), float(full[counted].mean())
    return Faithfulness(
        insertion_auc=insertion_auc(nothing, revealed, area),
        deletion_auc=deletion_auc(everything, hidden, area),
        highest_confidence=highest_confidence(nothing, revealed),
        num_tokens=int(counted.sum()),
    )
