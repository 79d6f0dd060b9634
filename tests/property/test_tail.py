"""What a replay compares with: output on the log, by identity, against a dict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from economy.errors import NonDeterministicError, ProtocolError
from economy.records import events as e
from economy.records.events import Events, Rows
from streams.tail import Tail

NAMES = (e.TradeExecuted, e.OrderClosed, e.EpochMatched)
records = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 6)), max_size=40)


def made(run: int, instrument: int, seq: int) -> tuple[str, tuple[int, ...]]:
    """The record of an identity: a marker where `instrument` is 2, else a trade or a close by the number."""
    kind = NAMES[2] if instrument == 2 else NAMES[seq % 2]
    row = [run * 100 + instrument * 10 + seq] * kind.width
    row[:3] = (run, seq, 0) if instrument == 2 else (run, instrument, seq)
    return kind.name, tuple(row)


def by_name(found: list[tuple[str, tuple[int, ...]]]) -> Events:
    return {name: np.array([row for n, row in found if n == name], np.int64) for name in {n for n, _ in found}}


@given(records, records)
def test_what_is_new_is_what_no_record_of_the_log_is(
    old: list[tuple[int, int, int]], now: list[tuple[int, int, int]]
) -> None:
    log, replay = [made(*r) for r in old], by_name([made(*r) for r in now])
    tail = Tail([by_name(log[:7]), by_name(log[7:])])
    assert len(tail) == len(log)
    for name, rows in replay.items():
        assert tail.new(name, rows).tolist() == [(name, tuple(row)) not in log for row in rows.tolist()]


def _trade(price: int) -> Rows:
    row = np.zeros((1, e.TradeExecuted.width), np.int64)
    row[0, e.TradeExecuted.SEQ], row[0, e.TradeExecuted.PRICE] = 4, price
    return row


def test_another_content_of_a_record_ends_the_replay() -> None:
    tail = Tail([{e.TradeExecuted.name: _trade(10)}])
    with pytest.raises(NonDeterministicError, match="TradeExecuted"):
        tail.new(e.TradeExecuted.name, _trade(11))
    close = np.zeros((1, e.OrderClosed.width), np.int64)
    close[0, e.OrderClosed.SEQ] = 4  # the number of a trade on the log
    with pytest.raises(NonDeterministicError, match="OrderClosed"):
        tail.new(e.OrderClosed.name, close)
    with pytest.raises(ProtocolError, match="two different"):
        Tail([{e.TradeExecuted.name: _trade(10)}, {e.TradeExecuted.name: _trade(11)}])
