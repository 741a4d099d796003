"""Figures for papers: what they count and average, which samples they show, and what is said to be missing."""

import json

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

from report_runs import failed, record, row, write_evidence, write_run
from study_runs import finish
from wherenot.cli import main
from wherenot.experiments.drawing import stored_drawings
from wherenot.experiments.studies import StudyOptions, study_rows
from wherenot.metrics import area_axis, insertion_auc
from wherenot.report import (
    count_quadrants,
    curves_figure,
    drawn_samples,
    grid_figure,
    load_run,
    load_training,
    mean_curves,
    paper_figures,
    quadrants_figure,
    save_figure,
    training_figure,
)
from wherenot.report.columns import group_runs
from wherenot.report.mean_curves import AREAS
from wherenot.report.quadrants import Quadrants
from wherenot.report.stored import load_evidence, load_regions
from wherenot.report.style import COLUMN_IN, PRINT_DPI

POINTING = "pointing_coverage@0.2"


def audited(folder, ids=("a.png", "b.png"), *, split="test", hits=(True, False), arrays=(), more=(), **about):
    """An audit with stored evidence for each id; `arrays` changes the arrays of each."""
    records = list(more)
    for number, id in enumerate(ids):
        file = f"evidence/{number:06d}.npz"
        write_evidence(folder / file, seed=number, **(arrays[number] if arrays else {}))
        records.append(record(id, split=split, hit=hits[number % len(hits)], evidence_file=file))
    rows = [row("top1", 0.7, 0.6, 0.8, split=split), row(POINTING, 0.5, 0.4, 0.6, split=split)]
    return write_run(folder, records=records, rows=rows, **about)


