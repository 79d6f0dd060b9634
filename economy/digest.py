"""Digest v1 of a run: BLAKE2b chains per agent (decisions, flows) and per instrument (orders, trades).

For every epoch in which an agent or instrument has records: head = BLAKE2b-16(previous head, epoch, words), where the
words are the epoch's records in canonical order, each as its type code and all fields but the run, in little-endian
int64. Wall time, offsets, markers and carriers are left out, so that the digest says what happened and not how it was
computed. The run's digest is BLAKE2b-16 over the sorted heads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from economy import canonical
from economy.events import ChainScope, Events, Rows

DIGEST_VERSION: Final = 1
SIZE: Final = 16
# Type codes are part of the digest: append, never renumber.
CODES: Final = {
    name: code
    for code, name in enumerate(
        (
            *canonical.DECISION_TYPES,
            *canonical.ORDER_TYPES,
            *canonical.TRADE_TYPES,
            *canonical.FLOW_TYPES,
        ),
        start=1,
    )
}
# scope -> (record types, column of the chain's id, columns of the order within a chain)
SCOPES: Final[dict[ChainScope, tuple[tuple[str, ...], tuple[int, ...]]]] = {
    ChainScope.DECISIONS: (canonical.DECISION_TYPES, (canonical.AGENT, canonical.TICK, canonical.N)),
    ChainScope.FLOWS: (canonical.FLOW_TYPES, (canonical.AGENT, canonical.TICK, canonical.N)),
    ChainScope.ORDERS: (canonical.ORDER_TYPES, (-1, canonical.TICK, canonical.AGENT, canonical.N)),
    ChainScope.TRADES: (canonical.TRADE_TYPES, (canonical.INSTRUMENT, canonical.SEQ)),
}
_INSTRUMENT_OF_ORDER: Final = {"OrderSubmitted": 5, "OrderCancelRequested": 5}


@njit(cache=True)
def _scatter(rows: Rows, code: int, place: NDArray[np.int64], words: NDArray[np.int64]) -> None:
    for i in range(rows.shape[0]):
        at = place[i]
        words[at] = code
        for k in range(1, rows.shape[1]):
            words[at + k] = rows[i, k]


def _key(name: str, rows: Rows, column: int) -> NDArray[np.int64]:
    return rows[:, _INSTRUMENT_OF_ORDER[name] if column < 0 else column]


def pack(events: Events, scope: ChainScope) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Words of a scope's records in canonical order.

    Returns (ids, bounds, words): chain ids (c,), bounds (c + 1,) of each chain's words, and the words.
    """
    names, columns = SCOPES[scope]
    parts = canonical.select(events, names)
    if not parts:
        empty = np.empty(0, np.int64)
        return empty, np.zeros(1, np.int64), empty
    keys = [np.concatenate([_key(name, rows, column) for name, rows in parts.items()]) for column in columns]
    length = np.concatenate([np.full(len(rows), rows.shape[1], np.int64) for rows in parts.values()])
    order = np.lexsort(keys[::-1])
    sorted_length = length[order]
    end = np.cumsum(sorted_length)
    place = np.empty(len(order), np.int64)
    place[order] = end - sorted_length
    words = np.empty(int(end[-1]), np.int64)
    at = 0
    for name, rows in parts.items():
        _scatter(np.ascontiguousarray(rows), CODES[name], place[at : at + len(rows)], words)
        at += len(rows)
    chain = keys[0][order]
    first = np.flatnonzero(np.r_[True, chain[1:] != chain[:-1]])
    bounds = np.append((end - sorted_length)[first], end[-1])
    return chain[first], bounds, words


class Chains:
    """Heads of the chains that one writer keeps; part of its state."""

    def __init__(self, scopes: Sequence[ChainScope] = tuple(ChainScope)) -> None:
        self.scopes = tuple(scopes)
        self._heads: dict[tuple[int, int], bytes] = {}

    def update(self, epoch: int, events: Events) -> None:
        """Append all records of one epoch. Every chain must see each epoch at once and in rising order."""
        prefix = epoch.to_bytes(8, "little", signed=True)
        for scope in self.scopes:
            ids, bounds, words = pack(events, scope)
            view = words.astype("<i8", copy=False).tobytes()
            limits = (bounds * 8).tolist()
            for position, chain in enumerate(ids.tolist()):
                key = (int(scope), chain)
                body = view[limits[position] : limits[position + 1]]
                self._heads[key] = blake2b(self._heads.get(key, b"") + prefix + body, digest_size=SIZE).digest()

    def rows(self) -> Rows:
        """Heads as rows (scope, id, head_1, head_2), sorted; the state that a snapshot keeps."""
        out = np.empty((len(self._heads), 4), np.int64)
        for i, ((scope, chain), head) in enumerate(sorted(self._heads.items())):
            out[i] = (scope, chain, *np.frombuffer(head, "<i8"))
        return out

    @classmethod
    def from_rows(cls, rows: Rows, scopes: Sequence[ChainScope] = tuple(ChainScope)) -> Chains:
        """Restore what `rows` gave."""
        chains = cls(scopes)
        for scope, chain, head_1, head_2 in rows.tolist():
            chains._heads[scope, chain] = np.array([head_1, head_2], "<i8").tobytes()
        return chains


