"""Writes what finished trials leave behind without training anything, or runs trials in this process."""

import json

from record_files import write_records
from report_runs import row
from wherenot.audit import AuditConfig
from wherenot.experiments import pool
from wherenot.experiments.studies import Row
from wherenot.experiments.trials import Trial, run_trial
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig

AUDIT = AuditConfig(partition="grid:2x2", noise=())


def trial(method="finetune", seed=0, **changes):
    """A trial on data that do not exist."""
    plan = OptimizationConfig(batch_size=10)
    train = TrainConfig(data="pets", method=MethodConfig(name=method), optimization=plan, seed=seed)
    return Trial(train=train, audit=AuditConfig(**{"partition": "grid:2x2", "noise": (), **changes}))


def row_of(method, seeds=(0, 1, 2), **changes):
    """A row of a table: one method over seeds."""
    trials = tuple(trial(method, seed) for seed in seeds)
    return Row(**{"data": "pets", "model": "small-cnn", "label": method, "trials": trials, **changes})


def finish(trial, root, values, *, seconds=10.0, steps=(), resumed=False, validation=0.5, records=()):
    """Write the folders of a finished trial: metrics by (split, metric), and the training's steps."""
    trained, audited = trial.train_folder(root), trial.audit_folder(root)
    trained.mkdir(parents=True, exist_ok=True)
    audited.mkdir(parents=True, exist_ok=True)
    run = {"command": "train", "seconds": seconds, "steps": 20, "resumed": resumed}
    (trained / "run.json").write_text(json.dumps(run))
    (trained / "metrics.json").write_text(json.dumps({"validation": {"last": {"accuracy": validation}}}))
    (trained / "steps.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    (audited / "run.json").write_text(
        json.dumps({"command": "audit", "name": trial.train.title, "config": {}, "seed": 0})
    )
    rows = [row(metric, value, split=split) for (split, metric), value in values.items()]
    write_records(audited, records)
    (audited / "metrics.json").write_text(json.dumps({"rows": rows}))


def in_this_process(self, trial, root):
    """What a worker does, without a process of its own; takes the place of `pool._Worker.run`."""
    run_trial(trial, root)
    return pool.Ran(trial=trial, outcome="finished")
