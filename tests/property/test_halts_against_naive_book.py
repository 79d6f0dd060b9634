"""Bands, breakers and calls of the market against the naive book, however the input is cut, ordered or spread."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from economy.instruments import Instrument
from economy.markets.market import Market, lottery
from economy.records.events import (
    BookUpdated,
    Events,
    HaltReason,
    OrderCancelRequested,
    OrderRejected,
    OrderSubmitted,
    RejectReason,
    TradeExecuted,
    TradingHalted,
    TradingResumed,
)
from tests.property.flows import LISTED, NO_CANCELS, NOTHING, collect, expected, rows_of, steps, told
from tests.property.naive_book import NaiveBook

SEED, L = 7, 5
guarded = st.builds(
    replace,
    st.just(LISTED),
    reference_price=st.integers(97, 103),
    band_bp=st.sampled_from((0, 400, 1000)),
    breaker_bp=st.sampled_from((100, 200, 300)),
    halt_ticks=st.integers(1, 7),
    open_ticks=st.sampled_from((0, 0, 4, 9)),
    auction_pressure=st.integers(0, 1),
)


def naive_of(listed: Instrument) -> NaiveBook:
    naive = NaiveBook(listed.reference_price, listed.band_bp, listed.breaker_bp, listed.halt_ticks)
    naive.pressure = bool(listed.auction_pressure)
    naive.until = listed.open_ticks - 1 if listed.open_ticks else None
    return naive


def levels_of(naive: NaiveBook) -> dict[tuple[int, int], int]:
    totals: Counter[tuple[int, int]] = Counter()
    for o in naive.orders:
        totals[o.side, o.price] += o.left
    return dict(totals)


def depth_of(market: Market) -> dict[tuple[int, int], int]:
    return {(side, row[0]): row[1] for side, rows in enumerate(market.depth(5, 99)) for row in rows.tolist()}


@settings(max_examples=120, deadline=None)
@given(guarded, steps, st.lists(st.integers(0, 60), max_size=4).map(sorted))
def test_free_mode_halts_and_resumes_alike_however_the_input_is_cut(listed, actions, cuts):
    orders, cancels, arrival, naive = rows_of(actions, naive_of(listed))
    n, parts, market = len(orders), [], Market(1, SEED, L, [listed])
    for low, high in zip((0, *cuts), (*cuts, 61), strict=True):
        mine = (arrival >= low) & (arrival < high)
        parts.append(market.match_free(orders[mine[:n]], cancels[mine[n:]], arrival[mine]))
        market = Market.load(1, SEED, L, [listed], market.dump())
    assert told(collect(parts)) == expected(naive)
    assert depth_of(market) == levels_of(naive)
    whole = Market(1, SEED, L, [listed]).match_free(orders, cancels, arrival)
    cut = collect(parts)
    assert whole.keys() == cut.keys()
    assert all((whole[name] == cut[name]).all() for name in whole), "rows of a type come in the order of seq"


def by_epochs(
    listed: list[Instrument], orders: np.ndarray, cancels: np.ndarray, restore: bool, last: int
) -> tuple[list[Events], Market]:
    parts, market = [], Market(1, SEED, L, listed)
    for epoch in range(last + 1):
        now = (rows[rows[:, OrderSubmitted.TICK] // L == epoch] for rows in (orders, cancels))
        parts.append(market.match_epoch(epoch, *now))
        if restore:
            market = Market.load(1, SEED, L, listed, market.dump())
    return parts, market


@settings(max_examples=100, deadline=None)
@given(guarded, steps, st.randoms(use_true_random=False))
def test_epochs_halt_and_resume_as_the_naive_book_in_canonical_order(listed, actions, random):
    orders, cancels, _, _ = rows_of(actions)
    last = max([0, *orders[:, 1].tolist(), *cancels[:, 1].tolist()]) // L + 2
    naive, records = naive_of(listed), []
    for rows in (orders, cancels):
        tickets = lottery(SEED, rows[:, 1], rows[:, 2])
        records += [((r[1], t, r[2], r[3]), r) for r, t in zip(rows.tolist(), tickets.tolist(), strict=True)]
    records.sort()
    cuts = []  # levels of the naive book at the end of each epoch
    o = OrderSubmitted
    for epoch in range(last + 1):
        for (tick, *_), r in records:
            if tick // L != epoch:
                continue
            if len(r) == OrderCancelRequested.width:
                naive.cancel(tick, r[o.AGENT], r[4])
            else:
                naive.submit(
                    tick, r[o.AGENT], r[o.ORDER], r[o.SIDE], ("limit", "market")[r[o.TYPE]],
                    ("gtc", "ioc", "fok")[r[o.TIF]], bool(r[o.POST_ONLY]), r[o.PRICE], r[o.QUANTITY], r[o.EXPIRES],
                    r[o.USE], r[o.TAX_RATE], r[o.CASH_CAP] // listed.multiplier,
                )  # fmt: skip
        naive.advance((epoch + 1) * L)
        cuts.append(levels_of(naive))
    shuffled, others = (rows[random.sample(range(len(rows)), len(rows))] for rows in (orders, cancels))
    parts, market = by_epochs([listed], shuffled, others, restore=random.random() < 0.5, last=last)
    book: dict[tuple[int, int], int] = {}
    for part, cut in zip(parts, cuts, strict=True):
        for row in part.pop(BookUpdated.name, NOTHING).tolist():
            book[row[BookUpdated.SIDE], row[BookUpdated.PRICE]] = row[BookUpdated.QUANTITY]
        assert {level: total for level, total in book.items() if total} == cut
    assert depth_of(market) == levels_of(naive)
    found = renumbered(collect(parts))
    assert told(found) == expected(naive)
    ticks = np.concatenate([rows[:, 3] for part in parts for rows in part.values()] or [np.zeros(0, np.int64)])
    epochs = np.repeat(range(last + 1), [sum(map(len, part.values())) for part in parts])
    assert (ticks // L == epochs).all(), "what an epoch writes happened in it"


def renumbered(events: Events) -> Events:
    """The same without the gaps that the levels left, which were taken out."""
    seqs = np.unique(np.concatenate([rows[:, 2] for rows in events.values()] or [np.zeros(0, np.int64)]))
    for rows in events.values():
        rows[:, 2] = np.searchsorted(seqs, rows[:, 2])
    return events


@settings(max_examples=30, deadline=None)
@given(guarded, guarded, steps, steps)
def test_instruments_do_not_see_each_other_so_partitions_do_not_show(first, second, some, others):
    second = replace(second, instrument=6)
    (orders, cancels, _, _), (more, also, _, _) = rows_of(some), rows_of(others)
    more[:, OrderSubmitted.INSTRUMENT] = also[:, OrderCancelRequested.INSTRUMENT] = 6
    last = 2 + max(rows[:, 1].max(initial=0) for rows in (orders, cancels, more, also)) // L
    together, _ = by_epochs(
        [first, second], np.concatenate((more, orders)), np.concatenate((also, cancels)), False, last
    )
    alone, _ = by_epochs([first], orders, cancels, True, last)
    apart, _ = by_epochs([second], more, also, False, last)
    expected_ = collect([*alone, *apart])
    found = collect(together)
    assert found.keys() == expected_.keys()
    assert all((found[name] == expected_[name]).all() for name in found)


def order(n: int, agent: int, side: int, price: int, tick: int, quantity: int = 10, **changed: int) -> list[int]:
    row = [1, tick, agent, n, n, 5, side, 0, 0, 0, price, quantity, 0, 0, 0, 0, 0]
    for name, value in changed.items():
        row[getattr(OrderSubmitted, name)] = value
    return row


def test_a_breaker_halts_collects_and_resumes_at_one_price():
    """By hand: reference 100, range 95..105; the buyer would have traded at 107."""
    listed = replace(LISTED, reference_price=100, band_bp=1000, breaker_bp=500, halt_ticks=3)
    rows = np.array(
        [
            order(1, 1, 1, 104, 0),
            order(2, 2, 1, 107, 0),
            order(3, 3, 0, 108, 1, 25),  # 10 at 104, then 107 is out of range: halt, 15 rest
            order(4, 4, 0, 106, 2, TIF=1),  # IOC: halted
            order(5, 4, 0, 106, 2, POST_ONLY=1),  # halted
            order(6, 4, 0, 0, 2, TYPE=1),  # a market order: halted
            order(7, 5, 1, 106, 4, 3),  # the last tick of the call: taken in
            order(8, 6, 0, 111, 4),  # outside the band
            order(9, 6, 0, 107, 5),  # behind the call
            order(10, 7, 0, 117, 6),  # at the end of the new band
        ],
        np.int64,
    )
    out = Market(1, 7, 20, [listed]).match_free(rows, NO_CANCELS, np.arange(len(rows)))
    why = RejectReason
    assert [(r[OrderRejected.N], why(r[OrderRejected.REASON])) for r in out[OrderRejected.name].tolist()] == [
        (4, why.HALTED), (5, why.HALTED), (6, why.HALTED), (8, why.OUTSIDE_PRICE_BAND),
    ]  # fmt: skip
    h = TradingHalted
    assert out[h.name][:, [h.TICK, h.REASON, h.PRICE, h.UNTIL]].tolist() == [[1, HaltReason.CIRCUIT_BREAKER, 107, 4]]
    r = TradingResumed
    # 13 offered at 107 and below, 15 wanted up to 108: 107 and 108 trade 13 with a surplus of 2; 107 is nearer to 100.
    assert out[r.name][:, [r.TICK, r.PRICE, r.QUANTITY]].tolist() == [[4, 107, 13]]
    t = TradeExecuted
    assert out[t.name][:, [t.TICK, t.PRICE, t.QUANTITY, t.MAKER_AGENT, t.TAKER_AGENT, t.TAKER_SIDE]].tolist() == [
        [1, 104, 10, 1, 3, 0],
        [4, 107, 3, 3, 5, 1],
        [4, 107, 10, 2, 3, 0],
    ]
    assert out["PriceBandChanged"][0, 3:].tolist() == [4, 97, 117]


def test_the_end_of_a_run_closes_nothing_and_who_goes_on_holds_the_auction():
    listed = replace(LISTED, reference_price=100, open_ticks=2 * L)
    rests = ("limit", "gtc", False)
    crossing = (("submit", 1, 1, 0, *rests, 101, 5, 0, 0, 0, 0), ("submit", 2, 1, 1, *rests, 99, 3, 0, 0, 0, 0))
    orders, _, _, _ = rows_of([(0, action) for action in crossing])
    market = Market(1, SEED, L, [listed])
    assert market.match_epoch(0, orders, NO_CANCELS).keys() == {BookUpdated.name}
    assert market.in_call(5)
    assert [len(side) for side in market.resting(5)] == [1, 1]
    longer = Market.load(1, SEED, L, [listed], market.dump())
    held = longer.match_epoch(1, orders[:0], NO_CANCELS)
    resumed, r = held[TradingResumed.name], TradingResumed
    assert resumed[:, [r.TICK, r.PRICE, r.QUANTITY]].tolist() == [[2 * L - 1, 100, 3]]
    assert not longer.in_call(5)
