"""Questions about images: what is read, what is refused, and that writing and reading are inverse."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from photo_folder import box, make, save_image, save_lines, varied
from test_data_writing import assert_same
from wherenot import cli
from wherenot.commands import run
from wherenot.data import (
    DataError,
    Dataset,
    ImageTextSample,
    load_dataset,
    read_image_text,
    write_folder,
    write_image_text,
    write_lists,
)
from wherenot.data.check import check_dataset
from wherenot.data.image_text import NO_LABEL
from wherenot.priors import Prior
from wherenot.tokens import check_choice, choose_tokens
from wherenot.train.config import TrainConfig
from wherenot.train.recipe import training_data

QUESTION = {"image": "a.png", "prompt": "Is there a dog?"}


def ask(sample, **said):
    return ImageTextSample(**vars(sample), prompt=said.pop("prompt", "What is it?"), **said)


def one(root, **keys):
    save_image(root / "a.png")
    save_lines(root / "pairs.jsonl", {**QUESTION, **keys})
    (sample,) = read_image_text(root / "pairs.jsonl").samples
    return sample


def test_a_line_with_nothing_but_the_question(tmp_path):
    sample = one(tmp_path)
    assert (sample.id, sample.prompt, sample.split, sample.group) == ("a.png", "Is there a dog?", "train", None)
    assert (sample.answer, sample.tokens, sample.counter, sample.right) == (None, "answer", None, None)
    assert sample.read_prior() is None
    assert sample.read_image().size == (6, 4)


def test_a_line_with_everything(tmp_path):
    sample = one(
        tmp_path, answer="Yes, a dog.", tokens="word:dog", counter="No", label="Yes", boxes=[[0, 0, 1.5, 1]],
        split="val", group="rain", id="first", license="CC0",
    )  # fmt: skip
    assert (sample.answer, sample.tokens, sample.counter, sample.right) == ("Yes, a dog.", "word:dog", "No", "Yes")
    assert (sample.id, sample.split, sample.group) == ("first", "validation", "rain")
    assert sample.read_prior().allowed.equal(box(0, 0, 2, 1))  # half-open, and every pixel that is touched
    assert pickle.loads(pickle.dumps(sample)).read_prior().allowed.equal(box(0, 0, 2, 1))


def test_null_is_left_out(tmp_path):
    nothing = dict.fromkeys(("answer", "tokens", "counter", "label", "boxes", "mask", "polygons", "rle", "id", "split"))
    with_nulls, without = one(tmp_path / "a", **nothing), one(tmp_path / "b")
    assert with_nulls.read_prior() is None
    assert with_nulls == replace(without, read_image=with_nulls.read_image, read_prior=with_nulls.read_prior)


@pytest.mark.parametrize(
    "keys",
    [
        {"boxes": [[1, 0, 4, 2]]},
        {"boxes": [[1, 0, 2, 2], [2, 0, 4, 2]]},
        {"polygons": [[1, 0, 4, 0, 4, 2, 1, 2]]},
        {"rle": {"size": [4, 6], "counts": [4, 2, 2, 2, 2, 2, 10]}},
        {"mask": "deep/mask.npy"},
        {"boxes": [[1, 0, 2, 2]], "polygons": [[2, 0, 4, 0, 4, 1, 2, 1]], "mask": "deep/mask.npy"},
    ],
    ids=lambda keys: "+".join(keys),
)
def test_every_way_to_say_where_the_object_is(tmp_path, keys):
    (tmp_path / "deep").mkdir()
    part = len(keys) > 1
    np.save(tmp_path / "deep" / "mask.npy", (box(2, 1, 4, 2) if part else box(1, 0, 4, 2)).numpy())
    assert one(tmp_path, **keys).read_prior().allowed.equal(box(1, 0, 4, 2))


def test_paths_start_at_the_file_and_may_lead_out_of_its_folder(tmp_path):
    save_image(tmp_path / "images" / "b c.png")
    save_lines(
        tmp_path / "lines" / "p.jsonl",
        {"image": "../images/b c.png", "prompt": "?"},
        {"image": str(tmp_path / "images" / "b c.png"), "prompt": "?", "id": "whole"},
    )
    assert [sample.id for sample in read_image_text(tmp_path / "lines" / "p.jsonl").samples] == [
        "images/b c.png", "whole",
    ]  # fmt: skip


def test_the_classes_are_the_right_answers(tmp_path):
    save_image(tmp_path / "a.png")
    labels = ["Yes", None, "No", "Yes", None]  # in no order
    save_lines(tmp_path / "p.jsonl", *({**QUESTION, "label": label} for label in labels))
    data = read_image_text(tmp_path / "p.jsonl")
    assert data.classes == ("No", "Yes", NO_LABEL)
    assert [data.classes[sample.label] for sample in data.samples] == [label or NO_LABEL for label in labels]
    assert [sample.right for sample in data.samples] == labels
    assert [sample.id for sample in data.samples] == ["a.png", "a.png#2", "a.png#3", "a.png#4", "a.png#5"]
    save_lines(tmp_path / "p.jsonl", {**QUESTION, "label": "No"})
    assert read_image_text(tmp_path / "p.jsonl").classes == ("No",)


def test_blank_lines_byte_order_marks_and_line_separators_in_texts(tmp_path):
    save_image(tmp_path / "a.png")
    line = json.dumps({**QUESTION, "prompt": "one\u2028two\x85three"}, ensure_ascii=False)
    (tmp_path / "p.jsonl").write_bytes(b"\xef\xbb\xbf" + f"\r\n{line}\r\n\n".encode())
    assert read_image_text(tmp_path / "p.jsonl").samples[0].prompt == "one\u2028two\x85three"


BAD_KEYS = {
    "image: missing": {"image": None},
    "prompt: missing": {"prompt": None},
    'image: 3 is not a text "..." with something in it': {"image": 3},
    "prompt: '' is not a text": {"prompt": ""},
    "label: 3 is not a text": {"label": 3},
    "counter: ['No'] is not a text": {"counter": ["No"]},
    "split: '' is not": {"split": ""},
    "mask: {} is not a text": {"mask": {}},
    "none.png: no such file": {"image": "none.png"},
    "a.jsonl: not an image that can be read": {"image": "a.jsonl"},
    "answer_agrees: the label '!' has no word": {"label": "!"},
    "choose_tokens: cannot read 'words:cat'": {"tokens": "words:cat"},
    "choose_tokens: '(' is no regular expression": {"tokens": "regex:("},
    "'word:cat' names no token of the answer 'A dog.'": {"tokens": "word:cat", "answer": "A dog."},
    "unknown key 'bbox'; ours are image, prompt": {"bbox": [[0, 0, 1, 1]]},
    "unknown key 'promt'": {"promt": "?"},
    "unknown key 'question'": {"question": "?"},
    "boxes: [0, 0, 1, 1] is not a list of [x0, y0, x1, y1]": {"boxes": [0, 0, 1, 1]},
    "boxes: [['0', 0, 1, 1]] is not a list": {"boxes": [["0", 0, 1, 1]]},
    "[0, 0, 1] is not four finite numbers": {"boxes": [[0, 0, 1]]},
    "box [5, 0, 7, 1] has no area or leaves the image (width 6, height 4)": {"boxes": [[0, 0, 1, 1], [5, 0, 7, 1]]},
    "box [0, 0, 0, 1] has no area": {"boxes": [[0, 0, 0, 1]]},
    "polygons: not a list of lists of numbers": {"polygons": [0, 0, 1, 1, 2, 2]},
    "leaves the image": {"polygons": [[0, 0, 7, 0, 0, 2]]},
    "rle: size is [6, 4], the image's is [4, 6]": {"rle": {"size": [6, 4], "counts": [0, 24]}},
    "gone.png: no such file": {"mask": "gone.png"},
    "small.npy: size (3, 6), the image (4, 6)": {"mask": "small.npy"},
    "zero.npy: zero everywhere, an empty prior": {"mask": "zero.npy"},
}


@pytest.mark.parametrize(("message", "keys"), BAD_KEYS.items(), ids=range(len(BAD_KEYS)))
def test_bad_lines_are_named_with_file_line_and_reason(tmp_path, message, keys):
    save_image(tmp_path / "a.png")
    save_image(tmp_path / "b.png")
    np.save(tmp_path / "small.npy", np.ones((3, 6)))
    np.save(tmp_path / "zero.npy", np.zeros((4, 6)))
    save_lines(tmp_path / "a.jsonl", {"image": "b.png", "prompt": "?"}, {**QUESTION, **keys})
    with pytest.raises(DataError) as caught:
        read_image_text(tmp_path / "a.jsonl")
    assert str(caught.value).startswith(f"read_image_text: {tmp_path / 'a.jsonl'}: 1 problem:\n  a.jsonl:2: ")
    assert message in str(caught.value)
    skipped = read_image_text(tmp_path / "a.jsonl", on_bad="skip")
    assert [sample.id for sample in skipped.samples] == ["b.png"]
    assert message in skipped.rejected[0].reason
    assert skipped.rejected[0].faulty


def test_every_problem_of_every_line_is_counted(tmp_path):
    save_image(tmp_path / "a.png")
    save_lines(
        tmp_path / "p.jsonl",
        '{"image": "a',
        "[1]",
        {"prompt": 1, "label": "?", "boxes": [1]},
        {**QUESTION, "id": "same"},
        {**QUESTION, "id": "same"},
        {**QUESTION, "boxes": [[0, 0, 9, 9]], "tokens": "x", "group": 1},
    )
    with pytest.raises(DataError) as caught:
        read_image_text(tmp_path / "p.jsonl")
    text = str(caught.value)
    assert "6 problems:" in text
    assert "p.jsonl:1: Unterminated string" in text
    assert "p.jsonl:2: not a JSON object" in text
    assert "p.jsonl:3: image: missing; prompt: 1 is not a text" in text
    assert text.count("id: 'same' is used 2 times") == 2
    for part in ("group: 1 is not", "cannot read 'x'", "box [0, 0, 9, 9]"):
        assert part in text.splitlines()[6], part
    assert text.endswith("No sample is good; correct them.")


def test_ids_that_are_made_do_not_take_those_that_are_given(tmp_path):
    save_image(tmp_path / "a.png")
    save_lines(tmp_path / "p.jsonl", QUESTION, QUESTION, {**QUESTION, "id": "a.png#2"})
    with pytest.raises(DataError, match=r"'a\.png#2' is used 2 times"):
        read_image_text(tmp_path / "p.jsonl")


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match=r"p\.jsonl does not exist; pass the \.jsonl file"):
        read_image_text(tmp_path / "p.jsonl")
    with pytest.raises(DataError, match="is a folder"):
        read_image_text(tmp_path)
    (tmp_path / "p.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="cannot be read"):
        read_image_text(tmp_path / "p.jsonl")
    (tmp_path / "p.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match="holds no samples"):
        read_image_text(tmp_path / "p.jsonl")


def questions():
    inside = Prior.from_boxes([[0, 0, 2, 2]], 4, 6)
    samples = (
        ask(make("b", "test", 1, inside, "rain", seed=1), answer="Yes, it is.", tokens="0", counter="No", right="Yes"),
        ask(make("b#2", "test", 2, None, seed=1), prompt="Wo \u201eist\u201c\u2028es?"),
        ask(make("sub/c.png", "train", 0, inside, seed=2), right="No"),
    )
    return Dataset("pairs", ("No", "Yes", NO_LABEL), samples)


def test_writing_and_reading_are_inverse(tmp_path):
    data = questions()
    write_image_text(data, tmp_path / "one" / "pairs.jsonl")
    again = read_image_text(tmp_path / "one" / "pairs.jsonl")
    assert_same(data, again)
    for a, b in zip(data.samples, again.samples, strict=True):
        said = [(each.prompt, each.answer, each.tokens, each.counter, each.right) for each in (a, b)]
        assert said[0] == said[1]
    assert sorted(str(file.relative_to(tmp_path / "one")) for file in (tmp_path / "one").rglob("*.png")) == [
        "images/b.png", "images/sub/c.png", "masks/b.png", "masks/sub/c.png",
    ]  # fmt: skip
    write_image_text(again, tmp_path / "two" / "pairs.jsonl")
    assert (tmp_path / "two" / "pairs.jsonl").read_text() == (tmp_path / "one" / "pairs.jsonl").read_text()


def test_what_cannot_be_written_is_refused_and_nothing_is_lost_elsewhere(tmp_path):
    data = questions()
    with pytest.raises(ValueError, match="has no prompt"):
        write_image_text(varied(), tmp_path / "a" / "p.jsonl")
    forbidding = ask(make("b", "test", prior=Prior.from_mask(torch.ones(4, 6) * torch.arange(6) > 2, forbidden=True)))
    with pytest.raises(ValueError, match="the prior of 'b' forbids or ignores"):
        write_image_text(Dataset("d", ("x",), (forbidding,)), tmp_path / "b" / "p.jsonl")
    (tmp_path / "full").touch()
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        write_image_text(data, tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match="'b' has a prompt; folders cannot hold it, write_image_text can"):
        write_folder(data, tmp_path / "c")
    with pytest.raises(ValueError, match="'b' has a prompt; lists cannot hold it, write_image_text can"):
        write_lists(data, tmp_path / "d")
    assert not (tmp_path / "c").exists()
    with pytest.raises(DataError, match="pairs asks questions"):
        training_data(TrainConfig(data="pairs"), data)


def test_it_is_read_and_checked_by_name(tmp_path, capsys):
    write_image_text(questions(), tmp_path / "one" / "pairs.jsonl")
    data = load_dataset(f"image-text:{tmp_path / 'one' / 'pairs.jsonl'}")
    assert [count.images for count in check_dataset(data).counts] == [2, 1]
    spec = f"image-text:{tmp_path / 'one' / 'pairs.jsonl'}"
    run(cli.Data(action=cli.DataCheck(data=spec)))
    assert "pairs: 3 classes" in capsys.readouterr().out
    with (tmp_path / "one" / "pairs.jsonl").open("a") as file:
        file.write(json.dumps({"image": "images/b.png", "prompt": "?", "boxes": [[0, 0, 7, 1]], "split": "test"}))
    (tmp_path / "one" / "images" / "sub" / "c.png").write_bytes(
        (tmp_path / "one" / "images" / "sub" / "c.png").read_bytes()[:60]
    )
    with pytest.raises(DataError) as caught:
        run(cli.Data(action=cli.DataCheck(data=spec)))
    assert "2 problems" in str(caught.value)
    assert "pairs.jsonl:4: fill_boxes: box [0, 0, 7, 1] has no area or leaves the image" in str(caught.value)
    assert "c.png: the pixels cannot be decoded" in str(caught.value)


@pytest.mark.parametrize(
    "choice",
    ["all", "answer", "sensitive", "word:cat", "regex:a+", "field:POINT", "3", "-1", "3:", ":-2", "1:2"],
)
def test_choices_that_can_be_read(choice):
    check_choice(choice)


@pytest.mark.parametrize("choice", ["", ":", "-", "-:-", "3:4:5", "word:", "word", "a", "1.5"])
def test_choices_that_cannot(choice):
    with pytest.raises(ValueError, match="cannot read"):
        check_choice(choice)
    with pytest.raises(ValueError, match="cannot read"):
        choose_tokens(["a"], choice)
