"""Exact kernels, units and the calendar."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from economy.calendar import Calendar
from economy.errors import InputError
from economy.instruments import Instrument
from economy.markets.reports import tax_of
from economy.numbers.exact import count_up, share_out, sum_by
from economy.numbers.units import notional_multiplier
from economy.records.events import InstrumentClass


@given(st.integers(0, 10**17), st.lists(st.integers(0, 10**12), min_size=1, max_size=30))
def test_shares_add_up(total: int, weights: list[int]) -> None:
    parts = share_out(total, np.array(weights, np.int64))
    assert int(parts.sum()) == (total if sum(weights) else 0)


def test_sums_keep_what_floats_lose() -> None:
    big = np.array([2**60, 1, 1], np.int64)
    assert sum_by(np.array([0, 0, -1]), big, 2).tolist() == [2**60 + 1, 0]
    assert count_up(np.zeros(2, np.int64), np.array([1, 0, 1, 1])).tolist() == [1, 1, 2, 3]


@given(st.integers(0, 2**62), st.integers(0, 16_000))
def test_tax_is_the_exact_floor(notional: int, rate: int) -> None:
    got = tax_of(np.array([notional]), np.array([rate]))[0]
    exact = notional * rate // 10_000
    assert exact >= 2**63 or got == exact


def test_units() -> None:
    assert notional_multiplier(4, 2) == 100
    assert notional_multiplier(0, 8) == 1
    with pytest.raises(ValueError, match="price_scale"):
        notional_multiplier(5, 4)
    with pytest.raises(InputError, match="price_scale"):
        Instrument(0, "X", InstrumentClass.GOOD, price_scale=5, quantity_scale=4)
    with pytest.raises(InputError, match="tick_size"):
        Instrument(0, "X", InstrumentClass.GOOD, tick_size=0)


def test_calendar() -> None:
    time = Calendar(20, 10, 10)
    assert (time.round_ticks, time.window_ticks, time.year_ticks, time.ticks, time.last_epoch) == (
        100, 1000, 4000, 40_000, 1999,
    )  # fmt: skip
    assert [time.epoch_of(t) for t in (-1, 0, 19, 20)] == [-1, 0, 0, 1]
    assert [time.window_of(t) for t in (-1, 0, 999, 1000)] == [-1, 0, 0, 1]
    assert (time.phase_of(9), time.round_of(9)) == (4, 1)
