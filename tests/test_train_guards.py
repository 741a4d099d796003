"""Guards of training: numbers that are none, accuracy that falls, memory that does not suffice."""

import json
import math

import pytest
import torch

from toys import SmallBatchNormNet, seeded
from wherenot import Alignment, Batch, Prior
from wherenot.data import decoy
from wherenot.methods import Terms
from wherenot.models import load_classifier
from wherenot.regions import Grid
from wherenot.run import read_warnings
from wherenot.scoring import RegionScore
from wherenot.train import training
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig, parse_config

ALIGNED = {"interval": 2, "confidence_above": 0.0, "partition": "grid:2x2", "max_regions": 2}


@pytest.fixture(scope="module")
def data():
    return decoy(0, num_train=48, num_validation=20, num_test=10)


def config(method="finetune", options=None, **plan):
    return TrainConfig(
        optimization=OptimizationConfig(**{"epochs": 2, "batch_size": 16, **plan}),
        method=MethodConfig(name=method, **(options or {})),
    )


def lines(out):
    return [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]


class Poisoned:
    """A method whose gradient, or loss, is no number at some steps."""

    def __init__(self, steps, what):
        self.steps, self.what = steps, what

    def __call__(self, model, batch, step):
        [weight] = [each for name, each in model.named_parameters() if name.endswith("head.1.bias")]
        zero = (weight * 0).sum()
        if step not in self.steps:
            return Terms(zero, {"poison": 0.0})
        # The derivative of the root at 0 is infinite, and infinity times 0 is no number.
        loss = zero.sqrt() if self.what == "gradient" else zero + math.nan
        return Terms(loss, {"poison": loss.item()})


def poison(monkeypatch, *steps, what):
    monkeypatch.setattr(training, "build_method", lambda *_: Poisoned(steps, what))


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_or_gradient_that_is_no_number_stops_the_run(tmp_path, data, monkeypatch, what):
    from wherenot.train.trainer import TaskModel

    seen = []
    if what == "gradient":
        poison(monkeypatch, 5, what="gradient")
    original = TaskModel.forward

    def forward(self, pixel_values, labels=None):
        answer = original(self, pixel_values, labels)
        if self.training and labels is not None:
            seen.append(pixel_values)
            if len(seen) == 5 and what == "loss":
                answer["loss"] = answer["loss"] * math.inf
        return answer

    monkeypatch.setattr(TaskModel, "forward", forward)
    with pytest.raises(ValueError, match=rf"the {what} at step 5 is not a finite number.*not_finite-0\.json"):
        training.train(config(), tmp_path, dataset=data, quiet=True)
    found = json.loads((tmp_path / "not_finite-0.json").read_text())
    assert (found["step"], found["what"]) == (5, what)
    preprocess = training.build_classifier("small-cnn", classes=data.classes).preprocess
    shown = {sample.id: preprocess(sample.read_image()) for sample in data.split("train").samples}
    assert torch.equal(torch.stack([shown[name] for name in found["samples"]]), seen[4])
    assert not (tmp_path / "metrics.json").exists()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-3"]


def test_a_term_that_is_no_number_is_left_out_of_its_batch(tmp_path, data, monkeypatch):
    plain = training.train(config(), tmp_path / "plain", dataset=data, quiet=True)
    poison(monkeypatch, 2, 5, what="loss")
    out = training.train(config(), tmp_path / "poisoned", dataset=data, quiet=True)
    one, two = (load_classifier(str(run)).state_dict() for run in (plain, out))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert [line["step"] for line in lines(out) if line.get("skipped")] == [2, 5]
    assert json.loads((out / "metrics.json").read_text())["guards"] == {"skipped": 2, "halved": 0}
    [warning] = [warning for warning in read_warnings(out) if warning.kind == "terms_skipped"]
    assert "(poison) was not a finite number at 2 steps of the 6 on which it acted, first at step 2" in warning.seen


