"""Agents whose training is interrupted anywhere and goes on end as if nothing had happened, to the last bit."""

import json
import math

import pytest
import torch

from agent_runs import clicks
from wherenot.gui.rewards import TaskReward
from wherenot.models import load_vlm
from wherenot.models.tiny_vlms import tiny_vlm
from wherenot.train.agents.config import AgentMethodConfig, AgentOptimizationConfig, AgentTrainConfig, LoraConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),  # by peft
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.*"),
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing"),  # by trl
]
# benchmarks/kills.py kills runs of more of them.
METHODS = {
    "necessity": {"interval": 2, "right_above": 0.0, "tokens": "all", "form": "log"},
    "swap": {"share": 1.0},
    "grpo": {"generations": 2},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    for part in tiny_vlm("llava"):
        part.save_pretrained(folder)
    return str(folder)


def config(base, name):
    return AgentTrainConfig(
        data="quarters", model=base, max_tokens=4, lora=LoraConfig(rank=2, dropout=0.1),
        method=AgentMethodConfig(name=name, **METHODS[name]),
        optimization=AgentOptimizationConfig(
            steps=5, batch_size=1, accumulation=2, learning_rate=1e-2, save_every=3, warmup_frac=0.0,
            schedule="constant",
        ),
    )  # fmt: skip


def same(one, two):
    first, second = (dict(load_vlm(run / "model").model.named_parameters()) for run in (one, two))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all((one / name).read_text() == (two / name).read_text() for name in ("metrics.json", "validation.jsonl"))


@pytest.mark.parametrize("name", ["swap", "necessity"])
def test_every_method_goes_on_to_the_same_bits(tmp_path, base, monkeypatch, name):
    from transformers import Trainer

    from wherenot.train.agents.training import train_agent

    # Otherwise four tokens are never right, and rewards teach nothing.
    monkeypatch.setattr(TaskReward, "__call__", lambda self, vlm, sample, said: float(len(set(said))))
    given = config(base, name)
    whole = train_agent(given, tmp_path / "whole", dataset=clicks(), quiet=True)
    original = Trainer.training_step

    def interrupted(self, *arguments, **options):
        if self.state.global_step == 4:  # the checkpoint, of step 3, lies in the midst of an epoch of two steps
            raise KeyboardInterrupt
        return original(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_agent(given, tmp_path / "cut", dataset=clicks(), quiet=True)
    resumed = train_agent(given, tmp_path / "cut", dataset=clicks(), quiet=True)
    assert json.loads((resumed / "run.json").read_text())["resumed"]
    same(whole, resumed)


def test_a_run_cut_while_it_is_validated_trains_no_more(tmp_path, base, monkeypatch):
    from wherenot.train.agents import training

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    given = config(base, "swap")  # its last step, too, lies in the midst of an epoch
    whole = training.train_agent(given, tmp_path / "whole", dataset=clicks(), quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(training, "validated", interrupted)
        with pytest.raises(KeyboardInterrupt):
            training.train_agent(given, tmp_path / "cut", dataset=clicks(), quiet=True)
    same(whole, training.train_agent(given, tmp_path / "cut", dataset=clicks(), quiet=True))
    assert json.loads((tmp_path / "cut" / "run.json").read_text())["steps"] == 5


def test_a_penalty_that_is_no_number_is_left_out_and_a_loss_stops_the_run(tmp_path, base, monkeypatch):
    from wherenot.train.agents import trainer, training

    given = config(base, "necessity")
    calls = []
    original = trainer.penalties_of

    def penalties(vlm, off):
        calls.append(1)
        return original(vlm, off) * (math.nan if len(calls) == 1 else 1.0)

    monkeypatch.setattr(trainer, "penalties_of", penalties)
    out = training.train_agent(given, tmp_path / "run", dataset=clicks(), quiet=True)
    assert json.loads((out / "metrics.json").read_text())["guards"] == {"skipped": 1, "halved": 0}
    assert len(calls) > 1
    assert all(value.isfinite().all() for value in load_vlm(out / "model").model.parameters())
    loss = trainer.AgentMethodMixin.compute_loss

    def endless(self, *arguments, **options):
        return loss(self, *arguments, **options) * (math.inf if self.state.global_step == 3 else 1.0)

    monkeypatch.setattr(trainer.AgentMethodMixin, "compute_loss", endless)
    with pytest.raises(ValueError, match=r"the loss at step 4 is not a finite number"):
        training.train_agent(given, tmp_path / "stopped", dataset=clicks(), quiet=True)
    found = json.loads((tmp_path / "stopped" / "not_finite-0.json").read_text())
    assert len(found["samples"]) == 2
    assert {name.partition("/")[0] for name in found["samples"]} == {"train"}
