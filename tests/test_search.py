import itertools
import math

import numpy as np
import pytest
import torch

import reference
from golden_cases import GOLDEN
from wherenot.objective import EVALUATION, TRAINING, FourTermObjective, Objective
from wherenot.search import (
    SEARCHES,
    Bidirectional,
    Eagle,
    Exact,
    Fast,
    Lazy,
    Memo,
    Request,
    Scoped,
    Turbo,
    descending,
    greedy_search,
    keep_rows,
    parse_search,
    search_cost,
    subset_of,
)

EVERY = [Exact(), Scoped(3, 4), Bidirectional(3), Eagle(3, 2, 4), Lazy(2), Fast(2, 3, 4, 2, 1, 1), Turbo()]


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


def value_of(p, num_regions, a=2, b=1):
    everything = frozenset(range(num_regions))
    return lambda subset: reference.objective_value(p(frozenset(subset)), p(everything - frozenset(subset)), a, b)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("wave", [1, 3, 100])
@pytest.mark.parametrize("weights", [(2.0, 1.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.5, 3.0)])
def test_the_bound_never_changes_the_exact_order(seed, wave, weights):
    p = random_probability(12, seed)
    [ranking] = greedy_search(Memo(Oracle(p), [12]), Objective(*weights), search=Exact(wave))
    order, values = reference.greedy_order(p, 12, *weights)
    assert ranking.order.tolist() == order
    assert ranking.values.tolist() == pytest.approx(values)


def test_the_bound_holds_where_it_is_tight():
    # Region 0 is taken in alone and in full; region 1 reaches the same value by its deletion, to within a tie.
    table = {frozenset(): 0.1, frozenset({0, 1}): 0.9}
    table |= {frozenset({0}): 0.6, frozenset({1}): 0.1}  # F(0) = 2 * .6 + 1 - .1, F(1) = 2 * .1 + 1 - .6
    [ranking] = greedy_search(Memo(Oracle(table.get), [2]), TRAINING, search=Exact(1))
    assert ranking.order.tolist() == [0, 1]
    # Both insertions; without region 0 there is region 1 alone, which is known; 2.1 > .2 + 1 closes the round.
    # Then everything and nothing.
    assert ranking.forwards == 4
    tied = {**table, frozenset({0}): 0.0, frozenset({1}): 0.0}
    [ranking] = greedy_search(Memo(Oracle(tied.get), [2]), TRAINING, search=Exact(1))
    assert ranking.order.tolist() == [0, 1]


def test_the_bound_leaves_room_for_ties():
    # F(1) exceeds F(0) by less than a tie, so the first index wins, though the bound of region 0 is below F(1).
    sets = [(), (0,), (1,), (2,), (1, 2), (0, 2), (0, 1), (0, 1, 2)]
    values = [0.0, 0.5, 0.5 + 1.5e-6, 0.0, 0.0, 1e-6, 0.9, 0.9]
    table = {frozenset(regions): value for regions, value in zip(sets, values, strict=True)}
    [ranking] = greedy_search(Memo(Oracle(table.get), [3]), EVALUATION, search=Exact(1), max_regions=1)
    assert ranking.order.tolist() == [0]


def test_fast_looks_again_at_what_nobody_has_seen_for_long():
    p, centres = blob(6, (0.1, 0.1))
    asked = []

    class Watched(Oracle):
        def __call__(self, image, keep):
            asked.append({frozenset(np.flatnonzero(row).tolist()) for row in keep.numpy()})
            return super().__call__(image, keep)

    search = Fast(promising=2, scan=8, near=2, stale=5)
    [ranking] = greedy_search(Memo(Watched(p), [36]), TRAINING, search=search, max_regions=9, centres=[centres])
    later = set().union(*asked[2:])
    prefixes = [frozenset(ranking.order[: rank + 1].tolist()) for rank in range(9)]
    looked_at = {region for prefix in prefixes for region in range(36) if prefix | {region} in later}
    assert looked_at == set(range(36))


def test_exact_saves_what_the_bound_allows():
    p = random_probability(30, seed=1)
    [ranking] = greedy_search(Memo(Oracle(p), [30]), TRAINING, search=Exact(1), max_regions=10)
    [waves] = greedy_search(Memo(Oracle(p), [30]), TRAINING, search=Exact(50), max_regions=10)
    assert ranking.forwards < 0.83 * search_cost(Exact(), 30, 10)
    assert waves.forwards == search_cost(Exact(), 30, 10)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("num_regions", "pending"), [(11, 3), (12, 3), (9, 8), (10, 1), (5, 8), (2, 8)])
