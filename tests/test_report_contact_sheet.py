"""The contact sheet: which samples are on it, what is drawn of each, and what is said of those that cannot be read."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from photo_folder import box, make, varied
from wherenot.cli import main
from wherenot.data import Dataset, GuiSample, write_folder
from wherenot.priors import Prior
from wherenot.report.contact_sheet import contact_sheet, drawn_sheet


def captions(sheet):
    return [axes.texts[0].get_text() for axes in sheet.figure.axes if axes.texts]


def test_samples_are_drawn_evenly_over_splits_and_by_the_seed():
    samples = [make(f"{split}/{n}", split, n % 2, seed=n) for split in ("train", "test") for n in range(10)]
    data = Dataset("d", ("cat", "dog"), tuple(samples))
    drawn = drawn_sheet(data, 5)
    assert Counter(sample.split for sample in drawn.samples) == {"train": 3, "test": 2}
    assert {sample.label for sample in drawn.split("test").samples} == {0, 1}
    assert {drawn_sheet(data, 4, seed=seed).samples for seed in range(4)} != {drawn.samples}
    assert [s.id for s in drawn.samples] == [s.id for s in drawn_sheet(data, 5).samples]
    assert drawn_sheet(data, 3, splits=["test"]).splits == ("test",)
    with pytest.raises(ValueError, match="max_images is 1; pass at least one per split, 2"):
        drawn_sheet(data, 1)


def test_priors_are_outlined_and_their_lack_is_said():
    sheet = contact_sheet(varied().split("train"), columns=2)
    bare, allowed, forbidden, both = sheet.figure.axes
    assert [len(axes.collections) for axes in (bare, allowed, forbidden, both)] == [0, 1, 1, 2]
    assert allowed.collections[0].get_linestyle() != forbidden.collections[0].get_linestyle()
    assert captions(sheet)[0] == "zebra\ntrain, odd\n00.png\nno prior"
    assert captions(sheet)[2] == "ä b\ntrain, odd\n02.png"


def test_a_prior_one_pixel_wide_is_seen_on_a_large_image():
    line = make("a", "train", 0, Prior.from_boxes([[700, 0, 701, 800]], 800, 1000), size=(1000, 800))
    [axes] = contact_sheet(Dataset("d", ("cat",), (line,)), columns=1).figure.axes
    assert axes.images[0].get_array().shape[:2] == (384, 480)
    assert len(axes.collections[0].get_segments()) == 4


def test_a_task_shows_its_instruction_its_box_and_where_to_click():
    plain = make("shot.png", "train", 0, Prior(box(1, 1, 3, 3)))
    task = GuiSample(**vars(plain), prompt="<Question>Tap.</Question>", instruction="Tap it.", point=(0.5, 0.25))
    sheet = contact_sheet(Dataset("d", ("click",), (task,)), columns=1)
    [axes] = sheet.figure.axes
    assert captions(sheet) == ["Tap it.\nclick\ntrain\nshot.png"]
    assert np.array(axes.lines[0].get_xydata()).tolist() == [[2.5, 0.5]]  # pixel centres lie on whole numbers
    assert len(axes.collections) == 1


def test_what_cannot_be_read_is_on_the_sheet_and_named():
    def fail():
        raise OSError("image file is truncated")

    good = make("a.png", "train")
    sheet = contact_sheet(Dataset("d", ("cat",), (good, replace(good, id="b.png", read_image=fail))), columns=2)
    assert [(each.id, each.reason) for each in sheet.bad] == [("b.png", "b.png: image file is truncated")]
    assert captions(sheet)[1].replace("\n", " ") == "cannot be read: b.png: image file is truncated"
    with pytest.raises(ValueError, match="no samples to show"):
        contact_sheet(Dataset("d", ("cat",), ()))


def test_the_command(tmp_path, capsys):
    write_folder(varied(), tmp_path / "data")
    broken = tmp_path / "data" / "train" / "01.png"
    broken.write_bytes(broken.read_bytes()[:-40])
    out = tmp_path / "made" / "sheet.png"
    assert main(["data", "preview", str(tmp_path / "data"), "-o", str(out), "--splits", "train"]) == 0
    with Image.open(out) as picture:
        assert picture.width == 1440
    said = capsys.readouterr().out
    assert "cannot be read:" in said
    assert "01.png" in said
    assert main(["data", "preview", str(tmp_path / "data"), "-o", str(tmp_path / "sheet.txt")]) == 1
    assert "is no .png or .pdf" in capsys.readouterr().err
