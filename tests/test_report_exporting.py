"""What other tools are given: arrays of evidence, and audits as COCO and as batches."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from report_runs import failed, record, write_evidence, write_run
from wherenot.cli import main
from wherenot.data import read_coco
from wherenot.evidence import Evidence, attribution_arrays
from wherenot.objective import Objective
from wherenot.rasters import decode_rle
from wherenot.report import export_arrays, export_coco, load_run
from wherenot.report.stored import load_evidence


def found(labels, order, values):
    """Evidence of four pixels; the objective of nothing is 0.5."""
    return Evidence(
        labels=np.array([labels]), order=np.array(order), insertion=np.array(values) / 2,
        deletion=1 - np.array(values) / 2, values=np.array(values), empty=0.1, full=0.9, empty_value=0.5,
        full_value=1.75, target=3, objective=Objective(), forwards=8, search="exact", fill="mean",
    )  # fmt: skip


class TestArrays:
    ONE = found([0, 0, 1, 2], [1, 0], [1.5, 1.25])
    TWO = found([0, 1, 1, 1], [0, 1], [0.25, 1.75])

    def test_gains_have_their_sign_and_uncovered_regions_none(self):
        gains = attribution_arrays([self.ONE, self.TWO], of="gain")
        assert gains.dtype == np.float32
        assert gains.tolist() == [[[[-0.25, -0.25, 1.0, 0.0]]], [[[-0.25, 1.5, 1.5, 1.5]]]]

    def test_maps_are_those_of_the_evidence_in_every_channel(self):
        maps = attribution_arrays([self.ONE, self.TWO], channels=3)
        assert maps.shape == (2, 3, 1, 4)
        for evidence, array in zip((self.ONE, self.TWO), maps, strict=True):
            for channel in array:
                assert channel == pytest.approx(evidence.map())
        assert (maps.min(axis=(1, 2, 3)).tolist(), maps.max(axis=(1, 2, 3)).tolist()) == ([0, 0], [1, 1])

    def test_other_sizes_none_and_no_channel_are_refused(self):
        for given, channels in (([], 1), ([self.ONE, found([0, 1], [0, 1], [1.0, 1.75])], 1), ([self.ONE], 0)):
            with pytest.raises(ValueError, match="attribution_arrays: "):
                attribution_arrays(given, channels=channels)


@pytest.fixture
def audit(tmp_path):
    """Two searched samples, one without a prior, one that failed, one whose arrays are lost, one not searched."""
    folder = tmp_path / "audit"
    write_evidence(folder / "evidence" / "0.npz", seed=0)
    write_evidence(folder / "evidence" / "1.npz", seed=1, allowed=np.ones((8, 8), dtype=bool))
    lines = [
        record("a.png", evidence_file="evidence/0.npz", group="odd"),
        record("b.png", split="other", correct=False, label=0, evidence_file="evidence/1.npz"),
        failed("c.png"), record("d.png", evidence_file="evidence/9.npz"), record("e.png", searched=False),
    ]  # fmt: skip
    return write_run(folder, records=lines)


def test_coco_holds_prior_regions_and_maps(audit, tmp_path):
    bad = export_coco(load_run(audit), tmp_path / "out", top_regions=1)
    assert [each.id for each in bad] == ["c.png", "d.png"]
    evidence, prior = (json.loads((tmp_path / "out" / f"{what}.json").read_text()) for what in ("evidence", "prior"))
    assert [(row["sample_id"], row["split"], row["correct"], row["label"]) for row in evidence["images"]] == [
        ("a.png", "test", True, "one"),
        ("b.png", "other", False, "zero"),
    ]
    assert evidence["categories"] == [{"id": 1, "name": "zero"}, {"id": 2, "name": "one"}]
    [first, second] = evidence["annotations"]
    assert (first["bbox"], first["area"], first["score"], first["rank"]) == ([0, 0, 4, 4], 16, 1.0, 1)
    assert (first["image_id"], first["category_id"], second["image_id"], second["category_id"]) == (1, 2, 2, 1)
    [only] = prior["annotations"]  # the other sample has none
    assert (only["image_id"], only["bbox"]) == (1, [4, 0, 4, 8])
    levels = np.asarray(Image.open(tmp_path / "out" / "maps" / "000001.png"))
    assert (levels.dtype, levels[0, 0], levels[7, 7]) == (np.uint8, 255, 64)


def test_a_region_in_several_pieces_is_one_instance_and_our_reader_reads_the_prior(audit, tmp_path):
    export_coco(load_run(audit), tmp_path / "out")
    annotations = json.loads((tmp_path / "out" / "evidence.json").read_text())["annotations"]
    assert [row["rank"] for row in annotations] == [1, 2, 1, 2]
    stored = load_evidence(audit / "evidence" / "0.npz")
    assert decode_rle(annotations[1]["segmentation"]).equal(torch.from_numpy(stored.regions.labels == 1))
    data = read_coco(tmp_path / "out" / "prior.json", images=tmp_path / "out" / "images")
    assert data.classes == ("zero", "one")
    [sample] = data.samples
    assert sample.read_prior().allowed.equal(torch.from_numpy(stored.allowed))
    assert np.asarray(sample.read_image()).tolist() == stored.image.tolist()


def test_batches_are_shaped_as_quantus_takes_them(audit, tmp_path):
    bad = export_arrays(load_run(audit), tmp_path / "out.npz")
    assert len(bad) == 2
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        x, y, a, s = (arrays[f"{name}_batch"] for name in "xyas")
        assert arrays["ids"].tolist() == ["a.png", "b.png"]
    stored = load_evidence(audit / "evidence" / "0.npz")
    assert (x.shape, x.dtype, a.shape, a.dtype) == ((2, 3, 8, 8), np.uint8, (2, 1, 8, 8), np.float32)
    assert x[0].tolist() == stored.image.transpose(2, 0, 1).tolist()
    assert a[0, 0].tolist() == stored.map.tolist()
    assert s[0, 0].tolist() == stored.allowed.tolist()
    assert y.tolist() == [1, 0]
    with pytest.raises(ValueError, match="is there already"):
        export_arrays(load_run(audit), tmp_path / "out.npz")


def test_different_sizes_and_nothing_are_refused(audit, tmp_path):
    write_evidence(audit / "evidence" / "1.npz", height=6)
    with pytest.raises(ValueError, match=r"sizes \[\(6, 8\), \(8, 8\)\]"):
        export_arrays(load_run(audit), tmp_path / "out.npz")
    empty = write_run(tmp_path / "empty", records=[failed("a")])
    with pytest.raises(ValueError, match=r"no sample of .* has stored evidence"):
        export_coco(load_run(empty), tmp_path / "out")


def test_the_command(audit, tmp_path, capsys):
    assert main(["export", str(audit), "-o", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "left out: test/c.png: cannot identify image file" in said
    assert "2 of 4 samples cannot be used" in said
    assert main(["export", str(audit), "-o", str(tmp_path / "out")]) == 1
    assert "not an empty folder" in capsys.readouterr().err
    assert main(["export", str(audit), "-o", str(tmp_path / "x"), "--to", "arrays"]) == 1
    assert "is no .npz" in capsys.readouterr().err
    assert main(["export", str(audit), "-o", str(tmp_path / "x.npz"), "--to", "arrays"]) == 0
