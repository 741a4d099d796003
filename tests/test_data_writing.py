"""The native format: what is read, what is refused, and that writing and reading are inverse."""

import numpy as np
import pytest
from PIL import Image

from photo_folder import make, varied
from wherenot.data import Dataset, read_folder, write_folder
from wherenot.data.decoy import decoy
from wherenot.priors import Prior


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
