import pytest
import torch

from fixed_records import assert_fixed
from wherenot.metrics import answer_faithfulness, area_axis, deletion_auc, highest_confidence, insertion_auc

TOKENS, STEPS = 3, 6


def curves(seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(1, 50, (STEPS,), generator=generator)
    values = torch.rand(2 * STEPS + 2, TOKENS, generator=generator, dtype=torch.float64)
    parts = dict(zip(("insertion", "deletion", "empty", "full"), values.split([STEPS, STEPS, 1, 1]), strict=True))
    return {
        **parts, "empty": parts["empty"][0], "full": parts["full"][0], "area": area_axis(pixels / pixels.sum()),
    }  # fmt: skip


@pytest.mark.parametrize("counted", [None, [True, False, True], [False, True, False]])
def test_measures_are_those_of_the_mean_token_by_token(counted):
    given = curves()
    kept = [0, 1, 2] if counted is None else [place for place in range(TOKENS) if counted[place]]
    found = answer_faithfulness(**given, counted=None if counted is None else torch.tensor(counted))
    assert found is not None

    def mean(name, step=None):
        rows = given[name] if step is None else given[name][step]
        return sum(float(rows[token]) for token in kept) / len(kept)

    revealed = torch.tensor([mean("insertion", step) for step in range(STEPS)], dtype=torch.float64)
    hidden = torch.tensor([mean("deletion", step) for step in range(STEPS)], dtype=torch.float64)
    assert found.insertion_auc == pytest.approx(insertion_auc(mean("empty"), revealed, given["area"]))
    assert found.deletion_auc == pytest.approx(deletion_auc(mean("full"), hidden, given["area"]))
    assert found.highest_confidence == pytest.approx(highest_confidence(mean("empty"), revealed))
    assert found.num_tokens == len(kept)


def test_the_area_of_a_mean_is_the_mean_of_areas_but_the_highest_is_not():
    given = curves(1)
    each = [answer_faithfulness(**given, counted=torch.eye(TOKENS, dtype=torch.bool)[token]) for token in range(TOKENS)]
    every = answer_faithfulness(**given)
    assert every.insertion_auc == pytest.approx(sum(one.insertion_auc for one in each) / TOKENS)
    assert every.deletion_auc == pytest.approx(sum(one.deletion_auc for one in each) / TOKENS)
    assert every.highest_confidence < sum(one.highest_confidence for one in each) / TOKENS - 1e-3


def test_measures_are_a_record():
    assert_fixed(answer_faithfulness(**curves()))


def test_no_token_has_no_mean():
    assert answer_faithfulness(**curves(), counted=torch.zeros(TOKENS, dtype=torch.bool)) is None


def test_other_shapes_and_short_orders_are_refused(unhooked):
    given = curves()
    with pytest.raises(ValueError, match=r"deletion \(6, 2\), empty \(3,\)"):
        answer_faithfulness(**{**given, "deletion": given["deletion"][:, :2]})
    with pytest.raises(ValueError, match=r"full \(1,\)"):
        answer_faithfulness(**{**given, "full": given["full"][:1]})
    for wrong in (
        {"deletion": given["deletion"][1:]},
        {"insertion": given["insertion"][1:]},
        {"insertion": given["insertion"][:, :2]},
        {"empty": given["empty"][:1], "full": given["full"][:1]},
        {"empty": torch.zeros(4), "full": torch.zeros(4)},
    ):
        with pytest.raises(ValueError, match="pass one column per token"):
            answer_faithfulness(**{**given, **wrong})
    with pytest.raises(ValueError, match=r"counted \(4,\) for 3 tokens"):
        answer_faithfulness(**given, counted=torch.tensor([True] * 4))
    with pytest.raises(ValueError, match=r"counted \(2,\) for 3 tokens"):
        answer_faithfulness(**given, counted=torch.tensor([True, True]))
    short = {**given, "area": given["area"] / 2}
    with pytest.raises(ValueError, match=r"covers 0\.5 of the image"):
        answer_faithfulness(**short)
