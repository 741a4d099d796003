"""What an audit measures of agents: reliance, matches, clicks given where the evidence lies, thought against action."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from record_files import records_of, tables
from test_gui_judging import BOX, SIDE, broken, nothing, picture, prior, showing, task
from vlms import RuleVlm
from wherenot import explain_generation as explaining
from wherenot.audit_answers import AnswerAuditConfig, audit_answers
from wherenot.data import Dataset, UiElement
from wherenot.generation_evidence import GenerationEvidence
from wherenot.gui import clicks
from wherenot.metrics import map_correlation, regions_iou
from wherenot.priors import Prior
from wherenot.report import comparison_rows, load_run
from wherenot.summary import metric_rows

THOUGHT = '{"thought":"left","POINT":[250,250]}'


class SeeingReader:
    """In place of `AnswerReader`: every token of a thought needs quarter 3, every other token the target, quarter 0."""

    NEEDS = (3, 0)

    def __init__(self, vlm, asked, **_):
        self._vlm, self._asked = vlm, asked
        self.num_tokens = [len(each.chosen) for each in asked]

    def __call__(self, pixels):
        rows = []
        for copy in pixels:
            shades, row = self._vlm.shades(copy), []
            for each in self._asked:
                text = self._vlm.pieces(each.answer)
                said = "".join(text)
                start, end = said.find("left"), said.find("left") + 4
                for place in each.chosen:
                    at = len("".join(text[:place]))
                    thinks = start >= 0 and at < end and at + len(text[place]) > start
                    row.append(0.9 if shades[self.NEEDS[0 if thinks else 1]] > 0 else 0.3)
            rows.append(row)
        return torch.tensor(rows, dtype=torch.float64)


@pytest.fixture
def seeing(monkeypatch):
    monkeypatch.setattr(explaining, "AnswerReader", SeeingReader)
    monkeypatch.setattr(clicks, "AnswerReader", SeeingReader)


def audited(folder, samples, rule, **config):
    data = Dataset("screens", ("click",), tuple(samples))
    settings = AnswerAuditConfig(partition="grid:2x2", **config)
    out = audit_answers(RuleVlm(rule), data, folder, settings, name="agent", model="tiny")
    rows = {row["metric"]: row for row in json.loads((out / "metrics.json").read_text())["rows"]}
    return rows, records_of(out)


def test_thought_and_action_are_explained_apart_and_compared(tmp_path, seeing):
    rows, [record] = audited(tmp_path / "run", [task()], lambda _: THOUGHT, thinking=True)
    assert record["explained"] == THOUGHT
    kept = {
        name: GenerationEvidence.load(tmp_path / "run" / "evidence" / f"000000-{name}")
        for name in ("answer", "thought", "action")
    }
    assert "".join(kept["thought"].targets) == "left"
    assert sorted((*kept["thought"].chosen, *kept["action"].chosen)) == list(kept["answer"].chosen)
    assert (kept["thought"].evidence.order[0], kept["action"].evidence.order[0]) == (3, 0)
    assert not record["thought_evidence"]["pointing_coverage@0.2"]
    assert record["action_evidence"]["pointing_coverage@0.2"]
    assert record["consistency"] == {
        "consistency_first": False,
        "consistency_iou@2": pytest.approx(1 / 3),  # 3 and 0, 0 and 1: ties go to the first
        "consistency_correlation": pytest.approx(-1 / 3),
        "consistency_pointing@0.2": False,
    }
    assert (rows["pointing_coverage@0.2 (thought)"]["value"], rows["pointing_coverage@0.2 (action)"]["value"]) == (0, 1)
    assert (rows["consistency_iou@2"]["value"], rows["consistency_pointing@0.2"]["n"]) == (pytest.approx(1 / 3), 1)
    forwards = [each.evidence.forwards for each in kept.values()]
    assert record["true"]["forwards"] == sum(forwards)


def test_an_order_cut_short_measures_what_needs_no_curve(tmp_path, seeing):
    rows, [record] = audited(tmp_path / "short", [task()], lambda _: THOUGHT, thinking=True, max_regions=2)
    whole, [other] = audited(tmp_path / "whole", [task()], lambda _: THOUGHT, thinking=True)
    assert record["consistency"]["consistency_iou@2"] == other["consistency"]["consistency_iou@2"]
    assert rows["pointing_coverage@0.2 (action)"] == whole["pointing_coverage@0.2 (action)"]
    assert {name for name in whole if "auc" in name} != set()
    assert not any("auc" in name or "highest" in name or "influence" in name for name in rows)
    assert rows["reliance"] == whole["reliance"]
    assert rows["forwards_per_image"]["value"] < whole["forwards_per_image"]["value"]
    with pytest.raises(ValueError, match="thinking compares 2 regions"):
        AnswerAuditConfig(thinking=True, max_regions=1)


def test_evidence_that_agrees_is_consistent(tmp_path, seeing, monkeypatch):
    monkeypatch.setattr(SeeingReader, "NEEDS", (0, 0))
    _, [record] = audited(tmp_path / "run", [task()], lambda _: THOUGHT, thinking=True)
    assert list(record["consistency"].values()) == [True, 1.0, pytest.approx(1.0), True]


@pytest.mark.parametrize(
    ("said", "missing", "explained"),
    [
        ('{"POINT":[250,250]}', ["thought"], '{"POINT":[250,250]}'),
        ("<think>left</think>", ["action"], "<think>left</think>"),
        ("I would tap it.", ["thought"], "I would tap it."),
        ('{"thought":"left","POINT":[250', [], '{"thought":"left","POINT":[250'),  # cut off, the thought is whole
        ("Thought: left\nAction: click(point='<point>1 1</point>')", [], None),
    ],
)
def test_answers_without_a_thought_or_an_action_are_missing_in_the_comparison(
    tmp_path, seeing, said, missing, explained
):
    rows, [record] = audited(tmp_path / "run", [task()], lambda _: said, thinking=True)
    assert record["error"] is None
    assert record["explained"] == (said if explained is None else explained)
    assert sorted(record["unexplained"]) == missing
    assert ("consistency" in record) == (not missing)
    for name in missing:
        assert "names no token" in record["unexplained"][name]
        assert f"pointing_coverage@0.2 ({name})" not in rows
    assert rows["pointing_coverage@0.2"]["n"] == 1


def test_what_an_answer_says_stays_on_record_where_it_cannot_be_explained(tmp_path, seeing):
    answers = {1: "I would tap it.", 2: "", 3: '{"STATUS":"finish"}', 4: '{"POINT":[250,250]}'}
    samples = [task(str(seen), read_image=partial(showing, seen)) for seen in answers]
    rows, records = audited(tmp_path / "run", samples, lambda seen: answers[len(seen)], tokens="field:POINT")
    assert [record["predicted"] for record in records] == list(answers.values())
    assert [record["faults"] for record in records] == [["no_action"], ["empty"], [], []]
    assert [record["correct"] for record in records] == [False, False, False, True]
    assert "names no token" in records[0]["error"]
    assert "says nothing" in records[1]["error"]
    assert rows["malformed"]["value"] == 0.5
    assert (rows["pointing_touch"]["value"], rows["pointing_touch"]["missing"]) == (0.25, 3)
    assert (rows["click_success_given_pointing_touch"]["value"], rows["click_success_given_pointing_touch"]["n"]) == (
        1,
        1,
    )


def test_reliance_is_of_the_right_answer_whatever_the_agent_says(tmp_path, seeing):
    rows, [record] = audited(tmp_path / "run", [task()], lambda _: "I would tap it.", max_images=0)
    assert record["reliance"] == pytest.approx(0.6)
    assert rows["reliance"]["value"] == pytest.approx(0.6)
    spoken = audited(tmp_path / "tars", [task()], lambda _: "", max_images=0, actions="ui_tars")
    assert spoken[1][0]["reliance"] == pytest.approx(0.6)


def test_reliance_that_cannot_be_measured_says_why(tmp_path, seeing):
    def unseen():
        return Prior.from_boxes([(0.0, 0.0, 2.0, 2.0)], 2000, 2000)

    def large():
        return Image.new("RGB", (2000, 2000), "white")

    samples = [
        task("open", right=None),
        task("nowhere", right='{"STATUS":"finish"}', box=None, point=None, read_prior=nothing),
        task("tiny", read_image=large, read_prior=unseen),
        task("broken", read_image=broken),
    ]
    rows, records = audited(tmp_path / "run", samples, lambda _: THOUGHT, max_images=0)
    assert [record["reliance"] for record in records] == [None] * 4
    assert "no right answer" in records[0]["no_reliance"]
    assert "no target" in records[1]["no_reliance"]
    assert "sees no pixel of the target" in records[2]["no_reliance"]
    assert "no such screen" in records[3]["error"]
    assert "reliance" not in rows
    rows, _ = audited(tmp_path / "some", [*samples, task("good")], lambda _: THOUGHT, max_images=0)
    assert (rows["reliance"]["n"], rows["reliance"]["missing"]) == (1, 4)


def test_matches_are_agentcpms_and_a_click_success_is_the_boxs(tmp_path):
    beside = [UiElement(box=(0.0, 0.0, SIDE * 0.9, SIDE / 2))]
    samples = [
        task("element", elements=partial(tuple, beside)),
        task("far"),
        task("status", right='{"STATUS":"finish"}', box=None, point=None, read_prior=nothing),
        task("open", right=None),
        task("broken", read_image=broken),
    ]
    rows, records = audited(tmp_path / "run", samples, lambda _: '{"POINT":[800,250]}', max_images=0)
    assert [record["click_success"] for record in records] == [False, False, None, False, False]
    assert [record["type_match"] for record in records] == [True, True, False, None, False]
    assert [record["exact_match"] for record in records] == [True, False, False, None, False]
    assert rows["click_success"]["n"] == 4
    assert (rows["type_match"]["value"], rows["type_match"]["n"]) == (0.5, 4)
    assert (rows["exact_match"]["value"], rows["exact_match"]["missing"]) == (0.25, 1)


def record_of(name, *, distance, hit, group="home", searched=True, error=None):
    """As an audit writes them, as far as metrics of clicks go."""
    clicked = distance is not None
    measured = {"pointing_coverage@0.2": hit, "pointing_touch": True}
    return {
        "id": name, "split": "test", "group": group, "label": "x", "predicted": "y", "correct": distance == 0,
        "searched": searched, "error": error, "malformed": not clicked, "click_success": distance == 0,
        "click_distance_px": distance, "click_distance_1000": None if distance is None else distance / 2,
        "type_match": clicked, "exact_match": clicked, "reliance": 0.5 if group == "home" else None,
        "true": measured if searched and error is None else None,
    }  # fmt: skip


def test_clicks_given_where_the_evidence_lies():
    records = [
        record_of("a", distance=0.0, hit=True),
        record_of("b", distance=30.0, hit=True),
        record_of("c", distance=None, hit=True),  # no click: a failure without a distance
        record_of("d", distance=50.0, hit=False, group="list"),
        record_of("e", distance=0.0, hit=None, searched=False),
        record_of("f", distance=None, hit=None, error="broken"),
    ]
    rows = {row["metric"]: row for row in metric_rows(tables(records), seed=0)}
    given = rows["click_success_given_pointing_coverage@0.2"]
    assert (given["value"], given["n"], given["missing"]) == (pytest.approx(1 / 3), 3, 0)
    distance = rows["click_distance_px_given_pointing_coverage@0.2"]
    assert (distance["value"], distance["n"], distance["missing"]) == (15.0, 2, 1)
    assert distance["higher_is_better"] is False
    assert rows["click_distance_1000_given_pointing_touch"]["value"] == pytest.approx((0 + 15 + 25) / 3)
    assert rows["click_success"]["value"] == pytest.approx(2 / 6)
    assert rows["click_success [list]"]["value"] == 0
    assert (rows["click_distance_px [home]"]["value"], rows["click_distance_px [home]"]["missing"]) == (10.0, 2)
    assert rows["pointing_coverage@0.2 [home]"]["value"] == pytest.approx(3 / 4)
    assert (rows["pointing_coverage@0.2"]["value"], rows["pointing_coverage@0.2"]["missing"]) == (
        pytest.approx(3 / 5),
        1,
    )
    assert rows["reliance [home]"]["n"] == 5
    assert "reliance [list]" not in rows


def test_nothing_on_the_target_gives_no_conditional_value():
    rows = {row["metric"]: row for row in metric_rows(tables([record_of("a", distance=0.0, hit=False)]), seed=0)}
    given = rows["click_success_given_pointing_coverage@0.2"]
    assert (given["value"], given["n"]) == (None, 0)


def test_runs_of_agents_are_compared_task_by_task(tmp_path, seeing):
    samples = [task(str(seen), read_image=partial(showing, seen), group="home") for seen in (1, 2, 3, 4)]
    good, poor = '{"thought":"left","POINT":[250,250]}', '{"thought":"left","POINT":[750,250]}'
    runs = []
    for name, rule in (("poor", lambda _: poor), ("good", lambda seen: good if len(seen) > 1 else "no idea")):
        audited(tmp_path / name, samples, rule, thinking=True, max_images=3)
        runs.append(load_run(tmp_path / name))
    rows = {row.metric: row for row in comparison_rows(runs) if not row.is_baseline}
    assert (rows["click_success"].difference, rows["click_success"].num_images) == (0.75, 4)
    assert (rows["click_distance_px"].difference, rows["click_distance_px"].num_images) == (-0.25 * SIDE, 3)
    assert rows["click_success [home]"].difference == 0.75
    assert rows["malformed"].verdict == ""
    assert rows["consistency_iou@2"].num_images in (2, 3)
    assert rows["pointing_coverage@0.2 (thought)"].num_images in (2, 3)
    assert rows["pointing_coverage@0.2 (thought)"].difference == 0
    assert rows["click_distance_px (median)"].num_images is None


def test_the_picture_keeps_the_elements(tmp_path, seeing):
    box = (1.0, 2.0, 30.0, 40.5)
    audited(tmp_path / "run", [task(elements=partial(tuple, [UiElement(box=box)]))], lambda _: THOUGHT)
    with np.load(tmp_path / "run" / "evidence" / "000000.npz") as kept:
        assert kept["elements"].tolist() == [list(box)]
        assert kept["allowed"].sum() == BOX[2] * BOX[3]
    assert picture().size == (SIDE, SIDE) == prior().allowed.shape


class TestConsistency:
    def test_maps(self):
        rng = np.random.default_rng(0)
        a, b = (torch.from_numpy(rng.random((3, 4, 5))) for _ in range(2))
        expected = [np.corrcoef(x.flatten(), y.flatten())[0, 1] for x, y in zip(a, b, strict=True)]
        assert map_correlation(a, b).tolist() == pytest.approx(expected)
        assert map_correlation(a, torch.ones_like(a)).isnan().all()
        with pytest.raises(ValueError, match="NaN or infinite"):
            map_correlation(a, torch.full_like(a, torch.nan))

    def test_regions(self):
        one, two = torch.zeros(1, 2, 4, dtype=torch.bool), torch.zeros(1, 2, 4, dtype=torch.bool)
        one[0, 0, :3], two[0, 0, 2:] = True, True
        assert regions_iou(one, two).tolist() == [0.25]
        with pytest.raises(ValueError, match=r"second\[0\] covers no pixel"):
            regions_iou(one, torch.zeros_like(one))

    def test_sizes_must_agree(self, unhooked):
        with pytest.raises(ValueError, match="same size"):
            map_correlation(torch.rand(1, 2, 2), torch.rand(1, 2, 3))


def test_an_agent_is_told_what_the_system_says(tmp_path, seeing, monkeypatch):
    told, encode = [], RuleVlm.encode

    def telling(self, image, prompt, system=None, **options):
        told.append(system)
        return encode(self, image, prompt, system, **options)

    monkeypatch.setattr(RuleVlm, "encode", telling)
    _, [record] = audited(tmp_path, [replace(task(), system="You click.")], lambda _: THOUGHT)
    assert record["error"] is None
    assert len(told) == 3, "to answer, to measure reliance and to search"
    assert set(told) == {"You click."}
