"""Tasks on screenshots written in the paper's format: reading them gives back what was written."""

import json
from dataclasses import replace

import pytest
import torch

from gui_tasks import SAYS, node, said, save_tasks, save_tree, task, turns
from photo_folder import save_image, varied
from test_data_gui_formats import PRO, SPOT, STEP, aitz, save
from test_data_writing import assert_same
from wherenot import cli
from wherenot.commands import run
from wherenot.data import (
    Dataset,
    UiElement,
    load_dataset,
    read_gui,
    write_folder,
    write_gui,
    write_image_text,
    write_lists,
)
from wherenot.priors import Prior


def everything(root):
    inner = node("[20,40][60,80]", text="\u4f60")
    save_tree(root / "ui.xml", node("[0,40][100,80]", inner, clickable="true"))
    save_image(root / "other.png", (90, 70))
    answers = ('{"STATUS":"finish"}', '{"POINT":[1,2],"to":"up"}', None)
    asked = "<image_00>Wo?\u2028Da!"
    other = {"image": {"<i>": "other.png"}, "conversations": turns("Hm. <i>", '{"TYPE":""}')}
    return save_tasks(
        root,
        task(kind="mobile icon", elements="ui.xml", split="test"),
        task(id="a/1", bounding_box=None, elements="ui.xml", group="x"),
        task(id="2", kind="k", group=None, conversations=turns(system=...), bounding_box=[20.5, 40, 60, 80.25]),
        *(
            task(id=f"n{place}", conversations=turns(asked, answer), bounding_box=...)
            for place, answer in enumerate(answers)
        ),
        task(id="b.png", instruction="Do it", answer="No", tokens="field:POINT", counter="BACK"),
        task(id="c", **other, bounding_box=[0, 0, 90, 70]),
    )


def assert_equal(one, other):
    assert_same(replace(one, name=other.name), other)
    for a, b in zip(one.samples, other.samples, strict=True):
        assert said(a) == said(b)


def test_writing_and_reading_are_inverse(tmp_path):
    data = read_gui(everything(tmp_path))
    write_gui(data, tmp_path / "one")
    again = read_gui(tmp_path / "one")
    assert again.name == "one"
    assert_equal(data, again)
    assert sorted(str(file.relative_to(tmp_path / "one")) for file in (tmp_path / "one").rglob("*.*")) == [
        "elements/0.json", "images/0.png", "images/c.png", "tasks.json",
    ]  # fmt: skip
    write_gui(again, tmp_path / "two")
    assert (tmp_path / "two/tasks.json").read_text() == (tmp_path / "one/tasks.json").read_text()


def test_what_is_written_is_the_format_of_the_paper(tmp_path):
    write_gui(read_gui(save_tasks(tmp_path, task(conversations=turns("<image_00>\nOpen it.")))), tmp_path / "out")
    assert json.loads((tmp_path / "out/tasks.json").read_text()) == [
        {
            "id": "0",
            "image": {"<image_00>": "images/0.png"},
            "conversations": [
                {"role": "system", "content": "# Role"},
                {"role": "user", "content": "Open it.\n<image_00>"},
                {"role": "assistant", "content": SAYS},
            ],
            "bounding_box": [20, 40, 60, 80],
        }
    ]


def test_every_format_becomes_the_format_of_the_paper(tmp_path):
    save_image(tmp_path / "spot/images/mobile_1.png", (200, 400))
    save(tmp_path / "spot/screenspot_mobile.json", SPOT, SPOT)
    save_image(tmp_path / "pro/images/blender_mac/s.png", (200, 400))
    save(tmp_path / "pro/annotations/a.json", PRO)
    aitz(
        tmp_path / "aitz",
        STEP,
        {**STEP, "step_id": 1, "result_action_type": 7},
        {**STEP, "step_id": 2, "low_instruction": "a"},
    )
    (tmp_path / "cpm").mkdir()
    save_tasks(tmp_path / "cpm", task(id=3, image="img/s.png", conversations=turns("<image>?"), bounding_box=...))
    for format, path in (
        ("screenspot", "spot"),
        ("screenspot-pro", "pro"),
        ("android-steps", "aitz"),
        ("agentcpm", "cpm"),
    ):
        spec = f"{format}:{tmp_path / path}"
        run(cli.Data(action=cli.DataConvert(data=spec, out=tmp_path / f"{path}-out")))
        assert_equal(load_dataset(spec), load_dataset(f"gui:{tmp_path / path}-out"))


