import json

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from toys import seeded
from wherenot import Normalization, Prior
from wherenot.models import Preprocess, build_classifier, load_classifier, read_photograph

CAT = Image.fromarray(skimage.data.cat())


@pytest.fixture(scope="module")
def tiny_vit(tmp_path_factory):
    """A ViT of the real architecture, from a configuration, saved as a user would have it."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    folder = tmp_path_factory.mktemp("vit")
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        id2label={0: "cat", 1: "dog", 2: "coffee mug"}, label2id={"cat": 0, "dog": 1, "coffee mug": 2},
    )  # fmt: skip
    seeded(lambda: ViTForImageClassification(config)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_transformers_models_load_from_a_path(tiny_vit):
    classifier = load_classifier(str(tiny_vit))
    assert classifier.classes == ("cat", "dog", "coffee mug")
    assert not classifier.training
    assert classifier(classifier.preprocess(CAT)[None]).shape == (1, 3)


def processors():
    from transformers import CLIPImageProcessor, ConvNextImageProcessor, ViTImageProcessor

    return {
        "direct": ViTImageProcessor(size={"height": 48, "width": 40}),
        "crop": CLIPImageProcessor(size={"shortest_edge": 48}, crop_size={"height": 40, "width": 40}),
        "crop_pct": ConvNextImageProcessor(size={"shortest_edge": 56}, crop_pct=0.875),
        "warp": ConvNextImageProcessor(size={"shortest_edge": 384}, crop_pct=0.875),
    }


@pytest.mark.parametrize("kind", ["direct", "crop", "crop_pct", "warp"])
@pytest.mark.parametrize("size", [(451, 300), (300, 451), (64, 64), (101, 77)])
def test_preprocessing_equals_the_processor_s(kind, size):
    processor = processors()[kind]
    image = CAT.resize(size)
    theirs = processor(image, return_tensors="pt")["pixel_values"][0]
    ours = Preprocess.from_processor(processor.to_dict())(image)
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_priors_follow_the_images_geometry():
    marked = np.zeros((300, 451, 3), np.uint8)
    marked[100:200, 150:300] = 255
    prior = Prior.from_boxes([[150, 100, 300, 200]], 300, 451)
    for preprocess in (Preprocess(height=64, width=64), Preprocess(height=64, width=64, short_side=80)):
        bright = preprocess(Image.fromarray(marked)).mean(0) > 0.5
        allowed = preprocess.prior(prior).allowed
        assert (bright != allowed).float().mean() < 0.03


def test_a_prior_outside_the_crop_is_none():
    preprocess = Preprocess(height=32, width=32, short_side=32)
    corner = Prior.from_boxes([[0, 0, 20, 20]], 64, 256)
    assert preprocess.prior(corner) is None
    assert preprocess.prior(Prior.from_boxes([[120, 20, 140, 40]], 64, 256)) is not None


def test_a_forbidden_area_outside_the_crop_leaves_the_rest_of_the_prior():
    preprocess = Preprocess(height=32, width=32, short_side=32)
    prior = Prior.from_boxes([[120, 20, 140, 40]], 64, 256)
    outside = torch.zeros(64, 256, dtype=torch.bool)
    outside[:10, :10] = True
    assert preprocess.prior(prior.with_forbidden(outside)).forbidden is None


def test_unreadable_processors_and_sizes_are_named():
    with pytest.raises(ValueError, match="MyProcessor"):
        Preprocess.from_processor({"image_processor_type": "MyProcessor", "size": {"longest_edge": 5}})
    with pytest.raises(ValueError, match="nothing would be there to crop"):
        Preprocess(height=64, width=64, short_side=32)


@pytest.mark.parametrize("architecture", ["small-cnn", "vit"])
def test_save_and_load(tmp_path, tiny_vit, architecture):
    spec = str(tiny_vit) if architecture == "vit" else architecture
    built = build_classifier(spec, classes=["no", "yes"], seed=3).eval()
    built.save(tmp_path / "run" / "model")
    for path in (tmp_path / "run", tmp_path / "run" / "model"):
        loaded = load_classifier(str(path))
        images = loaded.preprocess(CAT)[None]
        assert torch.equal(loaded(images), built(images))
        assert loaded.classes == ("no", "yes")
        assert loaded.preprocess == built.preprocess
    assert not list((tmp_path / "run" / "model").glob("*.bin"))
    card = json.loads((tmp_path / "run" / "model" / "classifier.json").read_text())
    assert card["preprocess"]["height"] == built.preprocess.height


def test_building_is_seeded_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    first, again, other = (build_classifier("small-cnn", classes=["a", "b"], seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    weights = [model.network.head[1].weight for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_efficientnet_lite0_knows_its_photographs():
    classifier = load_classifier("efficientnet-lite0")
    for photograph, expected in ((skimage.data.coffee(), "espresso"), (skimage.data.cat(), "Egyptian Mau")):
        images = classifier.preprocess(Image.fromarray(photograph))[None]
        probabilities = classifier(images).softmax(1)[0]
        assert classifier.classes[probabilities.argmax()] == expected
        assert probabilities.max() > 0.5
    assert classifier.normalization == Normalization((127 / 255,) * 3, (128 / 255,) * 3)


def test_a_fresh_head_for_other_classes():
    classifier = build_classifier("efficientnet-lite0", classes=["cat", "dog"])
    assert classifier(torch.zeros(1, 3, 224, 224)).shape == (1, 2)


def test_classes_by_name_or_number(tiny_vit):
    classifier = load_classifier(str(tiny_vit))
    assert classifier.class_index("Coffee Mug") == 2
    assert classifier.class_index("1") == 1
    with pytest.raises(ValueError, match="no class 'coffe' among its 3; did you mean 'coffee mug'"):
        classifier.class_index("coffe")
    with pytest.raises(ValueError, match="'3'"):
        classifier.class_index("3")


def test_unknown_models_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no-such-folder.*no run folder, no known name \(small-cnn"):
        load_classifier(str(tmp_path / "no-such-folder"))
    with pytest.raises(ValueError, match="no classes of its own"):
        load_classifier("small-cnn")


def test_unreadable_photographs_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.png does not exist"):
        read_photograph(tmp_path / "none.png")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    with pytest.raises(ValueError, match=r"broken\.png: cannot be read as an image"):
        read_photograph(broken)


def test_photographs_are_turned_as_their_exif_says(tmp_path):
    image = Image.new("RGB", (6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_photograph(tmp_path / "turned.jpg").size == (4, 6)


def test_an_input_size_of_one_s_own(tmp_path):
    built = build_classifier("efficientnet-lite0@96", classes=["cat", "dog"]).eval()
    images = built.preprocess(CAT)[None]
    assert images.shape == (1, 3, 96, 96)
    assert built.architecture == "efficientnet-lite0"
    assert built.preprocess.normalization == load_classifier("efficientnet-lite0").normalization
    built.save(tmp_path / "run@7")  # a folder's name is no size
    loaded = load_classifier(str(tmp_path / "run@7"))
    assert loaded.preprocess == built.preprocess
    assert torch.equal(loaded(images), built(images))


def test_an_input_size_that_cannot_be_had_is_refused(tiny_vit):
    for spec in ("small-cnn@96", f"{tiny_vit}@96", "google/vit-base-patch16-224@96"):
        with pytest.raises(ValueError, match=r"leave out '@96'.*efficientnet-lite0"):
            build_classifier(spec, classes=["a", "b"])
    with pytest.raises(ValueError, match="at least 32"):
        load_classifier("efficientnet-lite0@16")
