import itertools
import math

import numpy as np
import pytest
import torch

import reference
from golden_cases import GOLDEN
from wherenot.objective import EVALUATION, TRAINING, Objective
from wherenot.search import Exact, Memo, Scoped, descending, greedy_search, parse_search, search_cost


def golden_probability(subset):
    odds = -1.0 + sum((1.2, 0.4, -0.3, 2.0)[i] for i in subset) + (0.8 if {0, 1} <= set(subset) else 0.0)
    return 1 / (1 + math.exp(-odds))


def random_probability(num_regions, seed):
    """A set function with pairwise interactions, in (0, 1)."""
    rng = np.random.default_rng(seed)
    single, pair = rng.normal(0, 1, num_regions), rng.normal(0, 0.5, (num_regions, num_regions))

    def p(subset):
        members = sorted(subset)
        odds = -0.5 + single[members].sum() + sum(pair[i, j] for i in members for j in members if i < j)
        return 1 / (1 + math.exp(-odds))

    return p


class Oracle:
    """Answers for several images from Python set functions, and remembers what it was asked."""

    def __init__(self, *functions):
        self.functions = functions
        self.asked = [0] * len(functions)

    def __call__(self, image, keep):
        for index in image.tolist():
            self.asked[index] += 1
        return torch.tensor(
            [
                self.functions[index](frozenset(np.flatnonzero(row).tolist()))
                for index, row in zip(image.tolist(), keep.numpy(), strict=True)
            ],
            dtype=torch.float64,
        )[:, None]


def test_greedy_golden():
    case = GOLDEN["G07_greedy"]
    oracle = Oracle(golden_probability)
    [ranking] = greedy_search(Memo(oracle, [4]), TRAINING)
    assert ranking.order.tolist() == case["order21"]
    assert ranking.values.tolist() == pytest.approx(case["F21"], abs=1e-6)
    assert ranking.insertion.tolist() == pytest.approx(case["ins"], abs=1e-6)
    assert ranking.deletion.tolist() == pytest.approx(case["dele"], abs=1e-6)
    assert ranking.forwards == oracle.asked[0] < search_cost(Exact(), 4) == case["n_forward_exact"]
    assert ranking.values.sum() == pytest.approx(case["eq1_value_greedy"], abs=1e-6)
    [ranking] = greedy_search(Memo(oracle, [4]), EVALUATION)
    assert ranking.order.tolist() == case["order11"]
    assert ranking.values.tolist() == pytest.approx(case["F11"], abs=1e-6)
    [ranking] = greedy_search(Memo(oracle, [4]), TRAINING, stop_above=0.8)
    assert ranking.order.tolist() == case["early_stop_08"]


@pytest.mark.parametrize(
    ("key", "search", "max_regions"),
    [
        ("exact_full", Exact(), None),
        ("exact_k10", Exact(), 10),
        ("human_legacy_k11", Exact(), 11),
        ("human_eff_k10", Scoped(), 10),
    ],
)
def test_forward_counts_golden(key, search, max_regions):
    for num_regions, forwards in GOLDEN["G23_forwards"][key].items():
        oracle = Oracle(lambda subset: len(subset) / 100)
        [ranking] = greedy_search(Memo(oracle, [int(num_regions)]), TRAINING, search=search, max_regions=max_regions)
        assert search_cost(search, int(num_regions), max_regions) == forwards
        assert ranking.forwards == oracle.asked[0] <= forwards
        if isinstance(search, Scoped):
            assert ranking.forwards == forwards


@pytest.mark.parametrize("seed", range(5))
def test_greedy_equals_brute_force_on_additive_scores(seed):
    weights = np.random.default_rng(seed).normal(0, 1, 6)
    additive = Oracle(lambda subset: 0.5 + 0.05 * sum(weights[list(subset)]))
    [ranking] = greedy_search(Memo(additive, [6]), TRAINING)
    everything = frozenset(range(6))

    def total(order):
        prefixes = [frozenset(order[: r + 1]) for r in range(6)]
        return sum(
            reference.objective_value(additive.functions[0](s), additive.functions[0](everything - s), 2, 1)
            for s in prefixes
        )

    best = max(itertools.permutations(range(6)), key=total)
    assert ranking.order.tolist() == list(best)
    assert ranking.values.sum() == pytest.approx(total(best))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weights", [(2.0, 1.0), (1.0, 1.0), (0.0, 1.0)])
