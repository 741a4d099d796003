"""Training that is interrupted anywhere and goes on ends as if nothing had happened, to the last bit."""

import json
from dataclasses import replace

import pytest
import torch

from wherenot.data import decoy
from wherenot.models import load_classifier
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig

ALIGNED = {"interval": 2, "confidence_above": 0.0, "partition": "grid:2x2"}
METHODS = {
    "finetune": {},
    "paper": {**ALIGNED, "max_regions": 2},
    "log": {**ALIGNED, "max_regions": 2},
    "adaptive-log": {**ALIGNED, "search": "scoped"},
    "paper-tables": {**ALIGNED, "max_regions": 2},
    "rrr": {"weight": 0.1},
    "xil": {"weight": 1.0},
    "megl": {"weight": 1.0, "layer": "features.8"},
    "model_guidance": {"weight": 0.1},
    "random_regions": ALIGNED,
    "counterfactual": {"interval": 2, "confidence_above": 0.0},
    "background_swap": {"weight": 0.5},
    "box_guided": {"interval": 2},
    "wherenot": {"share": 0.5},
}


@pytest.fixture(scope="module")
def data():
    return decoy(0, num_train=48, num_validation=20, num_test=10)


def config(name="finetune", **changes):
    plan = {"epochs": 3, "batch_size": 16, **changes}
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
