import json
from dataclasses import replace

import pytest
import torch

from toys import SmallBatchNormNet, seeded
from wherenot import Normalization, Prior
from wherenot.data import decoy
from wherenot.methods import PRESETS, Alignment, BackgroundSwap, BoxGuided, Counterfactual, RandomRegions, Recomposition
from wherenot.methods.base import Terms
from wherenot.methods.megl import MEGL
from wherenot.methods.model_guidance import ModelGuidance
from wherenot.methods.rrr import RRR
from wherenot.methods.xil import XIL
from wherenot.models import load_classifier
from wherenot.regions import Grid, Slico
from wherenot.search import Exact, Fast, Scoped
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig, parse_config, read_config
from wherenot.train.recipe import build_method

QUICK = OptimizationConfig(epochs=2, batch_size=16)


@pytest.fixture(scope="module")
def data():
    return decoy(0, num_train=48, num_validation=20, num_test=10)


def steps_of(folder):
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def quick(**method):
    return TrainConfig(optimization=QUICK, method=MethodConfig(**method))


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
    "model_guidance": {"weight": 0.1, "localization": "ppce"},
    "random_regions": ALIGNED,
    "counterfactual": {"interval": 2, "confidence_above": 0.0},
    "background_swap": {"weight": 0.5},
    "box_guided": {"interval": 2},
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_leaves_a_model(tmp_path, data, name):
    from wherenot.train.training import train

    out = train(quick(name=name, **METHODS[name]), tmp_path / "run", dataset=data, quiet=True)
    run = json.loads((out / "run.json").read_text())
    metrics = json.loads((out / "metrics.json").read_text())
    assert (run["command"], run["name"], run["steps"]) == ("train", name, 6)
    assert [epoch["epoch"] for epoch in metrics["validation"]["epochs"]] == [1.0, 2.0]
    assert load_classifier(str(out)).classes == data.classes
    acted = [step for step in steps_of(out) if "task_loss" in step]
    if name != "finetune":
        assert acted
        assert all(step["step"] % METHODS[name].get("interval", 1) == 0 for step in acted)
        measured = {key for step in acted for key in step} - {"step", "task_loss"}
        assert measured


