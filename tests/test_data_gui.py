"""Tasks on screenshots: what the paper's format and AgentCPM-GUI's mean, and what is refused."""

import json
import pickle

import pytest

from gui_tasks import BOX, SAYS, node, save_tasks, save_tree, task, turns
from photo_folder import save_image
from wherenot import cli
from wherenot.commands import run
from wherenot.data import DataError, GuiSample, load_dataset, read_agentcpm, read_gui
from wherenot.data.gui.compact import Compact, read_compact, strict_json, write_compact
from wherenot.data.image_text import NO_LABEL
from wherenot.priors import Prior


def one(root, **keys):
    (sample,) = read_gui(save_tasks(root, task(**keys))).samples
    assert isinstance(sample, GuiSample)
    return sample


def test_the_sample_of_the_paper(tmp_path):
    # A.1, whose screenshot of 1260 x 2720 is inferred: only there does its point lie in its box.
    asked = "<Question>Search bilibili.com, then add it to bookmarks.</Question>\nCurrent screenshot: <image_00>"
    answer = '{"thought":"Locate and tap the browser icon.","POINT": [591,915]}'
    keys = {
        "id": "0",
        "image": {"<image_00>": "img/screenshot_0.jpg"},
        "conversations": turns(asked, answer, "# Role\nYou are an agent"),
        "bounding_box": [706, 2438, 858, 2590],
    }
    file = save_tasks(tmp_path, keys, image="img/screenshot_0.jpg", size=(1260, 2720))
    data = read_gui(file)
    (sample,) = data.samples
    assert (data.name, data.classes, data.splits) == ("tasks", ("click",), ("train",))
    assert (sample.id, sample.group, sample.kind, sample.answer, sample.tokens) == ("0", None, None, None, "answer")
    assert sample.prompt == "<Question>Search bilibili.com, then add it to bookmarks.</Question>\nCurrent screenshot:"
    assert sample.instruction == "Search bilibili.com, then add it to bookmarks."
    assert (sample.system, sample.right) == ("# Role\nYou are an agent", answer)
    assert (sample.thought, sample.point) == ("Locate and tap the browser icon.", (0.591, 0.915))
    assert sample.box == (706, 2438, 858, 2590)
    assert sample.elements() == ()
    assert sample.read_prior().allowed.equal(Prior.from_boxes([sample.box], 2720, 1260).allowed)
    assert sample.read_image().size == (1260, 2720)
    other = {**keys, "image": {"<image_00>": "small.png"}, "bounding_box": [706, 438, 858, 590]}
    file = save_tasks(tmp_path, other, image="small.png", size=(1000, 1000))
    with pytest.raises(DataError, match=r"POINT: \(591\.0, 915\.0\) in pixels is outside the box"):
        read_gui(file)


