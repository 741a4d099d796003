"""The study of agents: every method on screens with habitual layouts, tested where habits help and where they do not.

    python benchmarks/agents.py runs/agents                    # everything; goes on where it stopped
    python benchmarks/agents.py runs/agents --part 1/2         # every second run, for two processes
    python benchmarks/agents.py runs/agents --table            # only the tables, from the runs that are there

The agent is `tiny-agent-weak` (right in three of ten clicks, whatever the layout), the data are the screens that come
with the package: nine of ten elements lie in their habitual places in training, validation and test_habitual, none in
test_shuffled. Every method's option is chosen on the validation split of seed 0, which is habitual, too: among those
within `TOLERANCE` of the best the one whose answers rest most on their targets (reliance on the same tasks). Cost:
processor seconds of training against those of plain fine-tuning, which `sft_longer` does for half as many steps more.
"""

import argparse
import json
import os
import time
from functools import cache
from pathlib import Path

import torch

from wherenot.data import load_dataset
from wherenot.gui.clicks import prepare_click, read_chosen, reliance
from wherenot.gui.penalties import strongest_regions
from wherenot.metrics import over_seeds, pointing_coverage
from wherenot.models import load_vlm
from wherenot.scoring import evaluating
from wherenot.search import Exact
from wherenot.train.agents.config import AgentMethodConfig, AgentOptimizationConfig, AgentTrainConfig
from wherenot.train.agents.training import train_agent
from wherenot.train.agents.validation import click_summary, validated

