"""The study of agents: every method on screens with habitual layouts, tested where habits help and where they do not.

    python benchmarks/agents.py runs/agents                    # everything; goes on where it stopped
    python benchmarks/agents.py runs/agents --part 1/2         # every second run, for two processes
    python benchmarks/agents.py runs/agents --table            # only the tables, from the runs that are there
    python benchmarks/agents.py runs/agents --keep             # keep what was measured in benchmarks/measured

    wherenot screens render runs/many --num-train 3072 --num-test 96 --tasks-per-screen 8 --width 128 \\
        --coordinate-step 20 --num-validation 64 --seed 11
    python benchmarks/agents.py runs/agents-many --data gui:runs/many    # on more screens than come with the package

What was kept is not run again.

The agent is `tiny-agent-weak` (right in three of ten clicks, whatever the layout), the data are the screens that come
with the package: nine of ten elements lie in their habitual places in training, validation and test_habitual, none in
test_shuffled. Nothing is tuned: every method has its defaults, `swap` the share of `rearrange`; the paper's penalty
looks at four of the 32 tasks of a step that it acts on, with the fast search. Steps and that share were chosen in
pilots that looked at the tests of seed 0 (`docs/log.md`). `grpo` learns from rewards for right clicks, `grpo_evidence`
also from how far an answer rests on its target; a step of theirs holds 32 answers, to four tasks. Cost: processor
seconds of training against those of plain fine-tuning, which `sft_longer` does for half as many steps more.
"""

import argparse
import json
import os
import time
from functools import cache
from pathlib import Path

import torch
from measured import Measured

from wherenot.data import load_dataset
from wherenot.gui.agent.model import build_agent
from wherenot.gui.clicks import prepare_click, read_chosen, reliance
from wherenot.gui.penalties import strongest_regions
from wherenot.metrics import over_seeds, pointing_coverage
from wherenot.models import load_vlm
from wherenot.scoring import evaluating
from wherenot.search import Exact
from wherenot.train.agents.config import AgentMethodConfig, AgentOptimizationConfig, AgentTrainConfig, LoraConfig
from wherenot.train.agents.training import train_agent
from wherenot.train.agents.validation import click_summary, validated

