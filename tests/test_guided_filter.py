"""The guided filter: against one least-squares fit per window, and what it is for."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wherenot.spreading.guided_filter import guided_filter


def slow(coarse, image, radius, ridge):
    """He et al., Eqs. 9 to 11, window by window."""
    image = (image - image.mean()) / (image.std() + 1e-6)
    channels, height, width = image.shape
    said, times = np.zeros((height, width)), np.zeros((height, width))
    windows = [
        (slice(max(0, y - radius), y + radius + 1), slice(max(0, x - radius), x + radius + 1))
        for y in range(height)
        for x in range(width)
    ]
    fits = []
    for rows, columns in windows:
        pixels = image[:, rows, columns].reshape(channels, -1).T
        middle = pixels - pixels.mean(0)
        target = coarse[rows, columns].ravel()
        gram = middle.T @ middle / len(target) + ridge * np.eye(channels)
        slope = np.linalg.solve(gram, middle.T @ (target - target.mean()) / len(target))
        fits.append((slope, target.mean() - slope @ pixels.mean(0)))
    for (rows, columns), (slope, offset) in zip(windows, fits, strict=True):
        # A pixel is in the window of whoever is in its own.
        said[rows, columns] += np.tensordot(slope, image[:, rows, columns], 1) + offset
        times[rows, columns] += 1
    return said / times


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("radius", [1, 2, 9])
def test_it_is_a_fit_per_window(channels, radius):
    random = np.random.default_rng(channels)
    images, coarse = 10 * random.random((2, channels, 7, 9)), random.normal(size=(2, 7, 9))
    found = guided_filter(torch.from_numpy(coarse), torch.from_numpy(images), radius, ridge=0.05)
    expected = np.stack([slow(*each, radius, 0.05) for each in zip(coarse, images, strict=True)])
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_blurred_mask_finds_its_object_again():
    generator = torch.Generator().manual_seed(0)
    inside = torch.zeros(1, 48, 48)
    inside[:, 13:30, 17:36] = 1.0
    image = 0.2 * torch.rand(1, 3, 48, 48, generator=generator)
    image[:, 1] += 0.6 * inside
    coarse = F.interpolate(F.adaptive_avg_pool2d(inside[None], 6), size=(48, 48), mode="bilinear")[0]

    def overlap(found):
        return float(((found > 0.5) & (inside > 0)).sum() / ((found > 0.5) | (inside > 0)).sum())

    assert overlap(coarse) < 0.8
    assert overlap(guided_filter(coarse, image, 9)) > 0.99


def test_a_flat_image_has_no_edges_to_give():
    coarse = torch.zeros(1, 1, 9)
    coarse[..., 4] = 9.0
    found = guided_filter(coarse, torch.full((1, 3, 1, 9), 0.7), 1)
    assert torch.allclose(found[0, 0], torch.tensor([0, 0, 1, 2, 3, 2, 1, 0, 0.0]), atol=1e-5)


def test_brightness_contrast_and_company_do_not_matter():
    generator = torch.Generator().manual_seed(1)
    images, coarse = torch.rand(3, 3, 8, 8, generator=generator), torch.rand(3, 8, 8, generator=generator)
    before = images.clone()
    whole = guided_filter(coarse, images, 2)
    assert torch.allclose(guided_filter(coarse, 5 * images - 2, 2), whole, atol=1e-4)
    assert torch.allclose(guided_filter(coarse[1:2], images[1:2], 2), whole[1:2], atol=1e-6)
    assert torch.equal(images, before)


def test_radius():
    coarse = torch.rand(1, 4, 4)
    assert torch.equal(guided_filter(coarse, torch.rand(1, 3, 4, 4), 0), coarse)
    with pytest.raises(ValueError, match="radius must be >= 0, got -1"):
        guided_filter(coarse, torch.rand(1, 3, 4, 4), -1)