def test_the_same_seed_trains_the_same_model(tmp_path, data):
    from wherenot.train.training import train

    config = quick(name="log", **ALIGNED)
    runs = [train(config, tmp_path / name, dataset=data, quiet=True) for name in ("a", "b")]
    runs.append(train(replace(config, seed=1), tmp_path / "c", dataset=data, quiet=True))
    first, again, other = (load_classifier(str(run)).state_dict() for run in runs)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path, data, monkeypatch):
    from wherenot.train import trainer, training

    config = quick(name="log", **ALIGNED)
    whole = training.train(config, tmp_path / "whole", dataset=data, quiet=True)
    original = trainer.MethodMixin.compute_loss

    def interrupted(self, *arguments, **options):
        if self.state.global_step == 4:  # in the second epoch
            raise KeyboardInterrupt
        return original(self, *arguments, **options)

    monkeypatch.setattr(trainer.MethodMixin, "compute_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "cut", dataset=data, quiet=True)
    assert not (tmp_path / "cut" / "metrics.json").exists()
    monkeypatch.setattr(trainer.MethodMixin, "compute_loss", original)
    resumed = training.train(config, tmp_path / "cut", dataset=data, quiet=True)
    one, two = (load_classifier(str(run)).state_dict() for run in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_finished_run_is_not_run_again_and_another_configuration_is_refused(tmp_path, data):
    from wherenot.train.training import train

    train(quick(), tmp_path / "run", dataset=data, quiet=True)
    before = (tmp_path / "run" / "run.json").read_text()
    train(quick(), tmp_path / "run", dataset=data, quiet=True)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["commit"] == json.loads(before)["commit"]
    with pytest.raises(ValueError, match="differs in: seed"):
        train(replace(quick(), seed=5), tmp_path / "run", dataset=data, quiet=True)


def test_early_stopping_stops(tmp_path, data):
    from wherenot.train.training import train

    config = TrainConfig(optimization=OptimizationConfig(epochs=6, batch_size=16, learning_rate=1e-9, patience=1))
    out = train(config, tmp_path, dataset=data, quiet=True)
    assert len(json.loads((out / "metrics.json").read_text())["validation"]["epochs"]) == 2


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.*")
def test_terms_weigh_the_same_with_gradient_accumulation(tmp_path):
    from transformers import TrainingArguments

    from wherenot.train.trainer import ClassificationTrainer, TaskModel, collate

    items = [
        {"pixel_values": image, "labels": index % 3, "priors": Prior.from_boxes([[0, 0, 4, 4]], 8, 8)}
        for index, image in enumerate(torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    ]

    class Constant:
        """A term with the same gradient for every batch."""

        def __call__(self, model, batch, step):
            return Terms(sum(parameter.sum() for parameter in model.parameters()) * 0.5)

    gradients = []
    for size, accumulate in ((8, 1), (2, 4)):
        model = TaskModel(seeded(SmallBatchNormNet).eval())
        for module in model.modules():
            module.train = lambda mode=True, module=module: module  # BatchNorm and dropout would tell batches apart
        model.training = True
        arguments = TrainingArguments(
            output_dir=str(tmp_path), per_device_train_batch_size=size, gradient_accumulation_steps=accumulate,
            max_steps=1, learning_rate=0.1, optim="sgd", max_grad_norm=0.0, report_to="none", disable_tqdm=True,
            save_strategy="no", remove_unused_columns=False, logging_strategy="no", use_cpu=True,
            lr_scheduler_type="constant", dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = ClassificationTrainer(model=model, args=arguments, train_dataset=items, data_collator=collate)
        trainer.method = Constant()
        before = model.classifier.head.bias.detach().clone()
        trainer.train()
        gradients.append((before - model.classifier.head.bias.detach()) / 0.1)
    assert torch.allclose(*gradients, atol=1e-5)
    assert gradients[0].sum().item() == pytest.approx(1.5, abs=1e-4)  # the task's part sums to 0


def test_methods_by_name():
    normalization = Normalization((0.5,) * 3, (0.5,) * 3)
    built = build_method(
        MethodConfig(name="log", weight=2.0, redundancy_weight=0.0, search="scoped", partition="grid:4x4"),
        normalization,
        seed=3,
    )
    assert isinstance(built, Alignment)
    assert (built.form, built.deviation_weight, built.redundancy_weight) == ("log", 2.0, 0.0)
    assert (built.search, built.partition, built.normalization) == (Scoped(), Grid(4, 4), normalization)
    assert build_method(MethodConfig(name="finetune"), normalization, 0) is None
    assert isinstance(build_method(MethodConfig(), normalization, 0), Recomposition)  # ours, if none is named
    assert build_method(MethodConfig(name="random_regions"), normalization, 7).seed == 7
    kinds = {
        "rrr": RRR,
        "xil": XIL,
        "megl": MEGL,
        "random_regions": RandomRegions,
        "counterfactual": Counterfactual,
        "background_swap": BackgroundSwap,
        "box_guided": BoxGuided,
    }
    for name, kind in kinds.items():
        assert isinstance(build_method(MethodConfig(name=name, weight=0.3), normalization, 0), kind)
    for name in ("background_swap", "box_guided"):
        assert build_method(MethodConfig(name=name, interval=4), normalization, 7).seed == 7
    for name in ("energy", "l1", "rrr_star", "ppce"):
        config = parse_config({"method": {"name": "model_guidance", "localization": name}}).method
        assert build_method(config, normalization, 0) == ModelGuidance(localization=name)
    assert build_method(MethodConfig(name="paper"), Normalization(), 0) == replace(
        PRESETS["paper"], normalization=Normalization()
    )


@pytest.mark.parametrize(
    ("name", "option"), [("finetune", "weight"), ("rrr", "tau"), ("paper", "layer"), ("xil", "localization")]
)
def test_an_option_without_effect_is_refused(name, option):
    value = {"weight": 1.0, "tau": 0.2, "layer": "conv", "localization": "l1"}[option]
    with pytest.raises(ValueError, match=f"method '{name}' has no option {option}"):
        build_method(MethodConfig(name=name, **{option: value}), Normalization(), 0)


def test_configurations_from_yaml(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("seed: 3\nmethod: {name: log, weight: 2}\noptimization:\n  epochs: 1\n")
    config = read_config(path)
    assert (config.seed, config.method.weight, config.optimization.epochs) == (3, 2.0, 1)
    assert config.title == "log"
    path.write_text("")
    assert read_config(path) == TrainConfig()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"lamda": 1}, "lamda: no such key; there are data, model, "),
        ({"method": {"name": "log", "wieght": 1}}, "method.wieght: no such key; did you mean weight\\?"),
        ({"method": {"name": "magic"}}, "method.name: Input should be 'finetune'"),
        (
            {"method": {"localization": "epg"}},
            "method.localization: Input should be 'energy', 'l1', 'rrr_star' or 'ppce'",
        ),
        ({"optimization": {"epochs": "many"}}, "optimization.epochs: .* got 'many'"),
        ({"optimization": {"epochs": 0}}, "epochs must be >= 1, got 0"),
        ({"optimization": {"learning_rate": -1}}, "learning_rate must be > 0"),
        (["seed"], "must hold keys and values"),
    ],
)
def test_wrong_configurations_are_named(content, message):
    with pytest.raises(ValueError, match=message):
        parse_config(content)


def test_unreadable_configuration_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.yaml cannot be read"):
        read_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("seed: [1")
    with pytest.raises(ValueError, match=r"bad\.yaml is not YAML"):
        read_config(tmp_path / "bad.yaml")


def test_images_are_cut_where_they_are_read(tmp_path, data):
    from wherenot.models import build_classifier
    from wherenot.region_cache import CachedPartition
    from wherenot.regions import label_maps
    from wherenot.train.trainer import ImageSet, collate

    preprocess = build_classifier("small-cnn", classes=data.classes).preprocess
    cached = CachedPartition(Slico(9), tmp_path)
    item = ImageSet(data.split("train"), preprocess, cached)[0]
    expected = label_maps(item["pixel_values"][None], Slico(9), preprocess.normalization)[0]
    assert torch.equal(item["regions"].long(), expected)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
    batch = collate([item, {**item, "priors": None} | {"regions": torch.zeros_like(item["regions"])}])
    assert batch["regions"].shape == (2, 28, 28)
    without = {name: value for name, value in item.items() if name != "regions"}
    assert torch.equal(collate([without, item])["regions"][0], torch.zeros(28, 28, dtype=torch.short))
    assert "regions" not in collate([without])


def test_a_run_keeps_its_regions_for_the_next(tmp_path, data, monkeypatch):
    from wherenot.train import training

    monkeypatch.setenv("WHERENOT_CACHE", str(tmp_path / "cache"))
    config = quick(name="log", interval=2, confidence_above=0.0, partition="slico:9", max_regions=2)
    training.train(config, tmp_path / "one", dataset=data, quiet=True)
    kept = {path for path in (tmp_path / "cache" / "regions").rglob("*") if path.is_file()}
    assert len(kept) == 48
    training.train(config, tmp_path / "two", dataset=data, quiet=True)
    assert {path for path in (tmp_path / "cache" / "regions").rglob("*") if path.is_file()} == kept
    one, two = (steps_of(tmp_path / name) for name in ("one", "two"))
    assert [step["deviation"] for step in one if "deviation" in step] == [
        step["deviation"] for step in two if "deviation" in step
    ]
    assert any("deviation" in step for step in one)


def test_a_vision_transformer_trains_with_dropped_patches(tmp_path, data):
    from wherenot.train.training import train

    config = quick(name="log", interval=2, confidence_above=0.0, partition="grid:7x7", fill="drop", max_regions=2)
    out = train(replace(config, model="small-vit"), tmp_path / "run", dataset=data, quiet=True)
    aligned = [step for step in steps_of(out) if step.get("aligned")]
    assert aligned
    assert all(step["forwards"] > 0 for step in aligned)
    assert load_classifier(str(out))(torch.zeros(1, 3, 28, 28)).shape == (1, 10)


def test_the_paper_is_searched_exactly_and_the_rest_fast():
    assert isinstance(PRESETS["paper"].search, Exact)
    assert isinstance(PRESETS["paper-tables"].search, Exact)
    assert isinstance(Alignment().search, Fast)


@pytest.mark.parametrize("name", ["xil", "model_guidance"])
def test_methods_on_gradient_maps_train_a_vision_transformer(tmp_path, data, name):
    from wherenot.train.training import train

    out = train(replace(quick(name=name), model="small-vit"), tmp_path / "run", dataset=data, quiet=True)
    acted = [step[name] for step in steps_of(out) if name in step]
    assert acted
    assert all(value > 0 for value in acted)
