"""The market of one run and order partition: orders in, trades and terminal events out, over the book kernel.

Epoch mode sorts an epoch's orders per instrument by (tick, lottery, agent, n), so that neither arrival order nor
shards nor partitions show; the lottery is a keyed hash of (seed, tick, agent), so that nobody has a standing advantage.
Free mode takes records strictly in the order given. Each order ends in exactly one of: its trades add up to its
quantity, OrderClosed, OrderRejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from economy.errors import InputError
from economy.instruments import Instrument
from economy.markets.admission import ops_of, refuse_ahead
from economy.markets.matching.books import Books
from economy.markets.matching.ids import Counters, OrderIds
from economy.markets.matching.layout import CLOCK, TAG_BITS
from economy.markets.reports import Batch
from economy.numbers.units import INT64_MAX
from economy.records.events import (
    BookUpdated,
    Events,
    OrderRejected,
    PriceFixed,
    RejectReason,
    Rows,
    TradeExecuted,
)


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
            [(i.multiplier, i.tick_size, i.lot_size, int(i.instrument_class)) for i in self.instruments],
            np.int64,
        ).reshape(-1, 4)
        self._books = Books(max(1, len(ids)))
        self._order_ids = OrderIds()
        self._unlisted = Counters()  # next seq of instruments that are not listed
        self._prices = np.array([i.reference_price for i in self.instruments], np.int64)
        # Since the last fixing: notional and quantity, each as its high and low 32 bits, so that no sum overflows.
        self._turnover = np.zeros((len(ids), 4), np.int64)
        for slot, i in enumerate(self.instruments):
            self._books.set_reference(slot, i.reference_price)
            self._books.protect(slot, i.band_bp, i.breaker_bp, i.halt_ticks, i.tick_size, bool(i.auction_pressure))
            if i.open_ticks:
                self._books.begin_call(slot, i.open_ticks - 1)

    # ---- matching
    def match_epoch(self, epoch: int, orders: Rows, cancels: Rows) -> Events:
        """Match one epoch's records, in any order; expiries of a tick precede its orders.

        orders: OrderSubmitted rows, cancels: OrderCancelRequested rows, all with ticks of this epoch. Returns the
        rows of market.trades.v1, seq dense per instrument from 0.
        """
        ops, source = ops_of(orders, cancels, self._ids, self._static[:, :3])
        order = np.lexsort(
            (source[:, 3], source[:, 2], lottery(self.seed, source[:, 1], source[:, 2]), source[:, 1], ops[:, 1])
        )
        after = (epoch + 1) * self.epoch_ticks
        clock = np.zeros((len(self.instruments), 8), np.int64)
        clock[:, 0], clock[:, 1], clock[:, 6] = CLOCK, np.arange(len(self.instruments)), after
        out, batch = self._run(ops[order], source[order], clock)
        self._add_levels(out, batch.levels(), after - 1)
        self._fix(out, epoch)
        return out

    def match_free(self, orders: Rows, cancels: Rows, arrival: NDArray[np.int64]) -> Events:
        """Match records strictly in order of arrival.

        `arrival` (len(orders) + len(cancels),) holds the place of each row, orders first. Where one call ends and the
        next begins does not show in the result, so levels and fixings, which belong to epochs, are not published.
        Records whose tick is absurd are refused, see `refuse_ahead`: here time is what the records say.
        """
        ops, source = ops_of(orders, cancels, self._ids, self._static[:, :3])
        order = np.argsort(arrival, kind="stable")
        ops = ops[order]
        refuse_ahead(ops, self._books.times())
        return self._run(ops, source[order], np.zeros((0, 8), np.int64))[0]

    def _run(self, ops: Rows, source: Rows, clock: Rows) -> tuple[Events, Batch]:
        listed = ops[:, 1] >= 0
        out: Events = {}
        if not listed.all():
            out[OrderRejected.name] = self._reject_unlisted(ops[~listed], source[~listed])
            ops, source = ops[listed], source[listed]
        self._order_ids.mark(ops)
        all_ops = np.concatenate((ops, clock)) if len(clock) else ops
        batch = Batch(self._books.apply(all_ops), all_ops, source)
        for name, rows in batch.records(self.run, self._ids, self._static[:, 0], self._static[:, 3]).items():
            out[name] = np.concatenate((out[name], rows)) if name in out else rows
        if TradeExecuted.name in out:
            self._count(out[TradeExecuted.name])
        return out, batch

    def _count(self, trades: Rows) -> None:
        t = TradeExecuted
        slot = np.searchsorted(self._ids, trades[:, t.INSTRUMENT])
        for column, amount in ((0, trades[:, t.NOTIONAL]), (2, trades[:, t.QUANTITY])):
            np.add.at(self._turnover[:, column], slot, amount >> 32)
            np.add.at(self._turnover[:, column + 1], slot, amount & 0xFFFFFFFF)

    def _reject_unlisted(self, ops: Rows, source: Rows) -> Rows:
        r = OrderRejected
        rows = np.empty((len(ops), r.width), np.int64)
        rows[:, r.RUN] = self.run
        rows[:, [r.INSTRUMENT, r.TICK, r.AGENT, r.N]] = source[:, :4]
        rows[:, r.SEQ] = self._unlisted.number(source[:, 0])
        rows[:, r.ORDER] = ops[:, 2]
        rows[:, r.REASON] = RejectReason.UNKNOWN_INSTRUMENT
        return rows

    # ---- levels and valuation prices
    def _add_levels(self, out: Events, levels: Rows, tick: int) -> None:
        """BookUpdated for every level (slot, side, price), by slot."""
        b = BookUpdated
        rows = np.empty((len(levels), b.width), np.int64)
        rows[:, b.RUN] = self.run
        rows[:, b.INSTRUMENT] = self._ids[levels[:, 0]]
        rows[:, b.TICK] = tick
        rows[:, b.SIDE], rows[:, b.PRICE] = levels[:, 1], levels[:, 2]
        rows[:, b.QUANTITY] = self._books.level_totals(levels)
        for slot, at, count in zip(*np.unique(levels[:, 0], return_index=True, return_counts=True), strict=True):
            rows[at : at + count, b.SEQ] = self._books.take_seq(slot, count) + np.arange(count)
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

    def in_call(self, instrument: int) -> bool:
        """Whether a call collects the instrument's orders. Raises KeyError for an unlisted instrument."""
        return self._books.call_end(self._slot(instrument)) is not None

    def reference_price(self, instrument: int) -> int:
        """Price around which its bands lie, 0 = none. Raises KeyError for an unlisted instrument."""
        return self._books.reference(self._slot(instrument))

    def resting(self, instrument: int) -> tuple[Rows, Rows]:
        """(bids, asks): price, order, agent, quantity, expiry and arrival of each order, in priority order."""
        _, bids, asks = self._books.snapshot(self._slot(instrument))
        for side, rows in enumerate((bids, asks)):
            rows[:, 0] ^= side - 1
            rows[:, 5] >>= TAG_BITS
        return bids, asks

    def _slot(self, instrument: int) -> int:
        slot = int(np.searchsorted(self._ids, instrument))
        if slot == len(self._ids) or self._ids[slot] != instrument:
            raise KeyError(f"instrument {instrument} is not listed")
        return slot

    def relisted(self, instruments: Sequence[Instrument]) -> Market:
        """The market under other rules of trading for the same instruments: where bands and breakers change they lie
        around the valuation price of now."""
        market = Market.load(self.run, self.seed, self.epoch_ticks, instruments, self.dump())
        for slot, (before, now) in enumerate(zip(self.instruments, market.instruments, strict=True)):
            if before != now:
                market._books.set_reference(slot, int(market._prices[slot]))
        return market

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
