"""Films: frames are read, cut and hidden as if they were one picture."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from wherenot.cli import main
from wherenot.explain_generation import explain_generation
from wherenot.frames import film_labels, film_strip, read_frames
from wherenot.generation_evidence import GenerationEvidence
from wherenot.masking import show_elements
from wherenot.models import VisionLanguageModel
from wherenot.models.answers import AnswerReader, Asked
from wherenot.models.tiny_vlms import FAMILIES, tiny_vlm
from wherenot.regions import Grid

PHOTOGRAPH = Image.fromarray(astronaut())
FRAMES = [PHOTOGRAPH.crop((left, 60, left + 320, 220)).resize((96, 48)) for left in (0, 80, 160)]
LABELS = film_labels(FRAMES, Grid(2, 2))


def shade(value, size=(20, 10)):
    return Image.new("RGB", size, (value, value, value))


@pytest.mark.parametrize(
    ("number", "count", "expected"), [(10, 2, [2, 7]), (10, 10, list(range(10))), (3, 8, [0, 1, 2])]
)
@pytest.mark.parametrize("kind", ["folder", "gif", "webp", "avi"])
def test_frames_are_the_middles_of_equal_parts(tmp_path, kind, number, count, expected):
    frames = [shade(20 * place + 10, (64, 48)) for place in range(number)]
    path = tmp_path / f"film.{kind}"
    if kind == "folder":
        path.mkdir()
        for place, frame in enumerate(frames):
            frame.save(path / f"{place:03}.png")
        (path / "notes.txt").write_text("no frame")
    elif kind == "avi":
        cv2 = pytest.importorskip("cv2")
        film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
        for frame in frames:
            film.write(np.asarray(frame))
        film.release()
    else:
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, lossless=True)
    found = read_frames(path, count)
    assert [round((np.asarray(frame).mean() - 10) / 20) for frame in found] == expected
    assert all(frame.mode == "RGB" and frame.size == (64, 48) for frame in found)


def test_colours_of_a_video_are_not_swapped(tmp_path):
    cv2 = pytest.importorskip("cv2")
    film = cv2.VideoWriter(str(tmp_path / "red.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    film.write(np.full((48, 64, 3), (0, 0, 255), np.uint8))
    film.release()
    red, green, blue = np.asarray(read_frames(tmp_path / "red.avi", 1)[0]).reshape(-1, 3).mean(0)
    assert red > 200
    assert green < 50
    assert blue < 50


def test_frames_that_were_taken_sideways_are_turned(tmp_path):
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:, :10] = 255  # the left half is bright
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees to the right
    for place in range(3):
        Image.fromarray(pixels).save(tmp_path / f"{place}.png", exif=exif)
    for frame in read_frames(tmp_path, 3):
        assert frame.size == (10, 20)
        assert np.asarray(frame)[:10].min() == 255
        assert np.asarray(frame)[10:].max() == 0


def test_bad_films(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("broken.gif", "broken.mp4"):
        (tmp_path / name).write_bytes(b"no film")
    for name in ("missing.gif", "broken.gif", "broken.mp4", "empty"):
        with pytest.raises(ValueError, match=name):
            read_frames(tmp_path / name, 2)
    with pytest.raises(ValueError, match="count must be"):
        read_frames(tmp_path / "empty", 0)
    with pytest.raises(ValueError, match="all of one size"):
        film_strip([shade(1), shade(1, (20, 11))])
    with pytest.raises(ValueError, match="one frame at least"):
        film_labels([], Grid(2, 2))


def test_a_strip_and_its_regions():
    strip, labels = np.asarray(film_strip(FRAMES)), LABELS
    assert strip.shape == (48, 3 * 96, 3)
    assert labels.shape == (48, 3 * 96)
    assert np.array_equal(strip[:, 96:192], np.asarray(FRAMES[1]))
    assert [sorted(np.unique(part)) for part in np.split(labels, 3, axis=1)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_regions_are_hidden_in_the_frames_they_lie_in(family):
    vlm = VisionLanguageModel(*tiny_vlm(family))
    whole = vlm.encode(FRAMES, "What happens?").inputs["pixel_values"]
    layout, black = vlm.layout(FRAMES, LABELS), vlm.filled(FRAMES, "black")
    assert layout.shape == whole.shape
    assert set(layout.unique().tolist()) - {-1} == set(range(12))
    keep = torch.ones(1, 12, dtype=torch.bool)
    keep[0, 4:8] = False
    [hidden] = show_elements(whole, layout, keep, black)
    expected = vlm.encode([FRAMES[0], shade(0, (96, 48)), FRAMES[2]], "?").inputs["pixel_values"]
    # Where a frame is padded to a square, its border is blurred into the padding.
    assert ((hidden - expected).abs() > 1e-6).float().mean() <= 0.05 * (family == "llava_onevision")


@pytest.mark.parametrize("family", FAMILIES)
def test_batched_answers_about_films_equal_those_one_by_one(family):
    vlm = VisionLanguageModel(*tiny_vlm(family))
    encoding = vlm.encode(FRAMES, "What happens?")
    ids = tuple(vlm.answer_ids(encoding, "a red hen"))
    asked = Asked(encoding, ids, tuple(range(len(ids))), ids)
    keep = torch.rand(3, 12, generator=torch.Generator().manual_seed(0)) < 0.5
    pixels = show_elements(
        encoding.inputs["pixel_values"], vlm.layout(FRAMES, LABELS), keep, vlm.filled(FRAMES, "black")
    )
    with torch.no_grad():
        found = AnswerReader(vlm, [asked])(pixels)
        for row, each in zip(found, pixels, strict=True):
            inputs = vlm.family.longer(encoding.inputs, torch.tensor(ids))
            logits = vlm.model(**{**inputs, "pixel_values": each}, use_cache=False).logits[0]
            places = range(encoding.num_tokens - 1, encoding.num_tokens - 1 + len(ids))
            assert (row - logits[places].softmax(-1)[range(len(ids)), ids]).abs().max() < 1e-5


def test_the_evidence_of_a_film_from_the_command_line(tmp_path):
    model, processor = tiny_vlm("qwen2_5_vl")
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    FRAMES[0].save(tmp_path / "film.gif", save_all=True, append_images=FRAMES[1:], duration=100)
    told = ["explain", str(tmp_path / "film.gif"), "--model", str(tmp_path / "model"), "--prompt", "What happens?"]
    told += ["--answer", "a hen", "--partition", "grid:1x2", "--out", str(tmp_path / "out")]
    assert main([*told, "--frames", "3"]) == 0
    found = GenerationEvidence.load(tmp_path / "out" / "film")
    assert found.evidence.labels.shape == (48, 3 * 96)
    assert sorted(found.evidence.order) == list(range(6))
    frames = read_frames(tmp_path / "film.gif", 3)
    vlm = VisionLanguageModel(model, processor)
    alone = explain_generation(vlm, frames, "What happens?", answer="a hen", regions=Grid(1, 2))
    assert alone.evidence.order.tolist() == found.evidence.order.tolist()
    assert (tmp_path / "out" / "film.png").stat().st_size > 10_000


def test_frames_do_not_go_with_everything(tmp_path, capsys):
    FRAMES[0].save(tmp_path / "film.gif")
    told = ["explain", str(tmp_path / "film.gif"), "--model", "x", "--frames", "3"]
    assert main(told) == 1
    assert "give --prompt" in capsys.readouterr().err.replace("\n", " ")
    assert main([*told, "--prompt", "?", "--endpoint", "http://localhost:1/v1"]) == 1
    assert "--frames goes neither" in capsys.readouterr().err
