import math

import numpy as np
import pytest

from wherenot.metrics import holm, over_seeds, paired_t


def test_paired_t_by_hand():
    # mean .2, sd .1, n 3: t = .2 sqrt(3) / .1 = 3.4641 with 2 degrees of freedom; p = 1 - t / sqrt(2 + t^2)
    t = 2 * math.sqrt(3)
    assert paired_t([0.1, 0.2, 0.3]) == pytest.approx(1 - t / math.sqrt(2 + t**2))
    assert paired_t([-0.1, -0.2, -0.3]) == pytest.approx(paired_t([0.1, 0.2, 0.3]))
    # one degree of freedom is Cauchy's: p = 1 - 2 atan(t) / pi, t = mean / (sd / sqrt 2) = 2
    assert paired_t([1.0, 3.0]) == pytest.approx(1 - 2 * math.atan(2) / math.pi)


def test_paired_t_says_what_the_interval_says():
    rng = np.random.default_rng(0)
    verdicts = set()
    for _ in range(300):
        differences = rng.normal(0.6, 1.0, rng.integers(2, 9)).tolist()
        interval = over_seeds(differences)
        clear = not interval.low <= 0 <= interval.high
        assert (paired_t(differences) < 0.05) == clear
        verdicts.add(clear)
    assert verdicts == {True, False}


def test_paired_t_without_spread_or_seeds():
    assert math.isnan(paired_t([0.3]))
    assert math.isnan(paired_t([0.3, math.nan]))
    assert paired_t([0.0, 0.0]) == 1.0
    assert paired_t([-0.5, -0.5]) == 0.0
    assert paired_t([0.1 + 0.2 - 0.3 + 0.5, 0.5]) == 0.0  # alike but for rounding
    assert paired_t([0.1, math.nan, 0.2, 0.3]) == paired_t([0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="infinite"):
        paired_t([math.inf, 0.0])


def test_holm_by_hand():
    # sorted: .01 x 4, .02 x 3, .03 x 2 (below the one before it), .9 x 1
    assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_passes_over_questions_nobody_asked():
    adjusted = holm([0.01, math.nan, 0.02])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.02)


def test_holm_refuses_what_is_no_p_value():
    for wrong in (1.2, -0.5):
        with pytest.raises(ValueError, match=f"{wrong} is no p-value"):
            holm([0.5, wrong])
    assert holm([0.0, 1.0]) == [0.0, 1.0]
