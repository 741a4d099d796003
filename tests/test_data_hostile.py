"""The corpus: pictures, masks and annotations made to break what reads them, each read or refused by name."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fuzz_data import Bench
from hostile import CORPUS, MAKERS, SIZE, make_coco, make_folder, make_gui, make_list, make_voc
from photo_folder import refused, save_image, save_lines
from wherenot.data import DataError, Rejected, load_dataset, read_coco, read_folder, read_lists, read_voc
from wherenot.data.pictures import image_size, read_mask
from wherenot.data.samples import printable

SOUND = {
    "cmyk.jpg", "alpha.png", "grey_alpha.png", "palette.png", "one_bit.png", "turned.jpg", "animated.gif",
    "animated.webp", "animated.png", "deep_colour.png",
}  # fmt: skip
BROKEN_LATE = {"truncated.png", "truncated.jpg", "header_only.png", "checksum.png"}  # the header is whole
PICTURES = sorted(
    path.name for path in CORPUS.iterdir() if path.suffix in (".png", ".jpg", ".gif", ".webp", ".tif")
)  # fmt: skip


def only(root, picture):
    """A folder of one image, whatever its file holds."""
    (root / "cat").mkdir()
    shutil.copy(CORPUS / picture, root / "cat" / picture)
    return root


@pytest.mark.parametrize("picture", sorted(SOUND))
def test_unusual_pictures_are_read(tmp_path, picture):
    (sample,) = read_folder(only(tmp_path, picture)).samples
    image = sample.read_image()
    assert image.mode == "RGB"
    assert image.size == (SIZE[::-1] if picture == "turned.jpg" else SIZE)
    assert len(set(image.get_flattened_data())) > 1


@pytest.mark.parametrize("picture", sorted(set(PICTURES) - SOUND))
@pytest.mark.parametrize("warnings", ["default", "error"])
def test_broken_pictures_are_named(tmp_path, picture, warnings, request):
    request.node.add_marker(pytest.mark.filterwarnings(warnings))
    with pytest.raises(DataError, match=picture):
        read_folder(only(tmp_path, picture)).samples[0].read_image()
    if picture not in BROKEN_LATE:
        assert picture in refused(tmp_path)


@pytest.mark.filterwarnings("default")
def test_a_bomb_is_an_error_before_its_pixels_are_made(tmp_path):
    with pytest.raises(DataError, match="10000 x 12000 pixels are more than 89478485"):
        image_size(CORPUS / "bomb.png")
    np.lib.format.open_memmap(tmp_path / "sparse.npy", mode="w+", dtype=bool, shape=(20_000, 20_000))
    with pytest.raises(DataError, match="20000 x 20000 pixels are more than"):
        read_mask(tmp_path / "sparse.npy")


def test_no_program_is_run_to_read_a_picture(tmp_path, monkeypatch):
    """Pillow would have Ghostscript read what begins like PostScript, whatever the file is called."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(DataError, match="not an image that can be read"):
        image_size(CORPUS / "postscript.png")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("array", sorted(path.name for path in CORPUS.glob("*.npy")))
def test_broken_arrays_are_named(array):
    with pytest.raises(DataError, match=array):
        read_mask(CORPUS / array)


@pytest.mark.parametrize("text", sorted(path.name for path in CORPUS.glob("*.jsonl")))
def test_broken_lines_leave_the_others(tmp_path, text):
    save_image(tmp_path / "a.png")
    save_image(tmp_path / "b.png")
    good = json.dumps({"file_name": "b.png", "label": "cat"}).encode()
    (tmp_path / "metadata.jsonl").write_bytes(good + b"\n" + (CORPUS / text).read_bytes())
    assert "metadata.jsonl:2: " in refused(tmp_path)
    data = read_folder(tmp_path, on_bad="skip")
    assert [sample.id for sample in data.samples] == ["b.png"]
    assert data.classes == ("cat",)


def test_json_that_is_nested_too_deeply(tmp_path):
    make_coco(tmp_path)
    shutil.copy(CORPUS / "deep.json", tmp_path / "annotations" / "instances_val2017.json")
    with pytest.raises(DataError, match=r"instances_val2017.json is not JSON .*nested too deeply"):
        read_coco(tmp_path)


@pytest.mark.parametrize("tree", sorted(path.name for path in CORPUS.glob("*.xml")))
def test_xml_bombs(tmp_path, tree):
    start = time.process_time()
    make_voc(tmp_path)
    shutil.copy(CORPUS / tree, tmp_path / "Annotations" / "2007_1.xml")
    data = read_voc(tmp_path, on_bad="skip")
    assert [sample.id for sample in data.samples] == ["2007_2.jpg"]
    assert ("declares a document type" in data.rejected[0].reason) == (tree != "deep.xml")
    make_gui(tmp_path)
    shutil.copy(CORPUS / tree, tmp_path / "ui.xml")
    assert len(load_dataset(f"gui:{tmp_path}", on_bad="skip")) == (2 if tree == "deep.xml" else 1)
    assert time.process_time() - start < 5


