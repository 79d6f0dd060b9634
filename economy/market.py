"""The market of one run and order partition: orders in, trades and terminal events out, over the book kernel.

Epoch mode sorts an epoch's orders per instrument by (tick, lottery, agent, n), so that neither arrival order nor
shards nor partitions show; the lottery is a keyed hash of (seed, tick, agent), so that nobody has a standing advantage.
Free mode takes records strictly in the order given. Each order ends in exactly one of: its trades add up to its
quantity, OrderClosed, OrderRejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from economy.admission import TAX_MASK, USE_SHIFT, ops_of
from economy.errors import InputError
from economy.events import (
    BookUpdated,
    CloseReason,
    Events,
    OrderClosed,
    OrderRejected,
    PriceFixed,
    RejectReason,
    Rows,
    TimeInForce,
    TradeExecuted,
)
from economy.instruments import Instrument
from economy.matching.books import Books
from economy.matching.ids import Counters, OrderIds
from economy.matching.layout import CLOCK, CLOSE, REJECT, TRADE
from economy.units import INT64_MAX

BP: Final = 10_000  # tax rates and bands are in 0.0001


@njit(cache=True)
def lottery(seed: int, ticks: NDArray[np.int64], agents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keyed hash of (seed, tick, agent): splitmix64's finaliser over the three words (Steele et al. 2014)."""
    out = np.empty(ticks.size, np.int64)
    for i in range(ticks.size):
        x = np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(ticks[i] + 1)
        for word in (np.uint64(0), np.uint64(agents[i])):
            x ^= word * np.uint64(0xD1B54A32D192ED03)
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x ^= x >> np.uint64(31)
        out[i] = np.int64(x >> np.uint64(1))
    return out


def tax_of(notional: NDArray[np.int64], rate: NDArray[np.int64]) -> NDArray[np.int64]:
    """floor(notional x rate / 10,000) without overflow for any int64 notional and rates below 16,384."""
    return notional // BP * rate + notional % BP * rate // BP


