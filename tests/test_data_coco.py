"""COCO: which class an image has, which pixels are its prior, and what is refused."""

import json

import numpy as np
import pytest
import torch

import dataset_layouts as layouts
from wherenot.data import DataError, load_dataset, read_coco

SQUARE = [[2, 2, 6, 2, 6, 6, 2, 6]]


def annotation(category, area, shape, crowd=0, image=1, **more):
    row = {"id": 7, "image_id": image, "category_id": category, "area": area, "segmentation": shape, "iscrowd": crowd}
    return row | more


def instances(root, *annotations, images=None, categories=("cat", "dog", "cow"), split="val2017"):
    """A COCO of one image of 8 x 10 (height x width)."""
    if images is None:
        images = [{"id": 1, "file_name": "a.png", "height": 8, "width": 10}]
    layouts.save(root / split / "a.png", np.zeros((8, 10, 3), dtype=np.uint8))
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 5 * (index + 1), "name": name} for index, name in enumerate(categories)],
    }
    layouts.write(root / "annotations" / f"instances_{split}.json", json.dumps(content))
    return root


def rle(rows, columns, size=(8, 10)):
    mask = np.zeros(size, dtype=bool)
    mask[rows, columns] = True
    return {"size": list(size), "counts": layouts.run_lengths(mask)}


def box(x0, y0, x1, y1):
    inside = torch.zeros(8, 10, dtype=torch.bool)
    inside[y0:y1, x0:x1] = True
    return inside


def test_the_class_is_the_one_that_covers_most_not_the_largest_instance(tmp_path):
    root = instances(
        tmp_path,
        annotation(5, 12, rle(slice(0, 3), slice(0, 4))),
        annotation(10, 8, rle(slice(4, 6), slice(0, 4))),
        annotation(10, 8, rle(slice(4, 6), slice(5, 9))),
        annotation(15, 80, rle(slice(0, 8), slice(0, 10)), crowd=1),
    )
    (sample,) = read_coco(root).samples
    assert (sample.id, sample.split, sample.label) == ("val2017/a.png", "test", 1)
    prior = sample.read_prior()
    assert prior.allowed.equal(box(0, 4, 4, 6) | box(5, 4, 9, 6))
    assert prior.ignore is None  # the crowd is of another class


def test_of_equal_areas_the_smaller_category_id_wins(tmp_path):
    root = instances(tmp_path, annotation(15, 4.0, SQUARE), annotation(10, 4, SQUARE))
    (sample,) = read_coco(root).samples
    assert sample.label == 1


def test_a_crowd_of_the_class_is_ignored_where_no_instance_lies(tmp_path):
    root = instances(tmp_path, annotation(5, 16, SQUARE), annotation(5, 40, rle(slice(0, 4), slice(0, 10)), crowd=1))
    prior = read_coco(root).samples[0].read_prior()
    assert prior.allowed.equal(box(2, 2, 6, 6))
    assert prior.ignore.equal(box(0, 0, 10, 4) & ~box(2, 2, 6, 6))


def test_compressed_and_plain_run_lengths_and_polygons_are_one(tmp_path):
    pytest.importorskip("pycocotools")
    plain = read_coco(layouts.make_coco(tmp_path / "a", rle="list"), ["thing 1"])
    packed = read_coco(layouts.make_coco(tmp_path / "b", rle="compressed"), ["thing 1"])
    assert len(plain) == 8  # two of three images hold a thing 1
    for one, other in zip(plain.samples, packed.samples, strict=True):
        assert one.id == other.id
        assert one.read_prior().allowed.equal(other.read_prior().allowed)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pycocotools 2.0.11 uses what numpy 2 deprecates
def test_polygons_agree_with_pycocotools_but_for_the_border(tmp_path):
    coco = pytest.importorskip("pycocotools.mask")
    random = np.random.default_rng(0)
    for _ in range(20):
        angles = np.sort(random.uniform(0, 2 * np.pi, 9))
        radius = random.uniform(10, 28, 9)
        points = np.stack([32 + radius * np.cos(angles), 32 + radius * np.sin(angles)], axis=1)
        polygon = points.ravel().tolist()
        theirs = torch.tensor(coco.decode(coco.merge(coco.frPyObjects([polygon], 64, 64)))) > 0
        root = instances(
            tmp_path,
            annotation(5, 9, [polygon]),
            images=[{"id": 1, "file_name": "b.png", "height": 64, "width": 64}],
        )
        layouts.save(root / "val2017" / "b.png", np.zeros((64, 64, 3), dtype=np.uint8))
        ours = read_coco(root).samples[0].read_prior().allowed
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.85
        shrunk = torch.nn.functional.avg_pool2d(theirs[None].float(), 3, 1, 1)[0]
        assert ours[shrunk == 1].all()
        assert not ours[shrunk == 0].any()


def test_selected_categories_are_the_only_classes(tmp_path):
    root = instances(
        tmp_path,
        annotation(15, 60, rle(slice(0, 6), slice(0, 10))),
        annotation(10, 4, SQUARE),
        annotation(5, 2, rle(0, slice(0, 2))),
    )
    data = read_coco(root, ["dog", "cat"])
    assert data.classes == ("cat", "dog")
    assert data.samples[0].label == 1
    assert data.samples[0].read_prior().allowed.equal(box(2, 2, 6, 6))
    assert load_dataset(f"coco:{root}#dog,cat").classes == data.classes
    with pytest.raises(DataError, match=r"no category 'bird' in .*; there are 3: cat, dog, cow"):
        load_dataset(f"coco:{root}#cat,bird")


