import random

import pytest
import torch

from wherenot.gui import (
    CODECS,
    CONVENTIONS,
    FAULTS,
    Action,
    Reply,
    Scale,
    clicked_points,
    convention_of,
    count_faults,
    parse_codec,
    resized_for,
    resized_size,
)
from wherenot.gui.coordinates import FAMILIES
from wherenot.gui.replies import FATAL, TOLERABLE


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "tap"}, "no kind is called 'tap'"),
        ({"kind": "click"}, "a click needs point"),
        ({"kind": "click", "point": (0.1, 0.2), "duration_ms": 5}, "a click has no duration_ms"),
        ({"kind": "click", "point": (0.1, 1.01)}, "outside the screen"),
        ({"kind": "click", "point": (float("nan"), 0.5)}, "outside the screen"),
        ({"kind": "swipe", "point": (0.1, 0.2)}, "a swipe needs to"),
        ({"kind": "swipe", "to": (0.1, 0.2)}, "starts nowhere"),
        ({"kind": "swipe", "point": (0.1, 0.2), "to": (-0.1, 0.2)}, "to .* outside the screen"),
        ({"kind": "swipe", "point": (0.1, 0.2), "to": "north"}, "to='north'"),
        ({"kind": "wait", "duration_ms": -1}, "duration_ms=-1"),
        ({"kind": "press", "key": "HOME"}, "key='HOME'"),
        ({"kind": "press", "key": ""}, "key=''"),
        ({"kind": "status", "status": "done"}, "status='done'"),
        ({"kind": "type", "text": "a", "status": "finish"}, "a type has no status"),
    ],
)
def test_an_action_that_makes_no_sense_is_refused(fields, message, unhooked):
    with pytest.raises(ValueError, match=message):
        Action(**fields)


def test_a_reply_has_an_action_or_a_reason_for_none(unhooked):
    click = Action(kind="click", point=(0.5, 0.5))
    for action, faults in [(None, ()), (None, ("fenced",)), (click, ("empty",)), (click, ("extra_text", "fenced"))]:
        with pytest.raises(ValueError, match="Reply:"):
            Reply(action=action, thought=None, faults=faults)
    with pytest.raises(ValueError, match="names of FAULTS"):
        Reply(action=None, thought=None, faults=("odd",))
    assert Reply(action=click, thought=None, faults=("fenced",)).malformed is False
    assert set(FAULTS) == set(FATAL) | set(TOLERABLE)
    assert not set(FATAL) & set(TOLERABLE)


def test_only_clicks_have_a_clicked_point():
    replies = [
        Reply(action=Action(kind="long_press", point=(0.5, 0.5)), thought=None, faults=()),
        Reply(action=Action(kind="click", point=(0.125, 1.0)), thought=None, faults=("fenced", "extra_text")),
        Reply(action=None, thought=None, faults=("extra_text", "no_point")),
    ]
    points = clicked_points(replies)
    assert points.isnan().tolist() == [[True, True], [False, False], [True, True]]
    assert points[1].tolist() == [0.125, 1.0]
    assert clicked_points([]).shape == (0, 2)
    assert count_faults(replies) == {"fenced": 1, "extra_text": 2, "no_point": 1}


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (1456, 672), (1120, 504), (1092, 1932), (3, 7919)])
@pytest.mark.parametrize("name", CONVENTIONS)
def test_whole_numbers_survive_the_way_to_the_screen_and_back(name, size):
    scale = CONVENTIONS[name].scale(size)
    if name == "unit":
        written = [(step / 1000, 1 - step / 1000) for step in range(1001)]
        written = [(x, round(y, 3)) for x, y in written]
    else:
        longest = max(scale.width, scale.height)
        written = [(min(step, scale.width), min(longest - step, scale.height)) for step in range(longest + 1)]
    for x, y in written:
        point = scale.to_screen(x, y)
        assert scale.from_screen(point) == (x, y)
        assert [type(number) for number in scale.from_screen(point)] == [float if name == "unit" else int] * 2
        assert all(0 <= number <= 1 for number in point)


