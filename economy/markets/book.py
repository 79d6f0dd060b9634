"""One order book for people: a plain Python face of the matching kernel, usable without Kafka.

    >>> book = OrderBook()
    >>> book.add(order=1, agent=7, side=Side.SELL, price=101, quantity=5).rested
    5
    >>> [(t.price, t.quantity) for t in book.add(order=2, agent=8, side=Side.BUY, price=102, quantity=3).trades]
    [(101, 3)]

Prices and quantities are integers (price steps and lots); an agent's order ids rise. A call collects orders without
trading and ends with an auction at one price:

    >>> book.halt().notices
    (Halted(seq=1, price=0, until=None),)
    >>> book.add(order=3, agent=8, side=Side.BUY, price=105, quantity=9).rested
    9
    >>> book.auction()
    Clearing(price=101, volume=2, imbalance=7)
    >>> [(t.price, t.quantity) for t in book.resume().trades]
    [(101, 2)]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from economy.errors import InputError
from economy.instruments import check_protection
from economy.markets.auction import Clearing
from economy.markets.matching.books import Books
from economy.markets.matching.ids import OrderIds
from economy.markets.matching.layout import (
    BAND,
    CALL_TRADE,
    CANCEL,
    CLOCK,
    CLOSE,
    HALT,
    MARKET,
    MAX,
    OPEN_END,
    REJECT,
    RESUME,
    TRADE,
)
from economy.numbers.units import INT64_MAX
from economy.records.events import CloseReason, RejectReason, Side, TimeInForce

Snapshot = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Trade:
    """An execution at the price of the resting order, or of the auction, whose maker is the older of the two orders."""

    seq: int
    price: int
    quantity: int
    maker_order: int
    maker_agent: int
    taker_order: int
    taker_agent: int
    taker_side: Side


@dataclass(frozen=True)
class Close:
    """The end of an order that was not filled: what was left, and why."""

    seq: int
    order: int
    agent: int
    quantity: int
    reason: CloseReason


@dataclass(frozen=True)
class Level:
    """Quantity and number of orders that rest at a price."""

    price: int
    quantity: int
    orders: int


@dataclass(frozen=True)
class Halted:
    """A call began: by the trade that would have printed at `price` (0 = by hand), up to the end of tick `until`."""

    seq: int
    price: int
    until: int | None


@dataclass(frozen=True)
class Resumed:
    """A call ended with an auction of `quantity` at `price` (both 0 = nothing traded)."""

    seq: int
    price: int
    quantity: int


@dataclass(frozen=True)
class BandChanged:
    """Limits outside low..high are rejected from now on."""

    seq: int
    low: int
    high: int


@dataclass(frozen=True)
class Outcome:
    """All that one request caused, in order. `closed` holds other orders' ends too; `rested` is what now stands."""

    trades: tuple[Trade, ...] = ()
    closed: tuple[Close, ...] = ()
    rejected: RejectReason | None = None
    rested: int = 0
    notices: tuple[Halted | Resumed | BandChanged, ...] = ()


