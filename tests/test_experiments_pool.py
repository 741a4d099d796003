"""Trials run by processes of their own: failures, locks, kills."""

import fcntl
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from forked import ForkedWorker
from record_files import records_of
from study_runs import in_this_process
from wherenot.audit import AuditConfig
from wherenot.cli import main
from wherenot.data import Dataset, decoy, write_folder
from wherenot.experiments import pool
from wherenot.experiments.pool import run_trials
from wherenot.experiments.trials import BusyError, Trial, failure_of, run_trial
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig

AUDIT = AuditConfig(partition="grid:2x2", max_images=2, noise=(), splits=("test_biased",))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    data = decoy(0, num_train=40, num_validation=10, num_test=6)
    keep = tuple(s for s in data.samples if s.split in ("train", "validation", "test_biased"))
    folder = tmp_path_factory.mktemp("data") / "digits"
    write_folder(Dataset("digits", data.classes, keep), folder)
    return str(folder)


@pytest.fixture
def forked(monkeypatch):
    """Workers that need not import anything; the killed study has real ones."""
    monkeypatch.setattr(pool._Worker, "_start", lambda worker: ForkedWorker())


def trial(data, seed=0, epochs=1, **method):
    plan = OptimizationConfig(epochs=epochs, batch_size=8)
    return Trial(train=TrainConfig(data=data, seed=seed, method=MethodConfig(**method), optimization=plan), audit=AUDIT)


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def test_a_failure_is_recorded_stops_nothing_else_and_is_tried_again(tmp_path, digits, forked):
    root, late = tmp_path / "out", tmp_path / "late"
    wrong, good, missing = trial(digits, name="paper", partition="hexagons:7"), trial(digits), trial(str(late))
    seen = []
    ran = run_trials([wrong, good, wrong, missing], root, threads=1, on_trial=lambda each: seen.append(each.outcome))
    assert [each.outcome for each in ran] == ["failed", "finished", "failed"]
    assert seen == ["failed", "finished", "failed"]
    assert "no partition is called 'hexagons:7'" in ran[0].error
    assert "neither a folder nor built in" in failure_of(missing, root)
    assert good.is_finished(root)
    assert failure_of(good, root) is None
    before = stamps(good.folder(root))
    late.symlink_to(digits)
    announced = []
    ran = run_trials([good, missing], root, threads=1, on_trial=announced.append)
    assert [each.outcome for each in ran] == ["finished", "finished"]
    assert [each.trial for each in announced] == [missing]
    assert failure_of(missing, root) is None
    assert stamps(good.folder(root)) == before


def test_a_trial_that_another_process_runs_is_left_alone(tmp_path, digits, forked):
    one = trial(digits)
    one.folder(tmp_path).mkdir(parents=True)
    with (one.folder(tmp_path) / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="another process is running"):
            run_trial(one, tmp_path)
        [ran] = run_trials([one], tmp_path, threads=1)
        assert ran.outcome == "busy"
        assert not one.train_folder(tmp_path).exists()


def test_two_callers_at_once_run_each_trial_once(tmp_path, digits, forked):
    trials = [trial(digits, seed) for seed in range(2)]
    with ThreadPoolExecutor(2) as callers:
        ran = list(callers.map(lambda _: run_trials(trials, tmp_path, processes=2, threads=1), range(2)))
    outcomes = [each.outcome for each in [*ran[0], *ran[1]]]
    assert set(outcomes) <= {"finished", "busy"}
    for each in trials:
        assert each.is_finished(tmp_path)
        lines = (each.train_folder(tmp_path) / "steps.jsonl").read_text().splitlines()
        finals = [line for line in map(json.loads, lines) if "train_runtime" in line]
        assert len(finals) == 1  # one training came to its end
        ids = [record["id"] for record in records_of(each.audit_folder(tmp_path))]
        assert len(ids) == len(set(ids)) == 6


@pytest.mark.slow
def test_a_killed_study_goes_on_and_comes_to_the_same(tmp_path, digits, forked, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    settings = [
        "table1", "--data", digits, "--methods", "finetune", "log", "--seeds", "0", "--partition", "grid:2x2",
        "--set", "optimization.epochs=3", "optimization.batch_size=4", "method.interval=2",
        "method.confidence_above=0.0", "method.max_regions=2", "--splits", "test_biased", "--threads", "1",
    ]  # fmt: skip
    with monkeypatch.context() as here:
        here.setattr(pool._Worker, "run", in_this_process)
        assert main(["reproduce", *settings, "--out", str(whole)]) == 0
    command = [sys.executable, "-m", "wherenot", "reproduce", *settings, "--out", str(cut)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folders = {
        name: cut / "trials" / next((whole / "trials").glob(f"*-{name}-*")).name / "seed-0"
        for name in ("finetune", "log")
    }
    deadline = time.monotonic() + 200
    while not list(folders["log"].glob("train/checkpoints/checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)  # no chance to tidy up
    process.wait()
    finished = stamps(folders["finetune"])
    while True:  # the worker goes as soon as nobody is left to give it orders
        with (folders["log"] / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    assert not (folders["log"] / "train" / "metrics.json").exists()
    assert main(["reproduce", *settings, "--out", str(cut)]) == 0
    assert stamps(folders["finetune"]) == finished
    assert json.loads((folders["log"] / "train" / "run.json").read_text())["resumed"]
    tables = [(root / "table1" / "values.csv").read_text() for root in (whole, cut)]
    assert tables[0] == tables[1]
