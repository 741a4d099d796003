"""Bad samples on the way through check, train and audit: nothing stops, all are named; strict commands stop."""

import json
import os

import numpy as np
import pytest
import torch

from dataset_layouts import save
from photo_folder import save_lines, save_mask
from record_files import records_of
from wherenot.audit import audit
from wherenot.cli import main
from wherenot.data import DataError, load_dataset
from wherenot.data.check import readable
from wherenot.masking import Normalization
from wherenot.models import Classifier, Preprocess

SECRET = "sk-very-secret-0123456789"
VARIABLES = ("OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY")
EMPTY, CUT = "test/2.png", {"train/3.png", "test/5.png"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data set in which one file is empty, two end early and one has a name for a terminal to trip over."""
    place = tmp_path_factory.mktemp("user")
    for split, count in (("train", 10), ("validation", 4), ("test", 8)):
        lines = []
        for number in range(count):
            pixels = np.random.default_rng([len(split), number]).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            save(place / "data" / split / f"{number}.png", pixels)
            save_mask(place / "data" / split / "masks" / f"{number}.png", np.eye(32))
            name = f"{number}.png"
            lines.append({"file_name": name, "label": "ab"[number % 2], "mask_file_name": f"masks/{name}"})
        lines.append({"file_name": "none\x1b[2J.png", "label": "a"})
        save_lines(place / "data" / split / "metadata.jsonl", *lines)
    (place / "data" / EMPTY).write_bytes(b"")
    for name in CUT:
        file = place / "data" / name
        file.write_bytes(file.read_bytes()[:-900])
    (place / "run.yaml").write_text("data: data\noptimization: {epochs: 1, batch_size: 4}\nmethod: {name: finetune}\n")
    return place


@pytest.fixture
def typed(place, capsys, monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(place)

    def run(*arguments, expect=0):
        assert main([*arguments]) == expect
        printed = capsys.readouterr()
        assert SECRET not in printed.out + printed.err
        assert "\x1b[2J" not in printed.out + printed.err
        return " ".join((printed.out + printed.err).split())

    return run


def rejected(folder):
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]


def test_check_names_all_and_fails(place, typed):
    said = typed("data", "check", "data", "--out", "checked", expect=1)
    assert "6 problems" in said
    assert {row["id"] for row in rejected(place / "checked")} >= {EMPTY, *CUT}
    assert len(rejected(place / "checked")) == 6
    assert "readable: " not in said


def test_strict_stops_at_what_is_bad(place, typed):
    for command in (
        ["data", "check", "data"],
        ["data", "convert", "data", "converted"],
        ["train", "run.yaml", "--out", "runs/strict"],
        ["audit", "--model", "runs/strict", "--data", "data"],
    ):
        said = typed(*command, "--strict", expect=1)
        assert "none\\x1b[2J.png: no such file" in said
    assert not (place / "runs" / "strict").exists()
    assert not (place / "converted").exists()


def test_strict_stops_at_the_first_that_cannot_be_decoded(place, monkeypatch):
    monkeypatch.chdir(place)
    data = load_dataset("data", on_bad="skip")
    seen = []
    with pytest.raises(DataError, match=r"1 problem:\n.*test/5.png: the pixels cannot be decoded"):
        readable(data, data.splits, "error", on_sample=lambda: seen.append(1))
    assert len(seen) == 4
    assert len(readable(data, ["validation"], "error")) == len(data)
    left = readable(data, data.splits, "skip")
    assert {bad.id for bad in left.rejected} - {bad.id for bad in data.rejected} == CUT
    assert len(left) == len(data) - 2


def test_conversion_goes_on(place, typed):
    said = typed("data", "convert", "data", "whole")
    assert "19 images, 6 left out" in said
    assert len(load_dataset(str(place / "whole"))) == 19


def test_training_and_audit_go_on_name_and_count(place, typed):
    said = typed("train", "run.yaml", "--out", "runs/a")
    assert "5 of 25 samples cannot be used and are left out, runs/a/rejected.jsonl names all" in said
    rows = rejected(place / "runs" / "a")
    assert {row["id"] for row in rows} >= {EMPTY, "train/3.png"}
    assert {row["when"] for row in rows} == {"reading"}
    assert len(json.loads((place / "runs/a/run.json").read_text())["rejected"]) == len(rows)

    said = typed("audit", "--model", "runs/a", "--data", "data", "--partition", "grid:2x2", "--out", "runs/b")
    assert "4 of 25 samples cannot be used and are left out, runs/b/rejected.jsonl names all" in said
    assert "failed: test/5.png" in said
    assert "1 sample failed and counts as missing, runs/b/rejected.jsonl names all" in said
    rows = rejected(place / "runs" / "b")
    assert [row["id"] for row in rows if row["when"] == "running"] == ["test/5.png"]
    assert EMPTY in [row["id"] for row in rows if row["when"] == "reading"]
    assert json.loads((place / "runs/b/run.json").read_text())["failed"] == 1
    records = records_of(place / "runs/b")
    assert len(records) == 7
    page = (place / "runs" / "b" / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in (EMPTY, "test/5.png"))

    kept = [path for path in place.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert kept == []
    assert os.environ["HF_TOKEN"] == SECRET  # it was there to be written


def test_one_class_is_refused_before_anything_is_done(tmp_path, typed, monkeypatch):
    """It was trained on, and the audit of what came of it ended in the middle."""
    for split in ("train", "validation", "test"):
        save(tmp_path / "one" / split / "cat" / "1.png", np.zeros((32, 32, 3), dtype=np.uint8))
    (tmp_path / "run.yaml").write_text("data: one\nmethod: {name: finetune}\n")
    monkeypatch.chdir(tmp_path)
    assert "one has one class, 'cat'" in typed("train", "run.yaml", "--out", "a", expect=1)
    network = Classifier(
        torch.nn.Flatten(), Preprocess(height=8, width=8, normalization=Normalization()), ["cat"], "toy"
    )
    with pytest.raises(ValueError, match="one has one class, 'cat'"):
        audit(network, load_dataset("one"), tmp_path / "b", name="a", model="a")
    assert not (tmp_path / "b").exists()


def test_classes_that_the_model_never_saw_are_named(tmp_path, typed, place, monkeypatch):
    save(tmp_path / "more" / "test" / "c" / "1.png", np.zeros((32, 32, 3), dtype=np.uint8))
    typed("train", "run.yaml", "--out", "runs/a")
    said = typed("audit", "--model", "runs/a", "--data", str(tmp_path / "more"), "--out", "runs/c", expect=1)
    assert "has the classes c, the model a, b" in said
