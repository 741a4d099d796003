"""How much faster do two processes train than one? Each has one thread on a core of its own, and as much to do.

    python benchmarks/ddp.py                                   # plain fine-tuning, wherenot and paper, three times each
    python benchmarks/ddp.py --model efficientnet-lite0@96 --steps 40 --methods paper
    python benchmarks/ddp.py --steps 20 --repeats 1            # a try

`wherenot train` on decoy, as `accelerate launch` starts it (gloo, plain data parallelism), a batch per process and
step. Only steps count, from the first after `--warm` to the last: not loading, not the priors that wherenot draws
before, not validation. One process and two run in turn; medians are told. Efficiency is samples per second of two over
twice those of one: 1 is all that can be had, .5 means that the second core buys nothing. Alignment acts on images that
are right, so the warm-up must be long enough to learn something; how many it looked at is told, too.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import ClassVar
from unittest.mock import patch

import torch

from wherenot.data import decoy
from wherenot.train import training
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig
from wherenot.train.progress import TrainingProgress

METHODS = ("finetune", "wherenot", "paper")


class Timed(TrainingProgress):
    """Remembers when steps ended."""

    ends: ClassVar[dict[int, float]] = {}

    def on_step_end(self, args, state, control, **kwargs):
        """Remember."""
        super().on_step_end(args, state, control, **kwargs)
        self.ends[state.global_step] = time.perf_counter()


def work(options):
    """Train as one of the processes; the first writes the seconds of the steps that count."""
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    torch.set_num_threads(1)
    method = options.methods[0]
    aligned = {} if method in ("finetune", "wherenot") else {"confidence_above": 0.0, "max_images": options.max_images}
    config = TrainConfig(
        model=options.model,
        method=MethodConfig(name=method, **aligned),
        optimization=OptimizationConfig(epochs=1, batch_size=options.batch),
    )
    steps = options.warm + options.steps
    data = decoy(0, num_train=ranks * options.batch * steps, num_validation=20, num_test=10)
    with patch.object(training, "TrainingProgress", Timed):
        training.train(config, options.out, dataset=data, quiet=True)
    if rank == 0:
        seconds = Timed.ends[steps] - Timed.ends[options.warm]
        (options.out / "seconds.json").write_text(json.dumps(seconds))


def speed(options, method, ranks):
    """Samples per second of so many processes, and images that the method looked at in each acting step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        shared = os.environ | {
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks),
            "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "WHERENOT_CACHE": f"{folder}/cache",
        }  # fmt: skip
        asked = ["--worker", "--out", f"{folder}/run", "--methods", method, "--model", options.model]
        for name in ("steps", "warm", "batch", "max_images"):
            asked += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
        running = [
            subprocess.Popen(
                [sys.executable, __file__, *asked],
                env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.DEVNULL,
                stderr=None if options.loud else subprocess.DEVNULL,
            )
            for rank in range(ranks)
        ]
        codes = [process.wait() for process in running]
        assert not any(codes), "a process failed; --loud shows why"
        seconds = json.loads(Path(folder, "run/seconds.json").read_text())
        lines = [json.loads(line) for line in Path(folder, "run/steps.jsonl").read_text().splitlines()]
    aligned = [line["aligned"] for line in lines if "aligned" in line and line["step"] > options.warm]
    return ranks * options.batch * options.steps / seconds, median(aligned) if aligned else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--model", default="small-vit")
    parser.add_argument("--steps", type=int, default=100, help="that count; paper acts in every tenth")
    parser.add_argument("--warm", type=int, default=50, help="steps before")
    parser.add_argument("--batch", type=int, default=16, help="images per process and step")
    parser.add_argument("--max-images", type=int, default=8, help="that alignment looks at, per process and step")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loud", action="store_true", help="show what processes say")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    for method in options.methods:
        found = {1: [], 2: []}
        for _ in range(options.repeats):
            for ranks in found:
                found[ranks].append(speed(options, method, ranks))
        one, two = (median(each for each, _ in found[ranks]) for ranks in (1, 2))
        looked = [str(found[ranks][0][1]) for ranks in (1, 2)]
        print(
            f"{options.model}, {method}: {one:.1f} samples/s by one process, {two:.1f} by two, efficiency "
            f"{two / (2 * one):.2f} (of single pairs "
            f"{', '.join(f'{b / (2 * a):.2f}' for (a, _), (b, _) in zip(found[1], found[2], strict=True))}); "
            f"images aligned per acting step and process {' and '.join(looked)}", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
