"""Cutting splits off training samples: shares, what stays together, what is refused, and the command."""

from collections import Counter
from dataclasses import replace

import pytest

from photo_folder import make
from wherenot.cli import main
from wherenot.data import DataError, Dataset, GuiSample, load_dataset, split_off, write_folder
from wherenot.data.check import check_dataset, duplicates_across_splits


def many(sizes, **changes):
    """So many samples of each class and group, all different."""
    places = [(label, group) for (label, group), size in sizes.items() for _ in range(size)]
    samples = [
        make(f"train/{number:03d}.png", "train", label, group=group, seed=number, **changes)
        for number, (label, group) in enumerate(places)
    ]
    return Dataset("many", ("cat", "dog"), tuple(samples))


def counts(data, split):
    return Counter((sample.label, sample.group) for sample in data.split(split).samples)


def test_each_class_and_group_gives_its_share_and_the_total_comes_out_right():
    sizes = {(0, "a"): 40, (0, "b"): 20, (1, "a"): 13, (1, "b"): 7}
    data = split_off(many(sizes), "validation", 0.25, seed=3)
    held = counts(data, "validation")
    assert held.total() == 20
    assert all(abs(held[key] - 0.25 * size) < 1 for key, size in sizes.items())
    assert {sample.id.partition("/")[0] for sample in data.split("validation").samples} == {"validation"}
    assert {sample.id.partition("/")[2] for sample in data.samples} == {f"{number:03d}.png" for number in range(80)}


def test_small_classes_give_in_turn_until_the_total_is_reached():
    sizes = {(0, None): 4, (1, None): 4}
    assert counts(split_off(many(sizes), "validation", 0.1, seed=0), "validation").total() == 1
    for seed in range(6):
        alone = split_off(many({(0, None): 9, (1, None): 1}), "validation", 0.5, seed=seed)
        assert counts(alone, "train")[1, None] == 1  # the last of its class


def test_the_seed_chooses_and_the_order_of_the_samples_does_not_matter():
    data = many({(0, None): 20, (1, None): 20})
    back = replace(data, samples=data.samples[::-1])
    held = [
        {sample.id for sample in split_off(each, "validation", 0.2, seed=seed).split("validation").samples}
        for each, seed in ((data, 0), (back, 0), (data, 1))
    ]
    assert held[0] == held[1] != held[2]


def test_the_same_pixels_are_never_parted_whatever_their_class():
    samples = [make(f"{number}", "train", number % 2, seed=number // 3) for number in range(60)]
    data = Dataset("copies", ("cat", "dog"), tuple(samples))
    for seed in range(5):
        cut = split_off(data, "validation", 0.3, seed=seed)
        assert len(cut.split("validation")) == 18
        assert duplicates_across_splits(cut) == ()


def test_groups_are_kept_whole_when_asked_and_chains_join():
    samples = [make(f"{n}", "train", n % 2, group=f"film {n // 6}", seed=n) for n in range(60)]
    samples += [
        make("link 1", "train", 0, group="film 0", seed=900),
        make("link 2", "train", 0, group="film 1", seed=900),
    ]
    films = Dataset("films", ("cat", "dog"), tuple(samples))
    for seed in range(6):
        cut = split_off(films, "validation", 0.3, seed=seed, keep_groups=True)
        held = {sample.group for sample in cut.split("validation").samples}
        assert held
        assert not held & {sample.group for sample in cut.split("train").samples}
        assert len(held & {"film 0", "film 1"}) != 1


def test_tasks_on_one_screenshot_are_never_parted():
    plain = [make(f"{number}", "train", 0, seed=number) for number in range(30)]
    tasks = [
        GuiSample(**vars(each), prompt="Tap.", screenshot=f"shot {number // 5}") for number, each in enumerate(plain)
    ]
    cut = split_off(Dataset("tasks", ("click",), tuple(tasks)), "validation", 1 / 3, seed=0)
    held, kept = ({sample.screenshot for sample in cut.split(split).samples} for split in ("validation", "train"))
    assert (len(held), held & kept) == (2, set())


def test_what_cannot_be_split_is_refused():
    data = many({(0, None): 4})
    with pytest.raises(ValueError, match="frac is 1"):
        split_off(data, "validation", 1.0, seed=0)
    with pytest.raises(DataError, match="has a train split already"):
        split_off(data, "train", 0.5, seed=0)
    test = replace(data, samples=tuple(replace(sample, split="test") for sample in data.samples))
    with pytest.raises(DataError, match="has no train split"):
        split_off(test, "validation", 0.5, seed=0)
    copies = Dataset("copies", ("cat",), tuple(make(f"{n}", "train") for n in range(4)))
    with pytest.raises(DataError, match=r"no piece of copies is small enough.*the smallest has 4"):
        split_off(copies, "validation", 0.5, seed=0)


def test_the_command_writes_it_and_says_what_was_in_several_splits_before(tmp_path, capsys):
    data = many({(0, None): 12, (1, None): 8})
    test = [make(f"test/{number}.png", "test", 0, seed=number) for number in (0, 400)]  # the first is in train, too
    write_folder(replace(data, samples=(*data.samples, *test)), tmp_path / "data")
    assert main(["data", "split", str(tmp_path / "data"), str(tmp_path / "cut"), "--val", "0.2", "--seed", "4"]) == 0
    cut = load_dataset(str(tmp_path / "cut"))
    assert {split: len(cut.split(split)) for split in cut.splits} == {"train": 16, "validation": 4, "test": 2}
    assert "1 image was in train and elsewhere before" in capsys.readouterr().out
    assert len(check_dataset(cut).duplicates) == 1
    assert main(["data", "split", str(tmp_path / "data"), str(tmp_path / "cut")]) == 1
    assert "not an empty folder" in capsys.readouterr().err
    assert main(["data", "split", str(tmp_path / "data"), str(tmp_path / "new"), "--val", "0.6", "--test", "0.4"]) == 1
    assert "together above 0 and below 1" in capsys.readouterr().err
