"""What a report says: reading run folders, columns over seeds, marks, headline, choice of pictures, problems."""

import math

import numpy as np
import pytest

from report_runs import failed, record, row, write_evidence, write_run
from wherenot.records import RecordStore
from wherenot.report import build_content, load_run
from wherenot.report.columns import group_runs
from wherenot.report.stored import load_evidence


def content_of(*folders, gallery=12):
    return build_content([load_run(folder) for folder in folders], gallery=gallery)


def two_metrics(top1, pointing, **changes):
    """Rows of accuracy and pointing from (value, low, high) each."""
    return [row("top1", *top1, **changes), row("pointing_coverage@0.2", *pointing, **changes)]


class TestLoadRun:
    def test_reads_what_the_audit_wrote(self, tmp_path):
        folder = write_run(
            tmp_path / "paper",
            records=[record("a.png", evidence_file="evidence/000000.npz"), failed("b.png")],
            rows=[
                row("top1", 0.93, 0.91, 0.95, n=500, missing=1),
                row("forwards_per_image", 274, higher_is_better=None),
            ],
            rejected=[{"id": "c.png", "reason": "empty prior"}],
            seed=3,
        )
        run = load_run(folder)
        assert (run.name, run.seed, run.classes, run.commit) == ("paper", 3, ("zero", "one"), "abc1234")
        assert (run.metrics[0].value, run.metrics[0].n, run.metrics[0].missing) == (0.93, 500, 1)
        assert run.metrics[1].higher_is_better is None
        assert run.records[0].true == record("a.png")["true"]
        assert run.records[0].true["pointing_coverage@0.2"] is True  # not turned into 1.0
        assert run.records[1].error == "cannot identify image file"
        assert run.rejected[0].id == "c.png"

    def test_both_ways_to_say_missing_are_read(self, tmp_path):
        run = load_run(write_run(tmp_path / "r", rows=[row("top1", None), row("insertion_auc", float("nan"))]))
        assert run.metrics[0].value is None
        assert math.isnan(run.metrics[1].value)

    def test_missing_folder(self, tmp_path):
        with pytest.raises(ValueError, match=r"no run folder .*nowhere"):
            load_run(tmp_path / "nowhere")

    def test_missing_file(self, tmp_path):
        folder = write_run(tmp_path / "r")
        (folder / "records").rename(folder / "elsewhere")
        with pytest.raises(ValueError, match="records is missing"):
            load_run(folder)
        (folder / "run.json").unlink()
        with pytest.raises(ValueError, match=r"run\.json is missing"):
            load_run(folder)

    def test_other_command(self, tmp_path):
        with pytest.raises(ValueError, match=r"not the run of an audit.*'train'"):
            load_run(write_run(tmp_path / "r", command="train"))

    def test_interrupted_audit_says_how_far_it_came(self, tmp_path):
        folder = write_run(tmp_path / "r", records=[record("a"), record("b")])
        (folder / "metrics.json").unlink()
        with pytest.raises(ValueError, match=r"did not finish.*records of 2 images.*Run the audit again"):
            load_run(folder)

    def test_a_broken_part_is_named(self, tmp_path):
        folder = write_run(tmp_path / "r", records=[record("a"), record("b")])
        [part] = RecordStore(folder).parts()
        part.write_bytes(part.read_bytes()[:-9])
        with pytest.raises(ValueError, match=r"cannot read .*part-00000-000000\.parquet"):
            load_run(folder)

    def test_wrong_field_is_named(self, tmp_path):
        folder = write_run(tmp_path / "r", records=[record("a"), record("b", p_label="cat")])
        with pytest.raises(ValueError, match=r"records, record 1: p_label: .*number"):
            load_run(folder)

    def test_wrong_metric_is_named(self, tmp_path):
        folder = write_run(tmp_path / "r", rows=[row("top1", "high")])
        with pytest.raises(ValueError, match=r"metrics\.json: 0\.value"):
            load_run(folder)

    def test_an_image_counts_once(self, tmp_path):
        folder = write_run(tmp_path / "r", records=[record("a"), record("a", split="other"), record("a")])
        with pytest.raises(ValueError, match="records: image 'a' of split 'test' appears twice"):
            load_run(folder)

    def test_ids_are_kept_as_they_are(self, tmp_path):
        ids = ["a\u2028b", "a\nb"]
        assert [each.id for each in load_run(write_run(tmp_path / "r", records=map(record, ids))).records] == ids


