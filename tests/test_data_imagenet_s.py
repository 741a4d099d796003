"""ImageNet-S: ids in masks, class lists, and the authors' way of reading it."""

import numpy as np
import pytest
import torch
from PIL import Image

import dataset_layouts as layouts
from golden_cases import GOLDEN
from wherenot.data import DataError, read_imagenet_s
from wherenot.data.imagenet_s import segment_ids

G20 = GOLDEN["G20_imagenet_s"]


def save_ids(root, ids, folder="train-semi", wnid=0, name="a"):
    """One image and its mask of the given ids, one row."""
    ids = np.atleast_2d(ids)
    image = root / folder / layouts.WNIDS[wnid] / f"{name}.JPEG"
    layouts.save(image, np.zeros((*ids.shape, 3), dtype=np.uint8))
    layouts.save(root / f"{folder}-segmentation" / layouts.WNIDS[wnid] / f"{name}.png", layouts.rgb_ids(ids))


def listed(root, variant=919, names=False):
    layouts.write(root / f"ImageNetS_categories_im{variant}.txt", "\n".join(layouts.WNIDS[:variant]))
    if names:
        lines = [f"{wnid} {'crane' if index < 2 else f'thing {index}'}" for index, wnid in enumerate(layouts.WNIDS)]
        layouts.write(root / "LOC_synset_mapping.txt", "\n".join(lines))
    return root


def test_golden_ids_and_priors(tmp_path):
    assert [red + 256 * green for red, green in G20["rgb"]] == G20["ids"]  # the case itself
    root = listed(tmp_path, names=True)
    save_ids(root, G20["ids"])
    mask = root / "train-semi-segmentation" / layouts.WNIDS[0] / "a.png"
    assert segment_ids(mask)[0].tolist() == G20["ids"]
    with Image.open(mask) as image:
        assert np.asarray(image.convert("L"))[0].tolist() == G20["pil_L"]
    (sample,) = read_imagenet_s(root, 919).samples
    prior = sample.read_prior()
    assert prior.allowed[0].tolist() == G20["correct_prior_for_class_1"]
    assert prior.ignore[0].tolist() == G20["ignore"]
    (sample,) = read_imagenet_s(root, 919, legacy=True).samples
    prior = sample.read_prior()
    assert prior.allowed[0].tolist() == G20["official_prior"]
    assert prior.ignore is None


def test_class_ids_number_the_sorted_list_whatever_its_order(tmp_path):
    root = layouts.make_imagenet_s(tmp_path, classes=3, images=1, names=False)
    data = read_imagenet_s(root, 50)
    assert data.classes == tuple(sorted(layouts.WNIDS[:50]))
    assert [(s.id.split("/")[1], s.label) for s in data.split("train").samples] == [
        (layouts.WNIDS[label], label) for label in range(3)
    ]


def test_the_folder_around_the_variant_and_lists_beside_it(tmp_path):
    root = layouts.make_imagenet_s(tmp_path, images=1)
    for file in root.glob("*.txt"):
        file.rename(tmp_path / file.name)
    data = read_imagenet_s(tmp_path, 50)
    assert len(data) == 9
    assert data.classes[2] == "thing 2"
    assert data.samples[0].id.startswith("train-semi/n")


def test_names_that_occur_twice_carry_their_wnid_and_legacy_ones_are_one_class(tmp_path):
    root = layouts.make_imagenet_s(tmp_path)
    data = read_imagenet_s(root, 50)
    assert data.classes[:3] == (f"crane ({layouts.WNIDS[0]})", f"crane ({layouts.WNIDS[1]})", "thing 2")
    legacy = read_imagenet_s(root, 50, legacy=True)
    assert len(legacy.classes) == 49
    assert legacy.classes == tuple(sorted({"crane", *(f"thing_{index}" for index in range(2, 50))}))
    named = {legacy.classes[sample.label] for sample in legacy.samples}
    assert named == {"crane", "thing_2"}


def test_legacy_class_one_has_no_prior_where_nothing_else_is_marked(tmp_path):
    root = listed(tmp_path, names=True)
    save_ids(root, [0, 1, 1])
    save_ids(root, [0, 2, 1000], wnid=1)
    data = read_imagenet_s(root, 919, legacy=True)
    assert data.samples[0].read_prior() is None
    assert data.samples[1].read_prior().allowed[0].tolist() == [False, True, True]