WAYS_OUT = ["../secret.png", "/etc/secret.png", "x/../../secret.png", "..\\secret.png"]


@pytest.mark.parametrize("name", WAYS_OUT)
def test_names_that_lead_out_are_refused(tmp_path, name):
    save_image(tmp_path / "secret.png", SIZE)
    root = tmp_path / "data"
    make_folder(root)
    save_lines(root / "train" / "metadata.jsonl", {"file_name": name, "label": "cat"})
    assert "is not a relative path" in refused(root)
    save_lines(root / "train" / "metadata.jsonl", {"file_name": "a.png", "label": "cat", "mask_file_name": name})
    assert "is not a relative path" in refused(root)
    coco = tmp_path / "coco"
    make_coco(coco)
    file = coco / "annotations" / "instances_val2017.json"
    file.write_text(file.read_text().replace('"1.jpg"', json.dumps(name)))
    with pytest.raises(DataError, match="is not a relative path"):
        read_coco(coco)
    voc = tmp_path / "voc"
    make_voc(voc)
    (voc / "ImageSets" / "Main" / "train.txt").write_text(f"2007_1\n{name.removesuffix('.png')}\n")
    with pytest.raises(DataError, match="is not the name of an image"):
        read_voc(voc)


def test_links_that_lead_out_are_refused_and_those_within_are_not(tmp_path):
    save_image(tmp_path / "secret.png", SIZE)
    root = tmp_path / "data"
    make_folder(root)
    (root / "train" / "a.png").unlink()
    (root / "train" / "a.png").symlink_to("../../secret.png")
    assert "train/metadata.jsonl:1: file_name: a symbolic link leads out of" in refused(root)
    (root / "train" / "a.png").unlink()
    (root / "train" / "a.png").symlink_to("../test/cat/c.png")
    assert len(read_folder(root)) == 3
    (tmp_path / "linked").symlink_to(root)  # the folder itself may lie anywhere
    assert len(read_folder(tmp_path / "linked")) == 3
    (root / "train" / "masks" / "a.npy").rename(tmp_path / "a.npy")
    (root / "train" / "masks" / "a.npy").symlink_to(tmp_path / "a.npy")
    assert "mask_file_name: a symbolic link leads out of" in refused(root)
    coco = tmp_path / "coco"
    make_coco(coco)
    (coco / "val2017" / "1.jpg").unlink()
    (coco / "val2017" / "1.jpg").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match="file_name: a symbolic link leads out of"):
        read_coco(coco)


def test_snapshots_of_the_hub_link_to_its_blobs(tmp_path):
    root = tmp_path / "datasets--zoo" / "snapshots" / "0a1b"
    save_image(tmp_path / "datasets--zoo" / "blobs" / "ffff", SIZE, format="PNG")
    save_lines(root / "metadata.jsonl", {"file_name": "a.png", "label": "cat"})
    (root / "a.png").symlink_to("../../blobs/ffff")
    assert len(read_folder(root)) == 1
    (root / "a.png").unlink()
    save_image(tmp_path / "secret.png", SIZE)
    (root / "a.png").symlink_to("../../../secret.png")
    assert "leads out of" in refused(root)


def test_lists_say_absolute_paths_and_read_them(tmp_path):
    """As the lists of the authors do; who makes a list can name any picture that its reader may read."""
    save_image(tmp_path / "elsewhere" / "a.png", SIZE)
    np.save(tmp_path / "elsewhere" / "a.npy", np.eye(SIZE[1], SIZE[0]))
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "test.txt").write_text(f"{tmp_path}/elsewhere/a.png ../elsewhere/a.npy cat\n")
    assert len(read_lists(tmp_path / "lists")) == 1


