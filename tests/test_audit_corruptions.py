"""Audits of corrupted images."""

import json

import numpy as np
import pytest
import torch

from record_files import records_of
from wherenot.audit import AuditConfig, audit
from wherenot.data import Dataset, decoy
from wherenot.metrics import corrupt
from wherenot.models import build_classifier
from wherenot.report import comparison_rows, load_run


@pytest.mark.parametrize("spec", ["fog:3", "jpeg", "jpeg:0", "jpeg:6", "jpeg:x"])
def test_unknown_corruptions_are_refused(spec):
    with pytest.raises(ValueError, match="severity from 1 to 5"):
        AuditConfig(corruptions=(spec,))


def test_an_audit_measures_accuracy_under_corruptions(tmp_path):
    data = decoy(0, num_train=1, num_validation=1, num_test=12).split("test_biased")
    data = Dataset("digits", data.classes, data.samples)
    config = AuditConfig(partition="grid:2x2", max_images=0, noise=(0.1,), corruptions=("jpeg:1", "contrast:5"))
    model = build_classifier("small-cnn", classes=data.classes).eval()
    folder = audit(model, data, tmp_path, config, name="t", model="t")
    records = records_of(folder)
    assert set(records[0]["corrupted"]) == {"jpeg:1", "contrast:5"}
    rows = {row["metric"]: row for row in json.loads((folder / "metrics.json").read_text())["rows"]}
    for name in ("jpeg:1", "contrast:5"):
        share = sum(record["corrupted"][name] for record in records) / 12
        assert rows[f"top1_corrupted@{name}"]["value"] == pytest.approx(share)
        assert rows[f"top1_corrupted@{name}"]["n"] == 12
    assert "pointing_coverage@0.2" not in rows  # no evidence was asked for
    # contrast:5 leaves a twentieth of the pixels' spread: what the model then says must come from those pixels
    sample = data.samples[0]
    pixels = torch.from_numpy(np.array(sample.read_image())).permute(2, 0, 1)[None] / 255
    shown = model.normalization.apply(corrupt(pixels, "contrast:5", torch.Generator()))
    assert records[0]["corrupted"]["contrast:5"] == (model(shown).argmax().item() == sample.label)
    found = comparison_rows([load_run(folder)])
    assert any(row.metric == "top1_corrupted@jpeg:1" for row in found)
