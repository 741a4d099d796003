"""Marks on screenshots: downloaded from an agents' report, they are priors of the tasks that an agent is trained on."""

import json

import numpy as np
import pytest
import torch

from agent_runs import clicks
from browsers import launched, needs_browser, opened
from test_audit_agents import SeeingReader, audited
from test_gui_judging import SIDE, nothing, task
from test_gui_penalties import PARTS, TARGET, quarters
from wherenot import explain_generation as explaining
from wherenot.cli import main
from wherenot.data import DataError, Dataset, read_feedback, with_feedback
from wherenot.data.gui.writing import write_gui
from wherenot.gui import clicks as gui_clicks
from wherenot.gui.clicks import prepare_click
from wherenot.gui.penalties import EvidencePenalty, first_off, strongest_regions
from wherenot.gui.violation import first_violation
from wherenot.models import VisionLanguageModel
from wherenot.models.tiny_vlms import tiny_vlm
from wherenot.regions import Grid
from wherenot.report import write_report
from wherenot.train.agents.config import AgentMethodConfig, AgentTrainConfig
from wherenot.train.agents.records import agent_data

HALF = SIDE // 2
THOUGHT = '{"thought":"left","POINT":[250,250]}'


@pytest.fixture(scope="module")
def vlm():
    return VisionLanguageModel(*tiny_vlm("llava"))


def saved(path, id="screen", **kinds):
    line = {"split": "train", "id": id, "height": SIDE, "width": SIDE, **kinds}
    path.write_text(json.dumps(line) + "\n")
    return path


def marked(sample, path):
    data = with_feedback(Dataset("screens", ("click",), (sample,)), read_feedback(path))
    return data.samples[0]


def test_a_forbidden_region_is_off_whatever_covered_the_target():
    walk = [PARTS["in"], PARTS["outside"]]
    assert first_violation(walk, TARGET) is None  # the first covers the target
    assert first_violation(walk, TARGET, forbidden=PARTS["outside"]) == 1
    assert first_violation(walk, TARGET, forbidden=PARTS["in"]) == 0
    assert first_violation(walk, TARGET, forbidden=np.zeros((10, 10), bool)) is None


def test_what_is_allowed_widens_the_target_and_what_is_forbidden_narrows_it(vlm, tmp_path):
    right, corner = [HALF, 0, SIDE, HALF], [0, 0, 10, HALF]
    file = saved(tmp_path / "f.jsonl", allowed={"boxes": [right]}, forbidden={"boxes": [corner]})
    click = prepare_click(vlm, marked(quarters(), file))
    assert click.target[:HALF, 10:].all()
    assert click.target.sum() == HALF * (SIDE - 10)
    assert click.forbidden.sum() == 10 * HALF
    assert not click.is_open
    plain = prepare_click(vlm, quarters())
    regions = [plain.labels == region for region in range(4)]
    assert [first_off(plain, [each], test="overlap", tau=0.15) for each in regions] == [None, 0, 0, 0]
    assert [first_off(click, [each], test="overlap", tau=0.5) for each in regions] == [0, None, 0, 0]


def test_a_task_without_a_target_may_rely_on_all_that_is_not_marked(vlm, tmp_path):
    sample = quarters(right='{"STATUS":"finish"}', box=None)
    with pytest.raises(ValueError, match="no target"):
        prepare_click(vlm, sample)
    file = saved(tmp_path / "f.jsonl", forbidden={"boxes": [[0, 0, HALF, HALF]]})
    click = prepare_click(vlm, marked(sample, file))
    assert click.is_open
    shows = click.without_target != click.fill  # what an answer must not survive on: the marked quarter alone
    assert not shows[~(click.layout == 0)].any()
    assert shows[click.layout == 0].any()
    regions = [click.labels == region for region in range(4)]
    assert [first_off(click, [each], test="coverage", tau=0.15) for each in regions] == [0, None, None, None]