def test_everything_of_our_own(tmp_path):
    save_tree(tmp_path / "ui.xml", node("[0,0][200,400]", node("[20,40][60,80]", text="OK", clickable="true")))
    sample = one(
        tmp_path, kind="mobile icon", group="rare", split="val", elements="ui.xml", instruction="Press OK",
        tokens="field:POINT", counter="BACK", answer='{"PRESS":"BACK"}', annotator="me",
    )  # fmt: skip
    assert (sample.kind, sample.group, sample.split, sample.instruction) == (
        "mobile icon",
        "rare",
        "validation",
        "Press OK",
    )
    assert (sample.tokens, sample.counter, sample.answer) == ("field:POINT", "BACK", '{"PRESS":"BACK"}')
    assert [each.text for each in sample.elements()] == [None, "OK"]
    again = pickle.loads(pickle.dumps(sample))
    assert again.elements() == sample.elements()
    assert again.read_prior().allowed.equal(sample.read_prior().allowed)
    assert one(tmp_path, kind="mobile icon").group == "mobile icon"
    assert one(tmp_path, kind="mobile icon", group=None).group is None


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ('{"STATUS":"finish"}', "status"),
        ('{"thought":"...","STATUS":"continue"}', "status"),
        ('{"POINT":[1,2],"to":"up"}', "swipe"),
        ('{"POINT":[1,2],"to":[3,4],"duration":900}', "swipe"),
        ('{"PRESS":"HOME"}', "press"),
        ('{"TYPE":"","PRESS":"ENTER"}', "type"),
        ('{"duration":0}', "wait"),
    ],
)
def test_answers_without_a_click_need_no_box(tmp_path, answer, kind):
    sample = one(tmp_path, conversations=turns(assistant=answer), bounding_box=...)
    assert (sample.right, sample.box, sample.point) == (answer, None, None)
    assert sample.read_prior() is None
    assert read_gui(tmp_path / "tasks.json").classes == (kind,)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (SAYS, "click"),
        ('{"POINT":[200,150],"duration":200}', "click"),
        ('{"POINT":[200,150],"duration":201}', "long_press"),
        ('{"POINT":[200,150],"STATUS":"continue"}', "click"),
        ('{"POINT":[200,150],"STATUS":"finish"}', "status"),
        ('{"POINT":[200,150],"TYPE":"a"}', "type"),
    ],
)
def test_points_to_press_need_a_box(tmp_path, answer, kind):
    sample = one(tmp_path, conversations=turns(assistant=answer))
    assert (sample.point, read_compact(answer).kind) == ((0.2, 0.15), kind)
    with pytest.raises(DataError, match="bounding_box: missing, and the answer has a POINT"):
        one(tmp_path, conversations=turns(assistant=answer), bounding_box=...)


def test_null_says_that_nobody_gave_it(tmp_path):
    point = one(tmp_path, bounding_box=None)
    assert point.read_prior().allowed.equal(Prior.from_click(40, 60, 400, 200, radius_px=8).allowed)
    open_task = one(tmp_path, conversations=turns(assistant=None))
    assert (open_task.right, open_task.thought, open_task.point) == (None, None, None)
    assert open_task.read_prior().allowed.equal(Prior.from_boxes([BOX], 400, 200).allowed)
    assert read_gui(tmp_path / "tasks.json").classes == (NO_LABEL,)
    neither = one(tmp_path, conversations=turns(assistant=None), bounding_box=None)
    assert neither.read_prior() is None


def test_without_a_box_the_element_around_the_point_is_the_prior(tmp_path):
    save_tree(tmp_path / "ui.xml", node("[0,40][200,80]", node("[30,50][50,70]"), clickable="true"))
    sample = one(tmp_path, bounding_box=None, elements="ui.xml")
    assert sample.read_prior().allowed.equal(Prior.from_boxes([[0, 40, 200, 80]], 400, 200).allowed)
    assert one(tmp_path, elements="ui.xml").read_prior().allowed.equal(Prior.from_boxes([BOX], 400, 200).allowed)


@pytest.mark.parametrize(("x", "good"), [(98, False), (99, True), (100, True), (300, True), (301, True), (302, False)])
def test_a_point_may_miss_its_box_by_what_whole_thousandths_lose(tmp_path, x, good):
    keys = task(conversations=turns(assistant=f'{{"POINT":[{x},150]}}'))  # the box is 100..300 of 1000 wide
    file = save_tasks(tmp_path, task(id="good"), keys)
    assert [sample.id for sample in read_gui(file, on_bad="skip").samples] == (["good", "0"] if good else ["good"])


def test_the_lines_of_a_jsonl_and_a_single_object(tmp_path):
    save_tasks(tmp_path, task())
    (tmp_path / "a.jsonl").write_text(f"\n{json.dumps(task(id='a'))}\n{json.dumps(task(id='b'))}\nnull\n")
    data = read_gui(tmp_path / "a.jsonl", on_bad="skip")
    assert [sample.id for sample in data.samples] == ["a", "b"]
    assert data.rejected[0].reason == "a.jsonl:4: not a JSON object {...}"
    (tmp_path / "a.json").write_text(json.dumps(task(id="c")))
    assert [sample.id for sample in read_gui(tmp_path / "a.json").samples] == ["c"]
    assert read_gui(tmp_path).samples[0].id == "0"  # a folder's tasks.json