BASE = "tiny-agent-weak"
SEEDS = range(3)
STEPS = 600
TESTS = ("test_habitual", "test_shuffled")
POINTED = 32  # tasks of test_shuffled whose evidence is searched
METHODS = {  # name of the row: method, its options, steps
    "sft": ("sft", {}, STEPS),
    "rearrange": ("rearrange", {}, STEPS),
    "rearrange_half": ("rearrange", {"share": 0.5}, STEPS),
    "swap": ("swap", {"share": 0.75}, STEPS),
    "necessity": ("necessity", {}, STEPS),
    "paper": ("paper", {"search": "fast", "max_tasks": 4}, STEPS),  # all of 32 would take hours
    "sft_longer": ("sft", {}, 3 * STEPS // 2),
    "paste": ("paste", {}, STEPS),
    "necessity_log": ("necessity", {"form": "log"}, STEPS),
    "random_regions": ("random_regions", {}, STEPS),
    "grpo": ("grpo", {"generations": 8}, STEPS // 4),
    "grpo_evidence": ("grpo", {"generations": 8, "evidence": "reliance"}, STEPS // 4),
    "scratch": ("sft", {}, 4 * STEPS),  # all weights of an agent that has learned nothing yet
}


@cache
def dataset(data):
    return load_dataset(data)


def measure(folder, row, seed, data):
    """Train one configuration and measure it."""
    screens = dataset(data)
    shuffled = list(screens.split("test_shuffled").samples)
    found, model = {}, BASE
    if row != "base":
        method, options, steps = METHODS[row]
        rewarded = method == "grpo"  # reads a screenshot for every answer, and draws answers instead of being told them
        plan = AgentOptimizationConfig(
            steps=steps, batch_size=32, accumulation=1, tasks_per_screen=1 if rewarded else 8,
            learning_rate=1e-3 if rewarded else 2e-3, save_every=10 * steps,
        )  # fmt: skip
        config = AgentTrainConfig(
            data=data, model=unlearned(folder / "base", seed) if row == "scratch" else BASE, seed=seed,
            max_tokens=24, optimization=plan, method=AgentMethodConfig(name=method, **options),
            lora=LoraConfig(scope="full" if row == "scratch" else "language"),
        )  # fmt: skip
        started = time.process_time()
        model = str(train_agent(config, folder / "train", dataset=screens, quiet=True) / "model")
        found["cpu_seconds"] = time.process_time() - started
        found["validation"] = json.loads((folder / "train" / "metrics.json").read_text())["validation"]["correct"]
        found["resumed"] = json.loads((folder / "train" / "run.json").read_text())["resumed"]
    vlm = load_vlm(model)
    for split in TESTS:
        tasks = list(screens.split(split).samples)
        found[split] = click_summary(validated(vlm, tasks, max_side=1120, max_tokens=24))["correct"]
    found["reliance_shuffled"] = relied(vlm, shuffled)
    found["pointing_shuffled"] = pointed(vlm, shuffled[:POINTED])
    return found


def unlearned(folder, seed):
    """The tiny agent with random weights."""
    for part in build_agent(seed=seed):
        part.save_pretrained(folder)
    return str(folder)


def relied(vlm, tasks):
    with evaluating(vlm.wrapped):
        return sum(reliance(vlm, prepare_click(vlm, task)) for task in tasks) / len(tasks)


def pointed(vlm, tasks):
    """How often the strongest region, by exact search for the tokens that tell the place, lies on the target."""
    hits = 0
    with evaluating(vlm.wrapped):
        for task in tasks:
            [(click, _)] = read_chosen(vlm, [prepare_click(vlm, task)], "location")
            [top] = strongest_regions(vlm, click, search=Exact(), max_regions=1)
            region, target = (torch.from_numpy(each)[None] for each in (click.labels == top, click.target))
            hits += bool(pointing_coverage(region, target))
    return hits / len(tasks)


def jobs(rows, seeds):
    """Place, row and seed of each run, in the order in which they are wanted."""
    yield "base/0", "base", 0
    for seed in seeds:
        for row in rows:
            yield f"{row}/{seed}", row, seed


def run(runs, planned, data, part, parts):
    """Do this process's share."""
    for number, (place, row, seed) in enumerate(planned):
        if number % parts == part and not runs.read(place):
            found = measure(runs.out / place, row, seed, data)
            runs.write(place, found)
            print(time.strftime("%H:%M"), row, seed, found, flush=True)


def table(runs, seeds):
    """Mean and 95 % t-interval over seeds, and paired differences from plain fine-tuning."""
    columns = (*TESTS, "reliance_shuffled", "pointing_shuffled")
    lines = [f"| method | {' | '.join(columns)} | shuffled - sft | cost |", "|---" * 7 + "|"]
    for row in ("base", *METHODS):
        found = [runs.read(f"{row}/{seed}") for seed in ([0] if row == "base" else seeds)]
        if not any(found):
            continue
        cells = [interval([each[column] for each in found if each]) for column in columns]
        pairs = [(mine, runs.read(f"sft/{seed}")) for seed, mine in zip(seeds, found, strict=False)]
        ahead = [mine["test_shuffled"] - plain["test_shuffled"] for mine, plain in pairs if mine and plain]
        costs = [
            mine["cpu_seconds"] / plain["cpu_seconds"]
            for mine, plain in zip(found, [runs.read(f"sft/{seed}") for seed in seeds], strict=False)
            if timed(mine) and timed(plain)
        ]
        count = sum(each is not None for each in found)
        name = row if count == len(seeds) or row == "base" else f"{row} ({count} seeds)"
        cost = f"{sum(costs) / len(costs):.2f}x" if costs else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {interval(ahead) if row != 'base' else ''} | {cost} |")
    runs.out.mkdir(parents=True, exist_ok=True)
    (runs.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def timed(found):
    return found and "cpu_seconds" in found and not found["resumed"]


def interval(values):
    if not values:
        return ""
    spread = over_seeds(values)
    return f"{spread.value:.3f}" if len(values) == 1 else f"{spread.value:.3f} ± {spread.high - spread.value:.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--data", default="screens", help="what wherenot screens render wrote, as gui:FOLDER")
    parser.add_argument("--part", default="1/1", help="such as 2/3: the second of three processes")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    runs = Measured("agents" if options.data == "screens" else f"agents-{Path(options.data).name}", options.out)
    if not (options.table or options.keep):
        part, parts = (int(number) for number in options.part.split("/"))
        run(runs, list(jobs(options.methods, options.seeds)), options.data, part - 1, parts)
    if options.keep:
        runs.keep()
    table(runs, options.seeds)


if __name__ == "__main__":
    main()