def test_bidirectional_against_the_slow_reference(seed, num_regions, pending):
    p = random_probability(num_regions, seed)
    search = Bidirectional(pending)
    [ranking] = greedy_search(Memo(Oracle(p), [num_regions]), TRAINING, search=search)
    order = reference.bidirectional_order(value_of(p, num_regions), num_regions, pending)
    assert ranking.order.tolist() == order
    prefixes = [frozenset(order[: rank + 1]) for rank in range(num_regions)]
    assert ranking.insertion.tolist() == pytest.approx([p(prefix) for prefix in prefixes])
    everything = frozenset(range(num_regions))
    assert ranking.deletion.tolist() == pytest.approx([p(everything - prefix) for prefix in prefixes])
    [first] = greedy_search(Memo(Oracle(p), [num_regions]), TRAINING, search=search, max_regions=num_regions - 1)
    assert first.order.tolist() == order[:-1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("scope", "pending", "update"), [(10, 8, 5), (3, 2, 4), (8, 4, 10), (1, 1, 1)])
def test_eagle_against_the_slow_reference(seed, scope, pending, update):
    p = random_probability(12, seed)
    [ranking] = greedy_search(Memo(Oracle(p), [12]), TRAINING, search=Eagle(scope, pending, update))
    assert ranking.order.tolist() == reference.eagle_order(value_of(p, 12), 12, scope, pending, update)


def test_bidirectional_forward_counts_golden():
    # LIMA counts the features of the single regions and the source image besides.
    for num_regions, upper in GOLDEN["G23_forwards"]["lima_bidirectional_upper"].items():
        assert search_cost(Bidirectional(8), int(num_regions)) == upper - int(num_regions) - 1
    for key, search in (("eagle_eff_default", Eagle(10, 8, 5)), ("eagle_eff_8_4_10", Eagle(8, 4, 10))):
        for num_regions, (forwards, _, _) in GOLDEN["G23_forwards"][key].items():
            assert search_cost(search, int(num_regions)) == forwards


@pytest.mark.parametrize("search", list(SEARCHES.values()), ids=list(SEARCHES))
@pytest.mark.parametrize("seed", range(3))
def test_no_search_costs_more_than_it_says(search, seed):
    for num_regions, max_regions in ((14, None), (14, 3), (3, None), (2, 1)):
        p = random_probability(num_regions, seed)
        oracle = Oracle(p)
        centres = [np.random.default_rng(seed).random((num_regions, 2))]
        [ranking] = greedy_search(
            Memo(oracle, [num_regions]), TRAINING, search=search, max_regions=max_regions, centres=centres
        )
        assert ranking.forwards == oracle.asked[0] <= search_cost(search, num_regions, max_regions)
        assert sorted(ranking.order.tolist()) == sorted(set(ranking.order.tolist()))
        assert len(ranking.order) == (max_regions or num_regions)


def test_lazy_is_exact_where_gains_only_fall():
    # A coverage function: every region covers some of 40 points; F is monotone and submodular.
    rng = np.random.default_rng(0)
    covers = [set(rng.choice(40, 6, replace=False).tolist()) for _ in range(12)]
    oracle = Oracle(lambda subset: len(set().union(*(covers[i] for i in subset), set())) / 40)
    [exact] = greedy_search(Memo(oracle, [12]), Objective(1.0, 0.0))
    [lazy] = greedy_search(Memo(oracle, [12]), Objective(1.0, 0.0), search=Lazy(1))
    assert lazy.order.tolist() == exact.order.tolist()
    [plain] = greedy_search(Memo(Oracle(oracle.functions[0]), [12]), Objective(1.0, 0.0), search=Lazy(1))
    assert plain.forwards < 0.7 * search_cost(Exact(), 12)


def blob(num_side, centre, seed=0):
    """A set function on a raster whose evidence sits around one place: what networks mostly do."""
    centres = np.stack(np.meshgrid(*[(np.arange(num_side) + 0.5) / num_side] * 2, indexing="ij"), -1).reshape(-1, 2)
    weight = 4 * np.exp(-(((centres - centre) ** 2).sum(1)) / 0.02)
    weight += np.random.default_rng(seed).normal(0, 0.05, len(weight))
    return (lambda subset: 1 / (1 + math.exp(5 - sum(weight[i] for i in subset)))), centres


@pytest.mark.parametrize("name", ["fast", "turbo"])
@pytest.mark.parametrize("centre", [(0.2, 0.3), (0.5, 0.5), (0.9, 0.1)])
def test_fast_finds_evidence_that_lies_together(name, centre):
    p, centres = blob(7, centre)
    settings = {"max_regions": 8, "stop_above": 0.8, "centres": [centres]}
    [exact] = greedy_search(Memo(Oracle(p), [49]), TRAINING, **settings)
    [fast] = greedy_search(Memo(Oracle(p), [49]), TRAINING, search=SEARCHES[name], **settings)
    ranks = min(len(fast.order), len(exact.order))
    assert fast.order[0] == exact.order[0]
    assert fast.values[:ranks].sum() >= 0.98 * exact.values[:ranks].sum()
    assert fast.forwards < exact.forwards / 1.5


