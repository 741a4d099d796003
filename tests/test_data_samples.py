"""The native format: what is read, what is refused, and that writing and reading are inverse."""

from collections import Counter

import pytest

from photo_folder import make, varied
from wherenot.data import Dataset, Rejected, decoy, hold_out, limit


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


def test_limit_draws_evenly_over_classes_and_keeps_the_order():
    data = decoy(0, num_train=300, num_validation=5, num_test=40)
    few = limit(data, 20, seed=0)
    counts = Counter(sample.label for sample in few.split("train").samples)
    assert set(counts.values()) == {2}
    assert len(few.split("validation")) == 5
    ids = [sample.id for sample in data.samples]
    places = [ids.index(sample.id) for sample in few.samples]
    assert places == sorted(places)
    assert {sample.id for sample in few.samples} <= {sample.id for sample in limit(data, 25, seed=0).samples}
    assert {sample.id for sample in few.samples} != {sample.id for sample in limit(data, 20, seed=1).samples}
    # splits that show the same digits keep showing the same
    biased, swapped = (
        {sample.id.partition("/")[2] for sample in few.split(split).samples}
        for split in ("test_biased", "test_swapped")
    )
    assert biased == swapped
    assert limit(few, 20, seed=0).samples == few.samples
    with pytest.raises(ValueError, match="at least 1"):
        limit(data, 0, seed=0)