class TestLoadEvidence:
    def test_missing(self, tmp_path):
        with pytest.raises(ValueError, match=r"cannot read .*gone\.npz"):
            load_evidence(tmp_path / "gone.npz")

    def test_lacking_an_array(self, tmp_path):
        np.savez(tmp_path / "x.npz", image=np.zeros((2, 2, 3), np.uint8))
        with pytest.raises(ValueError, match=r"x\.npz.*map"):
            load_evidence(tmp_path / "x.npz")

    def test_pickled_content_is_refused(self, tmp_path):
        write_evidence(tmp_path / "x.npz", map=np.array([{}], dtype=object))
        with pytest.raises(ValueError, match=r"x\.npz.*allow_pickle"):
            load_evidence(tmp_path / "x.npz")

    def test_other_size(self, tmp_path):
        write_evidence(tmp_path / "x.npz", allowed=np.ones((4, 8), bool))
        with pytest.raises(ValueError, match=r"x\.npz: allowed has shape \(4, 8\), its image \(8, 8\)"):
            load_evidence(tmp_path / "x.npz")


class TestColumns:
    def test_seeds_of_one_name_share_a_column(self, tmp_path):
        values = [0.5, 0.6, 0.7]
        runs = [
            load_run(write_run(tmp_path / f"{seed}", name="log", seed=seed, rows=[row("top1", v, n=40 + seed)]))
            for seed, v in enumerate(values)
        ]
        [column] = group_runs(runs)
        cell = column.cell("test", "top1")
        margin = 4.302652729749464 * np.std(values, ddof=1) / 3**0.5  # t(0.975, 2 degrees of freedom)
        assert (cell.value, cell.low, cell.high) == pytest.approx((0.6, 0.6 - margin, 0.6 + margin))
        assert cell.n == (40, 41, 42)

    def test_a_seed_without_a_value_leaves_the_mean_of_the_others(self, tmp_path):
        runs = [
            load_run(write_run(tmp_path / f"{seed}", name="log", seed=seed, rows=[row("top1", value)]))
            for seed, value in enumerate([0.5, None, 0.7])
        ]
        assert group_runs(runs)[0].cell("test", "top1").value == pytest.approx(0.6)

    def test_one_run_keeps_its_interval(self, tmp_path):
        [column] = group_runs([load_run(write_run(tmp_path / "r", rows=[row("top1", 0.5, 0.4, 0.7)]))])
        cell = column.cell("test", "top1")
        assert (cell.value, cell.low, cell.high) == (0.5, 0.4, 0.7)
        assert column.cell("test", "unheard of").value is None

    def test_same_name_and_seed_are_told_apart_by_folder(self, tmp_path):
        runs = [load_run(write_run(tmp_path / folder, name="log")) for folder in ("mean", "blur")]
        assert [column.name for column in group_runs(runs)] == ["log (mean)", "log (blur)"]

    def test_other_data_is_no_other_seed(self, tmp_path):
        runs = [
            load_run(write_run(tmp_path / data, name="log", seed=seed, data=data))
            for seed, data in enumerate(["decoy", "photos"])
        ]
        assert [len(column.runs) for column in group_runs(runs)] == [1, 1]

    def test_same_folder_twice(self, tmp_path):
        run = load_run(write_run(tmp_path / "r"))
        with pytest.raises(ValueError, match="given twice"):
            group_runs([run, run])

    def test_no_run(self):
        with pytest.raises(ValueError, match="at least one run"):
            build_content([])


class TestBest:
    def marks(self, tmp_path, spans, higher_is_better):
        folders = [
            write_run(tmp_path / f"run{i}", rows=[row("x", *span, higher_is_better=higher_is_better)])
            for i, span in enumerate(spans)
        ]
        return [cell.best for cell in content_of(*folders).tables[0].rows[0].cells]

    def test_highest_if_clear_of_the_first(self, tmp_path):
        spans = [(0.5, 0.4, 0.6), (0.7, 0.65, 0.8), (0.9, 0.8, 1.0)]
        assert self.marks(tmp_path, spans, True) == [False, False, True]

    def test_nothing_if_intervals_overlap(self, tmp_path):
        assert self.marks(tmp_path, [(0.5, 0.4, 0.6), (0.7, 0.59, 0.8)], True) == [False, False]

    def test_lowest_where_lower_is_better(self, tmp_path):
        assert self.marks(tmp_path, [(0.5, 0.4, 0.6), (0.2, 0.1, 0.3), (0.9, 0.8, 1)], False) == [False, True, False]

    def test_nothing_without_a_direction(self, tmp_path):
        assert self.marks(tmp_path, [(0.5, 0.4, 0.6), (0.9, 0.8, 1.0)], None) == [False, False]

    def test_nothing_without_an_interval(self, tmp_path):
        assert self.marks(tmp_path, [(0.5, 0.4, 0.6), (0.9, None, None)], True) == [False, False]

    def test_a_missing_value_is_not_the_best(self, tmp_path):
        spans = [(0.5, 0.4, 0.6), (None, None, None), (0.9, 0.8, 1.0)]
        assert self.marks(tmp_path, spans, True) == [False, False, True]


