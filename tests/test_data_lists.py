"""Three-column lists and Saliency-Bench, which is read by them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import dataset_layouts as layouts
from photo_folder import make, save_image, varied
from test_data_writing import assert_same
from wherenot.data import DataError, Dataset, read_lists, read_saliency_bench, write_lists
from wherenot.priors import Prior

ALLOWED = Prior.from_boxes([[0, 0, 2, 2]], 4, 6)


def save_pair(root, name):
    save_image(root / f"{name}.png")
    np.save(root / f"{name}.npy", np.eye(4, 6))


def test_one_list_is_one_split_called_like_it(tmp_path):
    save_pair(tmp_path, "a")
    for name, split in (("test_one_per_class", "test_one_per_class"), ("val", "validation")):
        (tmp_path / f"{name}.txt").write_text("a.png a.npy cat\n")
        (sample,) = read_lists(tmp_path / f"{name}.txt").samples
        assert sample.split == split
        assert sample.read_prior().allowed.equal(torch.eye(4, 6) > 0)


@pytest.mark.parametrize(
    "line",
    [
        "my cat.png my cat.npy big cat",
        "my cat.png   my cat.npy   big cat",
        "my cat.png\tmy cat.npy\tbig cat",
        "\t my cat.png \tmy cat.npy\tbig cat",
        "my cat.png my cat.npy big cat\r",
    ],
)
def test_spaces_in_paths_and_classes(tmp_path, line):
    save_pair(tmp_path, "my cat")
    (tmp_path / "test.txt").write_bytes(line.replace("\t ", "").encode() + b"\n\n")
    data = read_lists(tmp_path)
    assert data.classes == ("big cat",)
    assert data.samples[0].id == "my cat.png"


def test_a_path_that_could_be_cut_in_two_ways_is_cut_where_the_files_are(tmp_path):
    save_image(tmp_path / "a.png b.png")
    save_image(tmp_path / "c.png", mode="L")
    (tmp_path / "test.txt").write_text("a.png b.png c.png cat")
    (sample,) = read_lists(tmp_path).samples
    assert sample.id == "a.png b.png"
    save_image(tmp_path / "a.png")
    save_image(tmp_path / "b.png c.png", mode="L")
    with pytest.raises(DataError, match="cannot be parted into image, mask and class; part the columns by tabs"):
        read_lists(tmp_path)


def test_the_lines_of_one_image_have_their_own_ids(tmp_path):
    save_pair(tmp_path, "a")
    (tmp_path / "train.txt").write_text("a.png a.npy cat\na.png a.npy dog\n")
    (tmp_path / "test.txt").write_text(f"{tmp_path}/a.png ../{tmp_path.name}/a.npy cat\n")
    data = read_lists(tmp_path)
    ids = [sample.id for sample in data.samples]
    assert ids[1:] == ["a.png", "a.png#2"]
    assert ids[0].endswith("/a.png")
    assert not ids[0].startswith("/")
    assert [data.classes[sample.label] for sample in data.samples] == ["cat", "cat", "dog"]


def test_classes_txt_gives_the_order_and_the_classes_that_do_not_occur(tmp_path):
    save_pair(tmp_path, "a")
    (tmp_path / "test.txt").write_text("a.png a.npy cat\n")
    (tmp_path / "classes.txt").write_text("zebra\ncat\n")
    data = read_lists(tmp_path / "test.txt")
    assert (data.classes, data.samples[0].label) == (("zebra", "cat"), 1)
    (tmp_path / "classes.txt").write_text("zebra\n")
    with pytest.raises(DataError, match=r"test.txt:1: class 'cat' is not in classes.txt"):
        read_lists(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\ncat\n")
    with pytest.raises(DataError, match="is empty or names a class twice"):
        read_lists(tmp_path)


BAD_LINES = {
    "gone.png a.npy cat": "gone.png: no such file",
    "a.png gone.npy cat": "gone.npy: no such file",
    "a.png a.npy": "cannot be parted into image, mask and class",
    "a.png\ta.npy": "2 columns parted by tabs",
    "a.png\ta.npy\t\tcat": "4 columns parted by tabs",
    "a.txt a.npy cat": "cannot be parted",
    "a.png zero.npy cat": "zero.npy: zero everywhere, an empty prior",
    "a.png small.npy cat": r"small.npy: size \(3, 3\), the image \(4, 6\)",
    "a.png half.npy cat": "half.npy: not a mask that can be read",
    "a.png colour.png cat": "colour.png: a mask of mode RGB",
    "a.png fine.npy cat": r"test.txt:2: the same as test.txt:1",
}


@pytest.mark.parametrize(("line", "reason"), BAD_LINES.items())
def test_bad_lines_are_named(tmp_path, line, reason):
    save_pair(tmp_path, "a")
    save_image(tmp_path / "colour.png")
    for name, mask in {"zero": np.zeros((4, 6)), "small": np.ones((3, 3)), "fine": np.ones((4, 6))}.items():
        np.save(tmp_path / f"{name}.npy", mask)
    (tmp_path / "half.npy").write_bytes((tmp_path / "fine.npy").read_bytes()[:-20])
    (tmp_path / "test.txt").write_text(f"a.png fine.npy cat\n{line}\n")
    with pytest.raises(DataError, match=rf"read_lists: .*: 1 problem:\n(.|\n)*{reason}"):
        read_lists(tmp_path)
    data = read_lists(tmp_path, on_bad="skip")
    assert len(data) == 1
    assert data.rejected[0].reason.startswith("test.txt:2: ")


def test_a_data_set_without_one_good_sample_is_refused_even_when_bad_ones_may_be_skipped(tmp_path):
    (tmp_path / "test.txt").write_text("a.png a.npy cat\n")
    with pytest.raises(DataError, match=r"test.txt:1: .*no such file\nNo sample is good; correct them"):
        read_lists(tmp_path, on_bad="skip")


def test_a_list_that_is_not_text(tmp_path):
    (tmp_path / "test.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"test.txt cannot be read"):
        read_lists(tmp_path)
    with pytest.raises(DataError, match=r"nothing.txt cannot be read"):
        read_lists(tmp_path / "nothing.txt")


# --- writing ---------------------------------------------------------------------------------------------------------


def test_writing_and_reading_are_inverse(tmp_path):
    samples = [
        make(f"{split}/{index} {split}.png", split, index, ALLOWED, seed=index)
        for split in ("test_far", "train", "validation")
        for index in range(2)
    ]
    data = Dataset("zoo", ("big cat", "dog", "unseen"), tuple(samples))
    write_lists(data, tmp_path / "zoo")
    again = read_lists(tmp_path / "zoo")
    renamed = [replace(sample, id=sample.id.removeprefix("images/")) for sample in again.samples]
    assert_same(data, Dataset(again.name, again.classes, tuple(renamed)))
    assert not list((tmp_path / "zoo").rglob(".*"))


def test_lines_without_blanks_are_parted_by_spaces_as_the_authors_do(tmp_path):
    write_lists(Dataset("d", ("cat",), (make("a", "train", 0, ALLOWED),)), tmp_path)
    assert (tmp_path / "train.txt").read_text() == "images/a.png masks/a.png cat\n"


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (make("a", "train"), "'a' has no prior"),
        (make("a", "train", 0, ALLOWED, "odd"), "'a' has a group"),
        (make("a", "train", 0, Prior.from_boxes([[0, 0, 1, 1]], 4, 6, forbidden=True)), "'a' has a forbidden area"),
        (make("a", "train", 0, ALLOWED.with_ignore(torch.eye(4, 6) > 2)), None),
        (make("a", "train", 0, ALLOWED.with_ignore(torch.ones(4, 6).tril() < 1)), "'a' has ignored pixels"),
        (make("a", "rain", 0, ALLOWED), "split 'rain' is not train, validation, test"),
        (make("../a", "train", 0, ALLOWED), "not a relative path"),
    ],
)
def test_what_lists_cannot_say_is_refused(tmp_path, sample, message):
    data = Dataset("d", ("cat",), (sample,))
    if message is None:  # nothing is ignored: nothing is lost
        write_lists(data, tmp_path)
        return
    with pytest.raises(ValueError, match=message):
        write_lists(data, tmp_path)


def test_a_folder_that_is_not_empty_and_names_that_collide(tmp_path):
    samples = (make("a", "train", 0, ALLOWED), make("a.png", "train", 0, ALLOWED))
    with pytest.raises(ValueError, match="two samples would become"):
        write_lists(Dataset("d", ("cat",), samples), tmp_path)
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        write_lists(varied(), tmp_path)


# --- Saliency-Bench --------------------------------------------------------------------------------------------------


def test_saliency_bench_under_any_name_and_the_same_image_under_two_classes(tmp_path):
    root = layouts.make_saliency_bench(tmp_path)
    image = root / "pascal/image/bird/2007_120000.png"
    (root / "pascal/image/boat").mkdir()
    (root / "pascal/attention_mask/boat").mkdir()
    (root / "pascal/image/boat/2007_120000.png").write_bytes(image.read_bytes())
    np.save(root / "pascal/attention_mask/boat/2007_120000.npy", np.ones((64, 64)))
    with (root / "test.txt").open("a") as file:
        file.write("pascal/image/boat/2007_120000.png pascal/attention_mask/boat/2007_120000.npy boat\n")
    data = read_saliency_bench(root.rename(tmp_path / "sb"))
    namesakes = [(s.id, data.classes[s.label]) for s in data.split("test").samples if "2007_120000" in s.id]
    assert namesakes == [
        ("pascal/image/bird/2007_120000.png", "bird"),
        ("pascal/image/boat/2007_120000.png", "boat"),
    ]


SB_FAULTS = {
    "image/bird/2007_120000.jpg attention_mask/bird/2007_120000.npy bird": "are not pascal/image/<class>/<id>.png",
    "image/bird/2007_120000.png attention_mask/bird/2007_120000.npy boat": "class 'boat' do not belong together",
    "image/bird/2007_120000.png attention_mask/boat/2007_120000.npy bird": "do not belong together",
    "image/bird/2007_120000.png attention_mask/bird/2007_120001.npy bird": "do not belong together",
    "image/bird/gone.png attention_mask/bird/gone.npy bird": "gone.png: no such file",
    "image/bird/2007_120000.png attention_mask/bird/2007_120000.npy bird": "the same image as test.txt:5",
    "image/bird/2007_120000.png bird": "cannot be parted",
}


@pytest.mark.parametrize(("line", "reason"), SB_FAULTS.items())
def test_saliency_bench_lines_that_do_not_fit(tmp_path, line, reason):
    root = layouts.make_saliency_bench(tmp_path)
    line = " ".join(f"Saliency-Bench/pascal/{part}" if "/" in part else part for part in line.split())
    with (root / "test.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=rf"test.txt:7: (.|\n)*{reason}"):
        read_saliency_bench(root)
    data = read_saliency_bench(root, on_bad="skip")
    assert (len(data), len(data.rejected)) == (12, 1)


def test_saliency_bench_masks_of_another_size_and_missing_lists(tmp_path):
    root = layouts.make_saliency_bench(tmp_path)
    np.save(root / "pascal/attention_mask/bird/2007_120000.npy", np.ones((32, 32)))
    with pytest.raises(DataError, match=r"test.txt:5: .*size \(32, 32\), the image \(64, 64\)"):
        read_saliency_bench(root)
    (root / "test.txt").unlink()
    (root / "train.txt").unlink()
    with pytest.raises(DataError, match=r"holds neither train.txt nor test.txt; put the lists"):
        read_saliency_bench(root)
