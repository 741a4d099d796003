"""What a training run of an agent would take: as many forwards as it makes, and words that say so."""

import json
from dataclasses import replace

import pytest
import torch

pytest.importorskip("trl")

from transformers import Trainer

from agent_runs import clicks
from record_files import records_of
from wherenot.cli import main
from wherenot.commands.plan import plan_markdown
from wherenot.data.gui.writing import write_gui
from wherenot.gui.penalties import EvidencePenalty
from wherenot.models.tiny_vlms import tiny_vlm
from wherenot.train.agents.config import AgentMethodConfig, AgentOptimizationConfig, AgentTrainConfig, LoraConfig
from wherenot.train.agents.planning import Memory, plan_agent
from wherenot.train.agents.training import train_agent
from wherenot.train.agents.work import AgentWork, copies, looks, training_work

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),  # by peft
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.*"),
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing"),
]
ACTING = {"interval": 2, "right_above": 0.0}
COUNTED = [
    ("sft", {}),
    ("paper", {**ACTING, "partition": "grid:2x2", "test": "strict"}),
    ("necessity", {**ACTING, "tokens": "all"}),
    ("random_regions", ACTING),
    ("rearrange", {"share": 1.0}),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    for part in tiny_vlm("llava"):
        part.save_pretrained(folder)
    return str(folder)


def config(base, name="sft", **method):
    return AgentTrainConfig(
        data="quarters", model=base, max_tokens=4, lora=LoraConfig(rank=2),
        method=AgentMethodConfig(name=name, **method),
        optimization=AgentOptimizationConfig(steps=2, batch_size=2, accumulation=2, warmup_frac=0.0),
    )  # fmt: skip


def on_different_screens():
    data = clicks()
    return replace(data, samples=tuple(map(shaded, data.samples, range(len(data.samples)))))


def shaded(sample, place):
    return replace(sample, read_image=lambda: sample.read_image().point(lambda value: value // 2 + place))


@pytest.mark.parametrize(("name", "options"), COUNTED)
def test_as_many_screenshots_as_really_go_through(tmp_path, base, name, options, monkeypatch):
    seen = {True: 0, False: 0}

    def count(_, args, inputs):
        if inputs.get("pixel_values") is not None:  # no more words of an answer, no text that copies share
            seen[torch.is_grad_enabled()] += len(inputs["input_ids"])

    whole = Trainer.train

    def watched(trainer, *args, **options):
        handle = trainer.model.get_base_model().model.register_forward_pre_hook(count, with_kwargs=True)
        whole(trainer, *args, **options)
        handle.remove()

    monkeypatch.setattr(Trainer, "train", watched)
    given = config(base, name, **options)
    train_agent(given, tmp_path / "run", dataset=on_different_screens(), quiet=True)
    work = training_work(given, regions=4)
    if name == "paper":  # not all evidence is off, and no subset is asked about twice
        assert work.trained < seen[True] <= work.trained + work.penalised
        assert 0.8 * work.looked < seen[False] <= work.looked
    else:
        assert seen[True] == work.trained + work.penalised
        assert seen[False] == work.looked + work.answered


def test_looks_by_hand():
    paper = EvidencePenalty(max_regions=2)
    assert looks(paper, 4) == 2 + 2 * (4 + 3)  # the whole and what hides the target; two rounds of both subsets
    assert looks(replace(paper, tokens="all"), 3.5) == 1 + 2 * (4 + 3)
    assert [copies(replace(paper, form=form), 4) for form in ("utility", "insertion", "constant")] == [2, 1, 0]
    assert [copies(replace(paper, form="deviation_redundancy"), regions) for regions in (4, 1)] == [4, 2]
    rewarded = AgentMethodConfig(name="grpo", evidence="reliance")
    plan = AgentOptimizationConfig(steps=3, batch_size=4, accumulation=2)
    work = training_work(AgentTrainConfig(method=rewarded, optimization=plan), targeted=0.5)
    assert work == AgentWork(trained=24, answered=24, looked=24 * 0.5 * (2 + 2))


def test_a_method_that_acts_on_no_step_costs_nothing(base):
    assert training_work(config(base, "necessity", interval=3)) == training_work(config(base))
    assert training_work(config(base, "necessity", weight=0.0)) == training_work(config(base))


def test_a_batch_fits_or_not():
    memory = Memory(frozen=9 * 10**9, trained=0, gradients=0, optimizer=0, task=3 * 10**9, penalty=10**9)
    assert (memory.lasting, memory.total) == (9 * 10**9, 13 * 10**9)
    assert [memory.batch_size(card, 1) for card in (10, 24, 40)] == [0, 3, 6]  # (0.9 * 40 - 9) / 4
    assert memory.batch_size(40, 2) == 13  # of half as much each


def test_shared_screenshots_are_read_once(base):
    data = clicks()
    small = replace(config(base), optimization=AgentOptimizationConfig(batch_size=4, accumulation=1))
    alone = plan_agent(small, dataset=on_different_screens())
    shared = plan_agent(small, dataset=data)
    assert shared.task_flops < 0.7 * alone.task_flops
    assert shared.memory[False].task < 0.8 * alone.memory[False].task
    assert shared.memory[True].task == pytest.approx(alone.memory[True].task, rel=0.05)  # layers that recompute cannot


def test_the_command_prints_and_does_nothing_else(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    model, processor = tiny_vlm("qwen3_vl")
    for part in (model.config, processor):  # no weights
        part.save_pretrained(tmp_path / "model")
    write_gui(clicks(), tmp_path / "screens")
    (tmp_path / "agent.yaml").write_text(
        f"task: agent\ndata: gui:{tmp_path / 'screens'}\nmodel: {tmp_path / 'model'}\n"
        "method: {name: paper, partition: 'grid:2x2'}\noptimization: {steps: 10, batch_size: 2, accumulation: 2}\n"
    )
    assert main(["train", "agent.yaml", "--plan", "--tflops", "0.001", "--json"]) == 0
    out, said = capsys.readouterr()
    told = json.loads(out)
    assert told["dollars"] == pytest.approx(2.5 * (told["training_hours"] + told["validation_hours"]))
    assert told["memory"]["without"] >= told["memory"]["checkpointing"] > 0
    for words in (
        "40 tasks, forward and backward", "16 masked screenshots", "128 looks", "4 regions", "largest batch on 24 GB",
        "what paper adds", "100% of the tasks have a target", "not measured on a GPU",
    ):  # fmt: skip
        assert words in said
    assert not (tmp_path / "runs").exists()
    assert main(["train", "agent.yaml", "--plan", "--set.model", ""]) == 1
    assert "no model" in capsys.readouterr().err


def test_words_tell_the_numbers(base):
    plan = replace(plan_agent(config(base), dataset=clicks()), task_flops=4e12, look_flops=1e12, validated=0)
    assert plan.training_flops == 8 * 4e12
    assert plan.hours(8.0)[0] == pytest.approx(4 / 3600)
    fast = replace(plan, work=AgentWork(trained=3600.0))
    said = plan_markdown(fast, tflops=4.0, dollars_per_hour=3.0)
    assert "| 3600 tasks, forward and backward | 4.00 | 1.00 |" in said
    assert "2 steps: 1.00 hours; validation (0 tasks): 0.00 hours; $3.00 at $3 an hour." in said
    assert "upper bound" not in said


@pytest.mark.parametrize(
    ("family", "method"), [("qwen2_5_vl", "rearrange"), ("qwen3_vl", "necessity"), ("minicpmv4_6", "necessity")]
)
def test_from_a_folder_to_an_audit(tmp_path, family, method, capsys):
    """As docs/agents_real.md does it, with tiny models of the same classes."""
    for part in tiny_vlm(family):
        part.save_pretrained(tmp_path / "model")
    *samples, one, _, _, _ = clicks(("train", "validation", "test")).samples
    write_gui(replace(clicks(), samples=(*samples, one)), tmp_path / "screens")
    acting = "" if method == "rearrange" else ", interval: 1, right_above: 0"
    (tmp_path / "agent.yaml").write_text(
        f"task: agent\ndata: gui:{tmp_path / 'screens'}\nmodel: {tmp_path / 'model'}\ntasks_per_split: 2\n"
        f"max_tokens: 2\nlora: {{rank: 2}}\nmethod: {{name: {method}{acting}}}\n"
        "optimization: {steps: 2, batch_size: 1, accumulation: 2, precision: bf16, gradient_checkpointing: true}\n"
    )
    run, audit = tmp_path / "run", tmp_path / "audit"
    assert main(["train", str(tmp_path / "agent.yaml"), "--out", str(run)]) == 0
    assert "model.language_model.layers.*." in capsys.readouterr().out
    told = json.loads((run / "run.json").read_text())
    assert told["steps"] == 2
    assert main([
        "audit", "--model", str(run / "model"), "--data", f"gui:{tmp_path / 'screens'}", "--elements", "--splits",
        "test", "--max-images", "1", "--search", "fast", "--out", str(audit),
    ]) == 0  # fmt: skip
    [record] = records_of(audit)
    assert record["id"].startswith("test/")
