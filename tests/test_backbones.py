"""The paper's backbones, tiny: which weights train, with what, and that alignment runs on them end to end."""

import json
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tiny_backbones import BUILDERS, tiny_clip
from toys import SmallBatchNormNet, seeded
from wherenot import cli
from wherenot.data import decoy
from wherenot.models import Preprocess, build_classifier, load_classifier, train_only
from wherenot.models.scope import head
from wherenot.train import training
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig
from wherenot.train.trainer import TaskModel

ALIGNED = MethodConfig(name="log", interval=1, confidence_above=0.0, partition="grid:2x2", max_regions=2)


@pytest.fixture(scope="module")
def data():
    return decoy(0, num_train=16, num_validation=8, num_test=8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    built = {name: build(tmp_path_factory.mktemp(name)) for name, build in BUILDERS.items()}
    return {**built, "siglip": tiny_clip(tmp_path_factory.mktemp("siglip"), "siglip")}


def plan(**options):
    return OptimizationConfig(epochs=1, batch_size=8, learning_rate=1e-3, schedule="constant", **options)


def moved(before, after):
    """Names of the weights and buffers that differ."""
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


VISION = ("network.model.vision_model.", "network.model.visual_projection.")
TEXT = ("network.model.text_model.", "network.model.text_projection.")
EXPECTED = {
    ("clip", None): VISION,
    ("clip", "vision"): VISION,
    ("clip", "projection"): VISION[1:],
    ("clip", "full"): VISION + TEXT,
    ("siglip", "vision"): VISION[:1],
    ("siglip", "full"): VISION[:1] + TEXT[:1],
    ("vit", None): ("network.",),
    ("vit", "head"): ("network.classifier.",),
    ("resnet", "full"): ("network.",),
    ("resnet", "head"): ("network.classifier.",),
    ("small-cnn", "head"): ("network.head.",),
    ("efficientnet-lite0@32", "head"): ("network._fc.",),
}


@pytest.mark.parametrize(("model", "scope"), EXPECTED)
def test_exactly_the_weights_of_the_scope_move(tmp_path, data, folders, model, scope):
    """Two steps of the real trainer; buffers (BatchNorm) move only with the layers they belong to."""
    spec = str(folders.get(model, model))
    config = TrainConfig(model=spec, optimization=plan(scope=scope))
    before = build_classifier(spec, classes=data.classes, seed=0).state_dict()
    out = training.train(config, tmp_path, dataset=data, quiet=True)
    assert json.loads((out / "run.json").read_text())["steps"] == 2
    after = load_classifier(str(out)).state_dict()
    allowed = EXPECTED[model, scope]
    expected = {name for name in after if name.startswith(allowed)}
    assert moved(before, after) == expected


def test_a_scope_that_the_model_does_not_have_is_refused(folders):
    for model, scope, known in (
        ("vit", "vision", "full, head"),
        ("resnet", "projection", "full, head"),
        ("clip", "head", "vision, projection, full"),
    ):
        classifier = build_classifier(str(folders[model]), classes=["a", "b"])
        with pytest.raises(ValueError, match=f"no scope '{scope}'; choose one of {known}"):
            train_only(classifier, scope)
    with pytest.raises(ValueError, match="SigLIP has no projection"):
        train_only(build_classifier(str(folders["siglip"]), classes=["a", "b"]), "projection")
    with pytest.raises(ValueError, match="Flatten has no head"):
        head(nn.Flatten())


def test_a_scope_can_be_widened_again(folders):
    for model, scopes in (("vit", ("head", "full")), ("clip", ("projection", "vision"))):
        classifier = build_classifier(str(folders[model]), classes=["a", "b"])
        expected = {name for name, weight in classifier.named_parameters() if weight.requires_grad}
        assert [train_only(classifier, scope) for scope in scopes] == list(scopes)
        assert {name for name, weight in classifier.named_parameters() if weight.requires_grad} == expected


def test_batchnorm_stays_frozen_whatever_a_trainer_calls():
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for freeze in (True, False):
        model = TaskModel(seeded(SmallBatchNormNet), freeze_batchnorm=freeze)
        model.eval()
        assert model.train() is model
        norm = model.classifier.norm
        assert (norm.training, model.classifier.drop.training) == (not freeze, True)
        nn.Sequential(model).train()  # as a wrapper's call arrives
        assert norm.training is not freeze
        model(pixel_values=images)
        assert bool(norm.num_batches_tracked) is not freeze
        assert norm.weight.requires_grad
        assert not model.eval().training


def test_batchnorm_without_weights_of_its_own_is_no_frozen_layer():
    model = TaskModel(nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Flatten(), nn.Linear(12, 2))).train()
    assert model.classifier[0].training
    model.classifier[2].requires_grad_(False)
    assert model.train().classifier[0].training


