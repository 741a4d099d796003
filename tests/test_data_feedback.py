"""Marks made in a report: read exactly, laid over priors pixel by pixel, and refused by name where they cannot be."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from record_files import records_of
from wherenot.audit import AuditConfig, audit
from wherenot.data import DataError, Dataset, Sample, read_feedback, with_feedback
from wherenot.data.feedback import Marks
from wherenot.models import Preprocess, build_classifier
from wherenot.priors import Prior
from wherenot.report import load_evidence
from wherenot.train.config import MethodConfig, TrainConfig
from wherenot.train.recipe import training_data

WHOLE = [0, 0, 1, 1]


def image(height, width):
    return Image.new("RGB", (width, height))


def given(prior):
    return prior


def sample(id="a.png", *, prior=None, size=(8, 12), split="train"):
    return Sample(id, 0, split, None, partial(image, *size), partial(given, prior))


def data(*samples):
    return Dataset("pets", ("cat", "dog"), samples)


def runs(inside):
    """Lengths of runs, outside first, by a loop."""
    lengths, before = [0], False
    for each in inside.flatten().tolist():
        if each != before:
            lengths.append(0)
            before = each
        lengths[-1] += 1
    return lengths


def saved(path, *lines):
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def line(id="a.png", *, split="train", height=8, width=12, view=WHOLE, **kinds):
    return {"split": split, "id": id, "height": height, "width": width, "view": view, **kinds}


def area(height, width, y0, y1, x0, x1):
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[y0:y1, x0:x1] = True
    return inside


def slow_view(inside, view, height, width):
    """Which pixels of the image have their centre in a marked pixel of the grid, one by one."""
    placed = torch.zeros(height, width, dtype=torch.bool)
    for y in range(height):
        for x in range(width):
            across = ((x + 0.5) / width - view[0]) / (view[2] - view[0])
            down = ((y + 0.5) / height - view[1]) / (view[3] - view[1])
            if 0 <= across < 1 and 0 <= down < 1:
                placed[y, x] = inside[int(down * inside.shape[0]), int(across * inside.shape[1])]
    return placed


@pytest.mark.parametrize("seed", range(4))
def test_runs_and_boxes_find_their_pixels(tmp_path, seed):
    rng = np.random.default_rng(seed)
    high, wide = rng.integers(3, 9, 2).tolist()
    inside = torch.from_numpy(rng.random((high, wide)) < 0.4)
    inside[0, 0] = inside[-1, -1] = True
    view = [0.25, 0.0, 0.75, 1.0] if seed % 2 else WHOLE
    boxed = area(high, wide, 1, 2, 0, 2)
    marks = {"runs": runs(inside), "boxes": [[0, 1, 2, 2]]}
    path = saved(tmp_path / "feedback.jsonl", line(height=high, width=wide, view=view, forbidden=marks))
    marked = with_feedback(data(sample(size=(11, 20))), read_feedback(path))
    prior = marked.samples[0].read_prior()
    assert prior.allowed is None
    assert torch.equal(prior.forbidden, slow_view(inside | boxed, view, 11, 20))


def test_a_mark_finer_than_the_image_is_not_lost(tmp_path):
    marks = {"runs": runs(area(90, 90, 40, 41, 40, 41))}
    path = saved(tmp_path / "f.jsonl", line(height=90, width=90, forbidden=marks))
    marked = with_feedback(data(sample(size=(2, 2))), read_feedback(path))
    assert marked.samples[0].read_prior().forbidden.tolist() == [[True, False], [False, False]]


class TestMarksHold:
    BEFORE = Prior(allowed=area(8, 12, 0, 4, 0, 6), forbidden=area(8, 12, 3, 8, 0, 6), ignore=area(8, 12, 0, 8, 10, 12))

    def marked(self, tmp_path, prior, **kinds):
        kinds = {kind: {"boxes": [box]} for kind, box in kinds.items()}
        path = saved(tmp_path / "f.jsonl", line(**kinds))
        return with_feedback(data(sample(prior=prior)), read_feedback(path)).samples[0].read_prior()

    def test_over_what_was_known(self, tmp_path):
        prior = self.marked(tmp_path, self.BEFORE, forbidden=[0, 0, 2, 2], allowed=[5, 4, 11, 8])
        allow, forbid = area(8, 12, 4, 8, 5, 11), area(8, 12, 0, 2, 0, 2)
        assert torch.equal(prior.allowed, (self.BEFORE.allowed | allow) & ~forbid)
        assert torch.equal(prior.forbidden, self.BEFORE.forbidden & ~allow | forbid)
        assert torch.equal(prior.ignore, self.BEFORE.ignore & ~allow)

    def test_forbidden_wins_where_marks_meet(self, tmp_path):
        prior = self.marked(tmp_path, None, forbidden=[0, 0, 6, 8], allowed=[4, 0, 8, 8])
        assert torch.equal(prior.evidence_allowed(), area(8, 12, 0, 8, 6, 8))

    def test_without_a_prior_the_allowed_area_becomes_it(self, tmp_path):
        prior = self.marked(tmp_path, None, allowed=[4, 0, 8, 8])
        assert torch.equal(prior.allowed, area(8, 12, 0, 8, 4, 8))
        assert prior.forbidden is None

    def test_what_is_allowed_again_is_not_forbidden(self, tmp_path):
        prior = self.marked(tmp_path, Prior(forbidden=area(8, 12, 0, 2, 0, 2)), allowed=[0, 0, 3, 3])
        assert prior.forbidden is None

    def test_later_lines_hold(self, tmp_path):
        path = saved(
            tmp_path / "f.jsonl",
            line(forbidden={"boxes": [[0, 0, 6, 8]]}),
            line(allowed={"boxes": [[0, 0, 3, 8]]}),
        )
        prior = with_feedback(data(sample()), read_feedback(path)).samples[0].read_prior()
        assert torch.equal(prior.forbidden, area(8, 12, 0, 8, 3, 6))


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"forbidden": {"runs": [1, 2]}}, "line 2: runs do not fill 8 x 12"),
            ({"forbidden": {"runs": [96.0]}}, "line 2: runs do not fill"),
            ({"forbidden": {"boxes": [[0, 0, 13, 8]]}}, "line 2: .*leaves the image"),
            ({"forbidden": {"runs": [96]}}, "line 2: nothing is marked"),
            ({"forbidden": "everything"}, "line 2: "),
            ({"forbidden": {"boxes": [[0, 0, 1, 1]]}, "view": [0, 0, 2, 1]}, r"line 2: view \[0.0, 0.0, 2.0, 1.0\]"),
            ({"forbidden": {"boxes": [[0, 0, 1, 1]]}, "height": 0}, "line 2: .*height 0"),
            ({"forbidden": {"boxes": [[0, 0, 1, 1]]}, "id": 7}, "line 2: split and id"),
        ],
    )
    def test_bad_lines_are_named(self, tmp_path, changes, message):
        good = line(forbidden={"boxes": [[0, 0, 1, 1]]})
        with pytest.raises(DataError, match=message):
            read_feedback(saved(tmp_path / "f.jsonl", good, {**line(), **changes}))

    def test_files_that_are_no_feedback(self, tmp_path):
        (tmp_path / "empty.jsonl").write_text("\n")
        with pytest.raises(DataError, match="holds no marks"):
            read_feedback(tmp_path / "empty.jsonl")
        (tmp_path / "list.jsonl").write_text('["a"]\n{"split": "x"}\nno json\n')
        with pytest.raises(DataError, match=r"3 problems:\n  list.jsonl, line 1: .*\n  .*line 2: 'height' is missing"):
            read_feedback(tmp_path / "list.jsonl")
        with pytest.raises(DataError, match="cannot be read"):
            read_feedback(tmp_path / "none.jsonl")

    def test_unknown_samples_are_counted_and_named(self, tmp_path):
        box = {"boxes": [[0, 0, 1, 1]]}
        path = saved(
            tmp_path / "f.jsonl", line(forbidden=box), line("b.png", forbidden=box), line(split="x", forbidden=box)
        )
        marked = with_feedback(data(sample()), read_feedback(path))
        assert [each.id for each in marked.rejected] == ["train/b.png", "x/a.png"]
        assert marked.rejected[0].reason == "f.jsonl, line 2: no such sample in pets"
        with pytest.raises(DataError, match=r"3 problems:\n  f.jsonl, line 1: no sample train/a.png in pets"):
            with_feedback(data(sample("other")), read_feedback(path))

    def test_evidence_must_find_a_place(self, tmp_path):
        path = saved(tmp_path / "f.jsonl", line(forbidden={"boxes": [[0, 0, 12, 8]]}))
        with pytest.raises(DataError, match=r"f.jsonl, line 1: train/a.png: .*evidence may lie nowhere"):
            with_feedback(data(sample()), read_feedback(path))

    def test_training_needs_marks_that_have_an_effect(self, tmp_path):
        box = {"boxes": [[0, 0, 1, 1]]}
        both = data(sample(), sample("t.png", split="test"))
        path = str(saved(tmp_path / "f.jsonl", line("t.png", split="test", forbidden=box)))
        with pytest.raises(DataError, match="marks samples of test alone"):
            training_data(TrainConfig(data="pets", feedback=path, method=MethodConfig(name="log")), both)
        plain = MethodConfig(name="finetune")
        with pytest.raises(ValueError, match="finetune uses no priors"):
            training_data(TrainConfig(data="pets", feedback=path, method=plain), both)


def test_an_audit_measures_against_marks_and_reports_unknown_ones(tmp_path):
    model = build_classifier("small-cnn", classes=["cat", "dog"], seed=0)
    config = AuditConfig(partition="grid:2x2", noise=(), feedback=str(
        saved(
            tmp_path / "f.jsonl",
            line("a.png", height=28, width=28, allowed={"runs": runs(area(28, 28, 0, 28, 0, 28))}),
            line("b.png", height=28, width=28, forbidden={"boxes": [[0, 0, 1, 1]]}),
        )
    ))  # fmt: skip
    run = audit(model, data(sample(size=(28, 28))), tmp_path / "run", config, name="cnn", model="small-cnn")
    [record] = records_of(run)
    assert record["true"]["coverage"] == 1.0
    assert json.loads((run / "run.json").read_text())["rejected"][0]["id"] == "train/b.png"


def test_an_audit_keeps_curves_and_what_part_of_the_image_it_saw(tmp_path):
    model = build_classifier("small-cnn", classes=["cat", "dog"], seed=0)
    model.preprocess = Preprocess(height=28, width=28, short_side=32)
    config = AuditConfig(partition="grid:2x2", noise=())
    run = audit(model, data(sample(size=(40, 80))), tmp_path, config, name="cnn", model="small-cnn")
    [record] = records_of(run)
    regions = load_evidence(run / record["evidence_file"]).regions
    assert regions.view == (18 / 64, 2 / 32, 46 / 64, 30 / 32)
    assert len(regions.insertion) == len(regions.deletion) == 5
    assert regions.insertion[-1] == pytest.approx(record["p_label"], abs=1e-5)
    assert regions.deletion[0] == pytest.approx(record["p_label"], abs=1e-5)


def test_marks_on_a_crop_come_back_to_the_crop():
    preprocess = Preprocess(height=8, width=8, short_side=10)
    x0, y0, x1, y1 = preprocess.view(height=20, width=40)
    marks = area(8, 8, 2, 5, 1, 4)
    placed = Marks("train", "a", (x0, y0, x1, y1), forbidden=marks, allowed=None, where="").on_image(None, 20, 40)
    assert torch.equal(preprocess.prior(placed).forbidden, marks)
