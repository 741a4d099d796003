"""Where priors came from, in files and back; and what a person decided on them."""

import json

import pytest
import torch

from photo_folder import box, make, one, refused, save_image, save_lines
from wherenot.cli import main
from wherenot.data import DataError, Dataset, read_folder, write_folder
from wherenot.data.check import check_dataset
from wherenot.data.origins import Origin, read_origin, told_origins
from wherenot.data.review import Decision, prior_key, read_review, with_review
from wherenot.priors import Prior

PROPOSED = Prior.from_mask(box(1, 0, 4, 3))
GROUNDED = Origin(kind="grounding", model="some/model", prompt="cat.", score=0.5, threshold=0.25, wherenot="0.1.0")


def machine(id, prior=PROPOSED, origin=GROUNDED, split="train"):
    from dataclasses import replace

    return replace(make(id, split, 0, prior), origin=origin)


def decision(id, verdict, prior=PROPOSED, split="train"):
    return Decision(split, id, verdict, prior_key(prior), f"review.jsonl, line {id}")


# --- origins in files -------------------------------------------------------------------------------------------------


def test_origins_are_written_and_read_back(tmp_path):
    refined = Origin(kind="boxes", model="GrabCut", boxes=((0.0, 1.0, 3.0, 4.0),), accepted=True)
    samples = (
        machine("train/a.png"), machine("train/b.png", origin=refined), make("train/c.png", "train", 0, PROPOSED),
        make("train/d.png", "train", 0),
    )  # fmt: skip
    write_folder(Dataset("zoo", ("cat",), samples), tmp_path / "zoo")
    read = read_folder(tmp_path / "zoo")
    assert [sample.origin for sample in read.samples] == [GROUNDED, refined, None, None]
    assert check_dataset(read).origins == (GROUNDED, refined, None)
    told = told_origins(check_dataset(read).origins)
    assert told == "1 by hand; 1 by boxes (GrabCut), 1 of them accepted; 1 by grounding (some/model)"


def test_datasets_reads_what_was_written(tmp_path):
    datasets = pytest.importorskip("datasets")
    for split in ("train", "test"):
        samples = (machine(f"{split}/a.png", split=split), make(f"{split}/b.png", split, 0, PROPOSED))
        samples += (machine(f"{split}/c.png", split=split, origin=Origin(kind="saliency", boxes=())),)
        write_folder(Dataset("zoo", ("cat",), samples), tmp_path / split)
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "train" / "train"), cache_dir=str(tmp_path / "cache")
    )["train"]
    assert loaded[0]["prior_from"]["model"] == "some/model"
    assert read_origin(loaded[1]["prior_from"]) is None
    assert read_origin(loaded[2]["prior_from"]).kind == "saliency"


def test_a_note_of_others_is_kept_as_far_as_it_is_known(tmp_path):
    sample = one(tmp_path, click={"x": 2, "y": 2, "radius": 1}, prior_from={"kind": "my tool", "tool": {"v": 3}})
    assert sample.origin == Origin(kind="my tool")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("grounding", "prior_from: 'grounding' is not an object"),
        ({"model": "x"}, 'it needs "kind"'),
        ({"kind": 3}, "prior_from.kind: 3 is not text"),
        ({"kind": "a", "score": 1.5}, "prior_from.score: 1.5 is not a number from 0 to 1"),
        ({"kind": "a", "score": True}, "prior_from.score: True is not a number"),
        ({"kind": "a", "threshold": -1}, "prior_from.threshold: -1 is not a number"),
        ({"kind": "a", "boxes": [[0, 1, 2]]}, "prior_from.boxes: not a list of boxes"),
        ({"kind": "a", "boxes": "none"}, "prior_from.boxes: not a list of boxes"),
        ({"kind": "a", "accepted": "yes"}, "prior_from.accepted: 'yes' is neither"),
    ],
)
def test_a_note_that_cannot_be_read_is_named(tmp_path, value, message):
    save_image(tmp_path / "a.png")
    save_lines(tmp_path / "metadata.jsonl", {"file_name": "a.png", "label": "cat", "prior_from": value})
    assert message in refused(tmp_path)


