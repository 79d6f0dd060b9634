"""The elementary functions against mpmath-free references: the C library's, and identities that it does not share."""

from __future__ import annotations

import math

import numpy as np
import pytest

from economy.numbers.elementary import cosine_of_turn, exp, exp_each, log, power, power_each

_GENERATOR = np.random.default_rng(7)


def _ulps(found: float, wanted: float) -> float:
    return abs(found - wanted) / math.ulp(wanted)


def test_exp_is_within_two_units_of_the_last_place_of_the_c_library() -> None:
    for x in [*_GENERATOR.uniform(-700, 700, 20_000), *_GENERATOR.normal(0, 1, 20_000), 0.0, 1.0, -1.0, 1e-300]:
        assert _ulps(exp(float(x)), math.exp(x)) <= 2


def test_log_is_within_two_units_of_the_last_place_of_the_c_library() -> None:
    for x in [*np.exp(_GENERATOR.uniform(-700, 700, 20_000)), *_GENERATOR.uniform(0.5, 2, 20_000), 5e-324, 1e308]:
        assert abs(log(float(x)) - math.log(x)) <= 2 * math.ulp(math.log(x)) if x != 1 else log(1.0) == 0


def test_the_cosine_of_a_turn() -> None:
    turns = [*_GENERATOR.uniform(0, 1, 40_000), 0.0, 0.25, 0.5, 0.75, 1.0]
    for u in turns:
        assert abs(cosine_of_turn(float(u)) - math.cos(2 * math.pi * u)) < 1e-15
    assert [cosine_of_turn(u) for u in (0.0, 0.25, 0.5, 0.75, 1.0)] == [1, 0, -1, 0, 1]  # exact, unlike cos(pi / 2)


def test_powers() -> None:
    assert power(1.02, 10.0) == pytest.approx(1.02**10, rel=1e-15)
    bases = np.arange(1.0, 40.0)
    assert power_each(bases, -0.4) == pytest.approx(bases**-0.4, rel=1e-14)


def test_the_ends_of_the_range() -> None:
    assert exp(710.0) == math.inf
    assert exp(-709.0) == 0
    assert math.isnan(exp(math.nan))
    assert log(0.0) == -math.inf
    assert math.isnan(log(-1.0))
    assert log(math.inf) == math.inf


def test_no_bit_depends_on_the_place_in_an_array() -> None:
    values = _GENERATOR.normal(0, 3, 1001)
    whole = exp_each(values)
    assert all(whole[i] == exp(values[i]) for i in range(len(values)))
    assert np.array_equal(whole, np.concatenate([exp_each(values[:13]), exp_each(values[13:])]))
