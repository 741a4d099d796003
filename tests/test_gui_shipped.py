"""The agents and screens that come with the package, and the demo of agents in small."""

from dataclasses import replace

import pytest
import torch

import wherenot.demo_gui
from wherenot.data import load_dataset
from wherenot.gui.agent.shipped import AGENTS
from wherenot.models import load_vlm
from wherenot.train.agents.validation import click_summary, validated

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),  # by peft
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.*"),
]


@pytest.fixture(scope="module")
def screens():
    return load_dataset("screens")


def right(name, samples):
    return click_summary(validated(load_vlm(name), samples, max_side=1120, max_tokens=24))


def test_the_screens_are_whole(screens):
    assert screens.rejected == ()
    assert {split: len(screens.split(split)) for split in screens.splits} == {
        "train": 768, "validation": 64, "test_habitual": 96, "test_shuffled": 96, "test_moved": 96,
        "test_distractor": 96,
    }  # fmt: skip
    for sample in screens.samples[::50]:
        assert sample.read_image().size == (128, 256)
        assert len(sample.elements()) > 3
        assert any(element.box == sample.box for element in sample.elements())


def test_the_agents_are_small_and_in_full_precision(screens):
    assert all(file.stat().st_size < 3.2e6 for folder in AGENTS.values() for file in folder.iterdir())
    for name in AGENTS:
        vlm = load_vlm(name)
        assert next(vlm.model.parameters()).dtype == torch.float32
        assert sum(weight.numel() for weight in vlm.model.parameters()) < 1.6e6


def test_one_finds_almost_everything_and_the_other_a_third(screens):
    shuffled = list(screens.split("test_shuffled").samples[:40])
    grounded, weak = right("tiny-agent", shuffled), right("tiny-agent-weak", shuffled)
    assert grounded["malformed"] == 0
    assert grounded["correct"] > 0.9
    assert 0.15 < weak["correct"] < 0.6


def test_the_demo_in_small(tmp_path, monkeypatch, capsys, screens):
    few = tuple(screens.split("train").samples[:8]) + tuple(screens.split("validation").samples[:2])
    tests = tuple(screens.split(split).samples[0] for split in wherenot.demo_gui.SPLITS)
    monkeypatch.setattr(wherenot.demo_gui, "load_dataset", lambda name: replace(screens, samples=few + tests))
    monkeypatch.setattr(wherenot.demo_gui, "METHODS", ("necessity",))
    monkeypatch.setattr(wherenot.demo_gui, "SEARCHED", 0)
    plan = replace(wherenot.demo_gui.OPTIMIZATION, steps=2, batch_size=4)
    monkeypatch.setattr(wherenot.demo_gui, "OPTIMIZATION", plan)
    report = wherenot.demo_gui.run_demo_gui(tmp_path / "demo", seed=0)
    page = report.read_text()
    assert "necessity" in page
    printed = " ".join(capsys.readouterr().out.split())
    assert "reliance" in printed
    again = wherenot.demo_gui.run_demo_gui(tmp_path / "demo", seed=0)
    assert again.read_text() == page  # nothing was done twice
