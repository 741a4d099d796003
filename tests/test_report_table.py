"""The comparison: differences on the same images and seeds, in Markdown and in a terminal."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from record_files import tables
from report_runs import failed, measures, record, row, write_run
from wherenot.metrics import over_seeds, paired_difference
from wherenot.report import comparison_markdown, comparison_rows, comparison_table, load_run, warnings_markdown
from wherenot.report.comparison import per_image
from wherenot.report.runs import Record
from wherenot.summary import metric_rows


def audited(folder, records, **about):
    return load_run(write_run(folder, records=records, rows=metric_rows(tables(records), seed=0), **about))


def find(rows, metric, run, split="test"):
    [found] = [entry for entry in rows if (entry.split, entry.metric, entry.run) == (split, metric, run)]
    return found


def random_records(seed, ids):
    rng = np.random.default_rng(seed)
    return [
        record(
            str(id),
            correct=bool(rng.random() < 0.7),
            hit=bool(rng.random() < 0.5),
            group=str(id % 2),
            true=measures(hit=bool(rng.random() < 0.5), insertion_auc=float(rng.random())),
        )
        for id in ids
    ]


def slow_difference(first, second, value):
    """Mean over images in both runs of second minus first, by loops."""
    total, count = 0.0, 0
    for a in first:
        for b in second:
            if (a["split"], a["id"]) == (b["split"], b["id"]):
                total, count = total + float(value(b)) - float(value(a)), count + 1
    return total / count, count


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("top1", lambda r: r["correct"]),
        ("top1_noise@0.1", lambda r: r["noise"]["0.1"]),
        ("pointing_coverage@0.2", lambda r: r["true"]["pointing_coverage@0.2"]),
        ("pointing_coverage@0.2 (predicted)", lambda r: r["predicted_evidence"]["pointing_coverage@0.2"]),
        ("insertion_auc", lambda r: r["true"]["insertion_auc"]),
    ],
)
def test_difference_is_taken_on_shared_images(tmp_path, metric, value):
    first, second = random_records(1, range(40)), random_records(2, range(60, 20, -1))
    rows = comparison_rows([audited(tmp_path / "a", first), audited(tmp_path / "b", second)])
    found = find(rows, metric, "b")
    expected, count = slow_difference(first, second, value)
    assert found.difference == pytest.approx(expected)
    assert (found.num_images, found.num_missing, found.basis) == (count, 0, "19 shared")
    by_id = {r["id"]: value(r) for r in second}
    pairs = [(float(value(r)), float(by_id[r["id"]])) for r in first if r["id"] in by_id]
    a, b = torch.tensor(pairs, dtype=torch.float64).T
    interval = paired_difference(b, a, seed=0)
    assert (found.low, found.high) == (interval.low, interval.high)
    assert found.value.value == pytest.approx(np.mean([float(value(r)) for r in second]))


def test_the_same_id_in_another_split_is_another_image(tmp_path):
    first = [record("a", split="x", correct=True), record("a", split="y", correct=False)]
    second = [record("a", split="x", correct=True), record("a", split="y", correct=True)]
    rows = comparison_rows([audited(tmp_path / "a", first), audited(tmp_path / "b", second)])
    assert find(rows, "top1", "b", "x").difference == 0
    assert find(rows, "top1", "b", "y").difference == 1


def test_a_failed_image_is_wrong_and_off_the_prior_and_counted(tmp_path):
    first = [record("a"), record("b", correct=False, hit=False), record("c"), record("d")]
    second = [record("a"), failed("b"), failed("c"), record("d", correct=False)]
    rows = comparison_rows([audited(tmp_path / "a", first), audited(tmp_path / "b", second)])
    found = find(rows, "top1", "b")
    assert (found.difference, found.num_images, found.num_missing) == (-0.5, 4, 2)
    assert find(rows, "pointing_coverage@0.2", "b").difference == -0.25
    assert find(rows, "top1_noise@0.1", "b").difference == -0.5
    assert found.basis == "4 shared, 2 missing"


def test_other_measures_leave_a_failed_image_out(tmp_path):
    first, second = [record("a"), record("b")], [record("a", true=measures(insertion_auc=0.5)), failed("b")]
    rows = comparison_rows([audited(tmp_path / "a", first), audited(tmp_path / "b", second)])
    found = find(rows, "insertion_auc", "b")
    assert (found.difference, found.num_images, found.num_missing) == (pytest.approx(-0.3), 1, 1)


def test_images_that_were_not_searched_are_not_missing(tmp_path):
    unsearched = {"searched": False, "true": None, "predicted_evidence": None}
    first = [record("a"), record("b"), record("c") | unsearched, record("d") | unsearched]
    second = [record("a", hit=False), failed("b"), record("c") | unsearched, failed("d") | unsearched]
    rows = comparison_rows([audited(tmp_path / "a", first), audited(tmp_path / "b", second)])
    found = find(rows, "pointing_coverage@0.2", "b")
    assert (found.difference, found.num_images, found.num_missing) == (-1.0, 2, 1)
    assert find(rows, "top1", "b").num_images == 4


def test_images_without_a_prior_are_left_out_of_pointing(tmp_path):
    nothing = dict.fromkeys(
        ("coverage", "pointing_coverage@0.2", "pointing_argmax", "pointing_touch", "energy_pointing")
    )
    first = [record("a"), record("b", true=measures() | nothing)]
    second = [record("a", hit=False), record("b", true=measures() | nothing)]
    rows = comparison_rows([audited(tmp_path / "a", first), audited(tmp_path / "b", second)])
    found = find(rows, "pointing_coverage@0.2", "b")
    assert (found.difference, found.num_images, found.num_missing) == (-1.0, 1, 1)


def test_over_seeds_the_difference_is_taken_per_seed(tmp_path):
    runs, expected = [], []
    data = {
        (name, seed): random_records(10 * len(name) + seed, range(30)) for name in ("a", "log") for seed in range(3)
    }
    for (name, seed), records in data.items():
        runs.append(audited(tmp_path / f"{name}{seed}", records, name=name, seed=seed))
    for seed in range(3):
        expected.append(slow_difference(data["a", seed], data["log", seed], lambda r: r["correct"])[0])
    found = find(comparison_rows(runs), "top1", "log")
    interval = over_seeds(expected)
    assert (found.difference, found.low, found.high) == pytest.approx((interval.value, interval.low, interval.high))
    assert (found.num_seeds, found.num_images, found.basis) == (3, 30, "30 shared \N{MULTIPLICATION SIGN} 3 seeds")


@pytest.mark.parametrize("made", [[("a", 0), ("log", 0), ("log", 1)], [("a", 0), ("a", 1), ("log", 0)]])
def test_one_shared_seed_is_compared_over_images(tmp_path, made):
    runs = [
        audited(tmp_path / f"{name}{seed}", random_records(seed, range(30)), name=name, seed=seed)
        for name, seed in made
    ]
    found = find(comparison_rows(runs), "top1", "log")
    assert (found.num_seeds, found.num_images, found.difference) == (1, 30, 0.0)


def test_a_metric_that_is_no_mean_has_a_difference_without_interval(tmp_path):
    runs = [
        load_run(write_run(tmp_path / name, rows=[row("worst_group", v, 0.1, 0.9)]))
        for name, v in (("a", 0.2), ("b", 0.5))
    ]
    found = find(comparison_rows(runs), "worst_group", "b")
    assert found.difference == pytest.approx(0.3)
    assert (found.low, found.high, found.verdict, found.basis) == (None, None, "", "not paired")


def test_a_metric_that_is_no_mean_is_compared_over_seeds(tmp_path):
    values = {("a", 0): 0.2, ("a", 1): 0.3, ("b", 0): 0.4, ("b", 1): 0.6}
    runs = [
        load_run(write_run(tmp_path / f"{name}{seed}", name=name, seed=seed, rows=[row("worst_group", value)]))
        for (name, seed), value in values.items()
    ]
    found = find(comparison_rows(runs), "worst_group", "b")
    interval = over_seeds([0.2, 0.3])
    assert (found.difference, found.low, found.high) == pytest.approx((0.25, interval.low, interval.high))
    assert found.basis == "2 shared seeds"


def test_missing_values_keep_their_rows(tmp_path):
    runs = [
        load_run(write_run(tmp_path / name, rows=[row("top1", v)])) for name, v in (("a", 0.5), ("b", float("nan")))
    ]
    rows = comparison_rows(runs)
    assert [entry.run for entry in rows] == ["a", "b"]
    assert find(rows, "top1", "b").difference is None
    line = comparison_markdown(rows).splitlines()[-1]
    assert line.count("\N{EN DASH}") == 4


def test_values_per_image_agree_with_the_audit(tmp_path):
    """Every metric that an audit averages over images is found in the records under the same name."""
    records = [*random_records(3, range(20)), failed("20")]
    read = [Record(**r) for r in records]
    no_means = ("worst_group", "accuracy_given", "pointing_given")
    rows = [r for r in metric_rows(tables(records), seed=0) if not r["metric"].startswith(no_means)]
    assert len(rows) > 15
    for entry in rows:
        values = [per_image(r, entry["metric"]) for r in read]
        assert np.nanmean(values) == pytest.approx(entry["value"]), entry["metric"]
    assert math.isnan(per_image(read[0], "worst_group"))


@pytest.mark.parametrize(
    ("low", "high", "higher_is_better", "verdict"),
    [
        (0.1, 0.2, True, "better"),
        (-0.2, -0.1, True, "worse"),
        (0.1, 0.2, False, "worse"),
        (-0.2, -0.1, False, "better"),
        (0.1, 0.2, None, "higher"),
        (-0.2, -0.1, None, "lower"),
        (0.0, 0.2, True, ""),
        (-0.1, 0.2, True, ""),
        (None, None, True, ""),
    ],
)
def test_verdict_follows_the_interval(tmp_path, low, high, higher_is_better, verdict):
    run = load_run(write_run(tmp_path / "r", rows=[row("top1", 0.5)]))
    entry = replace(comparison_rows([run])[0], low=low, high=high, higher_is_better=higher_is_better)
    assert entry.verdict == verdict


class TestMarkdown:
    def test_numbers_and_bold(self, tmp_path):
        first = [record(str(i), correct=i % 4 == 0) for i in range(100)]
        second = [record(str(i), correct=i % 4 != 1) for i in range(100)]
        rows = comparison_rows([audited(tmp_path / "a", first), audited(tmp_path / "b", second)])
        lines = comparison_markdown([entry for entry in rows if entry.metric in ("top1", "top2")]).splitlines()
        assert lines[0].startswith("| split | metric | run | value |")
        assert lines[1].count("---:") == 4
        assert lines[2].startswith("| test | top1 ↑ | a | 25.0% | [")
        assert "| b | 75.0% |" in lines[3]
        assert "| **+50.0** | [+" in lines[3]
        assert "| 0.0 | [0.0, 0.0] | 100 shared |" in lines[5]

    def test_a_name_cannot_break_the_table(self, tmp_path):
        run = load_run(write_run(tmp_path / "r", name="a|b\n<c>", rows=[row("top1", 0.5)]))
        line = comparison_markdown(comparison_rows([run])).splitlines()[2]
        assert r"| a\|b \<c> |" in line

    def test_every_row_is_written(self, tmp_path):
        rows = comparison_rows([audited(tmp_path / name, random_records(1, range(9))) for name in ("a", "b")])
        assert len(comparison_markdown(rows).splitlines()) == len(rows) + 2

    def test_warnings_of_training_are_a_list_below(self, tmp_path):
        fell = {"kind": "accuracy_fell", "seen": "It fell |\n<b>", "advice": "Lower it."}
        bad = audited(tmp_path / "bad", [record("a")], name="log", seed=1, training_warnings=[fell, fell])
        good = audited(tmp_path / "good", [record("a")], name="log", seed=0)
        lines = warnings_markdown([good, bad]).splitlines()
        assert lines[1] == "Training looks wrong:"
        assert lines[3:] == ["- log, seed 1: It fell \\| \\<b> Try: Lower it."] * 2
        assert warnings_markdown([good]) == ""


class TestTerminal:
    def text(self, table):
        console = Console(width=200, no_color=True, force_terminal=False)
        with console.capture() as capture:
            console.print(table)
        return capture.get()

    def test_metrics_to_read_first_and_a_count_of_the_rest(self, tmp_path):
        rows = comparison_rows([audited(tmp_path / name, random_records(1, range(9))) for name in ("a", "b")])
        text = self.text(comparison_table(rows))
        assert "Compared with a" in text
        assert "pointing_coverage@0.2 ↑" in text
        assert "(predicted)" not in text
        left_out = len({r.metric for r in rows}) - len({r.metric for r in rows if r.metric in text})
        assert f"{left_out} more metrics in the report" in text
        everything = self.text(comparison_table(rows, details=True))
        assert all(r.metric in everything for r in rows)
        assert "more metrics" not in everything

    def test_a_single_run_shows_its_values(self, tmp_path):
        run = load_run(write_run(tmp_path / "r", rows=[row("top1", 0.714, 0.67, 0.75)]))
        text = self.text(comparison_table(comparison_rows([run])))
        assert "71.4%" in text
        assert "[67.0, 75.0]" in text
        assert "difference" not in text

    def test_names_are_not_markup(self, tmp_path):
        run = load_run(write_run(tmp_path / "r", name="[red]x[/red]", rows=[row("top1", 0.5)]))
        assert "[red]x[/red]" in self.text(comparison_table(comparison_rows([run])))
