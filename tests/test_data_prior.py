"""`wherenot data prior`, as a user types it: every source, what is kept, bad images, an interruption."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from photo_folder import save_image, save_lines
from tiny_finders import tiny_clipseg, tiny_owl, tiny_sam2
from wherenot.data import read_folder
from wherenot.proposals import proposing


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made = {}

    def get(name):
        if name not in made:
            builders = {"owl": tiny_owl, "clipseg": tiny_clipseg, "sam2": tiny_sam2}
            made[name] = builders[name](tmp_path_factory.mktemp(name))
        return made[name]

    return get


@pytest.fixture
def photos(tmp_path):
    """Four images with a mark each: two without a prior, one with a box, one with a mask."""
    root = tmp_path / "photos"
    rng = np.random.default_rng(0)
    lines = []
    for place in range(4):
        pixels = rng.integers(98, 102, (80, 120, 3), dtype=np.uint8)
        pixels[30:44, 70 + place : 84 + place] = (220, 40, 40)
        (root / "train").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / f"train/{place}.png")
        lines.append({"file_name": f"{place}.png", "label": ("cat", "dog")[place % 2]})
    lines[2]["objects"] = {"bbox": [[66, 26, 90, 48]], "bbox_format": "xyxy"}
    lines[3]["mask_file_name"] = "masks/3.png"
    mask = np.zeros((80, 120), np.uint8)
    mask[5, 5] = mask[7, 9] = mask[8, 9] = mask[8, 10] = 255
    (root / "train/masks").mkdir()
    Image.fromarray(mask).save(root / "train/masks/3.png")
    save_lines(root / "train/metadata.jsonl", *lines)
    return root


def origins(root):
    return {sample.id: sample.origin for sample in read_folder(root).samples}


def test_saliency_marks_what_stands_out_and_keeps_the_rest(photos, tmp_path, typed):
    out = tmp_path / "out"
    printed = typed("data", "prior", photos, "-o", out, "--from", "saliency")
    assert "2 images not asked about: they have a prior" in printed
    assert f"2 priors by saliency (spectral residual) in 4 images: {out}" in printed
    assert f"wherenot data review {out} -o review.html" in printed
    assert not (tmp_path / "out.part").exists()
    before = {sample.id: sample for sample in read_folder(photos).samples}
    for sample in read_folder(out).samples:
        place = int(sample.id[-5])
        assert np.array_equal(sample.read_image(), before[sample.id].read_image())
        allowed = sample.read_prior().allowed
        if place < 2:
            assert (sample.origin.kind, sample.origin.threshold, sample.origin.prompt) == ("saliency", 3.0, None)
            assert allowed[30:44, 70 + place : 84 + place].float().mean() > 0.2
        else:
            assert sample.origin is None
            assert torch.equal(allowed, before[sample.id].read_prior().allowed)
    checked = typed("data", "check", out)
    assert "priors: 2 by hand; 2 by saliency (spectral residual)" in checked
    complaint = typed("data", "prior", photos, "-o", out, "--from", "saliency", expect=1)
    assert "exists and is not an empty folder" in complaint


def test_boxes_become_masks_by_grabcut(photos, tmp_path, typed):
    printed = typed("data", "prior", photos, "-o", tmp_path / "out", "--from", "boxes")
    assert "1 prior by boxes (GrabCut)" in printed
    assert "3 images not asked about: their prior is no box by hand" in printed
    sample = read_folder(tmp_path / "out").samples[2]
    expected = torch.zeros(80, 120, dtype=torch.bool)
    expected[30:44, 72:86] = True
    assert torch.equal(sample.read_prior().allowed, expected)
    assert sample.origin.boxes == ((66.0, 26.0, 90.0, 48.0),)
    assert sample.origin.score is None


def test_a_detector_is_told_the_class_of_each_image(photos, tmp_path, typed, models):
    printed = typed(
        "data", "prior", photos, "-o", tmp_path / "out", "--from", "grounding", "--model", models("owl"),
        "--prompt", "a {}", "--class-prompts", "dog", "a hound", "--threshold", "0.01", "--batch-size", "3",
        "--replace",
    )  # fmt: skip
    found = [origin for origin in origins(tmp_path / "out").values() if origin is not None]
    assert {origin.prompt for origin in found} <= {"a cat", "a hound"}
    assert all(0.01 < origin.score <= 1 and origin.model == str(models("owl")) for origin in found)
    assert f"{len(found)} priors by grounding" in printed
    assert len(found) > 0
    none = typed(
        "data", "prior", photos, "-o", tmp_path / "none", "--from", "grounding", "--model", models("owl"),
        "--threshold", "0.9999", "--device", "cpu",
    )  # fmt: skip
    assert "nothing found in 2 images, left as it was: train/0.png, train/1.png" in none
    assert "0 priors by grounding" in none
    assert read_folder(tmp_path / "none").samples[0].read_prior() is None


def test_segmenters_by_text_and_by_boxes(photos, tmp_path, typed, models):
    prior = ("data", "prior", photos, "-o")
    typed(*prior, tmp_path / "a", "--from", "segment", "--model", models("clipseg"), "--threshold", "0.2")
    assert {each.kind for each in origins(tmp_path / "a").values() if each} == {"segment"}
    sam = ("--from", "segment", "--model", models("sam2"))
    assert "reads no text; name what finds the boxes with --detector" in typed(*prior, tmp_path / "b", *sam, expect=1)
    typed(*prior, tmp_path / "c", *sam, "--detector", models("owl"), "--threshold", "0.01")
    names = {each.model for each in origins(tmp_path / "c").values() if each}
    assert names == {f"{models('owl')} + {models('sam2')}"}
    typed(*prior, tmp_path / "d", "--from", "boxes", "--model", models("sam2"))
    [refined] = [each for each in origins(tmp_path / "d").values() if each]
    assert (refined.kind, refined.boxes) == ("boxes", ((66.0, 26.0, 90.0, 48.0),))
    assert 0 <= refined.score <= 1
    confused = typed(
        *prior, tmp_path / "e", "--from", "segment", "--model", models("clipseg"), "--detector", "x", expect=1
    )
    assert "reads the text itself; leave out --detector" in confused


def test_an_interrupted_run_goes_on_and_other_settings_do_not(photos, tmp_path, typed, monkeypatch):
    out, part = tmp_path / "out", tmp_path / "out.part"
    command = ("data", "prior", photos, "-o", out, "--from", "saliency", "--batch-size", "1", "--replace")
    real, calls = proposing._made, []

    def breaking(source, batch):
        calls.append([sample.id for sample in batch])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(source, batch)

    monkeypatch.setattr(proposing, "_made", breaking)
    assert "the same command goes on from there" in typed(*command, expect=130)
    assert not out.exists()
    assert len((part / proposing.JOURNAL).read_text().splitlines()) == 2
    other = typed(*command, "--threshold", "2", expect=1)
    assert "another configuration (differs in: threshold)" in other
    (part / "folder/train").mkdir(parents=True)  # an interruption while the result was written
    (part / "folder/train/0.png").write_bytes(b"half a picture")
    typed(*command)
    assert [each for [each] in calls] == [f"train/{place}.png" for place in (0, 1, 2, 2, 3)]
    assert len(read_folder(out)) == 4
    assert not part.exists()


def test_a_folder_of_somebody_else_is_left_alone(photos, tmp_path, typed):
    own = tmp_path / "out.part"
    own.mkdir()
    (own / "thesis.txt").write_text("years of work")
    command = ("data", "prior", photos, "-o", tmp_path / "out", "--from", "saliency")
    assert "out.part, where the work is to lie, holds something else" in typed(*command, expect=1)
    (own / "run.json").write_text(json.dumps({"command": "train", "config": {}}))
    assert "holds a train run with another configuration" in typed(*command, expect=1)
    assert (own / "thesis.txt").read_text() == "years of work"


def test_a_run_that_found_nothing_yet_does_not_bind(photos, tmp_path, typed, monkeypatch):
    command = ("data", "prior", photos, "-o", tmp_path / "out", "--from", "saliency")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as here:
        here.setattr(proposing, "_made", interrupted)
        typed(*command, expect=130)
    assert (tmp_path / "out.part/run.json").is_file()
    (tmp_path / "out.part/notes.txt").write_text("mine")
    typed(*command, "--threshold", "2")
    assert [each.name for each in (tmp_path / "out.part").iterdir()] == ["notes.txt"]


def test_bad_images_are_named_and_counted(photos, tmp_path, typed):
    (photos / "train/1.png").write_bytes((photos / "train/1.png").read_bytes()[:900])
    printed = typed("data", "prior", photos, "-o", tmp_path / "out", "--from", "saliency")
    assert "1.png: the pixels cannot be decoded" in printed
    assert "1 of 4 samples cannot be used and are left out" in printed
    assert len(read_folder(tmp_path / "out")) == 3
    complaint = typed("data", "prior", photos, "-o", tmp_path / "x", "--from", "saliency", "--strict", expect=1)
    assert "1.png: the pixels cannot be decoded" in complaint
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "grounding"), "grounding needs --model"),
        (("--from", "grounding", "--model", "no/such"), "'no/such' cannot be loaded as a zero-shot detector"),
        (("--from", "saliency", "--batch-size", "0"), "--batch-size 0; pass at least 1"),
        (("--from", "saliency", "--model", "x"), "takes no --model"),
    ],
)
def test_wrong_settings_are_said_before_anything_is_read(photos, tmp_path, typed, arguments, message):
    assert message in typed("data", "prior", photos, "-o", tmp_path / "out", *arguments, expect=1)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.part").exists()


def test_questions_are_refused(tmp_path, typed):
    save_image(tmp_path / "a.png")
    (tmp_path / "q.jsonl").write_text(json.dumps({"image": "a.png", "prompt": "A dog?", "label": "No"}))
    complaint = typed(
        "data", "prior", f"image-text:{tmp_path}/q.jsonl", "-o", tmp_path / "o", "--from", "saliency", expect=1
    )
    assert "'a.png' is a question; priors are made for images with classes" in complaint
