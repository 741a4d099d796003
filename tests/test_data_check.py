"""Looking a data set over: duplicates, pixels that cannot be decoded, and the two commands."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import dataset_layouts as layouts
from photo_folder import make
from wherenot.data import DataError, Dataset, duplicates_across_splits, load_dataset, read_folder
from wherenot.data.check import check_dataset
from wherenot.priors import Prior

ALLOWED = Prior.from_boxes([[0, 0, 2, 2]], 4, 6)


def test_the_same_pixels_in_several_splits_are_found_whatever_their_names():
    samples = (
        make("a", "train", 0, seed=1),
        make("b", "train", 0, seed=2),
        make("c", "validation", 1, seed=2),
        make("d", "test_far", 0, seed=3),
        make("e", "test_near", 0, seed=3),
        make("f", "test_near", 1, seed=1),
        make("g", "train", 1, seed=1),
    )
    one, two = duplicates_across_splits(Dataset("d", ("cat", "dog"), samples))
    assert (one.ids, one.splits, one.labels) == (("a", "f", "g"), ("train", "test_near"), (0, 1))
    assert (two.ids, two.splits, two.labels) == (("b", "c"), ("train", "validation"), (0, 1))


def test_images_of_the_same_bytes_and_another_size_are_different():
    flat = [Image.new("RGB", size) for size in ((4, 6), (6, 4))]
    samples = [make(split, split, 0) for split in ("train", "test")]
    changed = [
        type(sample)(sample.id, 0, sample.split, None, image.copy, sample.read_prior)
        for sample, image in zip(samples, flat, strict=True)
    ]
    assert flat[0].tobytes() == flat[1].tobytes()
    assert duplicates_across_splits(Dataset("d", ("cat",), tuple(changed))) == ()


def test_findings_count_priors_and_name_what_cannot_be_decoded(tmp_path):
    root = layouts.make_imagenet_s(tmp_path)
    broken = next((root / "validation").rglob("*.JPEG"))
    broken.write_bytes(broken.read_bytes()[:-300])
    next((root / "train-semi-segmentation").rglob("*.png")).unlink()
    seen = []
    found = check_dataset(load_dataset(f"imagenet-s50:{root}", on_bad="skip"), on_sample=lambda: seen.append(1))
    assert [(c.split, c.images, c.classes, c.priors, c.forbidden, c.ignore) for c in found.counts] == [
        ("train", 5, 3, 5, 0, 5),
        ("test", 5, 3, 5, 0, 5),
        ("test_no_masks", 6, 3, 0, 0, 0),
    ]
    assert len(seen) == 17
    assert len(found.bad) == 2
    assert "no such file" in found.bad[0].reason
    assert f"{broken.name}: the pixels cannot be decoded" in found.bad[1].reason


def test_what_priors_say_is_counted():
    forbidding = Prior.from_boxes([[0, 0, 2, 2]], 4, 6, forbidden=True)
    ignoring = ALLOWED.with_ignore(~ALLOWED.allowed)
    nothing = ALLOWED.with_ignore(ALLOWED.allowed & ~ALLOWED.allowed)
    samples = [
        make(str(seed), "train", 0, prior, seed=seed)
        for seed, prior in enumerate((forbidding, ignoring, nothing, None))
    ]
    (count,) = check_dataset(Dataset("d", ("cat",), tuple(samples))).counts
    assert (count.images, count.priors, count.forbidden, count.ignore) == (4, 3, 1, 1)


# --- the commands ----------------------------------------------------------------------------------------------------


def test_check_finds_nothing_wrong(tmp_path, typed):
    printed = typed("data", "check", f"saliency-bench:{layouts.make_saliency_bench(tmp_path)}")
    assert "saliency-bench: 3 classes" in printed
    assert "nothing wrong found" in printed


def test_check_fails_and_names_faults_and_duplicates(tmp_path, typed):
    root = layouts.make_saliency_bench(tmp_path)
    images = sorted((root / "pascal/image").rglob("*.png"))
    train, test = (next(path for path in images if path.stem[5] == part) for part in "01")
    shutil.copy(train, test)
    other = next(path for path in images if path.stem[5] == "1" and path != test)
    other.write_bytes(other.read_bytes()[:-5000])
    printed = typed("data", "check", f"saliency-bench:{root}", expect=1)
    assert "2 problems" in printed
    assert f"{other.name}: the pixels cannot be decoded" in printed
    assert "the same image in test and train: pascal/image/aeroplane/2007_100000.png, pascal/image/aero" in printed


def test_check_counts_what_is_no_fault(tmp_path, typed):
    root = layouts.make_coco(tmp_path)
    file = root / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] != 1]
    file.write_text(json.dumps(content))
    images = sorted((root / "train2017").iterdir())
    shutil.copy(images[0], images[-1])
    printed = typed("data", "check", f"coco:{root}")
    assert "1 image is no sample" in printed
    assert "1 image occurs more than once within train, within validation or among the test splits" in printed
    assert "1 of them with several classes" in printed


@pytest.mark.parametrize("spec", ["voc", "coco"])
def test_convert_writes_the_native_folder(tmp_path, typed, spec):
    root = layouts.make_voc(tmp_path) if spec == "voc" else layouts.make_coco(tmp_path)
    printed = typed("data", "convert", f"{spec}:{root}", tmp_path / "native")
    assert "12 images, 0 left out" in printed
    original, written = load_dataset(f"{spec}:{root}"), read_folder(tmp_path / "native")
    assert written.classes == original.classes
    assert sorted(s.label for s in written.samples) == sorted(s.label for s in original.samples)
    mask = written.samples[0].read_prior().allowed
    assert mask.sum() == layouts.OBJECT**2


def test_convert_names_what_it_leaves_out(tmp_path, typed):
    root = layouts.make_lists(tmp_path / "lists")
    np.save(root / "masks" / "train 0 0.npy", np.zeros((64, 64)))
    complaint = typed("data", "convert", f"list:{root}", tmp_path / "native", "--strict", expect=1)
    assert "train 0 0.npy: zero everywhere, an empty prior" in complaint
    assert not (tmp_path / "native").exists()
    printed = typed("data", "convert", f"list:{root}", tmp_path / "native")
    assert "left out: train.txt:1:" in printed
    assert "11 images, 1 left out" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "imagenet-s:nowhere"), "is neither a folder nor built in"),
        (("check", "coco:nowhere"), "nowhere does not exist"),
    ],
)
def test_wrong_arguments_are_named(typed, arguments, message):
    assert message in typed("data", *arguments, expect=1)


def test_an_empty_data_set_is_no_data_set(tmp_path):
    with pytest.raises(DataError, match="holds no images"):
        load_dataset(str(tmp_path))
