"""What training leaves to look at of the priors that it drew."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wherenot.data import Dataset, decoy, read_folder
from wherenot.methods import Recomposition
from wherenot.models import Preprocess
from wherenot.priors import Prior
from wherenot.run import RunFolder
from wherenot.spreading import Spread
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig
from wherenot.train.drawn import write_drawn
from wherenot.train.progress import TrainingProgress
from wherenot.train.training import train

PLAN = OptimizationConfig(epochs=1, batch_size=16)


def config(**method):
    return TrainConfig(optimization=PLAN, method=MethodConfig(**method))


def test_a_run_shows_what_it_drew(tmp_path):
    """Before it trains, and not again where it goes on."""
    data = decoy(0, num_train=100, num_validation=10, num_test=10)
    few = tuple(
        replace(each, read_prior=lambda: None) if place >= 10 and each.split == "train" else each
        for place, each in enumerate(data.samples)
    )
    out = train(config(name="wherenot"), tmp_path / "run", dataset=replace(data, samples=few), quiet=True)
    shown = read_folder(out / "priors").samples
    assert len(shown) == 48
    assert {sample.group for sample in shown} <= {"added", "replaced"}
    assert {sample.origin.named() for sample in shown} == {"spreading (small-cnn)"}
    for sample in shown:
        index = int(sample.id.split("/")[1].split("-")[0])
        assert sample.id == f"train/{index:06d}-{index:05d}.png"
        assert sample.label == data.samples[index].label
        assert (np.asarray(sample.read_image()) == np.asarray(data.samples[index].read_image())).all()
    assert any(sample.read_prior() is not None for sample in shown)
    before = {file: file.stat().st_mtime_ns for file in (out / "priors").rglob("*")}
    (out / "metrics.json").unlink()
    train(config(name="wherenot"), tmp_path / "run", dataset=replace(data, samples=few), quiet=True)
    assert before == {file: file.stat().st_mtime_ns for file in (out / "priors").rglob("*")}


def test_a_run_that_draws_nothing_shows_nothing(tmp_path):
    data = decoy(0, num_train=32, num_validation=10, num_test=10)
    for name, method in (("kept", {"name": "wherenot", "trusted": 0.0}), ("plain", {"name": "finetune"})):
        assert not (train(config(**method), tmp_path / name, dataset=data, quiet=True) / "priors").exists()


def test_ids_need_not_be_file_names(tmp_path):
    """Images of any size are shown as the network sees them; a rest of an earlier try is cleared away."""
    first = decoy(0, num_train=2, num_validation=1, num_test=1).samples[0]
    ids = ("../up.png", "c:/x?.jpg", "deep/er/a.png", "a.png")
    samples = tuple(replace(first, id=id) for id in ids)
    inside = torch.eye(12) > 0
    spread = Spread([Prior(inside)] * 4, [True] * 4, [True] * 4, torch.tensor([0.5, torch.nan, 0.2, torch.nan]))
    (tmp_path / "priors.part/train").mkdir(parents=True)
    data = Dataset("d", tuple("0123456789"), samples)
    write_drawn(tmp_path / "priors", data, Preprocess(height=12, width=12), spread, model="m", seed=0)
    shown = read_folder(tmp_path / "priors").samples
    names = ["000000-up", "000001-x_", "000002-a", "000003-a"]
    assert [sample.id for sample in shown] == [f"train/{name}.png" for name in names]
    assert [sample.group for sample in shown] == ["replaced", "added", "replaced", "added"]
    assert all(sample.read_image().size == (12, 12) for sample in shown)
    assert all(torch.equal(sample.read_prior().allowed, inside) for sample in shown)
    assert [path.name for path in tmp_path.iterdir()] == ["priors"]


def test_an_interruption_while_it_draws_takes_the_bar_off(tmp_path, monkeypatch):
    bars = []

    def interrupted(self, model, images, priors, *, batch_size, on_images):
        on_images(batch_size)
        raise KeyboardInterrupt

    original = TrainingProgress.priors
    monkeypatch.setattr(TrainingProgress, "priors", lambda self, n: bars.append(self._bar) or original(self, n))
    monkeypatch.setattr(Recomposition, "spread", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config(name="wherenot"), tmp_path / "run", dataset=decoy(0, num_train=32, num_validation=10, num_test=10))
    [bar] = bars
    assert [task.description for task in bar.tasks] == ["train wherenot", "draw priors"]
    assert not bar.live.is_started


def test_the_bar_of_drawing_is_there_only_while_it_draws(tmp_path):
    progress = TrainingProgress(RunFolder(tmp_path), "digits", quiet=True)
    advance = progress.priors(3)
    assert len(progress._bar.tasks) == 1
    for more, left in ((1, 2), (1, 2), (1, 1)):
        advance(more)
        assert len(progress._bar.tasks) == left
