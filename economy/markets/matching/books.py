"""Owner of the arrays of many books: growth, events, calls and their auctions, depth, snapshot, restore."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray

from economy.markets.auction import Clearing, clearing, price_range, self_crossing
from economy.markets.matching import walk
from economy.markets.matching.kernel import run
from economy.markets.matching.layout import BAND, GUESS, HW, MAX, MIN, OPEN_END, RESUME, TAG_BITS, K
from economy.markets.matching.tree import node_new
from economy.markets.matching.uncross import uncross, withdraw
from economy.records.events import Rows

_NO_EVENTS = np.zeros((0, 8), np.int64)


def _aligned(words: int, dtype: Any = np.int64) -> NDArray[Any]:
    """Zeroed and aligned to a cache line."""
    raw = np.zeros(words * np.dtype(dtype).itemsize + 64, np.uint8)
    offset = -raw.ctypes.data % 64
    return raw[offset : offset + words * np.dtype(dtype).itemsize].view(dtype)


class Books:
    """The books of instruments 0..n-1 (slots). Memory grows with resting orders only.

    The map's seed is random, so that nobody can choose order ids which collide; it never shows in results.
    """

    def __init__(self, instruments: int, orders: int = 512, events: int = 16_384) -> None:
        self.instruments = instruments
        self.counters = np.zeros(16, np.int64)
        self.counters[[1, 3, 5]] = 1
        self.counters[7] = secrets.randbits(62) | 1
        self.heads = _aligned(instruments * HW)
        self.heads32 = self.heads.view(np.uint32)
        self.path = np.zeros(GUESS + 16, np.int64)
        self.orders, self.levels = _aligned(8 * 64), _aligned(4 * 64)
        self.node_keys, self.node_values = _aligned(K * 8), _aligned(K * 8, np.uint32)
        self.node_counts = _aligned(16, np.uint32)
        self.map = _aligned(128)
        self.counters[6] = 127
        self.events = _aligned(8 * events)
        self._views()
        self.order_room = self.node_room = 0
        self.reserve(orders, 2 * instruments + 16)
        self._rules = np.zeros(
            (instruments, 4), np.int64
        )  # band and breaker in 0.0001, tick size, pressure in auctions
        self._rules[:, 2] = 1
        for slot in range(instruments):
            line = slot * HW
            self.heads[line + 1 : line + 4] = MAX, MIN, MAX
            self.set_reference(slot, 0)
            for side in (line + 8, line + 16):
                self.heads[side] = MAX
                leaf = node_new(self.counters, self.node_keys, self.node_counts, self.node_values)
                self.heads32[2 * side + 5] = self.heads32[2 * side + 6] = leaf

    def _views(self) -> None:
        self.orders32, self.levels32 = self.orders.view(np.uint32), self.levels.view(np.uint32)

    def _fit(self, name: str, words: int) -> None:
        old = getattr(self, name)
        if words > old.size:
            new = _aligned(max(words, 2 * old.size), old.dtype)
            new[: old.size] = old
            setattr(self, name, new)

    def reserve(self, orders: int, nodes: int) -> None:
        """Make room for that many resting orders (and levels) and tree nodes in all."""
        if orders > self.order_room:
            orders = max(orders, 2 * self.order_room)
            self._fit("orders", (orders + 2) * 8)
            self._fit("levels", (orders + 2) * 4)
            self._views()
            self.map = _aligned(1 << (2 * orders - 1).bit_length())
            self.counters[6] = self.map.size - 1
            walk.mark_free(self.counters, self.orders, self.orders32)
            walk.rehash(self.counters, self.map, self.orders, self.orders32, self.levels32)
            self.order_room = orders
        if nodes > self.node_room:
            nodes = max(nodes, 2 * self.node_room)
            self._fit("node_keys", (nodes + 18) * K)
            self._fit("node_values", (nodes + 18) * K)
            self._fit("node_counts", nodes + 18)
            self.node_room = nodes

    def apply(self, ops: Rows) -> Rows:
        """Run ops (n, 8) in order and return the events (m, 8); see layout.py for both."""
        out: list[Rows] = []
        flat, n, at = np.ascontiguousarray(ops).reshape(-1), len(ops), 0
        while at < n:
            at, m = run(
                flat, at, n, self.counters, self.heads, self.heads32, self.levels, self.levels32, self.orders,
                self.orders32, self.node_keys, self.node_values, self.node_counts, self.map, self.path, self.events, 0,
                self.events.size // 8, self.order_room, self.node_room,
            )  # fmt: skip
            if m:
                out.append(self.events[: 8 * m].reshape(m, 8).copy())
            if at < n:
                if self.counters[11]:
                    out.append(self.end_call(int(self.counters[11]) - 1, at))
                    self.counters[11] = 0
                elif self.counters[8] >= self.order_room or self.counters[10] >= self.node_room:
                    self.reserve(int(self.counters[8]) + 1, int(self.counters[10]) + 1)
                elif m == 0:
                    self.events = _aligned(2 * self.events.size)
        if len(out) == 1:
            return out[0]
        return np.concatenate(out) if out else _NO_EVENTS

    # ---- bands, breakers and calls
    def protect(
        self, slot: int, band_bp: int, breaker_bp: int, halt_ticks: int, tick_size: int, pressure: bool = False
    ) -> None:
        """Width of the price band and of the range in which trades print, in 0.0001 of the reference (0 = unbounded),
        length of a halt, the grid of auction prices, and whether the side of the surplus decides between them."""
        self._rules[slot] = band_bp, breaker_bp, tick_size, pressure
        self.heads[slot * HW + 15] = halt_ticks
        self.set_reference(slot, self.reference(slot))

    def reference(self, slot: int) -> int:
        """Reference price of bands, breaker and auctions; 0 = none."""
        return int(self.heads[slot * HW + 23])

    def set_reference(self, slot: int, price: int) -> None:
        """Set the reference price, and with it the band and the range in which trades print."""
        line = slot * HW
        band_bp, breaker_bp, _, _ = self._rules[slot].tolist()
        self.heads[line + 23] = price
        # The two outermost prices at each end mean other things to the kernel.
        self.heads[line + 6 : line + 8] = price_range(price, band_bp) if band_bp else (MIN + 2, MAX - 2)
        low, high = price_range(price, breaker_bp) if breaker_bp else (MIN, MAX)
        self.heads[line + 13 : line + 15] = ~high, ~low
        self.heads[line + 21 : line + 23] = low, high

    def band(self, slot: int) -> tuple[int, int]:
        """(lowest, highest) limit that is accepted."""
        low, high = self.heads[slot * HW + 6 : slot * HW + 8].tolist()
        return low, high

    def call_end(self, slot: int) -> int | None:
        """Last tick of the call in progress, OPEN_END where only `end_call` ends it; None in continuous trading."""
        end = int(self.heads[slot * HW + 3])
        return None if end == MAX else end

    def begin_call(self, slot: int, last_tick: int = OPEN_END) -> None:
        """Stop trading and collect orders; the auction comes before the first op behind `last_tick`."""
        self.heads[slot * HW + 3] = min(last_tick, OPEN_END)

    def _determine(self, slot: int) -> tuple[Rows, Clearing | None]:
        """(orders that overlap with an older one of their own agent: id, agent, by arrival; where the others clear)."""
        _, bids, asks = self.snapshot(slot)
        bids[:, 0] ^= -1
        if not len(bids) or not len(asks) or bids[0, 0] < asks[0, 0]:
            return np.empty((0, 2), np.int64), None
        bids, asks = bids[bids[:, 0] >= asks[0, 0]], asks[asks[:, 0] <= bids[0, 0]]
        rows = np.concatenate((bids, asks))
        side = np.repeat([0, 1], [len(bids), len(asks)])
        gone = self_crossing(rows[:, 2], side, rows[:, 0], rows[:, 5] >> TAG_BITS)
        stays = np.ones(len(rows), np.bool_)
        stays[gone] = False
        bids, asks = (rows[stays & (side == k)][:, [0, 3]] for k in (0, 1))
        _, _, grid, pressure = self._rules[slot].tolist()
        cleared = clearing(bids, asks, self.reference(slot), grid, bool(pressure))
        return np.ascontiguousarray(rows[gone][:, 1:3]), cleared

    def indicative(self, slot: int) -> Clearing | None:
        """Where the book would clear if a call ended now; None when no bid reaches an ask."""
        return self._determine(slot)[1]

    def _midpoint(self, slot: int) -> int:
        """Midpoint of the best bid and ask, floored to the tick grid; 0 when a side is empty."""
        bid, ask = (self.depth(slot, side, 1) for side in (0, 1))
        grid = int(self._rules[slot, 2])
        return (int(bid[0, 0]) + int(ask[0, 0])) // 2 // grid * grid if len(bid) and len(ask) else 0

    def end_call(self, slot: int, row: int = 0) -> Rows:
        """Auction at the end of a call, then continuous trading; returns the events, stamped with its last tick.

        The price of the auction is the new reference; where nothing traded, the midpoint of the book is. `row` is the op
        that stands for the auction in the events.
        """
        tick = int(self.heads[slot * HW + 3])
        self.heads[slot * HW + 3] = MAX
        gone, cleared = self._determine(slot)
        room = _aligned(8 * (len(gone) + 2 * (self.resting(slot, 0) + self.resting(slot, 1)) + 1))
        books = (
            self.counters, self.heads, self.heads32, self.levels, self.levels32, self.orders, self.orders32,
            self.node_keys, self.node_values, self.node_counts, self.map, self.path, room,
        )  # fmt: skip
        m = withdraw(gone, slot, row, tick, *books)
        out = [room[: 8 * m].reshape(m, 8).copy()]
        price = volume = 0
        if cleared is not None:
            price, volume = cleared.price, cleared.volume
            m = uncross(price, volume, slot, row, tick, *books)
            out.append(room[: 8 * m].reshape(m, 8).copy())
        out.append(np.array([[RESUME, row, self.take_seq(slot, 1), price, volume, 0, 0, tick]], np.int64))
        before = self.band(slot)
        self.set_reference(slot, price or self._midpoint(slot) or self.reference(slot))
        if self.band(slot) != before:
            low, high = self.band(slot)
            out.append(np.array([[BAND, row, self.take_seq(slot, 1), low, high, 0, 0, tick]], np.int64))
        return np.concatenate(out)

    def _side(self, slot: int, side: int) -> int:
        return slot * HW + 8 + 8 * side

    def depth(self, slot: int, side: int, n: int = 10) -> Rows:
        """(price, quantity, orders) of the best n levels, best first; side 0 = bids."""
        out = np.empty((n, 3), np.int64)
        found = walk.depth(
            self.heads32, 2 * self._side(slot, side), self.node_keys, self.node_values, self.node_counts, self.levels,
            self.levels32, self.path, n, out,
        )  # fmt: skip
        out = out[:found]
        out[:, 0] ^= side - 1
        return out

    def level_totals(self, levels: Rows) -> NDArray[np.int64]:
        """Quantity resting at each (slot, side, price), 0 where there is none."""
        out = np.empty(len(levels), np.int64)
        walk.level_totals(levels, self.heads32, self.node_keys, self.node_values, self.levels, out)
        return out

    def take_seq(self, slot: int, count: int) -> int:
        """Reserve `count` sequence numbers of an instrument; returns the first."""
        first = int(self.heads[slot * HW])
        self.heads[slot * HW] += count
        return first

    def times(self) -> NDArray[np.int64]:
        """Tick of the latest op of each instrument, 0 before the first."""
        return np.maximum(self.heads[2::HW], 0)

    def resting(self, slot: int, side: int) -> int:
        """Number of resting orders of a side."""
        return int(self.heads32[2 * self._side(slot, side) + 8])

    def snapshot(self, slot: int) -> tuple[NDArray[np.int64], Rows, Rows]:
        """(header, bids, asks); rows in priority order: key, id, agent, quantity, expiry, arrival and tag."""
        sides = []
        for side in (0, 1):
            rows = np.empty((self.resting(slot, side), 6), np.int64)
            walk.dump(
                self.heads32, 2 * self._side(slot, side), self.node_keys, self.node_values, self.node_counts,
                self.levels32, self.orders, self.orders32, self.path, self.levels, rows,
            )  # fmt: skip
            sides.append(rows)
        header = np.append(self.heads[slot * HW : slot * HW + 6], self.reference(slot))
        return header, sides[0], sides[1]

    def restore(self, slot: int, header: NDArray[np.int64], bids: Rows, asks: Rows) -> None:
        """Put a snapshot into an empty book; tree shape and slots may differ from before, results do not."""
        for k in (0, 2, 3, 5):
            self.heads[slot * HW + k] = header[k]
        self.set_reference(slot, int(header[6]))
        for side, rows in enumerate((bids, asks)):
            self.reserve(int(self.counters[8]) + len(rows), int(self.counters[10]) + len(rows) // (K // 2) + 16)
            walk.load(
                np.ascontiguousarray(rows), slot, side, self.counters, self.heads, self.heads32, self.levels,
                self.levels32, self.orders, self.orders32, self.node_keys, self.node_values, self.node_counts, self.map,
                self.path,
            )  # fmt: skip
