"""Reading what servers write: tokens in whatever spelling, probabilities, missing parts."""

import math

import pytest

from wherenot.endpoint.errors import NoLogProbabilities
from wherenot.endpoint.questions import (
    Dialect,
    NextToken,
    WholeAnswer,
    conversation,
    likeliest_next,
    probability,
    spoken,
    tokens_spoken,
    words,
)
from wherenot.endpoint.spelling import next_piece, readable_alone, spell


@pytest.mark.parametrize(
    ("tokens", "answer", "expected"),
    [
        (["A", " dog", "."], "A dog.", (0, ["A", " dog", "."])),
        (["x", "A", "Ġdog", "."], "A dog.", (1, ["A", " dog", "."])),  # names in a vocabulary
        (["▁A", "▁dog", "."], "A dog.", (0, ["A", " dog", "."])),
        (["A", "dog", "."], "A dog.", (0, ["A", " dog", "."])),  # a decoder that loses blanks
        ([" A", " dog"], "A dog", (0, ["A", " dog"])),
        (["A", "Ċ", "dog"], "A\ndog", (0, ["A", "\n", "dog"])),
        (["A", "ĊĊ", "dog"], "A\n\ndog", (0, ["A", "\n\n", "dog"])),
        (["A", " ", "dog"], "A dog", (0, ["A", " ", "dog"])),
        (["dog", "dog", "dog"], "dogdog", (1, ["dog", "dog"])),
        (["Hi", " ", "\ufffd", "\ufffd", "\ufffd"], "Hi 🙂", (0, ["Hi", " ", "", "", "🙂"])),
        (["\ufffd", "\ufffd", "好", "."], "你好.", (0, ["", "你", "好", "."])),
        (["", "", "好"], "你好", (0, ["", "你", "好"])),  # a server that writes nothing for a part
        (["a\ufffd", "\ufffdb"], "a🙂b", (0, ["a", "🙂b"])),
        (["A", " cat", "."], "A dog.", None),
        (["A", " dog", ".", "</s>"], "A dog.", None),
        ([], "A dog.", None),
        (["A"], "A dog.", None),
    ],
)
def test_tokens_spell_an_answer(tokens, answer, expected):
    found = spell(tokens, answer)
    assert found == expected
    if found:
        assert "".join(found[1]) == answer


def test_parts_of_a_character_cannot_be_read_alone():
    tokens = ["A", "\ufffd", "\ufffd", "b", " \ufffd", "", "c", "d"]
    pieces = ["A", "", "你", "b", " ", "🙂", "c", "d"]
    assert spell(tokens, "".join(pieces)) == (0, pieces)
    assert readable_alone(pieces, tokens) == [True, False, False, False, False, False, False, True]


@pytest.mark.parametrize(
    ("likeliest", "rest", "expected"),
    [
        ([" d", " dog", " doge"], " dog.", (" dog", " dog")),
        (["dog", " dog"], " dog.", (" dog", " dog")),
        (["dog"], " dog.", ("dog", " dog")),
        ([" A"], "A dog.", (" A", "A")),
        ([" ", "\ufffd", ""], " dog", (" ", " ")),
        (["cat", "\ufffd"], " dog", None),
    ],
)
def test_the_next_piece_of_an_answer(likeliest, rest, expected):
    assert next_piece(likeliest, rest) == expected


def reply(content, **more):
    return {"choices": [{"message": {"content": "x"}, "logprobs": {"content": content}}], **more}


def entry(token, logprob, *tops):
    return {"token": token, "logprob": logprob, "top_logprobs": [{"token": t, "logprob": p} for t, p in tops]}