def trained(folder, lines, *, end="\n", **about):
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"command": "train", "name": folder.name, "seed": 0, **about}))
    (folder / "steps.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + end)
    return folder


def columns_of(*folders):
    return group_runs([load_run(folder) for folder in folders])


class TestQuadrants:
    def test_samples_are_counted_by_outcome_and_evidence_over_all_seeds(self, tmp_path):
        lines = [
            record("a", hit=True), record("b", hit=True), record("c", hit=False), record("d", correct=False, hit=True),
            record("e", correct=False, hit=False), record("f", searched=False), failed("g"),
            record("h", true={**record("h")["true"], POINTING: None}), record("i", split="other", hit=False),
        ]  # fmt: skip
        for seed in (0, 1):
            write_run(tmp_path / str(seed), records=lines, rows=[row(POINTING, 0.5)], name="paper", seed=seed)
        test, other = count_quadrants(columns_of(tmp_path / "0", tmp_path / "1"), POINTING)
        assert (test.split, test.counts, test.unknown) == ("test", (4, 2, 2, 2), 4)
        assert (other.split, other.counts, other.unknown) == ("other", (0, 2, 0, 0), 0)
        bars = quadrants_figure([test, other]).axes[0].patches
        assert [bar.get_width() for bar in bars] == pytest.approx([0.4, 0.2, 0.2, 0.2])
        assert [bar.get_x() for bar in bars] == pytest.approx([0.0, 0.4, 0.6, 0.8])

    def test_one_split_alone(self, tmp_path):
        folder = audited(tmp_path / "r", more=[record("x", split="other")])
        assert {each.split for each in count_quadrants(columns_of(folder), POINTING, ["other"])} == {"other"}

    def test_nothing_to_count(self):
        with pytest.raises(ValueError, match="no searched sample"):
            quadrants_figure([])


class TestCurves:
    ARRAYS = (
        {"insertion": np.array([0.1, 0.5, 0.9], np.float32), "deletion": np.array([0.9, 0.5, 0.1], np.float32)},
        {"insertion": np.array([0.3, 0.9, 0.7], np.float32), "deletion": np.array([0.7, 0.1, 0.3], np.float32)},
    )

    def test_the_area_under_the_mean_is_the_mean_of_the_areas(self, tmp_path):
        curves, missing = mean_curves(columns_of(audited(tmp_path / "r", arrays=self.ARRAYS)))
        assert missing == ()
        insertion, deletion = curves
        assert (insertion.kind, deletion.kind, insertion.images) == ("insertion", "deletion", 2)
        area = area_axis(torch.tensor([0.25, 0.75]))  # the strongest region is a quarter of the image
        aucs = [
            insertion_auc(float(each["insertion"][0]), torch.from_numpy(each["insertion"][1:]), area)
            for each in self.ARRAYS
        ]
        assert np.trapezoid(insertion.mean, AREAS) == pytest.approx(np.mean(aucs), abs=1e-6)
        assert insertion.mean[AREAS == 0.25] == pytest.approx(0.7)
        assert deletion.mean[[0, -1]] == pytest.approx([0.8, 0.2])
        assert (insertion.low <= insertion.mean).all()
        assert (insertion.mean <= insertion.high).all()
        assert insertion.low[0] == pytest.approx(0.1)  # a resample may hold one image twice

    def test_several_seeds_have_an_interval_over_seeds(self, tmp_path):
        for seed in (0, 1):
            audited(tmp_path / str(seed), ["a.png"], arrays=self.ARRAYS[seed : seed + 1], name="paper", seed=seed)
        curve = mean_curves(columns_of(tmp_path / "0", tmp_path / "1"))[0][0]
        half = 12.706 * np.std([0.1, 0.3], ddof=1) / np.sqrt(2)  # Student's t with one degree of freedom
        assert curve.mean[0] == pytest.approx(0.2)
        assert curve.high[0] - curve.mean[0] == pytest.approx(half, rel=1e-3)

    def test_orders_cut_short_and_lost_arrays_are_left_out_and_counted(self, tmp_path):
        short = {"order": np.array([0], np.int32), "insertion": np.array([0.1, 0.6]), "deletion": np.array([0.9, 0.2])}
        folder = audited(tmp_path / "r", ["a", "b", "c"], arrays=[*self.ARRAYS, short], more=[failed("d")])
        (folder / "evidence" / "000001.npz").unlink()
        curves, missing = mean_curves(columns_of(folder))
        assert [curve.images for curve in curves] == [1, 1]
        assert missing == ("r: 3 searched images have no whole curves",)

    def test_no_curve(self):
        with pytest.raises(ValueError, match="no curve"):
            curves_figure([])


class TestTraining:
    LINES = (
        {"step": 2, "task_loss": 2.0, "aligned": 0.0},
        {"step": 4, "task_loss": 1.5, "deviation": 0.5, "top_off_prior": 0.25, "forwards": 10.0},
        {"step": 4, "loss": 9.0, "grad_norm": 1.0},
        {"step": 4, "eval_loss": 1.0, "eval_accuracy": 0.5},
        {"step": 6, "task_loss": 7.0, "forwards": 99.0},
        {"step": 6, "task_loss": float("nan"), "deviation": 0.25, "top_off_prior": 0.0, "forwards": 20.0},
    )

    def test_what_was_measured(self, tmp_path):
        run = load_training(trained(tmp_path / "log", self.LINES, end='\n{"step": 8, "task_'))
        assert run.series == {
            "task loss": ((2, 2.0), (4, 1.5)),
            "validation accuracy": ((4, 0.5),),
            "deviation loss": ((4, 0.5), (6, 0.25)),
            "top region on prior": ((4, 0.75), (6, 1.0)),
            "forwards spent": ((4, 10.0), (6, 30.0)),
        }
        assert run.not_finite == 1
        assert (tmp_path / "log" / "steps.jsonl").read_text().endswith("task_")  # it may still be written to

    def test_without_a_method_the_loss_is_that_of_the_task(self, tmp_path):
        run = load_training(trained(tmp_path / "plain", [{"step": 10, "loss": 0.5}]))
        assert run.series == {"task loss": ((10, 0.5),)}

    def test_a_panel_for_each_quantity_and_a_line_for_each_run(self, tmp_path):
        runs = [load_training(trained(tmp_path / "log", self.LINES))]
        runs.append(load_training(trained(tmp_path / "plain", [{"step": n, "loss": 1 / n} for n in range(1, 61)])))
        axes = training_figure(runs).axes
        assert [each.get_title(loc="left") for each in axes][:3] == [
            "task loss",
            "validation accuracy",
            "deviation loss",
        ]
        log, faint, strong = axes[0].lines
        assert (log.get_color(), log.get_linestyle()) != (strong.get_color(), strong.get_linestyle())
        assert faint.get_ydata()[9] == pytest.approx(1 / 10)
        assert strong.get_ydata()[9] == pytest.approx((1 / 9 + 1 / 10 + 1 / 11) / 3)

    @pytest.mark.parametrize("line", ["[1]", '{"loss": 1}', "{"])
    def test_a_broken_line_is_named(self, tmp_path, line):
        folder = trained(tmp_path / "log", self.LINES, end=f"\n{line}\n")
        with pytest.raises(ValueError, match="line 7: no account of a step"):
            load_training(folder)

    def test_another_folder(self, tmp_path):
        with pytest.raises(ValueError, match="not the run of a training"):
            load_training(write_run(tmp_path / "r"))


class TestGrid:
    def test_every_run_shows_the_same_samples_drawn_by_the_seed(self, tmp_path):
        ids = [f"{number}.png" for number in range(8)]
        one = load_run(
            audited(tmp_path / "one", ids, more=[record("z", split="other", evidence_file="evidence/0.npz")])
        )
        two = load_run(audited(tmp_path / "two", ids[2:]))
        drawn = {seed: drawn_samples([one, two], 3, seed=seed) for seed in range(4)}
        assert all(len(keys) == 3 and {id for _, id in keys} <= set(ids[2:]) for keys in drawn.values())
        assert len({tuple(keys) for keys in drawn.values()}) > 1
        assert drawn[1] == drawn_samples([one, two], 3, seed=1)
        assert ("other", "z") in drawn_samples([one], 4)

    def test_captions_prior_and_the_strongest_regions(self, tmp_path):
        columns = columns_of(audited(tmp_path / "paper", ["a.png"], hits=[False]))
        figure = grid_figure(columns, pointing=POINTING, top_regions=1, width=2.0)
        image, evidence = figure.axes
        assert figure.get_figwidth() == 2.0
        assert [each.get_text() for each in image.texts] == ["a.png: one"]
        assert [each.get_text() for each in evidence.texts] == ["1", "one, right; off\nprior"]
        assert (len(image.collections), len(evidence.collections)) == (1, 2)  # the prior; and a region

    def test_too_narrow_or_nothing_in_common(self, tmp_path):
        one, two = audited(tmp_path / "one", ["a"]), audited(tmp_path / "two", ["b"])
        with pytest.raises(ValueError, match="no sample has stored evidence in every run"):
            grid_figure(columns_of(one, two))
        with pytest.raises(ValueError, match=r"2 pictures do not fit 0\.5 inches"):
            grid_figure(columns_of(one), width=0.5)


class TestCommand:
    @pytest.fixture
    def saved(self, monkeypatch):
        """The figures that the command writes, by name; none is written, which is what takes the time."""
        figures = {}

        def keep(figure, stem):
            figures[stem.name] = figure
            return [stem]

        monkeypatch.setattr("wherenot.commands.figures.save_figure", keep)
        return figures

    def test_figures_of_a_comparison_and_what_is_missing(self, tmp_path, saved, capsys):
        one = audited(tmp_path / "audit-one", model=str(trained(tmp_path / "log", TestTraining.LINES) / "model"))
        two = audited(tmp_path / "audit-two", more=[failed("x")])
        assert main(["compare", str(one), str(two), "--out", str(tmp_path / "compared")]) == 0
        assert main(["figures", str(tmp_path / "compared"), "-o", str(tmp_path / "figs"), "--samples", "1"]) == 0
        names = ["curves", "evidence", "metric-pointing_coverage", "metric-top1", "quadrants", "training"]
        assert sorted(saved) == names
        assert {saved[name].get_figwidth() for name in names if name != "evidence"} == {COLUMN_IN}
        said = capsys.readouterr().out
        assert f"written: {tmp_path / 'figs' / 'curves'}" in said
        assert "left out: quadrants: audit-two, test: 1 searched samples have no prior or failed" in said
        assert "left out: training: redundancy loss: not measured by log" in said
        assert f"left out: training: {tmp_path / 'log'}: 1 values that are no finite numbers" in said

    def test_each_figure_that_cannot_be_drawn_is_named_with_its_reason(self, tmp_path):
        bare = load_run(write_run(tmp_path / "bare", records=[record("a")], rows=[row("insertion_auc", 0.5)]))
        found = paper_figures([bare])
        assert found.figures == {}
        assert found.left_out == (
            "evidence: no sample has stored evidence in every run; audit the same ones.",
            "quadrants: no audit measured a pointing game; the data have no priors",
            "curves: there is no curve; audits keep them unless their search stops early.",
            "curves: bare: 1 searched images have no whole curves",
            "training: no training run was given",
        )

    def test_a_folder_of_something_else_and_wrong_numbers(self, tmp_path, capsys):
        assert main(["figures", str(tmp_path)]) == 1
        assert "holds no audit, training, comparison or study" in capsys.readouterr().err
        run = load_run(audited(tmp_path / "r"))
        with pytest.raises(ValueError, match="samples=0"):
            paper_figures([run], samples=0)
        with pytest.raises(ValueError, match="no audit has the split 'train'; there are test"):
            paper_figures([run], splits=["train"])

    def test_a_study_is_drawn_anew_from_its_trials(self, tmp_path, saved):
        options = StudyOptions(data=("pets",), seeds=(0, 1), sweeps=("interval=1,7",), partition="grid:2x2")
        for place, line in enumerate(study_rows("fig3", options, {})):
            for trial in line.trials:
                finish(trial, tmp_path, {("test", "top1"): 0.5 + 0.1 * place})
        stored = {"study": "fig3", "options": options.__dict__, "grid": []}
        (tmp_path / "fig3").mkdir()
        (tmp_path / "fig3" / "study.json").write_text(json.dumps(stored))
        [drawing] = stored_drawings(tmp_path / "fig3")
        [axes] = drawing.figure.axes
        assert (drawing.name, axes.get_xlabel()) == ("fig3-1-accuracy", "interval")
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "7"]
        assert axes.lines[0].get_ydata() == pytest.approx([0.6, 0.7])
        assert axes.lines[1].get_ydata() == pytest.approx([0.5, 0.5])  # plain fine-tuning
        assert main(["figures", str(tmp_path), "-o", str(tmp_path / "figs")]) == 0
        assert list(saved) == ["fig3-1-accuracy"]
        (tmp_path / "fig3" / "study.json").write_text("{}")
        with pytest.raises(ValueError, match="describes no study"):
            stored_drawings(tmp_path / "fig3")


def test_saved_files_hold_their_fonts_and_change_no_setting(tmp_path):
    before = dict(mpl.rcParams)
    one = Quadrants(name="\N{HIRAGANA LETTER A} $x$", split="test", counts=(6, 2, 1, 1))
    pdf, png = save_figure(quadrants_figure([one]), tmp_path / "quadrants")
    assert dict(mpl.rcParams) == before
    with Image.open(png) as picture:
        assert picture.width == round(COLUMN_IN * PRINT_DPI)
    first = pdf.read_bytes()
    assert b"/FontFile2" in first
    assert b"/Type3" not in first
    assert save_figure(quadrants_figure([one]), tmp_path / "again")[0].read_bytes() == first


def test_regions_are_read_without_the_pictures_beside_them(tmp_path):
    file = write_evidence(tmp_path / "a.npz")
    alone, beside = load_regions(file), load_evidence(file).regions
    for name in ("labels", "order", "insertion", "deletion"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(beside, name))
    with pytest.raises(ValueError, match=r"load_regions: cannot read .*none\.npz"):
        load_regions(tmp_path / "none.npz")
