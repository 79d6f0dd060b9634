"""Execution reports: from the events of the matching kernel to the records of market.trades.v1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from economy.markets.admission import TAX_MASK, USE_SHIFT
from economy.markets.matching.layout import BAND, CALL_TAKER, CALL_TRADE, CLOSE, HALT, REJECT, RESUME, STOOD, TRADE
from economy.records.canonical import sort_traded
from economy.records.events import (
    CloseReason,
    Events,
    HaltReason,
    OrderClosed,
    OrderRejected,
    PriceBandChanged,
    Rows,
    TimeInForce,
    TradeExecuted,
    TradingHalted,
    TradingResumed,
)

Column = NDArray[np.int64]
BP: Final = 10_000  # tax rates are in 0.0001


def tax_of(notional: NDArray[np.int64], rate: NDArray[np.int64]) -> NDArray[np.int64]:
    """floor(notional x rate / 10,000) without overflow for any int64 notional and rates below 16,384."""
    return notional // BP * rate + notional % BP * rate // BP


@dataclass(frozen=True)
class Batch:
    """What the kernel made of a batch: events (m, 8), the ops (n, 8) that it ran, and per op, clocks at the end left
    out, (instrument, tick, agent, n, use, tax rate)."""

    events: Rows
    ops: Rows
    source: Rows

    def of(self, kind: int) -> Rows:
        """The events of a kind."""
        return self.events[self.events[:, 0] & 255 == kind]

    def records(self, run: int, ids: NDArray[np.int64], multiplier: Rows, classes: Rows) -> Events:
        """The records, by name; those of an instrument in the order of seq.

        `ids`, `multiplier` and `classes` (slots,): number, money per price step and lot, and class of each instrument.
        """
        if not len(self.events):
            return {}
        happened = np.bincount(self.events[:, 0] & 255, minlength=BAND + 1)
        found: Events = {}
        if happened[TRADE]:
            found[TradeExecuted.name] = self._trades(int(happened[TRADE]))
        if happened[REJECT]:
            found[OrderRejected.name] = self._rejects()
        if happened[CLOSE]:
            found[OrderClosed.name] = self._closes(int(happened[CLOSE]))
        if happened[HALT]:
            found[TradingHalted.name] = self._halts()
        if happened[CALL_TRADE]:
            calls = self._call_trades()
            rows = np.concatenate((found[TradeExecuted.name], calls)) if happened[TRADE] else calls
            found[TradeExecuted.name] = sort_traded(rows)
        if happened[RESUME]:
            found[TradingResumed.name] = self._stamped(RESUME, TradingResumed.width)
        if happened[BAND]:
            found[PriceBandChanged.name] = self._stamped(BAND, PriceBandChanged.width)
        if TradeExecuted.name in found:
            trades = found[TradeExecuted.name]
            _value(trades, multiplier[trades[:, 1]], classes[trades[:, 1]])
        for rows in found.values():
            rows[:, 0], rows[:, 1] = run, ids[rows[:, 1]]
        return found

    def levels(self) -> Rows:
        """(slot, side, price) of every level at which an order came to rest, traded, was cancelled, withdrawn or
        expired."""
        touched = _touched(self.events, self.ops)
        # np.unique over rows would sort them as bytes, which takes four times as long.
        levels = touched[np.lexsort((touched[:, 2], touched[:, 0] << 1 | touched[:, 1]))]
        return _distinct(levels)

    # ---- records with the slot in place of the instrument, and the run still open
    def _trades(self, count: int) -> Rows:
        t = TradeExecuted
        rows = np.empty((count, t.width), np.int64)
        # Columns by name: their places may change with the schema, and a compiled function would not notice.
        _fill_trades(
            self.events, self.ops, self.source, rows[:, t.INSTRUMENT], rows[:, t.SEQ], rows[:, t.TICK],
            rows[:, t.PRICE], rows[:, t.QUANTITY], rows[:, t.MAKER_ORDER], rows[:, t.MAKER_AGENT],
            rows[:, t.TAKER_ORDER], rows[:, t.TAKER_AGENT], rows[:, t.TAKER_SIDE], rows[:, t.USE], rows[:, t.TAX],
        )  # fmt: skip
        return rows

    def _call_trades(self) -> Rows:
        t, events, takers = TradeExecuted, self.of(CALL_TRADE), self.of(CALL_TAKER)
        rows = np.empty((len(events), t.width), np.int64)
        rows[:, t.INSTRUMENT] = self.ops[events[:, 1], 1]
        rows[:, [t.SEQ, t.PRICE, t.QUANTITY, t.MAKER_ORDER, t.MAKER_AGENT]] = events[:, 2:7]
        rows[:, [t.TICK, t.TAKER_ORDER, t.TAKER_AGENT]] = takers[:, [2, 5, 6]]
        rows[:, t.TAKER_SIDE] = events[:, 0] >> 16 & 1
        tag = np.where(rows[:, t.TAKER_SIDE] == 0, takers[:, 7], events[:, 7])
        rows[:, t.USE], rows[:, t.TAX] = tag >> USE_SHIFT, tag & TAX_MASK
        return rows

    def _rejects(self) -> Rows:
        r, events = OrderRejected, self.of(REJECT)
        rows = np.empty((len(events), r.width), np.int64)
        rows[:, [r.TICK, r.AGENT, r.N]] = self.source[events[:, 1], 1:4]
        rows[:, [r.ORDER, r.INSTRUMENT]] = self.ops[events[:, 1]][:, [2, 1]]
        rows[:, r.SEQ] = events[:, 2]
        rows[:, r.REASON] = (events[:, 0] >> 8 & 255) - 1
        return rows

    def _closes(self, count: int) -> Rows:
        c = OrderClosed
        rows = np.empty((count, c.width), np.int64)
        _fill_closes(
            self.events, self.ops, rows[:, c.INSTRUMENT], rows[:, c.SEQ], rows[:, c.TICK], rows[:, c.QUANTITY],
            rows[:, c.ORDER], rows[:, c.AGENT], rows[:, c.REASON],
        )  # fmt: skip
        return rows

    def _halts(self) -> Rows:
        h, events = TradingHalted, self.of(HALT)
        rows = np.empty((len(events), h.width), np.int64)
        rows[:, [h.INSTRUMENT, h.TICK]] = self.ops[events[:, 1]][:, [1, 6]]
        rows[:, [h.SEQ, h.PRICE, h.UNTIL]] = events[:, 2:5]
        rows[:, h.REASON] = HaltReason.CIRCUIT_BREAKER
        return rows

    def _stamped(self, kind: int, width: int) -> Rows:
        """TradingResumed and PriceBandChanged: run, instrument, seq, tick and two numbers."""
        events = self.of(kind)
        rows = np.empty((len(events), width), np.int64)
        rows[:, 1] = self.ops[events[:, 1], 1]
        rows[:, [2, 3, 4, 5]] = events[:, [2, 7, 3, 4]]
        return rows


@njit(cache=True, nogil=True)
def _touched(events: Rows, ops: Rows) -> Rows:
    """(slot, side, price) of what `Batch.levels` names, with repeats."""
    found, n = np.empty((ops.shape[0] + 2 * events.shape[0], 3), np.int64), 0
    for op in ops:
        if op[0] >= 0 and op[0] & 3 == 0 and op[0] >> 3 & 3 == TimeInForce.GTC:
            found[n] = op[1], op[0] >> 2 & 1, op[4]
            n += 1
    for i in range(events.shape[0]):
        code, slot = events[i, 0], ops[events[i, 1], 1]
        kind, side = code & 255, code >> 16 & 1
        if kind in (TRADE, CALL_TAKER):
            found[n] = slot, 1 - side, events[i, 3]
            n += 1
        own = kind == CLOSE and ((code >> 8 & 255) - 1 <= CloseReason.EXPIRED or code & STOOD != 0)
        if kind == CALL_TAKER or own:
            found[n] = slot, side, events[i, 4 if kind == CALL_TAKER else 3]
            n += 1
    return found[:n]


@njit(cache=True, nogil=True)
def _distinct(rows: Rows) -> Rows:
    """Sorted rows of three without repeats, in their own place."""
    n = 0
    for i in range(rows.shape[0]):
        if n and rows[i, 0] == rows[n - 1, 0] and rows[i, 1] == rows[n - 1, 1] and rows[i, 2] == rows[n - 1, 2]:
            continue
        rows[n] = rows[i]
        n += 1
    return rows[:n]


@njit(cache=True, nogil=True)
def _fill_trades(
    events: Rows, ops: Rows, source: Rows, instrument: Column, seq: Column, tick: Column, price: Column,
    quantity: Column, maker_order: Column, maker_agent: Column, taker_order: Column, taker_agent: Column, side: Column,
    use: Column, rate: Column,
) -> None:  # fmt: skip
    n = 0
    for i in range(events.shape[0]):
        if events[i, 0] & 255 != TRADE:
            continue
        op = events[i, 1]
        instrument[n], taker_order[n], taker_agent[n] = ops[op, 1], ops[op, 2], ops[op, 3]
        seq[n], price[n], quantity[n] = events[i, 2], events[i, 3], events[i, 4]
        maker_order[n], maker_agent[n], tick[n] = events[i, 5], events[i, 6], source[op, 1]
        side[n] = events[i, 0] >> 16 & 1
        if side[n] == 0:  # the buyer's use and tax rate: of the taker, or in the maker's tag
            use[n], rate[n] = source[op, 4], source[op, 5]
        else:
            use[n], rate[n] = events[i, 7] >> USE_SHIFT, events[i, 7] & TAX_MASK
        n += 1


@njit(cache=True, nogil=True)
def _fill_closes(
    events: Rows, ops: Rows, instrument: Column, seq: Column, tick: Column, quantity: Column, order: Column,
    agent: Column, reason: Column,
) -> None:  # fmt: skip
    n = 0
    for i in range(events.shape[0]):
        code = events[i, 0]
        if code & 255 != CLOSE:
            continue
        op = events[i, 1]
        instrument[n], seq[n], quantity[n] = ops[op, 1], events[i, 2], events[i, 4]
        order[n], agent[n], reason[n] = events[i, 5], events[i, 6], (code >> 8 & 255) - 1
        # An expired order closed at the end of its last tick, whichever op made the book look.
        own = reason[n] == CloseReason.EXPIRED or code & STOOD != 0
        tick[n] = events[i, 7] if own else ops[op, 6]
        n += 1


def _value(rows: Rows, multiplier: Rows, classes: Rows) -> None:
    """Fill in what a trade is worth; its tax column holds the rate so far."""
    t = TradeExecuted
    rows[:, t.INSTRUMENT_CLASS] = classes
    rows[:, t.NOTIONAL] = rows[:, t.PRICE] * rows[:, t.QUANTITY] * multiplier
    rows[:, t.TAX] = tax_of(rows[:, t.NOTIONAL], rows[:, t.TAX])
