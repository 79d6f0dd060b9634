"""The order book driven side by side with the naive one by a state machine: equal after every step."""

from __future__ import annotations

import copy
import doctest
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import economy.markets.book
from economy.errors import InputError
from economy.markets.book import BandChanged, Halted, OrderBook, Outcome, Resumed
from economy.records.events import RejectReason, Side, TimeInForce
from tests.property.naive_book import NaiveBook

PRICES = st.integers(95, 105) | st.sampled_from([1, 2**56])
AGENTS = st.integers(1, 4)
WORDS = {Halted: "halt", Resumed: "resume", BandChanged: "band"}


class BookMachine(RuleBasedStateMachine):
    @initialize(
        band_bp=st.sampled_from((0, 0, 300, 800)), breaker_bp=st.sampled_from((0, 200, 500)),
        halt_ticks=st.integers(1, 6), open_ticks=st.sampled_from((0, 0, 4)),
    )  # fmt: skip
    def start(self, band_bp: int, breaker_bp: int, halt_ticks: int, open_ticks: int) -> None:
        self.book = OrderBook(
            reference_price=100, band_bp=band_bp, breaker_bp=breaker_bp, halt_ticks=halt_ticks, open_ticks=open_ticks
        )
        self.naive = NaiveBook(100, band_bp, breaker_bp, halt_ticks)
        self.naive.until = open_ticks - 1 if open_ticks else None
        self.tick, self.next = 1, 1  # the naive book's expiry 0 means never
        self.book.advance(1)
        self.submitted = self.traded = self.gone = self.seq = 0

    def compare(self, outcome: Outcome, order: int, agent: int) -> None:
        expected, self.naive.out = self.naive.out, []
        trades = [e for e in expected if e[0] == "trade"]
        assert [
            (t.price, t.quantity, t.maker_agent, t.maker_order, t.taker_agent, t.taker_order) for t in outcome.trades
        ] == [e[1:7] for e in trades]
        closes = sorted((e[1:] for e in expected if e[0] == "close"), key=str)
        assert (
            sorted(((c.agent, c.order, c.reason.name.lower(), c.quantity) for c in outcome.closed), key=str) == closes
        )
        told = [(WORDS[type(n)], *vars(n).values()) for n in outcome.notices]
        assert [(word, *values) for word, _, *values in told] == [e for e in expected if e[0] in WORDS.values()]
        self.dense([*outcome.trades, *outcome.closed, *outcome.notices], outcome.rejected is not None)
        rejected = [e[3] for e in expected if e[0] == "reject"]
        assert ([] if outcome.rejected is None else [outcome.rejected.name.lower()]) == rejected
        rests = [o.left for o in self.naive.orders if (o.agent, o.order) == (agent, order)]
        if not rejected:
            assert outcome.rested == (rests[0] if rests else 0)
        self.traded += sum(t.quantity for t in outcome.trades)
        self.gone += sum(c.quantity for c in outcome.closed)

    def dense(self, outputs: list[Any], rejected: bool) -> None:
        """Numbers of what came out: each one more than the last; a rejection has one too, but does not show it."""
        seqs = sorted(x.seq for x in outputs)
        assert seqs == list(range(self.seq, self.seq + len(seqs)))
        self.seq += len(seqs) + rejected

    @rule(
        agent=AGENTS, side=st.sampled_from(Side), price=PRICES, quantity=st.integers(1, 30),
        tif=st.sampled_from(TimeInForce), post_only=st.booleans(), life=st.none() | st.integers(0, 5),
        reuse=st.integers(0, 9),
    )  # fmt: skip
    def limit(
        self, agent: int, side: Side, price: int, quantity: int, tif: TimeInForce, post_only: bool, life: int | None,
        reuse: int,
    ) -> None:  # fmt: skip
        order = self.next if reuse else max(1, self.next - 1)  # sometimes an id that is taken
        self.next += 1
        expires = None if life is None else self.tick + life
        post_only = post_only and tif == TimeInForce.GTC  # the other combinations are malformed
        outcome = self.book.add(
            order=order, agent=agent, side=side, quantity=quantity, price=price, time_in_force=tif,
            post_only=post_only, expires=expires,
        )  # fmt: skip
        self.naive.submit(
            self.tick, agent, order, int(side), "limit", tif.name.lower(), post_only, price, quantity, expires or 0
        )
        if outcome.rejected is None:
            self.submitted += quantity
        self.compare(outcome, order, agent)

    @rule(
        agent=AGENTS, side=st.sampled_from(Side), quantity=st.integers(1, 60), tif=st.sampled_from(TimeInForce),
    )  # fmt: skip
    def market(self, agent: int, side: Side, quantity: int, tif: TimeInForce) -> None:
        order, self.next = self.next, self.next + 1
        outcome = self.book.add(order=order, agent=agent, side=side, quantity=quantity, time_in_force=tif)
        self.naive.submit(self.tick, agent, order, int(side), "market", tif.name.lower(), False, 0, quantity)
        if outcome.rejected is None:
            self.submitted += quantity
        self.compare(outcome, order, agent)

    @rule(agent=AGENTS, back=st.integers(1, 12))
    def cancel(self, agent: int, back: int) -> None:
        order = max(1, self.next - back)
        outcome = self.book.cancel(order=order, agent=agent)
        self.naive.cancel(self.tick, agent, order)
        before = self.traded
        self.compare(outcome, -1, -1)
        assert self.traded == before

    @rule(ticks=st.integers(1, 4))
    def advance(self, ticks: int) -> None:
        self.tick += ticks
        outcome = self.book.advance(self.tick)
        self.naive.advance(self.tick)
        self.compare(outcome, -1, -1)

    @precondition(lambda self: not self.book.in_call)
    @rule(ticks=st.none() | st.integers(0, 5))
    def halt(self, ticks: int | None) -> None:
        outcome = self.book.halt(ticks)
        until = None if ticks is None else self.tick + ticks
        assert outcome.notices == (Halted(self.seq, 0, until),)
        self.naive.until = float("inf") if until is None else until
        self.seq += 1

    @precondition(lambda self: self.book.in_call)
    @rule()
    def resume(self) -> None:
        outcome = self.book.resume()
        self.naive.end_call()
        self.compare(outcome, -1, -1)

    @rule()
    def what_the_auction_would_do(self) -> None:
        ahead = copy.deepcopy(self.naive)
        ahead.end_call()
        expected = next(e[1:] for e in ahead.out if e[0] == "resume")
        found = self.book.auction()
        assert ((found.price, found.volume) if found else (0, 0)) == expected

    @rule()
    def save_and_restore(self) -> None:
        self.book = OrderBook.restore(self.book.snapshot())

    @invariant()
    def same_depth_never_crossed_and_nothing_lost(self) -> None:
        if not hasattr(self, "book"):
            return
        resting = 0
        for side in Side:
            levels: dict[int, list[int]] = {}
            for o in self.naive.best_first(int(side)):
                levels.setdefault(o.price, []).append(o.left)
            found = self.book.depth(1000, side)
            assert [(x.price, x.quantity, x.orders) for x in found] == [(p, sum(q), len(q)) for p, q in levels.items()]
            resting += sum(x.quantity for x in found)
        bid, ask = self.book.best(Side.BUY), self.book.best(Side.SELL)
        assert self.book.in_call == (self.naive.until is not None)
        assert self.book.in_call or bid is None or ask is None or bid.price < ask.price
        assert self.book.reference_price == self.naive.reference
        assert self.book.band == (self.naive.around(self.naive.band_bp) if self.naive.band_bp else None)
        assert self.submitted == 2 * self.traded + self.gone + resting


