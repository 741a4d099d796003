"""ScreenSpot and steps of Android episodes: what is read, and what is refused."""

import json

import pytest

from gui_tasks import SIDE, node, save_tree
from photo_folder import save_image
from wherenot.data import DataError, load_dataset, read_android_steps, read_screenspot
from wherenot.data.image_text import NO_LABEL
from wherenot.priors import Prior

SPOT = {
    "img_filename": "mobile_1.png", "bbox": [20, 40, 40, 30], "instruction": "open settings", "data_type": "text",
    "data_source": "ios",
}  # fmt: skip
PRO = {
    "img_filename": "blender_mac/s.png", "bbox": [20, 40, 60, 70], "instruction": "add a cube", "id": "blender_0",
    "instruction_cn": "?", "application": "blender", "platform": "macos", "img_size": [*SIDE], "ui_type": "icon",
    "group": "Creative",
}  # fmt: skip
STEP = {
    "episode_id": "523", "episode_length": 3, "step_id": 0, "instruction": "open the clock",
    "image_path": "general/GENERAL-523/GENERAL-523_0.png", "result_action_type": 4, "result_action_text": "",
    "result_touch_yx": "[0.15, 0.2]", "result_lift_yx": "[0.15, 0.2]", "coat_action_think": "There it is.",
    "ui_positions": "[[0.1, 0.1, 0.1, 0.2], [0.5, 0.5, 0.1, 0.1]]", "ui_text": '["Clock", ""]',
    "ui_types": '["TEXT", "ICON_PLUS"]', "category": "general",
}  # fmt: skip


def allowed(x0, y0, x1, y1):
    return Prior.from_boxes([[x0, y0, x1, y1]], SIDE[1], SIDE[0]).allowed


