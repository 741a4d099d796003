"""Rendered screens: layouts follow or break habits, boxes hold what they say, the same seed gives the same pixels."""

import shutil
from collections import Counter

import numpy as np
import pytest

from wherenot.gui.screens import render
from wherenot.gui.screens.config import SPLITS, ScreensConfig, render_tasks
from wherenot.gui.screens.elements import elements, phrases
from wherenot.gui.screens.kinds import KINDS
from wherenot.gui.screens.layouts import Group, draw_layout
from wherenot.gui.screens.render import ScreenPlan, open_renderer
from wherenot.gui.screens.tasks import draw_task, zone_name

GROUPS = [group for kind in KINDS.values() for group in kind.groups]
needs_browser = pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on the PATH")


@pytest.fixture(scope="module")
def renderer():
    with open_renderer(180) as opened:
        yield opened


def test_every_element_is_told_apart_and_can_be_asked_for_in_both_languages():
    for locale in ("en", "zh"):
        assert len({element.labels[locale] for element in elements().values()}) == len(elements())
        assert len({element.uses[locale] for element in elements().values()}) == len(elements())
    assert len({element.color for element in elements().values()}) == len(elements())
    assert {name for group in GROUPS for name in group.pool} <= set(elements())


def drawn(group, layout, rho=1.0, times=200):
    for seed in range(times):
        yield draw_layout(group, layout, rho, np.random.default_rng(seed))


@pytest.mark.parametrize("layout", ["habitual", "shuffled", "moved", "distractor"])
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.pool[0])
def test_layouts_take_each_slot_once(group, layout):
    for names in drawn(group, layout, rho=0.7, times=30):
        assert len(names) == group.slots == len(set(names))
        assert set(names) <= set(group.pool)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.pool[0])
def test_habits_are_kept_broken_or_mean_nothing(group):
    def kept(layout, rho=1.0):
        return np.mean(
            [[group.habit(n) == slot for slot, n in enumerate(names)] for names in drawn(group, layout, rho)]
        )

    assert kept("habitual") == 1
    assert kept("moved") == 0
    assert kept("distractor") == pytest.approx((group.slots % 2) / group.slots, abs=0.02)
    assert kept("shuffled") == pytest.approx(1 / group.slots, abs=0.06)
    # A lone displaced element has nobody to change places with.
    alone = 0.3 * 0.7 ** (group.slots - 1)
    assert kept("habitual", rho=0.7) == pytest.approx(0.7 + alone, abs=0.06)


def test_each_element_of_a_pool_comes_up():
    for group in GROUPS:
        seen = Counter(name for names in drawn(group, "habitual") for name in names)
        assert set(seen) == set(group.pool)


def test_a_distractor_stands_where_its_look_alike_belongs():
    group = Group(("Mail", "Wi-Fi", "Delete", "Browser"), 4)  # two red icons, two blue ones
    assert draw_layout(group, "distractor", 1.0, np.random.default_rng(0)) == ["Delete", "Browser", "Mail", "Wi-Fi"]


def test_places_in_words():
    points = [(x, y) for y in (0.1, 0.5, 0.9) for x in (0.1, 0.5, 0.9)]
    for locale in ("en", "zh"):
        assert [zone_name(x, y, locale) for x, y in points] == phrases(locale)["zones"]
    assert zone_name(1.0, 1.0) == "lower right"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_test": -1}, "must be >= 0"), ({"tasks_per_screen": 0}, "tasks_per_screen >= 1"),
        ({"rho": 1.5}, "rho must"),
        ({"kinds": ("desktop",)}, "kinds must be some of home"), ({"styles": ()}, "styles must be"),
    ],
)  # fmt: skip
def test_bad_configurations(wrong, message):
    with pytest.raises(ValueError, match=message):
        ScreensConfig(**wrong)


def plans(**given):
    return [ScreenPlan(kind=kind, seed=(7, at), **given) for at, kind in enumerate(KINDS)]


def nearest_color(image, box, color):
    """Smallest distance, in any channel, of a pixel in a box to a colour."""
    left, top, right, bottom = (round(edge) for edge in box)
    wanted = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)])
    return np.abs(np.asarray(image)[top:bottom, left:right].astype(int) - wanted).max(-1).min()


