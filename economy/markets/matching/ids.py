"""Marks per (instrument, agent): a hash table that numba fills, 24 bytes a row, at most half full."""

from __future__ import annotations

import secrets

import numpy as np
from numpy.typing import NDArray

from economy.markets.matching.idmap import order_hash
from economy.markets.matching.layout import PF, USED_ID, jit, prefetch, u
from economy.records.events import Rows

_FAR = 1 << 14  # rows from which prefetching pays: the nearer caches hold less


@jit
def _place(seed, marks, slot, agent):
    """Row of (slot + 1, agent, highest id), or of the empty row where it belongs."""
    mask = marks.shape[0] - 1
    at = order_hash(seed, slot, agent, 0) & mask
    while marks[u(at), 0] != 0 and (marks[u(at), 0] != slot + 1 or marks[u(at), 1] != agent):
        at = (at + 1) & mask
    return at


@jit
def _mark(ops, start, seed, marks, count):
    """Flag used ids in ops[start:] and raise the marks; returns (next op, marks), stopping before the table fills."""
    mask = marks.shape[0] - 1
    far = marks.shape[0] > _FAR
    for r in range(start, ops.shape[0]):
        if far and r + PF < ops.shape[0]:  # ops are known ahead: fetch their rows
            prefetch(marks, 3 * (order_hash(seed, ops[u(r + PF), 1], ops[u(r + PF), 3], 0) & mask))
        code = ops[u(r), 0]
        if code < 0 or code & 3 > 1:
            continue  # refused before it reached the book, a cancel or a clock
        if 2 * (count + 1) > marks.shape[0]:
            return r, count
        at = _place(seed, marks, ops[u(r), 1], ops[u(r), 3])
        if marks[u(at), 0] == 0:
            marks[u(at), 0] = ops[u(r), 1] + 1
            marks[u(at), 1] = ops[u(r), 3]
            count += 1
        elif ops[u(r), 2] <= marks[u(at), 2]:
            ops[u(r), 0] = code | USED_ID
            continue
        marks[u(at), 2] = ops[u(r), 2]
    return ops.shape[0], count


@jit
def _number(keys, out, start, seed, marks, count):
    """out[i] = how often keys[i] came before; returns (next key, marks) as `_mark` does."""
    for r in range(start, keys.shape[0]):
        if 2 * (count + 1) > marks.shape[0]:
            return r, count
        at = _place(seed, marks, 0, keys[u(r)])
        if marks[u(at), 0] == 0:
            marks[u(at), 0] = 1
            marks[u(at), 1] = keys[u(r)]
            count += 1
        out[u(r)] = marks[u(at), 2]
        marks[u(at), 2] += 1
    return keys.shape[0], count


@jit
def _put(rows, seed, marks):
    for r in range(rows.shape[0]):
        at = _place(seed, marks, rows[u(r), 0] - 1, rows[u(r), 1])
        for k in range(3):
            marks[u(at), k] = rows[u(r), k]


class Marks:
    """Rows (slot + 1, key, value). The seed is random, so that nobody can choose keys which collide; it never shows."""

    def __init__(self) -> None:
        self._seed = np.zeros(8, np.int64)
        self._seed[7] = secrets.randbits(62) | 1
        self._marks = np.zeros((64, 3), np.int64)
        self._count = 0

    def _grow(self, count: int) -> None:
        used = self._marks[self._marks[:, 0] != 0]
        self._marks = np.zeros((1 << (4 * count - 1).bit_length(), 3), np.int64)
        _put(used, self._seed, self._marks)

    def dump(self) -> NDArray[np.int64]:
        """The rows, sorted by slot and key."""
        used = self._marks[self._marks[:, 0] != 0]
        return used[np.lexsort((used[:, 1], used[:, 0]))]

    def load(self, rows: NDArray[np.int64]) -> None:
        """Take in what `dump` gave; the table must be new."""
        self._count = len(rows)
        self._grow(self._count + 1)
        _put(np.ascontiguousarray(rows), self._seed, self._marks)


class OrderIds(Marks):
    """Highest order id of each agent on each instrument (slot).

    An agent's ids rise per instrument, so that one mark tells every reuse; to remember each id for ever would take
    memory without bound.
    """

    def mark(self, ops: Rows) -> None:
        """Flag each order whose id is not above all earlier ones of its agent, in place; see layout.py for ops."""
        at = 0
        while True:
            at, self._count = _mark(ops, at, self._seed, self._marks, self._count)
            if at == len(ops):
                return
            self._grow(self._count + 1)


class Counters(Marks):
    """Dense numbers per key."""

    def number(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """How often each key came before, in this call and all earlier ones."""
        out, at = np.empty(len(keys), np.int64), 0
        while True:
            at, self._count = _number(keys, out, at, self._seed, self._marks, self._count)
            if at == len(keys):
                return out
            self._grow(self._count + 1)
