import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from record_files import records_of, tables
from wherenot import Normalization, Prior
from wherenot.audit import AuditConfig, audit
from wherenot.auditing import default_splits, measures
from wherenot.data import DataError, Dataset, Sample, decoy
from wherenot.evidence import Evidence
from wherenot.models import Classifier, Preprocess, build_classifier
from wherenot.objective import EVALUATION
from wherenot.summary import metric_rows

CONFIG = AuditConfig(partition="grid:2x2", noise=(0.1,), batch_size=7)


class BrightQuarter(torch.nn.Module):
    """Logits: how bright each of the four quarters of the image is."""

    def forward(self, images):
        grey = images.mean(1)
        half = grey.shape[-1] // 2
        quarters = [grey[:, :half, :half], grey[:, :half, half:], grey[:, half:, :half], grey[:, half:, half:]]
        return 8 * torch.stack([quarter.mean((1, 2)) for quarter in quarters], dim=1)


def bright(quarter):
    pixels = np.full((8, 8, 3), 20, np.uint8)
    row, column = divmod(quarter, 2)
    pixels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 240
    return Image.fromarray(pixels)


def quarter_prior(quarter):
    row, column = divmod(quarter, 2)
    return Prior.from_boxes([[4 * column, 4 * row, 4 * column + 4, 4 * row + 4]], 8, 8)


def no_prior():
    return None


def broken():
    raise DataError.listing("broken.png", ["broken.png: cannot be decoded"], "Replace it.")


@pytest.fixture
def quarters():
    """Twelve images whose label is the bright quarter; of the last four the prior lies elsewhere."""
    samples = [
        Sample(
            id=f"{index}", label=index % 4, split="test", group="right" if index < 8 else "wrong",
            read_image=partial(bright, index % 4),
            read_prior=partial(quarter_prior, index % 4 if index < 8 else (index + 1) % 4),
        )
        for index in range(12)
    ]  # fmt: skip
    return Dataset("quarters", ("a", "b", "c", "d"), tuple(samples))


@pytest.fixture
def classifier():
    normalization = Normalization((0.5,) * 3, (0.5,) * 3)
    return Classifier(BrightQuarter(), Preprocess(height=8, width=8, normalization=normalization), "abcd", "toy").eval()


def rows_of(folder):
    rows = json.loads((folder / "metrics.json").read_text())["rows"]
    return {(row["split"], row["metric"]): row for row in rows}


def test_an_audit_solved_on_paper(tmp_path, quarters, classifier):
    folder = audit(classifier, quarters, tmp_path, CONFIG, name="toy", model="toy")
    rows = {metric: row for (_, metric), row in rows_of(folder).items()}
    assert rows["top1"]["value"] == 1.0
    for metric in ("pointing_coverage@0.2", "pointing_argmax", "pointing_touch", "pointing_given_correct"):
        assert rows[metric]["value"] == pytest.approx(8 / 12)
        assert rows[metric]["low"] < 8 / 12 < rows[metric]["high"]
    assert rows["accuracy_given_pointing"]["value"] == 1.0
    assert rows["accuracy_given_pointing"]["n"] == 8
    assert rows["pointing_given_wrong"]["value"] is None
    assert 8 + 2 < rows["forwards_per_image"]["value"] <= 4 * 5 + 2
    assert rows["insertion_auc"]["value"] > 0.8 > rows["deletion_auc"]["value"]
    assert rows["top1_noise@0.1"]["value"] == 1.0
    run = json.loads((folder / "run.json").read_text())
    assert (run["failed"], run["images"], run["classes"]) == (0, 12, ["a", "b", "c", "d"])
    with np.load(folder / "evidence" / "000009.npz") as stored:
        assert np.array_equal(stored["image"], np.array(bright(1)))
        assert stored["top_region"][:4, 4:].all()
        assert stored["allowed"][4:, :4].all()
        assert stored["allowed"].sum() == 16


