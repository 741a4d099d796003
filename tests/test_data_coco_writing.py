"""Writing COCO: that our reader gives back what was written, that the tools of others can, and what cannot be said."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from photo_folder import box, make, varied
from test_data_writing import assert_same, in_order
from wherenot.cli import main
from wherenot.data import Dataset, ImageTextSample, decoy, read_coco, sayable_in_coco, write_coco, write_folder
from wherenot.data.coco_writing import instances
from wherenot.priors import Prior
from wherenot.rasters import decode_rle, encode_rle


def odd_priors():
    """A box, two parts of which one is no box, and a part with ignored pixels beside it."""
    corner = box(0, 0, 2, 2)
    parts = box(0, 0, 1, 3) | box(0, 2, 3, 3) | box(5, 0, 6, 1)
    return [Prior(corner), Prior(parts), Prior(box(0, 0, 3, 3), ignore=box(4, 1, 6, 4))]


def zoo():
    samples = [
        make(f"{split}/{number:02d}.png", split, number % 2, prior, ("odd", None)[number % 2], seed=number)
        for split in ("train", "validation", "test", "test_train-like")
        for number, prior in enumerate(odd_priors())
    ]
    return Dataset("coco", ("cat", "ä dog", "never seen"), tuple(samples))


def test_writing_and_reading_are_inverse(tmp_path):
    write_coco(zoo(), tmp_path / "one")
    again = read_coco(tmp_path / "one")
    assert_same(in_order(zoo()), in_order(again))
    write_coco(again, tmp_path / "two")
    assert_same(again, read_coco(tmp_path / "two"))


def test_masks_of_digits_survive(tmp_path):
    data = replace(decoy(num_train=12, num_validation=4, num_test=4, prior="half"), name="coco")
    write_coco(data, tmp_path)
    assert_same(in_order(data), in_order(read_coco(tmp_path)))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools' own code
def test_pycocotools_sees_the_same_pixels_and_boxes(tmp_path):
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    write_coco(zoo(), tmp_path)
    coco = COCO(tmp_path / "annotations" / "instances_train.json")
    for sample in zoo().split("train").samples:
        [number] = [id for id, row in coco.imgs.items() if row["file_name"] == sample.id.partition("/")[2]]
        rows = coco.loadAnns(coco.getAnnIds(number))
        masks = {row["id"]: coco.annToMask(row) > 0 for row in rows}
        allowed = np.any([masks[row["id"]] for row in rows if not row["iscrowd"]], axis=0)
        assert torch.from_numpy(allowed).equal(sample.read_prior().allowed)
        for row in rows:
            ys, xs = np.nonzero(masks[row["id"]])
            x, y, width, height = row["bbox"]
            assert (x, y, x + width, y + height) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            assert row["area"] == masks[row["id"]].sum()
            assert coco.cats[row["category_id"]]["name"] == zoo().classes[sample.label]


def test_parts_that_touch_at_a_corner_are_one_and_the_largest_comes_first():
    inside = torch.tensor([[1, 0, 0, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 1, 1]]) > 0
    one, two = instances(inside, category=7)
    assert (one["bbox"], one["area"], one["segmentation"]) == ([3, 1, 2, 2], 4, [[3, 1, 5, 1, 5, 3, 3, 3]])
    assert (two["bbox"], two["area"], two["category_id"]) == ([0, 0, 2, 2], 2, 7)
    assert decode_rle(two["segmentation"])[:, :2].equal(torch.eye(3, 2) > 0)
    assert list(instances(torch.zeros(2, 2) > 0, category=1)) == []


def test_run_lengths_are_the_inverse_of_reading_them():
    generator = torch.Generator().manual_seed(0)
    for share in (0.0, 0.3, 0.8, 1.0):
        inside = torch.rand(5, 7, generator=generator) < share
        assert decode_rle(json.loads(json.dumps(encode_rle(inside)))).equal(inside)


def test_pixels_both_allowed_and_ignored_become_ignored(tmp_path):
    prior = Prior(box(0, 0, 3, 3), ignore=box(2, 0, 6, 4))
    write_coco(Dataset("d", ("cat",), (make("train/a.png", "train", 0, prior),)), tmp_path)
    [sample] = read_coco(tmp_path).samples
    assert sample.read_prior().allowed.equal(box(0, 0, 2, 3))
    assert sample.read_prior().ignore.equal(prior.ignore)


def test_what_coco_cannot_say_is_refused_or_left_out_by_name(tmp_path):
    data = varied()
    with pytest.raises(ValueError, match=r"write_coco: 'train/00\.png': no prior, and so no object"):
        write_coco(data, tmp_path / "no")
    left = sayable_in_coco(data)
    assert [sample.id for sample in left.split("train").samples] == ["train/01.png"]
    assert [each.reason for each in left.rejected[:2]] == [
        "train/00.png: no prior, and so no object; COCO cannot say its class",
        "train/02.png: its prior forbids an area, which COCO cannot say",
    ]
    asked = ImageTextSample(**vars(data.samples[1]), prompt="Who is it?")
    with pytest.raises(ValueError, match="it has a prompt; write_image_text can hold it"):
        write_coco(Dataset("d", data.classes, (asked,)), tmp_path / "asked")
    wrong = make("train/a.png", "train", 0, Prior.from_boxes([[0, 0, 1, 1]], 5, 5))
    with pytest.raises(ValueError, match=r"a prior of .* and an image of"):
        write_coco(Dataset("d", ("cat",), (wrong,)), tmp_path / "wrong")


def test_the_command_names_what_it_leaves_out(tmp_path, capsys):
    write_folder(varied(), tmp_path / "native")
    target = str(tmp_path / "coco")
    assert main(["data", "convert", str(tmp_path / "native"), target, "--to", "coco"]) == 0
    said = capsys.readouterr().out
    assert "left out: train/00.png: no prior" in said
    assert "4 images, 12 left out" in said
    assert len(read_coco(target)) == 4
