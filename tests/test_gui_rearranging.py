"""Screens dealt out anew: what is alike changes places, every label goes along, tasks still share a screen."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from test_gui_controls import names_of_colours
from test_gui_penalties import quarters
from wherenot.data import UiElement
from wherenot.gui.controls import Swap
from wherenot.gui.moving import alike, moved, point_step, whole, with_moved
from wherenot.gui.penalties import AgentMethod, Augmenting
from wherenot.gui.rearranging import Rearrange, movable_frac, new_places
from wherenot.train.agents.config import AgentMethodConfig
from wherenot.train.agents.recipe import check_movable

BOXES = [(x, y, x + 42.0, y + 42.0) for y in (0.0, 42.0) for x in (0.0, 42.0)]
COLOURS = ["red", "green", "blue", "yellow"]
ALL = Rearrange(share=1.0)


def tasks(screenshot="one"):
    """A task for each quarter of a screen."""
    made = []
    for box, name in zip(BOXES, COLOURS, strict=True):
        point = (box[0] + 21) / 84, (box[1] + 21) / 84
        said = {"thought": name, "POINT": [round(1000 * share) for share in point]}
        task = quarters(right=json.dumps(said, separators=(",", ":")), box=box)
        made.append(replace(task, id=f"{screenshot}/{name}", point=point, thought=name, screenshot=screenshot))
    return made


def shown_in(task):
    x, y = (int(edge) // 42 for edge in task.box[:2])
    return names_of_colours(task.read_image())[y][x]


def test_every_label_goes_with_its_target_and_each_place_is_as_likely():
    arrangements, stayed = Counter(), 0
    for seed in range(400):
        after = ALL.augment(tasks(), (seed,))
        assert [shown_in(task) for task in after] == COLOURS
        stayed += sum(new.box == old.box for new, old in zip(after, tasks(), strict=True))
        for task in after:
            x, y = json.loads(task.right)["POINT"]
            assert task.box[0] < x * 84 / 1000 < task.box[2]
            assert task.box[1] < y * 84 / 1000 < task.box[3]
            allowed = task.read_prior().allowed
            left, top, right, bottom = whole(task.box)
            assert allowed[top:bottom, left:right].all()
            assert int(allowed.sum()) == 42 * 42
        screen = np.asarray(after[0].read_image())
        assert all(np.array_equal(np.asarray(task.read_image()), screen) for task in after), "one screen for all"
        arrangements[tuple(map(tuple, names_of_colours(after[0].read_image())))] += 1
    assert len(arrangements) == 24
    assert max(arrangements.values()) < 35  # of 17 expected
    assert stayed / 1600 == pytest.approx(0.25, abs=0.05)  # more or less would tell where things are or are not
    assert names_of_colours(tasks()[0].read_image()) == [["red", "green"], ["blue", "yellow"]]


def test_elements_follow_so_that_hiding_one_hides_what_it_names():
    for seed in range(6):
        after = ALL.augment(tasks(), (seed,))
        for task, box in zip(after, BOXES, strict=True):
            listed = [element.box for element in task.elements()]
            assert listed[BOXES.index(box)] == task.box
            assert sorted(listed) == sorted(BOXES)


def test_a_screen_is_dealt_out_by_seed_name_and_share():
    method = Rearrange(share=0.3)
    assert isinstance(method, Augmenting)
    assert isinstance(method, AgentMethod)
    many = [task for place in range(200) for task in tasks(str(place))[:2]]
    after = method.augment(many, (0, 7))
    changed = [new is not old for new, old in zip(after, many, strict=True)]
    assert changed[::2] == changed[1::2], "tasks of a screen stay together"
    assert 0.2 < np.mean(changed) < 0.4  # of 0.3, some of which are dealt out as they were
    again = method.augment(many, (0, 7))
    assert [task.box for task in again] == [task.box for task in after]
    assert [task.box for task in method.augment(many, (0, 8))] != [task.box for task in after]
    boxes = {after[row].box for row in range(0, 400, 2) if changed[row]}
    assert len(boxes) == 4, "other screens are dealt out otherwise"
    untouched = Rearrange(share=0.0).augment(many, (0,))
    assert all(new is old for new, old in zip(untouched, many, strict=True))
    with pytest.raises(ValueError, match=r"Rearrange: share must lie in \[0, 1\]"):
        Rearrange(share=-0.1)


def test_what_overlaps_or_differs_in_size_stays():
    [task, *_] = tasks()
    small = [UiElement(box=box) for box in BOXES]
    around = UiElement(box=(0.0, 0.0, 84.0, 84.0))
    places = new_places([replace(task, elements=lambda: (around, *small))], np.random.default_rng(0))
    assert set(places) == {whole(box) for box in BOXES}
    partly = UiElement(box=(30.0, 50.0, 72.0, 92.0))
    places = new_places([replace(task, elements=lambda: (*small[:2], partly))], np.random.default_rng(0))
    assert whole(partly.box) in places
    over_target = UiElement(box=(30.0, 10.0, 72.0, 52.0))
    places = new_places([replace(task, elements=lambda: (small[0], over_target))], np.random.default_rng(0))
    assert places == {}
    long = UiElement(box=(0.0, 42.0, 84.0, 60.0))
    assert new_places([replace(task, elements=lambda: (small[0], long))], np.random.default_rng(0)) == {}
    hidden = UiElement(box=BOXES[1], visible=False)
    assert new_places([replace(task, elements=lambda: (small[0], hidden))], np.random.default_rng(0)) == {}


def test_screens_with_a_task_that_tells_no_target_stay():
    back = replace(tasks()[0], id="back", box=None, point=None, right='{"PRESS":"BACK"}')
    given = [*tasks(), back]
    for seed in range(5):
        after = ALL.augment(given, (seed,))
        assert all(new is old for new, old in zip(after, given, strict=True))
    bare = [replace(task, elements=tuple) for task in tasks()]
    assert all(new is old for new, old in zip(ALL.augment(bare, (0,)), bare, strict=True))


def test_a_pair_that_fits_no_longer_is_not_exchanged():
    """A middle size fits both a small and a large one, which do not fit each other."""
    sizes = ((0, 0, 10, 10), (20, 0, 34, 14), (40, 0, 59, 19))
    task = replace(tasks()[0], elements=lambda: tuple(UiElement(box=tuple(map(float, box))) for box in sizes), box=None)
    found = [new_places([task], np.random.default_rng(seed)) for seed in range(30)]
    assert sum(map(bool, found)) > 10
    for places in found:
        assert all(alike(box, place) for box, place in places.items())
        assert sorted(places) == sorted(places.values()), "places are exchanged, none is lost"


@pytest.mark.parametrize("method", [Rearrange(share=1.0, step=20), Swap(share=1.0, step=20)])
def test_answers_keep_to_the_step_of_the_data(method):
    coarse = []
    for task in tasks():
        at = [round(50 * share) * 20 for share in task.point]
        coarse.append(replace(task, right=f'{{"POINT":[{at[0]},{at[1]}]}}', thought=None))
    assert point_step(coarse) % 20 == 0
    changed = 0
    for seed in range(5):
        for old, task in zip(coarse, method.augment(coarse, (seed,)), strict=True):
            said = json.loads(task.right)["POINT"]
            changed += task.box != old.box
            assert all(number % 20 == 0 for number in said)
            assert max(abs(number - 1000 * share) for number, share in zip(said, task.point, strict=True)) <= 10
    assert changed > 5


def test_the_step_of_answers():
    task = tasks()[0]
    assert point_step([]) == 1
    assert point_step([replace(task, right='{"PRESS":"BACK"}'), replace(task, right=None)]) == 1
    assert point_step([replace(task, right='{"POINT":[0,0]}')]) == 1
    assert point_step([replace(task, right='{"POINT":[250,500]}'), replace(task, right='{"POINT":[100,375]}')]) == 25


def test_a_target_that_stays_keeps_its_answer_and_box():
    red, green, *_ = tasks()
    places = {whole(BOXES[2]): whole(BOXES[3]), whole(BOXES[3]): whole(BOXES[2])}
    image = with_moved(red.read_image(), places)
    after = moved(red, places, image)
    assert (after.box, after.point, after.right, after.thought) == (red.box, red.point, red.right, red.thought)
    assert names_of_colours(after.read_image()) == [["red", "green"], ["yellow", "blue"]]
    assert names_of_colours(green.read_image()) == [["red", "green"], ["blue", "yellow"]]


def test_the_collator_lets_tasks_share_a_rearranged_screen():
    pytest.importorskip("trl")
    from wherenot.models import VisionLanguageModel
    from wherenot.models.tiny_vlms import tiny_vlm
    from wherenot.train.agents.collating import AgentCollator

    vlm = VisionLanguageModel(*tiny_vlm("llava"))
    batch = AgentCollator(vlm, tasks(), method=ALL, share=True)([{"row": row} for row in range(4)])
    assert batch["seen"]["rows"].tolist() == [0, 0, 0, 0]
    assert [shown_in(task.sample) for task in batch["tasks"]] == COLOURS


def bare(task):
    return replace(task, elements=lambda: ())


def test_data_without_anything_to_move_are_refused_and_few_are_told():
    told, untold = tasks(), [bare(task) for task in tasks()]
    rearrange = AgentMethodConfig()
    assert (movable_frac(told), movable_frac(untold), movable_frac([])) == (1.0, 0.0, 0.0)
    assert movable_frac([*told, *(replace(task, point=None) for task in told)]) == 0.5
    assert check_movable(rearrange, told) == []
    assert check_movable(rearrange, [*told, *untold]) == []
    [sign] = check_movable(rearrange, [*told, *untold, *untold])
    assert (sign.kind, sign.seen) == (
        "little_rearranged",
        "Only 33% of the training screens have elements that can change places.",
    )
    with pytest.raises(ValueError, match=r"rearrange has nothing to move: .* --set\.method\.name sft"):
        check_movable(rearrange, untold)
    assert check_movable(AgentMethodConfig(name="sft"), untold) == []
