"""The formats of others: what every reader must give, whatever it reads."""

import pickle

import numpy as np
import pytest
import torch

import dataset_layouts as layouts
from test_data_writing import assert_same
from wherenot.data import DataError, Dataset, hold_out, load_dataset, read_folder, write_folder
from wherenot.data.loading import BUILT_IN, FORMATS

FORMAT_MAKERS = {
    "imagenet-s50": layouts.make_imagenet_s,
    "imagenet-s50-legacy": layouts.make_imagenet_s,
    "saliency-bench": layouts.make_saliency_bench,
    "list": layouts.make_lists,
    "coco": layouts.make_coco,
    "voc": layouts.make_voc,
    "voc-masks": layouts.make_voc,
}


@pytest.fixture(params=FORMAT_MAKERS, name="data")
def read(request, tmp_path):
    return load_dataset(f"{request.param}:{FORMAT_MAKERS[request.param](tmp_path / 'made')}")


def test_every_sample_is_there_with_class_split_and_prior(data):
    per_split = {split: len(data.split(split)) for split in sorted(data.splits) if split != "test_no_masks"}
    assert per_split == {"test": 6, "train": 6}
    assert data.rejected == ()
    for split in per_split:
        labels = [sample.label for sample in data.split(split).samples]
        # Legacy ImageNet-S takes both "crane" for one class.
        assert sorted(np.unique(labels, return_counts=True)[1].tolist()) in ([2, 2, 2], [2, 4])
    for sample in data.samples:
        prior = sample.read_prior()
        assert (prior is None) == (sample.split == "test_no_masks")
        assert sample.read_image().size == (layouts.SIDE, layouts.SIDE)


@pytest.mark.parametrize("format", [format for format in FORMAT_MAKERS if "legacy" not in format])
def test_the_prior_lies_on_the_object_and_nowhere_else(format, tmp_path):
    data = load_dataset(f"{format}:{FORMAT_MAKERS[format](tmp_path)}")
    for sample in data.samples:
        prior = sample.read_prior()
        if prior is None:
            continue
        inside = prior.allowed
        assert inside.sum() == layouts.OBJECT**2
        colour = np.asarray(sample.read_image()).astype(float)[inside.numpy()].mean(0)
        assert np.abs(colour - layouts.COLOURS[sample.label]).max() < 12
        assert prior.ignore is None or not (prior.ignore & inside).any()


def test_what_is_read_survives_the_native_folder(data, tmp_path):
    write_folder(data, tmp_path / "native")
    again = read_folder(tmp_path / "native")
    key = {f"{sample.split}/{sample.id}": sample for sample in data.samples}
    assert (again.name, again.classes, len(again)) == (data.name, data.classes, len(data))
    for sample in again.samples:
        original = key[sample.id if sample.id in key else sample.id.removesuffix(".png")]
        assert (sample.label, sample.split, sample.group) == (original.label, original.split, original.group)
        assert sample.read_image().tobytes() == original.read_image().tobytes()
        assert_same_prior(sample.read_prior(), original.read_prior())
    write_folder(again, tmp_path / "twice")
    assert_same(again, read_folder(tmp_path / "twice"))


def assert_same_prior(one, other):
    assert (one is None) == (other is None)
    if one is not None:
        assert one.allowed.equal(other.allowed)
        none = torch.zeros_like(one.allowed)
        assert (none if one.ignore is None else one.ignore).equal(none if other.ignore is None else other.ignore)


def test_samples_can_be_pickled(data):
    for sample in data.samples[:2]:
        again = pickle.loads(pickle.dumps(sample))
        assert again.read_image().tobytes() == sample.read_image().tobytes()
        assert_same_prior(again.read_prior(), sample.read_prior())


def test_validation_is_cut_from_train_and_never_from_test(data):
    held = hold_out(data, fraction=0.5, seed=0)
    before = {sample.id: sample.split for sample in data.samples}
    moved = {sample.id for sample in held.samples if sample.split == "validation"}
    assert len(moved) == 3
    assert {before[id] for id in moved} == {"train"}
    assert [s.id for s in held.split("test").samples] == [s.id for s in data.split("test").samples]


@pytest.mark.parametrize("format", sorted(FORMATS.keys() - {"list", "image-text", "gui", "agentcpm"}))
def test_a_missing_folder_is_named(format, tmp_path):
    with pytest.raises(DataError, match=r"nowhere does not exist; pass the folder"):
        load_dataset(f"{format}:{tmp_path / 'nowhere'}")


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_folder_is_no_data_set(format, tmp_path):
    with pytest.raises(DataError, match="hold"):
        load_dataset(f"{format}:{tmp_path}")


def test_a_truncated_image_is_named_when_it_is_read(data):
    """Headers are checked at once, pixels when asked for: `wherenot data check` asks for all."""
    sample = data.samples[0]
    path = sample.read_image.args[0]
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=f"{path.name}: the pixels cannot be decoded"):
        sample.read_image()


@pytest.mark.parametrize("format", ["imagenet-s50", "saliency-bench", "list", "coco", "voc", "voc-masks"])
@pytest.mark.parametrize("fault", ["gone", "empty"])
def test_a_bad_image_is_an_error_or_left_out_and_listed(format, fault, tmp_path):
    root = FORMAT_MAKERS[format](tmp_path)
    victim = load_dataset(f"{format}:{root}").split("train").samples[0]
    path = victim.read_image.args[0]
    path.unlink()
    if fault == "empty":
        path.write_bytes(b"")
    if format == "imagenet-s50" and fault == "gone":
        reason = "a mask without its image"
    else:
        reason = "no such file" if fault == "gone" else "not an image that can be read"
    with pytest.raises(DataError, match=rf"1 problem:(.|\n)*{reason}"):
        load_dataset(f"{format}:{root}")
    data = load_dataset(f"{format}:{root}", on_bad="skip")
    assert victim.id not in [sample.id for sample in data.samples]
    (rejected,) = data.rejected
    assert path.stem in rejected.reason
    assert reason in rejected.reason


def test_specs(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match=r"'coco:' has no path; write coco:PATH"):
        load_dataset("coco:")
    with pytest.raises(ValueError, match=r"'cocoa:x' is neither a folder nor built in; .*decoy.* imagenet-s50,"):
        load_dataset("cocoa:x")
    assert not {name.partition(":")[0] for name in BUILT_IN} & set(FORMATS)


def test_a_format_and_its_folder_are_the_same_data(tmp_path):
    root = layouts.make_lists(tmp_path / "lists")
    write_folder(load_dataset(f"list:{root}"), tmp_path / "native")
    assert_same(load_dataset(str(tmp_path / "native")), load_dataset(f"folder:{tmp_path / 'native'}"))
    assert isinstance(load_dataset(f"folder:{tmp_path / 'native'}"), Dataset)
