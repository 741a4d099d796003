import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from record_files import records_of
from wherenot.audit import AuditConfig, audit
from wherenot.data import Dataset, decoy
from wherenot.metrics import corrupt, parse_corruption
from wherenot.metrics.corruptions import SEVERITIES
from wherenot.models import build_classifier
from wherenot.report import comparison_rows, load_run


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


def test_blur_is_scipys():
    image = photograph()
    expected = ndimage.gaussian_filter(image[0].numpy(), (0, 2, 2), mode="nearest", truncate=4)
    assert np.allclose(corrupt(image, "gaussian_blur:2", seeded())[0].numpy(), expected, atol=1e-5)


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


def test_pixelate_and_brightness_by_hand():
    image = torch.tensor([[0.0, 1.0, 0.2, 0.4]]).repeat(4, 1)[None, None].repeat(1, 3, 1, 1)
    assert torch.allclose(corrupt(image, "pixelate:2", seeded())[0, 0, 0], torch.tensor([0.5, 0.5, 0.3, 0.3]))
    assert torch.allclose(corrupt(image, "brightness:5", seeded())[0, 0, 0], torch.tensor([0.5, 1.0, 0.7, 0.9]))


@pytest.mark.parametrize("spec", ["fog:3", "jpeg", "jpeg:0", "jpeg:6", "jpeg:x"])
def test_unknown_corruptions_are_refused(spec):
    with pytest.raises(ValueError, match="severity from 1 to 5"):
        parse_corruption(spec)
    with pytest.raises(ValueError, match="severity from 1 to 5"):
        AuditConfig(corruptions=(spec,))


def test_an_audit_measures_accuracy_under_corruptions(tmp_path):
    data = decoy(0, num_train=1, num_validation=1, num_test=12).split("test_biased")
    data = Dataset("digits", data.classes, data.samples)
    config = AuditConfig(partition="grid:2x2", max_images=0, noise=(0.1,), corruptions=("jpeg:1", "contrast:5"))
    model = build_classifier("small-cnn", classes=data.classes).eval()
    folder = audit(model, data, tmp_path, config, name="t", model="t")
    records = records_of(folder)
    assert set(records[0]["corrupted"]) == {"jpeg:1", "contrast:5"}
    rows = {row["metric"]: row for row in json.loads((folder / "metrics.json").read_text())["rows"]}
    for name in ("jpeg:1", "contrast:5"):
        share = sum(record["corrupted"][name] for record in records) / 12
        assert rows[f"top1_corrupted@{name}"]["value"] == pytest.approx(share)
        assert rows[f"top1_corrupted@{name}"]["n"] == 12
    assert "pointing_coverage@0.2" not in rows  # no evidence was asked for
    # contrast:5 leaves a twentieth of the pixels' spread: what the model then says must come from those pixels
    sample = data.samples[0]
    pixels = torch.from_numpy(np.array(sample.read_image())).permute(2, 0, 1)[None] / 255
    shown = model.normalization.apply(corrupt(pixels, "contrast:5", seeded()))
    assert records[0]["corrupted"]["contrast:5"] == (model(shown).argmax().item() == sample.label)
    found = comparison_rows([load_run(folder)])
    assert any(row.metric == "top1_corrupted@jpeg:1" for row in found)
