"""Readers never fail: whatever a model writes is an action or has a named fault."""

import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gui_outputs import SCALES, spoil, well_formed
from wherenot.gui import CODECS, FAULTS
from wherenot.gui.replies import FATAL

OUTPUTS = well_formed()
READERS = {name: codec for name, codec in CODECS.items() if name != "ui_tars_v1"}  # it reads as ui_tars does


def check(text, scale):
    replies = {name: codec.read(text, scale=scale) for name, codec in READERS.items()}
    for name, reply in replies.items():
        assert reply.malformed == bool(set(reply.faults) & set(FATAL)), (name, text)
        assert set(reply.faults) <= set(FAULTS), (name, text)
    return replies


@settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32), scale=st.sampled_from(sorted(SCALES)))
def test_ten_thousand_spoilt_outputs_are_read_or_refused(unhooked, seed, scale):
    chance = random.Random(seed)
    for _ in range(20):
        check(spoil(chance.choice(OUTPUTS), chance), SCALES[scale])


def test_spoilt_outputs_have_every_fault():
    chance, seen, read = random.Random(0), set(), 0
    for _ in range(2000):
        for reply in check(spoil(chance.choice(OUTPUTS), chance), SCALES["0-1000"]).values():
            seen |= set(reply.faults)
            read += not reply.malformed
    assert set(FAULTS) - seen == set()
    assert read > 300  # the accidents leave enough to read


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_any_text_is_read_or_refused(text):
    check(text, SCALES["resized"])


@pytest.mark.parametrize(
    "text",
    [
        *(
            piece * (500_000 // len(piece))
            for piece in [
                " ", "{", '{"', '{"a', '{ "', '{"\\"', '{"a":', '{"a":1,', '{"a":1}', "[", '"', "'", "\\", "`", "```",
                "<", "<tool_call>", "<think>", "Action:", "Action: ", "Action: a", "\nAction: a", "Thought:", "\n",
                "\t", "click(", "wait()", "a", "9",
            ]
        ),
        *(
            f"Action: click({inside})"
            for inside in [
                "point='" + " " * 500_000 + "'", "point='1 2" + " " * 500_000 + "x'", "point='(" + "1 " * 250_000 + "'",
                "point='" + "1," * 250_000 + "'", "point='" + "9" * 500_000 + " 1'", "point='1', " * 40_000,
                " " * 500_000, "a='" + "\\" * 500_001 + "'", "a" * 500_000, "a" + " " * 500_000,
            ]
        ),
        "Action: type(content='" + "'" * 500_000,
        "Action: type(content='" + "') " * 160_000,
        "Action: type(content='" + "'" + " " * 500_000 + "x)",
        '<tool_call>{"name": "mobile_use", "arguments": ' + "[" * 500_000,
    ],
    ids=lambda text: f"{text[:30]!r}-{len(text)}",
)  # fmt: skip
def test_long_outputs_take_time_in_proportion(text):
    start = time.process_time()
    check(text, SCALES["0-1000"])
    assert time.process_time() - start < 5