def save(path, *entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize(("images", "names"), [("screenspot_imgs", ""), ("screenspotv2_image", "_v2"), (".", "")])
def test_screenspot_gives_width_and_height(tmp_path, images, names):
    save_image(tmp_path / images / "mobile_1.png", SIDE)
    save(tmp_path / f"screenspot_mobile{names}.json", SPOT, {**SPOT, "data_type": "icon", "data_source": "shop"})
    save(tmp_path / f"screenspot_web{names}.json", {**SPOT, "data_source": "shop"})
    data = load_dataset(f"screenspot:{tmp_path}")
    assert (data.classes, data.splits) == ((NO_LABEL,), ("test",))
    assert [sample.id for sample in data.samples] == ["mobile_1.png", "mobile_1.png#2", "mobile_1.png#3"]
    assert [sample.kind for sample in data.samples] == ["mobile text", "mobile icon", "web text"]
    assert [sample.group for sample in data.samples] == [sample.kind for sample in data.samples]
    first = data.samples[0]
    assert (first.prompt, first.instruction, first.right, first.point) == ("open settings", "open settings", None, None)
    assert first.box == (20, 40, 60, 70)
    assert first.read_prior().allowed.equal(allowed(20, 40, 60, 70))


def test_screenspot_platforms_where_the_file_names_none(tmp_path):
    save_image(tmp_path / "images/mobile_1.png", SIDE)
    sources = ("ios", "android", "windows", "macos", "gitlab")
    save(tmp_path / "all.json", *({**SPOT, "data_source": source} for source in sources))
    assert [sample.kind.split()[0] for sample in read_screenspot(tmp_path / "all.json").samples] == [
        "mobile", "mobile", "desktop", "desktop", "web",
    ]  # fmt: skip


def test_screenspot_pro_gives_the_far_corner(tmp_path):
    save_image(tmp_path / "images/blender_mac/s.png", SIDE)
    file = save(tmp_path / "annotations/blender_macos.json", PRO)
    for spec in (tmp_path, file):
        (sample,) = load_dataset(f"screenspot-pro:{spec}").samples
        assert (sample.id, sample.box, sample.kind) == ("blender_0", (20, 40, 60, 70), "Creative icon")
        assert sample.read_prior().allowed.equal(allowed(20, 40, 60, 70))


@pytest.mark.parametrize(
    ("version", "keys", "message"),
    [
        ("screenspot", {"bbox": [20, 40, 190, 30]}, "box [20.0, 40.0, 210.0, 70.0] has no area or leaves the image"),
        ("screenspot", {"bbox": [20, 40, 0, 30]}, "has no area"),
        ("screenspot", {"bbox": None}, "bbox: missing"),
        ("screenspot", {"bbox": [20, 40]}, "bbox: [20, 40] is not four numbers [x, y, width, height]"),
        ("screenspot", {"instruction": ""}, "instruction: '' is not a text"),
        ("screenspot", {"img_filename": "none.png"}, "none.png: no such file"),
        ("screenspot", {"img_filename": None}, "img_filename: missing"),
        ("screenspot", {"data_type": None}, "data_type: missing"),
        ("pro", {"bbox": [20, 40, 10, 70]}, "box [20.0, 40.0, 10.0, 70.0] has no area"),
        ("pro", {"img_size": [400, 200]}, "img_size: [400, 200], the image's is [200, 400] (width, height)"),
        ("pro", {"id": None}, "id: missing"),
    ],
)
def test_screenspot_faults_are_named(tmp_path, version, keys, message):
    good = {**(PRO if version == "pro" else SPOT), "id": "good"}
    save_image(tmp_path / "images" / good["img_filename"], SIDE)
    file = save(tmp_path / "a.json", good, {**good, "id": "bad", **keys})
    with pytest.raises(DataError) as caught:
        read_screenspot(file, version)
    assert "1 problem:\n  a.json[1]: " in str(caught.value)
    assert str(caught.value).count(message) == 1
    assert len(read_screenspot(file, version, on_bad="skip")) == 1
    with pytest.raises(DataError, match="id: 'good' is used 2 times"):
        read_screenspot(save(tmp_path / "a.json", PRO, {**PRO, "id": "good"}, {**PRO, "id": "good"}), "pro")


def aitz(root, *steps, split="test"):
    for step in steps:
        if isinstance(step.get("image_path"), str) and "none" not in step["image_path"]:
            save_image(root / split / step["image_path"], SIDE)
    return save(root / split / "general/GENERAL-523/GENERAL-523.json", *steps)


def test_a_click_of_aitz(tmp_path):
    aitz(tmp_path, STEP)
    (sample,) = load_dataset(f"android-steps:{tmp_path}").samples
    assert (sample.id, sample.split, sample.kind, sample.group) == ("523_0", "test", "general", "general")
    assert (sample.prompt, sample.instruction) == ("open the clock", "open the clock")
    assert sample.right == '{"thought":"There it is.","POINT":[200,150]}'
    assert (sample.point, sample.thought, sample.box) == ((0.2, 0.15), "There it is.", None)
    assert [(each.text, each.role) for each in sample.elements()] == [("Clock", "TEXT"), (None, "ICON_PLUS")]
    assert sample.elements()[0].box == pytest.approx((20, 40, 60, 80))
    assert sample.read_prior().allowed.equal(allowed(20, 40, 60, 80))
    for part in ("test", "test/general", "test/general/GENERAL-523", "test/general/GENERAL-523/GENERAL-523.json"):
        assert len(read_android_steps(tmp_path / part)) == 1


def test_lists_instead_of_texts_and_steps_without_elements(tmp_path):
    keys = {key: json.loads(STEP[key]) for key in STEP if key.startswith("ui_") or key.endswith("_yx")}
    bare = {key: value for key, value in STEP.items() if not key.startswith(("ui_", "coat", "cat"))}
    low = {**bare, "step_id": "b", "low_instruction": "press Clock", "subset": "single", "split": "val"}
    aitz(tmp_path, {**STEP, **keys}, {**bare, "step_id": 1}, low)
    first, second, third = read_android_steps(tmp_path).samples
    assert first.read_prior().allowed.equal(allowed(20, 40, 60, 80))
    assert second.read_prior().allowed.equal(Prior.from_click(40, 60, 400, 200, radius_px=8).allowed)
    assert (second.right, second.thought, second.kind) == ('{"POINT":[200,150]}', None, None)
    assert (third.id, third.prompt, third.instruction) == ("523_b", "open the clock\npress Clock", "press Clock")
    assert (third.kind, third.split) == ("single", "validation")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"result_lift_yx": "[0.15, 0.24]"}, {"POINT": [200, 150]}),
        ({"result_lift_yx": "[0.15, 0.25]"}, {"POINT": [200, 150], "to": "right"}),
        ({"result_lift_yx": "[0.15, 0.1]"}, {"POINT": [200, 150], "to": "left"}),
        ({"result_lift_yx": "[0.1, 0.3]"}, {"POINT": [200, 150], "to": "right"}),
        ({"result_touch_yx": "[0.5, 0.5]", "result_lift_yx": "[0.25, 0.75]"}, {"POINT": [500, 500], "to": "up"}),
        ({"result_touch_yx": "[1.0, 0.29]", "result_lift_yx": "[1, 0.29]"}, {"POINT": [290, 1000]}),
        ({"result_lift_yx": "[0.05, 0.2]"}, {"POINT": [200, 150], "to": "up"}),
        ({"result_lift_yx": "[0.9, 0.2]"}, {"POINT": [200, 150], "to": "down"}),
        ({"result_action_type": 0}, {"POINT": [200, 150], "duration": 1000}),
        ({"result_action_type": 1, "duration": None}, {"duration": 200}),
        ({"result_action_type": 1, "duration": 3000}, {"duration": 3000}),
        ({"result_action_type": 3, "result_action_text": "capital"}, {"TYPE": "capital"}),
        ({"result_action_type": 5}, {"PRESS": "BACK"}),
        ({"result_action_type": 6}, {"PRESS": "HOME"}),
        ({"result_action_type": 7}, {"PRESS": "ENTER"}),
        ({"result_action_type": 10}, {"STATUS": "finish"}),
        ({"result_action_type": 11}, {"STATUS": "impossible"}),
    ],
)
def test_every_action_of_aitz(tmp_path, keys, said):
    aitz(tmp_path, {**STEP, "coat_action_think": None, **keys})
    (sample,) = read_android_steps(tmp_path).samples
    assert json.loads(sample.right) == said
    assert (sample.read_prior() is None) == ("POINT" not in said or "to" in said)