def test_an_image_that_cannot_be_read_is_counted_as_failure(tmp_path, quarters, classifier):
    samples = (*quarters.samples[:-1], replace(quarters.samples[-1], read_image=broken))
    folder = audit(classifier, replace(quarters, samples=samples), tmp_path, CONFIG, name="toy", model="toy")
    rows = {metric: row for (_, metric), row in rows_of(folder).items()}
    records = records_of(folder)
    assert len(records) == 12
    assert "broken.png" in records[-1]["error"]
    assert (rows["top1"]["value"], rows["top1"]["missing"]) == (pytest.approx(11 / 12), 1)
    assert (rows["pointing_coverage@0.2"]["value"], rows["pointing_coverage@0.2"]["missing"]) == (
        pytest.approx(8 / 12), 1,
    )  # fmt: skip
    assert (rows["insertion_auc"]["n"], rows["insertion_auc"]["missing"]) == (11, 1)
    assert json.loads((folder / "run.json").read_text())["failed"] == 1


def test_images_without_a_prior_are_missing_in_pointing_only(tmp_path, quarters, classifier):
    samples = tuple(replace(sample, read_prior=no_prior) for sample in quarters.samples[:3]) + quarters.samples[3:]
    rows = rows_of(audit(classifier, replace(quarters, samples=samples), tmp_path, CONFIG, name="toy", model="toy"))
    assert (rows["test", "pointing_touch"]["n"], rows["test", "pointing_touch"]["missing"]) == (9, 3)
    assert (rows["test", "insertion_auc"]["n"], rows["test", "insertion_auc"]["missing"]) == (12, 0)
    nowhere = tuple(replace(sample, read_prior=no_prior) for sample in quarters.samples)
    rows = rows_of(audit(classifier, replace(quarters, samples=nowhere), tmp_path / "n", CONFIG, name="t", model="t"))
    assert ("test", "pointing_touch") not in rows


def test_wrong_answers_are_explained_for_both_labels(tmp_path, quarters, classifier):
    samples = tuple(replace(sample, label=(sample.label + 1) % 4) for sample in quarters.samples[:4])
    folder = audit(classifier, replace(quarters, samples=samples), tmp_path, CONFIG, name="toy", model="toy")
    rows = rows_of(folder)
    assert rows["test", "top1"]["value"] == 0.0
    assert rows["test", "top2"]["value"] < 1.0
    assert rows["test", "pointing_argmax (predicted)"]["value"] == 1.0
    assert rows["test", "pointing_argmax"]["value"] < 1.0
    assert rows["test", "insertion_auc"]["value"] < rows["test", "insertion_auc (predicted)"]["value"]


def test_results_do_not_depend_on_the_batch_and_survive_an_interruption(tmp_path, quarters, classifier):
    whole = audit(classifier, quarters, tmp_path / "whole", replace(CONFIG, batch_size=3), name="toy", model="toy")

    def stop(done, total):
        raise KeyboardInterrupt

    config = replace(CONFIG, batch_size=3)
    with pytest.raises(KeyboardInterrupt):
        audit(classifier, quarters, tmp_path / "cut", config, name="toy", model="toy", on_images=stop)
    assert len(records_of(tmp_path / "cut")) == 3
    assert not (tmp_path / "cut" / "metrics.json").exists()
    seen = []
    cut = audit(
        classifier, quarters, tmp_path / "cut", config, name="toy", model="toy", on_images=lambda *at: seen.append(at)
    )
    assert seen[0] == (6, 12)
    assert (cut / "metrics.json").read_text() == (whole / "metrics.json").read_text()
    other = audit(classifier, quarters, tmp_path / "other", CONFIG, name="toy", model="toy")
    for (key, one), two in zip(rows_of(whole).items(), rows_of(other).values(), strict=True):
        assert one["value"] == pytest.approx(two["value"], abs=1e-6), key


