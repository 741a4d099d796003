"""Set functions: how good a subset of regions is as evidence for the target.

The same object ranks regions in a search and builds the alignment losses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def log_odds(logits: Float[Tensor, "N L"], targets: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    r"""Log-odds of the target class, $z = \log p_y - \log(1 - p_y)$, in at least float32.

    One number carries all that the objectives need without losing digits at either end: `z.sigmoid()` is the softmax
    probability, `softplus(-z)` is -log p and `softplus(z)` is -log(1 - p).

    Args:
        logits: Class logits of any float dtype; half precision is raised to float32 first.
        targets: Class index per row.

    Returns:
        Values in (-inf, inf), differentiable; positive where the target beats all other classes together.

    Raises:
        ValueError: With fewer than two classes (the odds are infinite), or a target that is no class.

    Example:
        >>> import torch
        >>> log_odds(torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])).sigmoid()
        tensor([0.7856])
    """
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError(
            f"log_odds: needs logits of at least 2 classes, got shape {tuple(logits.shape)}. "
            "Give a binary model two logits: [0, z]."
        )
    if len(targets) and (int(targets.min()) < 0 or int(targets.max()) >= classes):
        raise ValueError(f"log_odds: targets must be in 0..{classes - 1}, got {targets.unique().tolist()}.")
    logits = logits if logits.dtype == torch.float64 else logits.float()
    own = logits.gather(1, targets[:, None])
    others = logits.scatter(1, targets[:, None], -math.inf).logsumexp(1)
    return own[:, 0] - others


@dataclass(frozen=True)
class Objective:
    r"""Insertion and deletion in one number, $F(S) = a\,p(y \mid x_S) + b\,(1 - p(y \mid x_{V \setminus S}))$.

    0 when the subset says nothing and the rest says everything; a + b when the subset alone suffices and nothing
    is left without it.

    Args:
        insertion: Weight a of the score of the subset alone.
        deletion: Weight b of what is lost without the subset.

    Raises:
        ValueError: If a weight is negative or both are 0.

    Example:
        >>> import torch
        >>> TRAINING(torch.tensor(0.62), torch.tensor(0.35))
        tensor(1.8900)

    References:
        Chen et al., LIMA, with the confidence and effectiveness terms off, as in "Where Not to Learn". The authors
        rank with a = 2, b = 1 in training and a = b = 1 in evaluation, and some of their scripts penalise with other
        weights than they rank with; here one object does both.
    """

    insertion: float = 1.0
    deletion: float = 1.0

    def __post_init__(self) -> None:
        if min(self.insertion, self.deletion) < 0 or self.maximum == 0:
            raise ValueError(
                f"Objective: weights must be >= 0 and not both 0, got insertion={self.insertion}, "
                f"deletion={self.deletion}."
            )

    @property
    def maximum(self) -> float:
        """The largest value, a + b."""
        return self.insertion + self.deletion

    def __call__(
        self, insertion: Float[Tensor, "*shape"], deletion: Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape"]:
        """Return F from p(y | subset) and p(y | everything else)."""
        return self.insertion * insertion + self.deletion * (1 - deletion)

    def log_penalty(
        self, insertion_odds: Float[Tensor, "*shape"], deletion_odds: Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape"]:
        r"""The same two terms in log space, $-a \log(1 - p(y \mid x_S)) - b \log p(y \mid x_{V \setminus S})$.

        In [0, inf), 0 exactly where F is 0, rising with F in both arguments. As a loss its gradient does not vanish
        where the model is sure, as F's does through dp/dz = p (1 - p).

        Args:
            insertion_odds: Log-odds of the target for the subset alone.
            deletion_odds: Log-odds for everything except the subset.
        """
        return self.insertion * F.softplus(insertion_odds) + self.deletion * F.softplus(-deletion_odds)


TRAINING = Objective(insertion=2.0, deletion=1.0)
EVALUATION = Objective(insertion=1.0, deletion=1.0)


def confidence(probabilities: Float[Tensor, "N L"]) -> Float[Tensor, " N"]:
    r"""How peaked a prediction is, $1 - H(p) / \log L$ with $H = -\sum p \log(p + 10^{-7})$.

    0 for the uniform distribution, 1 when one class has everything.

    Example:
        >>> import torch
        >>> confidence(torch.tensor([[0.7, 0.2, 0.1]]))
        tensor([0.2702])

    References:
        LIMA's s_conf in the softmax form of its code; the SMDL original used an evidential network.
    """
    entropy = -(probabilities * (probabilities + 1e-7).log()).sum(1)
    return 1 - entropy / math.log(probabilities.shape[1])


def effectiveness(features: Float[Tensor, "K D"], keep: Bool[Tensor, "N K"]) -> Float[Tensor, " N"]:
    r"""How different the regions of a subset are.

    $\sum_{i \in S} \min_{j \in S, j \ne i} \arccos(\cos(f_i, f_j)) / \pi$

    0 for a subset of fewer than two regions; |S| when every region is opposite to every other.

    Args:
        features: Encoder feature of the image with only region k visible.
        keep: The subsets.

    Example:
        >>> import torch
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> effectiveness(features, torch.tensor([[True, True, False], [True, True, True]]))
        tensor([1.0000, 0.7500])

    References:
        LIMA's s_eff.
    """
    cosine_KK = F.normalize(features, dim=1) @ F.normalize(features, dim=1).T
    distance_KK = cosine_KK.clamp(-1, 1).arccos() / math.pi
    pair_NKK = keep[:, :, None] & keep[:, None, :] & ~torch.eye(len(features), dtype=torch.bool, device=keep.device)
    nearest_NK = distance_KK.masked_fill(~pair_NKK, math.inf).amin(2)
    return nearest_NK.masked_fill(~pair_NKK.any(2), 0.0).sum(1)


@dataclass(frozen=True)
class FourTermObjective:
    """LIMA's full set function: confidence, effectiveness, consistency and collaboration, weighted and summed.

    Example:
        >>> import torch
        >>> one = torch.ones(1)
        >>> FourTermObjective()(0.27 * one, 0.75 * one, 0.7 * one, 0.25 * one)
        tensor([14.7875])

    References:
        LIMA, (0, 0.05, 20, 1); SMDL's ImageNet scripts use (0, 0.05, 1, 1).
    """

    confidence: float = 0.0
    effectiveness: float = 0.05
    consistency: float = 20.0
    collaboration: float = 1.0

    def __call__(
        self,
        confidence: Float[Tensor, " N"],
        effectiveness: Float[Tensor, " N"],
        insertion: Float[Tensor, " N"],
        deletion: Float[Tensor, " N"],
    ) -> Float[Tensor, " N"]:
        """Return the weighted sum; `insertion` and `deletion` are p(y | subset) and p(y | everything else)."""
        return (
            self.confidence * confidence
            + self.effectiveness * effectiveness
            + self.consistency * insertion
            + self.collaboration * (1 - deletion)
        )
