"""How often a model is right: over all samples, given where its evidence lies, per group, and under noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def top_k_correct(logits: Float[Tensor, "B L"], targets: Int[Tensor, " B"], k: int) -> Bool[Tensor, " B"]:
    """Whether the target is among the `k` highest logits of its image.

    A class beats the target if its logit is higher, or equal with a smaller index; the target is in the top `k`
    when fewer than `k` classes beat it. `k = 1` agrees with the first argmax; `k = L` is always true.

    Args:
        logits: Any increasing function of the class scores gives the same answer.
        targets: The right class of each image, in 0..L-1.
        k: How many guesses the model has, in 1..L.

    Returns:
        One boolean per image; its mean is the top-k accuracy.

    Raises:
        ValueError: If `k` or a target is out of range, the batch sizes differ, or a logit is NaN, which would
            otherwise compare as a right answer.

    Example:
        >>> logits = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]])
        >>> top_k_correct(logits, torch.tensor([2, 1]), k=1)  # a tie goes to the first class
        tensor([False, False])
        >>> top_k_correct(logits, torch.tensor([2, 1]), k=2)
        tensor([True, True])
    """
    num_images, num_classes = logits.shape
    if targets.shape != (num_images,):
        raise ValueError(
            f"top_k_correct: logits {tuple(logits.shape)} need targets ({num_images},), got {tuple(targets.shape)}; "
            "pass one target per image."
        )
    if not 1 <= k <= num_classes:
        raise ValueError(f"top_k_correct: k={k} with {num_classes} classes; pass k in 1..{num_classes}.")
    outside = (targets < 0) | (targets >= num_classes)
    if outside.any():
        index = int(outside.nonzero()[0])
        raise ValueError(
            f"top_k_correct: targets[{index}] is {int(targets[index])} with {num_classes} classes; drop samples "
            "without a class before the call."
        )
    if logits.isnan().any():
        index = int(logits.isnan().any(dim=1).nonzero()[0])
        raise ValueError(f"top_k_correct: logits[{index}] holds NaN; count that image as wrong, or mend the model.")
    targets_B1 = targets.long()[:, None]
    target_logit_B1 = logits.gather(1, targets_B1)
    before_BL = torch.arange(num_classes, device=logits.device) < targets_B1
    beats_BL = (logits > target_logit_B1) | ((logits == target_logit_B1) & before_BL)
    return beats_BL.sum(dim=1) < k


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionalAccuracy:
    """Accuracy and pointing, each also given the other: rates in [0, 1], nan where nothing meets the condition.

    Attributes:
        hit_rate: P(hit): share of samples whose evidence lies where it may.
        accuracy: P(correct).
        accuracy_given_hit: P(correct | hit), the paper's Acc(PG=1); nan without a hit.
        accuracy_given_miss: P(correct | miss): right for the wrong reason; nan without a miss.
        hit_given_correct: P(hit | correct); nan if no sample is correct. Not Acc(PG=1): the condition is the other one.
        hit_given_wrong: P(hit | wrong); nan if every sample is correct.
    """

    hit_rate: float
    accuracy: float
    accuracy_given_hit: float
    accuracy_given_miss: float
    hit_given_correct: float
    hit_given_wrong: float


def conditional_accuracy(correct: Bool[Tensor, " B"], hit: Bool[Tensor, " B"]) -> ConditionalAccuracy:
    """Accuracy, hit rate, and each conditioned on the other.

    A model that is right because it looks at the right place has `accuracy_given_hit` well above
    `accuracy_given_miss`; equal values say that where it looks does not matter for being right.

    Args:
        correct: Whether the prediction is right.
        hit: Whether the evidence lies in the prior, by any of the pointing metrics; the same sample in each row.

    Returns:
        Six rates. A rate whose condition holds for no sample is nan; without samples all six are.

    Raises:
        ValueError: If the lengths differ.

    Example:
        >>> correct = torch.tensor([True, True, False, True])
        >>> hit = torch.tensor([True, False, True, False])
        >>> rates = conditional_accuracy(correct, hit)
        >>> rates.accuracy_given_hit, rates.accuracy_given_miss, rates.hit_given_wrong
        (0.5, 1.0, 1.0)

    References:
        "Where Not to Learn", arXiv 2602.07008, Table 1: Acc(PG=1). One of the authors' scripts prints P(PG | correct)
        in its place; here both have their own name.
    """
    if correct.shape != hit.shape:
        raise ValueError(
            f"conditional_accuracy: correct {tuple(correct.shape)} and hit {tuple(hit.shape)} differ; pass the same "
            "samples in the same order."
        )
    return ConditionalAccuracy(
        hit_rate=_rate(hit),
        accuracy=_rate(correct),
        accuracy_given_hit=_rate(correct[hit]),
        accuracy_given_miss=_rate(correct[~hit]),
        hit_given_correct=_rate(hit[correct]),
        hit_given_wrong=_rate(hit[~correct]),
    )


def _rate(outcomes: Bool[Tensor, " B"]) -> float:
    return int(outcomes.sum()) / len(outcomes) if len(outcomes) else float("nan")


def group_accuracy(correct: Bool[Tensor, " B"], groups: Sequence[str]) -> dict[str, float]:
    """Accuracy within each group of samples.

    Args:
        correct: Whether the prediction is right.
        groups: The group of each sample, such as its class or class with background.

    Returns:
        Group name to accuracy in [0, 1], by name in sorted order; empty without samples.

    Raises:
        ValueError: If the lengths differ.

    Example:
        >>> group_accuracy(torch.tensor([True, False, True]), ["water", "water", "land"])
        {'land': 1.0, 'water': 0.5}
    """
    if len(correct) != len(groups):
        raise ValueError(
            f"group_accuracy: {len(correct)} samples but {len(groups)} groups; pass one group name per sample."
        )
    members: dict[str, list[bool]] = {name: [] for name in sorted(set(groups))}
    for name, is_correct in zip(groups, correct.tolist(), strict=True):
        members[name].append(is_correct)
    return {name: sum(outcomes) / len(outcomes) for name, outcomes in members.items()}


def worst_group_accuracy(correct: Bool[Tensor, " B"], groups: Sequence[str]) -> float:
    """Lowest accuracy of any group.

    At most the overall accuracy, and equal to it when all groups do equally well. A model that relies on a cue
    which fails for one group can be accurate overall and near 0 here. Small groups make it noisy and low:
    report it with `worst_group_interval`.

    Args:
        correct: Whether the prediction is right.
        groups: The group of each sample.

    Returns:
        An accuracy in [0, 1]; nan without samples.

    Raises:
        ValueError: If the lengths differ.

    Example:
        >>> worst_group_accuracy(torch.tensor([True, False, True]), ["water", "water", "land"])
        0.5

    References:
        Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts", ICLR 2020.
    """
    return min(group_accuracy(correct, groups).values(), default=float("nan"))


def noisy(images: Float[Tensor, "B C H W"], noise: Float[Tensor, "B C H W"], sigma: float) -> Float[Tensor, "B C H W"]:
    """Images with given noise added, clipped back to [0, 1]: `clamp(x + sigma * n, 0, 1)`.

    Args:
        images: Pixel values in [0, 1], before the model's normalisation: a clip after it would cut at the wrong values.
        noise: Standard normal draws.
        sigma: Standard deviation of the noise in units of the pixel range; 0 returns the images unchanged.

    Returns:
        New images in [0, 1]; normalise them next.

    Raises:
        ValueError: If a pixel is outside [0, 1] or NaN, `sigma` is negative or not finite, or the shapes differ.

    Example:
        >>> noisy(torch.tensor([[[[0.02, 0.5]]]]), torch.tensor([[[[-1.0, 0.5]]]]), sigma=0.1)
        tensor([[[[0.0000, 0.5500]]]])
    """
    if images.shape != noise.shape:
        raise ValueError(
            f"noisy: images {tuple(images.shape)} and noise {tuple(noise.shape)} differ; draw one value per pixel."
        )
    if not 0 <= sigma < float("inf"):
        raise ValueError(f"noisy: sigma={sigma}; pass a finite value >= 0.")
    if not ((images >= 0) & (images <= 1)).all():
        raise ValueError(
            f"noisy: images span [{images.min():.3g}, {images.max():.3g}]; pass pixels in [0, 1] and normalise after."
        )
    return (images + sigma * noise).clamp(0, 1)


def add_noise(images: Float[Tensor, "B C H W"], sigma: float, generator: torch.Generator) -> Float[Tensor, "B C H W"]:
    """Images with seeded Gaussian noise, clipped back to [0, 1]; see `noisy` for the formula.

    The draws are made in float32 on the generator's device, so a CPU generator gives the same noise whatever the
    images' device or precision. They depend on the images' position in the batch; for noise that does not, draw
    it per sample and call `noisy`.

    Args:
        images: Pixel values in [0, 1], before the model's normalisation.
        sigma: Standard deviation in units of the pixel range; 0.1 is the level of the paper's authors.
        generator: Source of the noise, advanced by the call.

    Returns:
        New images in [0, 1]; normalise them next.

    Raises:
        ValueError: As `noisy`.

    Example:
        >>> images = torch.full((1, 3, 2, 2), 0.5)
        >>> first = add_noise(images, 0.1, torch.Generator().manual_seed(0))
        >>> again = add_noise(images, 0.1, torch.Generator().manual_seed(0))
        >>> torch.equal(first, again), torch.equal(first, images)
        (True, False)

    References:
        "Where Not to Learn", arXiv 2602.07008, Table 3. The paper gives no sigma; its code uses 0.1 without a seed.
    """
    noise = torch.randn(images.shape, generator=generator, device=generator.device, dtype=torch.float32)
    return noisy(images, noise.to(images), sigma)