def test_exact_against_the_slow_reference(seed, weights):
    p = random_probability(7, seed)
    [ranking] = greedy_search(Memo(Oracle(p), [7]), Objective(*weights), max_regions=5, stop_above=0.9)
    order, values = reference.greedy_order(p, 7, *weights, max_regions=5, stop_above=0.9)
    assert ranking.order.tolist() == order
    assert ranking.values.tolist() == pytest.approx(values)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("scope", "update"), [(8, 20), (3, 4), (1, 1)])
def test_scoped_against_the_slow_reference(seed, scope, update):
    p = random_probability(9, seed)
    [ranking] = greedy_search(Memo(Oracle(p), [9]), TRAINING, search=Scoped(scope, update))
    order, scored = reference.scoped_order(p, 9, 2, 1, scope, update)
    assert ranking.order.tolist() == order
    assert ranking.forwards == scored


@pytest.mark.parametrize("search", [Exact(), Scoped(3, 4)])
def test_images_in_one_batch_do_not_see_each_other(search):
    functions = [random_probability(n, seed) for n, seed in ((5, 0), (8, 1), (1, 2), (6, 3))]
    together = greedy_search(Memo(Oracle(*functions), [5, 8, 1, 6]), TRAINING, search=search, stop_above=0.97)
    for function, count, ranking in zip(functions, (5, 8, 1, 6), together, strict=True):
        [alone] = greedy_search(Memo(Oracle(function), [count]), TRAINING, search=search, stop_above=0.97)
        assert alone.order.tolist() == ranking.order.tolist()
        assert alone.values.tolist() == ranking.values.tolist()
        assert alone.forwards == ranking.forwards


@pytest.mark.parametrize("search", [Exact(), Scoped(3, 4)])
def test_relabelling_the_regions_relabels_the_order(search):
    p = random_probability(8, seed=4)
    new_name = np.random.default_rng(0).permutation(8)
    old_name = np.argsort(new_name)
    [plain] = greedy_search(Memo(Oracle(p), [8]), TRAINING, search=search)
    [renamed] = greedy_search(Memo(Oracle(lambda s: p({old_name[i] for i in s})), [8]), TRAINING, search=search)
    assert renamed.order.tolist() == new_name[plain.order].tolist()


def test_ties_go_to_the_first_index_through_floating_point_noise():
    noise = itertools.cycle([0.0, 3e-8, -3e-8, 1e-8])
    flat = Oracle(lambda subset: 0.1 * len(subset) + next(noise))
    for search in (Exact(), Scoped(4, 3)):
        [ranking] = greedy_search(Memo(flat, [6]), TRAINING, search=search)
        assert ranking.order.tolist() == [0, 1, 2, 3, 4, 5]


def test_descending_ranks_clear_differences_by_value():
    assert descending([0.2, 0.9, 0.5]) == [1, 2, 0]


def test_stopping_is_strictly_above():
    steps = Oracle(lambda subset: 0.4 * len(subset))
    [ranking] = greedy_search(Memo(steps, [3]), EVALUATION, stop_above=0.8)
    assert len(ranking.order) == 3
    [ranking] = greedy_search(Memo(steps, [3]), EVALUATION, stop_above=0.79)
    assert len(ranking.order) == 2


def test_no_images_no_questions():
    assert greedy_search(Memo(Oracle(), []), TRAINING) == []


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="max_regions"):
        greedy_search(Memo(Oracle(), [3]), TRAINING, max_regions=0)
    with pytest.raises(ValueError, match="at least one region"):
        greedy_search(Memo(Oracle(), [3, 0]), TRAINING)
    with pytest.raises(ValueError, match="scope"):
        Scoped(scope=0)
    with pytest.raises(ValueError, match="exact, scoped"):
        parse_search("magic")
