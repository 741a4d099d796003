import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from photo_folder import save_lines, varied
from record_files import records_of, tables
from vlms import BrightReader, RuleVlm, quarters_image
from wherenot import explain_generation as explaining
from wherenot.audit import audit
from wherenot.audit_answers import AnswerAuditConfig, audit_answers
from wherenot.cli import main
from wherenot.data import DataError, Dataset, ImageTextSample, read_image_text
from wherenot.generation_evidence import GenerationEvidence
from wherenot.models import build_classifier
from wherenot.models.tiny_vlms import tiny_vlm
from wherenot.models.vlm import VisionLanguageModel
from wherenot.priors import Prior
from wherenot.regions import Grid
from wherenot.report import build_content, comparison_rows, load_evidence, load_run, write_report
from wherenot.summary import metric_rows

CONFIG = AnswerAuditConfig(partition="grid:2x2")
BOXES = [[0, 0, 42, 42], [42, 0, 84, 42], [0, 42, 42, 84], [42, 42, 84, 84]]


def bright(quarter):
    return quarters_image([230 if place == quarter else 60 for place in range(4)])


def quarter_prior(quarter):
    return Prior.from_boxes([BOXES[quarter]], 84, 84)


def nothing():
    return None


def broken():
    raise DataError.listing("broken.png", ["broken.png: cannot be decoded"], "Replace it.")


def question(id, quarter, prior=None, right="Yes", **said):
    return ImageTextSample(
        id, 0 if right == "No" else 1, said.pop("split", "test"), said.pop("group", None), partial(bright, quarter),
        nothing if prior is None else partial(quarter_prior, prior), prompt="Is it bright?", right=right,
        **{"tokens": "0", **said},
    )  # fmt: skip


def data(*samples):
    return Dataset("bright", ("No", "Yes", "(no label)"), samples)


FOUR = data(
    question("0", 0, 0, group="left"), question("1", 1, 1), question("2", 2, 2, right="No"), question("3", 3, 0, "No"),
)  # fmt: skip


@pytest.fixture
def on_paper(monkeypatch):
    monkeypatch.setattr(explaining, "AnswerReader", BrightReader)
    return RuleVlm(lambda seen: "Yes, it is." if 3 in seen else "No.")


def rows_of(folder):
    return {row["metric"]: row for row in json.loads((folder / "metrics.json").read_text())["rows"]}


def run(vlm, dataset, out, config=CONFIG, **options):
    return audit_answers(vlm, dataset, out, config, name="toy", model="toy", **options)


def test_an_audit_solved_on_paper(tmp_path, on_paper):
    folder = run(on_paper, FOUR, tmp_path)
    rows, records = rows_of(folder), records_of(folder)
    assert rows["top1"]["value"] == 0.5  # it says Yes to all
    assert rows["top1 [left]"]["value"] == 1.0
    assert "top2" not in rows
    for metric in ("pointing_coverage@0.2", "pointing_argmax", "pointing_touch"):
        assert (rows[metric]["value"], rows[metric]["n"]) == (0.75, 4)
    assert rows["accuracy_given_pointing"]["value"] == pytest.approx(2 / 3)
    assert not [metric for metric in rows if "predicted" in metric]
    for suffix in ("", "_sensitive"):
        assert rows[f"insertion_auc{suffix}"]["value"] == pytest.approx(0.25 * 0.5 + 0.75 * 0.9)
        assert rows[f"deletion_auc{suffix}"]["value"] == pytest.approx(0.25 * 0.5 + 0.75 * 0.1)
        assert rows[f"highest_confidence{suffix}"]["value"] == pytest.approx(0.9)
    assert rows["influence"]["value"] == pytest.approx(0.8 - 0.1)
    assert rows["sensitive_tokens"]["value"] == 1.0
    assert "removed_area" not in rows
    assert [record["predicted"] for record in records] == ["Yes, it is."] * 4
    assert [record["correct"] for record in records] == [True, True, False, False]
    assert [record["p_predicted"] for record in records] == [pytest.approx(0.9)] * 4
    assert [record["p_label"] for record in records] == [pytest.approx(0.9)] * 2 + [None] * 2
    assert {record["prompt"] for record in records} == {"Is it bright?"}
    about = json.loads((folder / "run.json").read_text())
    assert (about["failed"], about["images"], about["command"], about["data"]) == (0, 4, "audit", "bright")
    stored = load_evidence(folder / records[1]["evidence_file"])
    assert np.array_equal(stored.image, np.asarray(bright(1)))
    assert stored.top_region[:42, 42:].all()
    assert stored.top_region.sum() == 42 * 42
    assert np.array_equal(stored.allowed, stored.top_region)
    kept = GenerationEvidence.load(folder / "evidence" / "000001-answer")
    assert kept.answer == "Yes, it is."
    assert kept.insertion.tolist() == [[0.9]] * 4