def test_an_order_cut_short_points_as_the_whole_one_and_leaves_the_curves_unknown(tmp_path, quarters, classifier):
    whole, short = (
        audit(classifier, quarters, tmp_path / f"{most}", replace(CONFIG, max_regions=most), name="toy", model="toy")
        for most in (None, 1)
    )
    before, after = ({metric: row for (_, metric), row in rows_of(folder).items()} for folder in (whole, short))
    curves = {"insertion_auc", "deletion_auc", "highest_confidence"}
    gone = {name for name in before if name not in after}
    assert gone == curves | {f"{name} (predicted)" for name in curves}
    pointing = [name for name in before if name.startswith(("pointing", "accuracy_given"))]
    assert pointing
    assert all(before[name]["value"] == after[name]["value"] for name in pointing)
    assert after["forwards_per_image"]["value"] < before["forwards_per_image"]["value"]
    with pytest.raises(ValueError, match="max_regions must be at least 1"):
        AuditConfig(max_regions=0)


def test_only_the_drawn_images_are_searched(tmp_path, quarters, classifier):
    folder = audit(classifier, quarters, tmp_path, replace(CONFIG, max_images=5), name="toy", model="toy")
    records = records_of(folder)
    assert sum(record["true"] is not None for record in records) == 5
    assert sum(record["correct"] is not None for record in records) == 12
    assert rows_of(folder)["test", "pointing_touch"]["n"] == 5


def test_other_classes_splits_and_settings_are_refused(tmp_path, quarters, classifier):
    with pytest.raises(
        ValueError, match=r"quarters has the classes a, b, c, d, the model 0, 1; 4 of the data's are none"
    ):
        audit(build_classifier("small-cnn", classes=["0", "1"]), quarters, tmp_path, CONFIG, name="t", model="t")
    with pytest.raises(ValueError, match="night"):
        audit(classifier, quarters, tmp_path, replace(CONFIG, splits=("night",)), name="t", model="t")
    with pytest.raises(ValueError, match="hexagons"):
        AuditConfig(partition="hexagons")
    with pytest.raises(ValueError, match="max_images"):
        AuditConfig(max_images=-1)
    audit(classifier, quarters, tmp_path, CONFIG, name="t", model="t")
    with pytest.raises(ValueError, match="differs in: seed"):
        audit(classifier, quarters, tmp_path, replace(CONFIG, seed=1), name="t", model="t")


def test_default_splits():
    data = decoy(num_train=5, num_validation=5, num_test=5)
    assert default_splits(data) == ("test_biased", "test_unbiased", "test_swapped")
    assert default_splits(data.split("train")) == ("train",)


def test_measures_of_a_forbidden_prior():
    evidence = Evidence(
        labels=np.array([[0, 1]]), order=np.array([0, 1]), insertion=np.array([0.9, 0.9]),
        deletion=np.array([0.1, 0.1]), values=np.array([1.0, 1.0]), empty=0.1, full=0.9,
        empty_value=0.2, full_value=1.8, target=0, objective=EVALUATION, forwards=8,
        search="exact", fill="mean",
    )  # fmt: skip
    forbidden = Prior.from_mask(torch.tensor([[True, False]]), forbidden=True)
    assert measures(evidence, forbidden)["coverage"] == 0.0
    assert measures(evidence, forbidden)["pointing_argmax"] is False
    other = Prior.from_mask(torch.tensor([[False, True]]), forbidden=True)
    assert measures(evidence, other)["coverage"] == 1.0


def test_rows_are_strict_json():
    assert metric_rows(tables([]), seed=0) == []


