import numpy as np
import pytest
import torch
from PIL import Image

import reference
from wherenot.masking import Normalization, fill_images, fill_photograph, show, show_photograph, show_pixels


def images(count=2, channels=3, side=6, seed=0):
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(seed))


def test_show_against_the_slow_reference():
    rng = np.random.default_rng(0)
    batch, labels = images(), torch.from_numpy(rng.integers(0, 5, (2, 6, 6)))
    fill = images(seed=1)
    image = torch.tensor([1, 0, 1, 1])
    keep = torch.from_numpy(rng.random((4, 5)) < 0.5)
    shown = show(batch, labels, image, keep, fill)
    for row in range(4):
        index = image[row].item()
        visible = set(np.flatnonzero(keep[row].numpy()).tolist())
        slow = reference.masked_image(batch[index].numpy(), labels[index].numpy(), visible, fill[index].numpy())
        assert np.array_equal(shown[row].numpy(), slow)


def test_everything_kept_is_the_image_and_nothing_kept_is_the_fill():
    batch, fill = images(), images(seed=1)
    labels = torch.arange(36).view(1, 6, 6).expand(2, 6, 6) % 4
    both, everything = torch.arange(2), torch.ones(2, 4, dtype=torch.bool)
    assert torch.equal(show(batch, labels, both, everything, fill), batch)
    assert torch.equal(show(batch, labels, both, ~everything, fill), fill)


def test_a_label_without_a_column_is_named():
    with pytest.raises(ValueError, match="labels go up to 3"):
        show(images(1), torch.full((1, 6, 6), 3), torch.tensor([0]), torch.ones(1, 3, dtype=torch.bool), images(1))


def test_arguments_are_not_changed():
    batch, fill = images(), images(seed=1)
    before = batch.clone()
    show_pixels(batch, torch.zeros(2, 6, 6, dtype=torch.bool), fill).zero_()
    assert torch.equal(batch, before)


NORMALIZATION = Normalization((0.4, 0.5, 0.6), (0.2, 0.25, 0.5))


def test_mean_is_the_normalisation_s_zero_or_the_image_s_own_mean():
    batch = images()
    assert torch.equal(fill_images("mean", batch, NORMALIZATION), torch.zeros_like(batch))
    own = fill_images("mean", batch)
    assert torch.allclose(own[1, 2], batch[1, 2].mean())


def test_black_is_pixel_value_zero():
    black = fill_images("black", images(), NORMALIZATION)
    assert torch.allclose(NORMALIZATION.invert(black), torch.zeros_like(black), atol=1e-6)
    with pytest.raises(ValueError, match="normalisation"):
        fill_images("black", images())


def test_blur_keeps_constants_and_mean_level_and_removes_detail():
    constant = torch.full((1, 3, 24, 24), 0.7)
    assert torch.allclose(fill_images("blur", constant), constant, atol=1e-5)
    noise = images(1, side=48)
    blurred = fill_images("blur", noise)
    assert blurred.shape == noise.shape
    assert blurred.std() < 0.2 * noise.std()
    edge = torch.zeros(1, 1, 24, 24)
    edge[..., 12:] = 1.0
    profile = fill_images("blur", edge)[0, 0, 12]
    assert (profile.diff() >= 0).all()
    assert profile[11].item() == pytest.approx(1 - profile[12].item(), abs=1e-5)


def test_a_tensor_fills_as_colour_image_or_batch():
    batch = images()
    colour = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    assert fill_images(colour, batch)[1, 2].unique().tolist() == [3.0]
    assert torch.equal(fill_images(batch[0], batch)[1], batch[0])
    assert torch.equal(fill_images(-batch, batch), -batch)
    with pytest.raises(ValueError, match=r"\(2, 1, 1\) does not fit"):
        fill_images(torch.zeros(2, 1, 1), batch)


@pytest.mark.usefixtures("unhooked")
def test_wrong_names_and_channels_are_named():
    with pytest.raises(ValueError, match="'mean', 'black', 'blur', 'drop' or a tensor, got 'white'"):
        fill_images("white", images())
    with pytest.raises(ValueError, match="has 3 channels, the images have 1"):
        NORMALIZATION.apply(images(channels=1))
    with pytest.raises(ValueError, match="std > 0"):
        Normalization((0.5,), (0.0,))


def photograph():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8))


def test_photographs_are_hidden_in_their_own_pixels():
    image = photograph()
    pixels, before = np.array(image), image.tobytes()
    labels = np.arange(24 * 36).reshape(24, 36) % 3
    filled = np.full_like(pixels, 7)
    shown = show_photograph(pixels, labels, np.array([True, False, True]), filled)
    for row, column in ((0, 0), (0, 1), (5, 6), (23, 35)):
        expected = filled if labels[row, column] == 1 else pixels
        assert shown[row, column].tolist() == expected[row, column].tolist()
    assert shown.dtype == np.uint8
    assert image.tobytes() == before


def test_what_hidden_pixels_of_a_photograph_show():
    image = photograph()
    pixels = np.array(image)
    assert not fill_photograph(image, "black").any()
    assert fill_photograph(image, "mean", mean=(1, 2, 3))[5, 5].tolist() == [1, 2, 3]
    assert np.abs(fill_photograph(image, "mean")[0, 0] - pixels.mean((0, 1))).max() <= 0.5
    blurred = fill_photograph(image, "blur")
    assert blurred.std() < 0.3 * pixels.std()
    assert abs(blurred.mean() - pixels.mean()) < 2
    with pytest.raises(ValueError, match="black, mean or blur, not 'drop'"):
        fill_photograph(image, "drop")