def test_tokens_that_need_nothing_dilute_the_mean_and_not_the_sensitive_variants(tmp_path, on_paper):
    dataset = data(question("0", 0, 0, tokens="0:2"), question("1", 1, tokens="1:3", answer="Yes, it is."))
    rows = rows_of(run(on_paper, dataset, tmp_path))
    assert rows["insertion_auc"]["value"] == pytest.approx((0.8 + 0.95) / 2)
    assert rows["deletion_auc"]["value"] == pytest.approx((0.2 + 0.95) / 2)
    assert rows["insertion_auc_sensitive"]["value"] == pytest.approx(0.8)
    assert rows["sensitive_tokens"]["value"] == 0.5
    assert rows["influence"]["value"] == pytest.approx(0.35)


def test_answers_without_a_sensitive_token_are_missing_there(tmp_path, monkeypatch, on_paper):
    monkeypatch.setattr(BrightReader, "UNSURE", 0.8)
    rows = rows_of(run(on_paper, FOUR, tmp_path))
    assert "insertion_auc_sensitive" not in rows
    assert rows["insertion_auc"]["n"] == 4
    assert rows["sensitive_tokens"]["value"] == 0.0


def test_what_cannot_be_read_or_explained_is_counted_as_failure(tmp_path, on_paper):
    samples = (
        *FOUR.samples,
        replace(question("4", 0, 0), read_image=broken),
        question("5", 0, 0, tokens="word:cat"),
        question("6", 0, 0, tokens="0", counter="Yes"),
    )
    folder = run(on_paper, data(*samples), tmp_path)
    rows, records = rows_of(folder), records_of(folder)
    assert "broken.png" in records[4]["error"]
    assert "'word:cat' names no token" in records[5]["error"]
    assert "contradicts nothing" in records[6]["error"]
    # What was said stays on record, and is judged; its evidence is a miss.
    assert [record["predicted"] for record in records[4:]] == [None, "Yes, it is.", "Yes, it is."]
    assert (rows["top1"]["value"], rows["top1"]["missing"]) == (pytest.approx(4 / 7), 1)
    assert (rows["pointing_touch"]["value"], rows["pointing_touch"]["missing"]) == (pytest.approx(3 / 7), 3)
    assert (rows["insertion_auc"]["n"], rows["insertion_auc"]["missing"]) == (4, 3)
    assert json.loads((folder / "run.json").read_text())["failed"] == 3


