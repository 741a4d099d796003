"""Whatever stands where something else should: every reader of GUI data names it, and none falls over."""

import copy
import json

import pytest

from gui_tasks import SIDE, node, save_tasks, save_tree, task
from photo_folder import save_image
from test_data_gui_formats import PRO, SPOT, STEP, save
from wherenot.data import DataError, load_dataset

ODD = (
    None, True, -1, 2.5, 10**400, "", "\x00", "\ud800", "[", "[1, 2]", [], {}, [[]], [{}], [1, 2, 3, 4],
    {"<image>": "\x00"}, {"action_type": []}, {"action_type": "scroll", "direction": {}}, "a" * 5000,
)  # fmt: skip
EPISODE = {
    "episode_id": 1, "goal": "g", "screenshots": ["mobile_1.png"] * 3, "step_instructions": ["s", "t"],
    "actions": [{"action_type": "click", "x": 1, "y": 2}, {"action_type": "scroll", "direction": "up"}],
    "accessibility_trees": ["ui.json", "ui.xml", None],
}  # fmt: skip
ELEMENT = {"text": "a", "class_name": "b", "bbox_pixels": {"x_min": 1, "x_max": 5, "y_min": 1, "y_max": 5}}


def places(value, path=()):
    """Paths to everything in a value of JSON."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def replaced(value, path, odd):
    if not path:
        return odd
    value = copy.deepcopy(value)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = odd
    return value


@pytest.mark.parametrize(
    ("format", "entry"),
    [
        ("gui", task(elements="ui.xml", kind="k", group="g", split="test", instruction="i", tokens="all")),
        ("agentcpm", task(image="img/s.png", id=3, bounding_box=None)),
        ("screenspot", SPOT),
        ("screenspot-pro", PRO),
        ("android-steps", {**STEP, "image_path": "mobile_1.png", "low_instruction": "l"}),
        ("android-steps", EPISODE),
    ],
)
def test_odd_values_are_named(tmp_path, format, entry):
    for image in ("img/s.png", "mobile_1.png", "blender_mac/s.png"):
        save_image(tmp_path / image, SIDE)
    save_tree(tmp_path / "ui.xml", node("[0,0][9,9]"))
    save(tmp_path / "ui.json", ELEMENT)
    faults = []
    for path in places(entry):
        for odd in ODD:
            (tmp_path / "a.jsonl").write_text(json.dumps(replaced(entry, path, odd)) + "\n")
            try:
                (sample, *_) = load_dataset(f"{format}:{tmp_path / 'a.jsonl'}").samples
                sample.read_prior()
                sample.elements()
            except DataError as error:
                faults.append(str(error))
    assert not [fault for fault in faults if "a.jsonl:1" not in fault and "holds no samples" not in fault]
    assert len(faults) > 0.5 * len(ODD) * len([path for path in places(entry) if len(path) < 2])


def test_odd_elements_are_named(tmp_path):
    save_tasks(tmp_path, task(elements="ui.json"))
    faults = []
    for path in places([ELEMENT]):
        for odd in ODD:
            (tmp_path / "ui.json").write_text(json.dumps(replaced([ELEMENT], path, odd)))
            try:
                assert len(load_dataset(f"gui:{tmp_path}").samples[0].elements()) <= 1
            except DataError as error:
                faults.append(str(error))
    assert not [fault for fault in faults if "ui.json: " not in fault]
    assert len(faults) > 100
