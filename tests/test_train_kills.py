"""`wherenot train`, killed from outside, and started again with the same command; more in benchmarks/kills.py."""

import os
import signal
import time

import pytest

import forked
from wherenot.cli import main
from wherenot.data import decoy, write_folder

CONFIG = """
data: {data}
method: {{name: log, interval: 2, confidence_above: 0.0, partition: "grid:2x2", max_regions: 2}}
optimization: {{epochs: 3, batch_size: 16}}
"""
GOES_ON = "what was finished is kept, the same command goes on from there"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    write_folder(decoy(0, num_train=48, num_validation=20, num_test=10), folder / "data")
    (folder / "run.yaml").write_text(CONFIG.format(data=folder / "data"))
    return folder / "run.yaml"


def kill(config, out, number, when):
    """Start the command, send a signal as soon as something is there, and return how it ended."""
    process = forked.command(["train", config, "--out", out], out.parent / "log.txt")
    deadline = time.monotonic() + 120
    while not when() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, number)
    process.join()
    return process.exitcode


@pytest.mark.slow
def test_killed_twice_it_ends_the_same(tmp_path, config, capsys):
    out, log = tmp_path / "killed", tmp_path / "log.txt"
    places = [out / "checkpoints" / f"checkpoint-{step}" for step in (3, 6)]
    # The first is killed in its first epoch, the second while it writes its second checkpoint.
    assert kill(config, out, signal.SIGTERM, (out / "steps.jsonl").is_file) == 143
    assert log.read_text().count(GOES_ON) == 1
    assert kill(config, out, signal.SIGKILL, places[1].is_dir) == -signal.SIGKILL
    assert places[0].is_dir()
    for place in (out, tmp_path / "whole"):
        assert main(["train", str(config), "--out", str(place)]) == 0
    capsys.readouterr()
    for name in ("model/model.safetensors", "metrics.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
