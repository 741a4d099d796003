"""Pascal VOC: boxes and masks, which class an image has, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

import dataset_layouts as layouts
from wherenot.data import DataError, read_voc


def one(root, objects=(), mask=None, xml=None, size=8):
    """A year of one image of 8 x 8 in the list `train`."""
    layouts.save(root / "JPEGImages" / "a.jpg", np.zeros((8, 8, 3), dtype=np.uint8))
    layouts.write(root / "Annotations" / "a.xml", xml or layouts.voc_xml(objects, size))
    for kind in ("Main", "Segmentation"):
        layouts.write(root / "ImageSets" / kind / "train.txt", "a\n")
    if mask is not None:
        layouts.save(root / "SegmentationClass" / "a.png", np.asarray(mask, dtype=np.uint8))
    return root


def box(x0, y0, x1, y1):
    return torch.tensor(layouts.inside((x0, y0, x1, y1), 8))


def test_boxes_count_from_one_and_include_both_ends(tmp_path):
    xml = layouts.voc_xml([(0, (0, 0, 1, 1), 0)], 8)
    assert "<xmin>1</xmin><ymin>1</ymin><xmax>1</xmax><ymax>1</ymax>" in xml
    (sample,) = read_voc(one(tmp_path, xml=xml)).samples
    assert sample.read_prior().allowed.equal(box(0, 0, 1, 1))
    (sample,) = read_voc(one(tmp_path, [(0, (0, 0, 8, 8), 0)])).samples
    assert sample.read_prior().allowed.all()


def test_fractions_of_a_pixel_widen_to_whole_ones(tmp_path):
    xml = layouts.voc_xml([(0, (0, 0, 1, 1), 0)], 8).replace("<xmax>1<", "<xmax>2.3<")
    (sample,) = read_voc(one(tmp_path, xml=xml)).samples
    assert sample.read_prior().allowed.equal(box(0, 0, 3, 1))


def test_the_class_has_the_largest_area_without_the_difficult(tmp_path):
    objects = [(2, (0, 0, 4, 4), 0), (1, (0, 0, 3, 3), 0), (1, (4, 0, 7, 3), 0), (3, (0, 0, 8, 8), 1)]
    data = read_voc(one(tmp_path, objects))
    assert data.classes == ("bicycle", "bird", "boat")
    (sample,) = data.samples
    assert data.classes[sample.label] == "bicycle"
    assert sample.read_prior().allowed.equal(box(0, 0, 3, 3) | box(4, 0, 7, 3))
    assert sample.read_prior().ignore is None


def test_of_equal_areas_the_first_in_the_alphabet_wins(tmp_path):
    data = read_voc(one(tmp_path, [(3, (0, 0, 4, 4), 0), (1, (4, 4, 8, 8), 0)]))
    assert data.classes[data.samples[0].label] == "bicycle"


def test_difficult_objects_of_the_class_are_ignored(tmp_path):
    data = read_voc(one(tmp_path, [(1, (0, 0, 4, 4), 0), (1, (2, 2, 8, 8), 1)]))
    prior = data.samples[0].read_prior()
    assert prior.allowed.equal(box(0, 0, 4, 4))
    assert prior.ignore.equal(box(2, 2, 8, 8) & ~box(0, 0, 4, 4))


def test_masks_by_palette_index_with_the_void_ignored(tmp_path):
    mask = np.zeros((8, 8))
    mask[:2], mask[2:3], mask[3:6, :4] = 3, 255, 7
    data = read_voc(one(tmp_path, mask=mask), "masks")
    assert len(data.classes) == 20
    (sample,) = data.samples
    assert data.classes[sample.label] == "bird"
    assert sample.read_prior().allowed.equal(box(0, 0, 8, 2))
    assert sample.read_prior().ignore.equal(box(0, 2, 8, 3))


@pytest.mark.parametrize(
    ("lists", "splits"),
    [
        (("train", "val"), {"train": "0", "test": "1"}),
        (("train", "val", "test"), {"train": "0", "validation": "1", "test": "2"}),
    ],
)
def test_val_is_the_test_split_only_where_there_is_no_other(tmp_path, lists, splits):
    root = layouts.make_voc(tmp_path, lists=lists)
    for prior in ("boxes", "masks"):
        data = read_voc(root, prior)
        assert set(data.splits) == set(splits)
        assert all(sample.id[5] == splits[sample.split] for sample in data.samples)


def test_the_folder_around_one_year_and_around_two(tmp_path):
    root = layouts.make_voc(tmp_path)
    assert len(read_voc(tmp_path / "VOCdevkit")) == 12
    (tmp_path / "VOCdevkit" / "VOC2007" / "JPEGImages").mkdir(parents=True)
    with pytest.raises(DataError, match="several years: VOC2007, VOC2012; pass the folder of one year"):
        read_voc(tmp_path / "VOCdevkit")
    (root / "ImageSets" / "Main").rename(root / "ImageSets" / "Other")
    with pytest.raises(DataError, match=r"Main holds none of train.txt, val.txt and test.txt"):
        read_voc(root)


def test_images_without_a_class_are_listed_but_no_error(tmp_path):
    root = layouts.make_voc(tmp_path, classes=2)
    layouts.write(root / "Annotations" / "2007_000000.xml", layouts.voc_xml([(0, (0, 0, 4, 4), 1)]))
    layouts.write(root / "Annotations" / "2007_000001.xml", layouts.voc_xml([]))
    data = read_voc(root)
    assert len(data) == 6
    assert [(bad.id, bad.faulty) for bad in data.rejected] == [("2007_000000.jpg", False), ("2007_000001.jpg", False)]


BOMB = '<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><annotation>&b;</annotation>'
LEAK = (
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object><name>&x;</name></object></annotation>'
)
GOOD = layouts.voc_xml([(0, (0, 0, 4, 4), 0)], 8)

XML_FAULTS = {
    "declares a document type": BOMB,
    "the XML declares a document type; remove": LEAK,
    "not XML that can be read": GOOD[:-20],
    "no element found": " ",
    "name or box of an object cannot be read": GOOD.replace("<xmin>1</xmin>", ""),
    "could not convert string to float: 'one'": GOOD.replace("<xmin>1<", "<xmin>one<"),
    "an object without a name": GOOD.replace("<name>aeroplane</name>", ""),
    "size, name or box": GOOD.replace("<width>8<", "<width>wide<"),
    "are (8, 9) in the XML, the image's are (8, 8)": GOOD.replace("<width>8<", "<width>9<"),
    "has no area or leaves the image": GOOD.replace("<xmax>4<", "<xmax>9<"),
    "box [-1.0, 0.0, 4.0, 4.0]": GOOD.replace("<xmin>1<", "<xmin>0<"),
}


@pytest.mark.parametrize(("reason", "xml"), XML_FAULTS.items())
def test_bad_xml_is_named(tmp_path, reason, xml):
    with pytest.raises(DataError) as caught:
        read_voc(one(tmp_path, xml=xml))
    assert "1 problem:\n  a" in str(caught.value)
    assert reason in str(caught.value)


def test_a_document_type_is_refused_in_any_encoding(tmp_path):
    root = one(tmp_path)
    (root / "Annotations" / "a.xml").write_bytes(BOMB.encode("utf-16"))
    with pytest.raises(DataError, match="declares a document type"):
        read_voc(root)


def test_bad_masks_missing_files_and_an_image_in_two_lists(tmp_path):
    root = layouts.make_voc(tmp_path, classes=2, images=4)
    masks = sorted((root / "SegmentationClass").glob("*.png"))
    masks[0].unlink()
    masks[1].write_bytes(masks[1].read_bytes()[:-60])
    Image.new("L", (64, 64), 21).save(masks[2])
    Image.new("L", (9, 9), 1).save(masks[3])
    Image.new("RGB", (64, 64)).save(masks[4])
    (root / "JPEGImages" / f"{masks[5].stem}.jpg").unlink()
    layouts.write(root / "ImageSets/Segmentation/train.txt", "\n".join(mask.stem for mask in masks[:9]))
    expected = [
        "no such file",
        "not a mask that can be read",
        "value 21 is none of VOC's 20 classes",
        "size (9, 9), the image (64, 64)",
        "a PNG of mode RGB",
        "no such file",
        "in the lists of train and test",
    ]
    data = read_voc(root, "masks", on_bad="skip")
    assert len(data) == 16 - len(expected)
    for bad, mask, reason in zip(data.rejected, [*masks[:6], masks[8]], expected, strict=True):
        assert bad.id == f"{mask.stem}.jpg"
        assert bad.faulty
        assert reason in bad.reason
    (root / "Annotations" / f"{masks[7].stem}.xml").unlink()
    with pytest.raises(DataError, match=rf"{masks[7].stem}.xml: no such file"):
        read_voc(root)