def test_merged_classes_count_as_the_one_they_went_into(tmp_path):
    wnids = [*layouts.WNIDS[:918], "n04355933"]
    layouts.write(tmp_path / "ImageNetS_categories_im919.txt", "\n".join(wnids))
    pixels = np.zeros((1, 2, 3), dtype=np.uint8)
    layouts.save(tmp_path / "validation" / "n04356056" / "a.JPEG", pixels)
    layouts.save(tmp_path / "validation-segmentation" / "n04356056" / "a.png", layouts.rgb_ids([[0, 919]]))
    data = read_imagenet_s(tmp_path, 919)
    assert data.classes[data.samples[0].label] == "n04355933"
    assert data.samples[0].read_prior().allowed.equal(torch.tensor([[False, True]]))


@pytest.mark.parametrize("folders", [50, 49, 51])
def test_without_a_class_list_all_folders_must_be_there(tmp_path, folders):
    for wnid in range(folders):
        save_ids(tmp_path, [wnid + 1, 0], wnid=wnid)
    if folders == 50:
        assert read_imagenet_s(tmp_path, 50).classes == tuple(layouts.WNIDS[:50])
    else:
        with pytest.raises(DataError, match=f"of which there are {folders}, not 50. .*put ImageNetS_categories_im50"):
            read_imagenet_s(tmp_path, 50)


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ([0, 51, 1], "id 51 is no class of ImageNet-S50; is the mask of another variant"),
        ([0, 999, 1], "id 999 is no class"),
        ([0, 2, 1000], r"no pixel of the image's class \(id 1\), only of \[2\]"),
        ([0, 0, 0], r"no pixel of the image's class \(id 1\), only of \[\]"),
    ],
)
def test_wrong_ids_are_named(tmp_path, ids, reason):
    save_ids(listed(tmp_path, 50), ids)
    with pytest.raises(DataError, match=reason):
        read_imagenet_s(tmp_path, 50)


def test_broken_masks_are_named_and_counted(tmp_path):
    root = layouts.make_imagenet_s(tmp_path, classes=3, images=2)
    masks = sorted((root / "train-semi-segmentation").rglob("*.png"))
    masks[0].unlink()
    masks[1].write_bytes(masks[1].read_bytes()[:60])
    Image.new("RGB", (9, 9)).save(masks[2])
    Image.new("P", (64, 64)).save(masks[3])
    Image.new("RGB", (64, 64), (2, 0, 7)).save(masks[4])
    masks[5].rename(masks[5].with_name("other.png"))
    with pytest.raises(DataError, match="7 problems"):
        read_imagenet_s(root, 50)
    data = read_imagenet_s(root, 50, on_bad="skip")
    assert data.splits == ("test", "test_no_masks")
    assert len(data) == 12
    reasons = [bad.reason for bad in data.rejected]
    assert len(reasons) == 7
    for reason, expected in zip(
        reasons,
        [
            "no such file",
            "not a mask that can be read",
            "size (9, 9), the image (64, 64)",
            "a PNG of mode P; an ImageNet-S mask is a PNG in RGB",
            "blue is not zero",
            "no such file",
            "other.png: a mask without its image",
        ],
        strict=True,
    ):
        assert expected in reason


def test_an_unknown_folder_a_wrong_list_and_missing_names(tmp_path):
    root = layouts.make_imagenet_s(tmp_path, images=1)
    layouts.save(root / "train-semi" / "cat" / "a.JPEG", np.zeros((4, 4, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="'cat' is none of the 50 classes"):
        read_imagenet_s(root, 50)
    (root / "LOC_synset_mapping.txt").write_text(f"{layouts.WNIDS[0]} tench")
    with pytest.raises(DataError, match=f"has no name for 49 classes, such as {layouts.WNIDS[1]}"):
        read_imagenet_s(root, 50)
    (root / "LOC_synset_mapping.txt").unlink()
    with pytest.raises(DataError, match="the legacy classes are names; put LOC_synset_mapping"):
        read_imagenet_s(root, 50, legacy=True)
    (root / "ImageNetS_categories_im50.txt").write_text("tench\n" * 50)
    with pytest.raises(DataError, match="'tench' is no wnid"):
        read_imagenet_s(root, 50)
