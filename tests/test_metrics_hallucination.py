import math

import pytest
import torch

from golden_cases import GOLDEN
from wherenot.metrics import answer_agrees, correction_rate, mean_removed_area, removed_area

G19 = GOLDEN["G19_amcr"]
AREA = torch.tensor([0.2, 0.5, 0.8, 0.95, 1.0], dtype=torch.float64)
ANSWERS = (
    ["No", "No", "No", "No", "Yes"],
    ["No", "No", "Yes", "Yes", "Yes"],
    ["Yes", "Yes", "Yes", "Yes", "Yes"],
)


def removed(answers, label="No", area=AREA):
    return removed_area(area, torch.tensor([answer_agrees(answer, label) for answer in answers]))


def test_golden():
    per = [removed(answers) for answers in ANSWERS]
    assert per == [pytest.approx(0.05), pytest.approx(0.5), None]
    assert G19["per"] == [0.05, 0.5, None]
    assert mean_removed_area(per) == pytest.approx(G19["AMCR"], abs=1e-6)
    assert correction_rate(per, over="corrected") == G19["CSR10_official"]
    assert correction_rate(per) == pytest.approx(G19["CSR10_all"], abs=1e-6)


def test_the_scan_starts_at_the_whole_image():
    assert removed(["No", "Yes", "No", "Yes", "Yes"]) == pytest.approx(0.2)  # and not 0.8, the first prefix that does
    assert removed(["Yes", "Yes", "Yes", "Yes", "No"]) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_removed_area_matches_a_loop_over_the_official_rule(seed):
    generator = torch.Generator().manual_seed(seed)
    area = torch.rand(9, generator=generator, dtype=torch.float64).cumsum(0)
    area = area / area[-1]
    corrected = torch.rand(9, generator=generator) < 0.3
    axis, found = [0.0, *area.tolist()], None
    for k in range(1, 10):
        if found is None and corrected.tolist()[-k]:
            found = 1 - axis[-k]
    assert removed_area(area, corrected) == found


def test_rates_of_no_answers_and_of_failures():
    assert math.isnan(mean_removed_area([]))
    assert math.isnan(correction_rate([]))
    assert mean_removed_area([None, None]) == 1.0
    assert correction_rate([None, None]) == 0.0
    assert math.isnan(correction_rate([None, None], over="corrected"))
    assert correction_rate([0.1, 1 - 0.9, 0.11]) == pytest.approx(2 / 3)
    assert correction_rate([1 - 0.7], within=0.3) == 1.0


@pytest.mark.parametrize(
    ("answer", "label", "agrees"),
    [
        ("Yes.", "yes", True),
        ("  YES, it is", "Yes", True),
        ("Yesterday", "Yes", False),
        ("Nothing", "No", False),
        ("It is: no", "No", False),
        ("two dogs", "Two dogs", True),
        ("two", "two dogs", False),
        ("", "No", False),
        ("3.5 m", "3", False),
        ("3. Because", "3", True),
        ("-3", "3", False),
        ("a-3", "A", True),
        ("can't", "can", False),
        ("(b)", "(a)", False),
        ("\u00c4pfel", "\u00e4pfel", True),
    ],
)  # fmt: skip
def test_answers_that_agree(answer, label, agrees):
    assert answer_agrees(answer, label) is agrees


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ValueError, match=r"answer_agrees: the label '\?!' has no word"):
        answer_agrees("No", "?!")
    for share in (1.5, -0.5, math.nan):
        with pytest.raises(ValueError, match=f"mean_removed_area: {share} is no share"):
            mean_removed_area([1.0, 0.0, share])
        with pytest.raises(ValueError, match=f"correction_rate: {share} is no share"):
            correction_rate([None, share])
        with pytest.raises(ValueError, match=f"within={share}"):
            correction_rate([0.1], within=share)
    assert correction_rate([0.0, 0.5], within=0.0) == 0.5
    assert correction_rate([1.0, 0.5], within=1.0) == 1.0


def test_prefixes_that_end_before_the_whole_image_are_refused():
    right = torch.tensor([True, True])
    for area in ([0.5, 0.9], [0.9, 0.5], [0.0, 1.0], [0.5, math.nan], [0.5, 1.1], [-0.5, 1.0], [1.5, 1.0], [0.5, 2.0]):
        with pytest.raises(ValueError, match="do not rise to 1"):
            removed_area(torch.tensor(area), right)


def test_other_lengths_are_refused(unhooked):
    for count in (2, 6):
        with pytest.raises(ValueError, match=f"5 areas and {count} answers"):
            removed_area(AREA, torch.tensor([True] * count))
    with pytest.raises(ValueError, match="do not rise to 1"):
        removed_area(torch.zeros(0), torch.zeros(0, dtype=torch.bool))


def test_a_region_without_area_hides_nothing():
    assert removed_area(torch.tensor([0.5, 0.5, 1.0]), torch.tensor([True, False, False])) == 0.5
    assert removed_area(torch.tensor([1.0]), torch.tensor([True])) == 0.0
