"""Small networks that train in seconds: test beds of the built-in benchmarks."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Three convolutions with BatchNorm and max-pooling, and a linear head over all positions, for 28 x 28 pixels.

    No global pooling: a cue in a corner is as easy to use as a shape in the middle, so the network can take shortcuts.

    Args:
        num_classes: Number of logits.

    Example:
        >>> import torch
        >>> SmallCNN(10)(torch.zeros(2, 3, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        widths = (3, 16, 32, 64)
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64 * 3 * 3, num_classes))

    def forward(self, images: Float[Tensor, "N 3 28 28"]) -> Float[Tensor, "N L"]:
        """Return the logits."""
        return self.head(self.features(images))


def small_vit(num_classes: int) -> nn.Module:
    """A plain vision transformer for 28 x 28 pixels: 49 patches of 4 x 4, six layers, half a million weights.

    Args:
        num_classes: Number of logits.

    Raises:
        ValueError: If transformers is not installed.

    Example:
        >>> import torch
        >>> small_vit(10)(torch.zeros(2, 3, 28, 28)).logits.shape
        torch.Size([2, 10])
    """
    try:
        from transformers import ViTConfig, ViTForImageClassification
    except ImportError as error:
        raise ValueError("small_vit: needs transformers; run: pip install 'wherenot[hf]'") from error
    config = ViTConfig(
        image_size=28, patch_size=4, hidden_size=96, num_hidden_layers=6, num_attention_heads=4, intermediate_size=192
    )
    config.num_labels = num_classes
    return ViTForImageClassification(config)