def test_samples_without_a_label_or_a_prior(tmp_path, on_paper):
    samples = (question("0", 0, right=None), question("1", 1, 1, right=None), question("2", 2, right="Yes"))
    rows = rows_of(run(on_paper, data(*samples), tmp_path / "some"))
    assert (rows["top1"]["value"], rows["top1"]["n"]) == (1.0, 1)
    assert (rows["pointing_touch"]["value"], rows["pointing_touch"]["n"], rows["pointing_touch"]["missing"]) == (
        1,
        1,
        2,
    )
    assert "accuracy_given_pointing" not in rows or rows["accuracy_given_pointing"]["n"] == 0
    both = data(*FOUR.samples, replace(samples[2], id="5"))
    assert rows_of(run(on_paper, both, tmp_path / "both"))["pointing_given_correct"]["n"] == 2  # of three right answers
    failing = replace(question("3", 2, right=None), read_image=broken)
    rows = rows_of(run(on_paper, data(samples[0], failing), tmp_path / "none"))
    assert not [metric for metric in rows if metric.startswith(("top1", "pointing", "accuracy"))]
    assert (rows["insertion_auc"]["n"], rows["insertion_auc"]["missing"]) == (1, 1)


def test_if_all_fail_nothing_is_measured_and_nothing_hit(tmp_path, on_paper):
    folder = run(on_paper, data(replace(question("0", 0, 0), read_image=broken)), tmp_path)
    assert {name: row["value"] for name, row in rows_of(folder).items()} == {
        "top1": 0, "pointing_coverage@0.2": 0, "pointing_argmax": 0, "pointing_touch": 0, "pointing_given_wrong": 0,
        "accuracy_given_no_pointing": 0, "accuracy_given_pointing": None, "pointing_given_correct": None,
    }  # fmt: skip


def test_only_the_drawn_samples_are_searched(tmp_path, on_paper):
    folder = run(on_paper, FOUR, tmp_path, replace(CONFIG, max_images=1))
    records = records_of(folder)
    assert [record["searched"] for record in records].count(True) == 1
    assert [record["true"] is not None for record in records] == [record["searched"] for record in records]
    assert len(list((folder / "evidence").iterdir())) == 4  # picture, and the answer's evidence in three files
    assert rows_of(folder)["top1"]["n"] == 4
    assert rows_of(folder)["pointing_touch"]["n"] == 1


def test_a_given_answer_is_explained_and_the_model_judged_by_what_it_says(tmp_path, on_paper):
    folder = run(on_paper, data(question("0", 0, 0, answer="Perhaps", right="Yes")), tmp_path)
    [record] = records_of(folder)
    assert (record["predicted"], record["correct"]) == ("Yes, it is.", True)
    assert record["explained"] == GenerationEvidence.load(folder / "evidence" / "000000-answer").targets[0]
    assert "Perhaps".startswith(record["explained"])
    assert (record["p_predicted"], record["p_label"]) == (None, None)


def test_wrong_answers_are_corrected_where_a_counter_is_given(tmp_path, on_paper):
    wrong = {"right": "No", "counter": "No"}
    samples = (
        question("first", 3, 3, **wrong),  # the order ends before quarter 3: only the whole image is said Yes to
        question("last", 0, 0, **wrong),
        question("right", 0, 0, right="Yes", counter="No"),
        question("silent", 0, 0, right="No"),
    )
    folder = run(on_paper, data(*samples), tmp_path, replace(CONFIG, correct=True))
    first, last, right, silent = records_of(folder)
    assert last["true"]["removed_area"] == 0.25  # quarters without weight keep their order: 0, 1, 2, 3
    assert last["corrected"] == "No."
    assert first["true"]["removed_area"] == 1.0
    assert first["corrected"] is None
    assert "removed_area" not in right["true"]
    assert "removed_area" not in silent["true"]
    rows = rows_of(folder)
    assert (rows["removed_area"]["value"], rows["removed_area"]["n"]) == (0.625, 2)
    assert (rows["correction_rate@0.1"]["value"], rows["correction_rate@0.1"]["n"]) == (0.0, 2)
    assert rows["correction_rate_of_corrected@0.1"]["n"] == 1
    assert "removed_area" not in rows_of(run(on_paper, data(*samples), tmp_path / "not"))


