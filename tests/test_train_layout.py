from dataclasses import replace

import pytest
import torch
from torch import nn

from toys import SmallBatchNormNet, seeded
from wherenot.data import decoy
from wherenot.models import build_classifier, load_classifier
from wherenot.train import training
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig
from wherenot.train.layout import channels_last


def is_last(tensor):
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


class Viewing(SmallBatchNormNet):
    """Insists on the usual layout."""

    def forward(self, images):
        return self.head(self.conv(images).view(len(images), -1))


@pytest.mark.parametrize("spec", ["small-cnn", "efficientnet-lite0@64"])
def test_gradients_and_answers_are_the_same_up_to_rounding(spec):
    usual, last = (build_classifier(spec, classes=["a", "b", "c"], seed=1).eval() for _ in range(2))
    side = usual.preprocess.height
    assert channels_last(last, side, side)
    images = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    answers = [model(images) for model in (usual, last)]
    assert torch.allclose(*answers, atol=1e-4)
    for answer in answers:
        answer.square().sum().backward()
    for one, two in zip(usual.parameters(), last.parameters(), strict=True):
        assert torch.equal(one, two)
        assert torch.allclose(one.grad, two.grad, atol=1e-3 * one.grad.abs().max().item() + 1e-6)
    assert any(is_last(weight) for weight in last.parameters())


def test_feature_maps_follow_the_weights():
    model = build_classifier("small-cnn", classes=["a", "b"])
    channels_last(model, 28, 28)
    seen = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, given, output: seen.append(is_last(output)))
    model(torch.zeros(2, 3, 28, 28))
    assert seen == [True] * 3


def test_what_has_nothing_to_gain_or_cannot_is_left_alone():
    transformer = build_classifier("small-vit", classes=["a", "b"])
    assert not channels_last(transformer, 28, 28)
    viewing = seeded(Viewing).train()
    viewing.drop.eval()
    assert not channels_last(viewing, 8, 8)
    assert viewing.training
    assert not viewing.drop.training
    for model in (transformer, viewing):
        assert all(weight.is_contiguous() for weight in model.parameters())


def test_the_statistics_of_batchnorm_stay_untouched():
    net = seeded(SmallBatchNormNet).train()
    assert channels_last(net, 8, 8)
    assert net.norm.num_batches_tracked == 0
    assert torch.equal(net.norm.running_mean, torch.zeros(4))


def test_training_is_the_same_up_to_rounding(tmp_path, monkeypatch):
    data = decoy(0, num_train=32, num_validation=20, num_test=10)
    config = TrainConfig(
        optimization=OptimizationConfig(epochs=2, batch_size=16, keep="best"),
        method=MethodConfig(name="log", interval=2, confidence_above=0.0, partition="grid:2x2", max_regions=2),
    )
    last = load_classifier(str(training.train(config, tmp_path / "last", dataset=data, quiet=True)))
    monkeypatch.setattr(training, "channels_last", lambda *arguments: False)
    usual = load_classifier(str(training.train(config, tmp_path / "usual", dataset=data, quiet=True)))
    other = load_classifier(str(training.train(replace(config, seed=1), tmp_path / "c", dataset=data, quiet=True)))
    first = "network.features.0.weight"
    weights = [model.state_dict()[first] for model in (last, usual, other)]
    assert torch.allclose(weights[0], weights[1], atol=2e-3)
    assert not torch.allclose(weights[0], weights[2], atol=2e-2)
