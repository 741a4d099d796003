import re

import numpy as np
import pytest
import torch
from PIL import Image

from vlms import QUARTERS, RuleVlm, quarters_evidence, quarters_image
from wherenot.correction import correct_hallucination
from wherenot.explain_generation import explain_generation
from wherenot.metrics import answer_agrees
from wherenot.models.tiny_vlms import tiny_vlm
from wherenot.models.vlm import VisionLanguageModel
from wherenot.regions import Grid


def misled_by(*quarters):
    return RuleVlm(lambda seen: "Yes, a cat." if seen & set(quarters) else "No, none.")


def test_regions_go_from_the_end_of_the_order_until_the_answer_is_right():
    vlm = misled_by(3)
    asked = []
    found = correct_hallucination(
        vlm, quarters_image(), quarters_evidence([2, 3, 0, 1]), label="No", on_answer=asked.append
    )
    assert vlm.seen == [{0, 1, 2, 3}, {0, 2, 3}, {2, 3}, {2}]
    assert found.answers == ("No, none.", "Yes, a cat.", "Yes, a cat.", "Yes, a cat.")
    assert found.answer == "No, none."
    assert found.removed_area == 0.75
    assert found.removed_regions == (1, 0, 3)
    assert np.array_equal(found.removed, QUARTERS != 2)
    assert found.areas.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert asked == [1, 1, 1, 1]


def test_it_stops_at_the_first_right_answer_unless_the_whole_curve_is_wanted():
    def rule(seen):
        return {4: "Yes", 3: "No.", 2: "Yes", 1: "No!"}[len(seen)]

    image, order = quarters_image(), quarters_evidence([0, 1, 2, 3])
    short, whole = RuleVlm(rule), RuleVlm(rule)
    one = correct_hallucination(short, image, order, label="no")
    two = correct_hallucination(whole, image, order, label="no", whole_curve=True)
    assert (len(short.seen), len(whole.seen)) == (2, 4)
    assert one.answers == (None, None, "No.", "Yes")
    assert two.answers == ("No!", "Yes", "No.", "Yes")
    assert one.removed_area == two.removed_area == 0.25
    assert one.removed_regions == two.removed_regions == (3,)
    assert one.answer == two.answer == "No."


def test_an_answer_that_nothing_corrects_and_one_that_needs_nothing():
    image, order = quarters_image(), quarters_evidence([0, 1, 2, 3])
    never = correct_hallucination(RuleVlm(lambda seen: "Yes"), image, order, label="No")
    assert (never.removed_area, never.removed_regions, never.answer) == (None, None, None)
    assert not never.removed.any()
    assert never.answers == ("Yes",) * 4
    already = correct_hallucination(RuleVlm(lambda seen: "No"), image, order, label="No")
    assert (already.removed_area, already.removed_regions, already.answer) == (0.0, (), "No")
    assert not already.removed.any()
    assert already.answers == (None, None, None, "No")


def test_a_model_that_says_nothing_is_not_right():
    silent = correct_hallucination(RuleVlm(lambda seen: ""), quarters_image(), quarters_evidence([0, 1]), label="No")
    assert silent.answers == ("", "", "")


def test_regions_without_a_rank_are_hidden_together_and_first():
    vlm = misled_by(1, 3)
    found = correct_hallucination(vlm, quarters_image(), quarters_evidence([2, 1]), label="No")
    assert vlm.seen == [{0, 1, 2, 3}, {1, 2}, {2}]
    assert found.areas.tolist() == [0.25, 0.5, 1.0]
    assert found.removed_area == 0.75
    assert found.removed_regions == (0, 3, 1)
    partly = correct_hallucination(misled_by(3), quarters_image(), quarters_evidence([2, 1]), label="No")
    assert (partly.removed_area, partly.removed_regions) == (0.5, (0, 3))


def test_hidden_regions_show_what_they_showed_in_the_search():
    vlm = RuleVlm(lambda seen: "Yes")
    correct_hallucination(vlm, quarters_image(), quarters_evidence([0, 1, 2, 3], fill="mean"), label="No")
    assert vlm.seen == [{0, 1, 2, 3}] * 4  # nothing is black


def test_the_model_is_asked_in_eval_mode_and_left_as_it_was():
    vlm = misled_by(0)
    vlm.model.train()
    correct_hallucination(vlm, quarters_image(), quarters_evidence([0, 1, 2, 3]), label="No")
    assert vlm.modes == [False] * 4
    assert vlm.model.training


def test_what_does_not_fit_is_refused():
    order = quarters_evidence([0, 1, 2, 3])
    with pytest.raises(ValueError, match="label map of shape"):
        correct_hallucination(misled_by(0), Image.new("RGB", (90, 60)), order, label="No")
    with pytest.raises(ValueError, match="has no word"):
        correct_hallucination(misled_by(0), quarters_image(), order, label="?")


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "internvl"])
def test_a_real_model_along_its_own_order(family):
    vlm = VisionLanguageModel(*tiny_vlm(family))
    noise = torch.randint(0, 256, (70, 110, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    image = Image.fromarray(noise.numpy())
    found = explain_generation(vlm, image, "Is there a cat?", tokens="0:2", regions=Grid(2, 3), max_tokens=3)
    whole = correct_hallucination(vlm, image, found, label="No", whole_curve=True, max_tokens=3)
    assert whole.answers[-1] == found.answer
    labels = [said for said in whole.answers if re.search(r"\w", said) and not answer_agrees(found.answer, said)]
    assert labels, whole.answers
    for label in labels:
        short = correct_hallucination(vlm, image, found, label=label, max_tokens=3)
        hidden = len(short.removed_regions)
        assert hidden > 0
        assert short.answers[-1 - hidden] == whole.answers[-1 - hidden] == short.answer
        assert not any(answer_agrees(said, label) for said in whole.answers[len(whole.answers) - hidden :])
        assert short.removed.mean() == pytest.approx(short.removed_area)
