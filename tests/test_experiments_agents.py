"""`wherenot reproduce table4` and figures 4 to 6: agents trained and audited, as a user types it."""

import csv
import json
from dataclasses import replace

import pytest
from PIL import Image

from record_files import records_of
from report_runs import row
from study_runs import in_this_process
from vlms import SIDE, quarters_image
from wherenot.cli import main
from wherenot.experiments import pool
from wherenot.experiments.results import read_results
from wherenot.experiments.studies import StudyOptions, study_rows
from wherenot.experiments.tables import Column, build_table
from wherenot.experiments.trials import AgentTrial, parse_trial
from wherenot.experiments.writing import markdown
from wherenot.models.tiny_vlms import tiny_vlm

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),  # by peft
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.*"),
]

AGENT = {"data": ("gui:screens",), "models": ("agents/tiny",)}
HALF = SIDE // 2
BOXES = [(x, y, x + HALF, y + HALF) for y in (0, HALF) for x in (0, HALF)]


def rows(study, **options):
    return study_rows(study, StudyOptions(**{**AGENT, **options}), {})


class TestRows:
    def test_table4_puts_fine_tuning_before_the_papers_method(self):
        first, second = rows("table4", seeds=(0, 1), images_per_split=9, max_images=4)
        assert (first.label, second.label) == ("sft", "paper")
        assert [trial.train.seed for trial in second.trials] == [0, 1]
        trial = second.trials[0]
        assert (trial.train.method.partition, trial.train.tasks_per_split) == ("slico:50", 9)
        assert (trial.audit.partition, trial.audit.tokens, trial.audit.max_images) == ("slico:50", "all", 4)
        assert first.trials[0].train.method.partition is None  # it searches nothing
        assert parse_trial(trial.content()) == trial
        assert isinstance(trial, AgentTrial)

    def test_figures_share_what_table4_trained(self):
        table = {trial for each in rows("table4", seeds=(3, 4)) for trial in each.trials}
        for study in ("fig4", "fig6"):
            assert {trial for each in rows(study, seeds=(3, 4)) for trial in each.trials} < table
        apart = [trial for each in rows("fig5", seeds=(3, 4)) for trial in each.trials]
        assert all(trial.audit.thinking for trial in apart)
        assert {trial.train for trial in apart} < {trial.train for trial in table}

    def test_regions_can_be_the_elements(self):
        trial = rows("table4", partition="elements", methods=("necessity", "paper"))[1].trials[0]
        assert (trial.audit.elements, trial.train.method.partition) == (True, "elements")

    def test_changes_reach_the_training(self):
        found = rows("table4", changes=("optimization.steps=7", "method.tau=0.3", "max_tokens=9", "lora.rank=2"))
        assert [each.trials[0].train.optimization.steps for each in found] == [7, 7]
        assert [each.trials[0].train.method.tau for each in found] == [None, 0.3]
        assert {each.trials[0].audit.max_tokens for each in found} == {9}
        with pytest.raises(ValueError, match=r"method\.tau: no method of table4"):
            rows("table4", changes=("method.tau=0.3",), methods=("sft",))
        with pytest.raises(ValueError, match="flags of their own"):
            rows("table4", changes=("task=classifier",))

    @pytest.mark.parametrize(
        ("study", "options", "message"),
        [
            ("table4", {"data": ("decoy",)}, "is about agents"),
            ("fig4", {"models": ("small-cnn",)}, "is about agents"),
            ("table4", {"methods": ("rrr",)}, "table4 has no such method"),
            ("table1", {"methods": ("finetune", "necessity")}, "table1 has no such method"),
            ("table4", {"preset": "wherenot"}, "preset paper only"),
        ],
    )
    def test_options_for_others_are_refused(self, study, options, message):
        with pytest.raises(ValueError, match=message):
            rows(study, **options)


def finish(trial, root, values, *, right=0.5):
    """What a finished trial of an agent leaves behind."""
    trained, audited = trial.train_folder(root), trial.audit_folder(root)
    trained.mkdir(parents=True)
    audited.mkdir(parents=True)
    (trained / "run.json").write_text(json.dumps({"command": "train", "seconds": 10.0, "steps": 5, "resumed": False}))
    (trained / "metrics.json").write_text(json.dumps({"finished": True, "validation": {"correct": right}}))
    (trained / "steps.jsonl").write_text(json.dumps({"step": 5, "aligned": 3.0}) + "\n")
    (audited / "metrics.json").write_text(json.dumps({"rows": [row(name, value) for name, value in values.items()]}))