TestBook = BookMachine.TestCase
TestBook.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


def test_bad_input_is_refused_by_name() -> None:
    book = OrderBook()
    with pytest.raises(InputError, match="quantity"):
        book.add(order=1, agent=1, side=Side.BUY, quantity=2**63, price=1)
    with pytest.raises(InputError, match="cash_cap"):
        book.add(order=1, agent=1, side=Side.SELL, quantity=1, cash_cap=5)
    with pytest.raises(InputError, match="price"):
        book.add(order=1, agent=1, side=Side.BUY, quantity=1, post_only=True)
    with pytest.raises(InputError, match="tick"):
        book.advance(-1)
    for wrong in ({"band_bp": 5}, {"breaker_bp": 5, "reference_price": 9}, {"reference_price": -1}):
        with pytest.raises(InputError):
            OrderBook(**wrong)
    with pytest.raises(InputError, match="halt"):
        book.resume()
    book.halt(3)
    with pytest.raises(InputError, match="resume"):
        book.halt()
    book.resume()
    refused = book.add(order=1, agent=1, side=Side.BUY, quantity=1, price=-3)
    assert refused.rejected == RejectReason.PRICE_OUT_OF_RANGE
    assert book.best(Side.BUY) is None


def test_the_documentation_is_true() -> None:
    assert doctest.testmod(economy.markets.book).failed == 0
