"""What agents' answers are worth, and that an agent learns from it."""

import json
from dataclasses import replace

import pytest
import torch

from agent_runs import clicks
from test_gui_penalties import ANSWER, quarters
from wherenot.gui.clicks import prepare_click
from wherenot.gui.penalties import strongest_regions
from wherenot.gui.rewards import EvidenceReward, TaskReward
from wherenot.models import VisionLanguageModel, load_vlm
from wherenot.models.answers import AnswerReader
from wherenot.models.tiny_vlms import tiny_vlm
from wherenot.regions import Grid
from wherenot.search import Exact
from wherenot.train.agents.config import AgentMethodConfig, AgentOptimizationConfig, AgentTrainConfig, LoraConfig
from wherenot.train.agents.rewarding import prompts
from wherenot.train.agents.training import train_agent

noise = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),  # by peft
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing"),  # by trl
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.*"),
]
pytestmark = noise


@pytest.fixture(scope="module")
def vlm():
    return VisionLanguageModel(*tiny_vlm("llava"))


def test_right_wrong_and_malformed_answers(vlm):
    sample = quarters()
    worth = {said: TaskReward()(vlm, sample, said) for said in (ANSWER, '{"POINT":[900,900]}', "no", "")}
    assert list(worth.values()) == [1.0, 0.0, -0.5, -0.5]
    assert TaskReward(malformed=-2.0)(vlm, sample, "no") == -2.0
    swipe = replace(sample, box=None, point=None, right='{"POINT":[250,250],"to":"up"}')
    assert TaskReward()(vlm, swipe, swipe.right) == 1.0
    assert TaskReward()(vlm, swipe, ANSWER) == 0.0


def test_reliance_is_how_far_the_answer_falls_without_its_target(vlm):
    sample = quarters()
    click = prepare_click(vlm, sample)
    with torch.no_grad():
        full, hidden = AnswerReader(vlm, [click.asked])(torch.stack([click.pixels, click.without_target]))
    fall = float((full - hidden).mean())
    assert EvidenceReward(tokens="all")(vlm, sample, ANSWER) == pytest.approx(max(0.0, fall), abs=1e-6)
    assert EvidenceReward(tokens="location")(vlm, sample, ANSWER) >= max(0.0, fall)
    assert not vlm.wrapped.training


@pytest.mark.parametrize("form", ["reliance", "pointing"])
def test_wrong_answers_and_tasks_without_a_target_get_nothing(vlm, form):
    reward = EvidenceReward(form=form, tokens="all")
    assert reward(vlm, quarters(), '{"POINT":[900,900]}') == 0.0
    assert reward(vlm, quarters(), "no") == 0.0
    assert reward(vlm, replace(quarters(), read_prior=lambda: None), ANSWER) == 0.0


def point_at(box):
    return json.dumps({"POINT": [round(1000 * (box[at] + 21) / 84) for at in (0, 1)]}, separators=(",", ":"))


BOXES = [(x, y, x + 42.0, y + 42.0) for y in (0.0, 42.0) for x in (0.0, 42.0)]


@pytest.mark.parametrize("box", BOXES)
def test_pointing_is_whether_the_strongest_region_is_on_the_target(vlm, box, monkeypatch):
    """Right answers to each of the four; the model's own strongest region, and each in its place."""
    said = point_at(box)
    sample = replace(quarters(box=box), right=said)
    reward = EvidenceReward(form="pointing", tokens="all")
    click = prepare_click(vlm, sample)
    [first] = strongest_regions(vlm, click, search=Exact(), max_regions=1)
    assert reward(vlm, sample, said) == float(click.target[click.labels == first].all())
    found = []
    for region in range(4):
        monkeypatch.setattr("wherenot.gui.rewards.strongest_regions", lambda *_, region=region, **__: [region])
        found.append(reward(vlm, sample, said))
    assert found == [float(click.target[click.labels == region].all()) for region in range(4)]
    assert sum(found) == 1.0