def test_rows_of_corrections_golden():
    """G19, as an audit's records."""
    found = {"forwards": 1, "insertion_auc": 0.5}
    records = [
        {"id": str(area), "split": "t", "group": None, "label": "No", "predicted": "Yes", "correct": False,
         "searched": True, "error": None,
         "true": {**found, "removed_area": area, "correction_rate@0.1": area <= 0.1}}
        for area in (0.05, 0.5, 1.0)
    ]  # fmt: skip
    failed = {**records[0], "id": "x", "error": "gone", "true": None, "correct": None}
    rows = {row["metric"]: row for row in metric_rows(tables([*records, failed]), seed=0)}
    assert rows["removed_area"]["value"] == pytest.approx(0.516667, abs=1e-6)
    assert rows["correction_rate@0.1"]["value"] == pytest.approx(0.333333, abs=1e-6)
    assert rows["correction_rate_of_corrected@0.1"]["value"] == 0.5
    for metric, n in (("removed_area", 3), ("correction_rate@0.1", 3), ("correction_rate_of_corrected@0.1", 2)):
        assert (rows[metric]["n"], rows[metric]["missing"]) == (n, 1)
    assert [rows[name]["higher_is_better"] for name in ("removed_area", "correction_rate@0.1")] == [False, True]


def test_an_interrupted_audit_goes_on_sample_by_sample(tmp_path, on_paper):
    whole = run(on_paper, FOUR, tmp_path / "whole")

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(on_paper, FOUR, tmp_path / "cut", on_images=stop)
    assert len(records_of(tmp_path / "cut")) == 2
    assert not (tmp_path / "cut" / "metrics.json").exists()
    seen = []
    cut = run(on_paper, FOUR, tmp_path / "cut", on_images=lambda *at: seen.append(at))
    assert seen == [(3, 4), (4, 4)]
    assert (cut / "metrics.json").read_text() == (whole / "metrics.json").read_text()
    assert records_of(cut) == records_of(whole)
    with pytest.raises(ValueError, match="differs in: max_tokens"):
        run(on_paper, FOUR, tmp_path / "cut", replace(CONFIG, max_tokens=3))


def test_reports_and_comparisons_read_it(tmp_path, on_paper):
    five = data(*FOUR.samples, question("4", 1, right=None))
    one = run(on_paper, five, tmp_path / "one")
    denies = RuleVlm(lambda seen: "No.")
    two = audit_answers(denies, five, tmp_path / "two", CONFIG, name="other", model="other")
    runs = [load_run(one), load_run(two)]
    [first] = [record for record in runs[0].records if record.id == "0"]
    assert (runs[0].class_name(first.label), runs[0].class_name(first.predicted)) == ("Yes", "Yes, it is.")
    content = build_content(runs)
    assert content.asks
    assert content.gallery[0].prompt == "Is it bright?"
    [row] = [row for row in comparison_rows(runs) if (row.metric, row.run) == ("top1", "other")]
    assert (row.difference, row.num_images) == (0.0, 4)
    page = write_report([one, two], tmp_path / "report.html").read_text()
    assert "Is it bright?" in page
    assert "the words that the data name" in page
    text = " ".join(re.sub("<small>[^<]*</small>|<[^>]+>", "", page).split())
    assert "says Yes, it is." in text
    assert "says No." in text
    assert "labelled class" not in page
    assert page.count('title="wrong"') == 4  # two of each model; the question without a label is neither


