from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from wherenot.audit import AuditConfig
from wherenot.experiments import decoy
from wherenot.experiments.agents import AgentStudy
from wherenot.experiments.recipes import RECIPES
from wherenot.experiments.settings import ours, train_config
from wherenot.experiments.studies import StudyName, StudyOptions, change, parse_sweep, study_rows
from wherenot.experiments.trials import Trial, parse_trial
from wherenot.train.config import MethodConfig, MethodName, TrainConfig

ROOT = Path("out")


def rows(study, **options):
    weights = options.pop("weights", {})
    return study_rows(study, StudyOptions(**options), weights)


def test_table1_puts_the_baselines_before_the_method_of_the_preset():
    found = rows("table1", data=("decoy", "photos"), models=("small-cnn", "small-vit"), preset="paper-tables")
    assert [row.label for row in found[:5]] == ["finetune", "rrr", "xil", "megl", "paper-tables"]
    assert len(found) == 2 * 2 * 5
    assert {len(row.trials) for row in found} == {3}
    assert [trial.train.seed for trial in found[0].trials] == [0, 1, 2]
    assert {row.trials[0].audit.partition for row in found if row.data == "photos"} == {"slico:50"}


def test_table2_takes_the_losses_away_one_by_one():
    plain, alone, both = (row.trials[0].train.method for row in rows("table2", data=("photos",), models=("vit",)))
    assert plain == MethodConfig(name="finetune")
    assert (alone.name, alone.weight, alone.redundancy_weight) == ("paper", 0.5, 0.0)
    assert (both.name, both.weight, both.redundancy_weight) == ("paper", 0.5, None)


def test_table3_asks_for_answers_only():
    found = rows("table3", noise=(0.1,), corruptions=("jpeg:3",))
    assert [row.label for row in found] == ["finetune", "paper"]
    audit = found[0].trials[0].audit
    assert (audit.max_images, audit.noise, audit.corruptions) == (0, (0.1,), ("jpeg:3",))


def test_figure2_needs_one_seed():
    assert {len(row.trials) for row in rows("fig2", seeds=(4, 5))} == {1}
    assert {row.trials[0].train.seed for row in rows("fig2", seeds=(4, 5))} == {4}


def test_figure3_changes_one_option_at_a_time():
    found = rows("fig3", data=("photos",), sweeps=("interval=1,7", "weight=2", "partition=slico:25"))
    assert [(row.label, row.swept) for row in found] == [
        ("finetune", None),
        ("interval=1", ("interval", 1)),
        ("interval=7", ("interval", 7)),
        ("weight=2", ("weight", 2.0)),
        ("partition=slico:25", ("partition", "slico:25")),
    ]
    base = RECIPES["paper/resnet"].method
    assert found[2].trials[0].train.method == replace(base, interval=7)
    # lambda 1 alone: lambda 2 stays where it was
    assert found[3].trials[0].train.method == replace(base, weight=2.0, redundancy_weight=0.5)
    assert {row.trials[0].audit.partition for row in found} == {"slico:50"}  # evidence is always measured alike


def test_chosen_weights_take_the_place_of_a_methods_own():
    weights = {("decoy", "small-cnn", "rrr"): 7.0}
    found = {row.label: row.trials[0].train.method.weight for row in rows("table1", weights=weights)}
    assert (found["rrr"], found["megl"]) == (7.0, decoy.decoy_config("megl").method.weight)


def test_changes_reach_the_methods_that_know_them():
    found = rows("table1", methods=("finetune", "rrr", "paper"), changes=("optimization.epochs=1", "method.tau=0.4"))
    assert {row.trials[0].train.optimization.epochs for row in found} == {1}
    assert [row.trials[0].train.method.tau for row in found] == [None, None, 0.4]
    with pytest.raises(ValueError, match=r"method\.tau: no method of table1 has that option"):
        rows("table1", methods=("finetune", "rrr"), changes=("method.tau=0.4",))


def test_what_a_study_varies_is_not_undone_by_changes():
    changes = ("method.interval=9", "method.weight=3", "method.redundancy_weight=4")
    sweep = rows("fig3", sweeps=("interval=1,7", "weight=2"), changes=changes)
    found = [(row.trials[0].train.method.interval, row.trials[0].train.method.weight) for row in sweep[1:]]
    assert found == [(1, 3.0), (7, 3.0), (9, 2.0)]
    assert [row.trials[0].train.method.redundancy_weight for row in rows("table2", changes=changes)] == [None, 0.0, 4.0]
    weights = {("decoy", "small-cnn", "rrr"): 7.0}
    found = {row.label: row.trials[0].train.method.weight for row in rows("table1", weights=weights, changes=changes)}
    assert (found["rrr"], found["xil"]) == (7.0, 3.0)


