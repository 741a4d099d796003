"""Models that can be solved on paper."""

import torch
from torch import nn


class AdditiveModel(nn.Module):
    """Two classes; the odds of class 1 are a bias plus the weighted sum of pixels. Hidden pixels show 0."""

    def __init__(self, weights, bias=0.0):
        super().__init__()
        self.weights = nn.Parameter(torch.as_tensor(weights, dtype=torch.float32))
        self.bias = bias

    def forward(self, images):
        odds = (images[:, 0] * self.weights).sum((1, 2)) + self.bias
        return torch.stack([torch.zeros_like(odds), odds], dim=1)


class RecordingModel(nn.Module):
    """Remembers every image it was shown."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.shown = []
        self.modes = []

    def forward(self, images):
        self.shown.extend(images.detach().clone())
        self.modes.append(self.training)
        return self.model(images)


class SmallBatchNormNet(nn.Module):
    """A convolution, BatchNorm, dropout and a linear head on 8 x 8 pixels."""

    def __init__(self, num_classes=3):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4 * 64, num_classes)

    def forward(self, images):
        return self.head(self.drop(self.norm(self.conv(images)).relu()).flatten(1))


def seeded(build, seed=0):
    """Build a module with fixed weights without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def random_probabilities(count, seed):
    """Doubles in (0.01, 0.99)."""
    return 0.01 + 0.98 * torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