STEP_FAULTS = {
    "instruction: missing": {"instruction": None},
    "image_path: missing": {"image_path": None},
    "general/none.png: no such file": {"image_path": "general/none.png"},
    "episode_id, step_id: None, 1 are not both": {"episode_id": None},
    "result_action_type: None is not a whole number": {"result_action_type": None},
    "result_action_type: True is not a whole number": {"result_action_type": True},
    "result_action_type: 8 is none of": {"result_action_type": 8},
    "result_action_text: 3 is not a text": {"result_action_type": 3, "result_action_text": 3},
    "result_touch_yx: [1.2, 0.5] is not [y, x] in [0, 1]": {"result_touch_yx": "[1.2, 0.5]"},
    "result_touch_yx: None is not": {"result_touch_yx": None},
    "result_lift_yx: a text that is not JSON": {"result_lift_yx": "0.1;0.2"},
    "duration: 'long' is not a whole number": {"result_action_type": 1, "duration": "long"},
    "ui_positions: not a list of": {"ui_positions": "[[0, 0, 1]]"},
    "ui_text: not one for each of the 2 ui_positions": {"ui_text": "[]"},
    "ui_types: a text that is not JSON": {"ui_types": "['TEXT']"},
    "coat_action_think: 3 is not a text": {"coat_action_think": 3},
    "none.xml: no such file": {"elements": "none.xml"},
    "action: 3 is not an object": {"action": 3},
    "action: action_type None is unknown": {"action": {}},
    "action: x and y of {'action_type': 'click', 'x': 3} are not numbers": {"action": '{"action_type":"click","x":3}'},
    "the point (1.005, 0.500) of width and height is off": {"action": {"action_type": "click", "x": 201, "y": 200}},
    "action: direction 'in' is none of up, down": {"action": {"action_type": "scroll", "direction": "in"}},
    "text: None is not a text": {"action": {"action_type": "input_text"}},
}


@pytest.mark.parametrize(("message", "keys"), STEP_FAULTS.items(), ids=range(len(STEP_FAULTS)))
def test_faults_of_steps_are_named(tmp_path, message, keys):
    file = aitz(tmp_path, STEP, {**STEP, "step_id": 1, **keys})
    with pytest.raises(DataError) as caught:
        read_android_steps(file)
    assert "1 problem:\n  GENERAL-523.json[1]: " in str(caught.value)
    assert str(caught.value).count(message) == 1
    assert [sample.id for sample in read_android_steps(file, on_bad="skip").samples] == ["523_0"]