def test_frozen_batchnorm_in_a_run(tmp_path, data, folders):
    config = TrainConfig(model=str(folders["resnet"]), method=ALIGNED, optimization=plan(batchnorm="frozen"))
    before = build_classifier(config.model, classes=data.classes).state_dict()
    after = load_classifier(str(training.train(config, tmp_path, dataset=data, quiet=True))).state_dict()
    statistics = {name for name in after if "running" in name or "tracked" in name}
    assert len(statistics) > 20
    assert moved(before, after) == set(after) - statistics


@pytest.mark.parametrize("model", ["clip", "siglip", "vit", "resnet"])
def test_alignment_from_the_command_line(tmp_path, folders, model):
    data = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        for index in range(8):
            name = ("tabby_cat", "dog")[index % 2]
            (data / split / name).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(data / split / name / f"{index}.png")
        (data / split / "metadata.jsonl").write_text(
            "".join(
                json.dumps(
                    {"file_name": f"{('tabby_cat', 'dog')[index % 2]}/{index}.png",
                     "objects": {"bbox": [[5, 5, 20, 20]], "bbox_format": "xywh"}}
                ) + "\n"
                for index in range(8)
            )
        )  # fmt: skip
    settings = tmp_path / "run.yaml"
    settings.write_text(
        f"data: {data}\nmodel: {folders[model]}\nresize: whole\n"
        "method: {name: paper, interval: 1, confidence_above: 0.0, partition: 'grid:2x2', max_regions: 2}\n"
        "optimization: {epochs: 1, batch_size: 4, learning_rate: 0.001}\n"
    )
    run = tmp_path / "run"
    assert cli.main(["train", str(settings), "--out", str(run)]) == 0
    steps = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    aligned = [step for step in steps if step.get("aligned")]
    assert aligned
    assert all(step["forwards"] > 0 and np.isfinite(step["deviation"]) for step in aligned)
    assert load_classifier(str(run)).preprocess.short_side is None
    # The trained model and, without a head of its own, the bare one are audited on the same names.
    for spec in [str(run)] + ([str(folders[model])] if model in ("clip", "siglip") else []):
        out = tmp_path / f"audit-{len(spec)}"
        arguments = ["--model", spec, "--data", str(data), "--partition", "grid:2x2", "--max-images", "2"]
        assert cli.main(["audit", *arguments, "--out", str(out)]) == 0


