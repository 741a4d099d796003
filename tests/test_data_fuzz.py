"""Accidents to the files of every format: no reader falls over. `tests/fuzz_data.py` runs as many as one likes."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz_data import Bench
from hostile import MAKERS, harm
from wherenot.data.checked import parse_json
from wherenot.rasters import decode_rle

FEW = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it can still read
@pytest.mark.parametrize("format", MAKERS)
def test_readers_survive(unhooked, tmp_path_factory, format):
    bench = Bench(format, tmp_path_factory.mktemp(format))

    @FEW
    @given(st.integers(0, 2**32))
    def survive(seed):
        bench.run(seed)

    survive()


def test_accidents_are_of_every_outcome(unhooked, tmp_path):
    bench = Bench("folder", tmp_path)
    assert {bench.run(seed) for seed in range(12)} == {"whole", "in part", "refused"}


def test_accidents_change_files(tmp_path):
    bench = Bench("gui", tmp_path)
    before = {path: path.read_bytes() for path in bench.whole.rglob("*") if path.is_file()}
    harm(bench.whole, random.Random(0))
    assert before != {path: path.read_bytes() for path in bench.whole.rglob("*") if path.is_file()}


@settings(FEW, max_examples=100)
@given(st.text() | st.binary())
def test_any_text_is_json_or_not(text):
    try:
        parse_json(text)
    except ValueError:
        return


@settings(FEW, max_examples=150)
@given(st.binary() | st.text() | st.lists(st.integers() | st.floats() | st.none() | st.text()))
def test_any_counts_are_run_lengths_or_not(unhooked, counts):
    try:
        inside = decode_rle({"size": [4, 6], "counts": counts})
    except ValueError:
        return
    assert inside.shape == (4, 6)
