from dataclasses import replace

import pytest

from study_runs import finish
from wherenot.experiments.studies import StudyOptions, study_rows
from wherenot.experiments.weights import candidates, choose, tried, weights_markdown

KEY = ("pets", "small-cnn")


def rows(study="table1", **options):
    return study_rows(study, StudyOptions(data=("pets",), max_images=9, **options), {})


@pytest.fixture
def measured(tmp_path):
    """Every method's weights with made-up validation results; None leaves the trial unfinished."""

    def measure(accuracies, pointings, methods=("finetune", "rrr")):
        found = candidates(rows(methods=methods), (0.1, 1.0, 10.0))
        for candidate, accuracy, pointing in zip(found, accuracies, pointings, strict=True):
            if accuracy is not None:
                values = {("validation", "top1"): accuracy, ("validation", "pointing_coverage@0.2"): pointing}
                finish(candidate.trial, tmp_path, values)
        return tried(found, tmp_path)

    return measure


def test_every_method_tries_as_many_weights_on_validation_of_the_first_seed():
    found = candidates(rows(seeds=(4, 5)), (0.1, 1.0, 10.0))
    by_method = {}
    for candidate in found:
        by_method.setdefault(candidate.method, []).append(candidate.weight)
        assert candidate.trial.audit.splits == ("validation",)
        assert candidate.trial.audit.max_images == 9
        assert candidate.trial.train.seed == 4
        assert candidate.trial.train.method.weight == candidate.weight
    assert by_method == {
        "rrr": [0.01, 0.1, 1.0], "xil": [0.01, 0.1, 1.0], "megl": by_method["megl"], "paper": [0.05, 0.5, 5.0]
    }  # fmt: skip
    assert {len(weights) for weights in by_method.values()} == {3}


def test_the_weight_of_a_table_of_parts_is_chosen_for_the_whole():
    [one] = candidates(rows("table2"), (1.0,))
    assert one.trial.train.method.redundancy_weight is None


def test_pointing_decides_within_a_point_of_the_best_accuracy(measured):
    assert choose(measured((0.900, 0.892, 0.889), (0.1, 0.3, 0.9))) == {(*KEY, "rrr"): 0.1}


def test_exactly_a_point_is_within_a_point(measured):
    assert choose(measured((0.9, 0.5, 0.89), (0.1, 0.3, 0.9))) == {(*KEY, "rrr"): 1.0}


def test_of_equal_weights_the_first(measured):
    assert choose(measured((0.9, 0.9, 0.9), (0.5, 0.5, 0.5))) == {(*KEY, "rrr"): 0.01}


def test_without_evidence_accuracy_decides(measured):
    assert choose(measured((0.900, 0.905, 0.902), (None, None, None))) == {(*KEY, "rrr"): 0.1}


def test_what_did_not_finish_is_not_chosen_and_shown_as_missing(measured):
    results = measured((None, 0.7, None), (0, 0.2, 0))
    assert choose(results) == {(*KEY, "rrr"): 0.1}
    assert weights_markdown(results, choose(results)).count("| missing | missing |") == 2
    nothing = [replace(result, accuracy=None, pointing=None) for result in results]
    assert choose(nothing) == {}


def test_what_was_tried_and_chosen_is_written_down(measured):
    results = measured((0.900, 0.892, 0.889), (0.1, 0.3, 0.9))
    text = weights_markdown(results, choose(results))
    assert "| pets | small-cnn | rrr | 0.1 | 0.8920 | 0.3000 | x |" in text
    assert "| pets | small-cnn | rrr | 1 | 0.8890 | 0.9000 |  |" in text


@pytest.mark.parametrize("multiples", [(0.0,), (-1.0, 1.0), (1.0, 1.0), (float("inf"),)])
def test_multiples_are_positive_and_different(multiples):
    with pytest.raises(ValueError, match="positive numbers, each once"):
        candidates(rows(), multiples)