def test_evidence_that_is_no_number_is_left_out(tmp_path, data, monkeypatch):
    """The forwards of the losses overflow at a step; the search and the rest of training go on."""
    original, calls = RegionScore.odds, []

    def odds(self, image, keep):
        calls.append(1)
        return original(self, image, keep) * (math.nan if len(calls) == 1 else 1.0)

    monkeypatch.setattr(RegionScore, "odds", odds)
    out = training.train(config("log", ALIGNED), tmp_path, dataset=data, quiet=True)
    assert json.loads((out / "metrics.json").read_text())["guards"]["skipped"] == 1
    assert all(value.isfinite().all() for value in load_classifier(str(out)).state_dict().values())


def test_accuracy_that_falls_too_far_stops_the_run_with_its_best(tmp_path, data, monkeypatch):
    accuracies = iter([0.5, 0.9, 0.8, 0.69, 0.95])
    monkeypatch.setattr(training, "_measures", lambda _: {"accuracy": next(accuracies), "confidence": 0.5})
    kept = training.train(config(epochs=5, max_drop=0.2), tmp_path / "drop", dataset=data, quiet=True)
    told = json.loads((kept / "metrics.json").read_text())["validation"]
    assert [epoch["accuracy"] for epoch in told["epochs"]] == [0.5, 0.9, 0.8, 0.69]
    assert told["best"]["epoch"] == 2.0
    accuracies = iter([0.5, 0.9, 0.8, 0.75, 0.7])
    whole = training.train(config(epochs=5, keep="best"), tmp_path / "whole", dataset=data, quiet=True)
    assert len(json.loads((whole / "metrics.json").read_text())["validation"]["epochs"]) == 5
    one, two = (load_classifier(str(run)).state_dict() for run in (kept, whole))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_a_drop_is_a_share(value):
    with pytest.raises(ValueError, match=r"max_drop must lie in \[0, 1\]"):
        parse_config({"optimization": {"max_drop": value}})


class Small(torch.nn.Module):
    """A model that has memory for so many images at once, always or with gradients."""

    def __init__(self, model, memory, *, always):
        super().__init__()
        self.model, self.memory, self.always = model, memory, always

    def forward(self, images):
        if len(images) > self.memory and (self.always or torch.is_grad_enabled()):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.model(images)


def aligned(model, memory=None, *, always=True):
    """What alignment adds and the gradient of it, with so much memory for its forwards."""
    generator = torch.Generator().manual_seed(0)
    images, targets = torch.rand(4, 3, 8, 8, generator=generator), torch.tensor([0, 1, 0, 1])
    priors = [Prior.from_boxes([[0, 0, 2, 2]], 8, 8)] * 4
    logits = model(images)
    asked = model if memory is None else Small(model, memory, always=always)
    align = Alignment(form="log", interval=1, partition=Grid(3, 3), confidence_above=-1.0, stop_above=None)
    targets = logits.argmax(1)
    terms = align(asked, Batch(images=images, targets=targets, logits=logits, priors=priors), step=1)
    model.zero_grad()
    terms.loss.backward()
    return terms, [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]


@pytest.mark.parametrize("always", [True, False], ids=["search", "losses"])
@pytest.mark.parametrize("memory", [1, 5])
def test_alignment_without_memory_halves_its_chunk_and_goes_on(memory, always):
    model = seeded(SmallBatchNormNet).eval()
    enough, gradients = aligned(model)
    scarce, others = aligned(model, memory, always=always)
    assert "halved" not in enough.log
    assert scarce.log["halved"] >= 1
    assert scarce.loss.item() == pytest.approx(enough.loss.item(), rel=1e-5)
    assert all(torch.allclose(one, two, atol=1e-6) for one, two in zip(gradients, others, strict=True))


def test_memory_that_does_not_suffice_for_one_image():
    with pytest.raises(torch.OutOfMemoryError):
        aligned(seeded(SmallBatchNormNet).eval(), memory=0)