def test_the_columns_are_those_of_table_4_and_distances_are_better_when_lower(tmp_path):
    found = rows("table4", seeds=(0, 1, 2))
    for each, distance in zip(found, (90.0, 30.0), strict=True):
        for trial in each.trials:
            given = {
                "click_success_given_pointing_coverage@0.2": 0.9,
                "click_distance_px_given_pointing_touch": distance,
            }
            some = {"click_success": 0.5, "click_distance_px": distance + trial.train.seed, "pointing_touch": 0.25}
            finish(trial, tmp_path, {**some, **given, "top1": 0.5}, right=None if trial.train.seed else 0.25)
    results = read_results(found, tmp_path)
    table = build_table("table4", found, results, tmp_path)
    assert table.metrics == [
        "click_success", "click_distance_px", "pointing_touch", "click_success_given_pointing_coverage@0.2",
        "click_distance_px_given_pointing_touch",
    ]  # fmt: skip
    column = Column(split="test", metric="click_distance_px")
    assert [table.values[each, column].best for each in found] == [False, True]
    assert not any(table.values[each, Column(split="test", metric="click_success")].best for each in found)
    assert "| Click success | Distance (px) | Point Game (touch) | Click success (PG=1) |" in markdown(table)
    result = results[found[1].trials[0]]
    assert (result.validation, result.priors_used, result.images_trained) == (0.25, 3, 5 * 8)
    assert table.costs[found[0]].time == 1


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Twelve tasks on coloured quarters, and a tiny agent that knows nothing."""
    place = tmp_path_factory.mktemp("agents")
    model, processor = tiny_vlm("llava")
    model.save_pretrained(place / "tiny")
    processor.save_pretrained(place / "tiny")
    quarters_image().save(place / "screen.png")
    tasks = []
    for split in ("train", "validation", "test"):
        for number, box in enumerate(BOXES):
            point = [round(1000 * (edge + HALF / 2) / SIDE) for edge in box[:2]]
            said = json.dumps({"thought": "red", "POINT": point}, separators=(",", ":"))
            turns = [("user", f"Tap {number}. <image_00>"), ("assistant", said)]
            tasks.append(
                {
                    "id": f"{split}{number}", "image": {"<image_00>": "screen.png"}, "split": split, "kind": "home",
                    "bounding_box": list(box), "conversations": [{"role": r, "content": c} for r, c in turns],
                }
            )  # fmt: skip
    (place / "tasks.json").write_text(json.dumps(tasks))
    (place / "untested.json").write_text(json.dumps([task for task in tasks if task["split"] != "test"]))
    return place


OPTIONS = (
    "--models", "tiny", "--partition", "grid:2x2", "--out", "study", "--pictures", "2", "--set", "optimization.steps=1",
    "optimization.batch_size=2", "optimization.accumulation=1", "method.interval=1", "method.right_above=0.0",
    "max_tokens=8",
)  # fmt: skip


@pytest.fixture
def typed(capsys, monkeypatch, place):
    monkeypatch.chdir(place)
    monkeypatch.setattr(pool._Worker, "run", in_this_process)

    def run(*arguments, expect=0):
        assert main([str(argument) for argument in arguments]) == expect, capsys.readouterr().err
        printed = capsys.readouterr()
        return printed.out + printed.err

    return run


def test_table4_and_its_figures_from_the_command_line(place, typed):
    typed("reproduce", "table4", "--data", "gui:tasks.json", "--seeds", "0", "1", *OPTIONS)
    lines = list(csv.DictReader((place / "study" / "table4" / "table.csv").read_text().splitlines()))
    assert [(line["method"], line["split"], line["click_success:seeds"]) for line in lines] == [
        ("sft", "test", "2"),
        ("paper", "test", "2"),
    ]
    trained = {path: path.stat().st_mtime_ns for path in (place / "study").rglob("train/metrics.json")}
    assert len(trained) == 4
    records = [record for part in (place / "study").rglob("part-*") for record in records_of(part.parent.parent)]
    assert len(records) == 4 * 4
    assert {record["error"] for record in records} == {None}
    for study, kind in (("fig4", ".pdf"), ("fig6", ".pdf"), ("fig5", ".md")):  # the agent has no thoughts yet
        typed("reproduce", study, "--data", "gui:tasks.json", "--seeds", "0", "1", *OPTIONS)
        assert (place / "study" / study / f"{study}-1{kind}").is_file()
    assert {path: path.stat().st_mtime_ns for path in (place / "study").rglob("train/metrics.json")} == trained
    content = (place / "study" / "fig4" / "fig4-1.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/FontFile2" in content  # whole fonts
    with Image.open(place / "study" / "fig6" / "fig6-1.png") as picture:
        assert picture.height > picture.width / 2


def test_what_cannot_be_done_is_said(place, typed):
    assert "--plan knows what classifiers cost" in typed(
        "reproduce", "table4", "--data", "gui:tasks.json", "--plan", *OPTIONS, expect=1
    )
    assert "leave --grid out" in typed(
        "reproduce", "table4", "--data", "gui:tasks.json", "--grid", "1", "2", *OPTIONS, expect=1
    )
    [trial, *_] = rows("table4", data=("gui:untested.json",), models=("tiny",))[0].trials
    with pytest.raises(ValueError, match="no split but train, validation"):
        in_this_process(None, replace(trial), place / "untested")