def episode(root, actions, trees=None, **keys):
    for place in range(len(actions) + 1):
        save_image(root / f"shots/{place}.png", SIDE)
    given = {
        "episode_id": 17,
        "goal": "set a timer",
        "screenshots": [f"shots/{place}.png" for place in range(len(actions) + 1)],
        "actions": actions,
        "step_instructions": [f"step {place}" for place in range(len(actions))],
        **({} if trees is None else {"accessibility_trees": trees}),
        **keys,
    }
    (root / "episodes.jsonl").write_text(json.dumps({key: value for key, value in given.items() if value is not ...}))
    return root / "episodes.jsonl"


def test_an_episode_of_android_control(tmp_path):
    actions = [
        {"action_type": "click", "x": 40, "y": 60},
        '{"action_type": "long_press", "x": 199.5, "y": 399}',
        {"action_type": "scroll", "direction": "down"},
        {"action_type": "scroll", "direction": "left"},
        {"action_type": "input_text", "text": "5 min"},
        {"action_type": "navigate_back"},
        {"action_type": "navigate_home"},
        {"action_type": "wait"},
        {"action_type": "open_app", "app_name": "Clock"},
        {"action_type": "type", "x": 1, "y": 1, "text": "a"},
    ]
    save_tree(tmp_path / "0.xml", node("[20,40][60,80]", clickable="true"))
    data = read_android_steps(episode(tmp_path, actions, ["0.xml", *[None] * 10], split="dev"))
    assert [json.loads(sample.right) for sample in data.samples] == [
        {"POINT": [200, 150]},
        {"POINT": [997, 997], "duration": 1000},
        {"POINT": [500, 500], "to": "up"},
        {"POINT": [500, 500], "to": "right"},
        {"TYPE": "5 min"},
        {"PRESS": "BACK"},
        {"PRESS": "HOME"},
        {"duration": 200},
    ]
    assert data.classes == ("click", "long_press", "press", "swipe", "type", "wait")
    assert [(each.id, each.faulty) for each in data.rejected] == [("17_8", False), ("17_9", False)]
    assert data.rejected[0].reason == (
        "episodes.jsonl:1.actions[8]: action_type 'open_app', which compact JSON cannot say"
    )
    first = data.samples[0]
    assert (first.id, first.split, first.prompt) == ("17_0", "validation", "set a timer\nstep 0")
    assert first.read_prior().allowed.equal(allowed(20, 40, 60, 80))
    assert data.samples[2].read_prior() is None


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"goal": ...}, "goal: None is not a text"),
        ({"screenshots": ...}, "screenshots: missing"),
        ({"step_instructions": "a"}, "step_instructions: not a list"),
        ({"screenshots": ["shots/0.png"] * 3}, "1 actions, 3 screenshots, 1 step_instructions; each action has"),
        ({"step_instructions": []}, "1 actions, 2 screenshots, 0 step_instructions"),
        ({"accessibility_trees": [None]}, "1 accessibility_trees for 2 screenshots"),
        ({"accessibility_trees": "a"}, "accessibility_trees: not a list"),
    ],
)
def test_faults_of_episodes_are_named(tmp_path, keys, message):
    with pytest.raises(DataError, match=rf"episodes\.jsonl:1: {message}"):
        read_android_steps(episode(tmp_path, [{"action_type": "wait"}], **keys))


def test_a_step_without_an_action_is_not_excused_from_its_faults(tmp_path):
    open_app = {**STEP, "result_action_type": 12}
    aitz(tmp_path, STEP, {**open_app, "step_id": 1}, {**open_app, "step_id": 2, "instruction": 3})
    data = read_android_steps(tmp_path, on_bad="skip")
    assert [(each.id, each.faulty) for each in data.rejected] == [("523_2", True), ("523_1", False)]
    with pytest.raises(DataError, match=r"GENERAL-523\.json\[2\]: instruction: 3 is not a text"):
        read_android_steps(tmp_path)


def test_places_that_are_none(tmp_path):
    for read in (read_android_steps, read_screenspot):
        with pytest.raises(DataError, match="does not exist; pass the folder"):
            read(tmp_path / "none")
        with pytest.raises(DataError, match="holds no samples"):
            read(tmp_path)
