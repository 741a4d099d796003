"""The native format: what is read, what is refused, and that writing and reading are inverse."""

import json
import pickle
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from wherenot.data import DataError, Dataset, Rejected, Sample, hold_out, load_dataset, read_folder, write_folder
from wherenot.data.decoy import decoy
from wherenot.priors import Prior


def save_image(path, size=(6, 4), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path.name))).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)


def save_mask(path, inside, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, inside)
    else:
        Image.fromarray(np.asarray(inside, dtype=np.uint8)).convert(mode).save(path)


def save_lines(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))


def one(root, **keys):
    """A data set of one image, 6 x 4, with the keys in its line; gives its only sample."""
    save_image(root / "a.png")
    save_lines(root / "metadata.jsonl", {"file_name": "a.png", "label": "cat", **keys})
    (sample,) = read_folder(root).samples
    return sample


def refused(root):
    with pytest.raises(DataError) as caught:
        read_folder(root)
    return str(caught.value)


def box(x0, y0, x1, y1):
    inside = torch.zeros(4, 6, dtype=torch.bool)
    inside[y0:y1, x0:x1] = True
    return inside


# --- layouts ---------------------------------------------------------------------------------------------------------


def test_one_metadata_file_per_split(tmp_path):
    for split, name, label in [("train", "a.png", "dog"), ("val", "b.png", "cat"), ("test_far", "c.png", "dog")]:
        save_image(tmp_path / split / name)
        save_lines(tmp_path / split / "metadata.jsonl", {"file_name": name, "label": label})
    data = read_folder(tmp_path)
    assert data.name == tmp_path.name
    assert data.classes == ("cat", "dog")
    found = [(sample.id, sample.label, sample.split) for sample in data.samples]
    assert found == [
        ("test_far/c.png", 1, "test_far"),
        ("train/a.png", 1, "train"),
        ("val/b.png", 0, "validation"),
    ]


def test_a_folder_with_its_own_metadata_is_a_split_whatever_its_name(tmp_path):
    save_image(tmp_path / "rain" / "cat" / "a.png")
    save_lines(tmp_path / "rain" / "metadata.jsonl", {"file_name": "cat/a.png"})
    (sample,) = read_folder(tmp_path).samples
    assert (sample.split, sample.label, sample.id) == ("rain", 0, "rain/cat/a.png")


def test_one_metadata_file_at_the_root_and_the_split_key_wins(tmp_path):
    for name in ("train/cat/1.png", "train/dog/1.png", "more/dog/2.png", "test/dog/1.png"):
        save_image(tmp_path / name)
    save_lines(
        tmp_path / "metadata.jsonl",
        {"file_name": "train/cat/1.png"},
        {"file_name": "train/dog/1.png", "split": "val", "group": "rare"},
        "",
        {"file_name": "more/dog/2.png"},
        {"file_name": "test/dog/1.png", "label": "cat", "caption": "other keys are nobody's business"},
    )
    data = read_folder(tmp_path)
    assert [(sample.split, sample.label, sample.group) for sample in data.samples] == [
        ("train", 0, None),
        ("validation", 1, "rare"),
        ("train", 1, None),
        ("test", 0, None),
    ]
    assert len({sample.id for sample in data.samples}) == 4  # three are called 1.png


def test_plain_class_folders(tmp_path):
    for name in ("cat/1.png", "dog/1.JPG", "dog/2.bmp"):
        save_image(tmp_path / name)
    (tmp_path / "README.txt").write_text("not an image")
    save_image(tmp_path / ".thumbnails" / "1.png")
    data = read_folder(tmp_path)
    assert [(sample.id, sample.label, sample.split) for sample in data.samples] == [
        ("cat/1.png", 0, "train"),
        ("dog/1.JPG", 1, "train"),
        ("dog/2.bmp", 1, "train"),
    ]
    assert all(sample.read_prior() is None for sample in data.samples)


