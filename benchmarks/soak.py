"""An hour of what people do, over and over in one process: does memory grow?

    python benchmarks/soak.py                # an hour; `make soak` does this
    python benchmarks/soak.py --minutes 5

A round explains two photographs, trains a small classifier with a search for a few steps, audits it, writes its report
and lets a tiny agent answer and explain a task. After each round the garbage is collected and the process's resident
memory taken. The slope is that of a line through the rounds of the second half, when caches are full; above 20 MB an
hour, twice its standard error left off, the soak fails.
"""

import argparse
import contextlib
import ctypes
import gc
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from wherenot import explain
from wherenot.audit import AuditConfig, audit
from wherenot.audit_answers import AnswerAuditConfig, audit_answers
from wherenot.bench.photographs import shipped_photographs
from wherenot.data import load_dataset
from wherenot.data.samples import limit
from wherenot.models import load_classifier, load_vlm
from wherenot.regions import Grid
from wherenot.report import write_report
from wherenot.search import Fast
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig
from wherenot.train.training import train

LIMIT_MB_PER_HOUR = 20.0


class Rounds:
    """What is loaded once, and what each round does with it."""

    def __init__(self):
        self.network = load_classifier("efficientnet-lite0@96")
        found = [picture for _, picture in shipped_photographs()][:2]
        self.photographs = torch.stack([self.network.preprocess(picture) for picture in found])
        self.digits = limit(load_dataset("decoy"), 60, 0)
        self.agent, self.tasks = load_vlm("tiny-agent"), limit(load_dataset("screens"), 2, 0)

    def __call__(self, place, number):
        explain(self.network, self.photographs, regions=Grid(4, 4), search=Fast())
        config = TrainConfig(
            data="decoy", seed=number, method=MethodConfig(name="log", interval=2, partition="grid:4x4"),
            optimization=OptimizationConfig(epochs=1, batch_size=20),
        )  # fmt: skip
        run = train(config, place / "train", dataset=self.digits, quiet=True)
        look = AuditConfig(splits=("test_biased",), max_images=10, partition="grid:4x4")
        told = {"name": "soak", "model": str(run)}
        write_report([audit(load_classifier(str(run)), self.digits, place / "audit", look, **told)], place / "a.html")
        asked = AnswerAuditConfig(splits=("test_habitual",), max_images=1, elements=True, max_regions=2, max_tokens=24)
        audit_answers(self.agent, self.tasks, place / "answers", asked, **told)


def resident_mb():
    """Of this process, after what can be given back was."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def slope(hours, megabytes):
    """Of a line through the points, and its standard error, per hour."""
    (rise, _), covariance = np.polyfit(hours, megabytes, 1, cov=True)
    return float(rise), float(covariance[0, 0] ** 0.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    rounds, started, seen = Rounds(), time.monotonic(), []
    while (now := time.monotonic() - started) < 60 * options.minutes or len(seen) < 10:
        place = Path(tempfile.mkdtemp())
        with contextlib.redirect_stdout(sys.stderr):
            rounds(place, len(seen))
        shutil.rmtree(place)
        seen.append((now / 3600, resident_mb(), len(list(Path("/proc/self/fd").iterdir()))))
        print(f"round {len(seen)}, {60 * seen[-1][0]:.1f} min: {seen[-1][1]:.0f} MB, {seen[-1][2]} files", flush=True)
    hours, megabytes, files = (np.array(column) for column in zip(*seen[len(seen) // 2 :], strict=True))
    rise, error = slope(hours, megabytes)
    leaks = rise - 2 * error > LIMIT_MB_PER_HOUR or files[-1] > files[0]
    print(f"{len(seen)} rounds: {rise:+.1f} +- {2 * error:.1f} MB an hour, {'memory grows' if leaks else 'flat'}")
    sys.exit(int(leaks))


if __name__ == "__main__":
    main()