class TestHeadline:
    def test_a_gap_in_the_first_model_and_a_clear_gain_of_the_second(self, tmp_path):
        finetune = write_run(tmp_path / "finetune", rows=two_metrics((0.71, 0.67, 0.75), (0.47, 0.43, 0.51)))
        log = write_run(tmp_path / "log", rows=two_metrics((0.91, 0.88, 0.93), (0.85, 0.81, 0.88)))
        assert content_of(finetune, log).headline == (
            "On test (100 images), finetune is right on 71% of the images, but its strongest evidence lies on the "
            "prior in only 47% of them.",
            "In comparison, log has 91% right and 85% on the prior (both higher).",
        )

    def test_overlapping_intervals_are_no_difference(self, tmp_path):
        first = write_run(tmp_path / "finetune", rows=two_metrics((0.71, 0.67, 0.75), (0.70, 0.66, 0.74)))
        second = write_run(tmp_path / "paper", rows=two_metrics((0.74, 0.70, 0.78), (0.48, 0.44, 0.52)))
        sentences = content_of(first, second).headline
        assert "and its strongest evidence lies on the prior in 70% of them" in sentences[0]  # no "but", no "only"
        assert "74% right (no clear difference) and 48% on the prior (lower)" in sentences[1]

    def test_a_paired_difference_can_be_clear_where_intervals_overlap(self, tmp_path):
        correct = [i % 2 == 0 for i in range(100)]
        better = [i % 2 == 0 or i < 20 for i in range(100)]
        folders = [
            write_run(
                tmp_path / name,
                rows=[row("top1", np.mean(answers), np.mean(answers) - 0.1, np.mean(answers) + 0.1)],
                records=[record(str(i), correct=answer) for i, answer in enumerate(answers)],
            )
            for name, answers in (("finetune", correct), ("log", better))
        ]
        assert "60% right (higher on the same images)" in content_of(*folders).headline[1]

    def test_the_lowest_splits_of_the_first_model(self, tmp_path):
        folders = [
            write_run(
                tmp_path / name,
                rows=two_metrics((0.99, 0.98, 1.0), (low, low - 0.1, low + 0.1), split="biased")
                + two_metrics((right, right - 0.05, right + 0.05), (0.8, 0.7, 0.9), split="unbiased"),
            )
            for name, right, low in (("finetune", 0.7, 0.4), ("log", 0.9, 0.45))
        ]
        assert content_of(*folders).headline == (
            "On biased (100 images), finetune is right on 99% of the images, but its strongest evidence lies on the "
            "prior in only 40% of them; on unbiased it is right on 70%.",
            "In comparison, log has 90% right in unbiased (higher) and 45% on the prior in biased "
            "(no clear difference).",
        )

    def test_a_different_number_of_searched_images_is_said(self, tmp_path):
        rows = [row("top1", 0.9, 0.8, 1.0, n=500), row("pointing_coverage@0.2", 0.5, 0.4, 0.6, n=80)]
        assert "only 50% of the 80 searched for it" in content_of(write_run(tmp_path / "r", rows=rows)).headline[0]

    def test_without_pointing(self, tmp_path):
        folder = write_run(tmp_path / "r", rows=[row("top1", 0.714, 0.6, 0.8)])
        assert content_of(folder).headline == ("On test (100 images), r is right on 71% of the images.",)

    def test_without_accuracy(self, tmp_path):
        folder = write_run(tmp_path / "r", rows=[row("pointing_touch", 0.714, 0.6, 0.8)])
        assert "the strongest evidence of r lies on the prior in 71%" in content_of(folder).headline[0]

    def test_without_either(self, tmp_path):
        assert "neither" in content_of(write_run(tmp_path / "r")).headline[0]

    def test_almost_all_is_not_all(self, tmp_path):
        folder = write_run(tmp_path / "r", rows=[row("top1", 0.9972, 0.99, 1.0)])
        assert "right on 99.7%" in content_of(folder).headline[0]

    def test_many_models_are_counted(self, tmp_path):
        folders = [write_run(tmp_path / f"m{i}", rows=[row("top1", 0.5, 0.4, 0.6)]) for i in range(7)]
        sentence = content_of(*folders).headline[1]
        assert "m4" in sentence
        assert "m5" not in sentence
        assert sentence.endswith("; 2 more below.")

    def test_seeds_are_said(self, tmp_path):
        folders = [
            write_run(tmp_path / f"{seed}", name="log", seed=seed, rows=[row("top1", 0.6 + 0.1 * seed)])
            for seed in range(3)
        ]
        [sentence] = content_of(*folders).headline
        assert sentence == "On test (100 images, mean of 3 seeds), log is right on 70% of the images."