@needs_browser
@pytest.mark.parametrize("layout", ["habitual", "moved"])
def test_boxes_hold_their_elements(renderer, layout):
    for screen in renderer.render(plans(layout=layout)):
        assert screen.image.size == (180, 360)
        assert len(screen.shown) == sum(group.slots for group in KINDS[screen.plan.kind].groups)
        others = {shown.name for shown in screen.shown}
        for shown in screen.shown:
            left, top, right, bottom = shown.box
            assert 0 <= left < right <= 180
            assert 0 <= top < bottom <= 360
            assert nearest_color(screen.image, shown.box, elements()[shown.name].color) <= 2
            assert shown.habitual == (layout == "habitual")
        assert len(others) == len(screen.shown)


@needs_browser
def test_the_same_plans_give_the_same_pixels(renderer):
    first, again = (list(renderer.render(plans())) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.image, other.image)
        assert one.shown == other.shown
    [alone] = renderer.render([plans()[3]])
    assert alone.shown == first[3].shown
    difference = np.abs(np.asarray(alone.image).astype(int) - np.asarray(first[3].image))
    assert difference.mean() < 0.05  # edges are smoothed a little differently in another place of the page
    [other] = renderer.render([ScreenPlan(kind=alone.plan.kind, seed=8)])
    assert not np.array_equal(other.image, alone.image)


@needs_browser
def test_what_is_covered_is_an_error(renderer, monkeypatch):
    monkeypatch.setattr(render, "_STYLE", render._STYLE + ".cover { position: fixed; inset: 0; z-index: 9; }")
    with pytest.raises(ValueError, match="is covered; a click in its middle would miss it"):
        list(renderer.render([ScreenPlan(kind="player")]))


@needs_browser
def test_bad_plans(renderer, monkeypatch):
    with pytest.raises(ValueError, match="no kind of screen is called 'desktop'"):
        list(renderer.render([ScreenPlan(kind="desktop")]))
    monkeypatch.setattr(renderer, "_chinese", False)
    with pytest.raises(ValueError, match="no font has Chinese letters"):
        list(renderer.render([ScreenPlan(kind="home", locale="zh")]))


def test_bad_widths():
    with pytest.raises(ValueError, match="width must be"), open_renderer(10):
        pass


@needs_browser
def test_tasks_of_every_split(renderer):
    config = ScreensConfig(num_train=5, num_validation=4, num_test=7, tasks_per_screen=3, rho=1.0)
    for split, layout in SPLITS.items():
        tasks = list(render_tasks(config, split, renderer))
        assert len(tasks) == config.number(split)
        for task in tasks:
            assert task.screen.plan.layout == layout
            left, top, right, bottom = task.target.box
            assert left / 180 < task.point[0] < right / 180
            assert top / 360 < task.point[1] < bottom / 360
            assert task.target.label in task.thought
            assert zone_name(*task.point) in task.thought
            assert task.target.habitual or layout != "habitual"
    again = [task.instruction for task in render_tasks(config, "train", renderer)]
    assert again == [task.instruction for task in render_tasks(config, "train", renderer)]
    assert again != [task.instruction for task in render_tasks(ScreensConfig(num_train=5, seed=1), "train", renderer)]


@needs_browser
def test_screens_with_few_elements_are_made_up_for(renderer):
    config = ScreensConfig(num_train=13, tasks_per_screen=12, kinds=("toolbar", "form"))
    tasks = list(render_tasks(config, "train", renderer))
    assert len(tasks) == 13
    asked = [(task.screen.plan.seed, task.target.name) for task in tasks]
    assert len(set(asked)) == 13  # nothing is asked twice


@needs_browser
def test_ways_of_asking(renderer):
    [screen] = renderer.render([ScreenPlan(kind="player", seed=1)])
    play = next(shown for shown in screen.shown if shown.name == "Play")
    for seed in range(20):
        asked = {
            style: draw_task(screen, play, style, np.random.default_rng(seed)).instruction
            for style in ("direct", "functional", "contrast")
        }
        assert "Play" in asked["direct"]
        assert "start the song" in asked["functional"]
        assert "Play" not in asked["functional"]
        named = [shown.name for shown in screen.shown if shown.name in asked["contrast"].replace("Playlist", "")]
        assert "Play" in named
        assert len(named) == 2 or "Playlist" in asked["contrast"]
