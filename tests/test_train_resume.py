"""Training that is interrupted anywhere and goes on ends as if nothing had happened, to the last bit."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from wherenot.data import decoy
from wherenot.models import load_classifier
from wherenot.run import RunFolder
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig

ALIGNED = {"interval": 2, "confidence_above": 0.0, "partition": "grid:2x2"}
# Those that draw at random or prepare; benchmarks/kills.py kills runs of every method.
METHODS = {
    "finetune": {},
    "log": {**ALIGNED, "max_regions": 2},
    "random_regions": ALIGNED,
    "counterfactual": {"interval": 2, "confidence_above": 0.0},
    "background_swap": {"weight": 0.5},
    "wherenot": {"share": 0.5},
}


@pytest.fixture(scope="module")
def data():
    return decoy(0, num_train=48, num_validation=20, num_test=10)


def config(name="finetune", **changes):
    plan = {"epochs": 2, "batch_size": 16, **changes}
    return TrainConfig(optimization=OptimizationConfig(**plan), method=MethodConfig(name=name, **METHODS[name]))


def cut(monkeypatch, place, name, *, times=1, error=KeyboardInterrupt):
    """Raise at the `times`-th call of a function."""
    original, calls = getattr(place, name), []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == times:
            raise error
        return original(*arguments, **options)

    monkeypatch.setattr(place, name, interrupted)


def same(one, two):
    first, second = (load_classifier(str(run)).state_dict() for run in (one, two))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (one / "metrics.json").read_text() == (two / "metrics.json").read_text()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_goes_on_to_the_same_bits(tmp_path, data, monkeypatch, name):
    from wherenot.train import training
    from wherenot.train.trainer import MethodMixin

    given = config(name)
    whole = training.train(given, tmp_path / "whole", dataset=data, quiet=True)
    with monkeypatch.context() as patch:
        cut(patch, MethodMixin, "compute_loss", times=7)  # 3 steps and 2 batches of validation to the epoch
        with pytest.raises(KeyboardInterrupt):
            training.train(given, tmp_path / "cut", dataset=data, quiet=True)
    resumed = training.train(given, tmp_path / "cut", dataset=data, quiet=True)
    assert json.loads((resumed / "run.json").read_text())["resumed"]
    same(whole, resumed)


def interrupted_at(monkeypatch, given, out, data, place, name, *, times=1, error=KeyboardInterrupt):
    """A run that ends with `error` at the `times`-th call of a function."""
    from wherenot.train import training

    with monkeypatch.context() as patch:
        cut(patch, place, name, times=times, error=error)
        with pytest.raises(error):
            training.train(given, out, dataset=data, quiet=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """A run of plain fine-tuning that nothing interrupted."""
    from wherenot.train import training

    return training.train(config(), tmp_path_factory.mktemp("whole") / "run", dataset=data, quiet=True)


@pytest.mark.parametrize("writer", ["write_state", "seal", "rotate_checkpoints", "_to_disk"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SafetensorError("No space left on device")], ids=["cut", "full"])
def test_a_checkpoint_that_is_cut_short_does_not_count(tmp_path, data, monkeypatch, whole, writer, error):
    from wherenot.train import checkpoints, training

    times = {"write_state": 5, "seal": 2, "rotate_checkpoints": 2, "_to_disk": 14}[writer]  # in the second one
    kind, said = (KeyboardInterrupt, None) if error is KeyboardInterrupt else (OSError, "with room on the disk")
    with monkeypatch.context() as patch:
        cut(patch, checkpoints, writer, times=times, error=error)
        with pytest.raises(kind, match=said):
            training.train(config(), tmp_path / "cut", dataset=data, quiet=True)
    left = sorted(path.name for path in (tmp_path / "cut" / "checkpoints").iterdir())
    assert left == ["checkpoint-3", "checkpoint-6"]
    assert checkpoints.is_whole(tmp_path / "cut" / "checkpoints" / "checkpoint-3")
    assert checkpoints.is_whole(tmp_path / "cut" / "checkpoints" / "checkpoint-6") == (writer == "rotate_checkpoints")
    same(whole, training.train(config(), tmp_path / "cut", dataset=data, quiet=True))


@pytest.mark.parametrize("place", ["save", "metrics"])
def test_a_run_cut_after_its_last_epoch_trains_no_more(tmp_path, data, monkeypatch, whole, place):
    from wherenot.models import Classifier
    from wherenot.train import training

    if place == "save":
        interrupted_at(monkeypatch, config(), tmp_path / "cut", data, Classifier, "save")
    else:
        interrupted_at(monkeypatch, config(), tmp_path / "cut", data, training, "run_warnings")
    assert RunFolder(tmp_path / "cut").read("metrics.json") is None
    same(whole, training.train(config(), tmp_path / "cut", dataset=data, quiet=True))


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, data, monkeypatch, whole):
    from wherenot.models import Classifier
    from wherenot.train import training

    interrupted_at(monkeypatch, config(), tmp_path / "cut", data, Classifier, "save")
    damaged = tmp_path / "cut" / "checkpoints" / "checkpoint-6" / "model.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    same(whole, training.train(config(), tmp_path / "cut", dataset=data, quiet=True))
    assert json.loads((tmp_path / "cut" / "run.json").read_text())["steps"] == 6


def test_patience_lasts_through_an_interruption(tmp_path, data, monkeypatch):
    from wherenot.models import Classifier
    from wherenot.train import training
    from wherenot.train.trainer import MethodMixin

    given = config(epochs=6, learning_rate=1e-9, patience=2)  # accuracy never rises: three epochs
    whole = training.train(given, tmp_path / "whole", dataset=data, quiet=True)
    assert len(json.loads((whole / "metrics.json").read_text())["validation"]["epochs"]) == 3
    interrupted_at(monkeypatch, given, tmp_path / "cut", data, MethodMixin, "compute_loss", times=12)
    interrupted_at(monkeypatch, given, tmp_path / "cut", data, Classifier, "save")
    same(whole, training.train(given, tmp_path / "cut", dataset=data, quiet=True))


def test_the_best_epoch_is_kept_through_an_interruption_and_a_move(tmp_path, data, monkeypatch):
    from wherenot.models import Classifier
    from wherenot.train import training

    given = config(epochs=4, learning_rate=0.3, schedule="constant", keep="best")
    whole = training.train(given, tmp_path / "whole", dataset=data, quiet=True)
    epochs = json.loads((whole / "metrics.json").read_text())["validation"]
    assert epochs["best"]["epoch"] != epochs["last"]["epoch"]
    interrupted_at(monkeypatch, given, tmp_path / "cut", data, Classifier, "save")
    (tmp_path / "cut").rename(tmp_path / "moved")
    same(whole, training.train(given, tmp_path / "moved", dataset=data, quiet=True))


class Attack:
    """Leaves a file when it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return Path.touch, (self.place,)