NAMES = [
    "e\u0301",
    "\u00e9",
    "\U0001f600",
    "\u05e9\u05dc\u05d5\u05dd",
    "a\nb",
    "a\tb",
    "a\x1b[2Jb",
    "a\u202eb",
    "<b>",
    "'\"",
    "%s",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_of_a_file_will_do(tmp_path, name):
    save_image(tmp_path / name / f"{name}.png", SIZE)
    (sample,) = read_folder(tmp_path).samples
    assert sample.id == f"{name}/{name}.png"
    assert sample.read_image().size == SIZE
    (tmp_path / name / f"{name}.png").write_bytes(b"")
    text = refused(tmp_path)
    assert printable(name) in text
    assert text.count("\n") == 2  # a line each: what, the one problem, what to do
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_two_ways_to_write_one_letter_are_two_names(tmp_path):
    for name in ("e\u0301.png", "\u00e9.png"):
        save_image(tmp_path / "cat" / name, SIZE)
    assert len(read_folder(tmp_path)) == 2


def test_names_that_are_no_text_are_left_out_by_name(tmp_path):
    save_image(tmp_path / "cat" / "good.png", SIZE)
    shutil.copy(tmp_path / "cat" / "good.png", os.fsencode(tmp_path / "cat") + b"/\xff.png")
    (tmp_path / os.fsdecode(b"\xfe")).mkdir()
    shutil.copy(tmp_path / "cat" / "good.png", os.fsencode(tmp_path) + b"/\xfe/b.png")
    data = read_folder(tmp_path, on_bad="skip")
    assert data.classes == ("cat",)
    assert len(data) == 1
    assert [bad.id for bad in data.rejected] == ["cat/\\udcff.png", "\\udcfe/b.png"]
    assert all("is not UTF-8; rename" in bad.reason for bad in data.rejected)


def test_zero_bytes_in_names_are_refused(tmp_path):
    save_image(tmp_path / "a.png", SIZE)
    save_lines(tmp_path / "metadata.jsonl", {"file_name": "a.png\0.png", "label": "cat"})
    assert "a.png\\x00.png" in refused(tmp_path)


def test_what_is_left_out_is_said_in_one_line_of_bounded_length():
    bad = Rejected("a\nb\x1b[31m", "x" * 10_000 + "\ud800")
    assert bad.id == "a\\nb\\x1b[31m"
    assert bad.reason.endswith("... (10001 characters)")
    assert len(bad.reason) < 2100


def test_lines_of_lists_take_time_in_proportion(tmp_path):
    (tmp_path / "train.txt").write_text("a.png " * 20_000 + "cat\n" + " ".join(["a.png"] * 150))
    start = time.process_time()
    with pytest.raises(DataError, match="20000 spaces, too many"):
        read_lists(tmp_path)
    assert time.process_time() - start < 5


def test_a_name_that_is_too_long_leaves_the_others(tmp_path):
    make_voc(tmp_path / "voc")
    with (tmp_path / "voc" / "ImageSets" / "Main" / "train.txt").open("a") as file:
        file.write("\n" + "a" * 3000)
    assert len(read_voc(tmp_path / "voc", on_bad="skip")) == 2
    root = tmp_path / "lists"
    make_list(root)
    with (root / "train.txt").open("a") as file:
        file.write("\n" + " ".join(["a" * 300 + ".png"] * 5))
    assert len(read_lists(root, on_bad="skip")) == 2


BOXES = {"inverted": (9, 8, 2, 3), "nan": ("nan", 3, 9, 8), "infinite": (2, 3, "inf", 8), "outside": (2, 3, 90, 8)}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_boxes_of_voc_that_are_none_are_faults(tmp_path, box):
    """A box without an area was taken for an object that is difficult, and its image left out as if it were sound."""
    make_voc(tmp_path)
    file = tmp_path / "Annotations" / "2007_1.xml"
    for side, old, new in zip(("xmin", "ymin", "xmax", "ymax"), (2, 3, 9, 8), box, strict=True):
        file.write_text(file.read_text().replace(f"<{side}>{old}<", f"<{side}>{new}<"))
    (bad,) = read_voc(tmp_path, on_bad="skip").rejected
    assert bad.faulty
    assert "2007_1" in bad.reason


@pytest.mark.parametrize("key", ["id", "file_name", "image_id", "category_id", "area", "iscrowd", "height"])
@pytest.mark.parametrize("value", [[], {}, None, 10**400, "\u0000", "a" * 5000], ids=lambda value: str(value)[:9])
def test_odd_values_in_coco_leave_the_other_image(tmp_path, key, value):
    make_coco(tmp_path)
    file = tmp_path / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    place = content["images"] if key in content["images"][0] and key != "id" else content["annotations"]
    place[0][key] = value
    if key == "id":
        content["images"][0]["id"] = value
    file.write_text(json.dumps(content))
    data = read_coco(tmp_path, on_bad="skip")
    assert len(data) >= 1
    assert any(bad.faulty for bad in data.rejected) or key in ("image_id", "id")


@pytest.mark.parametrize("format", MAKERS)
def test_the_tiny_data_sets_are_sound(tmp_path, format):
    assert not load_dataset(Bench(format, tmp_path).spec).rejected


def test_the_corpus_is_what_its_script_makes(tmp_path):
    shutil.copy(CORPUS / "make.py", tmp_path)
    subprocess.run([sys.executable, tmp_path / "make.py"], check=True)
    texts = (".xml", ".jsonl", ".json", ".npy")  # pictures differ with the version of what encodes them
    for path in CORPUS.iterdir():
        made = tmp_path / path.name
        assert made.is_file(), path.name
        assert path.suffix not in texts or made.read_bytes() == path.read_bytes(), path.name


def test_the_corpus_is_small():
    assert sum(path.stat().st_size for path in Path(CORPUS).iterdir()) < 300_000
