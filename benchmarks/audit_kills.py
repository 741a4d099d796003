"""Audits killed at random moments and started again, against one that nobody killed: is a record lost, or made twice?

    python benchmarks/audit_kills.py runs/audit_kills
    python benchmarks/audit_kills.py runs/audit_kills --runs 2 --kills 3 --processes 1
    python benchmarks/audit_kills.py runs/ray_kills --engine ray --runs 2 --kills 3

An audit of decoy is killed as often as asked, by SIGINT, SIGTERM and SIGKILL in turn, each at a moment drawn evenly
over the time that the audit nobody killed took to make its records; then left to end. Every other run is shared by two
processes, of which both are killed or, every other time, one. Asked of each run: one row per sample, the same records
and metrics as without a kill, and every row that was there when it was killed still there afterwards, unchanged.

With `--engine ray` the process killed is the one that was started, whose cluster on this machine ends with it.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import torch

from wherenot.data import load_dataset
from wherenot.models import build_classifier
from wherenot.records import RecordStore

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
ASKED = ("--data", "decoy", "--splits", "test_biased", "--max-images", "120", "--partition", "grid:5x5")


def started(model, out, processes, engine="local"):
    """The command, in one or several processes."""
    command = [sys.executable, "-m", "wherenot", "audit", "--model", str(model), *ASKED, "--out", str(out)]
    command += ["--engine", "ray", "--actors", "1"] if engine == "ray" else []
    shared = os.environ | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(processes)}
    return [
        subprocess.Popen(
            command,
            env=shared | {"RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a job in the background has it ignored
        )
        for rank in range(processes)
    ]


def finish(running):
    codes = [process.wait() for process in running]
    assert not any(codes), codes


def found(out):
    """Records by number, which must each be there once."""
    rows = list(RecordStore(out).read())
    records = {record["number"]: record for record in rows}
    assert len(records) == len(rows), "a record is there twice"
    return records


def close(one, other):
    """The same but for rounding, which depends on which images share a forward."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return abs(one - other) < 1e-5 if isinstance(one, float) and isinstance(other, float) else one == other


def begun(out, running):
    """Wait until rows come that were not there before, or the command ends."""
    since = time.time()
    while all(process.poll() is None for process in running):
        if any(path.stat().st_mtime > since for path in out.glob("records/*-0*.*") if path.exists()):
            return
        time.sleep(0.02)


def killed_run(number, model, out, seconds, right, options, rng):
    """Kill and start again; returns how many rows were there at each kill."""
    processes = 1 + number % 2 if options.processes is None else options.processes
    processes = 1 if options.engine == "ray" else processes
    rows = []
    for kill in range(options.kills):
        running = started(model, out, processes, options.engine)
        begun(out, running)
        drawn = rng.random()
        if options.engine == "ray":  # its records come in blocks: evenly over these, not over the time
            wanted = (kill + drawn) / (options.kills + 1) * len(right)
            while len(RecordStore(out).numbers()) < wanted and running[0].poll() is None:
                time.sleep(0.02)
        else:
            time.sleep(drawn * seconds / options.kills)
        for process in running if kill % 2 == 0 else running[:1]:
            process.send_signal(SIGNALS[(number + kill) % 3])
        if kill % 2:  # a launcher would end the others
            time.sleep(0.5)
            for process in running[1:]:
                process.terminate()
        for process in running:
            process.wait()
        now = found(out)
        rows.append(now)
    finish(started(model, out, processes, options.engine))
    last = found(out)
    kept = all(last[place] == record for before in rows for place, record in before.items())
    return processes, [len(before) for before in rows], last, kept


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--processes", type=int, help="of every run; left out, one and two in turn")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(0)
    build_classifier("small-cnn", classes=load_dataset("decoy").classes).save(options.out / "model")
    whole = options.out / "whole"
    running = started(options.out / "model", whole, 1)
    begun(whole, running)
    since = time.monotonic()
    while not list(whole.glob("records/part-*")):
        time.sleep(0.02)
    seconds = time.monotonic() - since
    finish(running)
    right, metrics = found(whole), json.loads((whole / "metrics.json").read_text())
    rng, good = random.Random(options.seed), 0
    for number in range(options.runs):
        out = options.out / f"run-{number}"
        processes, rows, last, kept = killed_run(number, options.out / "model", out, seconds, right, options, rng)
        same = close(right, last) and close(metrics, json.loads((out / "metrics.json").read_text()))
        stored = sum(pq.read_metadata(part).num_rows for part in RecordStore(out).parts())
        good += same and kept and stored == len(right)
        print(
            f"run {number}, {options.engine}, {processes} processes: rows at the kills {rows} of {len(right)}, "
            f"{stored} at the end, {'the same' if same else 'NOT the same'}, "
            f"{'all kept' if kept else 'NOT all kept'}", flush=True,
        )  # fmt: skip
    print(f"{options.runs * options.kills} kills, {good} of {options.runs} runs as if nobody had killed them")
    sys.exit(good != options.runs)


if __name__ == "__main__":
    main()
