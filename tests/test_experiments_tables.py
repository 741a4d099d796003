import csv
import io
import math
from dataclasses import replace

import pytest

from report_runs import record
from study_runs import finish, row_of, trial
from wherenot.experiments.results import method_cost, read_result, read_results
from wherenot.experiments.tables import Column, build_table
from wherenot.experiments.writing import differences_csv, latex, markdown, page, table_csv, values_csv, write_table
from wherenot.metrics import holm, paired_t

TOP1, GAME = ("test", "top1"), ("test", "pointing_coverage@0.2")
PLAIN = (0.5, 0.6, 0.7)
BETTER = (0.61, 0.69, 0.80)  # + .11, .09, .10
OTHER = (0.9, 0.2, 0.7)


@pytest.fixture
def study(tmp_path):
    """Three methods over three seeds; the last lacks a seed, and a metric in another."""
    rows = [row_of("finetune"), row_of("paper"), row_of("log")]
    for row, values in zip(rows, (PLAIN, BETTER, OTHER), strict=True):
        for each, value in zip(row.trials, values, strict=True):
            if (row.label, each.train.seed) == ("log", 2):
                continue
            game = None if (row.label, each.train.seed) == ("log", 1) else value / 2
            steps = [] if row.label == "finetune" else [
                {"step": 5, "task_loss": 1.0, "aligned": 4.0, "forwards": 100.0},
                {"step": 10, "task_loss": 1.0, "aligned": 6.0, "forwards": 200.0},
                {"step": 10, "loss": 0.5},
            ]  # fmt: skip
            finish(each, tmp_path, {TOP1: value, GAME: game}, seconds=30.0 if steps else 10.0, steps=steps)
    results = read_results(rows, tmp_path)
    return build_table("table1", rows, results, tmp_path), results, tmp_path


def test_values_by_hand(study):
    table, _, _ = study
    plain, paper, log = table.rows
    column = Column(split="test", metric="top1")
    assert table.values[plain, column].mean == pytest.approx(0.6)
    assert table.values[plain, column].sd == pytest.approx(0.1)
    assert table.values[paper, column].mean == pytest.approx(0.7)
    found = table.values[log, column]
    assert (found.mean, found.num_seeds, found.missing) == (pytest.approx(0.55), 2, 1)
    assert found.sd == pytest.approx(0.35 * math.sqrt(2))
    game = table.values[log, Column(split="test", metric="pointing_coverage@0.2")]
    assert (game.mean, game.num_seeds, game.missing) == (pytest.approx(0.45), 1, 2)
    assert math.isnan(game.sd)


def test_differences_by_hand(study):
    table, _, _ = study
    found = {(each.row.label, each.column.metric): each for each in table.differences}
    paper = found["paper", "top1"]
    assert paper.interval.value == pytest.approx(0.1)
    margin = 4.302653 * 0.01 / math.sqrt(3)  # t with 2 degrees of freedom, sd .01
    assert (paper.interval.low, paper.interval.high) == pytest.approx((0.1 - margin, 0.1 + margin))
    assert paper.p == pytest.approx(paired_t([0.11, 0.09, 0.10]))
    log = found["log", "top1"]
    assert (log.interval.value, log.interval.n) == (pytest.approx(0.0), 2)  # the two seeds both have
    assert [paper.p_holm, log.p_holm] == pytest.approx(holm([paper.p, log.p]))


def test_best_is_marked_only_where_every_other_is_beaten(study, tmp_path):
    table, results, root = study
    column = Column(split="test", metric="top1")
    assert not any(value.best for value in table.values.values())  # log's two seeds cannot be told from anything
    two = build_table("table1", table.rows[:2], results, root)
    assert two.values[two.rows[1], column].best
    assert not two.values[two.rows[0], column].best
    alone = build_table("table1", table.rows[:1], results, root)
    assert not alone.values[alone.rows[0], column].best