def test_what_does_not_fit_is_refused(tmp_path, on_paper):
    with pytest.raises(ValueError, match=r"sample 'train/00.png' of zoo has no prompt; .*image-text:PATH"):
        run(on_paper, varied(), tmp_path / "a")
    with pytest.raises(ValueError, match="bright asks questions, which a classifier does not read"):
        audit(build_classifier("small-cnn", classes=FOUR.classes), FOUR, tmp_path / "b", name="t", model="t")
    with pytest.raises(ValueError, match="no split 'night'"):
        run(on_paper, FOUR, tmp_path / "c", replace(CONFIG, splits=("night",)))
    with pytest.raises(ValueError, match=r"elements=True, but bright has no task on a screenshot \(gui:PATH\)"):
        run(on_paper, FOUR, tmp_path / "none", AnswerAuditConfig(elements=True))
    with pytest.raises(ValueError, match="cannot drop patches"):
        AnswerAuditConfig(fill="drop")
    with pytest.raises(ValueError, match="max_tokens must be at least 1"):
        AnswerAuditConfig(max_tokens=0)
    with pytest.raises(ValueError, match="AnswerAuditConfig: max_images must be at least 0"):
        AnswerAuditConfig(max_images=-1)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "internvl"])
def test_a_real_model_on_a_file(tmp_path, family):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    save_lines(
        tmp_path / "pairs.jsonl",
        {"image": "a.png", "prompt": "What is it?", "boxes": [[0, 0, 30, 20]], "split": "test", "label": "A cat"},
        {"image": "a.png", "prompt": "A dog?", "answer": "Yes, a dog.", "tokens": "word:dog", "split": "test"},
    )
    vlm = VisionLanguageModel(*tiny_vlm(family))
    config = AnswerAuditConfig(partition="grid:2x2", max_tokens=4)
    folder = run(vlm, read_image_text(tmp_path / "pairs.jsonl"), tmp_path / "run", config)
    records = records_of(folder)
    assert [record["error"] for record in records] == [None, None]
    image = Image.fromarray(pixels)
    found = explaining.explain_generation(
        vlm, image, "A dog?", answer="Yes, a dog.", tokens="word:dog", regions=Grid(2, 2), max_tokens=4
    )
    kept = GenerationEvidence.load(folder / "evidence" / "000001-answer")
    assert np.array_equal(kept.evidence.order, found.evidence.order)
    assert kept.insertion == pytest.approx(found.insertion)
    assert records[1]["true"]["forwards"] == found.evidence.forwards
    assert records[1]["explained"].strip() == "dog"
    assert records[0]["predicted"] == vlm.text(vlm.generate(vlm.encode(image, "What is it?"), max_tokens=4)).strip()
    assert records[0]["true"]["coverage"] in (0.0, 1.0)
    assert rows_of(folder)["top1"]["n"] == 1


def test_the_snippet_of_the_page_runs(capsys):
    page = (Path(__file__).parent.parent / "docs" / "answers_audit.md").read_text()
    [snippet] = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(compile(snippet, "answers_audit.md", "exec"), {"__name__": "snippet"})
    assert "'pointing_touch': " in capsys.readouterr().out


def test_the_command_line_audits_answers(tmp_path, capsys):
    model, processor = tiny_vlm("llava")
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    bright(0).save(tmp_path / "a.png")
    line = {"image": "a.png", "prompt": "Is it bright?", "label": "Yes", "boxes": [BOXES[0]], "split": "test"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(line) + "\n")
    command = ["audit", "--model", str(tmp_path / "model"), "--data", f"image-text:{tmp_path / 'pairs.jsonl'}"]
    assert main([*command, "--partition", "grid:2x2", "--out", str(tmp_path / "run")]) == 0, capsys.readouterr().err
    assert (tmp_path / "run" / "report.html").is_file()
    assert load_run(tmp_path / "run").metrics


@pytest.mark.parametrize(
    "told",
    [["--correct"], ["--elements"], ["--tokens", "all"], ["--actions", "mobile_use"], ["--coordinates", "resized"]],
)
def test_what_is_for_answers_is_refused_for_labels(monkeypatch, capsys, told):
    monkeypatch.setattr("wherenot.commands.audit.load_dataset", lambda *_, **__: Dataset("digits", ("0", "1"), ()))
    assert main(["audit", "--model", "small-cnn", "--data", "digits", *told]) == 1
    assert f"audit: {told[0]}: only for questions about images" in " ".join(capsys.readouterr().err.split())
