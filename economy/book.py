"""One order book for people: a plain Python face of the matching kernel, usable without Kafka.

    >>> book = OrderBook()
    >>> book.add(order=1, agent=7, side=Side.SELL, price=101, quantity=5).rested
    5
    >>> [(t.price, t.quantity) for t in book.add(order=2, agent=8, side=Side.BUY, price=102, quantity=3).trades]
    [(101, 3)]

Prices and quantities are integers (price steps and lots); an agent's order ids rise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from economy.errors import InputError
from economy.events import CloseReason, RejectReason, Side, TimeInForce
from economy.matching.books import Books
from economy.matching.ids import OrderIds
from economy.matching.layout import CANCEL, CLOCK, CLOSE, MARKET, MAX, REJECT, TRADE
from economy.units import INT64_MAX

Snapshot = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Trade:
    """An execution at the price of the resting order."""

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
class Outcome:
    """All that one call caused, in order. `closed` holds other orders' expiries too; `rested` is what now stands."""

    trades: tuple[Trade, ...] = ()
    closed: tuple[Close, ...] = ()
    rejected: RejectReason | None = None
    rested: int = 0


class OrderBook:
    """Price-time priority with GTC, IOC, FOK, post-only, expiry and self-trade prevention (cancel newest)."""

    def __init__(self) -> None:
        self._books = Books(1)
        self._order_ids = OrderIds()
        self._now = 0

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
        return {"head": head, "bids": bids, "asks": asks, "now": now, "ids": self._order_ids.dump()}

    @classmethod
    def restore(cls, snapshot: Snapshot) -> OrderBook:
        """A book that goes on exactly as the one that was saved."""
        book = cls()
        book._now = int(snapshot["now"][0])
        book._order_ids.load(snapshot["ids"])
        book._books.restore(0, snapshot["head"], snapshot["bids"], snapshot["asks"])
        return book

    def _run(self, op: list[int], side: Side) -> Outcome:
        trades, closed, rejected, gone = [], [], None, 0
        ops = np.array([op], np.int64)
        self._order_ids.mark(ops)
        for code, _, seq, price, quantity, order, agent, _ in self._books.apply(ops).tolist():
            kind, reason = code & 255, ((code >> 8) & 255) - 1
            if kind == TRADE:
                trades.append(Trade(seq, price, quantity, order, agent, op[2], op[3], side))
            elif kind == CLOSE:
                closed.append(Close(seq, order, agent, quantity, CloseReason(reason)))
                gone += quantity if (order, agent) == (op[2], op[3]) else 0
            elif kind == REJECT:
                rejected = RejectReason(reason)
        is_order = op[0] >= 0 and op[0] & 3 < CANCEL and rejected is None
        rested = op[5] - sum(t.quantity for t in trades) - gone if is_order else 0
        return Outcome(tuple(trades), tuple(closed), rejected, rested)


def _check(**values: int) -> None:
    for name, value in values.items():
        if not -INT64_MAX - 1 <= value <= INT64_MAX:
            raise InputError(name, value, "it must fit in 64 bits")