def test_the_papers_penalty_obeys_marks(vlm, tmp_path):
    """The target is the strongest quarter, so that nothing is off, until a person forbids another one."""
    penalty = EvidencePenalty(interval=1, right_above=-1.0, tokens="all", max_regions=4)
    boxes = [(x, y, x + HALF, y + HALF) for y in (0, HALF) for x in (0, HALF)]
    first, *others = strongest_regions(
        vlm, prepare_click(vlm, quarters(), partition=Grid(2, 2)), search=penalty.search, max_regions=4
    )
    sample = quarters(box=tuple(map(float, boxes[first])))
    assert penalty.find(vlm, [prepare_click(vlm, sample, partition=Grid(2, 2))], 1).off == []
    for region in others:
        file = saved(tmp_path / "never.jsonl", forbidden={"boxes": [boxes[region]]})
        click = prepare_click(vlm, marked(sample, file), partition=Grid(2, 2))
        [off] = penalty.find(vlm, [click], 1).off
        assert torch.equal(off.shown[1] != click.pixels, (click.layout == region) & (click.pixels != click.fill))
    every = saved(tmp_path / "fine.jsonl", allowed={"boxes": [[0, 0, SIDE, SIDE]]})
    other = marked(quarters(box=tuple(map(float, boxes[others[0]]))), every)
    assert penalty.find(vlm, [prepare_click(vlm, other, partition=Grid(2, 2))], 1).off == []


def test_methods_without_evidence_refuse_marks(tmp_path):
    file = str(saved(tmp_path / "f.jsonl", id="train/red", forbidden={"boxes": [[0, 0, 9, 9]]}))
    with pytest.raises(DataError, match="method rearrange asks for no evidence"):
        agent_data(AgentTrainConfig(feedback=file), clicks())
    config = AgentTrainConfig(feedback=file, method=AgentMethodConfig(name="necessity"))
    data = agent_data(config, clicks())
    free = [sample.read_prior().forbidden is None for sample in data.split("train").samples]
    assert free == [False, True, True, True]
    unknown = str(saved(tmp_path / "g.jsonl", id="nobody", forbidden={"boxes": [[0, 0, 9, 9]]}))
    with pytest.raises(DataError, match="none of the marked samples"):
        agent_data(AgentTrainConfig(feedback=unknown, method=AgentMethodConfig(name="paper")), clicks())


@needs_browser
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.*")
def test_from_the_report_to_training(tmp_path, monkeypatch, capsys):
    """Audit, mark in a browser the region that a thought rests on, download, train on it from the command line."""
    monkeypatch.setattr(explaining, "AnswerReader", SeeingReader)
    monkeypatch.setattr(gui_clicks, "AnswerReader", SeeingReader)
    tasks = [sample for sample in clicks(("train",)).samples if sample.id == "train/red"]
    audited(tmp_path / "audit", [*tasks, task("other", split="train", read_prior=nothing)], lambda _: THOUGHT)
    monkeypatch.undo()
    report = write_report([tmp_path / "audit"], tmp_path / "report.html")
    feedback = tmp_path / "feedback.jsonl"
    with launched() as chromium, opened(chromium, report) as page:
        page.locator("button.tile").first.click()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("f")
        with page.expect_download() as download:
            page.locator("#view button.download").click()
        download.value.save_as(feedback)
    [marks] = read_feedback(feedback)
    assert (marks.split, marks.id) == ("train", "train/red")
    forbidden = marked(tasks[0], feedback).read_prior().forbidden
    assert forbidden.sum() == HALF * HALF
    write_gui(clicks(), tmp_path / "screens")
    for part in tiny_vlm("llava"):
        part.save_pretrained(tmp_path / "base")
    (tmp_path / "agent.yaml").write_text(
        f"task: agent\ndata: gui:{tmp_path / 'screens'}\nmodel: {tmp_path / 'base'}\nmax_tokens: 4\n"
        "method: {name: paper, interval: 1, right_above: 0.0, tokens: all, partition: 'grid:2x2'}\n"
        "optimization: {steps: 1, batch_size: 4, accumulation: 1}\n"
    )
    out = tmp_path / "run"
    told = ["train", str(tmp_path / "agent.yaml"), "--feedback", str(feedback), "--out", str(out), "--quiet"]
    assert main(told) == 0, capsys.readouterr().err
    assert json.loads((out / "run.json").read_text())["config"]["feedback"] == str(feedback)
    steps = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]
    assert any(step.get("aligned") == 4.0 for step in steps)