def test_imagenet_s_is_audited_where_it_has_masks():
    found = {
        row.data: row.trials[0].audit.splits for row in rows("table1", data=("imagenet-s50:x", "saliency-bench:x"))
    }
    assert found == {"imagenet-s50:x": ("test",), "saliency-bench:x": ()}
    assert rows("table1", data=("imagenet-s50:x",), splits=("train",))[0].trials[0].audit.splits == ("train",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimization.epochs", "write KEY=VALUE"),
        ("seed=3", "have flags of their own"),
        ("method.name=log", "have flags of their own"),
        ("optimization.epoch=1", "no such key"),
        ("optimisation.epochs=1", "no such key"),
        ("optimization.epochs=many", "optimization.epochs"),
        ("method.temperature=1", "method has no key temperature"),
    ],
)
def test_changes_that_cannot_be_made_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        change(TrainConfig(), [text])


@pytest.mark.parametrize("text", ["speed=1", "interval=", "interval=x", "weight=1,,2"])
def test_sweeps_that_cannot_be_read_are_refused(text):
    with pytest.raises(ValueError, match="--sweep"):
        parse_sweep(text)


@pytest.mark.parametrize("study", ["table2", "fig3"])
@pytest.mark.parametrize("methods", [("finetune",), ("rrr",), ("paper", "log")])
def test_studies_of_one_method_take_no_other(study, methods):
    with pytest.raises(ValueError, match="takes one alignment method apart"):
        rows(study, methods=methods)


@pytest.mark.parametrize("options", [{"seeds": ()}, {"seeds": (1, 1)}, {"models": ("a", "a")}, {"data": ()}])
def test_nothing_or_the_same_twice_is_refused(options):
    with pytest.raises(ValueError, match="name at least one, each once"):
        StudyOptions(**options)


def test_a_preset_whose_method_is_missing_is_refused_and_any_other_works(monkeypatch):
    for preset in ("paper", "paper-tables", "wherenot"):
        if preset in get_args(MethodName):
            assert ours(preset) == preset
        else:
            with pytest.raises(ValueError, match="no method of that name"):
                ours(preset)


def test_settings_follow_data_model_and_preset():
    vit = "google/vit-base-patch16-224"
    paper = train_config("saliency-bench:x", vit, "paper", "paper")
    assert (paper.optimization.epochs, paper.optimization.schedule, paper.method.interval) == (20, "constant", 10)
    assert train_config("imagenet-s919:x", vit, "rrr", "paper").optimization.epochs == 10
    tables = train_config("imagenet-s919:x", "microsoft/resnet-101", "paper-tables", "paper-tables")
    assert (tables.method.interval, tables.optimization.batch_size) == (21, 32)
    elsewhere = train_config("photos", "/data/vit-runs/resnet-101/", "finetune", "paper")
    assert elsewhere.optimization == train_config("photos", "microsoft/resnet-101", "finetune", "paper").optimization
    # every method of one table has the same schedule
    for method in get_args(MethodName):
        assert train_config("photos", vit, method, "paper").optimization == paper.optimization
        assert train_config("decoy", "small-cnn", method, "paper").method.name == method
    assert train_config("decoy", "small-cnn", "log", "paper") == decoy.decoy_config("log")


def test_a_trial_is_where_its_settings_say_and_nowhere_else():
    trial = Trial(train=TrainConfig(seed=1), audit=AuditConfig())
    other_seed = replace(trial, train=TrainConfig(seed=2))
    other_weight = replace(trial, train=TrainConfig(seed=1, method=MethodConfig(name="rrr", weight=2.0)))
    other_audit = replace(trial, audit=AuditConfig(seed=9))
    assert trial.folder(ROOT).parent == other_seed.folder(ROOT).parent
    assert trial.folder(ROOT) != other_seed.folder(ROOT)
    assert trial.folder(ROOT).parent != other_weight.folder(ROOT).parent
    assert trial.train_folder(ROOT) == other_audit.train_folder(ROOT)
    assert trial.audit_folder(ROOT) != other_audit.audit_folder(ROOT)
    named = replace(trial, train=replace(trial.train, name="mine"))
    assert named.folder(ROOT) == trial.folder(ROOT)
    assert parse_trial(other_weight.content()) == other_weight


def test_studies_share_trials():
    shared = {"methods": ("finetune", "paper")}
    first = {trial for row in rows("table1", **shared) for trial in row.trials}
    second = {trial for row in rows("table2") for trial in row.trials}
    third = {trial.train_folder(ROOT) for row in rows("table3") for trial in row.trials}
    assert first < second
    assert third == {trial.train_folder(ROOT) for trial in first}


def test_every_study_has_rows():
    agents = {"data": ("gui:screens",), "models": ("agents/tiny",)}
    for study in get_args(StudyName):
        assert rows(study, **agents if study in get_args(AgentStudy) else {})