def test_processes_of_a_launch_share_the_samples(tmp_path, quarters, classifier, monkeypatch):
    whole = audit(classifier, quarters, tmp_path / "whole", CONFIG, name="toy", model="toy")

    def process(rank, **options):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        return audit(classifier, quarters, tmp_path / "shared", CONFIG, name="toy", model="toy", **options)

    seen = []
    for rank in (2, 1):
        process(rank, on_images=lambda *at: seen.append(at))
    assert seen == [(4, 4)] * 2
    assert not (tmp_path / "shared" / "metrics.json").exists()
    shared = process(0)
    assert records_of(shared) == records_of(whole)
    assert rows_of(shared) == rows_of(whole)
    assert (shared / "rejected.jsonl").read_text() == ""
    monkeypatch.setattr(BrightQuarter, "forward", None)  # all is there, whoever comes back
    for rank in (1, 0):
        process(rank)


def test_another_number_of_processes_goes_on_with_what_is_there(tmp_path, quarters, classifier, monkeypatch):
    whole = audit(classifier, quarters, tmp_path / "whole", CONFIG, name="toy", model="toy")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    audit(classifier, quarters, tmp_path / "cut", CONFIG, name="toy", model="toy")
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    seen = []
    cut = audit(
        classifier, quarters, tmp_path / "cut", CONFIG, name="toy", model="toy", on_images=lambda *at: seen.append(at)
    )
    assert seen == [(12, 12)]
    assert records_of(cut) == records_of(whole)
    assert rows_of(cut) == rows_of(whole)


def test_pictures_are_kept_of_as_many_as_asked_for(tmp_path, quarters, classifier):
    config = replace(CONFIG, max_images=8, max_pictures=3)
    folder = audit(classifier, quarters, tmp_path, config, name="toy", model="toy")
    records = records_of(folder)
    assert sum(record["true"] is not None for record in records) == 8
    kept = [record["evidence_file"] for record in records if record["evidence_file"]]
    assert len(kept) == 3
    assert sorted(f"evidence/{path.name}" for path in (folder / "evidence").iterdir()) == sorted(kept)


def test_an_image_that_is_one_region_stops_nothing(tmp_path, quarters, classifier):
    def uniform(image):
        return np.zeros(image.shape[:2], int) if image[0, 0].mean() > 200 else np.arange(64).reshape(8, 8) % 2

    (tmp_path / "cut").mkdir()
    config = replace(CONFIG)
    object.__setattr__(config, "cut", lambda: uniform)
    folder = audit(classifier, quarters, tmp_path / "cut", config, name="toy", model="toy")
    failed = [record for record in records_of(folder) if record["error"]]
    assert [record["id"] for record in failed] == ["0", "4", "8"]
    assert "single region" in failed[0]["error"]


@pytest.mark.parametrize("option", ["max_images", "max_pictures"])
def test_counts_below_nothing_are_refused(option):
    with pytest.raises(ValueError, match=f"AuditConfig: {option} must be at least 0, got -1"):
        AuditConfig(**{option: -1})


def test_data_of_some_of_the_models_classes_are_labelled_as_the_model_does(tmp_path, quarters, classifier):
    few = tuple(replace(each, label={3: 0, 1: 1}[each.label]) for each in quarters.samples if each.label in (1, 3))
    folder = audit(classifier, Dataset("few", ("D", "b"), few), tmp_path / "few", CONFIG, name="toy", model="toy")
    whole = audit(classifier, quarters, tmp_path / "whole", CONFIG, name="toy", model="toy")
    found, right = ({each["id"]: each for each in records_of(run)} for run in (folder, whole))
    assert len(found) == 6
    assert all(found[id]["label"] == right[id]["label"] and found[id]["true"] == right[id]["true"] for id in found)
    assert json.loads((folder / "run.json").read_text())["classes"] == list("abcd")
    with pytest.raises(ValueError, match=r"1 of the data's are none of the model's \(A\)"):
        audit(
            Classifier(BrightQuarter(), classifier.preprocess, ["a", "A1", "a1", "d"], "toy"),
            Dataset("few", ("A", "d"), few), tmp_path / "no", CONFIG, name="toy", model="toy",
        )  # fmt: skip
