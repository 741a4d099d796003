from dataclasses import replace
from itertools import product
from typing import get_args

import pytest

from report_runs import record, row
from wherenot.experiments import advice
from wherenot.experiments.advice import TABLE, Facts, advice_text, advise, facts_of, obstacles
from wherenot.report.runs import Metric, Record, Run
from wherenot.train.config import MethodName

FACTS = Facts(name="a", searched=200, priors_frac=1.0, pointing=0.6, confident=0.9, worst_gap=None)


def run_of(records, metrics=()):
    return Run(
        name="mine", records=tuple(Record(**each) for each in records), metrics=tuple(Metric(**m) for m in metrics)
    )


def test_the_table_is_whole_and_says_what_it_stands_on():
    cases = product(get_args(advice.Priors), (False, True), get_args(advice.Context))
    assert sorted((line.priors, line.few, line.context) for line in TABLE) == sorted(cases)
    for line in TABLE:
        assert set(line.methods) <= set(get_args(MethodName))
        assert line.source.startswith(("provisional", "measured"))
        assert line.because
    measured = [(line.priors, line.few, line.context) for line in TABLE if line.source.startswith("measured")]
    assert measured == [("exact", True, "spurious"), ("rough", False, "spurious")]


def test_facts_by_hand():
    records = [record(str(i), hit=i < 30, correct=i < 90) for i in range(100)]
    records[95] |= {"true": records[95]["true"] | {"pointing_coverage@0.2": None}}  # no prior
    records[96] |= {"searched": False, "true": None}
    records[97] |= {"error": "no image", "true": None, "correct": None}
    for i in range(50):
        records[i] |= {"p_label": 0.6}
    found = facts_of(run_of(records))
    assert found.searched == 98
    assert found.priors_frac == pytest.approx(97 / 98)
    assert found.pointing == pytest.approx(30 / 97)
    assert found.confident == pytest.approx(40 / 99)
    assert (found.worst_gap, found.context) == (None, None)


def test_groups_tell_whether_the_context_misleads():
    within = [row("top1", 0.9), row("worst_group", 0.75)]
    found = facts_of(run_of([record("a")], within))
    assert (found.worst_gap, found.context) == (pytest.approx(0.15), "spurious")
    # groups that never meet in one split are compared across splits
    apart = [record(str(i), split="aligned", group="aligned") for i in range(30)]
    apart += [record(str(i), split="conflicting", group="conflicting", correct=i < 15) for i in range(30)]
    assert facts_of(run_of(apart)).worst_gap == pytest.approx(0.5)
    assert facts_of(run_of(apart[:40])).worst_gap is None  # ten images are no rate
    alike = facts_of(run_of([record("a")], [row("top1", 0.9), row("worst_group", 0.85)]))
    assert alike.context is None


def test_what_is_known_narrows_the_advice():
    assert len(advise(FACTS)) == 6
    assert [line.priors for line in advise(FACTS, context="spurious")] == ["exact", "rough", "wrong"]
    [line] = advise(FACTS, priors="wrong", context="spurious")
    assert (line.few, line.methods[0]) == (False, "log")
    [few] = advise(FACTS, priors="exact", priors_frac=0.1, context="spurious")
    assert few.few
    [groups] = advise(replace(FACTS, worst_gap=0.3), priors="exact")
    assert groups.context == "spurious"
    [told] = advise(replace(FACTS, worst_gap=0.3), priors="exact", context="informative")
    assert told.context == "informative"
    with pytest.raises(ValueError, match="share in"):
        advise(FACTS, priors_frac=2.0)


def test_obstacles():
    assert obstacles(FACTS, 1.0) == []
    assert "no image has a prior" in obstacles(FACTS, 0.0)[0]
    assert "already lies on the prior in 95%" in obstacles(replace(FACTS, pointing=0.95), 1.0)[0]
    assert obstacles(replace(FACTS, pointing=0.95, worst_gap=0.4), 1.0) == []  # it still misleads somewhere
    assert "only 20% of the images" in obstacles(replace(FACTS, confident=0.2), 1.0)[0]


def test_the_text_says_all_of_it():
    few = run_of([record(str(i), hit=False) for i in range(10)])
    text = advice_text([few], priors="wrong", priors_frac=None, context="informative")
    assert "mine: 10 images searched, 100% with a prior; strongest evidence on it in 0%" in text
    assert "too little to go by" in text
    assert "With wrong priors, informative context: alignment will not help" in text
    assert "provisional" in text
    assert "--priors and --context" in advice_text([few], priors=None, priors_frac=None, context=None)
    none = advice_text([few], priors="exact", priors_frac=0.0, context="spurious")
    assert "nothing to align with" in none
    assert "try " not in none


def test_an_audit_without_images_is_refused():
    for records in ([], [record("a", searched=False, true=None)]):
        with pytest.raises(ValueError, match="searched the evidence of no image"):
            facts_of(run_of(records))