ANSWERS = {
    "is not JSON (Expecting value": "POINT 1 2",
    "is not JSON (Extra data": '{"POINT":[200,150]} ok',
    "is not JSON (the key 'POINT' stands twice": '{"POINT":[1,1],"POINT":[200,150]}',
    "is not JSON (NaN is no number": '{"POINT":[NaN,150]}',
    "is not JSON (nested too deeply": "[" * 100_000,
    "is [200, 150], not a JSON object": "[200, 150]",
    "'point' is no key of an action; they are thought, POINT": '{"point":[200,150]}',
    "POINT: [200.0, 150] is not two whole numbers in 0..1000": '{"POINT":[200.0,150]}',
    "POINT: [200, 1001] is not two": '{"POINT":[200,1001]}',
    "POINT: [-1, 150] is not two": '{"POINT":[-1,150]}',
    "POINT: [True, 150] is not two": '{"POINT":[true,150]}',
    "POINT: [200, 150, 2] is not two": '{"POINT":[200,150,2]}',
    "POINT: {'x': 1} is not two": '{"POINT":{"x":1}}',
    "POINT: None is not two": '{"POINT":null}',
    "thought: 3 is not a text": '{"POINT":[200,150],"thought":3}',
    "to: 'north' is not one of up, down, left, right, nor": '{"POINT":[200,150],"to":"north"}',
    "to: there is no POINT to start from": '{"to":"up","STATUS":"continue"}',
    "duration: -1 is not a whole number of milliseconds": '{"duration":-1}',
    "PRESS: 'Home' is not one of HOME, BACK, ENTER": '{"PRESS":"Home"}',
    "TYPE: 3 is not a text": '{"TYPE":3}',
    "STATUS: 'start' is not one of continue, finish": '{"STATUS":"start"}',
    "no action": '{"thought":"Hm."}',
}


@pytest.mark.parametrize(("message", "answer"), ANSWERS.items(), ids=range(len(ANSWERS)))
def test_answers_are_read_strictly(tmp_path, message, answer):
    with pytest.raises(DataError) as caught:
        one(tmp_path, conversations=turns(assistant=answer))
    assert message in str(caught.value)


def test_compact_json_is_written_as_it_is_read():
    assert (
        write_compact(thought='say "ja"', POINT=[0, 1000], duration=None)
        == '{"thought":"say \\"ja\\"","POINT":[0,1000]}'
    )
    assert read_compact(write_compact(TYPE="\u4f60")) == Compact("type")
    with pytest.raises(ValueError, match="is not two whole numbers"):
        write_compact(POINT=[0, 1001])
    assert strict_json("[1, 2.5]") == [1, 2.5]


