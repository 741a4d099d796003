"""Which tokens of an answer a choice names."""

import pytest
import torch

from wherenot.tokens import choose_tokens

SENTENCE = ["A", " c", "at", " sits", " on", " a", " cat", "alogue", "."]
JSON = [
    '{"',
    "thought",
    '":"',
    "left",
    " icon",
    '","',
    "POINT",
    '":[',
    "160",
    ",",
    "140",
    "],",
    '"STATUS',
    '":"',
    "done",
    '"}',
]


def chosen(pieces, choice):
    return [pieces[place] for place in choose_tokens(pieces, choice)]


def test_all_and_answer():
    assert choose_tokens(SENTENCE, "all") == choose_tokens(SENTENCE, "answer") == list(range(9))


def test_a_word_is_a_whole_word_in_whatever_case():
    assert chosen(SENTENCE, "word:CAT") == [" c", "at"]
    assert chosen(SENTENCE, "word:a") == ["A", " a"]


def test_a_regular_expression():
    assert chosen(SENTENCE, r"regex:cat(?=alogue)") == [" cat"]
    with pytest.raises(ValueError, match="no regular expression"):
        choose_tokens(SENTENCE, "regex:(")


@pytest.mark.parametrize(
    ("choice", "places"), [("3", [3]), ("-1", [8]), ("2:4", [2, 3]), (":2", [0, 1]), ("7:", [7, 8]), ("-2:", [7, 8])]
)
def test_places(choice, places):
    assert choose_tokens(SENTENCE, choice) == places


def test_a_field_of_a_json_answer():
    assert chosen(JSON, "field:POINT") == ['":[', "160", ",", "140", "],"]
    assert chosen(JSON, "field:thought") == ["left", " icon"]
    assert chosen(JSON, "field:STATUS") == ["done"]


def test_a_field_at_any_depth():
    pieces = ['{"a":{"b":', " 7", "}}"]
    assert choose_tokens(pieces, "field:b") == [1]


def test_the_answer_leaves_thoughts_out():
    assert " icon" not in chosen(JSON, "answer")
    assert "160" in chosen(JSON, "answer")
    assert "Yes" in chosen(["<think>", "hm", "</think>", "\n", "Yes"], "answer")
    assert "hm" not in chosen(["<think>", "hm", "</think>", "\n", "Yes"], "answer")
    assert chosen(["<think>", "hm", "</think>", "Yes"], "all") == ["<think>", "hm", "</think>", "Yes"]


def test_sensitive_tokens_are_those_that_need_the_image():
    full, empty = torch.tensor([0.9, 0.9, 0.5]), torch.tensor([0.1, 0.75, 0.3])
    assert choose_tokens(["a", "b", "c"], "sensitive", full=full, empty=empty) == [0]
    with pytest.raises(ValueError, match="with and without the image"):
        choose_tokens(["a"], "sensitive")


@pytest.mark.parametrize("choice", ["word:dog", "field:x", "9", "4:4", "regex:zebra"])
def test_a_choice_that_names_nothing_is_refused(choice):
    with pytest.raises(ValueError, match="names no token of the answer 'A cat sits"):
        choose_tokens(SENTENCE, choice)


@pytest.mark.parametrize("choice", ["", "words", "word:", ":", "-", "1:2:3"])
def test_a_choice_that_cannot_be_read_is_refused(choice):
    with pytest.raises(ValueError, match="cannot read"):
        choose_tokens(SENTENCE, choice)


def test_a_character_in_several_tokens():
    assert choose_tokens(["", "", "像", " x"], "word:像") == [2]
