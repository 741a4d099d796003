"""The native format: what is read, what is refused, and that writing and reading are inverse."""

import numpy as np
import pytest
from PIL import Image

from photo_folder import one, refused, save_image, save_lines, save_mask
from wherenot.data import DataError, read_folder


def test_a_missing_folder_a_file_and_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist; pass the folder"):
        read_folder(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is not a folder"):
        read_folder(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        read_folder(tmp_path / "empty")


BAD_KEYS = {
    "label: True is neither a class name nor its index": {"label": True},
    "label: '' is neither": {"label": ""},
    "group: 3 is not a name": {"group": 3},
    "split: '' is not a name": {"split": ""},
    "unknown key 'mask_filename'; ours are file_name, label,": {"mask_filename": "a.npy"},
    "unknown key 'bbox'; ours are": {"bbox": [[0, 0, 1, 1]]},
    "mask_file_name: '../a.png' is not a relative path": {"mask_file_name": "../a.png"},
    "mask_file_name: 3 is not a file name": {"mask_file_name": 3},
    "none.png: no such file": {"mask_file_name": "none.png"},
    "mask_file_name: zero.npy is zero everywhere, an empty prior": {"mask_file_name": "zero.npy"},
    "mask_file_name: small.npy has size (3, 6), the image (4, 6)": {"mask_file_name": "small.npy"},
    "cube.npy: bool of shape (4, 6, 1); a mask is 2-D and numeric": {"mask_file_name": "cube.npy"},
    "nan.npy: float64 of shape (4, 6); a mask is 2-D and numeric, without NaN": {"mask_file_name": "nan.npy"},
    "text.npy: not a mask that can be read": {"mask_file_name": "text.npy"},
    "colour.png: a mask of mode RGB": {"mask_file_name": "masks/colour.png"},
    "lossy.jpg: JPEG blurs": {"mask_file_name": "masks/lossy.jpg"},
    "ignore_mask_file_name without a prior": {"ignore_mask_file_name": "full.npy"},
    "allowed, of size (4, 6), has no True pixel outside ignore": {
        "click": {"x": 0, "y": 0, "radius": 1},
        "ignore_mask_file_name": "full.npy",
    },
    "evidence may lie nowhere": {"forbidden_mask_file_name": "full.npy"},
    'objects: bbox needs "bbox_format": "xywh"': {"objects": {"bbox": [[0, 0, 1, 1]]}},
    'forbidden: bbox needs "bbox_format": "xywh"': {"forbidden": {"bbox": [[0, 0, 1, 1]], "bbox_format": "coco"}},
    "objects: [[0, 0, 1, 1]] is not an object": {"objects": [[0, 0, 1, 1]]},
    "objects.bbox: not a list of lists of numbers": {"objects": {"bbox": [0, 0, 1, 1], "bbox_format": "xyxy"}},
    "objects.bbox: each box is four numbers": {"objects": {"bbox": [[0, 0, 1]], "bbox_format": "xyxy"}},
    "objects.categories: not one for each of the 1 boxes": {
        "objects": {"bbox": [[0, 0, 1, 1]], "bbox_format": "xyxy", "categories": []}
    },
    "box [5, 0, 7, 1] has no area or leaves the image": {"objects": {"bbox": [[5, 0, 2, 1]], "bbox_format": "xywh"}},
    "polygons: not a list of lists of numbers": {"polygons": [[0, 0, "1", 1, 2, 2]]},
    "leaves the image": {"polygons": [[0, 0, 7, 0, 0, 2]]},
    "rle: size is [6, 4], the image's is [4, 6]": {"rle": {"size": [6, 4], "counts": [0, 24]}},
    "whole numbers >= 0 that add up to 4 x 6": {"rle": {"size": [4, 6], "counts": [0, 23]}},
    "got the keys ['size']": {"rle": {"size": [4, 6]}},
    "click: {'x': 1, 'y': 1} is not numbers": {"click": {"x": 1, "y": 1}},
    "point (6, 1) is outside the image": {"click": {"x": 6, "y": 1, "radius": 1}},
}


@pytest.mark.parametrize(("message", "keys"), BAD_KEYS.items(), ids=range(len(BAD_KEYS)))
def test_bad_lines_are_named_with_file_line_and_reason(tmp_path, message, keys):
    for name, values in {
        "zero": np.zeros((4, 6)),
        "small": np.ones((3, 6)),
        "cube": np.ones((4, 6, 1), dtype=bool),
        "nan": np.full((4, 6), np.nan),
        "full": np.ones((4, 6)),
    }.items():
        np.save(tmp_path / f"{name}.npy", values)
    (tmp_path / "text.npy").write_text("no array")
    if "masks" in str(keys):
        save_image(tmp_path / "masks" / ("lossy.jpg" if "lossy" in str(keys) else "colour.png"), mode="RGB")
    save_image(tmp_path / "a.png")
    save_image(tmp_path / "b.png")
    good = {"file_name": "b.png", "label": "cat"}
    save_lines(tmp_path / "metadata.jsonl", good, {"file_name": "a.png", "label": "cat", **keys})
    text = refused(tmp_path)
    assert text.startswith(f"read_folder: {tmp_path}: 1 problem:\n  metadata.jsonl:2: ")
    assert message in text
    assert text.endswith("Correct them, or pass on_bad='skip' to leave these samples out and list them in `rejected`.")
    skipped = read_folder(tmp_path, on_bad="skip")
    assert [sample.id for sample in skipped.samples] == ["b.png"]
    assert [bad.id for bad in skipped.rejected] == ["a.png"]
    assert message in skipped.rejected[0].reason


def test_file_names_that_are_wrong(tmp_path):
    save_image(tmp_path / "train" / "a.png")
    save_lines(
        tmp_path / "train" / "metadata.jsonl",
        {"file_name": "a.png", "label": "cat"},
        {"label": "cat"},
        {"file_name": "/etc/a.png", "label": "cat"},
        {"file_name": "sub\\a.png", "label": "cat"},
        {"file_name": "gone.png", "label": "cat"},
        '{"file_name": "a',
        "[1]",
        b"\xff".decode("latin1"),
    )
    text = refused(tmp_path)
    assert "7 problems:" in text
    assert "train/metadata.jsonl:2: file_name: None is not a file name" in text
    assert "train/metadata.jsonl:3: file_name: '/etc/a.png' is not a relative path with /" in text
    assert "train/metadata.jsonl:4: file_name: 'sub\\\\a.png' is not a relative path with /" in text
    assert "train/metadata.jsonl:5: " in text
    assert "gone.png: no such file" in text
    assert "train/metadata.jsonl:6: Unterminated string" in text
    assert "train/metadata.jsonl:7: not a JSON object" in text
    assert "train/metadata.jsonl:8: Expecting value" in text


def test_one_line_can_have_several_problems(tmp_path):
    save_image(tmp_path / "a.png")
    line = {"file_name": "a.png", "label": 1.5, "group": 1, "click": {"x": 9, "y": 0, "radius": 1}}
    save_lines(tmp_path / "metadata.jsonl", line)
    text = refused(tmp_path)
    assert all(part in text for part in ("group: 1", "label: 1.5", "point (9, 0) is outside", "No sample is good"))


def test_many_problems_are_counted_and_ten_are_shown(tmp_path):
    save_image(tmp_path / "cat" / "good.png")
    for number in range(25):
        (tmp_path / "cat" / f"{number:02d}.png").write_bytes(b"no image")
    text = refused(tmp_path)
    assert "25 problems:" in text
    assert "09.png: not an image that can be read" in text
    assert "10.png" not in text
    assert "... and 15 more" in text
    assert len(read_folder(tmp_path, on_bad="skip").rejected) == 25


def test_all_bad_is_an_error_even_when_skipping(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="No sample is good"):
        read_folder(tmp_path, on_bad="skip")


def test_unlisted_images_are_not_dropped_in_silence(tmp_path):
    save_image(tmp_path / "train" / "a.png")
    save_image(tmp_path / "train" / "b.png")
    save_mask(tmp_path / "train" / "masks" / "a.png", np.ones((4, 6)))
    line = {"file_name": "a.png", "label": "cat", "mask_file_name": "./masks/a.png"}
    save_lines(tmp_path / "train" / "metadata.jsonl", line)
    text = refused(tmp_path)
    assert "1 problem:" in text
    assert "train/b.png: not listed in metadata.jsonl, neither as an image nor as a mask" in text
    assert read_folder(tmp_path, on_bad="skip").rejected[0].id == "train/b.png"


def test_an_image_listed_twice(tmp_path):
    save_image(tmp_path / "a.png")
    line = {"file_name": "a.png", "label": "cat"}
    save_lines(tmp_path / "metadata.jsonl", line, {**line, "label": "dog"})
    text = refused(tmp_path)
    assert "metadata.jsonl:1: a.png is listed 2 times" in text
    assert "metadata.jsonl:2: a.png is listed 2 times" in text


def test_labels_and_splits_that_cannot_be_told(tmp_path):
    for name in ("a.png", "cat/b.png", "train/c.png", "ood/cat/d.png"):
        save_image(tmp_path / name)
    text = refused(tmp_path)
    assert "a.png: no label, and the image lies in no class folder" in text
    assert "train/c.png: no label, and the image lies in no class folder" in text
    assert "ood/cat/d.png: folder 'ood' is not called train, validation or test..." in text
    assert "3 problems" in text


def test_labels_that_are_no_class(tmp_path):
    for name in "abcd":
        save_image(tmp_path / f"{name}.png")
    labels = {"a": "cat", "b": "bird", "c": 2, "d": -1}
    lines = [{"file_name": f"{name}.png", "label": label} for name, label in labels.items()]
    save_lines(tmp_path / "metadata.jsonl", *lines)
    text = refused(tmp_path)
    assert "metadata.jsonl:3: label: 2 is a number and others are names; list the classes in dataset.json" in text
    assert "2 problems" in text
    (tmp_path / "dataset.json").write_text('{"classes": ["cat", "dog"]}')
    text = refused(tmp_path)
    assert "metadata.jsonl:2: label: 'bird' is not a class of dataset.json" in text
    assert "metadata.jsonl:3: label: 2 is not an index into the 2 classes" in text
    assert "metadata.jsonl:4: label: -1 is not an index" in text
    assert "3 problems" in text


def test_numbers_that_leave_gaps_need_a_list_of_classes(tmp_path):
    for label in (1, 2):
        save_image(tmp_path / f"{label}.png")
    save_lines(tmp_path / "metadata.jsonl", *[{"file_name": f"{label}.png", "label": label} for label in (1, 2)])
    assert "the labels are 2 numbers from 1 to 2, not all of 0..L-1; list the classes" in refused(tmp_path)


def test_skipping_keeps_the_class_of_a_bad_sample(tmp_path):
    for name in ("bird/a.png", "cat/b.png"):
        save_image(tmp_path / name)
    (tmp_path / "bird" / "a.png").write_bytes(b"")
    data = read_folder(tmp_path, on_bad="skip")
    assert data.classes == ("bird", "cat")
    assert data.samples[0].label == 1


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"classes": []}', '{"classes": ["a", "a"]}', '{"classes": [1]}'])
def test_a_bad_dataset_json(tmp_path, text):
    save_image(tmp_path / "cat" / "a.png")
    (tmp_path / "dataset.json").write_text(text)
    assert "correct or remove the file" in refused(tmp_path)


def test_more_than_eight_bits_are_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    Image.fromarray(np.full((4, 6), 1000, dtype=np.uint16)).save(tmp_path / "cat" / "a.png")
    assert "mode I;16 has more than 8 bits per channel" in refused(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_truncated_image_is_named_when_it_is_read(tmp_path, name):
    path = tmp_path / "cat" / name
    save_image(path, size=(60, 40))
    path.write_bytes(path.read_bytes()[:-500])
    (sample,) = read_folder(tmp_path).samples
    with pytest.raises(DataError, match=rf"{name}: the pixels cannot be decoded .*replace the file"):
        sample.read_image()


def test_an_image_that_changed_since_it_was_checked(tmp_path):
    sample = one(tmp_path)
    save_image(tmp_path / "a.png", size=(8, 4))
    with pytest.raises(DataError, match=r"a.png: 4 x 8 pixels, was 4 x 6"):
        sample.read_image()
