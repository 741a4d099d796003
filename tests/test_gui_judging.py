"""Agents' answers are judged by where they click, in audits as alone."""

import json
from dataclasses import replace
from functools import partial
from html import unescape

import pytest

from record_files import records_of
from vlms import SIDE, RuleVlm, quarters_image
from wherenot.audit_answers import AnswerAuditConfig, audit_answers
from wherenot.data import Dataset, GuiSample, UiElement
from wherenot.data.gui.elements import target_prior
from wherenot.generation_evidence import GenerationEvidence
from wherenot.gui import CODECS, CONVENTIONS
from wherenot.gui.judging import judge
from wherenot.report import write_report
from wherenot.report.wording import is_detail, meaning, number

THOUSANDTHS = CONVENTIONS["0-1000"].scale()
BOX = (0.0, 0.0, SIDE / 2, SIDE / 2)


def picture():
    return quarters_image()


def showing(quarters):
    return quarters_image([90, 130, 170, 210][:quarters] + [0] * (4 - quarters))


def prior():
    return target_prior(BOX, None, lambda _: (), (SIDE, SIDE))


def nothing():
    return None


def broken():
    raise OSError("no such screen")


def task(name="a", **changes):
    plain = GuiSample(
        id=name, label=0, split="test", group=None, read_image=picture, read_prior=prior, prompt="Tap it.",
        right='{"POINT":[250,250]}', instruction="Tap it.", box=BOX, point=(0.25, 0.25), kind="home",
    )  # fmt: skip
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("said", "correct", "distance_px", "malformed"),
    [
        ('{"POINT":[250,250]}', True, 0.0, False),
        ('{"POINT":[500,500]}', True, 0.0, False),  # borders included
        ('{"POINT":[750,250]}', False, 0.25 * SIDE, False),
        ('```json\n{"thought":"There.","POINT":[250,250]}\n```', True, 0.0, False),
        ('{"STATUS":"finish"}', False, None, False),
        ("I would tap it.", False, None, True),
        ('{"POINT":[250,2500]}', False, None, True),
    ],
)
def test_clicks(said, correct, distance_px, malformed):
    judged = judge(task(), said, (SIDE, SIDE), codec=CODECS["agentcpm"], scale=THOUSANDTHS)
    assert judged.correct is correct
    assert judged.distance_px == (None if distance_px is None else pytest.approx(distance_px))
    assert judged.distance_1000 == (None if distance_px is None else pytest.approx(1000 * distance_px / SIDE))
    assert judged.reply.malformed is malformed


def test_other_actions_and_formats():
    status = task(right='{"STATUS":"finish"}', box=None, point=None, read_prior=nothing)
    for said, correct in (('{"STATUS":"finish"}', True), ('{"POINT":[1,1]}', False), ("done", False)):
        assert judge(status, said, (SIDE, SIDE), codec=CODECS["agentcpm"], scale=THOUSANDTHS).correct is correct
    call = '<tool_call>{"name":"mobile_use","arguments":{"action":"click","coordinate":[10,70]}}</tool_call>'
    pixels = CONVENTIONS["resized"].scale((SIDE, SIDE))
    judged = judge(task(), call, (SIDE, SIDE), codec=CODECS["mobile_use"], scale=pixels)
    assert (judged.correct, judged.distance_px) == (False, pytest.approx(70 - SIDE / 2))
    open_ended = task(right=None, box=None, point=None, read_prior=nothing)
    assert judge(open_ended, "{}", (SIDE, SIDE), codec=CODECS["agentcpm"], scale=THOUSANDTHS).correct is None


def audited(tmp_path, samples, rule, **config):
    data = Dataset("screens", ("click",), tuple(samples))
    settings = AnswerAuditConfig(partition="grid:2x2", **{"max_images": 1, "tokens": "field:POINT", **config})
    out = audit_answers(RuleVlm(rule), data, tmp_path / "run", settings, name="agent", model="tiny")
    rows = {row["metric"]: row for row in json.loads((out / "metrics.json").read_text())["rows"]}
    return rows, records_of(out)


def test_an_audit_counts_clicks_distances_and_what_cannot_be_read(tmp_path):
    answers = ['{"POINT":[250,250]}', '{"POINT":[750,250]}', "no idea", '{"POINT":[600,250]}']  # by quarters to be seen
    samples = [task(str(seen), read_image=partial(showing, seen)) for seen in (1, 2, 3, 4)]
    samples.append(task("broken", read_image=broken))
    rows, records = audited(tmp_path, samples, lambda seen: answers[len(seen) - 1], max_images=0)
    assert [record["correct"] for record in records[:4]] == [True, False, False, False]
    assert rows["top1"]["value"] == pytest.approx(0.2)  # the screen that cannot be read is a failure, too
    assert rows["malformed"]["value"] == pytest.approx(0.4)
    assert rows["click_distance_px"]["value"] == pytest.approx((0 + 0.25 + 0.1) * SIDE / 3)
    assert rows["click_distance_px (median)"]["value"] == pytest.approx(0.1 * SIDE)
    assert rows["click_distance_1000"]["missing"] == 2
    assert records[2]["faults"] == ["no_action"]
    page = write_report([tmp_path / "run"], tmp_path / "report.html").read_text()
    assert all(meaning(metric) and meaning(metric) in unescape(page) for metric in rows)
    assert number("malformed", rows["malformed"]["value"]) == "40.0%"
    assert number("click_distance_1000", rows["click_distance_1000"]["value"]) == "116.7"  # of 0, 250 and 100
    assert all(is_detail(metric) for metric in rows if "(median)" in metric)
    assert not any(map(is_detail, ("top1", "malformed", "click_distance_px")))


def test_the_tokens_of_the_click_are_explained(tmp_path):
    _, [record] = audited(tmp_path, [task()], lambda _: '{"thought":"it","POINT":[250,250]}')
    assert record["explained"] == "[250,250]"
    assert record["clicked"] == [0.25, 0.25]
    assert "pointing_coverage@0.2" in record["true"]
    with pytest.raises(ValueError, match="cannot read 'nonsense'"):
        AnswerAuditConfig(tokens="nonsense")


def test_regions_are_the_elements(tmp_path):
    boxes = [(0.0, 0.0, 42.0, 42.0), (42.0, 42.0, 84.0, 84.0)]
    shown = task(elements=partial(tuple, [UiElement(box=box) for box in boxes]))
    audited(tmp_path, [shown], lambda _: '{"POINT":[250,250]}', elements=True)
    found = GenerationEvidence.load(tmp_path / "run" / "evidence" / "000000-answer")
    assert found.evidence.labels[:42, :42].max() == 0
    assert set(found.evidence.labels[42:, 42:].flatten()) == {1}
    assert found.evidence.num_regions > 2  # and cells of what lies between
    _, [record] = audited(tmp_path / "none", [task()], lambda _: '{"POINT":[250,250]}', elements=True)
    assert "tells no elements" in record["error"]
