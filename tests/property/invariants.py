"""What must hold of a market after every batch, whatever was sent: the one place that says it."""

from __future__ import annotations

from collections import Counter

import numpy as np

from economy.markets.market import Market
from economy.records.canonical import INSTRUMENT, SEQ, TRADE_TYPES
from economy.records.events import (
    CloseReason,
    Events,
    OrderClosed,
    OrderRejected,
    OrderSubmitted,
    Rows,
    TradeExecuted,
    TradingHalted,
    TradingResumed,
)


class Invariants:
    """Follows a market from its start. Call `hold` with every batch, in order; it raises AssertionError."""

    def __init__(self, market: Market) -> None:
        self.next_seq: Counter[int] = Counter()
        self.open: dict[int, int] = {i.instrument: 0 for i in market.instruments}  # submitted - traded - closed
        self.calls = {i.instrument: market.in_call(i.instrument) for i in market.instruments}
        self.records: Counter[str] = Counter()

    def hold(self, market: Market, orders: Rows, out: Events) -> None:
        """`orders` are the OrderSubmitted rows of the batch that led to `out`."""
        assert set(out) <= set(TRADE_TYPES)
        self.records.update({name: len(rows) for name, rows in out.items()})
        self._seq_is_dense(out)
        self._calls_alternate(out)
        self._quantity_is_conserved(market, orders, out)
        self._trades_are_sound(out)
        for listed in market.instruments:
            self._book_is_consistent(market, listed.instrument)

    def _seq_is_dense(self, out: Events) -> None:
        keys = [rows[:, [INSTRUMENT, SEQ]] for rows in out.values()]
        rows = np.concatenate([np.empty((0, 2), np.int64), *keys])
        rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
        for instrument, first, count in zip(*np.unique(rows[:, 0], return_index=True, return_counts=True), strict=True):
            start = self.next_seq[int(instrument)]
            assert (rows[first : first + count, 1] == np.arange(start, start + count)).all(), f"gap at {instrument}"
            self.next_seq[int(instrument)] += int(count)

    def _calls_alternate(self, out: Events) -> None:
        none = np.empty((0, 3), np.int64)
        turns = [(*r[[INSTRUMENT, SEQ]].tolist(), True) for r in out.get(TradingHalted.name, none)]
        turns += [(*r[[INSTRUMENT, SEQ]].tolist(), False) for r in out.get(TradingResumed.name, none)]
        for instrument, _, halted in sorted(turns):
            assert self.calls[instrument] != halted, "a halt follows a resumption and the other way round"
            self.calls[instrument] = halted

    def _quantity_is_conserved(self, market: Market, orders: Rows, out: Events) -> None:
        """Submitted = traded (on both sides) + resting + closed; what was rejected was never there."""
        o, r, t, c = OrderSubmitted, OrderRejected, TradeExecuted, OrderClosed
        refused = out.get(r.name, np.empty((0, r.width), np.int64))
        identity = {(a, n) for a, n in refused[:, [r.AGENT, r.N]].tolist()}
        taken = np.array([(a, n) not in identity for a, n in orders[:, [o.AGENT, o.N]].tolist()], np.bool_)
        for rows, column, sign in (
            (orders[taken], o.QUANTITY, 1),
            (out.get(t.name, np.empty((0, t.width), np.int64)), t.QUANTITY, -2),
            (out.get(c.name, np.empty((0, c.width), np.int64)), c.QUANTITY, -1),
        ):
            of = rows[:, o.INSTRUMENT] if rows.shape[1] == o.width else rows[:, INSTRUMENT]
            for instrument in np.unique(of).tolist():
                self.open[instrument] += sign * int(rows[of == instrument, column].astype(object).sum())
        for instrument, left in self.open.items():
            resting = sum(int(side[:, 3].astype(object).sum()) for side in market.resting(instrument) if len(side))
            assert left == resting, f"instrument {instrument}: {left} must rest, {resting} do"

    @staticmethod
    def _trades_are_sound(out: Events) -> None:
        t, c = TradeExecuted, OrderClosed
        if t.name in out:
            rows = out[t.name]
            assert (rows[:, t.QUANTITY] > 0).all()
            assert (rows[:, t.PRICE] > 0).all()
            assert (rows[:, t.MAKER_AGENT] != rows[:, t.TAKER_AGENT]).all(), "nobody trades with himself"
        if c.name in out:
            assert (out[c.name][:, c.QUANTITY] > 0).all()
            assert (out[c.name][:, c.REASON] != CloseReason.RUN_CLOSED).all()

    def _book_is_consistent(self, market: Market, instrument: int) -> None:
        assert self.calls[instrument] == market.in_call(instrument)
        sides = market.resting(instrument)
        deep = market.depth(instrument, 1 + max(map(len, sides)))
        for side, (rows, levels) in enumerate(zip(sides, deep, strict=True)):
            if not len(rows):
                assert not len(levels)
                continue
            rank = rows[:, 0] if side else -rows[:, 0]
            step, later = np.diff(rank), np.diff(rows[:, 5])
            assert ((step > 0) | ((step == 0) & (later > 0))).all(), "price, then time"
            starts = np.flatnonzero(np.r_[True, step != 0])
            sums = np.column_stack(
                (rows[starts, 0], np.add.reduceat(rows[:, 3], starts), np.diff(np.r_[starts, len(rows)]))
            )
            assert (levels == sums).all(), "price, quantity and number of orders of every level"
            assert (rows[:, 3] > 0).all()
        bids, asks = sides
        crossed = len(bids) and len(asks) and bids[0, 0] >= asks[0, 0]
        assert market.in_call(instrument) or not crossed, f"instrument {instrument} is crossed"