def test_fast_needs_centres_and_single_features():
    with pytest.raises(ValueError, match="centres"):
        greedy_search(Memo(Oracle(golden_probability), [4]), TRAINING, search=Fast())
    with pytest.raises(ValueError, match="choose exact, scoped"):
        greedy_search(Memo(Oracle(golden_probability), [4]), FourTermObjective(), search=Turbo())
    for wrong in ({"raster": 0}, {"near": 30}, {"stale": -1}, {"finalists": 0}):
        with pytest.raises(ValueError, match="stale <= scan"):
            Fast(**wrong)
    for build in (lambda: Exact(0), lambda: Bidirectional(0), lambda: Eagle(pending=0), lambda: Lazy(0)):
        with pytest.raises(ValueError, match=">= 1"):
            build()


def test_no_subset_is_asked_twice():
    asked = []

    def score(image, keep):
        asked.extend((int(i), tuple(row)) for i, row in zip(image, keep.tolist(), strict=True))
        return torch.rand(len(image), 2, generator=torch.Generator().manual_seed(len(asked)))

    for search in SEARCHES.values():
        asked.clear()
        memo = Memo(score, [9, 6])
        centres = [np.random.default_rng(0).random((n, 2)) for n in (9, 6)]
        rankings = greedy_search(memo, TRAINING, search=search, targets=2, centres=centres)
        assert len(asked) == len(set(asked)) == memo.forwards == sum(ranking.forwards for ranking in rankings)


def test_targets_of_one_image_share_forwards_and_nothing_else():
    functions = [random_probability(8, seed) for seed in (0, 1)]

    def score(image, keep):
        subsets = [frozenset(np.flatnonzero(row).tolist()) for row in keep.numpy()]
        return torch.tensor([[p(subset) for p in functions] for subset in subsets], dtype=torch.float64)

    both = greedy_search(Memo(score, [8]), TRAINING, targets=2, max_regions=4)
    alone = [greedy_search(Memo(Oracle(p), [8]), TRAINING, max_regions=4)[0] for p in functions]
    for one, other in zip(both, alone, strict=True):
        assert one.order.tolist() == other.order.tolist()
        assert one.values.tolist() == pytest.approx(other.values.tolist())
    assert sum(one.forwards for one in both) < sum(one.forwards for one in alone)
    with pytest.raises(ValueError, match="one target at a time"):
        greedy_search(Memo(score, [8]), FourTermObjective(), targets=2)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused_and_not_kept(bad):
    answers = iter([bad, 0.5, 0.5])

    def score(image, keep):
        return torch.tensor([[0.5]] * (len(image) - 1) + [[next(answers)]])

    memo = Memo(score, [3, 3])
    with pytest.raises(ValueError, match=r"image 1 is \[(nan|inf)\]; a score must be finite"):
        memo.ask([Request(0, [1]), Request(1, [1, 2])])
    assert memo.known == [{}, {}]
    assert memo.ask([Request(1, [2])]) == [1]


def test_answers_of_the_wrong_shape_are_named():
    with pytest.raises(ValueError, match=r"shape \(2, R\), got \(1, 1\)"):
        Memo(lambda image, keep: torch.zeros(1, 1), [3]).ask([Request(0, [1, 2])])


def test_subsets_become_rows():
    assert keep_rows([0b101, 0], 3).tolist() == [[True, False, True], [False, False, False]]
    assert keep_rows([1 << 64 | 2], 66)[0].nonzero()[0].tolist() == [1, 64]
    assert subset_of([64, 1]) == 1 << 64 | 2


@pytest.mark.parametrize("search", EVERY)
def test_images_in_one_batch_do_not_see_each_other(search):
    functions = [random_probability(n, seed) for n, seed in ((5, 0), (8, 1), (1, 2), (6, 3))]
    counts = [5, 8, 1, 6]
    centres = [np.random.default_rng(count).random((count, 2)) for count in counts]
    settings = {"search": search, "stop_above": 0.97}
    together = greedy_search(Memo(Oracle(*functions), counts), TRAINING, centres=centres, **settings)
    for function, count, centre, ranking in zip(functions, counts, centres, together, strict=True):
        [alone] = greedy_search(Memo(Oracle(function), [count]), TRAINING, centres=[centre], **settings)
        assert alone.order.tolist() == ranking.order.tolist()
        assert alone.values.tolist() == ranking.values.tolist()
        assert alone.forwards == ranking.forwards


@pytest.mark.parametrize("search", EVERY)
def test_relabelling_the_regions_relabels_the_order(search):
    p = random_probability(8, seed=4)
    new_name = np.random.default_rng(0).permutation(8)
    old_name = np.argsort(new_name)
    centres = np.random.default_rng(1).random((8, 2))
    renamed_oracle = Oracle(lambda s: p({old_name[i] for i in s}))
    [plain] = greedy_search(Memo(Oracle(p), [8]), TRAINING, search=search, centres=[centres])
    [renamed] = greedy_search(Memo(renamed_oracle, [8]), TRAINING, search=search, centres=[centres[old_name]])
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
