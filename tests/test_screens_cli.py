"""Rendered screens, each test with a browser of its own; apart, since a process can hold one at a time."""

import json
import shutil
from collections import Counter

import pytest

from wherenot.cli import main
from wherenot.data import GuiSample, load_dataset
from wherenot.gui.screens.render import open_renderer
from wherenot.models import load_vlm


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on the PATH")
def test_the_command_line_writes_tasks_that_are_read_back(tmp_path, capsys):
    told = ["screens", "render", str(tmp_path / "out"), "--num-train", "5", "--num-validation", "1", "--num-test", "2"]
    told += ["--width", "180", "--tasks-per-screen", "2", "--coordinate-step", "20", "--rho", "1"]
    assert main([*told, "--quiet"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    data = load_dataset(f"gui:{tmp_path / 'out'}")
    assert Counter(sample.split for sample in data.samples) == {
        "train": 5, "validation": 1, "test_habitual": 2, "test_shuffled": 2, "test_moved": 2, "test_distractor": 2,
    }  # fmt: skip
    assert len(list((tmp_path / "out" / "images" / "train").iterdir())) == 3  # two tasks share a screen
    for sample in data.samples:
        assert isinstance(sample, GuiSample)
        image, prior = sample.read_image(), sample.read_prior()
        assert image.size == (180, 360)
        assert prior.allowed[int(sample.point[1] * 360), int(sample.point[0] * 180)]
        assert all(round(1000 * share) % 20 == 0 for share in sample.point)
        assert sample.box in [element.box for element in sample.elements()]
        assert sample.thought.split(" is what")[0] in {element.text for element in sample.elements()}
    assert main(told) == 1
    assert "exists and is not an empty folder" in capsys.readouterr().err
    assert main([*told[:2], str(tmp_path / "new"), "--rho", "2"]) == 1


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on the PATH")
def test_the_command_line_makes_an_agent(tmp_path, capsys):
    out = tmp_path / "agent"
    few = ["--agent.screens", "4", "--agent.seeing-steps", "2", "--agent.answering-steps", "2"]
    assert main(["screens", "agent", str(out), *few, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"model": str(out)}
    vlm = load_vlm(out)
    sample = load_dataset("screens").samples[0]
    encoding = vlm.encode(sample.read_image(), sample.prompt)
    assert vlm.answer_ids(encoding, sample.right)  # it has the words, though it cannot use them yet
    assert len(vlm.generate(encoding, max_tokens=3)) <= 3
    assert main(["screens", "agent", str(out), *few]) == 1  # nothing is overwritten


def test_missing_browsers():
    pytest.importorskip("playwright")
    with pytest.raises(ValueError, match="no Chromium starts"), open_renderer(browser="/no/browser"):
        pass