def test_screens_without_elements_are_cut_by_a_grid(vlm, monkeypatch):
    """By the one that is given, or else 8 x 4; a cell that lies on the target is worth 1, any other 0."""
    bare, seen = quarters(elements=()), []

    def looked(vlm, click, **_):
        seen.append(click.labels.copy())
        return [int(click.labels[0, 0]) if len(seen) % 2 else int(click.labels[-1, -1])]

    monkeypatch.setattr("wherenot.gui.rewards.strongest_regions", looked)
    for partition, cells in ((Grid(2, 2), 4), (None, 32)):
        reward = EvidenceReward(form="pointing", tokens="all", partition=partition)
        assert [reward(vlm, bare, ANSWER) for _ in range(2)] == [1.0, 0.0]
        assert int(seen[-1].max()) + 1 == cells


@pytest.mark.slow
def test_prompts_bring_screenshots_no_larger_than_allowed():
    samples = clicks(("train",)).samples
    rows = prompts([replace(samples[0], system="You click."), *samples[1:]], 42)
    assert len(rows) == 4
    assert rows[0]["prompt"] == [
        {"role": "system", "content": "You click."}, {"role": "user", "content": "Tap red."},
    ]  # fmt: skip
    assert [turn["role"] for turn in rows[1]["prompt"]] == ["user"]
    assert rows[2]["row"] == 2
    assert rows[3]["images"][0].size == (42, 42)


def rewarded(tmp_path, **options):
    folder = tmp_path / "base"
    for part in tiny_vlm("llava"):
        part.save_pretrained(folder)
    method = {"generations": 2, "evidence": "reliance", **options}
    return AgentTrainConfig(
        data="quarters", model=str(folder), max_tokens=4, lora=LoraConfig(rank=2),
        method=AgentMethodConfig(name="grpo", **method),
        optimization=AgentOptimizationConfig(
            steps=2, batch_size=2, accumulation=2, learning_rate=1e-2, save_every=2, warmup_frac=0.0
        ),
    )  # fmt: skip


def test_a_run_with_rewards(tmp_path):
    config = rewarded(tmp_path)
    out = train_agent(config, tmp_path / "run", dataset=clicks(), quiet=True)
    steps = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]
    assert steps[-1]["rewards/TaskReward/mean"] == -0.5  # four tokens are no action
    assert steps[-1]["rewards/EvidenceReward/mean"] == 0.0
    assert json.loads((out / "metrics.json").read_text())["validation"]["malformed"] == 4
    assert load_vlm(out / "model").name


def test_answers_that_do_not_make_whole_tasks(tmp_path):
    with pytest.raises(ValueError, match="does not hold whole tasks"):
        train_agent(rewarded(tmp_path, generations=3), tmp_path / "run", dataset=clicks(), quiet=True)


@pytest.mark.slow
def test_what_is_rewarded_becomes_likelier(tmp_path, monkeypatch):
    """Rewards for some letters: their probability rises."""
    config = rewarded(tmp_path, generations=8, evidence=None)
    plan = replace(config.optimization, steps=12, batch_size=16, accumulation=1, learning_rate=2e-2)
    config = replace(config, max_tokens=1, optimization=plan)
    monkeypatch.setattr(TaskReward, "__call__", lambda self, vlm, sample, said: float(said in GOOD))
    out = train_agent(config, tmp_path / "run", dataset=clicks(), quiet=True)
    before, after = (share_of_good(load_vlm(path)) for path in (config.model, out / "model"))
    assert after > 1.8 * before


GOOD = set("abcdefghijklmABCDEFGHIJKLM")


def share_of_good(vlm):
    sample = clicks(("train",)).samples[0]
    encoding = vlm.encode(sample.read_image(), sample.prompt)
    with torch.no_grad():
        logits = vlm.model(**encoding.inputs).logits[0, -1].softmax(-1)
    return float(sum(logits[token] for token in range(len(logits)) if vlm.text([token]) in GOOD))
