import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from wherenot.metrics import corrupt, parse_corruption
from wherenot.metrics.corruptions import SEVERITIES


def photograph(side=48):
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((3, side, side)), (0, 4, 4))
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return torch.from_numpy(smooth).float()[None]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", SEVERITIES)
def test_corruptions_stay_pixels_and_grow_with_severity(name):
    image = photograph()
    given = image.clone()
    changes = []
    for severity in range(1, 6):
        corrupted = corrupt(image, f"{name}:{severity}", seeded())
        assert corrupted.shape == image.shape
        assert corrupted.dtype == image.dtype
        assert corrupted.min() >= 0
        assert corrupted.max() <= 1
        changes.append((corrupted - image).abs().mean().item())
    assert torch.equal(image, given)
    assert changes[0] > 0
    assert changes[0] < changes[2] < changes[4]


@pytest.mark.parametrize("name", SEVERITIES)
def test_an_image_is_corrupted_the_same_beside_another(name):
    images = torch.cat([photograph(), 1 - photograph()])
    if name in ("shot_noise", "impulse_noise"):
        assert torch.equal(corrupt(images, f"{name}:3", seeded()), corrupt(images, f"{name}:3", seeded()))
        assert not torch.equal(corrupt(images, f"{name}:3", seeded()), corrupt(images, f"{name}:3", seeded(1)))
    else:
        alone = corrupt(images[1:], f"{name}:3", seeded())
        assert torch.allclose(corrupt(images, f"{name}:3", seeded())[1:], alone)


def test_severities_as_published():
    published = {
        "shot_noise": (60, 25, 12, 5, 3),
        "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
        "gaussian_blur": (1, 2, 3, 4, 6),
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
        "jpeg": (25, 18, 15, 10, 7),
    }
    assert published == SEVERITIES


@pytest.mark.parametrize("severity", [1, 2, 4])
def test_blur_is_scipys(severity):
    image = photograph()[..., :40]
    expected = ndimage.gaussian_filter(image[0].numpy(), (0, severity, severity), mode="nearest", truncate=4)
    assert np.allclose(corrupt(image, f"gaussian_blur:{severity}", seeded())[0].numpy(), expected, atol=1e-5)


def test_jpeg_is_pillows():
    pixels = (photograph()[0].permute(1, 2, 0) * 255).round().byte().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=15)
    expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255
    given = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    assert torch.equal(corrupt(given, "jpeg:3", seeded())[0], expected)


def test_noises_by_their_share():
    grey = torch.full((1, 3, 100, 100), 0.5)
    flipped = corrupt(grey, "impulse_noise:5", seeded())
    assert (flipped == 0).float().mean().item() == pytest.approx(0.135, abs=0.01)
    assert (flipped == 1).float().mean().item() == pytest.approx(0.135, abs=0.01)
    counted = corrupt(grey, "shot_noise:1", seeded())  # Poisson of 30: sd sqrt(30) / 60
    assert counted.std().item() == pytest.approx(30**0.5 / 60, rel=0.03)


def test_contrast_is_that_of_each_channel_of_each_image():
    images = torch.rand(2, 3, 4, 5, generator=seeded(), dtype=torch.float64)
    images[0, 1] /= 4
    lowered = corrupt(images, "contrast:2", seeded())
    assert lowered.dtype == torch.float64
    for image, low in zip(images, lowered, strict=True):
        for channel, given in zip(low, image, strict=True):
            expected = given.mean() + 0.3 * (given - given.mean())
            assert torch.allclose(channel, expected, atol=1e-6)


def test_a_small_image_becomes_one_pixel():
    image = torch.tensor([[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]]).repeat(1, 3, 1, 1)
    assert torch.allclose(corrupt(image, "pixelate:4", seeded()), torch.tensor(0.5))
    tall = torch.arange(16.0).reshape(1, 1, 8, 2) / 16
    assert torch.allclose(corrupt(tall, "pixelate:2", seeded())[0, 0, :4, 0], torch.tensor([1.5, 1.5, 5.5, 5.5]) / 16)


def test_pixelate_and_brightness_by_hand():
    image = torch.tensor([[0.0, 1.0, 0.2, 0.4]]).repeat(4, 1)[None, None].repeat(1, 3, 1, 1)
    assert torch.allclose(corrupt(image, "pixelate:2", seeded())[0, 0, 0], torch.tensor([0.5, 0.5, 0.3, 0.3]))
    assert torch.allclose(corrupt(image, "brightness:5", seeded())[0, 0, 0], torch.tensor([0.5, 1.0, 0.7, 0.9]))


@pytest.mark.parametrize("spec", ["fog:3", "jpeg", "jpeg:0", "jpeg:6", "jpeg:x"])
def test_unknown_corruptions_are_refused(spec):
    with pytest.raises(ValueError, match="severity from 1 to 5"):
        parse_corruption(spec)
    with pytest.raises(ValueError, match="severity from 1 to 5"):
        corrupt(photograph(), spec, seeded())
