import json
from dataclasses import replace

import numpy as np
import pytest

import reference
from golden_cases import GOLDEN
from wherenot.evidence import Evidence
from wherenot.objective import EVALUATION, TRAINING, Objective

GREEDY = GOLDEN["G07_greedy"]
LABELS = np.array([[0, 1, 1], [2, 2, 2], [3, 3, 3]])


def golden_evidence(objective=EVALUATION, ranks=4):
    def value(insertion, deletion):
        return reference.objective_value(insertion, deletion, objective.insertion, objective.deletion)

    insertion, deletion = GREEDY["ins"][:ranks], GREEDY["dele"][:ranks]
    return Evidence(
        values=np.array([value(*pair) for pair in zip(insertion, deletion, strict=True)]),
        empty_value=value(GREEDY["p_empty"], GREEDY["p_full"]),
        full_value=value(GREEDY["p_full"], GREEDY["p_empty"]),
        labels=LABELS,
        order=np.array(GREEDY["order21"][:ranks]),
        insertion=np.array(GREEDY["ins"][:ranks]),
        deletion=np.array(GREEDY["dele"][:ranks]),
        empty=GREEDY["p_empty"],
        full=GREEDY["p_full"],
        target=0,
        objective=objective,
        forwards=22,
        search="exact",
        fill="mean",
    )


def by_region(evidence):
    return [evidence.map()[evidence.labels == region][0] for region in range(4)]


def test_map_golden():
    case = GOLDEN["G09_attr_map"]
    evidence = golden_evidence()
    assert evidence.empty_value == pytest.approx(case["F_empty"], abs=2e-6)
    assert evidence.values.tolist() == pytest.approx(case["F"], abs=2e-6)
    assert by_region(evidence) == pytest.approx(case["map_by_region"], abs=5e-6)


def test_map_with_other_weights_uses_their_own_base():
    # X09: base = F(empty) for a = 2, b = 1
    evidence = golden_evidence(TRAINING)
    assert evidence.empty_value == pytest.approx(GREEDY["F_empty21"], abs=2e-6)
    values = -np.cumsum(np.abs(evidence.gains))
    assert values.tolist() == pytest.approx([-1.130867, -1.930458, -2.140254, -2.216654], abs=5e-6)
    ranked = [by_region(evidence)[region] for region in evidence.order]
    assert ranked == pytest.approx([1.0, 0.263583, 0.070364, 0.0], abs=5e-6)


def test_gains_golden():
    gains = golden_evidence(TRAINING).gains / TRAINING.maximum
    assert gains.tolist() == pytest.approx(GREEDY["gains_norm21_correct_base"], abs=2e-6)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("objective", [EVALUATION, TRAINING, Objective(0.0, 1.0)])
def test_map_against_the_slow_reference(ranks, objective):
    evidence = golden_evidence(objective, ranks)
    full_value = reference.objective_value(evidence.full, evidence.empty, objective.insertion, objective.deletion)
    slow = reference.attribution_map(LABELS, evidence.order, evidence.values, evidence.empty_value, full_value)
    assert np.allclose(evidence.map(), slow)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_uncovered_pixels_have_the_minimum(ranks):
    evidence = golden_evidence(ranks=ranks)
    heat = evidence.map()
    uncovered = ~evidence.prefix(ranks)
    assert (heat[uncovered] == heat.min()).all()
    assert (heat[evidence.top_region] == 1.0).all()
    assert heat.min() == 0.0


def test_a_map_without_spread_shows_the_first_region():
    flat = replace(golden_evidence(), values=np.ones(4), empty_value=1.0, full_value=1.0)
    assert np.array_equal(flat.map(), flat.top_region.astype(float))


def test_areas_are_shares_of_the_image():
    assert golden_evidence().areas.tolist() == pytest.approx([3 / 9, 4 / 9, 6 / 9, 1.0])


def test_save_and_load(tmp_path):
    evidence = golden_evidence(TRAINING, ranks=3)
    evidence.save(tmp_path / "cat")
    loaded = Evidence.load(tmp_path / "cat.json")
    for name in ("labels", "order", "insertion", "deletion"):
        assert np.array_equal(getattr(loaded, name), getattr(evidence, name))
    assert (loaded.objective, loaded.empty, loaded.full, loaded.target) == (TRAINING, evidence.empty, evidence.full, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat.json", "cat.npz"]
    assert json.loads((tmp_path / "cat.json").read_text())["order"] == [3, 0, 1]


@pytest.mark.parametrize("damage", ["missing", "garbage", "key"])
def test_unreadable_evidence_is_named(tmp_path, damage):
    golden_evidence().save(tmp_path / "cat")
    facts = tmp_path / "cat.json"
    if damage == "missing":
        (tmp_path / "cat.npz").unlink()
    elif damage == "garbage":
        facts.write_text("{")
    else:
        facts.write_text(facts.read_text().replace('"order"', '"disorder"'))
    with pytest.raises(ValueError, match=r"cat.*holds no evidence"):
        Evidence.load(tmp_path / "cat")


def test_plot_draws_without_showing():
    figure = golden_evidence().plot(np.zeros((3, 3, 3), np.uint8))
    assert len(figure.axes) >= 2
