"""Priors of which some were drawn: what a person said stays, and they behave as a list does."""

import pickle

import pytest
import torch

from wherenot.priors import Prior
from wherenot.spreading.drawn_priors import DrawnPriors

LEFT = torch.tensor([[True, True, False, False]] * 3)
TOP = torch.tensor([[True] * 4, [False] * 4, [False] * 4])


def same(one, other):
    grids = [(getattr(one, name), getattr(other, name)) for name in ("allowed", "forbidden", "ignore")]
    return all((a is None) == (b is None) and (a is None or torch.equal(a, b)) for a, b in grids)


@pytest.mark.parametrize(
    ("given", "forbids", "expected"),
    [
        (None, False, Prior(allowed=LEFT)),
        (Prior(allowed=TOP), False, Prior(allowed=LEFT)),
        (Prior(forbidden=TOP), False, Prior(allowed=LEFT, forbidden=TOP)),
        (Prior(allowed=TOP, ignore=~TOP), False, Prior(allowed=LEFT, ignore=~TOP)),
        (None, True, Prior(forbidden=~LEFT)),
        (Prior(forbidden=TOP), True, Prior(forbidden=~LEFT | TOP)),
        (Prior(allowed=TOP), True, Prior(allowed=TOP, forbidden=~LEFT)),
    ],
)
def test_what_a_person_said_stays(given, forbids, expected):
    priors = DrawnPriors([None, given], forbids=forbids)
    assert priors.draw(1, LEFT)
    assert same(priors[1], expected)
    assert priors[0] is None


@pytest.mark.parametrize(
    ("inside", "forbids"), [(LEFT, False), (LEFT, True), (torch.zeros_like(LEFT), True), (torch.ones_like(LEFT), True)]
)
def test_a_drawing_that_leaves_or_adds_nothing_is_not_taken(inside, forbids):
    given = Prior(forbidden=LEFT)
    priors = DrawnPriors([given], forbids=forbids)
    assert not priors.draw(0, inside)
    assert priors[0] is given


@pytest.mark.parametrize("inside", [torch.zeros(3, 4, dtype=torch.bool), torch.ones(3, 4, dtype=torch.bool)])
@pytest.mark.parametrize("forbids", [False, True])
@pytest.mark.parametrize("given", [None, Prior(allowed=TOP)])
def test_nothing_and_everything_say_nothing(inside, forbids, given):
    priors = DrawnPriors([given], forbids=forbids)
    assert not priors.draw(0, inside)
    assert priors[0] is given


def test_it_is_a_sequence():
    given = [Prior(allowed=TOP), None, None]
    priors = DrawnPriors(given, forbids=False)
    priors.draw(2, LEFT)
    assert len(priors) == 3
    assert priors[0] is given[0]
    assert same(priors[-1], Prior(allowed=LEFT))
    assert priors[:2] == given[:2]
    assert [prior is None for prior in priors] == [False, True, False]
    assert same(pickle.loads(pickle.dumps(priors))[2], priors[2])  # as workers of data loaders do
    with pytest.raises(IndexError):
        priors[3]