def test_one_seed_has_no_winner_and_an_interval_over_images(tmp_path):
    rows = [row_of("finetune", seeds=(0,)), row_of("paper", seeds=(0,))]
    for row, right in zip(rows, (40, 80), strict=True):
        records = [record(str(i), correct=i < right) for i in range(100)]
        finish(row.trials[0], tmp_path, {TOP1: right / 100}, records=records)
    table = build_table("table1", rows, read_results(rows, tmp_path), tmp_path)
    [difference] = table.differences
    assert difference.interval.value == pytest.approx(0.4)
    assert 0.28 < difference.interval.low < 0.34 < 0.46 < difference.interval.high < 0.52
    assert math.isnan(difference.p)
    assert not any(value.best for value in table.values.values())


def test_costs_by_hand(study):
    table, _, _ = study
    plain, paper, _ = table.rows
    assert (table.costs[plain].forwards, table.costs[plain].priors_used, table.costs[plain].time) == (0, 0, 1)
    # 300 forwards over 20 steps of 10 images; 10 priors; 30 seconds to 10
    assert table.costs[paper].forwards == pytest.approx(1.5)
    assert (table.costs[paper].priors_used, table.costs[paper].time) == (10, 3)


def test_seconds_of_a_resumed_training_do_not_count(tmp_path):
    rows = [row_of("finetune", seeds=(0, 1)), row_of("paper", seeds=(0, 1))]
    for row in rows:
        for each in row.trials:
            resumed = (row.label, each.train.seed) == ("paper", 1)
            seconds = 1.0 if resumed else 20.0 if row.label == "paper" else 10.0
            finish(each, tmp_path, {TOP1: 0.5}, seconds=seconds, resumed=resumed)
    table = build_table("table1", rows, read_results(rows, tmp_path), tmp_path)
    assert table.costs[rows[1]].time == pytest.approx(2.0)


def test_steps_taken_again_count_once_and_penalties_one_forward_an_image(tmp_path):
    steps = [
        {"step": 5, "rrr": 1.0, "rrr_images": 3.0},
        {"step": 5, "rrr": 1.0, "rrr_images": 4.0},
        {"step": 6, "loss": 1},
    ]
    one = trial("rrr")
    finish(one, tmp_path, {TOP1: 0.5}, steps=steps)
    assert method_cost(one.train_folder(tmp_path)) == (4, 4)


def test_an_unfinished_trial_has_no_result(tmp_path):
    one = trial()
    finish(one, tmp_path, {TOP1: 0.5})
    assert read_result(one, tmp_path).value("test", "top1") == 0.5
    assert math.isnan(read_result(one, tmp_path).value("night", "top1"))
    (one.audit_folder(tmp_path) / "metrics.json").unlink()
    assert read_result(one, tmp_path) is None


def test_markdown_says_what_is_missing(study):
    table, _, _ = study
    text = markdown(table)
    assert "| pets | test | small-cnn | finetune | 0.6000 ± 0.1000 |" in text
    assert "| 0.5500 ± 0.4950 (2) | 0.4500 (1) |" in text
    assert "Incomplete: 3 values are missing." in text
    assert "| pets | test | small-cnn | paper | Top-1 | +0.1000 | [+0.0752, +0.1248] | 0.003 | 0.007 |" in text
    assert "[+0.0752" not in markdown(table, differences=False)


def test_what_a_data_set_does_not_have_is_not_missing(tmp_path):
    pets, cars = row_of("finetune", seeds=(0,)), row_of("log", seeds=(0,), data="cars")
    finish(pets.trials[0], tmp_path, {TOP1: 0.5, GAME: 0.5})
    finish(cars.trials[0], tmp_path, {("plain", "top1"): 0.7})
    table = build_table("table1", [pets, cars], read_results([pets, cars], tmp_path), tmp_path)
    text = markdown(table)
    assert "missing" not in text
    assert "| cars | plain | small-cnn | log | 0.7000 | \N{EN DASH} |" in text


def test_a_study_of_which_nothing_is_finished_is_all_missing(tmp_path):
    rows = [row_of("finetune"), row_of("paper")]
    table = build_table("table1", rows, {}, tmp_path)
    assert [split for split, _ in table.lines] == ["", ""]
    assert values_csv(table, {}).count("missing") == 6 + 1  # six trials, and the heading
    for text in (markdown(table), latex(table), page(table)):
        assert "paper" in text