def test_images_without_a_class_are_listed_but_no_error(tmp_path):
    images = [{"id": id, "file_name": f"{name}.png", "height": 8, "width": 10} for id, name in ((1, "a"), (2, "b"))]
    crowd = annotation(5, 10, rle(0, slice(0, 10)), crowd=1, image=2)
    root = instances(tmp_path, annotation(5, 16, SQUARE), crowd, images=images)
    data = read_coco(root)
    assert len(data) == 1
    (bad,) = data.rejected
    assert bad.reason == "instances_val2017.json: image 2: no object that is not a crowd, so no class"
    assert not bad.faulty
    assert read_coco(root, ["cat"]).rejected == ()  # what was not asked for is not missed
    with pytest.raises(DataError, match="holds no samples"):
        read_coco(instances(tmp_path))  # no annotations at all


def test_train_and_val_become_train_and_test_with_common_classes(tmp_path):
    root = layouts.make_coco(tmp_path, classes=2, images=1)
    data = read_coco(root)
    assert [(sample.id, sample.split) for sample in data.samples] == [
        ("train2017/000000000001.jpg", "train"),
        ("train2017/000000000101.jpg", "train"),
        ("val2017/000000000001.jpg", "test"),
        ("val2017/000000000101.jpg", "test"),
    ]
    (root / "images").mkdir()
    (root / "val2017").rename(root / "images" / "val2017")
    assert len(read_coco(root)) == 4
    file = root / "annotations" / "instances_val2017.json"
    assert len(read_coco(file)) == 2
    (root / "images" / "val2017").rename(root / "elsewhere")
    with pytest.raises(DataError, match="2 problems"):
        read_coco(file)
    assert len(read_coco(file, images=root / "elsewhere")) == 2


def test_corners_a_little_outside_are_moved_onto_the_border(tmp_path):
    root = instances(tmp_path, annotation(5, 9, [[-0.4, -1, 10.6, -1, 10.6, 4, -0.4, 4]]))
    assert read_coco(root).samples[0].read_prior().allowed.equal(box(0, 0, 10, 4))


FAULTS = {
    "leaves the image": annotation(5, 9, [[0, 0, 12, 0, 12, 4]]),
    "a polygon of 4 numbers": annotation(5, 9, [[0, 0, 1, 1]]),
    "a polygon that is not a list of numbers": annotation(5, 9, [[0, 0, "1", 0, 1, 4]]),
    "neither polygons": annotation(5, 9, None),
    "neither polygons [[x, y": annotation(5, 9, []),
    "an empty prior": annotation(5, 9, {"size": [8, 10], "counts": [80]}),
    "size is [10, 8], the image's is [8, 10]": annotation(5, 9, {"size": [10, 8], "counts": [0, 80]}),
    "add up to 8 x 10": annotation(5, 9, {"size": [8, 10], "counts": [0, 79]}),
    "category 6 is not listed": annotation(6, 9, SQUARE),
    "area is None": annotation(5, None, SQUARE),
    "area is -1": annotation(5, -1, SQUARE),
    "iscrowd is 2": annotation(5, 9, SQUARE, crowd=2),
    "1 annotations of image 3, which is not listed": annotation(5, 9, SQUARE, image=3),
}


@pytest.mark.parametrize(("reason", "fault"), FAULTS.items())
def test_bad_annotations_are_named_with_their_image(tmp_path, reason, fault):
    images = [{"id": id, "file_name": f"{name}.png", "height": 8, "width": 10} for id, name in ((1, "a"), (2, "b"))]
    root = instances(tmp_path, fault, annotation(5, 16, SQUARE, image=2), images=images)
    layouts.save(root / "val2017" / "b.png", np.zeros((8, 10, 3), dtype=np.uint8))
    with pytest.raises(DataError) as caught:
        read_coco(root)
    assert reason in str(caught.value)
    data = read_coco(root, on_bad="skip")
    assert [sample.id for sample in data.samples] == ["val2017/b.png"]
    assert sum(bad.faulty for bad in data.rejected) == 1


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ([{"id": 1, "file_name": "a.png", "height": 10, "width": 8}], r"are \(10, 8\), the image's are \(8, 10\)"),
        ([{"id": 1, "file_name": "a.png"}], r"height and width are \(None, None\)"),
        ([{"id": 1, "file_name": "../a.png", "height": 8, "width": 10}], "not a relative path"),
        ([{"id": 1, "height": 8, "width": 10}], "None is not a file name"),
        ([{"id": 1, "file_name": "a.png", "height": 8, "width": 10}] * 2, "occurs more than once"),
    ],
)
def test_bad_images_are_named(tmp_path, images, reason):
    with pytest.raises(DataError, match=reason):
        read_coco(instances(tmp_path, annotation(5, 16, SQUARE), images=images))


def test_files_that_are_no_instances(tmp_path):
    root = layouts.make_coco(tmp_path)
    file = root / "annotations" / "instances_val2017.json"
    whole = file.read_text()
    file.write_text(whole[:-30])
    with pytest.raises(DataError, match=r"instances_val2017.json is not JSON that can be read"):
        read_coco(root)
    file.write_text("[]")
    with pytest.raises(DataError, match="has no list of objects 'images'"):
        read_coco(root)
    file.write_text(json.dumps(json.loads(whole) | {"categories": [{"id": 1, "name": "another"}]}))
    with pytest.raises(DataError, match="another file's id"):
        read_coco(root)
    file.write_text(json.dumps(json.loads(whole) | {"categories": [{"id": 99, "name": "thing 1"}]}))
    with pytest.raises(DataError, match="two categories share a name"):
        read_coco(root)