class FreeDigest:
    """Digest of a free-running run, all of which is epoch 0, from its records piece by piece in bounded memory."""

    def __init__(self) -> None:
        self._hashers: dict[tuple[int, int], Any] = {}
        self._held: Events = {}  # orders of the newest tick: more of it may follow, and sort before them
        self._seq: dict[int, int] = {}  # instrument -> newest seq taken in

    def submitted(self, events: Events) -> None:
        """Take in orders and cancel requests, whose ticks never lie before those of an earlier piece."""
        events = canonical.merge([self._held, canonical.select(events, canonical.ORDER_TYPES)])
        newest = max((int(rows[:, canonical.TICK].max(initial=0)) for rows in events.values()), default=0)
        self._held = {name: rows[rows[:, canonical.TICK] == newest] for name, rows in events.items()}
        settled = {name: rows[rows[:, canonical.TICK] < newest] for name, rows in events.items()}
        self._update(ChainScope.ORDERS, canonical.select(settled, canonical.ORDER_TYPES))

    def traded(self, events: Events) -> Events:
        """Take in market output in the order of the log; returns it without repeats of an (instrument, seq)."""
        events = canonical.sort_trades(events)
        fresh: Events = {}
        for name, rows in events.items():
            there, at = np.unique(rows[:, canonical.INSTRUMENT], return_inverse=True)
            known = np.array([self._seq.get(instrument, -1) for instrument in there.tolist()], np.int64)[at]
            repeated = (rows[1:, [1, 2]] == rows[:-1, [1, 2]]).all(1)
            fresh[name] = rows[(rows[:, canonical.SEQ] > known) & np.r_[True, ~repeated]]
        fresh = canonical.select(fresh, canonical.TRADE_TYPES)
        for rows in fresh.values():
            last = np.flatnonzero(np.r_[np.diff(rows[:, canonical.INSTRUMENT]) != 0, True])
            for instrument, seq in rows[last][:, [canonical.INSTRUMENT, canonical.SEQ]].tolist():
                self._seq[instrument] = max(seq, self._seq.get(instrument, -1))
        self._update(ChainScope.TRADES, fresh)
        return fresh

    def _update(self, scope: ChainScope, events: Events) -> None:
        ids, bounds, words = pack(events, scope)
        view = memoryview(words.astype("<i8", copy=False).tobytes())
        limits = (bounds * 8).tolist()
        for position, chain in enumerate(ids.tolist()):
            key = (int(scope), chain)
            if key not in self._hashers:
                self._hashers[key] = blake2b((0).to_bytes(8, "little"), digest_size=SIZE)
            self._hashers[key].update(view[limits[position] : limits[position + 1]])

    def hexdigest(self) -> str:
        """The run's digest, when everything was taken in."""
        self._update(ChainScope.ORDERS, canonical.select(self._held, canonical.ORDER_TYPES))
        self._held = {}
        heads = {key: np.frombuffer(hasher.digest(), "<i8").tolist() for key, hasher in self._hashers.items()}
        return run_digest((scope, chain, *head) for (scope, chain), head in heads.items())


def seal(rows: Rows, run: int, shard: int) -> Rows:
    """ChainSealed rows (run, scope, id, head_1, head_2, shard) of the heads that one writer kept."""
    out = np.empty((len(rows), 6), np.int64)
    out[:, 0] = run
    out[:, 1:5] = rows
    out[:, 5] = shard
    return out


def run_digest(heads: Iterable[tuple[int, int, int, int]]) -> str:
    """Digest of a run, hex, from all heads (scope, id, head_1, head_2) in any order."""
    hasher = blake2b(digest_size=SIZE)
    for head in sorted(set(heads)):
        hasher.update(np.array(head, "<i8").tobytes())
    return hasher.hexdigest()


def digest_of(epochs: Iterable[tuple[int, Events]]) -> str:
    """Digest from the unique records themselves, epoch by epoch in rising order: the independent recomputation."""
    chains = Chains()
    for epoch, events in epochs:
        chains.update(epoch, events)
    return run_digest(tuple(row) for row in chains.rows().tolist())


def mark(events: Events, scope: ChainScope, previous: int) -> tuple[int, int, int]:
    """(count, digest, chain) of a marker: the unique records of one writer, epoch and partition.

    digest = BLAKE2b-8 of their words; chain = BLAKE2b-8 of the chain value before, in this partition, and the digest.
    """
    _, _, words = pack(events, scope)
    count = sum(len(rows) for rows in canonical.select(events, SCOPES[scope][0]).values())
    digest = blake2b(words.astype("<i8", copy=False).tobytes(), digest_size=8).digest()
    chain = blake2b(previous.to_bytes(8, "little", signed=True) + digest, digest_size=8).digest()
    return count, int.from_bytes(digest, "little", signed=True), int.from_bytes(chain, "little", signed=True)
