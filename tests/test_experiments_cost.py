from dataclasses import replace
from pathlib import Path

import pytest

from study_runs import finish, trial
from wherenot.audit import AuditConfig
from wherenot.data import decoy, write_folder
from wherenot.experiments.cost import (
    KNOWN_SIZES,
    Sizes,
    audit_work,
    forwards_per_second,
    method_work,
    plan_lines,
    sizes_of,
    train_work,
)
from wherenot.experiments.trials import Trial
from wherenot.experiments.writing import plan_markdown
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig

SIZES = Sizes(train=100, validation=10, test=50)
PLAN = OptimizationConfig(epochs=3, batch_size=32)  # 4 steps an epoch, 12 in all


def made(**audit):
    plain = TrainConfig(optimization=PLAN, method=MethodConfig(name="finetune"))
    return Trial(train=plain, audit=AuditConfig(**{"noise": (), **audit}))


def test_training_by_hand():
    work = train_work(made(), SIZES)
    assert (work.forwards, work.backwards) == (3 * 110, 3 * 100)
    assert work.units == 330 + 2 * 300


def test_penalties_on_maps_act_on_whole_batches():
    work = method_work(MethodConfig(name="xil", interval=5), steps=12, batch_size=32)
    assert (work.forwards, work.backwards) == (2 * 32, 3 * 2 * 32)


def test_alignment_by_hand():
    # 12 // 5 = 2 acting steps of at most 16 images; 4 regions, 2 deep: exact reads 2 * (4 + 3), then 2 prefixes twice
    settings = {"interval": 5, "max_images": 16, "partition": "grid:2x2", "max_regions": 2}
    work = method_work(MethodConfig(name="paper", **settings), steps=12, batch_size=32)
    assert work.forwards == 2 * 16 * (14 + 4)
    assert work.backwards == 2 * 16 * 4
    assert method_work(MethodConfig(name="log", **settings, search="exact"), steps=12, batch_size=32) == work
    capped = method_work(MethodConfig(name="paper", **{**settings, "max_images": None}), steps=12, batch_size=32)
    assert capped.forwards == pytest.approx(2 * 32 * 0.7 * 18)
    deep = method_work(MethodConfig(name="paper", **{**settings, "max_regions": 10}), steps=12, batch_size=32)
    assert deep.forwards == 2 * 16 * (2 * (4 + 3 + 2 + 1) + 2 * 4)  # there are but four regions


def test_controls_cost_a_pair():
    work = method_work(MethodConfig(name="counterfactual", interval=1, max_images=2), steps=3, batch_size=8)
    assert (work.forwards, work.backwards) == (12, 12)


def test_audit_by_hand():
    assert audit_work(made(max_images=0, noise=(0.1, 0.2), corruptions=("jpeg:1",)), SIZES).forwards == 50 * 4
    # all four regions in order: 2 * (4 + 3 + 2 + 1) = 20 per class, 1.3 classes
    assert audit_work(made(max_images=10, partition="grid:2x2"), SIZES).forwards == pytest.approx(50 + 10 * 1.3 * 20)
    three = replace(SIZES, test=60, test_splits=3)
    assert audit_work(made(max_images=10, partition="grid:2x2"), three).forwards == pytest.approx(60 + 30 * 1.3 * 20)
    only = made(max_images=0, splits=("validation",))
    assert audit_work(only, SIZES).forwards == 10


def test_sizes_are_counted_or_known(tmp_path):
    write_folder(decoy(0, num_train=40, num_validation=10, num_test=8), tmp_path / "digits")
    folder = str(tmp_path / "digits")
    assert sizes_of(Trial(train=TrainConfig(data=folder), audit=AuditConfig())) == Sizes(
        train=40, validation=10, test=24, test_splits=3
    )
    few = TrainConfig(data=folder, images_per_split=5)
    assert sizes_of(Trial(train=few, audit=AuditConfig(splits=("test_swapped",)))) == Sizes(
        train=5, validation=5, test=5
    )
    known = sizes_of(Trial(train=TrainConfig(data="imagenet-s919"), audit=AuditConfig()))
    assert known == Sizes(train=9190 - 919, validation=919, test=12419)
    with pytest.raises(ValueError, match="not at hand"):
        sizes_of(Trial(train=TrainConfig(data="unheard/of"), audit=AuditConfig()))


def test_speed_comes_from_operations_or_is_asked_for():
    assert forwards_per_second("openai/clip-vit-large-patch14", 162.0) == pytest.approx(1000)
    assert forwards_per_second("small-cnn", 40.0) == 20_000
    with pytest.raises(ValueError, match="--forwards-per-second"):
        forwards_per_second("mystery-net", 40.0)


def test_a_plan_counts_what_is_left_and_pays_for_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setitem(KNOWN_SIZES, "pets", SIZES)
    first, second, other = trial(seed=0), trial(seed=1), trial(seed=1, max_images=0)
    lines = plan_lines([("a", (first, second)), ("b", (second, other)), ("c", (first,))], tmp_path, lambda _: 1.0)
    assert [(line.label, line.trials, line.finished) for line in lines] == [("a", 2, 0), ("b", 1, 0)]
    training = train_work(first, replace(SIZES, train=90)).units / 3600  # a tenth is held out
    assert [line.train_hours for line in lines] == pytest.approx([2 * training, 0.0])
    assert lines[1].audit_hours == pytest.approx(50 / 3600)
    finish(first, tmp_path, {("test", "top1"): 0.5})
    [left] = plan_lines([("a", (first, second))], tmp_path, lambda _: 2.0)
    assert (left.finished, left.train_hours) == (1, pytest.approx(training / 2))
    text = plan_markdown([left], tflops=40.0, measured=2.0, dollars_per_hour=3.0)
    assert f"${3 * left.hours:.2f}" in text
    assert "1 trials to run" in text
    assert "2 forwards a second, as given" in text


def test_the_plan_of_the_papers_table_needs_no_data():
    from wherenot.experiments.reproduce import plan
    from wherenot.experiments.studies import StudyOptions

    models = ("openai/clip-vit-large-patch14", "google/vit-base-patch16-224", "microsoft/resnet-101")
    options = StudyOptions(data=("saliency-bench", "imagenet-s919"), models=models)
    lines = plan("table1", options, Path("nowhere"), tflops=40.0, grid=(0.1, 1.0, 10.0))
    assert sum(line.trials for line in lines) == 2 * 3 * (5 * 3 + 4 * 3)
    assert all(line.hours > 0 for line in lines)