class TestGallery:
    def folder(self, path, ids, correct=True, split="test"):
        records = [
            record(id, correct=correct, hit=correct, split=split, evidence_file=f"evidence/{id}.npz") for id in ids
        ]
        return write_run(path, records=records)

    def test_same_images_for_every_model_whatever_was_found(self, tmp_path):
        ids = [f"{i:03}" for i in range(50)]
        good = self.folder(tmp_path / "good", ids)
        bad = self.folder(tmp_path / "bad", ids, correct=False)
        rows = content_of(good, bad, gallery=5).gallery
        assert [entry.id for entry in rows] == ["000", "012", "024", "037", "049"]
        assert [entry.id for entry in content_of(bad, gallery=5).gallery] == [entry.id for entry in rows]
        for entry in rows:
            assert [cell.column for cell in entry.cells] == ["good", "bad"]
            assert [cell.record.id for cell in entry.cells] == [entry.id] * 2
            assert [cell.hit for cell in entry.cells] == [None, None]  # no run measured pointing over its images

    def test_only_images_that_all_models_have_pictures_of(self, tmp_path):
        first = self.folder(tmp_path / "first", ["a", "b", "c"])
        second = self.folder(tmp_path / "second", ["c", "b", "d"])
        assert [entry.id for entry in content_of(first, second).gallery] == ["b", "c"]

    def test_without_common_pictures_the_gap_is_shown(self, tmp_path):
        first, second = self.folder(tmp_path / "first", ["a"]), self.folder(tmp_path / "second", ["b"])
        rows = content_of(first, second).gallery
        assert [entry.id for entry in rows] == ["a", "b"]
        assert rows[0].cells[1].record is None
        assert rows[1].cells[0].record is None

    def test_every_split_has_its_share(self, tmp_path):
        many = [record(str(i), split="many", evidence_file="x.npz") for i in range(100)]
        few = [record(str(i), split="few", evidence_file="x.npz") for i in range(2)]
        rows = content_of(write_run(tmp_path / "r", records=many + few), gallery=8).gallery
        assert [entry.split for entry in rows] == ["many"] * 6 + ["few"] * 2

    def test_none(self, tmp_path):
        assert content_of(self.folder(tmp_path / "r", ["a"]), gallery=0).gallery == ()
        with pytest.raises(ValueError, match="gallery=-1"):
            content_of(tmp_path / "r", gallery=-1)


def test_offenders_are_sure_right_and_off_the_prior(tmp_path):
    records = [
        record("worst", hit=False, coverage=0.0, p_label=0.99),
        record("less sure", hit=False, coverage=0.0, p_label=0.85),
        record("some overlap", hit=False, coverage=0.15, p_label=0.99),
        record("on the prior", hit=True),
        record("wrong", hit=False, correct=False, p_label=0.9),
        record("unsure", hit=False, p_label=0.79),
        record("no prior", true=None),
        failed("failed"),
    ]
    folder = write_run(tmp_path / "r", records=records, rows=[row("pointing_coverage@0.2", 0.5)])
    [found] = content_of(folder).offenders
    assert [shown.record.id for shown in found.shown] == ["worst", "less sure", "some overlap"]
    assert (found.num_off, found.num_confident) == (3, 4)
    assert found.shown[0].label == "one"


class TestProblems:
    def test_named_counted_and_joined_over_runs(self, tmp_path):
        rejected = [{"id": f"{i}.png", "reason": "empty prior"} for i in range(2)]
        first = write_run(
            tmp_path / "first", rejected=rejected, records=[failed("a"), failed("test/b"), record("c")], failed=2
        )
        second = write_run(tmp_path / "second", rejected=rejected)
        found = content_of(first, second).problems
        assert [(p.kind, p.reason, p.ids, p.count, p.runs) for p in found] == [
            ("rejected", "empty prior", ("0.png", "1.png"), 2, ("first", "second")),
            ("failed", "cannot identify image file", ("test/a", "test/b"), 2, ("first",)),
        ]

    def test_failures_without_a_record_are_counted(self, tmp_path):
        [problem] = content_of(write_run(tmp_path / "r", records=[failed("a")], failed=3)).problems[1:]
        assert (problem.ids, problem.count) == ((), 2)


def test_settings_that_differ_between_runs(tmp_path):
    first = write_run(tmp_path / "first", config={"fill": "mean", "search": {"name": "exact", "k": 4}})
    second = write_run(tmp_path / "second", config={"fill": "blur", "search": {"name": "exact"}})
    differing = {difference.setting: difference.values for difference in content_of(first, second).differing}
    assert differing == {
        "model": ("runs/train-first", "runs/train-second"),
        "config.fill": ("mean", "blur"),
        "config.search.k": ("4", "\N{EN DASH}"),
    }


def test_other_data_is_warned_about(tmp_path):
    folders = [write_run(tmp_path / data, data=data) for data in ("decoy", "photos")]
    [warning] = content_of(*folders).warnings
    assert "different data (decoy, photos)" in warning
    assert content_of(folders[0]).warnings == ()
