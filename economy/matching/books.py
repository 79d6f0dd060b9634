"""Owner of the arrays of many books: growth, events, depth, snapshot, restore."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray

from economy.events import Rows
from economy.matching import walk
from economy.matching.kernel import run
from economy.matching.layout import HW, MAX, MIN, K
from economy.matching.tree import node_new


def _aligned(words: int, dtype: Any = np.int64) -> NDArray[Any]:
    """Zeroed and aligned to a cache line."""
    raw = np.zeros(words * np.dtype(dtype).itemsize + 64, np.uint8)
    offset = -raw.ctypes.data % 64
    return raw[offset : offset + words * np.dtype(dtype).itemsize].view(dtype)


class Books:
    """The books of instruments 0..n-1 (slots). Memory grows with resting orders only.

    The map's seed is random, so that nobody can choose order ids which collide; it never shows in results.
    """

    def __init__(self, instruments: int, orders: int = 512, events: int = 4096) -> None:
        self.instruments = instruments
        self.counters = np.zeros(16, np.int64)
        self.counters[[1, 3, 5]] = 1
        self.counters[7] = secrets.randbits(62) | 1
        self.heads = _aligned(instruments * HW)
        self.heads32 = self.heads.view(np.uint32)
        self.path = np.zeros(64, np.int64)
        self.orders, self.levels = _aligned(8 * 64), _aligned(4 * 64)
        self.node_keys, self.node_values = _aligned(K * 8), _aligned(K * 8, np.uint32)
        self.node_counts = _aligned(16, np.uint32)
        self.map = _aligned(128)
        self.counters[6] = 127
        self.events = _aligned(8 * events)
        self._views()
        self.order_room = self.node_room = 0
        self.reserve(orders, 2 * instruments + 16)
        for slot in range(instruments):
            line = slot * HW
            self.heads[line + 1], self.heads[line + 2] = MAX, MIN
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
                if self.counters[8] >= self.order_room or self.counters[10] >= self.node_room:
                    self.reserve(int(self.counters[8]) + 1, int(self.counters[10]) + 1)
                elif m == 0:
                    self.events = _aligned(2 * self.events.size)
        return np.concatenate(out) if out else np.zeros((0, 8), np.int64)

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

    def level_total(self, slot: int, side: int, price: int) -> int:
        """Quantity resting at a price, 0 where there is none."""
        return int(
            walk.level_total(
                self.heads32, 2 * self._side(slot, side), self.node_keys, self.node_values, self.levels,
                price ^ (side - 1),
            )
        )  # fmt: skip

    def take_seq(self, slot: int, count: int) -> int:
        """Reserve `count` sequence numbers of an instrument; returns the first."""
        first = int(self.heads[slot * HW])
        self.heads[slot * HW] += count
        return first

    def resting(self, slot: int, side: int) -> int:
        """Number of resting orders of a side."""
        return int(self.heads32[2 * self._side(slot, side) + 8])

    def next_expiry(self, slot: int) -> int:
        """Earliest last tick of a resting order, MAX = none expires."""
        return int(self.heads[slot * HW + 1])

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
        return self.heads[slot * HW : slot * HW + 6].copy(), sides[0], sides[1]

    def restore(self, slot: int, header: NDArray[np.int64], bids: Rows, asks: Rows) -> None:
        """Put a snapshot into an empty book; tree shape and slots may differ from before, results do not."""
        for k in (0, 2, 3, 5):
            self.heads[slot * HW + k] = header[k]
        for side, rows in enumerate((bids, asks)):
            self.reserve(int(self.counters[8]) + len(rows), int(self.counters[10]) + len(rows) // (K // 2) + 16)
            walk.load(
                np.ascontiguousarray(rows), slot, side, self.counters, self.heads, self.heads32, self.levels,
                self.levels32, self.orders, self.orders32, self.node_keys, self.node_values, self.node_counts, self.map,
                self.path,
            )  # fmt: skip
