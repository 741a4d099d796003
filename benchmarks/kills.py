"""Training runs killed at random moments and started again, against runs that nobody killed: are they the same?

    python benchmarks/kills.py runs/kills
    python benchmarks/kills.py runs/kills --kills 5 --seed 1 --methods log agent:necessity

For each method `wherenot train` once without a kill, and once killed as often as asked, by SIGINT, SIGTERM and SIGKILL
in turn, each at a moment drawn evenly over the time that the first run took, from when its run folder exists on; then
left to end. Files of the model and metrics.json must be the same, byte for byte. SIGINT must end with code 130, SIGTERM
with 143. Commands are forked off a process that has imported everything; with --fresh each is a `python -m wherenot`.
"""

import argparse
import filecmp
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw

ALIGNED = {"interval": 2, "confidence_above": 0.0, "partition": "grid:2x2", "max_regions": 2}
ACTING = {"interval": 2, "right_above": 0.0, "tokens": "all"}
METHODS = {
    "finetune": {},
    "paper": ALIGNED,
    "log": ALIGNED,
    "rrr": {"weight": 0.1},
    "random_regions": {name: ALIGNED[name] for name in ("interval", "confidence_above", "partition")},
    "counterfactual": {"interval": 2, "confidence_above": 0.0},
    "background_swap": {"weight": 0.5},
    "wherenot": {"share": 0.5},
    "agent:necessity": {**ACTING, "form": "log"},
    "agent:swap": {"share": 1.0},
}
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
SIDE = 84
CONTEXT = multiprocessing.get_context("forkserver")
FRESH = "--fresh" in sys.argv


