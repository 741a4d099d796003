"""The tiny agent's screens in memory, on cases solved on paper."""

import pytest
import torch
from PIL import Image

from wherenot.gui.agent.bank import Bank
from wherenot.gui.agent.model import HEIGHT, PATCH, WIDTH, build_agent

ACROSS, DOWN = WIDTH // PATCH, HEIGHT // PATCH


def bank(*screens):
    """Black screens with these elements: (name, box in patches)."""
    most = max(len(elements) for elements in screens)
    names, boxes = torch.full((len(screens), most), -1), torch.zeros(len(screens), most, 4)
    for row, elements in enumerate(screens):
        for place, (name, box) in enumerate(elements):
            names[row, place] = name
            boxes[row, place] = torch.tensor(box) / torch.tensor([ACROSS, DOWN, ACROSS, DOWN])
    images = torch.zeros(len(screens), HEIGHT, WIDTH, 3, dtype=torch.uint8)
    return Bank(images, names, boxes, torch.zeros_like(names))


def named(bank, row=0):
    """Patches (x, y) that have a name."""
    [names] = bank.patch_names(torch.tensor([row]))
    assert len(names) == ACROSS * DOWN
    return {(place % ACROSS, place // ACROSS): name for place, name in enumerate(names.tolist()) if name >= 0}


def test_patches_have_the_name_of_what_covers_their_middle():
    assert named(bank([(3, (2.0, 1.0, 4.0, 2.0))])) == {(2, 1): 3, (3, 1): 3}
    assert named(bank([(3, (2.4, 1.4, 3.6, 2.4))])) == {(2, 1): 3, (3, 1): 3}  # the middles, no more of them
    assert named(bank([(3, (2.6, 1.0, 3.4, 2.0))])) == {}  # between two middles
    assert named(bank([(5, (0.0, 0.0, float(ACROSS), float(DOWN)))])) == {
        (x, y): 5 for y in range(DOWN) for x in range(ACROSS)
    }


def test_a_box_holds_its_left_and_upper_edge_alone():
    assert named(bank([(3, (2.5, 1.5, 3.5, 2.5))])) == {(2, 1): 3}


def test_rows_are_asked_for_in_any_order_and_missing_elements_cover_nothing():
    three = bank([(7, (0.0, 0.0, 1.0, 1.0)), (0, (1.0, 0.0, 2.0, 1.0))], [(1, (7.0, 15.0, 8.0, 16.0))], [])
    assert named(three, 0) == {(0, 0): 7, (1, 0): 0}
    assert named(three, 1) == {(7, 15): 1}
    assert named(three, 2) == {}
    both = three.patch_names(torch.tensor([1, 0]))
    assert both.shape == (2, ACROSS * DOWN)
    assert both[0, -1] == 1
    assert both[1, :2].tolist() == [7, 0]
    assert len(three) == 3


def test_pixels_are_channels_first_and_between_minus_one_and_one():
    two = bank([], [(0, (0.0, 0.0, 1.0, 1.0))])
    two.images[1, 2, 5] = torch.tensor([255, 51, 0], dtype=torch.uint8)
    black, shown = two.pixels(torch.tensor([0, 1]))
    assert black.shape == (3, HEIGHT, WIDTH)
    assert black.unique().tolist() == [-1.0]
    assert shown[:, 2, 5].tolist() == pytest.approx([1.0, -0.6, -1.0])
    assert (shown > -1).sum() == 2
    assert two.images.max() == 255  # not what is kept


def test_pixels_are_what_the_agents_processor_makes_of_the_screen():
    images = torch.randint(0, 256, (2, HEIGHT, WIDTH, 3), generator=torch.Generator().manual_seed(0)).byte()
    two = Bank(images, torch.full((2, 1), -1), torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.long))
    processor = build_agent()[1].image_processor
    for row, image in enumerate(images):
        made = processor(images=Image.fromarray(image.numpy()), return_tensors="pt")["pixel_values"]
        assert torch.allclose(two.pixels(torch.tensor([row])), made, atol=1e-6)