FAULTS = {
    "id: missing": {"id": ...},
    'id: 0 is not a text "..."': {"id": 0},
    "image: missing": {"image": ...},
    "image: 'img/s.png' is not {\"<image_00>\"": {"image": "img/s.png"},
    "image: {'<image_00>': 3} is not": {"image": {"<image_00>": 3}},
    "image: 0 images; a task has one": {"image": {}},
    "image: 2 images; a task has one": {"image": {"<image_00>": "img/s.png", "<image_01>": "img/s.png"}},
    "image: 'image_00' is no placeholder": {"image": {"image_00": "img/s.png"}},
    "img/none.png: no such file": {"image": {"<image_00>": "img/none.png"}},
    "tasks.json: not an image that can be read": {"image": {"<image_00>": "tasks.json"}},
    "conversations: missing": {"conversations": ...},
    "conversations: not a list of turns": {"conversations": {"user": "?"}},
    "conversations: role 'human' is none of": {"conversations": [{"role": "human", "content": "<image_00>"}]},
    "conversations: role None is none of": {"conversations": [{"from": "user", "value": "<image_00>"}]},
    "conversations: no assistant turn": {"conversations": turns(assistant=...)},
    "conversations: no user turn": {"conversations": turns(user=...)},
    "conversations: the turns are system, user, assistant, user, assistant": {
        "conversations": [*turns(), *turns(system=...)]
    },
    "conversations: the turns are assistant, user": {"conversations": turns(system=...)[::-1]},
    "the user's content is None, not a text": {"conversations": turns(user=None)},
    "the assistant's content is {'POINT': [2, 1]}, not a text": {"conversations": turns(assistant={"POINT": [2, 1]})},
    "holds the placeholder <image_00> 0 times": {"conversations": turns(user="Open it. <image>")},
    "holds the placeholder <image_00> 2 times": {"conversations": turns(user="<image_00> Open. <image_00>")},
    "the user's content asks for nothing": {"conversations": turns(user=" <image_00>\n")},
    "bounding_box: [20, 40, 60] is not four numbers": {"bounding_box": [20, 40, 60]},
    "bounding_box: [[20, 40, 60, 80]] is not four": {"bounding_box": [[20, 40, 60, 80]]},
    "bounding_box: ['20', 40, 60, 80] is not four": {"bounding_box": ["20", 40, 60, 80]},
    "is not four numbers [x0, y0, x1, y1]": {"bounding_box": [0, 0, 10**400, 80]},
    "box [20.0, 40.0, 20.0, 80.0] has no area": {"bounding_box": [20, 40, 20, 80]},
    "box [60.0, 40.0, 20.0, 80.0] has no area": {"bounding_box": [60, 40, 20, 80]},
    "leaves the image (width 200, height 400)": {"bounding_box": [20, 40, 201, 80]},
    "POINT: (40.0, 60.0) in pixels is outside the box [50.0, 40.0, 90.0, 80.0]": {"bounding_box": [50, 40, 90, 80]},
    "unknown key 'bbox'; ours are id, image": {"bbox": BOX},
    "unknown key 'bounding_boxes'": {"bounding_boxes": [BOX]},
    "unknown key 'POINT'": {"POINT": [200, 150]},
    "unknown key 'conversation'": {"conversation": []},
    "kind: 3 is not a text": {"kind": 3},
    "split: ' ' is not a text": {"split": " "},
    "group: [] is not a text": {"group": []},
    "elements: {} is not a text": {"elements": {}},
    "none.xml: no such file": {"elements": "none.xml"},
    "s.png: neither .xml of uiautomator nor .json": {"elements": "img/s.png"},
    "cannot read 'x'": {"tokens": "x"},
}  # fmt: skip


@pytest.mark.parametrize(("message", "keys"), FAULTS.items(), ids=range(len(FAULTS)))
def test_faults_are_named_with_file_place_and_reason(tmp_path, message, keys):
    file = save_tasks(tmp_path, task(id="good"), task(**keys))
    with pytest.raises(DataError) as caught:
        read_gui(file)
    assert str(caught.value).startswith(f"read_gui: {file}: 1 problem:\n  tasks.json[1]: ")
    assert message in str(caught.value)
    assert str(caught.value).count(message) == 1
    skipped = read_gui(file, on_bad="skip")
    assert [sample.id for sample in skipped.samples] == ["good"]
    assert skipped.classes == ("click",)
    assert [each.faulty for each in skipped.rejected] == [True]
    assert message in skipped.rejected[0].reason


