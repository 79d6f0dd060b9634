"""Long and hostile flows: against the naive book, and for what must hold after every batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from economy.instruments import Instrument
from economy.markets.market import Market
from economy.records.events import (
    CloseReason,
    OrderCancelRequested,
    OrderRejected,
    OrderSubmitted,
    OrderType,
    RejectReason,
    TradeExecuted,
)
from tests.property.flows import KINDS, LISTED, NO_CANCELS, TIFS, expected, told
from tests.property.hostile import FLOWS, Flow
from tests.property.invariants import Invariants
from tests.property.naive_book import NaiveBook

o, c = OrderSubmitted, OrderCancelRequested
# Its scales leave room for prices of 2^62 steps.
PLAIN = replace(LISTED, price_scale=4, quantity_scale=4)
GUARDED = replace(PLAIN, reference_price=1000, band_bp=2000, breaker_bp=300, halt_ticks=5, open_ticks=10)


class RandomFlow:
    """Orders of all kinds around a price that wanders, a third of the records cancels, one id in a hundred used."""

    def __init__(self, seed: int, instruments: list[int], agents: int, life: int, per_tick: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.instruments, self.agents, self.life, self.per_tick = np.array(instruments), agents, life, per_tick
        self.sent = 0
        self.recent = np.zeros((0, 3), np.int64)  # instrument, agent, order

    def batch(self, n: int, width: int = 15) -> Flow:
        rng, places = self.rng, np.arange(self.sent, self.sent + n)
        cancels = rng.random(n) < 0.3 if len(self.recent) else np.zeros(n, np.bool_)
        rows = np.zeros((n, o.width), np.int64)
        rows[:, o.RUN], rows[:, o.TICK], rows[:, o.N] = 1, places // self.per_tick, places
        rows[:, o.INSTRUMENT] = rng.choice(self.instruments, n)
        rows[:, o.AGENT], rows[:, o.ORDER] = rng.integers(0, self.agents, n), places + 1
        rows[rng.random(n) < 0.01, o.ORDER] -= 50
        rows[:, o.SIDE] = rng.integers(0, 2, n)
        drift = 1000 + (200 * np.sin(places / 40_000)).astype(np.int64)
        rows[:, o.PRICE] = drift + rng.integers(-width, width + 1, n)
        rows[:, o.QUANTITY] = rng.integers(1, 50, n)
        rows[:, o.TYPE] = rng.random(n) < 0.1
        rows[:, o.TIF] = rng.choice(3, n, p=(0.7, 0.15, 0.15))
        rows[:, o.USE], rows[:, o.TAX_RATE] = rng.integers(0, 5, n), rng.integers(0, 2000, n)
        # Few stand for ever: the naive book looks at every resting order again and again.
        lives = rng.random(n) < np.where(rows[:, o.TIF] == 0, 0.998, 0.5)
        rows[:, o.EXPIRES] = np.where(lives, rows[:, o.TICK] + rng.integers(1, self.life, n), 0)
        market = rows[:, o.TYPE] == OrderType.MARKET
        rows[market, o.PRICE] = 0
        rows[:, o.POST_ONLY] = ~market & (rows[:, o.TIF] == 0) & (rng.random(n) < 0.1)
        rows[:, o.CASH_CAP] = market & (rows[:, o.SIDE] == 0) & (rng.random(n) < 0.5)
        rows[:, o.CASH_CAP] *= rng.integers(1, 60_000, n) * PLAIN.multiplier
        asked = np.zeros((int(cancels.sum()), c.width), np.int64)
        if len(asked):
            which = self.recent[rng.integers(0, len(self.recent), len(asked))]
            asked[:, c.RUN], asked[:, c.TICK], asked[:, c.N] = (
                1,
                rows[cancels, o.TICK],
                rows[cancels, o.N],
            )
            asked[:, [c.INSTRUMENT, c.AGENT, c.ORDER]] = which
        self.sent += n
        new = rows[~cancels][:, [o.INSTRUMENT, o.AGENT, o.ORDER]]
        self.recent = np.concatenate((self.recent, new))[-60 * len(self.instruments) :]
        return rows[~cancels], asked, np.concatenate((np.flatnonzero(~cancels), np.flatnonzero(cancels)))


def drive(naive: NaiveBook, flow: Flow, multiplier: int) -> None:
    """The same records, one by one, to the naive book."""
    orders, cancels, arrival = flow
    listed = [(place, row) for place, row in zip(arrival.tolist(), [*orders.tolist(), *cancels.tolist()], strict=True)]
    for _, r in sorted(listed):
        if len(r) == c.width:
            naive.cancel(r[c.TICK], r[c.AGENT], r[c.ORDER])
        else:
            naive.submit(
                r[o.TICK], r[o.AGENT], r[o.ORDER], r[o.SIDE], KINDS[r[o.TYPE]], TIFS[r[o.TIF]], bool(r[o.POST_ONLY]),
                r[o.PRICE], r[o.QUANTITY], r[o.EXPIRES], r[o.USE], r[o.TAX_RATE], r[o.CASH_CAP] // multiplier,
            )  # fmt: skip


def against_naive(listed: Instrument, flows: list[Flow], rng: np.random.Generator) -> tuple[Invariants, Market]:
    """Feed the flows, batch by batch, to market and naive book, with a restore now and then."""
    market = Market(1, 7, 20, [listed])
    naive = NaiveBook(listed.reference_price, listed.band_bp, listed.breaker_bp, listed.halt_ticks)
    naive.until = listed.open_ticks - 1 if listed.open_ticks else None
    invariants, seq = Invariants(market), 0
    for orders, cancels, arrival in flows:
        out = market.match_free(orders, cancels, arrival)
        drive(naive, (orders, cancels, arrival), listed.multiplier)
        invariants.hold(market, orders, out)
        for rows in out.values():
            rows[:, 2] -= seq
        found = told(out)
        assert found == expected(naive, listed.multiplier)
        seq += len(found)
        naive.out.clear()
        if rng.random() < 0.1:
            market = Market.load(1, 7, 20, [listed], market.dump())
    return invariants, market


def long_flow(seed: int, records: int) -> None:
    rng = np.random.default_rng(seed)
    listed = replace(
        GUARDED, band_bp=int(rng.choice((0, 1000, 4000))), breaker_bp=int(rng.choice((0, 100, 300))),
        halt_ticks=int(rng.integers(1, 20)), open_ticks=int(rng.choice((0, 10))),
    )  # fmt: skip
    flow, batches = RandomFlow(seed, [5], agents=25, life=60, per_tick=int(rng.integers(2, 6))), []
    while flow.sent < records:
        batches.append(flow.batch(int(rng.integers(1, 3000))))
    invariants, _ = against_naive(listed, batches, rng)
    assert invariants.records[TradeExecuted.name] > records // 10
    assert listed.breaker_bp == 0 or invariants.records["TradingResumed"] > 5


@pytest.mark.parametrize("seed", [1, 2])
def test_random_orders_equal_the_naive_book(seed: int) -> None:
    long_flow(seed, 10_000)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 18))
def test_millions_of_random_orders_equal_the_naive_book(seed: int) -> None:
    long_flow(seed, 600_000)


def pieces(flow: Flow, size: int) -> list[Flow]:
    orders, cancels, arrival = flow
    n, out = len(orders), []
    for low in range(0, len(arrival), size):
        mine = (arrival >= low) & (arrival < low + size)
        out.append((orders[mine[:n]], cancels[mine[n:]], arrival[mine]))
    return out


@pytest.mark.parametrize("listed", [PLAIN, GUARDED], ids=["plain", "guarded"])
@pytest.mark.parametrize("hostile", FLOWS, ids=lambda f: f.__name__)
def test_hostile_flows_equal_the_naive_book(hostile: Callable[[int], Flow], listed: Instrument) -> None:
    against_naive(listed, pieces(hostile(1600), 400), np.random.default_rng(3))


@pytest.mark.soak
@pytest.mark.parametrize("listed", [PLAIN, GUARDED], ids=["plain", "guarded"])
@pytest.mark.parametrize("hostile", FLOWS, ids=lambda f: f.__name__)
def test_invariants_hold_over_long_hostile_flows(hostile: Callable[[int], Flow], listed: Instrument) -> None:
    market = Market(1, 7, 20, [listed])
    invariants = Invariants(market)
    for orders, cancels, arrival in pieces(hostile(20_000 if "storm" in hostile.__name__ else 400_000), 50_000):
        invariants.hold(market, orders, market.match_free(orders, cancels, arrival))


def many_books(books: int, epochs: int, records: int, width: int) -> None:
    listed = [
        replace(GUARDED, instrument=k, band_bp=5000 * (k % 2), breaker_bp=500 * (k % 3 > 0), fixing_ticks=20)
        for k in range(books)
    ]
    flow = RandomFlow(5, list(range(books)), agents=3000, life=400, per_tick=-(-records // 20))
    market = Market(1, 7, 20, listed)
    invariants = Invariants(market)
    for epoch in range(epochs):
        orders, cancels, _ = flow.batch(20 * flow.per_tick, width)
        invariants.hold(market, orders, market.match_epoch(epoch, orders, cancels))
        if epoch % 5 == 2:
            market = Market.load(1, 7, 20, listed, market.dump())
    assert {"TradeExecuted", "TradingHalted", "TradingResumed", "PriceBandChanged"} <= set(invariants.records)
    assert all(seq > 0 for seq in (invariants.next_seq[k] for k in range(books)))


def test_hundreds_of_instruments_in_epochs() -> None:
    many_books(300, 6, 20_000, 60)


@pytest.mark.soak
def test_hundreds_of_instruments_over_millions_of_orders() -> None:
    many_books(400, 40, 60_000, 500)


def test_a_hundred_thousand_levels_a_side() -> None:
    n = 100_000
    rows = np.zeros((2 * n, o.width), np.int64)
    rows[:, o.RUN], rows[:, o.INSTRUMENT], rows[:, o.QUANTITY] = 1, 5, 3
    rows[:, o.AGENT] = rows[:, o.ORDER] = rows[:, o.N] = np.arange(2 * n)
    rows[:, o.SIDE] = np.arange(2 * n) % 2
    away = np.random.default_rng(2).permutation(n) + 1
    rows[0::2, o.PRICE], rows[1::2, o.PRICE] = 10**6 - 7 * away, 10**6 + 7 * away
    market = Market(1, 7, 20, [PLAIN])
    invariants = Invariants(market)
    invariants.hold(market, rows, market.match_free(rows, NO_CANCELS, np.arange(2 * n)))
    assert [len(side) for side in market.depth(5, 2 * n)] == [n, n]
    market = Market.load(1, 7, 20, [PLAIN], market.dump())
    sweep = np.zeros((2, o.width), np.int64)
    sweep[:, o.RUN], sweep[:, o.INSTRUMENT], sweep[:, o.TYPE], sweep[:, o.QUANTITY] = (
        1,
        5,
        OrderType.MARKET,
        4 * n,
    )
    sweep[:, o.SIDE], sweep[:, o.AGENT] = (0, 1), 3 * n
    sweep[:, o.ORDER] = sweep[:, o.N] = (3 * n, 3 * n + 1)
    out = market.match_free(sweep, NO_CANCELS, np.arange(2))
    invariants.hold(market, sweep, out)
    assert len(out[TradeExecuted.name]) == 2 * n
    assert [len(side) for side in market.depth(5)] == [0, 0]


def test_a_flood_of_bad_records_leaves_nothing_behind() -> None:
    n = 20_000
    rows = np.zeros((n, o.width), np.int64)
    rows[:, o.RUN], rows[:, o.INSTRUMENT], rows[:, o.QUANTITY], rows[:, o.PRICE] = 1, 5, 1, 1000
    rows[:, o.ORDER] = rows[:, o.N] = np.arange(n)
    rows[::2, o.PRICE], rows[1::2, o.SIDE] = -1, 9
    market = Market(1, 7, 20, [PLAIN])
    size = sum(a.nbytes for a in market.dump().values())
    out = market.match_free(rows, NO_CANCELS, np.arange(n))
    Invariants(market).hold(market, rows, out)
    assert np.bincount(out[OrderRejected.name][:, OrderRejected.REASON]).tolist() == [
        n // 2 if reason in (RejectReason.MALFORMED, RejectReason.PRICE_OUT_OF_RANGE) else 0
        for reason in range(RejectReason.PRICE_OUT_OF_RANGE + 1)
    ]
    assert sum(a.nbytes for a in market.dump().values()) == size


def test_a_bad_record_moves_no_time() -> None:
    row = [1, 3, 2, 1, 1, 5, 0, 0, 0, 0, 1000, 10, 8, 0, 0, 0, 0]  # stands until tick 8
    bad = [1, 2**60, 2, 2, 2, 5, 0, 0, 0, 0, -1, 10, 0, 0, 0, 0, 0]
    market = Market(1, 7, 20, [GUARDED])
    for rows in (row, bad):
        market.match_free(np.array([rows]), NO_CANCELS, np.array([0]))
    out = market.match_free(np.empty((0, o.width), np.int64), np.array([[1, 4, 2, 3, 1, 5, 0]]), np.array([0]))
    assert out["OrderClosed"].tolist() == [[1, 5, 1, 4, 2, 1, CloseReason.CANCELLED, 10]]
    assert market.in_call(5)