def test_the_next_token_is_looked_up_among_the_likeliest():
    said = reply([entry("Ġcat", -3.0, (" dog", -0.5), ("dog", -2.0), ("Ġa", None))])
    assert likeliest_next(said) == pytest.approx(
        {" dog": math.exp(-0.5), "dog": math.exp(-2.0), " a": 0.0, " cat": math.exp(-3.0)}
    )
    ask = {token: NextToken("3", "A", token, 20).read(said) for token in (" dog", "dog", " cat", " bird", " ")}
    assert ask[" dog"] == {"3": math.exp(-0.5)}
    assert ask["dog"] == {"3": math.exp(-2.0)}
    assert ask[" cat"] == {"3": math.exp(-3.0)}
    assert ask[" bird"] == ask[" "] == {"3": 0.0}
    twice = reply([entry(" dog", -3.0, ("Ġdog", -0.5), (" dog", -3.0))])  # two tokens that read the same
    assert likeliest_next(twice) == {" dog": math.exp(-0.5)}
    without_blanks = reply([entry("dog", -0.5)])
    assert NextToken("0", "", " dog", 20).read(without_blanks) == {"0": math.exp(-0.5)}


def test_a_model_that_stops_says_nothing_of_the_next_token():
    assert NextToken("0", "", "a", 20).read(reply([])) is None


@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}, {"content": "x"}])
def test_no_log_probabilities(logprobs):
    said = {"choices": [{"message": {"content": "x"}, "logprobs": logprobs}]}
    with pytest.raises(NoLogProbabilities, match="gives no log-probabilities"):
        tokens_spoken(said)
    with pytest.raises(NoLogProbabilities):
        NextToken("0", "", "a", 20).read(said)


def prompt_logprobs(*tokens):
    return {"prompt_logprobs": [None, *({str(i): each} for i, each in enumerate(tokens))]}


def position(token, logprob):
    return {"decoded_token": token, "logprob": logprob, "rank": 1}


def test_a_whole_answer_is_read_from_the_end_of_the_prompt():
    said = prompt_logprobs(position("<bot>", -9.0), position("A", -0.1), position("Ġdog", -0.2))
    question = WholeAnswer("A dog", ("A", "Ġdog"))
    assert question.names == ("0", "1")
    assert question.read(said) == {"0": math.exp(-0.1), "1": math.exp(-0.2)}
    assert WholeAnswer("A dog", ("A", "Ġdog"), (("1:dog", 1),)).read(said) == {"1:dog": math.exp(-0.2)}


def test_of_several_tokens_at_a_place_the_first_stands_there():
    said = {"prompt_logprobs": [None, {"7": position("A", -3.0), "8": position("The", -0.1)}]}
    assert WholeAnswer("A").read(said) == {"0": math.exp(-3.0)}


def test_other_tokens_than_before_are_an_error():
    said = prompt_logprobs(position("A d", -0.1), position("og", -0.2))
    with pytest.raises(NoLogProbabilities, match="cuts the answer 'A dog' into other tokens"):
        WholeAnswer("A dog", ("A", " dog")).read(said)


@pytest.mark.parametrize(
    "given", [{}, {"prompt_logprobs": None}, {"prompt_logprobs": []}, {"prompt_logprobs": [None, {}]}]
)
def test_no_log_probabilities_of_a_prompt(given):
    with pytest.raises(NoLogProbabilities, match="when it is given"):
        WholeAnswer("A dog").read(given)


def test_probabilities():
    assert probability(-0.5) == math.exp(-0.5)
    assert probability(1e-7) == 1.0  # rounding in the server
    assert probability(float("nan")) == probability("x") == 0.0


def test_what_is_said():
    assert spoken({"choices": [{"message": {"content": None}}]}) == ""
    assert words("A dog, isn't it?\n") == ["A", " dog", ",", " isn", "'", "t", " it", "?", "\n"]


def test_a_begun_answer_is_continued_by_the_server_or_by_the_model_itself():
    fresh = conversation("data:,", "What?", "", Dialect())
    assert list(fresh) == ["messages"]
    told = conversation("data:,", "What?", "A", Dialect())
    assert [message["role"] for message in told["messages"]] == ["user", "assistant"]
    assert (told["continue_final_message"], told["add_generation_prompt"]) == (True, False)
    asked = conversation("data:,", "What?", "A", Dialect(continues=False))
    assert list(asked) == ["messages"]
    assert [message["role"] for message in asked["messages"]] == ["system", "user", "assistant"]
    assert asked["messages"][2]["content"] == "A"
    [image, text] = told["messages"][0]["content"]
    assert (image["type"], text) == ("image_url", {"type": "text", "text": "What?"})