def test_nothing_pickled_is_written_or_read(tmp_path, data, monkeypatch, whole):
    from wherenot.train import checkpoints, training
    from wherenot.train.trainer import MethodMixin

    interrupted_at(monkeypatch, config(), tmp_path / "cut", data, MethodMixin, "compute_loss", times=7)
    [checkpoint] = (tmp_path / "cut" / "checkpoints").iterdir()
    assert {path.suffix for path in checkpoint.iterdir()} == {".safetensors", ".json"}
    for name in ("optimizer.pt", "optimizer.bin", "scheduler.pt", "rng_state.pth", "scaler.pt", "training_args.bin",
                 "pytorch_model.bin", "adapter_model.bin"):  # fmt: skip
        (checkpoint / name).write_bytes(pickle.dumps(Attack(tmp_path / "attacked")))
    checkpoints.seal(checkpoint)  # whoever can write a checkpoint can seal it
    same(whole, training.train(config(), tmp_path / "cut", dataset=data, quiet=True))
    assert not (tmp_path / "attacked").exists()
    pickle.loads(pickle.dumps(Attack(tmp_path / "attacked")))
    assert (tmp_path / "attacked").exists()


def test_a_finished_run_leaves_no_checkpoints(tmp_path, data, monkeypatch):
    from wherenot.train import training

    interrupted_at(monkeypatch, config(), tmp_path, data, training.shutil, "rmtree")
    assert (tmp_path / "checkpoints").is_dir()
    training.train(config(), tmp_path, dataset=data, quiet=True)
    assert not (tmp_path / "checkpoints").exists()


def test_a_line_that_a_full_disk_cut_does_not_join_the_next(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append("steps.jsonl", {"step": 1})
    with (tmp_path / "steps.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    folder.append("steps.jsonl", {"step": 2}, {"step": 3})
    assert [line["step"] for line in folder.records("steps.jsonl")] == [1, 2, 3]


def test_an_interruption_takes_the_bar_off_the_terminal(tmp_path, data, monkeypatch):
    from wherenot.train import training
    from wherenot.train.trainer import MethodMixin

    shown = []
    made = training.TrainingProgress
    monkeypatch.setattr(training, "TrainingProgress", lambda *told, quiet: shown.append(made(*told)) or shown[-1])
    interrupted_at(monkeypatch, config(), tmp_path, data, MethodMixin, "compute_loss", times=2)
    assert shown[0]._bar.finished is False
    assert not shown[0]._bar.live.is_started
