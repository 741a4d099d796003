"""The native format: what is read, what is refused, and that writing and reading are inverse."""

import pickle

import numpy as np
import pytest
from PIL import Image

from photo_folder import box, one, save_image, save_lines, save_mask
from wherenot.data import load_dataset, read_folder


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