def test_nulls_are_no_note():
    assert read_origin(None) is None
    assert read_origin({"kind": None, "score": None}) is None
    assert read_origin({"kind": "a", "threshold": 10**400}).threshold == 1e9


def test_boxes_of_a_line_are_known_where_they_alone_say(tmp_path):
    boxes = {"bbox": [[1, 1, 3, 2]], "bbox_format": "xywh"}
    assert one(tmp_path, objects=boxes, forbidden={"bbox": [[0, 0, 1, 1]], "bbox_format": "xyxy"}).boxes == (
        (1.0, 1.0, 4.0, 3.0),
    )
    assert one(tmp_path, objects=boxes, click={"x": 2, "y": 2, "radius": 1}).boxes == ()
    assert one(tmp_path).boxes == ()


def test_voc_tells_the_boxes_of_the_images_class(tmp_path):
    import dataset_layouts
    from wherenot.data import read_voc

    samples = read_voc(dataset_layouts.make_voc(tmp_path)).samples
    assert any(sample.boxes for sample in samples)
    for sample in samples:
        prior = sample.read_prior()
        assert torch.equal(Prior.from_boxes(sample.boxes, *prior.shape).allowed, prior.allowed)


# --- decisions --------------------------------------------------------------------------------------------------------


def test_accepted_priors_are_marked_and_rejected_ones_go():
    zoo = Dataset("zoo", ("cat",), (machine("a"), machine("b"), machine("c"), make("d", "train", 0, PROPOSED)))
    reviewed = with_review(zoo, [decision("a", "accepted"), decision("b", "rejected")])
    a, b, c, d = reviewed.dataset.samples
    assert (reviewed.accepted, reviewed.rejected, reviewed.skipped) == (1, 1, ())
    assert a.origin.accepted
    assert torch.equal(a.read_prior().allowed, PROPOSED.allowed)
    assert b.origin is None
    assert b.read_prior() is None
    assert (c, d) == zoo.samples[2:]


def test_the_last_decision_on_a_prior_holds():
    zoo = Dataset("zoo", ("cat",), (machine("a"),))
    assert with_review(zoo, [decision("a", "rejected"), decision("a", "accepted")]).accepted == 1


def test_what_a_person_said_comes_back_or_stays():
    forbidding = Prior(PROPOSED.allowed, box(5, 0, 6, 1), box(0, 3, 6, 4))
    refined = Origin(kind="boxes", model="GrabCut", boxes=((0.0, 0.0, 5.0, 3.0),))
    zoo = Dataset("zoo", ("cat",), (machine("a", forbidding), machine("b", forbidding, refined)))
    decisions = [decision(id, "rejected", forbidding) for id in "ab"]
    a, b = (sample.read_prior() for sample in with_review(zoo, decisions).dataset.samples)
    assert a.allowed is None
    assert torch.equal(a.forbidden, forbidding.forbidden)
    assert torch.equal(b.allowed, box(0, 0, 5, 3))
    assert torch.equal(b.forbidden, forbidding.forbidden)
    assert torch.equal(b.ignore, forbidding.ignore)


def test_decisions_on_other_priors_are_not_applied():
    zoo = Dataset("zoo", ("cat",), (machine("a"), machine("b"), make("c", "train", 0, PROPOSED), machine("e")))
    other = Prior.from_mask(box(0, 0, 1, 1))
    decisions = [
        decision("a", "rejected"), decision("b", "rejected", other), decision("c", "rejected"),
        decision("d", "accepted"), decision("e", "rejected", split="test"),
    ]  # fmt: skip
    reviewed = with_review(zoo, decisions)
    assert reviewed.rejected == 1
    assert [each.reason for each in reviewed.skipped] == [
        "review.jsonl, line b: b: its prior is not the one that was looked at",
        "review.jsonl, line c: c: its prior is by hand, or it has none",
        "review.jsonl, line d: train/d: no such sample in zoo",
        "review.jsonl, line e: test/e: no such sample in zoo",
    ]
    with pytest.raises(DataError, match="not one decision fits zoo: 1 problem"):
        with_review(zoo, decisions[1:2])


