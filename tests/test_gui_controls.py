"""Controls for agents: regions drawn by chance, elements that change places."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from test_gui_penalties import quarters
from wherenot.data import UiElement
from wherenot.gui.clicks import prepare_click
from wherenot.gui.controls import RandomRegions, Swap, swapped
from wherenot.gui.penalties import AgentMethod, Augmenting, EvidencePenalty
from wherenot.gui.screens.tasks import zone_name
from wherenot.models import VisionLanguageModel
from wherenot.models.tiny_vlms import tiny_vlm

ALWAYS = {"interval": 1, "right_above": -1.0, "tokens": "all"}


@pytest.fixture(scope="module")
def vlm():
    return VisionLanguageModel(*tiny_vlm("llava"))


def test_a_region_off_the_target_is_drawn_anew_at_every_step(vlm):
    click = prepare_click(vlm, quarters())
    method = RandomRegions(seed=3, **ALWAYS)
    drawn = []
    for step in range(1, 25):
        [off] = method.find(vlm, [click], step).off
        alone, without = off.shown
        visible = {
            region
            for region in range(4)
            if torch.equal(alone[click.layout == region], click.pixels[click.layout == region])
        }
        hidden = {
            region
            for region in range(4)
            if torch.equal(without[click.layout == region], click.fill[click.layout == region])
        }
        assert visible == hidden
        drawn.append(*visible)
        again = method.find(vlm, [click], step).off[0].shown
        assert torch.equal(again, off.shown)
    assert set(drawn) == {1, 2, 3}, "every region but the target's"
    other = RandomRegions(seed=4, **ALWAYS)
    assert any(
        not torch.equal(method.find(vlm, [click], t).off[0].shown, other.find(vlm, [click], t).off[0].shown)
        for t in range(1, 9)
    )


def test_its_penalty_is_the_papers_on_that_region(vlm):
    click = prepare_click(vlm, quarters())
    found = RandomRegions(**ALWAYS).find(vlm, [click], step=1).off[0]
    paper = EvidencePenalty(**ALWAYS).off(vlm, click, step=1)
    read = torch.rand(2, 5, generator=torch.Generator().manual_seed(0))
    assert found.loss(read) == read[0].mean() + 1 - read[1].mean()
    assert paper is None or paper.loss(read) == found.loss(read)
    everywhere = prepare_click(vlm, quarters(box=(0.0, 0.0, 84.0, 84.0)))
    assert RandomRegions(**ALWAYS).find(vlm, [everywhere], step=1).off == []


def names_of_colours(image):
    pixels = np.asarray(image)
    names = {(220, 40, 40): "red", (40, 200, 40): "green", (40, 40, 220): "blue", (220, 220, 40): "yellow"}
    return [[names[tuple(pixels[y, x].tolist())] for x in (20, 60)] for y in (20, 60)]


def test_elements_change_places_and_the_label_goes_with_the_target():
    before = quarters(right='{"thought":"Red is at the upper left.","POINT":[150,250]}')
    before = replace(before, point=(0.15, 0.25), thought="Red is at the upper left.")
    seen = set()
    for seed in range(12):
        after = swapped(before, np.random.default_rng(seed))
        box, colours = tuple(map(int, after.box)), names_of_colours(after.read_image())
        column, row = box[0] // 42, box[1] // 42
        assert colours[row][column] == "red"
        assert colours[0][0] == names_of_colours(before.read_image())[row][column]
        x, y = after.point
        assert (x * 84 - box[0], y * 84 - box[1]) == pytest.approx((0.15 * 84, 0.25 * 84))
        said = json.loads(after.right)
        assert said["POINT"] == [round(1000 * x), round(1000 * y)]
        assert said["thought"] == after.thought == f"Red is at the {zone_name(x, y)}."
        assert after.thought != before.thought
        allowed = after.read_prior().allowed
        assert allowed[box[1] : box[3], box[0] : box[2]].all()
        assert int(allowed.sum()) == 42 * 42
        listed = [tuple(map(int, each.box)) for each in after.elements()]
        assert listed[0] == box
        assert sorted(listed) == sorted(tuple(map(int, each.box)) for each in before.elements())
        seen.add((column, row))
    assert seen == {(1, 0), (0, 1), (1, 1)}
    assert names_of_colours(before.read_image()) == [["red", "green"], ["blue", "yellow"]]


def test_what_has_no_partner_stays():
    rng = np.random.default_rng(0)
    target = UiElement(box=(0.0, 0.0, 42.0, 42.0))
    long = UiElement(box=(0.0, 42.0, 84.0, 60.0))
    near = UiElement(box=(20.0, 20.0, 62.0, 62.0))
    assert swapped(quarters(elements=(target, long, near)), rng) is None
    hidden = UiElement(box=(42.0, 42.0, 84.0, 84.0), visible=False)
    assert swapped(quarters(elements=(target, hidden)), rng) is None
    assert swapped(replace(quarters(), point=None), rng) is None
    assert swapped(replace(quarters(), box=None), rng) is None


def test_elements_of_different_sizes_fill_each_others_places():
    pixels = np.zeros((84, 84, 3), np.uint8)
    pixels[0:20, 0:20], pixels[40:70, 40:64] = 100, 200
    small, large = UiElement(box=(0.0, 0.0, 20.0, 20.0)), UiElement(box=(40.0, 40.0, 64.0, 70.0))
    task = replace(
        quarters(box=small.box, elements=(small, large)), read_image=partial(Image.fromarray, pixels), point=(0.1, 0.1)
    )
    after = swapped(task, np.random.default_rng(0))
    seen = np.asarray(after.read_image())
    assert (seen[0:20, 0:20] == 200).all()
    assert (seen[40:70, 40:64] == 100).all()
    assert after.box == large.box


def test_a_share_of_a_batch_is_changed(vlm):
    tasks = [replace(quarters(), id=str(place)) for place in range(200)]
    method = Swap(share=0.3)
    assert isinstance(method, Augmenting)
    assert isinstance(method, AgentMethod)
    assert not isinstance(RandomRegions(), Augmenting)
    seen = method.augment(tasks, (0, 1))
    changed = [new is not old for new, old in zip(seen, tasks, strict=True)]
    assert 0.2 < np.mean(changed) < 0.4
    again = method.augment(tasks, (0, 1))
    assert [new.box for new in again] == [new.box for new in seen]
    assert [new.box for new in method.augment(tasks, (0, 2))] != [new.box for new in seen]
    assert all(new is old for new, old in zip(Swap(share=0.0).augment(tasks, (0,)), tasks, strict=True))
    assert method.find(vlm, [prepare_click(vlm, quarters())], 1).off == []
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\]"):
        Swap(share=1.5)