class OrderBook:
    """Price-time priority with GTC, IOC, FOK, post-only, expiry and self-trade prevention (cancel newest).

    Limits outside `band_bp` (0.0001) around the reference price are rejected. A trade that would print further than
    `breaker_bp` from it starts a call of `halt_ticks` instead, and trading opens behind a call of `open_ticks`. A call
    takes in limit orders (good till cancelled or to a tick) and cancels, and rejects everything else as halted. When
    its last tick is over (see `advance`), an auction ends it, whose price is the new reference; where nothing traded,
    the midpoint of the book is. 0 switches each off. With `auction_pressure` the side of the surplus decides between
    equal prices of an auction before the reference price does.
    Raises InputError for parameters that cannot be.
    """

    def __init__(
        self, *, reference_price: int = 0, band_bp: int = 0, breaker_bp: int = 0, halt_ticks: int = 0,
        open_ticks: int = 0, auction_pressure: bool = False,
    ) -> None:  # fmt: skip
        check_protection(reference_price, band_bp, breaker_bp, halt_ticks, open_ticks)
        self._books = Books(1)
        self._books.set_reference(0, reference_price)
        self._protect(band_bp, breaker_bp, halt_ticks, auction_pressure)
        if open_ticks:
            self._books.begin_call(0, open_ticks - 1)
        self._order_ids = OrderIds()
        self._now = 0

    def _protect(self, band_bp: int, breaker_bp: int, halt_ticks: int, pressure: int) -> None:
        self._protection = (band_bp, breaker_bp, halt_ticks, int(pressure))
        self._books.protect(0, band_bp, breaker_bp, halt_ticks, tick_size=1, pressure=bool(pressure))

    def add(
        self, *, order: int, agent: int, side: Side, quantity: int, price: int | None = None,
        time_in_force: TimeInForce = TimeInForce.GTC, post_only: bool = False, expires: int | None = None,
        cash_cap: int | None = None,
    ) -> Outcome:  # fmt: skip
        """Submit an order; without a price it is a market order, whose unfilled rest is cancelled.

        `expires` is the last tick at which a limit order stands; `cash_cap` bounds price x quantity of a market buy.
        What the market would reject is an Outcome with `rejected`; raises InputError for what no record can hold.
        """
        _check(order=order, agent=agent, quantity=quantity, price=price or 0, expires=expires or 0, cap=cash_cap or 0)
        if cash_cap is not None and (price is not None or side != Side.BUY or cash_cap < 1):
            raise InputError("cash_cap", cash_cap, "give a positive cap, and only to a market buy")
        if price is None and (post_only or expires is not None):
            raise InputError("price", price, "give a limit price: a market order never rests")
        kind = MARKET if price is None else 0
        code = kind | int(side) << 2 | int(time_in_force) << 3 | int(post_only) << 5
        if quantity <= 0:
            code = -(int(RejectReason.QUANTITY_OUT_OF_RANGE) + 1)
        elif price is not None and not 0 < price <= INT64_MAX // 2:
            code = -(int(RejectReason.PRICE_OUT_OF_RANGE) + 1)
        elif post_only and time_in_force != TimeInForce.GTC:
            code = -(int(RejectReason.MALFORMED) + 1)
        limit = (cash_cap or 0) if price is None else price
        return self._run([code, 0, order, agent, limit, quantity, self._now, MAX if expires is None else expires], side)

    def cancel(self, *, order: int, agent: int) -> Outcome:
        """Cancel a resting order of its own agent."""
        _check(order=order, agent=agent)
        return self._run([CANCEL, 0, order, agent, 0, 0, self._now, 0], Side.BUY)

    def advance(self, tick: int) -> Outcome:
        """Let time pass: orders whose last tick lies before `tick` expire. Raises InputError when time runs back."""
        if tick < self._now:
            raise InputError("tick", tick, f"time cannot run back from {self._now}")
        self._now = tick
        return self._run([CLOCK, 0, 0, 0, 0, 0, tick, 0], Side.BUY)

    def halt(self, ticks: int | None = None) -> Outcome:
        """Begin a call: for so many ticks behind this one, or until `resume`. Raises InputError during a call."""
        if self.in_call:
            raise InputError("ticks", ticks, "a call is in progress; end it with resume()")
        if ticks is not None and not 0 <= ticks <= INT64_MAX // 2:
            raise InputError("ticks", ticks, "use zero or a positive number")
        until = None if ticks is None else self._now + ticks
        self._books.begin_call(0, OPEN_END if until is None else until)
        return Outcome(notices=(Halted(self._books.take_seq(0, 1), 0, until),))

    def resume(self) -> Outcome:
        """End the call now, with its auction. Raises InputError in continuous trading."""
        if not self.in_call:
            raise InputError("call", "none", "begin one with halt()")
        self._books.begin_call(0, self._now)
        return self._told(self._books.end_call(0).tolist(), [CLOCK] + [0] * 7, Side.BUY)

    def auction(self) -> Clearing | None:
        """Price, volume and imbalance if a call ended now; None when no bid reaches an ask. Changes nothing."""
        return self._books.indicative(0)

    @property
    def in_call(self) -> bool:
        """Whether orders are collected instead of matched."""
        return self._books.call_end(0) is not None

    @property
    def reference_price(self) -> int:
        """Price around which bands lie: of the last auction, before the first the one given; 0 = none."""
        return self._books.reference(0)

    @property
    def band(self) -> tuple[int, int] | None:
        """(lowest, highest) limit accepted; None without a band."""
        return self._books.band(0) if self._protection[0] else None

    def best(self, side: Side) -> Level | None:
        """Best level of a side, None when it is empty."""
        levels = self.depth(1, side)
        return levels[0] if levels else None

    def depth(self, levels: int, side: Side) -> list[Level]:
        """The best levels of a side, best first."""
        return [Level(*row) for row in self._books.depth(0, int(side), levels).tolist()]

    def snapshot(self) -> dict[str, NDArray[np.int64]]:
        """The whole state as arrays."""
        head, bids, asks = self._books.snapshot(0)
        now = np.array([self._now], np.int64)
        protection = np.array(self._protection, np.int64)
        return {
            "head": head, "bids": bids, "asks": asks, "now": now, "ids": self._order_ids.dump(),
            "protection": protection,
        }  # fmt: skip

    @classmethod
    def restore(cls, snapshot: Snapshot) -> OrderBook:
        """A book that goes on exactly as the one that was saved."""
        book = cls()
        book._protect(*snapshot["protection"].tolist())
        book._now = int(snapshot["now"][0])
        book._order_ids.load(snapshot["ids"])
        book._books.restore(0, snapshot["head"], snapshot["bids"], snapshot["asks"])
        return book

    def _run(self, op: list[int], side: Side) -> Outcome:
        ops = np.array([op], np.int64)
        self._order_ids.mark(ops)
        return self._told(self._books.apply(ops).tolist(), op, side)

    @staticmethod
    def _told(events: list[list[int]], op: list[int], side: Side) -> Outcome:
        trades: list[Trade] = []
        closed: list[Close] = []
        notices: list[Halted | Resumed | BandChanged] = []
        rejected = None
        filled = gone = 0
        for at, (code, _, seq, price, quantity, order, agent, _) in enumerate(events):
            reason = ((code >> 8) & 255) - 1
            kind = code & 255
            if kind == TRADE:
                trades.append(Trade(seq, price, quantity, order, agent, op[2], op[3], side))
                filled += quantity
            elif kind == CALL_TRADE:
                taker, taker_agent = events[at + 1][5:7]
                trades.append(Trade(seq, price, quantity, order, agent, taker, taker_agent, Side((code >> 16) & 1)))
            elif kind == CLOSE:
                closed.append(Close(seq, order, agent, quantity, CloseReason(reason)))
                gone += quantity if (order, agent) == (op[2], op[3]) else 0
            elif kind == REJECT:
                rejected = RejectReason(reason)
            elif kind == HALT:
                notices.append(Halted(seq, price, quantity))
            elif kind == RESUME:
                notices.append(Resumed(seq, price, quantity))
            elif kind == BAND:
                notices.append(BandChanged(seq, price, quantity))
        is_order = op[0] >= 0 and op[0] & 3 < CANCEL and rejected is None
        rested = op[5] - filled - gone if is_order else 0
        return Outcome(tuple(trades), tuple(closed), rejected, rested, tuple(notices))


def _check(**values: int) -> None:
    for name, value in values.items():
        if not -INT64_MAX - 1 <= value <= INT64_MAX:
            raise InputError(name, value, "it must fit in 64 bits")