def test_decisions_are_read_and_bad_lines_named(tmp_path):
    line = {"split": "train", "id": "a", "decision": "accepted", "prior": "0" * 16}
    file = tmp_path / "review.jsonl"
    file.write_text(json.dumps(line) + "\n\n" + json.dumps({**line, "decision": "rejected"}) + "\n")
    assert [(each.id, each.verdict, each.where) for each in read_review(file)] == [
        ("a", "accepted", "review.jsonl, line 1"),
        ("a", "rejected", "review.jsonl, line 3"),
    ]
    bad = [{**line, "decision": "maybe"}, {**line, "id": 3}, [1], {"split": "train"}, "x\x1b[2J"]
    file.write_text("".join(json.dumps(each) + "\n" for each in bad) + "{nonsense")
    with pytest.raises(DataError, match="6 problems") as caught:
        read_review(file)
    for message in ("line 1: decision is 'maybe'", "line 2: split, id and prior are", "line 4: 'id' is missing"):
        assert message in str(caught.value)
    assert "\x1b" not in str(caught.value)
    file.write_text("\n")
    with pytest.raises(DataError, match="holds no decisions"):
        read_review(file)


def test_convert_applies_a_review(tmp_path, capsys):
    samples = (machine("train/a.png"), machine("train/b.png"), make("train/c.png", "train", 0, PROPOSED))
    write_folder(Dataset("zoo", ("cat",), samples), tmp_path / "zoo")
    lines = [
        {"split": "train", "id": "train/a.png", "decision": "rejected", "prior": prior_key(PROPOSED)},
        {"split": "train", "id": "train/b.png", "decision": "accepted", "prior": prior_key(PROPOSED)},
        {"split": "train", "id": "train/\x1b[2J.png", "decision": "accepted", "prior": "?"},
    ]
    save_lines(tmp_path / "review.jsonl", *lines)
    arguments = ["data", "convert", str(tmp_path / "zoo"), str(tmp_path / "new")]
    assert main([*arguments, "--review", str(tmp_path / "review.jsonl")]) == 0
    printed = capsys.readouterr().out
    assert "priors: 1 accepted, 1 rejected, 1 not applied" in printed
    assert "not applied: review.jsonl, line 3: train/train/\\x1b[2J.png: no such sample in zoo" in printed
    a, b, c = read_folder(tmp_path / "new").samples
    assert (a.read_prior(), a.origin) == (None, None)
    assert b.origin.accepted
    assert c.origin is None
    assert torch.equal(c.read_prior().allowed, PROPOSED.allowed)
    assert main(["data", "check", str(tmp_path / "new")]) == 0
    assert "priors: 1 by hand; 1 by grounding (some/model), 1 of them accepted" in capsys.readouterr().out
    assert main([*arguments[:3], str(tmp_path / "x"), "--review", str(tmp_path / "none.jsonl")]) == 1
    assert not (tmp_path / "x").exists()


def test_hostile_names_do_not_reach_the_terminal(tmp_path, capsys):
    evil = Origin(kind="\x1b[2J", model="a\nb")
    write_folder(Dataset("zoo", ("cat",), (machine("train/a.png", origin=evil),)), tmp_path / "zoo")
    assert main(["data", "check", str(tmp_path / "zoo")]) == 0
    printed = capsys.readouterr().out
    assert "\x1b[2J" not in printed
    assert "priors: 1 by \\x1b[2J (a\\nb)" in printed