def test_convert_names_what_is_left_out(tmp_path, capsys):
    file = save_tasks(tmp_path, task(), task(id="bad", bounding_box=[0, 0, 0, 0]))
    run(cli.Data(action=cli.DataConvert(data=f"gui:{file}", out=tmp_path / "out")))
    out = capsys.readouterr().out
    assert "left out: tasks.json[1]: fill_boxes: box [0.0, 0.0, 0.0, 0.0] has no area" in out
    assert "1 images, 1 left out" in out
    assert len(read_gui(tmp_path / "out")) == 1


def test_what_the_format_cannot_say_is_refused(tmp_path):
    data = read_gui(save_tasks(tmp_path, task()))
    (sample,) = data.samples
    wider = Prior.from_boxes([[0, 0, 60, 80]], 400, 200)
    own = Prior.from_boxes([sample.box], 400, 200)
    for changed, message in (
        ({"point": (0.5, 0.5)}, r"the point of '0' is \(0\.5, 0\.5\), its answer says \(0\.2, 0\.15\)"),
        ({"thought": None}, "the thought of '0' is None, its answer says 'There.'"),
        ({"right": "Yes"}, "the answer of '0' is no action"),
        ({"right": None}, "the point of '0'"),
        ({"prompt": "Open <image_00>"}, "the prompt of '0'"),
        ({"prompt": "Open "}, "the prompt of '0'"),
        ({"prompt": ""}, "the prompt of '0'"),
        ({"read_prior": lambda: wider}, "the prior of '0' is not that of its box"),
        ({"read_prior": lambda: None}, "the prior of '0'"),
        ({"read_prior": lambda: own.with_forbidden(~own.allowed)}, "the prior of '0'"),
        ({"read_prior": lambda: own.with_ignore(torch.ones(400, 200) * torch.arange(200) > 90)}, "the prior of '0'"),
        ({"box": None}, "the prior of '0'"),
        ({"id": "../0"}, "is not a relative path"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            write_gui(replace(data, samples=(replace(sample, **changed),)), tmp_path / "out" / str(len(message)))
        assert not list((tmp_path / "out").rglob("tasks.json"))
    with pytest.raises(ValueError, match="is no task on a screenshot; write_folder can hold it"):
        write_gui(varied(), tmp_path / "x")
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        write_gui(data, tmp_path)


def test_other_writers_send_it_to_its_own(tmp_path):
    data = read_gui(save_tasks(tmp_path, task()))
    with pytest.raises(ValueError, match="'0' has a prompt; folders cannot hold it, write_gui can"):
        write_folder(data, tmp_path / "a")
    with pytest.raises(ValueError, match="'0' has a prompt; lists cannot hold it, write_gui can"):
        write_lists(data, tmp_path / "c")
    with pytest.raises(ValueError, match="'0' is a task on a screen; a line cannot hold it, write_gui can"):
        write_image_text(data, tmp_path / "b" / "p.jsonl")


def test_elements_keep_their_fractions_and_are_read_late(tmp_path):
    (sample,) = read_gui(save_tasks(tmp_path, task())).samples
    tree = (UiElement((0.5, 1.0, 9.25, 12.0), None, "Button", True, False), UiElement((0.0, 0.0, 200.0, 400.0)))
    data = Dataset("d", ("click",), (replace(sample, elements=lambda: tree),))
    write_gui(data, tmp_path / "out")
    assert read_gui(tmp_path / "out").samples[0].elements() == tree
