"""Accessibility trees, and which element a click is about."""

import json

import pytest

from gui_tasks import node, save_tree
from wherenot.data import DataError, UiElement
from wherenot.data.gui import read_elements, target_element, target_prior
from wherenot.priors import Prior

SIZE = (400, 200)  # height, width


def element(x0, y0, x1, y1, *said, **more):
    return UiElement((float(x0), float(y0), float(x1), float(y1)), *said, **more)


def test_a_dump_of_uiautomator(tmp_path):
    inner = (
        node("[20,30][60,70]", text="OK", content_desc="yes", **{"class": "android.widget.Button"}, clickable="true"),
        node("[20,80][60,90]", text="", content_desc="Back", visible_to_user="false"),
        node(None, text="has no bounds"),
        node("[0,0][0,0]", text="has no area"),
        node("[-30,380][100,500]", text="scrolled", clickable="false", visible_to_user="true"),
        node("[0,400][200,480]", text="below the screen"),
    )
    tree = save_tree(tmp_path / "ui.xml", node("[0,0][200,400]", "".join(inner), **{"class": "FrameLayout"}))
    assert read_elements(tree, SIZE) == (
        element(0, 0, 200, 400, None, "FrameLayout"),
        element(20, 30, 60, 70, "OK", "android.widget.Button", clickable=True),
        element(20, 80, 60, 90, "Back", "node", visible=False),
        element(0, 380, 100, 400, "scrolled", "node"),
    )


def test_nodes_that_are_called_after_their_class(tmp_path):
    (tmp_path / "ui.xml").write_text('<hierarchy><android.widget.Button bounds="[0,0][9,9]"/></hierarchy>')
    assert read_elements(tmp_path / "ui.xml", SIZE) == (element(0, 0, 9, 9, None, "android.widget.Button"),)


def test_a_list_of_ui_elements(tmp_path):
    sides = {"x_min": 20, "x_max": 60.5, "y_min": 30, "y_max": 70}
    listed = [
        {
            "text": "OK",
            "class_name": "Button",
            "bbox_pixels": sides,
            "is_clickable": True,
            "is_visible": True,
            "bbox": 3,
        },
        {"text": None, "content_description": "Back", "bbox_pixels": [0, 0, 9, 9], "is_visible": False},
        {"text": "has no box", "bbox_pixels": None},
        {"text": "neither"},
    ]
    (tmp_path / "ui.json").write_text(json.dumps(listed))
    assert read_elements(tmp_path / "ui.json", SIZE) == (
        element(20, 30, 60.5, 70, "OK", "Button", clickable=True),
        element(0, 0, 9, 9, "Back", visible=False),
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ui.xml", '<a><node bounds="[0,0,9,9]"/></a>', r'bounds="\[0,0,9,9\]" is not "\[left,top\]\[right,bottom\]"'),
        ("ui.xml", f'<a><node bounds="[0,0][9,{"9" * 5000}]"/></a>', "is not"),
        ("ui.xml", "<a><node></a>", "not XML that can be read"),
        ("ui.xml", "", "not XML that can be read"),
        ("ui.xml", '<!DOCTYPE a [<!ENTITY x "y">]><a text="&x;"/>', "declares a document type"),
        ("ui.json", "{}", "not a list of objects"),
        ("ui.json", "[1]", "not a list of objects"),
        ("ui.json", "[", "Expecting value"),
        ("ui.json", '[{"bbox_pixels": {"x_min": 0}}]', "bbox_pixels: {'x_min': 0} is not the numbers x_min, y_min"),
        ("ui.json", '[{"bbox_pixels": [0, 0, 1e999, 9]}]', "is not the numbers"),
        ("ui.json", '[{"bbox_pixels": [0, 0, 9, 9], "text": 3}]', "text: 3 is not a text"),
        (
            "ui.json",
            '[{"bbox_pixels": [0, 0, 9, 9], "is_visible": "no"}]',
            "is_visible: 'no' is neither true nor false",
        ),
        ("ui.txt", "", "neither .xml of uiautomator nor .json"),
    ],
)
def test_trees_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_elements(tmp_path / name, SIZE)
    assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(DataError, match="no such file"):
        read_elements(tmp_path / "none.json", SIZE)


def test_the_target_is_the_smallest_that_can_be_clicked_then_the_smallest_that_can_be_seen():
    screen, row = element(0, 0, 200, 400, clickable=True), element(0, 40, 200, 80, "row", clickable=True)
    icon, label = element(20, 50, 40, 70, "icon", clickable=True), element(25, 55, 35, 65, "label")
    hidden = element(28, 58, 32, 62, clickable=True, visible=False)
    point = (0.15, 0.15)  # (30, 60) in pixels
    assert target_element((screen, row, icon, label, hidden), point, SIZE) == icon
    assert target_element((label, icon, row), point, SIZE) == icon
    assert target_element((screen, row, label), point, SIZE) == row
    assert target_element((screen, label, hidden), point, SIZE) == label
    assert target_element((screen, hidden), point, SIZE) is None
    assert target_element((icon,), (0.2, 0.15), SIZE) is None  # half-open
    assert target_element((icon, element(20, 50, 40, 70, "same", clickable=True)), point, SIZE) == icon
    corner = element(190, 390, 200, 400)
    assert target_element((corner,), (1.0, 1.0), SIZE) == corner


def test_the_prior_is_the_box_or_the_element_or_a_disc():
    row = element(0, 40, 200, 80, "row", clickable=True)

    def read(size):
        assert size == SIZE
        return (row,)

    def never(_):
        raise AssertionError

    def allowed(prior):
        return prior.allowed

    assert allowed(target_prior((1.0, 2.0, 3.0, 4.5), (0.5, 0.15), never, SIZE)).equal(
        Prior.from_boxes([[1, 2, 3, 5]], *SIZE).allowed
    )
    assert allowed(target_prior(None, (0.5, 0.15), read, SIZE)).equal(Prior.from_boxes([row.box], *SIZE).allowed)
    disc = allowed(target_prior(None, (0.5, 0.5), read, SIZE))
    assert disc.equal(Prior.from_click(100, 200, *SIZE, radius_px=8).allowed)
    assert allowed(target_prior(None, (1.0, 1.0), read, SIZE))[-1, -1]
    assert target_prior(None, None, never, SIZE) is None
