"""What searches are made of: settings, costs, memory, ties, and the objective in two parts."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import reference
from wherenot.objective import TRAINING, FourTermObjective, Objective
from wherenot.search import (
    SEARCHES,
    TIE,
    Bidirectional,
    Eagle,
    Exact,
    Fast,
    Lazy,
    Memo,
    Request,
    Scoped,
    Turbo,
    Walk,
    descending,
    greedy_search,
    keep_rows,
    parse_search,
    search_cost,
    values_of,
)
from wherenot.search.values import PairValues

WEIGHTS = (0.5, 1.0, 0.75, 0.25)  # confidence, effectiveness, consistency, collaboration
FOUR = FourTermObjective(*WEIGHTS)


def members(row):
    return frozenset(np.flatnonzero(row).tolist())


def random_set_function(num_regions, seed):
    """A number in (0, 1) for each subset, with nothing to learn from others."""
    table = np.random.default_rng(seed).random(1 << num_regions).tolist()
    return lambda subset: table[sum(1 << region for region in subset)]


class Asked:
    """Answers with the set function, and keeps which subsets it was asked for, question by question."""

    def __init__(self, function):
        self.function, self.questions = function, []

    def __call__(self, image, keep):
        self.questions.append([members(row) for row in keep.numpy()])
        return torch.tensor([[self.function(subset)] for subset in self.questions[-1]], dtype=torch.float64)

    @property
    def subsets(self):
        return [subset for question in self.questions for subset in question]


def found(function, num_regions, search, **settings):
    asked = Asked(function)
    [ranking] = greedy_search(Memo(asked, [num_regions]), TRAINING, search=search, **settings)
    return ranking, asked


# --- settings --------------------------------------------------------------------------------------------------------


def test_searches_by_name_are_those_of_the_papers_and_of_the_figures_in_the_documentation():
    assert {
        "exact": Exact(2),
        "scoped": Scoped(8, 20),
        "bidirectional": Bidirectional(8),
        "eagle": Eagle(10, 8, 5),
        "lazy": Lazy(4),
        "fast": Fast(3, 18, 18, 6, 6, 1),
        "turbo": Turbo(3, 10, 13, 5, 3, 1),
    } == SEARCHES
    for name, search in SEARCHES.items():
        assert parse_search("".join(list(name))) is search  # another string of the same letters


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_settings_are_never_changed(search):
    for field in dataclasses.fields(search):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(search, field.name, 3)


@pytest.mark.parametrize("make", [Exact, Scoped, Bidirectional, Eagle, Lazy])
def test_every_setting_is_at_least_1(make):
    count = len(dataclasses.fields(make))
    for place in range(count):
        for wrong in (0, -1):
            with pytest.raises(ValueError, match=f"{make.__name__}: .* >= 1, got"):
                make(*(wrong if index == place else 1 for index in range(count)))
    assert dataclasses.astuple(make(*[1] * count)) == (1,) * count


def test_settings_of_fast_at_their_borders():
    assert Fast(1, 1, 1, 0, 0, 1).scan == Fast(1, 1, 4, 2, 2, 1).scan - 3 == 1
    least = {"raster": 1, "promising": 1, "scan": 1, "near": 0, "stale": 0, "finalists": 1}
    for name, smallest in least.items():
        with pytest.raises(ValueError, match=r"near \+ stale <= scan"):
            Fast(**{name: smallest - 1})
    with pytest.raises(ValueError, match=r"near \+ stale <= scan"):
        Fast(1, 1, 4, 3, 2, 1)


@pytest.mark.parametrize("targets", [0, 2])
def test_four_terms_take_one_target(targets):
    with pytest.raises(ValueError, match=f"one target at a time, got {targets}"):
        greedy_search(Memo(lambda image, keep: torch.zeros(len(keep), 4), [3]), FOUR, targets=targets)


def test_a_ranking_is_never_changed():
    ranking, _ = found(random_set_function(3, 0), 3, Exact())
    with pytest.raises(dataclasses.FrozenInstanceError):
        ranking.forwards = 0


def test_one_region_is_enough_to_ask_for():
    p = random_set_function(4, 0)
    for search in (Exact(), Bidirectional(), Lazy()):
        ranking, _ = found(p, 4, search, max_regions=1)
        assert ranking.order.tolist() == found(p, 4, Exact())[0].order.tolist()[:1]
    with pytest.raises(ValueError, match="max_regions must be >= 1 or None, got -1"):
        found(p, 4, Exact(), max_regions=-1)


# --- what they cost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("search", "num_regions", "max_regions", "forwards"),
    [
        (Exact(), 5, 2, 2 * 5 + 2 * 4),
        (Lazy(2), 5, 2, 2 + 2 * 5 + 2 * 4),
        (Lazy(2), 3, 9, 2 + 2 * (3 + 2 + 1)),
        (Scoped(2, 3), 6, 5, 2 * (6 + 2 + 2 + 3 + 2)),
        (Scoped(4, 2), 5, None, 2 * (5 + 4 + 3 + 2 + 1)),
        (Bidirectional(2), 6, 1, 2 * 6),
        (Bidirectional(2), 6, 2, 2 * 6 + 2 * 2 + 2 * 4),
        (Bidirectional(2), 6, None, 2 * 6 + 2 * 2 + 2 * 4 + 2 * 2 + 2 * 2 + 2),  # one and two set aside are left
        (Eagle(3, 2, 4), 8, 1, 2 * 8),
        (Eagle(3, 2, 4), 8, 3, 2 * 8 + (2 * 3 + 2 * 2) + 2 * 3),
        (Eagle(3, 2, 4), 8, None, 2 * 8 + (2 * 3 + 2 * 2) + (2 * 3 + 2 * 2) + 2 * 2 + 2),
        (Fast(), 20, 3, 2 + 9 + 2 * 20 + (18 + 2) + (18 + 2)),
        (Fast(), 4, None, 2 + 4 + 2 * 4 + (3 + 2) + (2 + 2) + (1 + 1)),
        (Turbo(), 30, 2, 2 + 9 + 2 * 30 + (13 + 2)),
    ],
)
def test_costs_by_hand(search, num_regions, max_regions, forwards):
    assert search_cost(search, num_regions, max_regions) == forwards


def scan(prefix, candidates, num_regions):
    """The subsets of a round that scores all candidates."""
    everything = frozenset(range(num_regions))
    joined = [frozenset(prefix) | {region} for region in candidates]
    return {*joined, *(everything - subset for subset in joined)}


def test_bidirectional_asks_for_no_more_than_its_rounds():
    p = random_set_function(6, 1)
    ranking, asked = found(p, 6, Bidirectional(2), max_regions=2)
    first, second = ranking.order.tolist()
    assert set(asked.questions[0]) == scan((), range(6), 6)
    scored = {max(subset - {first}) for subset in asked.questions[1] if first in subset and len(subset) == 2}
    [aside] = set(range(6)) - {first} - scored
    assert set(asked.subsets) == scan((), range(6), 6) | scan([first], set(range(6)) - {first, aside}, 6)
    assert ranking.forwards == len(asked.subsets) == 12 + 8
    assert second != aside


def test_eagle_sets_nothing_aside_once_it_has_enough():
    p = random_set_function(8, 2)
    ranking, asked = found(p, 8, Eagle(3, 2, 4), max_regions=2)
    assert len(asked.questions) == 2
    assert ranking.forwards == 2 * 8 + 2 * 3


def test_scoped_asks_for_the_head_of_its_queue_between_full_scans():
    p = random_set_function(6, 3)
    ranking, asked = found(p, 6, Scoped(2, 2), max_regions=4)
    assert [len(question) for question in asked.questions] == [2 * 6, 2 * 2, 2 * 4, 2 * 2]
    assert ranking.forwards == 28


def test_exact_reads_insides_first_and_outsides_in_waves():
    p = random_set_function(7, 4)
    for wave in (1, 3, 7):
        _, asked = found(p, 7, Exact(wave), max_regions=1)
        assert set(asked.questions[0]) == {frozenset({region}) for region in range(7)}
        assert {len(question) for question in asked.questions[1:-1]} <= {wave, 7 % wave}
        assert all(len(subset) == 6 for question in asked.questions[1:] for subset in question)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_lazy_against_the_slow_reference(seed, chunk):
    p = random_set_function(8, seed)
    everything = frozenset(range(8))
    order = reference.lazy_order(lambda s: 2 * p(s) + 1 - p(everything - frozenset(s)), 8, chunk)
    assert found(p, 8, Lazy(chunk))[0].order.tolist() == order


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pending", [1, 2, 4, 6])
def test_both_ends_against_the_slow_references(seed, pending):
    p = random_set_function(10, seed)
    everything = frozenset(range(10))

    def value(subset):
        return 2 * p(subset) + 1 - p(everything - frozenset(subset))

    assert found(p, 10, Bidirectional(pending))[0].order.tolist() == reference.bidirectional_order(value, 10, pending)
    eagle = found(p, 10, Eagle(4, pending, 3))[0].order.tolist()
    assert eagle == reference.eagle_order(value, 10, 4, pending, 3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("settings", [(3, 2, 6, 2, 2, 1), (2, 4, 3, 1, 1, 2), (1, 1, 4, 0, 3, 1), (4, 3, 5, 4, 0, 3)])
def test_fast_against_the_slow_reference(seed, settings):
    p, centres = random_set_function(11, seed), np.random.default_rng(seed).random((11, 2))
    everything = frozenset(range(11))
    order = reference.fast_order(
        lambda s: 2 * p(s), lambda s: 1 - p(everything - frozenset(s)), centres.tolist(), *settings
    )
    assert found(p, 11, Fast(*settings), centres=[centres])[0].order.tolist() == order


# --- memory ----------------------------------------------------------------------------------------------------------


def test_memory_asks_in_rows_as_wide_as_the_widest_image():
    seen = []

    def score(image, keep):
        seen.append((image.tolist(), keep.tolist()))
        return keep.sum(1, keepdim=True) / 8

    memo = Memo(score, [2, 4])
    assert (memo.everything(0), memo.everything(1)) == (0b11, 0b1111)
    assert memo.ask([Request(0, [0b01, 0b01, 0b11]), Request(1, [0b1010]), Request(0, [0b11, 0b10])]) == [2, 1, 1]
    assert seen == [
        ([0, 0, 1, 0], [[True, False, False, False], [True, True, False, False], [False, True, False, True],
                        [False, True, False, False]]),
    ]  # fmt: skip
    assert memo.ask([Request(1, [0b1010])]) == [0]
    assert len(seen) == 1
    assert memo.forwards == 4
    assert {subset: float(reading[0]) for subset, reading in memo.known[0].items()} == {1: 0.125, 3: 0.25, 2: 0.125}


def test_hundreds_of_regions_and_of_questions():
    memo = Memo(lambda image, keep: keep.sum(1, keepdim=True) / 300, [300])
    assert memo.ask([Request(0, [1 << region for region in range(300)])]) == [300]
    ranking, _ = found(lambda subset: len(subset) / 300, 300, Exact(64), max_regions=1)
    assert ranking.order.tolist() == [0]


@pytest.mark.parametrize("answer", [torch.zeros(2), torch.zeros(2, 1, 1), torch.zeros(3, 1), torch.zeros(1, 1)])
def test_answers_of_other_shapes_are_refused(answer):
    with pytest.raises(ValueError, match=r"the score of 2 subsets must have shape \(2, R\)"):
        Memo(lambda image, keep: answer, [3]).ask([Request(0, [1, 2])])


def test_the_first_answer_that_is_not_finite_is_named():
    def score(image, keep):
        return torch.tensor([[0.5, 0.5], [0.25, math.nan], [math.inf, 0.5]])

    with pytest.raises(ValueError, match=r"subset of image 1 is \[0.25, nan\]"):
        Memo(score, [3, 3, 3]).ask([Request(image, [1]) for image in range(3)])


@pytest.mark.parametrize("num_regions", [1, 7, 8, 9, 16, 17])
def test_rows_of_any_width(num_regions):
    full, last = (1 << num_regions) - 1, 1 << num_regions - 1
    assert keep_rows([full, last, 0], num_regions).tolist() == [
        [True] * num_regions,
        [False] * (num_regions - 1) + [True],
        [False] * num_regions,
    ]


# --- ties and stopping -----------------------------------------------------------------------------------------------


def test_values_tie_with_the_largest_not_with_each_other():
    assert TIE == 1e-6
    assert descending([-1.8 * TIE, -0.9 * TIE, 0.0]) == [1, 2, 0]
    assert descending([0.0, 1.1 * TIE]) == [1, 0]
    assert descending([0.0, 0.9 * TIE]) == [0, 1]
    assert descending([0.0, 0.25, 0.5, 0.5]) == [2, 3, 1, 0]
    assert descending([]) == []
    assert descending([0.0] * 300) == list(range(300))


def test_a_walk_finishes_by_number_or_by_probability():
    known = {0b001: np.array([0.5, 0.9]), 0b011: np.array([0.75, 0.1]), 0b000: np.array([1.0, 1.0])}
    values = values_of(known, 0b111, TRAINING)
    short = Walk(known, 3, values, max_regions=2)
    sure = Walk(known, 3, values, stop_above=0.75)
    other = Walk(known, 3, values, stop_above=0.75, column=1)
    assert Walk(known, 3, values, max_regions=7).max_regions == 3
    for walk in (short, sure, other):
        assert not walk.finished  # whatever the empty image says
        walk.take(0)
    assert [walk.finished for walk in (short, sure, other)] == [False, False, True]
    for walk in (short, sure):
        walk.take(1)
    assert [walk.finished for walk in (short, sure)] == [True, False]
    assert (short.candidates, short.order, short.prefix, short.prefixes()) == ([2], [0, 1], 0b011, [0b001, 0b011])
    assert (short.joined(2), short.rest(0b010), short.pairs([0b001])) == (0b111, 0b101, [0b001, 0b110])


# --- the objective in two parts --------------------------------------------------------------------------------------


def test_two_terms_in_two_parts():
    known = {0b01: np.array([0.5, 0.25]), 0b10: np.array([0.125, 0.75])}
    for column, inside, outside in ((0, 2 * 0.5, 3 * 0.875), (1, 2 * 0.25, 3 * 0.25)):
        values = values_of(known, 0b11, Objective(2.0, 3.0), column)
        assert (values.inside(0b01), values.outside(0b01), values.most_outside) == (inside, outside, 3.0)
        assert values.free(0b01) == 0.0
    for first in (values_of(known, 0b11, Objective(2.0, 3.0)), PairValues(known, 0b11, Objective(2.0, 3.0))):
        assert first.inside(0b01) == 2 * 0.5
    assert Walk(known, 2, values).probability(0b01) == 0.5


def four_term_score(num_regions, seed):
    """Readings of probability, confidence and feature, and F and its free part by the definitions."""
    p, sure = random_set_function(num_regions, seed), random_set_function(num_regions, seed + 100)
    features = np.random.default_rng(seed).normal(size=(num_regions, 3)).tolist()
    everything = frozenset(range(num_regions))

    def score(image, keep):
        rows = []
        for row in keep.numpy():
            subset = members(row)
            feature = features[min(subset)] if len(subset) == 1 else [9.0, 9.0, 9.0]
            rows.append([p(subset), sure(subset), *feature])
        return torch.tensor(rows, dtype=torch.float64)

    def effect(subset):
        return WEIGHTS[1] * reference.effectiveness(features, subset)

    def value(subset):
        subset = frozenset(subset)
        read = WEIGHTS[0] * sure(subset) + WEIGHTS[2] * p(subset) + WEIGHTS[3] * (1 - p(everything - subset))
        return read + effect(subset)

    return score, value, effect


@pytest.mark.parametrize("seed", range(4))
def test_four_terms_in_two_parts(seed):
    score, value, effect = four_term_score(5, seed)
    memo = Memo(score, [5])
    memo.ask([Request(0, list(range(32)))])
    values = values_of(memo.known[0], 0b11111, FOUR)
    assert values.most_outside == WEIGHTS[3]
    for bits in range(32):
        subset = members(keep_rows([bits], 5)[0])
        assert values.free(bits) == pytest.approx(effect(subset))
        assert values.inside(bits) + values.outside(bits) == pytest.approx(value(subset))
        assert values.outside(bits) <= values.most_outside


def test_a_region_without_a_feature_is_at_right_angles_to_all():
    known = {0b01: np.array([0.5, 0.5, 0.0, 0.0]), 0b10: np.array([0.5, 0.5, 3.0, 4.0])}
    assert values_of(known, 0b11, FOUR).free(0b11) == pytest.approx(WEIGHTS[1] * 2 * 0.5)


@pytest.mark.parametrize("seed", range(6))
def test_four_terms_are_searched_as_defined(seed):
    score, value, effect = four_term_score(9, seed)

    def order(search):
        return greedy_search(Memo(score, [9]), FOUR, search=search)[0].order.tolist()

    exact = []
    while len(exact) < 9:
        exact.append(max((c for c in range(9) if c not in exact), key=lambda c: value([*exact, c])))
    assert order(Exact()) == order(Scoped(1, 1)) == exact
    assert order(Bidirectional(3)) == reference.bidirectional_order(value, 9, 3, effect)
    assert order(Eagle(3, 2, 4)) == reference.eagle_order(value, 9, 3, 2, 4)
    assert order(Lazy(2)) == reference.lazy_order(value, 9, 2)
