"""Runs of `train_agent`: every method, adapters that load, runs that go on, configurations and the command line."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import yaml

from agent_runs import clicks
from wherenot.cli import main
from wherenot.data import DataError, decoy
from wherenot.data.gui.writing import write_gui
from wherenot.gui.penalties import EvidencePenalty
from wherenot.models import load_vlm
from wherenot.models.tiny_vlms import tiny_vlm
from wherenot.regions import Grid
from wherenot.search import Fast
from wherenot.train.agents.config import (
    AgentMethodConfig,
    AgentMethodName,
    AgentOptimizationConfig,
    AgentTrainConfig,
    LoraConfig,
    Scope,
    parse_agent_config,
    read_any_config,
)
from wherenot.train.agents.recipe import agent_method_options, build_agent_method, click_preparer
from wherenot.train.agents.records import agent_data
from wherenot.train.agents.training import train_agent
from wherenot.train.config import TrainConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),  # by peft
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.*"),
]
ACTING = {"interval": 2, "right_above": 0.0, "tokens": "all"}
METHODS = {
    "sft": {},
    "paper": {**ACTING, "form": "deviation_redundancy", "partition": "grid:2x2"},
    "necessity": {**ACTING, "form": "log"},
    "paste": ACTING,
    "random_regions": ACTING,
    "swap": {"share": 1.0},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    for part in tiny_vlm("llava"):
        part.save_pretrained(folder)
    return str(folder)


def config(base, name="sft", *, steps=4, scope="language", **method):
    return AgentTrainConfig(
        data="quarters", model=base, max_tokens=4, lora=LoraConfig(rank=2, scope=scope),
        method=AgentMethodConfig(name=name, **method),
        optimization=AgentOptimizationConfig(
            steps=steps, batch_size=2, accumulation=2, learning_rate=1e-2, save_every=2, warmup_frac=0.0
        ),
    )  # fmt: skip


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def weights(run):
    return dict(load_vlm(run / "model").model.named_parameters())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_leaves_an_agent(tmp_path, base, name):
    out = train_agent(config(base, name, **METHODS[name]), tmp_path / "run", dataset=clicks(), quiet=True)
    run = json.loads((out / "run.json").read_text())
    assert (run["command"], run["name"], run["steps"]) == ("train", name, 4)
    assert run["adapted"][0] == "model.language_model.layers.0.self_attn.q_proj"
    assert run["trainable"] > 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["finished"]
    assert metrics["validation"]["n"] == metrics["validation"]["clicks"]["n"] == 4
    records = lines(out / "validation.jsonl")
    assert [record["id"].split("/")[0] for record in records] == ["validation"] * 4
    assert metrics["validation"]["malformed"] == sum(record["malformed"] for record in records)
    before = dict(load_vlm(base).model.named_parameters())
    after = weights(out)
    assert any(float(weight.abs().max()) > 0 for adapter, weight in after.items() if "lora_B" in adapter)
    assert all(torch.equal(after[kept.replace(".base_layer", "")], before[kept]) for kept in before if kept in after)
    assert not (out / "checkpoints").exists()
    acted = [line for line in lines(out / "steps.jsonl") if "task_loss" in line]
    assert [line["step"] for line in acted] == ([] if name in ("sft", "swap") else [2, 4])
    assert all(line["aligned"] == 4 for line in acted)
    if name in ("necessity", "paste", "random_regions"):
        assert all(line["penalised"] == 4 and line["penalty"] > 0 for line in acted)


def test_what_was_validated_is_what_is_saved(tmp_path, base):
    out = train_agent(config(base, scope="all"), tmp_path / "run", dataset=clicks(), quiet=True)
    vlm = load_vlm(out / "model")
    for record, sample in zip(lines(out / "validation.jsonl"), clicks().split("validation").samples, strict=True):
        said = vlm.text(vlm.generate(vlm.encode(sample.read_image(), sample.prompt), max_tokens=4)).strip()
        assert said == record["said"]


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path, base, monkeypatch):
    from wherenot.train.agents.trainer import AgentMethodMixin

    given = config(base, "necessity", **METHODS["necessity"])
    whole = train_agent(given, tmp_path / "whole", dataset=clicks(), quiet=True)
    original = AgentMethodMixin.compute_loss

    def interrupted(self, *arguments, **options):
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return original(self, *arguments, **options)

    monkeypatch.setattr(AgentMethodMixin, "compute_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_agent(given, tmp_path / "cut", dataset=clicks(), quiet=True)
    assert not (tmp_path / "cut" / "metrics.json").exists()
    monkeypatch.setattr(AgentMethodMixin, "compute_loss", original)
    resumed = train_agent(given, tmp_path / "cut", dataset=clicks(), quiet=True)
    assert json.loads((resumed / "run.json").read_text())["resumed"]
    one, two = weights(whole), weights(resumed)
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(ValueError, match="differs in: seed"):
        train_agent(replace(given, seed=5), tmp_path / "cut", dataset=clicks(), quiet=True)


def test_all_weights_can_train(tmp_path, base):
    out = train_agent(config(base, scope="full", steps=2), tmp_path / "run", dataset=clicks(), quiet=True)
    before, after = dict(load_vlm(base).model.named_parameters()), weights(out)
    assert before.keys() == after.keys()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert any("vision_tower" in name for name in changed)
    assert "lm_head.weight" in changed
    assert json.loads((out / "run.json").read_text())["adapted"] == []


def test_half_precision_trains_adapters_in_full(tmp_path, base):
    given = config(base, "necessity", steps=2, **METHODS["necessity"])
    lowered = replace(given, optimization=replace(given.optimization, precision="bf16", gradient_checkpointing=True))
    out = train_agent(lowered, tmp_path / "run", dataset=clicks(), quiet=True)
    [acted] = [line for line in lines(out / "steps.jsonl") if "task_loss" in line]
    assert acted["penalised"] == 4
    assert all(weight.dtype == torch.float32 for name, weight in weights(out).items() if "lora_" in name)
    with pytest.raises(ValueError, match="fp16 needs a GPU"):
        train_agent(
            replace(given, optimization=replace(given.optimization, precision="fp16")), tmp_path, dataset=clicks()
        )


def test_options_reach_the_method_or_are_refused():
    built = build_agent_method(
        AgentMethodConfig(name="paper", weight=2.0, max_regions=3, test="strict", search="fast", tau=0.3), seed=0
    )
    assert built == EvidencePenalty(weight=2.0, max_regions=3, test="strict", search=Fast(), tau=0.3)
    assert build_agent_method(AgentMethodConfig(name="random_regions"), seed=7).seed == 7
    assert build_agent_method(AgentMethodConfig(name="sft"), seed=0) is None
    for name, wrong in (
        ("sft", {"weight": 1.0}), ("necessity", {"max_regions": 2}), ("necessity", {"partition": "grid:2x2"}),
        ("swap", {"interval": 2}), ("paste", {"share": 0.5}), ("random_regions", {"form": "log"}),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"method '{name}' has no option {next(iter(wrong))}"):
            build_agent_method(AgentMethodConfig(name=name, **wrong), seed=0)
    with pytest.raises(ValueError, match="method 'paper' has no form 'log'"):
        build_agent_method(AgentMethodConfig(name="paper", form="log"), seed=0)
    assert agent_method_options("paper") == {
        "weight", "interval", "tokens", "right_above", "form", "max_regions", "test", "tau", "search", "partition",
        "fill", "max_tasks",
    }  # fmt: skip


def test_regions_are_elements_where_there_are_any(base):
    from wherenot.train.agents.collating import AgentCollator

    vlm = load_vlm(base)
    [sample, *_] = clicks().samples
    collator = AgentCollator(vlm, [])
    with_elements, without = collator.task(sample), collator.task(replace(sample, elements=tuple))
    paper = click_preparer(AgentMethodConfig(name="paper"), vlm)
    assert int(paper(with_elements).labels.max()) + 1 == 4
    assert int(paper(without).labels.max()) + 1 > 20  # superpixels
    grid = click_preparer(AgentMethodConfig(name="paper", partition="grid:3x3"), vlm)
    assert (grid(with_elements).labels == Grid(3, 3)(np.asarray(sample.read_image()))).all()
    with pytest.raises(ValueError, match="tells no elements"):
        click_preparer(AgentMethodConfig(name="paper", partition="elements"), vlm)(without)
    assert click_preparer(AgentMethodConfig(name="necessity"), vlm)(without).labels.max() == 0
    nowhere = collator.task(replace(sample, read_prior=lambda: None, right='{"PRESS":"BACK"}'))
    assert paper(nowhere) is None
    with pytest.raises(ValueError, match="cannot drop patches"):
        click_preparer(AgentMethodConfig(name="necessity", fill="drop"), vlm)


def test_data_that_cannot_be_used(tmp_path, base):
    data = clicks()
    with pytest.raises(DataError, match="no tasks on screenshots"):
        agent_data(AgentTrainConfig(), decoy(0, num_train=8, num_validation=4, num_test=4))
    with pytest.raises(DataError, match="no train split"):
        agent_data(AgentTrainConfig(), data.split("validation"))
    untold = replace(data, samples=(replace(data.samples[0], right=None), *data.samples[1:]))
    with pytest.raises(DataError, match="train/red: no right answer"):
        agent_data(AgentTrainConfig(), untold)
    with pytest.raises(DataError, match="no data"):
        agent_data(AgentTrainConfig())
    held = agent_data(AgentTrainConfig(holdout_frac=0.25), data.split("train"))
    assert sorted(sample.split for sample in held.samples) == ["train", "train", "train", "validation"]
    with pytest.raises(ValueError, match="no model"):
        train_agent(replace(config(base), model=""), tmp_path, dataset=data)
    adapter = train_agent(config(base, steps=1), tmp_path / "run", dataset=data, quiet=True) / "model"
    with pytest.raises(ValueError, match="is an adapter"):
        train_agent(config(str(adapter)), tmp_path / "other", dataset=data, quiet=True)


def test_a_file_says_whether_it_is_for_an_agent(tmp_path):
    agent, classifier = tmp_path / "agent.yaml", tmp_path / "classifier.yaml"
    agent.write_text("task: agent\nmethod: {name: paste, weight: 1}\n")
    classifier.write_text("method: {name: rrr}\n")
    assert read_any_config(agent, {}).method == AgentMethodConfig(name="paste", weight=1.0)
    assert isinstance(read_any_config(classifier, {}), TrainConfig)
    for wrong, message in (
        ({"method": {"nam": "sft"}}, "method.nam: no such key; did you mean name?"),
        ({"lora": {"scope": "head"}}, "lora.scope"),
        ({"lora": {"rank": 0}}, "rank must be >= 1"),
        ({"optimization": {"steps": 0}}, "steps must be >= 1"),
        ({"max_side": 0}, "max_side and max_tokens must be >= 1"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_agent_config({"task": "agent", **wrong})


def test_the_page_s_configuration_is_one():
    page = (Path(__file__).parent.parent / "docs" / "agents.md").read_text()
    [shown] = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    assert parse_agent_config(yaml.safe_load(shown)).method.name == AgentMethodConfig().name
    scopes = re.findall(r"^\| `([a-z]+)` \| ", page, flags=re.MULTILINE)
    assert scopes[:5] == list(get_args(Scope))
    methods = re.findall(r"^\| `([a-z_]+)` \| ", page, flags=re.MULTILINE)[5:]
    assert methods == list(get_args(AgentMethodName))


def test_the_example_is_trained_from_the_command_line(tmp_path, base, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    write_gui(clicks(), tmp_path / "screens")
    example = Path(__file__).parent.parent / "examples" / "agent.yaml"
    changed = (
        "--set.data", f"gui:{tmp_path / 'screens'}", "--set.model", base, "--set.optimization.steps", "2",
        "--set.method.share", "1", "--set.max-tokens", "4", "--out", str(tmp_path / "run"),
    )  # fmt: skip
    assert main(["train", str(example), *changed, "--json"]) == 0
    out, said = capsys.readouterr()
    told = json.loads(out)
    assert told["model"] == str(tmp_path / "run" / "model")
    assert told["validation"]["n"] == 4
    assert "trains " in said
    assert "model.language_model.layers.*.self_attn.q_proj (2)" in said
    assert "validation: " in said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["method"]["name"] == "rearrange"
    assert main(["train", str(example), "--set.method.weight", "0.5", *changed[:-1], str(tmp_path / "other")]) == 1
    assert "method 'rearrange' has no option weight" in capsys.readouterr().err