def test_plain_class_folders_in_split_folders(tmp_path):
    for name in ("train/cat/1.png", "train/dog/1.png", "dev/dog/1.png", "test-sets/snow/dog/1.png"):
        save_image(tmp_path / name)
    assert [(sample.id, sample.label, sample.split) for sample in read_folder(tmp_path).samples] == [
        ("dev/dog/1.png", 1, "validation"),
        ("test-sets/snow/dog/1.png", 1, "test-sets"),
        ("train/cat/1.png", 0, "train"),
        ("train/dog/1.png", 1, "train"),
    ]


def test_classes_of_dataset_json_are_in_its_order(tmp_path):
    save_image(tmp_path / "a.png")
    save_image(tmp_path / "b.png")
    save_lines(tmp_path / "metadata.jsonl", {"file_name": "a.png", "label": "cat"}, {"file_name": "b.png", "label": 0})
    (tmp_path / "dataset.json").write_text('{"name": "zoo", "classes": ["zebra", "cat", "ant"]}')
    data = read_folder(tmp_path)
    assert data.name == "zoo"
    assert data.classes == ("zebra", "cat", "ant")
    assert [sample.label for sample in data.samples] == [1, 0]


def test_numbers_alone_are_their_own_classes(tmp_path):
    lines = []
    for label in (2, 0, 1):
        save_image(tmp_path / f"{label}.png")
        lines.append({"file_name": f"{label}.png", "label": label})
    save_lines(tmp_path / "metadata.jsonl", *lines)
    data = read_folder(tmp_path)
    assert data.classes == ("0", "1", "2")
    assert [sample.label for sample in data.samples] == [2, 0, 1]


def test_load_dataset_reads_folders(tmp_path):
    save_image(tmp_path / "cat" / "a.png")
    assert len(load_dataset(str(tmp_path))) == 1
    (tmp_path / "cat" / "b.png").write_bytes(b"")
    assert len(load_dataset(str(tmp_path), on_bad="skip").rejected) == 1


# --- priors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_mask_images_allow_where_they_are_not_zero(tmp_path, mode):
    save_mask(tmp_path / "m" / "a.png", box(1, 0, 3, 2).numpy() * 255, mode)
    prior = one(tmp_path, mask_file_name="m/a.png").read_prior()
    assert prior.allowed.equal(box(1, 0, 3, 2))
    assert prior.forbidden is None
    assert prior.ignore is None


def test_a_palette_counts_by_its_index(tmp_path):
    image = Image.fromarray(box(1, 0, 3, 2).numpy().astype(np.uint8), mode=None).convert("P")
    image.putpalette([255, 255, 255, 0, 0, 0])  # index 0 is white, 1 is black
    (tmp_path / "m").mkdir()
    image.save(tmp_path / "m" / "a.png")
    assert one(tmp_path, mask_file_name="m/a.png").read_prior().allowed.equal(box(1, 0, 3, 2))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, np.int64])
def test_npy_masks(tmp_path, dtype):
    save_mask(tmp_path / "a.npy", box(0, 3, 6, 4).numpy().astype(dtype))
    assert one(tmp_path, mask_file_name="a.npy").read_prior().allowed.equal(box(0, 3, 6, 4))


def test_boxes_in_both_formats(tmp_path):
    xywh = one(tmp_path, objects={"bbox": [[1, 2, 3, 1], [0, 0, 1, 1]], "bbox_format": "xywh", "categories": [7, 8]})
    assert xywh.read_prior().allowed.equal(box(1, 2, 4, 3) | box(0, 0, 1, 1))
    xyxy = one(tmp_path, objects={"bbox": [[1, 2, 3, 4]], "bbox_format": "xyxy"})
    assert xyxy.read_prior().allowed.equal(box(1, 2, 3, 4))


def test_polygons_rle_and_clicks(tmp_path):
    polygons = one(tmp_path, polygons=[[0, 0, 2, 0, 2, 2, 0, 2], [5, 3, 6, 3, 6, 4, 5, 4]])
    assert polygons.read_prior().allowed.equal(box(0, 0, 2, 2) | box(5, 3, 6, 4))
    rle = one(tmp_path, rle={"size": [4, 6], "counts": [0, 4, 20]})
    assert rle.read_prior().allowed.equal(box(0, 0, 1, 4))
    click = one(tmp_path, click={"x": 2.5, "y": 1.5, "radius": 1})
    assert click.read_prior().allowed.equal(box(2, 0, 3, 3) | box(1, 1, 4, 2))