def test_every_fault_of_a_task_is_named_and_an_id_twice_is_a_fault_of_both(tmp_path):
    file = save_tasks(
        tmp_path,
        task(id="twice"),
        task(id="twice"),
        "text",
        task(id=3, bbox=BOX, bounding_box=[0, 0, 0, 0], kind=1, conversations=turns(assistant='{"POINT":[1,2,3]}')),
    )
    with pytest.raises(DataError) as caught:
        read_gui(file)
    text = str(caught.value)
    assert "4 problems:" in text
    assert text.count("id: 'twice' is used 2 times") == 2
    assert "tasks.json[2]: not a JSON object" in text
    for part in ("id: 3 is", "unknown key 'bbox'", "has no area", "kind: 1 is", "POINT: [1, 2, 3] is"):
        assert part in text.splitlines()[4], part
    assert text.endswith("No sample is good; correct them.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "is not JSON"),
        ('[{"id": NaN}]', "NaN is no number of JSON"),
        ('{"id": "0", "id": "1"}', "the key 'id' stands twice in one object"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "holds no samples"),
        ("3", r"tasks\.json\[0\]: not a JSON object"),
    ],
)
def test_files_that_are_none(tmp_path, content, message):
    (tmp_path / "tasks.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_gui(tmp_path / "tasks.json")
    with pytest.raises(DataError, match=r"none\.json does not exist"):
        read_gui(tmp_path / "none.json")


def test_agentcpm_is_laxer(tmp_path):
    plain = {"image": "img/s.png", "bounding_box": ...}
    file = save_tasks(
        tmp_path,
        task(id=7, bounding_box=...),
        task(id="b", **plain, conversations=turns("<image>\nOpen it.", system=...)),
        task(id=..., **plain, conversations=turns("Open it.", system=...)),
        task(id=..., **plain, conversations=turns("Open it.", '{"STATUS":"finish"}')),
        name="train.json",
    )
    data = read_agentcpm(file)
    assert [sample.id for sample in data.samples] == ["7", "b", "img/s.png", "img/s.png#2"]
    assert [sample.prompt for sample in data.samples[1:]] == ["Open it."] * 3
    assert [sample.system for sample in data.samples] == ["# Role", None, None, "# Role"]
    assert (data.classes, [sample.label for sample in data.samples]) == (("click", "status"), [0, 0, 0, 1])
    assert data.samples[1].read_prior().allowed.equal(Prior.from_click(40, 60, 400, 200, radius_px=8).allowed)
    assert data.samples[3].read_prior() is None
    with pytest.raises(DataError) as caught:
        read_agentcpm(save_tasks(tmp_path, task(id=True), task(conversations=turns(user="Open it.")), task(id="twice",
            **plain, conversations=turns(user="<image> <image>"))))  # fmt: skip
    assert "id: True is not a text" in str(caught.value)
    assert "placeholder <image_00> 0 times" in str(caught.value)
    assert "placeholder <image> 2 times" in str(caught.value)


def test_it_is_read_and_checked_by_name(tmp_path, capsys):
    save_image(tmp_path / "img/t.png", (200, 401))
    broken = task(id="1", image={"<image_00>": "img/t.png"})
    file = save_tasks(tmp_path, task(), broken)
    assert len(load_dataset(f"gui:{file}")) == 2
    run(cli.Data(action=cli.DataCheck(data=f"gui:{file}")))
    assert "tasks: 1 classes" in capsys.readouterr().out
    (tmp_path / "img/t.png").write_bytes((tmp_path / "img/t.png").read_bytes()[:2000])
    save_tasks(tmp_path, task(), broken, task(id="2", bounding_box=[0, 0, 0, 0]))
    with pytest.raises(DataError) as caught:
        run(cli.Data(action=cli.DataCheck(data=f"gui:{file}")))
    assert "2 problems" in str(caught.value)
    assert "tasks.json[2]: fill_boxes: box [0.0, 0.0, 0.0, 0.0] has no area" in str(caught.value)
    assert "t.png: the pixels cannot be decoded" in str(caught.value)
