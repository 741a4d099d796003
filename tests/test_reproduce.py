"""`wherenot reproduce` and `wherenot advise`, as a user types them."""

import csv
import json

import pytest
from PIL import Image

from record_files import records_of
from study_runs import in_this_process
from wherenot.cli import main
from wherenot.data import Dataset, decoy, write_folder
from wherenot.experiments import pool
from wherenot.report import load_run

PLAIN = (
    "--data", "digits", "--seeds", "0", "1", "--partition", "grid:2x2", "--max-images", "3", "--images-per-split", "16",
    "--set", "optimization.epochs=1", "optimization.batch_size=8",
)  # fmt: skip
ALIGNED = (*PLAIN, "method.interval=1", "method.confidence_above=0.0", "method.max_regions=2")
HERE = ("--out", "study")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("user")
    data = decoy(0, num_train=40, num_validation=20, num_test=20)
    keep = tuple(s for s in data.samples if s.split in ("train", "validation", "test_biased", "test_swapped"))
    write_folder(Dataset("digits", data.classes, keep), place / "digits")
    return place


@pytest.fixture
def typed(capsys, monkeypatch, place):
    """Run the command in this process, trials too: what processes add is tested on its own."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(pool._Worker, "run", in_this_process)

    def run(*arguments, expect=0):
        assert main([str(argument) for argument in arguments]) == expect
        printed = capsys.readouterr()
        return printed.out + printed.err

    return run


def rows_of(file):
    return list(csv.DictReader(file.read_text().splitlines()))


def test_table1_from_the_command_line(place, typed):
    printed = typed("reproduce", "table1", *ALIGNED, *HERE, "--methods", "finetune", "paper", "rrr")
    folder = place / "study" / "table1"
    assert f"written: {folder.relative_to(place) / 'table.csv'}" in printed
    assert "Point Game" in printed
    rows = rows_of(folder / "table.csv")
    assert [(row["split"], row["method"]) for row in rows] == [
        (split, method) for split in ("test_biased", "test_swapped") for method in ("finetune", "paper", "rrr")
    ]
    assert {row["top1:seeds"] for row in rows} == {"2"}
    audits = sorted((place / "study" / "trials").glob("*finetune*/seed-*/audit-*/metrics.json"))
    found = [json.loads(path.read_text())["rows"] for path in audits]
    values = [next(r["value"] for r in one if (r["split"], r["metric"]) == ("test_biased", "top1")) for one in found]
    assert float(rows[0]["top1:mean"]) == pytest.approx(sum(values) / 2, abs=1e-6)
    assert float(rows[0]["forwards"]) == 0
    assert float(rows[1]["forwards"]) > float(rows[2]["forwards"]) == 1  # RRR: once more for every image
    assert float(rows[2]["priors_used"]) == 16
    run = json.loads((audits[0].parent.parent / "train" / "run.json").read_text())
    assert (run["config"]["images_per_split"], run["steps"]) == (16, 2)
    assert len(records_of(audits[0].parent)) == 32


def test_again_with_one_more_method_trains_only_that(place, typed):
    typed("reproduce", "table1", *ALIGNED, *HERE, "--methods", "finetune", "paper")
    stamps = {path: path.stat().st_mtime_ns for path in (place / "study" / "trials").rglob("metrics.json")}
    typed("reproduce", "table2", *ALIGNED, *HERE)
    after = {path: path.stat().st_mtime_ns for path in (place / "study" / "trials").rglob("metrics.json")}
    assert {path: after[path] for path in stamps} == stamps
    assert len(after) == len(stamps) + 4  # deviation alone: two seeds, trained and audited
    assert [row["method"] for row in rows_of(place / "study" / "table2" / "table.csv")][:3] == [
        "neither", "deviation", "deviation + redundancy"
    ]  # fmt: skip


def test_table3_adds_noise_and_corruptions_to_the_same_models(place, typed):
    typed("reproduce", "table1", *PLAIN, *HERE, "--methods", "finetune")
    trained = {path: path.stat().st_mtime_ns for path in place.rglob("train/metrics.json")}
    typed("reproduce", "table3", *PLAIN, *HERE, "--methods", "finetune", "--noise", "0.3", "--corruptions", "jpeg:5")
    assert {path: path.stat().st_mtime_ns for path in place.rglob("train/metrics.json")} == trained
    [first, *_] = rows_of(place / "study" / "table3" / "table.csv")
    assert {"top1:mean", "top1_noise@0.3:mean", "top1_corrupted@jpeg:5:mean"} <= set(first)


def test_weights_are_chosen_on_validation_and_used(place, typed):
    typed("reproduce", "table1", *PLAIN, *HERE, "--methods", "finetune", "rrr", "--grid", "0.5", "2")
    text = (place / "study" / "table1" / "weights.md").read_text()
    assert "| digits | small-cnn | rrr | 0.05 |" in text
    assert "| digits | small-cnn | rrr | 0.2 |" in text
    [chosen] = [line.split("|")[4].strip() for line in text.splitlines() if line.endswith("| x |")]
    weights = {
        json.loads(path.read_text())["config"]["method"]["weight"]
        for path in (place / "study" / "trials").glob("*rrr*/seed-1/train/run.json")
    }
    assert float(chosen) in weights


@pytest.mark.slow
def test_figures_are_drawn(place, typed):
    typed("reproduce", "fig2", *ALIGNED, *HERE, "--methods", "finetune", "paper", "--pictures", "2")
    typed("reproduce", "fig3", *ALIGNED, *HERE, "--sweep", "interval=1,2", "max_regions=1,2")
    for name in ("fig2/fig2-1", "fig3/fig3-1-accuracy", "fig3/fig3-1-pointing"):
        stem = place / "study" / name
        assert stem.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        with Image.open(stem.with_suffix(".png")) as picture:
            assert picture.width > 400
            assert len(picture.convert("RGB").getcolors(maxcolors=1_000_000)) > 10
    assert "fig3 varies options one by one" in typed("reproduce", "fig3", *ALIGNED, *HERE, "--grid", "2", expect=1)


def test_a_failed_trial_is_named_and_missing_in_the_table(place, typed, monkeypatch):
    def failing(self, trial, root):
        if trial.train.seed == 1:
            return pool.Ran(trial=trial, outcome="failed", error="out of luck")
        return in_this_process(self, trial, root)

    monkeypatch.setattr(pool._Worker, "run", failing)
    printed = typed("reproduce", "table1", *PLAIN, "--out", "failing", "--methods", "finetune", expect=1)
    assert "failed: digits, small-cnn, finetune, seed 1: out of luck" in printed
    assert "the same command tries again" in printed
    assert "out of luck" in (place / "failing" / "table1" / "unfinished.md").read_text()
    assert " (1) |" in (place / "failing" / "table1" / "table.md").read_text()


def test_the_plan_runs_nothing(place, typed):
    printed = typed(
        "reproduce", "table1", *ALIGNED, "--out", "planned", "--plan", "--dollars-per-hour", "4", "--grid", "1", "3",
        "--json",
    )  # fmt: skip
    told = json.loads(printed.splitlines()[0])
    assert sum(line["trials"] for line in told["rows"]) == 18
    assert not (place / "planned").exists()
    assert "18 trials to run" in printed  # 5 methods x 2 seeds, and 4 x 2 weights
    assert "price: $4 an hour" in printed
    complaint = typed("reproduce", "table1", "--plan", "--data", "nowhere/at/all", expect=1)
    assert "not at hand" in complaint


def test_bad_options_are_refused_before_anything_runs(place, typed):
    assert "method.tau: no method" in typed(
        "reproduce", "table1", *PLAIN, "method.tau=1", "--out", "bad", "--methods", "rrr", expect=1
    )
    assert not (place / "bad" / "trials").exists()


def test_advice_on_an_audit(place, typed):
    typed("reproduce", "table1", *PLAIN, *HERE, "--methods", "finetune")
    audits = (place / "study" / "trials").glob("*finetune*/seed-0/audit-*")
    audit = next(path for path in audits if load_run(path).config["max_images"] == 3)
    printed = typed("advise", audit, "--priors", "exact", "--context", "spurious")
    searched = sum(record.searched for record in load_run(audit).records)
    assert f"finetune: {searched} images searched, 100% with a prior" in printed
    assert "try counterfactual" in printed
    assert "provisional" in printed
    assert "no run folder" in typed("advise", "nowhere", expect=1)