def tasks():
    """A click task for each quarter of a screen, and each split."""
    from wherenot.data import Dataset, GuiSample
    from wherenot.data.gui import target_prior

    half = SIDE // 2
    image = Image.new("RGB", (SIDE, SIDE))
    named = {"red": (0, 0), "green": (half, 0), "blue": (0, half), "yellow": (half, half)}
    for name, (x, y) in named.items():
        ImageDraw.Draw(image).rectangle((x, y, x + half - 1, y + half - 1), fill=name)
    samples = [
        GuiSample(
            f"{split}-{name}", 0, split, None, partial(Image.Image.copy, image),
            partial(target_prior, (x, y, x + half, y + half), None, lambda _: (), (SIDE, SIDE)), f"Tap {name}.",
            right=json.dumps({"thought": name, "POINT": [1000 * (x + 21) // SIDE, 1000 * (y + 21) // SIDE]}),
            instruction=f"Tap {name}.", thought=name, box=(float(x), float(y), float(x + half), float(y + half)),
            point=((x + 21) / SIDE, (y + 21) / SIDE),
        )
        for split in ("train", "validation") for name, (x, y) in named.items()
    ]  # fmt: skip
    return Dataset("quarters", ("click",), tuple(samples))


def configuration(name, folder):
    kind, _, method = name.rpartition(":")
    if not kind:
        return {
            "data": "decoy", "images_per_split": 60, "method": {"name": method, **METHODS[name]},
            "optimization": {"epochs": 6, "batch_size": 16, "keep": "best"},
        }  # fmt: skip
    return {
        "task": "agent", "data": f"gui:{folder / 'tasks'}", "model": str(folder / "base"), "max_tokens": 4,
        "lora": {"rank": 2, "dropout": 0.1}, "method": {"name": method, **METHODS[name]},
        "optimization": {
            "steps": 24, "batch_size": 1, "accumulation": 2, "save_every": 5, "schedule": "constant",
            "warmup_frac": 0.0,
        },
    }  # fmt: skip


def prepare(folder):
    from wherenot.data.gui.writing import write_gui
    from wherenot.models.tiny_vlms import tiny_vlm

    (folder / "base").mkdir(parents=True)
    for part in tiny_vlm("llava"):
        part.save_pretrained(folder / "base")
    write_gui(tasks(), folder / "tasks")


def train(config, out, log):
    """What the command does, in a process that has imported everything already."""
    from wherenot.cli import main

    for number, name in ((1, os.devnull), (2, log)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.exit(main(["train", str(config), "--out", str(out)]))


class Forked:
    """The command in a forked process, which starts in no time; used as `subprocess.Popen`."""

    def __init__(self, *arguments):
        self._process = CONTEXT.Process(target=train, args=arguments)
        self._process.start()
        self.pid = self._process.pid

    def poll(self):
        return self._process.exitcode

    returncode = property(poll)

    def send_signal(self, number):
        os.kill(self.pid, number)

    def wait(self):
        self._process.join()
        return self._process.exitcode


def begin(config, out):
    log = out.with_suffix(".log")
    if not FRESH:
        return Forked(config, out, log)
    with log.open("a") as file:
        command = [sys.executable, "-m", "wherenot", "train", str(config), "--out", str(out)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file)


def until_it_writes(process, out, since):
    while process.poll() is None and not ((out / "run.json").is_file() and out.stat().st_mtime > since):
        time.sleep(0.01)
    return time.time()


def whole_run(config, out):
    since = time.time()
    process = begin(config, out)
    started = until_it_writes(process, out, since)
    if process.wait():
        raise SystemExit(f"{out}: ended with {process.returncode}; see {out.with_suffix('.log')}")
    return time.time() - started


def place_of(out):
    lines = (out / "steps.jsonl").read_text().splitlines() if (out / "steps.jsonl").is_file() else []
    step = json.loads(lines[-1])["step"] if lines and lines[-1].endswith("}") else 0
    checkpoints = list((out / "checkpoints").glob("checkpoint-*"))
    sealed = [int(path.name[11:]) for path in checkpoints if (path / "whole.json").is_file()]
    return step, max(sealed, default=0), len(checkpoints) - len(sealed)


def killed_runs(config, out, whole, seconds, kills, draw):
    """What happened at each kill, and whether each run that ended at last is the same as the whole one."""
    told, equal, order = [], [], list(SIGNALS)
    draw.shuffle(order)
    while len(told) < kills:
        since = time.time()
        process = begin(config, out)
        moment = draw.uniform(0, seconds)
        until_it_writes(process, out, since)
        deadline = time.time() + moment
        while process.poll() is None and time.time() < deadline:
            time.sleep(0.002)
        if process.poll() is None:
            number = order[len(told) % len(order)]
            process.send_signal(number)
            process.wait()
            if not (out / "metrics.json").is_file():
                told.append((number, process.returncode, *place_of(out)))
        if (out / "metrics.json").is_file():  # it ended first: another one
            equal.append(same(whole, out))
            shutil.rmtree(out)
    if begin(config, out).wait():
        raise SystemExit(f"{out}: did not go on; see {out.with_suffix('.log')}")
    return told, [*equal, same(whole, out)]


def same(one, two):
    names = sorted(str(path.relative_to(one)) for path in (one / "model").rglob("*") if path.is_file())
    there = sorted(str(path.relative_to(two)) for path in (two / "model").rglob("*") if path.is_file())
    _, different, missing = filecmp.cmpfiles(one, two, [*names, "metrics.json"], shallow=False)
    return names == there and not different and not missing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=3, help="of each method's run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--fresh", action="store_true", help="import everything again for each command")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    CONTEXT.set_forkserver_preload(["wherenot.train.training", "wherenot.train.agents.training", "wherenot.commands"])
    shutil.rmtree(options.out, ignore_errors=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    prepare(options.out)
    print("| method | kills: signal, code, last step written, checkpoint to go on from | runs | same files |")
    print("|---|---|---:|---:|")
    count = ended = equal = unclean = 0
    for name in options.methods:
        draw = random.Random(f"{options.seed} {name}")
        config = options.out / f"{name.replace(':', '-')}.yaml"
        config.write_text(json.dumps(configuration(name, options.out)))
        whole, out = (options.out / f"{config.stem}-{which}" for which in ("whole", "killed"))
        seconds = whole_run(config, whole)
        told, compared = killed_runs(config, out, whole, seconds, options.kills, draw)
        count, ended, equal = count + len(told), ended + len(compared), equal + sum(compared)
        unclean += sum(code != SIGNALS[number] for number, code, *_ in told)
        said = "; ".join(
            f"{number.name} ({code}) at {step}, from {sealed}" + (" beside one cut short" if unsealed else "")
            for number, code, step, sealed, unsealed in told
        )
        print(f"| {name} | {said} | {len(compared)} | {sum(compared)} |", flush=True)
    print(f"\n{count} kills; {equal} of {ended} runs the same; {unclean} kills with another code")


if __name__ == "__main__":
    main()
