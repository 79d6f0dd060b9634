"""The market against a naive book: same outputs in the same order, same depth, also across dumps and splits."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from economy.instruments import Instrument
from economy.markets.admission import AHEAD, LATEST
from economy.markets.market import Market
from economy.markets.matching.ids import OrderIds
from economy.markets.reports import tax_of
from economy.records.canonical import TRADE_TYPES
from economy.records.events import (
    InstrumentClass,
    OrderCancelRequested,
    OrderClosed,
    OrderRejected,
    OrderSubmitted,
    PriceFixed,
    RejectReason,
    TradeExecuted,
)
from tests.property.flows import LISTED, NO_CANCELS, collect, expected, rows_of, steps, told


@settings(max_examples=300)
@given(steps, st.integers(0, 60), st.integers(0, 60))
def test_free_mode_equals_the_naive_book_however_the_input_is_cut(actions, first, second):
    orders, cancels, arrival, naive = rows_of(actions)
    parts, market = [], Market(1, 7, 20, [LISTED])
    for low, high in zip((0, *sorted((first, second))), (*sorted((first, second)), 61), strict=True):
        mine = (arrival >= low) & (arrival < high)
        n = len(orders)
        parts.append(market.match_free(orders[mine[:n]], cancels[mine[n:]], arrival[mine]))
        market = Market.load(1, 7, 20, [LISTED], market.dump())  # a restored book has the same future
    assert told(collect(parts)) == expected(naive)
    for side, levels in enumerate(market.depth(5, 50)):
        totals = Counter()
        for o in naive.orders:
            if o.side == side:
                totals[o.price] += o.left
        assert {price: quantity for price, quantity, _ in levels.tolist()} == dict(totals)


@settings(max_examples=100)
@given(steps, st.integers(0, 60), st.sampled_from((2**61 + 1, 2**62, 2**63 - 1)), st.booleans())
def test_a_record_from_an_absurd_future_is_refused_and_moves_no_time(actions, place, tick, cancels_it):
    orders, cancels, arrival, naive = rows_of(actions)
    o, c = OrderSubmitted, OrderCancelRequested
    stray = np.zeros((1, c.width if cancels_it else o.width), np.int64)
    stray[0, [o.RUN, o.TICK, o.AGENT, o.N, o.ORDER, o.INSTRUMENT]] = 1, tick, 9, 0, 1, 5
    assert [o.RUN, o.TICK, o.AGENT, o.N, o.ORDER, o.INSTRUMENT] == [c.RUN, c.TICK, c.AGENT, c.N, c.ORDER, c.INSTRUMENT]
    if cancels_it:
        cancels, arrival = np.concatenate((cancels, stray)), np.append(2 * arrival, 2 * place - 1)
    else:
        stray[0, [o.PRICE, o.QUANTITY]] = 100, 1
        orders, arrival = np.concatenate((stray, orders)), np.append(2 * place - 1, 2 * arrival)
    got = told(Market(1, 7, 20, [LISTED]).match_free(orders, cancels, arrival))
    assert got.count(("reject", 9, 1, "malformed")) == 1
    assert [what for what in got if what != ("reject", 9, 1, "malformed")] == expected(naive)


def test_how_far_ahead_a_record_may_be():
    ids = itertools.count(1)

    def reasons(market, *ticks):
        o = OrderSubmitted
        orders = np.zeros((len(ticks), o.width), np.int64)
        orders[:, o.RUN], orders[:, o.TICK], orders[:, o.AGENT], orders[:, o.INSTRUMENT] = 1, ticks, 9, 5
        orders[:, o.N] = orders[:, o.ORDER] = [next(ids) for _ in ticks]
        orders[:, o.PRICE], orders[:, o.QUANTITY] = 100, 1
        out = market.match_free(orders, NO_CANCELS, np.arange(len(ticks)))
        return [RejectReason(r) for r in out.get(OrderRejected.name, orders[:0])[:, OrderRejected.REASON].tolist()]

    market = Market(1, 7, 20, [LISTED])
    assert reasons(market, LATEST + 1) == [RejectReason.MALFORMED]
    assert reasons(market, LATEST) == []
    market = Market.load(1, 7, 20, [LISTED], market.dump())
    assert reasons(market, LATEST + AHEAD + 1) == [RejectReason.MALFORMED]
    assert reasons(market, LATEST + AHEAD, LATEST + 2 * AHEAD) == []
    assert reasons(market, LATEST + 4 * AHEAD, LATEST + 3 * AHEAD) == [RejectReason.MALFORMED]


@settings(max_examples=100)
@given(steps, st.randoms(use_true_random=False))
def test_an_epoch_does_not_depend_on_the_order_of_arrival(actions, random):
    orders, cancels, _, _ = rows_of([(0, action) for _, action in actions])
    plain = Market(1, 7, 20, [LISTED]).match_epoch(0, orders, cancels)
    shuffled = Market(1, 7, 20, [LISTED]).match_epoch(
        0,
        orders[np.array(random.sample(range(len(orders)), len(orders)), np.int64)],
        cancels[np.array(random.sample(range(len(cancels)), len(cancels)), np.int64)],
    )
    assert plain.keys() == shuffled.keys()
    for name in plain:
        assert (plain[name] == shuffled[name]).all()


@settings(max_examples=100)
@given(steps)
def test_quantity_is_conserved(actions):
    orders, cancels, arrival, _ = rows_of(actions)
    market = Market(1, 7, 20, [LISTED])
    out = market.match_free(orders, cancels, arrival)
    rejected = {(r[4], r[5]) for r in out.get(OrderRejected.name, np.empty((0, 8))).tolist()}
    submitted = sum(r[OrderSubmitted.QUANTITY] for r in orders.tolist() if (r[2], r[3]) not in rejected)
    traded = int(out[TradeExecuted.name][:, TradeExecuted.QUANTITY].sum()) if TradeExecuted.name in out else 0
    closed = int(out[OrderClosed.name][:, OrderClosed.QUANTITY].sum()) if OrderClosed.name in out else 0
    resting = sum(int(levels[:, 1].sum()) for levels in market.depth(5, 50))
    assert submitted == 2 * traded + closed + resting
    bids, asks = market.depth(5, 1)
    assert not len(bids) or not len(asks) or bids[0, 0] < asks[0, 0]


@given(st.integers(0, 2**63 - 1), st.integers(0, 16_383))
def test_tax_is_the_exact_floor(notional, rate):
    if notional // 10_000 * rate < 2**63 - 10_000:
        assert int(tax_of(np.array([notional]), np.array([rate]))[0]) == notional * rate // 10_000


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (OrderSubmitted.PRICE, -1, RejectReason.PRICE_OUT_OF_RANGE),
        (OrderSubmitted.PRICE, 2**62, RejectReason.PRICE_OUT_OF_RANGE),
        (OrderSubmitted.PRICE, 7, RejectReason.OFF_TICK),
        (OrderSubmitted.QUANTITY, 0, RejectReason.QUANTITY_OUT_OF_RANGE),
        (OrderSubmitted.QUANTITY, 5, RejectReason.OFF_LOT),
        (OrderSubmitted.QUANTITY, 2**62, RejectReason.NOTIONAL_OVERFLOW),
        (OrderSubmitted.INSTRUMENT, 6, RejectReason.UNKNOWN_INSTRUMENT),
        (OrderSubmitted.TAX_RATE, -5, RejectReason.MALFORMED),
        (OrderSubmitted.TAX_RATE, 1 << 14, RejectReason.MALFORMED),
        (OrderSubmitted.CASH_CAP, 5, RejectReason.MALFORMED),
        (OrderSubmitted.TICK, -1, RejectReason.MALFORMED),
        (OrderSubmitted.SIDE, 2, RejectReason.MALFORMED),
        (OrderSubmitted.SIDE, -1, RejectReason.MALFORMED),
        (OrderSubmitted.TYPE, 2, RejectReason.MALFORMED),
        (OrderSubmitted.TIF, 3, RejectReason.MALFORMED),
        (OrderSubmitted.USE, 5, RejectReason.MALFORMED),
        (OrderSubmitted.POST_ONLY, 2, RejectReason.MALFORMED),
        (OrderSubmitted.EXPIRES, -1, RejectReason.MALFORMED),
        (OrderSubmitted.EXPIRES, 2, RejectReason.ALREADY_EXPIRED),
    ],
)
def test_every_malformed_order_is_a_rejection_with_its_reason(field, value, reason):
    listed = Instrument(5, "GRAIN", InstrumentClass.GOOD, tick_size=10, lot_size=2)
    row = np.array([[1, 3, 2, 1, 1, 5, 0, 0, 0, 0, 100, 10, 0, 0, 0, 0, 0]], np.int64)
    row[0, field] = value
    out = Market(1, 7, 20, [listed]).match_epoch(0, row, np.empty((0, OrderCancelRequested.width), np.int64))
    assert out[OrderRejected.name][0, OrderRejected.REASON] == reason
    assert set(out) <= set(TRADE_TYPES)


def test_ids_after_the_end_of_their_order_and_while_it_rests():
    """An id that rests is a duplicate, one that was used before is reused, also across a dump; another agent's is not
    touched, and what the book never saw uses up no id."""
    o, why = OrderSubmitted, RejectReason
    row = [1, 3, 2, 1, 7, 5, 0, 0, 0, 0, 100, 10, 0, 0, 0, 0, 0]

    def send(market, n, **changed):
        sent = list(row)
        sent[o.N] = n
        for name, value in changed.items():
            sent[getattr(o, name)] = value
        out = market.match_free(np.array([sent], np.int64), NO_CANCELS, np.array([n]))
        return [RejectReason(r[OrderRejected.REASON]) for r in out.get(OrderRejected.name, [])]

    market = Market(1, 7, 20, [LISTED])
    assert send(market, 1) == []
    assert send(market, 2) == [why.DUPLICATE_ORDER]
    market.match_free(np.empty((0, o.width), np.int64), np.array([[1, 3, 2, 3, 7, 5, 0]]), np.array([3]))
    assert send(market, 4) == [why.ORDER_ID_REUSED]
    market = Market.load(1, 7, 20, [LISTED], market.dump())
    assert send(market, 5) == [why.ORDER_ID_REUSED]
    assert send(market, 6, ORDER=6) == [why.ORDER_ID_REUSED]
    assert send(market, 7, ORDER=8, QUANTITY=0) == [why.QUANTITY_OUT_OF_RANGE]
    assert send(market, 8, ORDER=8) == []
    assert send(market, 9, AGENT=3) == []


def test_marks_of_many_agents_survive_growth_and_a_dump():
    rng = np.random.default_rng(5)
    marks, highest = OrderIds(), {}
    for _ in range(30):
        ops = np.zeros((400, 8), np.int64)
        ops[:, 1], ops[:, 3] = rng.integers(0, 3, 400), rng.integers(-500, 500, 400)
        ops[:, 2] = rng.integers(0, 50, 400)
        marks.mark(ops)
        for code, slot, order, agent, *_ in ops.tolist():
            used = order <= highest.get((slot, agent), -1)
            assert bool(code & 64) == used
            if not used:
                highest[slot, agent] = order
        again = OrderIds()
        again.load(marks.dump())
        marks = again
    assert len(marks.dump()) == len(highest)


def test_orders_for_instruments_that_are_not_listed_are_numbered_without_a_gap():
    rng = np.random.default_rng(3)
    market, seqs = Market(1, 7, 20, [LISTED]), {}
    for call in range(3):
        rows = np.zeros((200, OrderSubmitted.width), np.int64)
        rows[:, OrderSubmitted.INSTRUMENT] = rng.integers(-3, 3, 200)
        rows[:, OrderSubmitted.N] = np.arange(200) + 200 * call
        out = market.match_free(rows, NO_CANCELS, np.arange(200))[OrderRejected.name]
        assert (out[:, OrderRejected.N] == rows[:, OrderSubmitted.N]).all()
        for row in out.tolist():
            seqs.setdefault(row[OrderRejected.INSTRUMENT], []).append(row[OrderRejected.SEQ])
        market = Market.load(1, 7, 20, [LISTED], market.dump())
    assert all(found == list(range(len(found))) for found in seqs.values())
    assert sum(map(len, seqs.values())) == 600


def test_turnover_beyond_64_bits_still_fixes_the_exact_price():
    listed = Instrument(5, "GOLD", InstrumentClass.GOOD, fixing_ticks=20, price_scale=4, quantity_scale=4)
    rows = np.zeros((8, OrderSubmitted.width), np.int64)
    o = OrderSubmitted
    rows[:, o.AGENT] = np.arange(8)
    rows[:, o.INSTRUMENT], rows[:, o.SIDE] = 5, np.arange(8) % 2
    rows[:, o.PRICE], rows[:, o.QUANTITY] = 2**33, 2**29  # each notional is half of what int64 holds
    out = Market(1, 7, 20, [listed]).match_epoch(0, rows, NO_CANCELS)
    assert out[PriceFixed.name][0, [PriceFixed.PRICE, PriceFixed.QUANTITY]].tolist() == [2**33, 2**31]