BASE = "tiny-agent-weak"
SEEDS = range(3)
STEPS = 300
TOLERANCE = 0.02
TESTS = ("test_habitual", "test_shuffled")
POINTED = 32  # tasks of test_shuffled whose evidence is searched
METHODS = {  # name of the row: method, its options, the option that is tuned and its values, steps
    "sft": ("sft", {}, None, (), STEPS),
    "sft_longer": ("sft", {}, None, (), 3 * STEPS // 2),
    "paper": ("paper", {}, "weight", (0.5, 2.0), STEPS),
    "necessity": ("necessity", {}, "weight", (0.5, 2.0), STEPS),
    "necessity_log": ("necessity", {"form": "log"}, "weight", (0.25, 1.0), STEPS),
    "paste": ("paste", {}, "weight", (0.5, 2.0), STEPS),
    "random_regions": ("random_regions", {}, "weight", (0.5, 2.0), STEPS),
    "swap": ("swap", {}, "share", (0.5, 0.75), STEPS),
    "rearrange": ("rearrange", {}, "share", (0.5, 0.75), STEPS),
}


@cache
def dataset():
    return load_dataset("screens")


def samples(split, count=None):
    return list(dataset().split(split).samples)[:count]


def measure(folder, row, seed, value=None):
    """Train one configuration and measure it; what is done already is not done again."""
    done = folder / "measured.json"
    if done.is_file():
        return json.loads(done.read_text())
    found, model = {}, BASE
    if row != "base":
        method, options, tuned, _, steps = METHODS[row]
        chosen = {**options, **({} if value is None else {tuned: value})}
        plan = AgentOptimizationConfig(
            steps=steps, batch_size=32, accumulation=1, tasks_per_screen=8, learning_rate=2e-3, save_every=10 * steps
        )
        config = AgentTrainConfig(
            data="screens", model=BASE, seed=seed, max_tokens=24, optimization=plan,
            method=AgentMethodConfig(name=method, **chosen),
        )  # fmt: skip
        started = time.process_time()
        model = str(train_agent(config, folder / "train", dataset=dataset(), quiet=True) / "model")
        found["cpu_seconds"] = time.process_time() - started
        found["validation"] = json.loads((folder / "train" / "metrics.json").read_text())["validation"]["correct"]
        found["resumed"] = json.loads((folder / "train" / "run.json").read_text())["resumed"]
    vlm = load_vlm(model)
    found["reliance"] = relied(vlm, samples("validation"))
    for split in TESTS:
        found[split] = click_summary(validated(vlm, samples(split), max_side=1120, max_tokens=24))["correct"]
    found["reliance_shuffled"] = relied(vlm, samples("test_shuffled"))
    found["pointing_shuffled"] = pointed(vlm, samples("test_shuffled", POINTED))
    part = done.with_suffix(".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(json.dumps(found))
    part.replace(done)
    return found


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
            hits += bool(pointing_coverage(torch.from_numpy(click.labels == top)[None], click_target(click)))
    return hits / len(tasks)


def click_target(click):
    return torch.from_numpy(click.target)[None]


def choose(out, row):
    """The value of a method's option; None while runs are missing."""
    found = {value: read(out / "grid" / f"{row}-{value:g}") for value in METHODS[row][3]}
    if not all(found.values()):
        return None
    best = max(each["validation"] for each in found.values())
    within = [value for value, each in found.items() if each["validation"] >= best - TOLERANCE]
    return max(within, key=lambda value: found[value]["reliance"])


def jobs(out, rows, seeds):
    """Folder and arguments of each run, in the order in which they are wanted."""
    yield out / "base" / "0", ("base", 0)
    for row in rows:
        for value in METHODS[row][3]:
            yield out / "grid" / f"{row}-{value:g}", (row, 0, value)
    for seed in seeds:
        for row in rows:
            if seed or not METHODS[row][3]:
                yield out / row / f"{seed}", (row, seed)


def found_of(out, row, seed):
    """What a run measured; that of seed 0 is the chosen one of the grid."""
    if seed or row == "base" or not METHODS[row][3]:
        return read(out / row / f"{seed}")
    value = choose(out, row)
    return None if value is None else read(out / "grid" / f"{row}-{value:g}")


def run(out, planned, part, parts):
    """Do this process's share; a run whose option is not chosen yet waits for the others."""
    for number, (folder, arguments) in enumerate(planned):
        if number % parts != part or read(folder):
            continue
        row, seed, *value = arguments
        if not value and row != "base" and METHODS[row][3]:
            while (chosen := choose(out, row)) is None:
                time.sleep(20)
            value = [chosen]
        found = measure(folder, row, seed, *value)
        print(time.strftime("%H:%M"), *folder.parts[-2:], found, flush=True)


def read(folder):
    file = folder / "measured.json"
    return json.loads(file.read_text()) if file.is_file() else None


def table(out, seeds):
    """Mean and 95 % t-interval over seeds, and paired differences from plain fine-tuning for longer."""
    lines = ["| method | option | value | validation | reliance, validation | chosen |", "|---" * 6 + "|"]
    for row, (_, _, option, values, _) in METHODS.items():
        for value in values:
            if each := read(out / "grid" / f"{row}-{value:g}"):
                mark = "x" if choose(out, row) == value else ""
                lines.append(
                    f"| {row} | {option} | {value:g} | {each['validation']:.3f} | {each['reliance']:.3f} | {mark} |"
                )
    columns = (*TESTS, "reliance_shuffled", "pointing_shuffled")
    lines += ["", f"| method | {' | '.join(columns)} | shuffled - sft_longer | cost |", "|---" * 7 + "|"]
    for row in ("base", *METHODS):
        found = [found_of(out, row, seed) for seed in ([0] if row == "base" else seeds)]
        if not any(found):
            continue
        cells = [interval([each[column] for each in found if each]) for column in columns]
        pairs = [(mine, found_of(out, "sft_longer", seed)) for seed, mine in zip(seeds, found, strict=False)]
        ahead = [mine["test_shuffled"] - longer["test_shuffled"] for mine, longer in pairs if mine and longer]
        costs = [
            mine["cpu_seconds"] / plain["cpu_seconds"]
            for mine, plain in zip(found, [found_of(out, "sft", seed) for seed in seeds], strict=False)
            if mine and plain and "cpu_seconds" in mine and not (mine["resumed"] or plain["resumed"])
        ]
        count = sum(each is not None for each in found)
        name = row if count == len(seeds) or row == "base" else f"{row} ({count} seeds)"
        cost = f"{sum(costs) / len(costs):.2f}x" if costs else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {interval(ahead) if row != 'base' else ''} | {cost} |")
    (out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


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
    parser.add_argument("--part", default="1/1", help="such as 2/3: the second of three processes")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if not options.table:
        part, parts = (int(number) for number in options.part.split("/"))
        run(options.out, list(jobs(options.out, options.methods, options.seeds)), part - 1, parts)
    table(options.out, options.seeds)


if __name__ == "__main__":
    main()
