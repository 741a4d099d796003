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