@pytest.mark.parametrize(("method", "dtypes"), [("log", ["bfloat16"]), ("rrr", ["bfloat16", "float32"])])
def test_bfloat16_forwards_and_single_precision_weights(tmp_path, data, monkeypatch, method, dtypes):
    """Gradient maps alone are asked for in full precision."""
    seen = set()
    original = nn.Conv2d.forward

    def recording(self, images):
        output = original(self, images)
        if self.training or torch.is_grad_enabled():  # not where the memory layout is tried
            seen.add((self.weight.dtype, output.dtype))
        return output

    monkeypatch.setattr(nn.Conv2d, "forward", recording)
    settings = ALIGNED if method == "log" else MethodConfig(name="rrr", weight=1.0)
    config = TrainConfig(method=settings, optimization=plan(precision="bf16"))
    out = training.train(config, tmp_path / "bf16", dataset=data, quiet=True)
    assert seen == {(torch.float32, getattr(torch, dtype)) for dtype in dtypes}
    assert all(weight.dtype == torch.float32 for weight in load_classifier(str(out)).parameters())
    seen.clear()
    config = TrainConfig(method=settings, optimization=plan())
    training.train(config, tmp_path / "fp32", dataset=data, quiet=True)
    assert seen == {(torch.float32, torch.float32)}


@pytest.mark.skipif(torch.accelerator.is_available(), reason="fp16 works with an accelerator")
def test_half_precision_without_a_gpu_is_refused(tmp_path, data):
    with pytest.raises(ValueError, match=r"fp16 needs a GPU; add --set\.optimization\.precision fp32"):
        training.train(TrainConfig(optimization=plan(precision="fp16")), tmp_path, dataset=data, quiet=True)


def fake_timm(monkeypatch, label_names=None, **config):
    settings = {"input_size": (3, 8, 8), "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.25,) * 3,
                "crop_pct": 0.5, "crop_mode": "center", **config}  # fmt: skip
    made = []

    def create_model(name, pretrained, num_classes=7):
        if name != "tinynet":
            raise RuntimeError(f"Unknown model ({name})")
        made.append((pretrained, num_classes))
        network = SmallBatchNormNet(num_classes)
        network.num_classes, network.pretrained_cfg = num_classes, {"label_names": label_names}
        network.get_classifier = lambda: network.head
        return network

    timm, timm_data = types.ModuleType("timm"), types.ModuleType("timm.data")
    timm.create_model, timm.data = create_model, timm_data
    timm_data.resolve_model_data_config = lambda network: settings
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "timm.data", timm_data)
    return made


def test_networks_of_timm(tmp_path, monkeypatch):
    made = fake_timm(monkeypatch)
    built = build_classifier("timm:tinynet", classes=["cat", "dog"]).eval()
    assert built.preprocess == Preprocess(
        height=8, width=8, short_side=16, resample=2, normalization=built.preprocess.normalization
    )
    assert built.normalization.std == (0.25,) * 3
    train_only(built, "head")
    assert [name for name, weight in built.named_parameters() if weight.requires_grad] == [
        "network.head.weight", "network.head.bias"
    ]  # fmt: skip
    built.save(tmp_path)
    loaded = load_classifier(str(tmp_path))
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(loaded(images), built(images))
    assert (loaded.classes, loaded.preprocess) == (built.classes, built.preprocess)
    assert made == [(True, 2), (False, 2)]
    assert load_classifier("timm:tinynet").classes == tuple("0123456")
    fake_timm(monkeypatch, label_names=list("abcdefg"), crop_mode="squash", crop_pct=1.0)
    own = load_classifier("timm:tinynet")
    assert (own.classes, own.preprocess.short_side) == (tuple("abcdefg"), None)
    with pytest.raises(ValueError, match=r"timm cannot make 'none': Unknown model"):
        load_classifier("timm:none")
    with pytest.raises(ValueError, match="leave out '@96'"):
        load_classifier("timm:tinynet@96")


@pytest.mark.parametrize("config", [{"crop_mode": "border"}, {"crop_mode": "squash"}, {"input_size": (1, 8, 8)}])
def test_preprocessing_of_timm_that_cannot_be_reproduced_is_refused(monkeypatch, config):
    fake_timm(monkeypatch, **config)
    with pytest.raises(ValueError, match="cannot reproduce the preprocessing of timm's 'tinynet'"):
        load_classifier("timm:tinynet")


def test_without_timm_it_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"'timm:resnet18' needs timm.*pip install 'wherenot\[timm\]'"):
        load_classifier("timm:resnet18")