class Market:
    """Order books of one run's instruments in one partition, with sequence numbers and valuation prices."""

    def __init__(self, run: int, seed: int, epoch_ticks: int, instruments: Iterable[Instrument]) -> None:
        self.run = run
        self.seed = seed
        self.epoch_ticks = epoch_ticks
        self.instruments: tuple[Instrument, ...] = tuple(sorted(instruments, key=lambda i: i.instrument))
        ids = [i.instrument for i in self.instruments]
        if len(set(ids)) != len(ids):
            raise InputError("instrument", ids, "list each instrument once")
        self._ids = np.array(ids, np.int64)
        self._static = np.array(
            [
                (i.multiplier, i.tick_size, i.lot_size, *self._band(i), int(i.instrument_class))
                for i in self.instruments
            ],
            np.int64,
        ).reshape(-1, 6)
        self._books = Books(max(1, len(ids)))
        self._order_ids = OrderIds()
        self._unlisted = Counters()  # next seq of instruments that are not listed
        self._prices = np.array([i.reference_price for i in self.instruments], np.int64)
        # Since the last fixing: notional and quantity, each as its high and low 32 bits, so that no sum overflows.
        self._turnover = np.zeros((len(ids), 4), np.int64)
        self._closed_levels = np.empty((0, 3), np.int64)  # (slot, side, price) of the last batch's closes

    @staticmethod
    def _band(instrument: Instrument) -> tuple[int, int]:
        if not instrument.band_bp:
            return 1, INT64_MAX
        width = instrument.reference_price * instrument.band_bp // BP
        return max(1, instrument.reference_price - width), instrument.reference_price + width

    # ---- matching
    def match_epoch(self, epoch: int, orders: Rows, cancels: Rows) -> Events:
        """Match one epoch's records, in any order; expiries of a tick precede its orders.

        orders: OrderSubmitted rows, cancels: OrderCancelRequested rows, all with ticks of this epoch. Returns the
        rows of market.trades.v1, seq dense per instrument from 0.
        """
        ops, source = ops_of(orders, cancels, self._ids, self._static[:, :5])
        order = np.lexsort(
            (source[:, 3], source[:, 2], lottery(self.seed, source[:, 1], source[:, 2]), source[:, 1], ops[:, 1])
        )
        after = (epoch + 1) * self.epoch_ticks
        clock = np.zeros((len(self.instruments), 8), np.int64)
        clock[:, 0], clock[:, 1], clock[:, 6] = CLOCK, np.arange(len(self.instruments)), after
        out = self._run(ops[order], source[order], clock)
        self._add_levels(out, ops, after - 1)
        self._fix(out, epoch)
        return out

    def match_free(self, orders: Rows, cancels: Rows, arrival: NDArray[np.int64]) -> Events:
        """Match records strictly in order of arrival.

        `arrival` (len(orders) + len(cancels),) holds the place of each row, orders first. Where one call ends and the
        next begins does not show in the result, so levels and fixings, which belong to epochs, are not published.
        """
        ops, source = ops_of(orders, cancels, self._ids, self._static[:, :5])
        order = np.argsort(arrival, kind="stable")
        return self._run(ops[order], source[order], np.zeros((0, 8), np.int64))

    def _run(self, ops: Rows, source: Rows, clock: Rows) -> Events:
        self._closed_levels = np.empty((0, 3), np.int64)
        listed = ops[:, 1] >= 0
        out: dict[str, list[Rows]] = {}
        if not listed.all():
            out.setdefault(OrderRejected.name, []).append(self._reject_unlisted(ops[~listed], source[~listed]))
            ops, source = ops[listed], source[listed]
        self._order_ids.mark(ops)
        events = self._books.apply(np.concatenate((ops, clock)) if len(clock) else ops)
        if len(events):
            kind = events[:, 0] & 255
            all_ops = np.concatenate((ops, clock)) if len(clock) else ops
            for wanted, name, build in (
                (TRADE, TradeExecuted.name, self._trades),
                (REJECT, OrderRejected.name, self._rejects),
                (CLOSE, OrderClosed.name, self._closes),
            ):
                chosen = events[kind == wanted]
                if len(chosen):
                    out.setdefault(name, []).append(build(chosen, all_ops, source))
        return {name: np.concatenate(parts) for name, parts in out.items()}

    def _reject_unlisted(self, ops: Rows, source: Rows) -> Rows:
        r = OrderRejected
        rows = np.empty((len(ops), r.width), np.int64)
        rows[:, r.RUN] = self.run
        rows[:, [r.INSTRUMENT, r.TICK, r.AGENT, r.N]] = source[:, :4]
        rows[:, r.SEQ] = self._unlisted.number(source[:, 0])
        rows[:, r.ORDER] = ops[:, 2]
        rows[:, r.REASON] = RejectReason.UNKNOWN_INSTRUMENT
        return rows

    def _trades(self, events: Rows, ops: Rows, source: Rows) -> Rows:
        t = TradeExecuted
        op, who = ops[events[:, 1]], source[events[:, 1]]
        side = (events[:, 0] >> 16) & 1
        rows = np.empty((len(events), t.width), np.int64)
        rows[:, t.RUN] = self.run
        rows[:, t.INSTRUMENT] = who[:, 0]
        rows[:, [t.SEQ, t.PRICE, t.QUANTITY, t.MAKER_ORDER, t.MAKER_AGENT]] = events[:, 2:7]
        rows[:, t.TICK] = who[:, 1]
        rows[:, t.TAKER_AGENT] = op[:, 3]
        rows[:, t.TAKER_ORDER] = op[:, 2]
        rows[:, t.TAKER_SIDE] = side
        buys = side == 0
        rows[:, t.USE] = np.where(buys, who[:, 4], events[:, 7] >> USE_SHIFT)
        rows[:, t.INSTRUMENT_CLASS] = self._static[op[:, 1], 5]
        notional = rows[:, t.PRICE] * rows[:, t.QUANTITY] * self._static[op[:, 1], 0]
        rows[:, t.NOTIONAL] = notional
        rows[:, t.TAX] = tax_of(notional, np.where(buys, who[:, 5], events[:, 7] & TAX_MASK))
        for column, amount in ((0, notional), (2, rows[:, t.QUANTITY])):
            np.add.at(self._turnover[:, column], op[:, 1], amount >> 32)
            np.add.at(self._turnover[:, column + 1], op[:, 1], amount & 0xFFFFFFFF)
        return rows

    def _rejects(self, events: Rows, ops: Rows, source: Rows) -> Rows:
        r = OrderRejected
        who = source[events[:, 1]]
        rows = np.empty((len(events), r.width), np.int64)
        rows[:, r.RUN] = self.run
        rows[:, [r.INSTRUMENT, r.TICK, r.AGENT, r.N]] = who[:, :4]
        rows[:, r.SEQ] = events[:, 2]
        rows[:, r.ORDER] = ops[events[:, 1], 2]
        rows[:, r.REASON] = ((events[:, 0] >> 8) & 255) - 1
        return rows

    def _closes(self, events: Rows, ops: Rows, source: Rows) -> Rows:
        c = OrderClosed
        rows = np.empty((len(events), c.width), np.int64)
        rows[:, c.RUN] = self.run
        rows[:, c.INSTRUMENT] = self._ids[ops[events[:, 1], 1]]
        rows[:, [c.SEQ, c.QUANTITY, c.ORDER, c.AGENT]] = events[:, [2, 4, 5, 6]]
        rows[:, c.REASON] = ((events[:, 0] >> 8) & 255) - 1
        rested = rows[:, c.REASON] <= CloseReason.EXPIRED  # cancelled or expired; the others never stood in the book
        self._closed_levels = np.column_stack((ops[events[:, 1], 1], (events[:, 0] >> 16) & 1, events[:, 3]))[rested]
        # An expired order closed at the end of its last tick, whichever op made the book look.
        expired = rows[:, c.REASON] == CloseReason.EXPIRED
        rows[:, c.TICK] = np.where(expired, events[:, 7], ops[events[:, 1], 6])
        return rows

    # ---- levels and valuation prices
    def _add_levels(self, out: Events, ops: Rows, tick: int) -> None:
        """BookUpdated for every level at which an order rested, traded, was cancelled or expired."""
        touched: list[Rows] = []
        resting = ops[(ops[:, 0] >= 0) & ((ops[:, 0] & 3) == 0) & (((ops[:, 0] >> 3) & 3) == TimeInForce.GTC)]
        if len(resting):
            touched.append(np.column_stack((resting[:, 1], (resting[:, 0] >> 2) & 1, resting[:, 4])))
        t = TradeExecuted
        if t.name in out:
            rows = out[t.name]
            slot = np.searchsorted(self._ids, rows[:, t.INSTRUMENT])
            touched.append(np.column_stack((slot, 1 - rows[:, t.TAKER_SIDE], rows[:, t.PRICE])))
        closed = self._closed_levels
        if len(closed):
            touched.append(closed)
        if not touched:
            return
        levels = np.unique(np.concatenate(touched), axis=0)
        levels = levels[levels[:, 0] >= 0]
        b = BookUpdated
        rows = np.empty((len(levels), b.width), np.int64)
        rows[:, b.RUN] = self.run
        rows[:, b.INSTRUMENT] = self._ids[levels[:, 0]]
        rows[:, b.TICK] = tick
        rows[:, b.SIDE], rows[:, b.PRICE] = levels[:, 1], levels[:, 2]
        for i, (book, side, price) in enumerate(levels.tolist()):
            rows[i, b.QUANTITY] = self._books.level_total(book, side, price)
            rows[i, b.SEQ] = self._books.take_seq(book, 1)
        if len(rows):
            out[b.name] = rows

    def _fix(self, out: Events, epoch: int) -> None:
        """PriceFixed where an interval of fixing ends with this epoch: floor of the volume-weighted price, or kept."""
        start, end = epoch * self.epoch_ticks, (epoch + 1) * self.epoch_ticks
        fixed = []
        for slot, instrument in enumerate(self.instruments):
            every = instrument.fixing_ticks
            if not every or end // every == start // every:
                continue
            high, low, high_quantity, low_quantity = self._turnover[slot].tolist()
            notional, quantity = (high << 32) + low, (high_quantity << 32) + low_quantity
            if quantity:
                self._prices[slot] = max(1, notional // (quantity * int(self._static[slot, 0])))
            seq = self._books.take_seq(slot, 1)
            shown = min(quantity, INT64_MAX)
            fixed.append((self.run, instrument.instrument, seq, end // every * every - 1, self._prices[slot], shown))
            self._turnover[slot] = 0
        if fixed:
            out[PriceFixed.name] = np.array(fixed, np.int64)

    # ---- queries
    def depth(self, instrument: int, levels: int = 10) -> tuple[Rows, Rows]:
        """(bids, asks), each (price, quantity, orders) best first. Raises KeyError for an unlisted instrument."""
        slot = self._slot(instrument)
        return self._books.depth(slot, 0, levels), self._books.depth(slot, 1, levels)

    def _slot(self, instrument: int) -> int:
        slot = int(np.searchsorted(self._ids, instrument))
        if slot == len(self._ids) or self._ids[slot] != instrument:
            raise KeyError(f"instrument {instrument} is not listed")
        return slot

    # ---- snapshots
    def dump(self) -> dict[str, NDArray[np.int64]]:
        """State at a cut, as arrays; `load` gives a market with the same future."""
        state = {
            "prices": self._prices.copy(),
            "fixing": self._turnover.copy(),
            "ids": self._order_ids.dump(),
            "unlisted": self._unlisted.dump(),
        }
        for slot, instrument in enumerate(self.instruments):
            header, bids, asks = self._books.snapshot(slot)
            name = instrument.instrument
            state |= {f"{name}.head": header, f"{name}.bids": bids, f"{name}.asks": asks}
        return state

    @classmethod
    def load(
        cls,
        run: int,
        seed: int,
        epoch_ticks: int,
        instruments: Sequence[Instrument],
        state: Mapping[str, NDArray[np.int64]],
    ) -> Market:
        """A market with the instruments and the dumped state."""
        market = cls(run, seed, epoch_ticks, instruments)
        market._prices[:] = state["prices"]
        market._turnover[:] = state["fixing"]
        market._order_ids.load(state["ids"])
        market._unlisted.load(state["unlisted"])
        for slot, instrument in enumerate(market.instruments):
            name = instrument.instrument
            market._books.restore(slot, state[f"{name}.head"], state[f"{name}.bids"], state[f"{name}.asks"])
        return market