def test_several_keys_are_united(tmp_path):
    save_mask(tmp_path / "a.npy", box(0, 0, 1, 1).numpy())
    save_mask(tmp_path / "not.npy", box(5, 3, 6, 4).numpy())
    save_mask(tmp_path / "void.png", box(3, 0, 4, 1).numpy())
    sample = one(
        tmp_path,
        mask_file_name="a.npy",
        objects={"bbox": [[1, 0, 2, 1]], "bbox_format": "xyxy"},
        polygons=[[2, 0, 3, 0, 3, 1, 2, 1]],
        rle={"size": [4, 6], "counts": [12, 1, 11]},
        click={"x": 4.5, "y": 0.5, "radius": 0},
        forbidden_mask_file_name="not.npy",
        forbidden={"bbox": [[0, 3, 1, 1]], "bbox_format": "xywh"},
        ignore_mask_file_name="void.png",
    )
    prior = sample.read_prior()
    assert prior.allowed.equal(box(0, 0, 5, 1))
    assert prior.forbidden.equal(box(5, 3, 6, 4) | box(0, 3, 1, 4))
    assert prior.ignore.equal(box(3, 0, 4, 1))


def test_nulls_and_empty_lists_give_no_prior(tmp_path):
    empty = {"bbox": []}
    sample = one(tmp_path, mask_file_name=None, objects=empty, polygons=[], rle=None, click=None, forbidden=None)
    assert sample.read_prior() is None
    assert one(tmp_path, group=None, split=None).read_prior() is None


def test_a_turned_photograph_is_upright_and_so_is_its_annotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the right side of the stored image is its bottom
    save_image(tmp_path / "a.jpg", size=(4, 6), exif=exif)
    save_lines(
        tmp_path / "metadata.jsonl",
        {"file_name": "a.jpg", "label": "cat", "objects": {"bbox": [[5, 3, 6, 4]], "bbox_format": "xyxy"}},
    )
    (sample,) = read_folder(tmp_path).samples
    assert sample.read_image().size == (6, 4)
    assert sample.read_prior().shape == (4, 6)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_images_of_any_eight_bit_mode_become_rgb(tmp_path, mode):
    name = "a.tif" if mode == "CMYK" else "a.png"
    save_image(tmp_path / "cat" / name, mode=mode)
    (sample,) = read_folder(tmp_path).samples
    image = sample.read_image()
    assert image.mode == "RGB"
    expected = np.asarray(Image.open(tmp_path / "cat" / name).convert("RGB"))
    assert (np.asarray(image) == expected).all()


def test_samples_can_be_pickled(tmp_path):
    sample = one(tmp_path, click={"x": 1, "y": 1, "radius": 1})
    again = pickle.loads(pickle.dumps(sample))
    assert again.read_prior().allowed.equal(sample.read_prior().allowed)
    assert again.read_image().tobytes() == sample.read_image().tobytes()


# --- what is refused -------------------------------------------------------------------------------------------------


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


def test_compressed_rle_without_pycocotools_is_no_fault_of_the_data(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ImportError, match=r"wherenot\[coco\]"):
        one(tmp_path, rle={"size": [4, 6], "counts": "0h0"})


# --- writing ---------------------------------------------------------------------------------------------------------


