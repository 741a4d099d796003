"""Zero-shot detectors and segmenters: tiny ones of the real classes, against what their outputs mean."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tiny_finders import tiny_clipseg, tiny_grounding_dino, tiny_owl, tiny_sam2
from wherenot.models import detectors, segmenters
from wherenot.models.detectors import load_detector
from wherenot.models.segmenters import is_clipseg, load_clipseg, load_sam2

SIZES = ((60, 40), (30, 50))  # width and height


def photographs():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (high, wide, 3), dtype=np.uint8)) for wide, high in SIZES]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    builders = {
        "owlv2": tiny_owl, "owlvit": lambda folder: tiny_owl(folder, version=1), "dino": tiny_grounding_dino,
        "mm-dino": lambda folder: tiny_grounding_dino(folder, "MM"),
        "clipseg": tiny_clipseg, "sam2": tiny_sam2,
    }  # fmt: skip
    made = {}

    def get(name):
        if name not in made:
            made[name] = str(builders[name](tmp_path_factory.mktemp(name)))
        return made[name]

    return get


def squares(boxes, size):
    """From middle, width and height in shares of a size to corners within it."""
    x, y, wide, high = (boxes * torch.tensor(size * 2)).unbind(-1)
    corners = torch.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], -1)
    return corners


@pytest.mark.parametrize("name", ["owlv2", "owlvit", "dino", "mm-dino"])
def test_boxes_are_the_models_in_pixels_of_each_image(models, name):
    """From raw outputs: OWLv2's are shares of the square that the image was padded to, the others' of the image."""
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    image = photographs()[0]
    processor = AutoProcessor.from_pretrained(models(name))
    model = AutoModelForZeroShotObjectDetection.from_pretrained(models(name)).eval()
    text = "a cat." if "dino" in name else ["a cat"]
    inputs = processor(images=image, text=text, return_tensors="pt")
    with torch.no_grad():
        raw = model(**inputs)
    scores = raw.logits[0].sigmoid().max(-1).values
    side = float(max(SIZES[0]))
    corners = squares(raw.pred_boxes[0], (side, side) if name == "owlv2" else tuple(map(float, SIZES[0])))
    threshold = float(scores.median())

    [found] = load_detector(models(name))([image], ["A cat" if "dino" in name else "a cat"], threshold)
    kept = [at for at in scores.argsort(descending=True, stable=True).tolist() if scores[at] > threshold]
    limits = torch.tensor([*SIZES[0], *SIZES[0]], dtype=torch.float32)
    expected = torch.minimum(corners[kept].clamp(min=0), limits)
    solid = (expected[:, 2] > expected[:, 0]) & (expected[:, 3] > expected[:, 1])
    assert torch.allclose(torch.tensor(found.boxes), expected[solid], atol=1e-3)
    assert torch.allclose(torch.tensor(found.scores), scores[kept][solid], atol=1e-5)
    assert len(found.boxes) > 0


@pytest.mark.parametrize("name", ["owlv2", "owlvit", "dino", "mm-dino"])
def test_each_image_of_a_batch_is_asked_for_its_own_text(models, name):
    detect = load_detector(models(name))
    images, texts = photographs(), ["a photo of a cat", "dog"]
    together = detect(images, texts, 0.0)
    apart = [detect([image], [text], 0.0)[0] for image, text in zip(images, texts, strict=True)]
    for one, other in zip(together, apart, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
    swapped = detect(images, texts[::-1], 0.0)
    assert any(one.scores != other.scores for one, other in zip(together, swapped, strict=True))


def test_families_bring_their_prompt_and_threshold(models):
    owl, dino = load_detector(models("owlv2")), load_detector(models("dino"))
    assert (owl.prompt, owl.threshold) == ("a photo of a {}", 0.1)
    assert (dino.prompt, dino.threshold) == ("{}", 0.25)


def test_text_that_is_too_long_is_refused_by_name(models):
    for name, text in (("owlv2", "a very long name of a class"), ("dino", "cat " * 40)):
        with pytest.raises(ValueError, match="tokens, the model reads"):
            load_detector(models(name))(photographs()[:1], [text], 0.5)
    with pytest.raises(ValueError, match="more than 24 tokens"):
        load_clipseg(models("clipseg"))(photographs()[:1], ["an endless description of it"])


def test_clipseg_gives_each_pixel_its_probability(models):
    from transformers import AutoProcessor, CLIPSegForImageSegmentation

    images, texts = photographs(), ["a photo of a cat", "dog"]
    maps = load_clipseg(models("clipseg"))(images, texts)
    model = CLIPSegForImageSegmentation.from_pretrained(models("clipseg")).eval()
    inputs = AutoProcessor.from_pretrained(models("clipseg"))(
        text=texts, images=images, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        logits = model(**inputs).logits
    for each, theirs, (wide, high) in zip(maps, logits, SIZES, strict=True):
        expected = F.interpolate(theirs.sigmoid()[None, None], (high, wide), mode="bilinear")[0, 0]
        assert torch.allclose(each, expected, atol=1e-5)
        assert each.std() > 0.01
    [alone] = load_clipseg(models("clipseg"))(images[1:], texts[1:])  # one image has no batch axis in the outputs
    assert torch.allclose(alone, maps[1], atol=1e-5)


def test_sam2_cuts_each_box_of_each_image(models):
    from transformers import Sam2Model

    images = photographs()
    boxes = [[(2.0, 3.0, 20.0, 30.0), (5.0, 5.0, 50.0, 39.0)], []]
    cut = load_sam2(models("sam2"))([*images, images[0]], [*boxes, [(2.0, 3.0, 20.0, 30.0)]])
    assert [len(each) for each in cut] == [2, 0, 1]
    model = Sam2Model.from_pretrained(models("sam2")).eval()
    squeezed = np.array(images[0].resize((64, 64), Image.Resampling.BILINEAR)) / 255
    pixels = torch.tensor((squeezed - 0.5) / 0.25, dtype=torch.float32).permute(2, 0, 1)[None]
    scaled = torch.tensor(boxes[0]) * torch.tensor([64 / 60, 64 / 40] * 2)
    with torch.no_grad():
        output = model(pixel_values=pixels, input_boxes=scaled[None], multimask_output=False)
    drawn = F.interpolate(output.pred_masks[0], (40, 60), mode="bilinear")
    for each, theirs, score in zip(cut[0], drawn[:, 0], output.iou_scores[0, :, 0], strict=True):
        assert torch.equal(each.inside, theirs > 0)
        assert each.score == pytest.approx(float(score.clamp(0, 1)))
    assert torch.equal(cut[2][0].inside, cut[0][0].inside)
    assert 0 < cut[0][0].inside.sum() < 2400


def test_sam2_without_settings_takes_its_own_mean(models, tmp_path):
    import shutil

    shutil.copytree(models("sam2"), tmp_path / "bare")
    (tmp_path / "bare/preprocessor_config.json").unlink()
    assert load_sam2(models("sam2")).mean.flatten().tolist() == [0.5] * 3
    assert load_sam2(str(tmp_path / "bare")).mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


def test_the_hubs_sam2_is_one_for_videos(models, tmp_path):
    """Its checkpoints say sam2_video, and are read for their part on images."""
    import json
    import shutil

    shutil.copytree(models("sam2"), tmp_path / "video")
    config = json.loads((tmp_path / "video/config.json").read_text())
    (tmp_path / "video/config.json").write_text(json.dumps({**config, "model_type": "sam2_video"}))
    boxes = [[(2.0, 3.0, 20.0, 30.0)]]
    assert not is_clipseg(str(tmp_path / "video"))
    [[one]], [[other]] = (
        load_sam2(str(path))(photographs()[:1], boxes) for path in (models("sam2"), tmp_path / "video")
    )
    assert torch.equal(one.inside, other.inside)


def test_what_is_no_such_model_is_named(models, tmp_path):
    with pytest.raises(ValueError, match="'nobody/nothing' cannot be loaded as a zero-shot detector of transformers"):
        load_detector("nobody/nothing")
    with pytest.raises(ValueError, match="cannot be loaded as a zero-shot detector"):
        load_detector(models("clipseg"))
    assert is_clipseg(models("clipseg"))
    assert not is_clipseg(models("sam2"))
    with pytest.raises(ValueError, match="is a owlv2; segmenters are CLIPSeg"):
        is_clipseg(models("owlv2"))
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_sam2(str(tmp_path))
    assert isinstance(load_detector(models("owlv2")), detectors.Detector)
    assert isinstance(load_clipseg(models("clipseg")), segmenters.TextSegmenter)