def test_best_is_bold_everywhere(study):
    table, results, root = study
    two = build_table("table1", table.rows[:2], results, root)
    assert "**0.7000 ± 0.0954**" in markdown(two)
    assert r"\textbf{0.7000 $\pm$ 0.0954}" in latex(two)
    assert "<b>0.7000 ± 0.0954</b>" in page(two)


def test_latex_is_a_whole_tabular_with_escaped_names(study, tmp_path):
    table, results, root = study
    odd = [replace(row, label=f"{row.label}_100% & {{x}}") for row in table.rows[:2]]
    text = latex(build_table("table1", odd, results, root))
    assert r"finetune\_100\% \& \{x\}" in text
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    assert lines[0] == r"\begin{tabular}{llllrrrrr}"
    assert lines[-1] == r"\end{tabular}"
    cells = [line for line in lines if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in cells} == {8}
    assert all(ord(sign) < 128 for line in lines for sign in line)


def test_html_escapes_names(study):
    table, results, root = study
    odd = [replace(row, label=f"<i>{row.label}</i>") for row in table.rows]
    assert "&lt;i&gt;paper&lt;/i&gt;" in page(build_table("table1", odd, results, root))


def test_csv_files_hold_the_numbers(study):
    table, results, root = study
    [plain, paper, log] = csv.DictReader(io.StringIO(table_csv(table)))
    assert (plain["data"], plain["split"], plain["method"]) == ("pets", "test", "finetune")
    assert float(paper["top1:mean"]) == pytest.approx(0.7)
    assert (log["top1:seeds"], log["pointing_coverage@0.2:sd"]) == ("2", "")
    assert (paper["forwards"], paper["time"]) == ("1.5", "3")
    differences = list(csv.DictReader(io.StringIO(differences_csv(table))))
    assert len(differences) == 4
    assert float(differences[0]["difference"]) == pytest.approx(0.1)
    values = list(csv.DictReader(io.StringIO(values_csv(table, results))))
    tops = [each for each in values if each["metric"] == "top1" and each["split"] == "test"]
    assert [float(each["value"]) for each in tops] == [*PLAIN, *BETTER, *OTHER[:2]]
    assert [each["seed"] for each in values if each["metric"] == "missing"] == ["2"]
    files = write_table(table, results, root)
    assert sorted(file.name for file in files) == sorted(
        ["table.csv", "table.md", "table.tex", "table.html", "differences.csv", "values.csv"]
    )


def test_table3_has_a_column_per_noise_and_corruption(tmp_path):
    rows = [row_of("finetune", seeds=(0, 1)), row_of("paper", seeds=(0, 1))]
    measured = {
        ("test", name): 0.5 for name in ("top1", "top2", "top1_noise@0.1", "top1_noise@0.2", "top1_corrupted@jpeg:3")
    }
    for row in rows:
        for each in row.trials:
            finish(each, tmp_path, measured)
    table = build_table("table3", rows, read_results(rows, tmp_path), tmp_path)
    assert table.metrics == ["top1", "top1_noise@0.1", "top1_noise@0.2", "top1_corrupted@jpeg:3"]
    assert "| Top-1 | noise 0.1 | noise 0.2 | jpeg:3 |" in markdown(table)


def test_every_block_has_its_own_reference(tmp_path):
    rows = [row_of(method, model=model) for model in ("a", "b") for method in ("finetune", "paper")]
    rows = [
        replace(row, trials=tuple(replace(t, train=replace(t.train, model=row.model)) for t in row.trials))
        for row in rows
    ]
    for row, value in zip(rows, (0.1, 0.2, 0.6, 0.9), strict=True):
        for each in row.trials:
            finish(each, tmp_path, {TOP1: value})
    table = build_table("table1", rows, read_results(rows, tmp_path), tmp_path)
    assert [each.interval.value for each in table.differences] == pytest.approx([0.1, 0.3])