def make(id, split, label=0, prior=None, group=None, size=(6, 4), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Sample(id, label, split, group, lambda: Image.fromarray(pixels), lambda: prior)


def varied():
    priors = [
        None,
        Prior.from_boxes([[0, 0, 2, 2]], 4, 6),
        Prior.from_boxes([[0, 0, 2, 2]], 4, 6, forbidden=True),
        Prior(box(0, 0, 3, 3), box(2, 2, 4, 4), box(5, 0, 6, 1)),
    ]
    samples = [
        make(f"{split}/{index:02d}.png", split, index % 3, prior, ("odd", None)[index % 2], seed=index)
        for split in ("train", "validation", "test_biased", "rain")
        for index, prior in enumerate(priors)
    ]
    return Dataset("zoo", ("zebra", "cat", "ä b"), tuple(samples))


def assert_same(one, other):
    assert (one.name, one.classes, len(one)) == (other.name, other.classes, len(other))
    for a, b in zip(one.samples, other.samples, strict=True):
        assert (a.id, a.label, a.split, a.group) == (b.id, b.label, b.split, b.group)
        assert a.read_image().tobytes() == b.read_image().tobytes()
        p, q = a.read_prior(), b.read_prior()
        assert (p is None) == (q is None)
        for name in ("allowed", "forbidden", "ignore"):
            x, y = getattr(p, name, None), getattr(q, name, None)
            assert (x is None and y is None) or x.equal(y)


def in_order(data):
    return Dataset(data.name, data.classes, tuple(sorted(data.samples, key=lambda sample: sample.id)))


def test_writing_and_reading_are_inverse(tmp_path):
    data = varied()
    write_folder(data, tmp_path / "one")
    again = read_folder(tmp_path / "one")
    assert_same(in_order(data), in_order(again))
    assert again.rejected == ()
    write_folder(again, tmp_path / "two")
    assert_same(again, read_folder(tmp_path / "two"))
    assert [(s.split, s.id) for s in again.split("rain").samples] == [
        (s.split, s.id) for s in data.split("rain").samples
    ]


def test_the_decoy_survives_the_round_trip(tmp_path):
    data = decoy(num_train=30, num_validation=10, num_test=10, prior="half")
    write_folder(data, tmp_path / "decoy")
    assert_same(in_order(data), in_order(read_folder(tmp_path / "decoy")))


def test_ids_of_any_kind_become_file_names(tmp_path):
    samples = (make("a", "train"), make("x/a.jpg", "train"), make("train/x/a.png", "train"), make("train", "train"))
    write_folder(Dataset("d", ("cat",), samples), tmp_path)
    assert [sample.id for sample in read_folder(tmp_path).samples] == [
        "train/a.png",
        "train/x/a.jpg.png",
        "train/x/a.png",
        "train/train.png",
    ]


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    write_folder(varied(), tmp_path / "good")
    assert not [file for file in (tmp_path / "good").rglob("*") if file.name.endswith(".part")]
    monkeypatch.setattr(Image.Image, "save", lambda self, file, format: (file.write_bytes(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        write_folder(varied(), tmp_path / "bad")
    assert [file.name for file in (tmp_path / "bad").rglob("*") if file.is_file()] == [".00.png.part"]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ((make("a", "train"), make("a.png", "train")), "two samples would become"),
        ((make("../a", "train"),), "not a relative path"),
        ((make("/a", "train"),), "not a relative path"),
        ((make("a", "tr/ain"),), "split 'tr/ain' cannot be a folder"),
        ((make("a", ".."),), "cannot be a folder"),
        ((make("a", "train", prior=Prior.from_boxes([[0, 0, 1, 1]], 6, 4)),), r"a prior of \(6, 4\) and an image of"),
    ],
)
def test_what_cannot_be_written(tmp_path, samples, message):
    with pytest.raises(ValueError, match=message):
        write_folder(Dataset("d", ("cat",), samples), tmp_path / "new")


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        write_folder(varied(), tmp_path)
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        write_folder(varied(), tmp_path / "precious.txt")
    assert [file.name for file in tmp_path.iterdir()] == ["precious.txt"]


def test_datasets_reads_what_we_write(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    datasets.disable_progress_bars()
    data = decoy(num_train=8, num_validation=4, num_test=3)
    write_folder(data, tmp_path / "decoy")
    theirs = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "decoy"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(theirs[split]) for split in theirs} == {"train": 8, "validation": 4, "test": 9}
    for row, sample in zip(theirs["train"], data.split("train").samples, strict=True):
        assert np.array_equal(np.asarray(row["image"]), np.asarray(sample.read_image()))
        prior = sample.read_prior()
        assert prior is not None
        assert prior.allowed is not None
        assert np.array_equal(np.asarray(row["mask"]) > 0, prior.allowed.numpy())
        assert row["label"] == data.classes[sample.label]
        assert row["group"] == "aligned"


# --- data sets -------------------------------------------------------------------------------------------------------


def test_splits_of_a_dataset():
    data = varied()
    assert data.splits == ("train", "validation", "test_biased", "rain")
    assert [sample.id for sample in data.split("rain").samples] == [f"rain/{index:02d}.png" for index in range(4)]
    with pytest.raises(ValueError, match=r"'zoo' has no split 'val'; its splits are \['train', 'validation', 'test_b"):
        data.split("val")
    rejected = (Rejected("x", "bad"),)
    assert Dataset("d", ("cat",), (make("a", "train"),), rejected).split("train").rejected == rejected


@pytest.mark.parametrize(
    ("classes", "samples", "message"),
    [
        (("cat",), (make("a", "train"), make("a", "test")), "sample id 'a' occurs more than once"),
        (("cat", "cat"), (), "class 'cat' occurs more than once"),
        (("cat",), (make("a", "train", label=1),), "sample 'a' has label 1; labels are indices into the 1 classes"),
        (("cat",), (make("a", "train", label=-1),), "sample 'a' has label -1"),
    ],
)
def test_inconsistent_datasets_are_refused(classes, samples, message):
    with pytest.raises(ValueError, match=message):
        Dataset("d", classes, samples)


def strata(sizes):
    samples = [
        make(f"{label}{group}{index}", "train", label, group=group)
        for (label, group), size in sizes.items()
        for index in range(size)
    ]
    return Dataset("d", ("cat", "dog"), (*samples, make("t", "test")))


def counts(data, split):
    found = {}
    for sample in data.split(split).samples:
        found[sample.label, sample.group] = found.get((sample.label, sample.group), 0) + 1
    return found


def test_hold_out_takes_a_share_of_each_class_and_group():
    data = strata({(0, "a"): 40, (0, "b"): 10, (1, "a"): 30, (1, None): 20})
    held = hold_out(data, 0.2, seed=0)
    assert counts(held, "validation") == {(0, "a"): 8, (0, "b"): 2, (1, "a"): 6, (1, None): 4}
    assert [sample.id for sample in held.samples] == [sample.id for sample in data.samples]
    assert len(held.split("test")) == 1
    assert data.splits == ("train", "test")  # the argument is left alone


def test_hold_out_gives_what_is_left_to_the_largest_remainders():
    held = hold_out(strata({(0, "a"): 19, (0, "b"): 16, (1, "a"): 14, (1, "b"): 1}), 0.1, seed=0)
    # shares 1.9, 1.6, 1.4, .1: five in all, so one each and one more for the first two
    assert counts(held, "validation") == {(0, "a"): 2, (0, "b"): 2, (1, "a"): 1}


def test_hold_out_never_takes_the_last_sample_of_a_class_and_group():
    held = hold_out(strata({(0, "a"): 1, (0, "b"): 2, (1, "a"): 20}), 0.9, seed=0)
    assert counts(held, "train") == {(0, "a"): 1, (0, "b"): 1, (1, "a"): 1}


def test_hold_out_depends_on_seed_and_ids_only():
    data = strata({(0, "a"): 40, (1, "a"): 30})
    ids = [{sample.id for sample in hold_out(data, 0.3, seed).split("validation").samples} for seed in range(3)]
    assert len(ids[0]) == 21
    assert ids[0] != ids[1] != ids[2]
    backwards = Dataset(data.name, data.classes, data.samples[::-1])
    assert {sample.id for sample in hold_out(backwards, 0.3, 0).split("validation").samples} == ids[0]


def test_hold_out_keeps_a_given_validation_split():
    data = varied()
    assert hold_out(data, 0.5, seed=0) is data


def test_hold_out_refuses():
    data = strata({(0, "a"): 3})
    for fraction in (0.0, 1.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="fraction is"):
            hold_out(data, fraction, seed=0)
    with pytest.raises(ValueError, match="is no sample; raise it"):
        hold_out(data, 0.1, seed=0)
    with pytest.raises(ValueError, match="no split 'train'"):
        hold_out(data.split("test"), 0.1, seed=0)
