"""The call auction against brute force over every price, and against what must hold of any auction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from economy.instruments import Instrument
from economy.markets.auction import clearing, price_range, self_crossing
from economy.markets.book import OrderBook
from economy.markets.market import Market
from economy.records.events import InstrumentClass, OrderCancelRequested, OrderSubmitted, Side, TradingResumed
from tests.property.naive_book import NaiveBook, Resting

orders = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 40), st.integers(1, 9)), max_size=30)


@settings(max_examples=500, deadline=None)
@given(orders, st.integers(0, 45), st.sampled_from((1, 5)), st.booleans())
def test_the_price_is_the_best_of_all_prices(found, reference, tick_size, pressure):
    naive = NaiveBook(reference=reference, pressure=pressure)
    for n, (side, price, quantity) in enumerate(found):
        naive.orders.append(Resting(n, n, side, price * tick_size, quantity, 0, 0, 0))
    buys, sells = (
        np.array([(o.price, o.left) for o in naive.best_first(side)], np.int64).reshape(-1, 2) for side in (0, 1)
    )
    expected = naive.clearing([price * tick_size for price in range(1, 42)])
    cleared = clearing(buys, sells, reference, tick_size, pressure)
    assert (None if cleared is None else (cleared.price, cleared.volume)) == expected
    if cleared is not None:
        demand = sum(o.left for o in naive.orders if o.side == 0 and o.price >= cleared.price)
        supply = sum(o.left for o in naive.orders if o.side == 1 and o.price <= cleared.price)
        assert cleared.imbalance == demand - supply


# "Price determination in auctions" of Xetra's market model: bids and asks, then (reference price, auction price). What
# is at market there stands here far beyond all limits. Where the reference lies between two limits, editions differ.
XETRA = {
    "one limit": ([(202, 200), (201, 200), (200, 300)], [(197, 400), (198, 200), (200, 100)], [(0, 200), (300, 200)]),
    "surplus of bids": ([(202, 400), (201, 200)], [(198, 200), (199, 300)], [(0, 201), (199, 201), (300, 201)]),
    "surplus of asks": ([(202, 300), (201, 200)], [(198, 200), (199, 400)], [(0, 199), (201, 199), (300, 199)]),
    "surplus on both sides": ([(9999, 100), (199, 100)], [(1, 100), (202, 100)], [(199, 199), (202, 202), (203, 202)]),
    "no surplus": ([(202, 300), (201, 200)], [(198, 200), (199, 300)], [(198, 199), (199, 199), (202, 201)]),
}


@pytest.mark.parametrize("example", XETRA)
def test_under_pressure_the_price_is_that_of_xetras_examples(example):
    bids, asks, expected = XETRA[example]
    for reference, price in expected:
        cleared = clearing(np.array(bids), np.array(asks), reference, pressure=True)
        assert cleared.price == price, reference
        book = OrderBook(reference_price=reference, open_ticks=5, auction_pressure=True)
        for n, (side, (limit, quantity)) in enumerate([(Side.BUY, o) for o in bids] + [(Side.SELL, o) for o in asks]):
            book.add(order=n, agent=n, side=side, price=limit, quantity=quantity)
        book = OrderBook.restore(book.snapshot())
        assert book.auction() == cleared
        outcome = book.advance(5)
        assert {trade.price for trade in outcome.trades} == {price}
        assert sum(trade.quantity for trade in outcome.trades) == cleared.volume


def test_without_the_option_the_reference_price_comes_first():
    for example, reference, price in (("surplus of bids", 199, 199), ("surplus of asks", 201, 201)):
        bids, asks, _ = XETRA[example]
        assert clearing(np.array(bids), np.array(asks), reference).price == price
        market = Market(1, 1, 1, [Instrument(0, "X", InstrumentClass.EQUITY, reference_price=reference, open_ticks=5)])
        o = OrderSubmitted
        rows = np.zeros((len(bids) + len(asks), o.width), np.int64)
        rows[:, o.AGENT] = rows[:, o.ORDER] = rows[:, o.N] = np.arange(len(rows))
        rows[:, o.SIDE] = np.repeat([0, 1], [len(bids), len(asks)])
        rows[:, [o.PRICE, o.QUANTITY]] = bids + asks
        late = rows[:1].copy()
        late[:, [o.TICK, o.AGENT]] = 6, 99
        events = market.match_free(
            np.concatenate((rows, late)), np.zeros((0, OrderCancelRequested.width), np.int64), np.arange(len(rows) + 1)
        )
        assert events[TradingResumed.name][0, TradingResumed.PRICE] == price


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 1), st.integers(1, 9)), max_size=25), st.randoms())
def test_of_own_overlapping_orders_the_newer_goes(found, random):
    naive = NaiveBook()
    for arrival, (agent, side, price) in enumerate(found):
        naive.orders.append(Resting(agent, arrival, side, price, 1, 0, 0, 0))
    naive.withdraw_newer_of_own_overlaps()
    shuffled = random.sample(range(len(found)), len(found))
    agents, sides, prices = (np.array([found[i][k] for i in shuffled], np.int64) for k in range(3))
    gone = self_crossing(agents, sides, prices, np.array(shuffled, np.int64))
    assert [shuffled[i] for i in gone] == [order for _, _, order, *_ in naive.out]


def test_prices_at_the_ends_of_int64_clear_exactly():
    top = 2**62 - 1
    bids, asks = np.array([[top, 2**60]]), np.array([[1, 2**61]])
    cleared = clearing(bids, asks, 0)
    assert (cleared.price, cleared.volume, cleared.imbalance) == (1, 2**60, -(2**60))
    assert clearing(bids, asks, top - 7).price == top - 7
    assert clearing(asks, bids, 5) is None
    assert price_range(2**62, 20_000) == (1, 2**63 - 3)
    assert price_range(200, 1_000) == (180, 220)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(0, 1), st.integers(90, 110), st.integers(1, 20)),
        min_size=2,
        max_size=40,
    ),
    st.integers(80, 120),
    st.booleans(),
)
def test_an_auction_trades_at_one_price_with_priority_and_leaves_no_cross(found, reference, pressure):
    book = OrderBook(reference_price=reference, auction_pressure=pressure)
    book.halt()
    limits, priority = {}, {}
    for n, (agent, side, price, quantity) in enumerate(found):
        assert book.add(order=n, agent=agent, side=Side(side), price=price, quantity=quantity).rested == quantity
        limits[n], priority[n] = (side, price, quantity), (-price if side == 0 else price, n)
    promised = book.auction()
    outcome = book.resume()
    assert {t.price for t in outcome.trades} == ({promised.price} if promised else set())
    assert sum(t.quantity for t in outcome.trades) == (promised.volume if promised else 0)
    filled = dict.fromkeys(limits, 0)
    for t in outcome.trades:
        assert t.maker_agent != t.taker_agent
        assert t.maker_order < t.taker_order, "the maker is the older"
        assert limits[t.taker_order][0] == t.taker_side != limits[t.maker_order][0]
        for order in (t.maker_order, t.taker_order):
            filled[order] += t.quantity
    gone = {c.order for c in outcome.closed}
    for side in (0, 1):
        mine = sorted((n for n in limits if limits[n][0] == side and n not in gone), key=priority.__getitem__)
        rests = [n for n in mine if filled[n] < limits[n][2]]
        assert all(filled[n] == limits[n][2] for n in mine if rests and priority[n] < priority[rests[0]])
        assert all(filled[n] == 0 for n in rests[1:]), "nobody is filled behind an order that is not"
        for n in mine:
            if filled[n]:
                assert limits[n][1] >= promised.price if side == 0 else limits[n][1] <= promised.price
    bid, ask = book.best(Side.BUY), book.best(Side.SELL)
    assert bid is None or ask is None or bid.price < ask.price
    middle = (bid.price + ask.price) // 2 if bid and ask else reference
    assert book.reference_price == (promised.price if promised else middle)
