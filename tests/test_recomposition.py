"""Recomposition: what is shown, what is left alone, and that it does what it is for."""

import json

import pytest
import torch

from wherenot.data import load_dataset
from wherenot.methods import Batch, Preparing, Recomposition
from wherenot.priors import Prior
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig
from wherenot.train.training import train

SIDE = 8


def batch(count=6):
    """Image i is everywhere i; its prior is the square at the i-th place of the diagonal."""
    images = torch.arange(float(count))[:, None, None, None].expand(-1, 2, SIDE, SIDE).clone()
    priors = [Prior.from_boxes([[i, i, i + 2, i + 2]], SIDE, SIDE) for i in range(count)]
    return images, priors


def test_pixels_on_the_prior_stay_and_all_others_come_from_elsewhere():
    images, priors = batch()
    shown = Recomposition(share=1.0).augment(images, priors, step=3)
    for index, prior in enumerate(priors):
        assert (shown[index][:, prior.allowed] == index).all()
        assert (shown[index][:, ~prior.allowed] != index).all()


def test_no_other_image_brings_its_own_object():
    images, priors = batch()
    for step in range(1, 30):
        shown = Recomposition(share=1.0).augment(images, priors, step=step)
        for index, prior in enumerate(priors):
            for other, elsewhere in enumerate(priors):
                if other != index:
                    assert not ((shown[index, 0] == other) & elsewhere.allowed & ~prior.allowed).any()


def test_what_is_forbidden_comes_from_elsewhere_and_all_else_stays():
    images, priors = batch()
    shown = Recomposition(share=1.0).augment(images, [Prior(forbidden=prior.allowed) for prior in priors], step=3)
    for index, prior in enumerate(priors):
        assert (shown[index][:, ~prior.allowed] == index).all()
        assert (shown[index][:, prior.allowed] != index).all()


def test_an_image_without_a_prior_is_shown_as_it_is_and_lends_last():
    images, priors = batch(4)
    priors[2] = None
    shown = Recomposition(share=1.0).augment(images, priors, step=1)
    assert (shown[2] == 2).all()
    assert all((shown[index][:, ~priors[index].allowed] != 2).all() for index in (0, 1, 3))
    alone = [priors[0], None]
    assert (Recomposition(share=1.0).augment(images[:2], alone, 1)[0][:, ~priors[0].allowed] == 1).all()


def test_share_is_the_share():
    images, priors = batch(6)
    method = Recomposition(share=0.5)
    changed = [
        (method.augment(images, priors, step) != images).flatten(1).any(1).float().mean() for step in range(1, 200)
    ]
    assert torch.stack(changed).mean() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(Recomposition(share=0.0).augment(images, priors, 1), images)


def test_draws_depend_on_seed_and_step_alone():
    images, priors = batch()
    method = Recomposition(share=0.5)
    assert torch.equal(method.augment(images, priors, 7), method.augment(images, priors, 7))
    shown = {tuple(method.augment(images, priors, step).flatten().tolist()) for step in range(1, 9)}
    assert len(shown) == 8
    other = Recomposition(share=0.5, seed=1)
    assert not torch.equal(method.augment(images, priors, 7), other.augment(images, priors, 7))


def test_nothing_to_recompose():
    images, priors = batch()
    assert torch.equal(Recomposition(share=1.0).augment(images[:1], priors[:1], 1), images[:1])
    assert torch.equal(Recomposition(share=1.0).augment(images, [None] * 6, 1), images)


def test_arguments_stay_as_found():
    images, priors = batch()
    before = images.clone()
    Recomposition(share=1.0).augment(images, priors, 1)
    assert torch.equal(images, before)


def test_it_adds_no_loss_and_logs_both_kinds():
    images, priors = batch()
    priors[5] = None
    method = Recomposition(share=1.0)
    logits = torch.eye(6)[[0, 1, 2, 3, 0, 0]].requires_grad_()
    terms = method(torch.nn.Identity(), Batch(images=images, targets=torch.arange(6), logits=logits, priors=priors), 1)
    assert terms.loss == 0
    assert not terms.loss.requires_grad
    assert terms.log == {
        "recomposed": 5.0, "plain": 1.0, "accuracy_recomposed": pytest.approx(0.8), "accuracy_plain": 0.0,
    }  # fmt: skip


def test_it_is_a_preparing_method_and_checks_its_share():
    assert isinstance(Recomposition(), Preparing)
    with pytest.raises(ValueError, match="share must lie"):
        Recomposition(share=1.5)


def config(**method):
    return TrainConfig(
        data="decoy", seed=0, method=MethodConfig(**method),
        optimization=OptimizationConfig(epochs=4, batch_size=64, learning_rate=2e-3),
    )  # fmt: skip


@pytest.mark.slow
def test_training_with_it_loosens_the_hold_of_the_shortcut_with_a_tenth_of_the_priors(tmp_path):
    from dataclasses import replace

    from wherenot.data.decoy import decoy
    from wherenot.models import load_classifier

    data = decoy(num_train=1000, num_validation=60, num_test=300)
    every_tenth = tuple(
        replace(sample, read_prior=lambda: None) if sample.split == "train" and index % 10 else sample
        for index, sample in enumerate(data.samples)
    )
    few = replace(data, samples=every_tenth)
    changed = {}
    for name in ("finetune", "wherenot"):
        out = train(config(name=name), tmp_path / name, dataset=few, quiet=True)
        model = load_classifier(str(out))
        answers = []
        for split in ("test_biased", "test_swapped"):  # the same digits, the square in another colour
            images = torch.stack([model.preprocess(sample.read_image()) for sample in few.split(split).samples])
            with torch.no_grad():
                answers.append(model(images).argmax(1))
        changed[name] = float((answers[0] != answers[1]).float().mean())
    assert changed["finetune"] > 0.05
    assert changed["wherenot"] < changed["finetune"] / 2
    facts = json.loads((tmp_path / "wherenot" / "run.json").read_text())
    assert facts["priors"]["given"] == 100
    assert facts["priors"]["added"] == 900
    lines = [json.loads(line) for line in (tmp_path / "wherenot" / "steps.jsonl").read_text().splitlines()]
    assert any("accuracy_recomposed" in line for line in lines)


def test_unknown_options_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no option share"):
        train(config(name="rrr", share=0.5), tmp_path / "run", dataset=load_dataset("decoy"), quiet=True)


def test_randomness_does_not_leak():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    images, priors = batch()
    Recomposition().augment(images, priors, 1)
    assert torch.equal(torch.rand(3), expected)