def test_conventions_give_the_same_place_in_their_own_numbers():
    point = (0.5, 0.25)
    assert CONVENTIONS["unit"].scale().from_screen(point) == (0.5, 0.25)
    assert CONVENTIONS["0-1000"].scale().from_screen(point) == (500, 250)
    assert CONVENTIONS["0-999"].scale().from_screen((1.0, 1 / 3)) == (999, 333)
    assert CONVENTIONS["resized"].scale((1120, 504)).from_screen(point) == (252, 280)  # x of the width, y of the height
    with pytest.raises(ValueError, match="resized image"):
        CONVENTIONS["resized"].scale()


def test_a_place_outside_is_refused():
    scale = Scale(width=504, height=1120)
    for x, y in [(505, 0), (0, 1121), (-1, 0), (float("nan"), 0), (10**400, 0)]:
        assert not scale.holds(x, y)
        with pytest.raises(ValueError, match="outside"):
            scale.to_screen(x, y)
    with pytest.raises(ValueError, match="outside"):
        scale.from_screen((1.001, 0.5))
    with pytest.raises(ValueError, match="width and height"):
        Scale(width=0, height=5)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Qwen/Qwen2-VL-7B-Instruct", "0-1000"),
        ("Qwen/Qwen2.5-VL-72B-Instruct", "resized"),
        ("Qwen/Qwen3-VL-8B-Instruct", "0-1000"),
        ("bytedance-research/UI-TARS-2B-SFT", "0-1000"),
        ("ByteDance-Seed/UI-TARS-1.5-7B", "resized"),
        ("openbmb/AgentCPM-GUI", "0-1000"),
        ("Tongyi-MAI/MAI-UI-8B", "0-999"),
        ("mPLUG/GUI-Owl-1.5-8B-Instruct", "0-1000"),
        ("showlab/ShowUI-2B", "unit"),
        ("moonshotai/Kimi-VL-A3B-Instruct", "unit"),
        ("OS-Copilot/OS-Atlas-Base-7B", "0-1000"),
    ],
)
def test_models_have_their_familys_convention(model, name):
    assert convention_of(model) is CONVENTIONS[name]


def test_an_unknown_model_is_not_guessed():
    with pytest.raises(ValueError, match=r"'acme/agent' are not known; known are agentcpm-gui, .*CONVENTIONS: unit"):
        convention_of("acme/agent")
    with pytest.raises(ValueError, match="no format is called 'xml'; choose one of agentcpm, "):
        parse_codec("xml")
    assert all(parse_codec(name) is codec for name, codec in CODECS.items())
    assert all(family.convention in CONVENTIONS and family.source for family in FAMILIES.values())


def test_resized_size_is_that_of_the_processors():
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    chance = random.Random(0)
    limits = [(28, 56 * 56, 1280 * 28 * 28), (28, 100 * 28**2, 16384 * 28**2), (32, 65536, 16777216), (28, 784, 5000)]
    for _ in range(5000):
        factor, least, most = chance.choice(limits)
        height, width = (round(10 ** chance.uniform(0, 4)) for _ in range(2))
        if max(height, width) > 200 * min(height, width):
            continue
        expected = smart_resize(height, width, factor=factor, min_pixels=least, max_pixels=most)
        assert resized_size(height, width, factor=factor, min_pixels=least, max_pixels=most) == expected
    for half in range(14, 1400, 28):  # halves are rounded to even
        expected = smart_resize(half, 280, factor=28, min_pixels=1, max_pixels=10**7)
        assert resized_size(half, 280, factor=28, min_pixels=1, max_pixels=10**7) == expected


@pytest.mark.parametrize("numbers", [(0, 5), (1, 201), (4020, 20), (5, -5)])
def test_sizes_that_no_processor_takes_are_refused(numbers):
    with pytest.raises(ValueError, match="resized_size"):
        resized_size(*numbers, factor=28, min_pixels=784, max_pixels=10**6)


def test_the_size_comes_from_the_loaded_processor():
    from PIL import Image
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    for patch_size, most in [(14, 200_000), (16, 90_000)]:
        processor = Qwen2VLImageProcessorPil(patch_size=patch_size, size={"shortest_edge": 3136, "longest_edge": most})
        given = processor(images=Image.new("RGB", (333, 701)), return_tensors="pt")
        _, rows, columns = given["image_grid_thw"][0].tolist()
        assert resized_for(processor, 701, 333) == (rows * patch_size, columns * patch_size)
        assert torch.equal(given["image_grid_thw"][0], torch.tensor([1, rows, columns]))
