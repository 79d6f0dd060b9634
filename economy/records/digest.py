"""Digest v1 of a run: BLAKE2b chains per agent (decisions, flows) and per instrument (orders, trades).

For every epoch in which an agent or instrument has records: head = BLAKE2b-16(previous head, epoch, words), where the
words are the epoch's records in canonical order, each as its type code and all fields but the run, in little-endian
int64. Wall time, offsets, markers and carriers are left out, so that the digest says what happened and not how it was
computed. The run's digest is BLAKE2b-16 over the sorted heads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from economy.records import canonical
from economy.records import events as e
from economy.records.blake import chain_parts, hash_parts
from economy.records.events import ChainScope, Events, Rows

Ints = NDArray[np.int64]
DIGEST_VERSION: Final = 1
SIZE: Final = 16
# Type codes are part of the digest: give a new type the next number, never renumber.
CODES: Final[Mapping[str, int]] = {
    e.AgentDecided.name: 1,
    e.OrderSubmitted.name: 2,
    e.OrderCancelRequested.name: 3,
    e.TradeExecuted.name: 4,
    e.OrderRejected.name: 5,
    e.OrderClosed.name: 6,
    e.BookUpdated.name: 7,
    e.TradingHalted.name: 8,
    e.TradingResumed.name: 9,
    e.PriceBandChanged.name: 10,
    e.PriceFixed.name: 11,
    e.OpeningBalance.name: 12,
    e.OpeningParameter.name: 13,
    e.GoodsProduced.name: 14,
    e.GoodsConsumed.name: 15,
    e.CapitalDepreciated.name: 16,
    e.MoneyTransferred.name: 17,
    e.PaymentDue.name: 18,
    e.ContractOffered.name: 19,
    e.ContractAccepted.name: 20,
    e.ContractSigned.name: 21,
    e.ContractEnded.name: 22,
    e.SharesIssued.name: 23,
    e.SharesCancelled.name: 24,
    e.AgentBankrupt.name: 25,
    e.PolicyChanged.name: 26,
    e.StatisticsPublished.name: 27,
}
# scope -> (record types, column of the chain's id, columns of the order within a chain)
SCOPES: Final[dict[ChainScope, tuple[tuple[str, ...], tuple[int, ...]]]] = {
    ChainScope.DECISIONS: (canonical.DECISION_TYPES, (canonical.AGENT, canonical.TICK, canonical.N)),
    ChainScope.FLOWS: (canonical.FLOW_TYPES, (canonical.AGENT, canonical.TICK, canonical.N)),
    ChainScope.ORDERS: (canonical.ORDER_TYPES, (-1, canonical.TICK, canonical.AGENT, canonical.N)),
    ChainScope.TRADES: (canonical.TRADE_TYPES, (canonical.INSTRUMENT, canonical.SEQ)),
}
_MOST: Final = 2**63 - 1
_INSTRUMENT_OF_ORDER: Final = {"OrderSubmitted": 5, "OrderCancelRequested": 5}


@njit(cache=True)
def _scatter(rows: Rows, code: int, place: Ints, words: Ints) -> None:
    for i in range(rows.shape[0]):
        at = place[i]
        words[at] = code
        for k in range(1, rows.shape[1]):
            words[at + k] = rows[i, k]


def _key(name: str, rows: Rows, column: int) -> Ints:
    return rows[:, _INSTRUMENT_OF_ORDER[name] if column < 0 else column]


@dataclass(frozen=True)
class Packed:
    """Words of a scope's records by (group, chain), each part in canonical order.

    groups, ids (c,): group and chain of each part; bounds (c + 1,): where its words lie; counts (c,): its records.
    """

    groups: Ints
    ids: Ints
    bounds: Ints
    counts: Ints
    words: Ints


_NOTHING: Final = Packed(*(np.empty(0, np.int64),) * 2, np.zeros(1, np.int64), *(np.empty(0, np.int64),) * 2)


@njit(cache=True)
def _joined(keys: Ints) -> tuple[Ints, bool]:
    """One key in place of several, in the order of the first, then the second, and so on; False when none holds it."""
    joined, product = np.zeros(keys.shape[1], np.int64), 1
    for k in range(keys.shape[0]):
        low, high = keys[k, 0], keys[k, 0]
        for number in keys[k]:
            low, high = min(low, number), max(high, number)
        span = high - low + 1
        if span <= 0 or product > _MOST // span:
            return joined, False
        product *= span
        for i in range(keys.shape[1]):
            joined[i] = joined[i] * span + (keys[k, i] - low)
    return joined, True


@njit(cache=True)
def _laid(order: Ints, length: Ints, group: Ints, chain: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """(place of each record's words, first position in `order` of each part, its bounds, its records)."""
    place, first = np.empty(order.size, np.int64), np.empty(order.size, np.int64)
    bounds, counts = np.empty(order.size + 1, np.int64), np.empty(order.size, np.int64)
    n = at = 0
    for i in range(order.size):
        here = order[i]
        if i == 0 or group[here] != group[order[i - 1]] or chain[here] != chain[order[i - 1]]:
            first[n], bounds[n], counts[n] = here, at, 0
            n += 1
        place[here] = at
        at += length[here]
        counts[n - 1] += 1
    bounds[n] = at
    return place, first[:n], bounds[: n + 1], counts[:n]


def pack(events: Events, scope: ChainScope, groups: Mapping[str, Ints] | None = None) -> Packed:
    """Words of a scope's records; `groups` gives the group of each record by type, by default one for all."""
    names, columns = SCOPES[scope]
    parts = canonical.select(events, names)
    if not parts:
        return _NOTHING
    keys = np.zeros((1 + len(columns), sum(map(len, parts.values()))), np.int64)  # group, chain, order within
    length = np.empty(keys.shape[1], np.int64)
    at = 0
    for name, rows in parts.items():
        upto = at + len(rows)
        length[at:upto] = rows.shape[1]
        if groups is not None:
            keys[0, at:upto] = groups[name]
        for k, column in enumerate(columns, 1):
            keys[k, at:upto] = _key(name, rows, column)
        at = upto
    joined, fits = _joined(keys)  # sorting by one key is several times as fast
    order = np.argsort(joined, kind="stable") if fits else np.lexsort(keys[::-1])
    place, first, bounds, counts = _laid(order, length, keys[0], keys[1])
    words = np.empty(int(bounds[-1]), np.int64)
    at = 0
    for name, rows in parts.items():
        _scatter(np.ascontiguousarray(rows), CODES[name], place[at : at + len(rows)], words)
        at += len(rows)
    return Packed(keys[0][first], keys[1][first], bounds, counts, words)


class Chains:
    """Heads of the chains that one writer keeps; part of its state."""

    def __init__(self, scopes: Sequence[ChainScope] = tuple(ChainScope)) -> None:
        self.scopes = tuple(scopes)
        self._heads = {scope: _Heads() for scope in self.scopes}

    def update(self, epoch: int, events: Events) -> None:
        """Append all records of one epoch. Every chain must see each epoch at once and in rising order."""
        for scope in self.scopes:
            packed = pack(events, scope)
            self._heads[scope].extend(packed, np.full(len(packed.ids), epoch, np.int64))

    def extend(self, events: Events, epochs: Mapping[str, Ints]) -> None:
        """Append all records of several epochs at once; `epochs` gives that of each record by type."""
        for scope in self.scopes:
            packed = pack(events, scope, epochs)
            self._heads[scope].extend(packed, packed.groups)

    def rows(self) -> Rows:
        """Heads as rows (scope, id, head_1, head_2), sorted; the state that a snapshot keeps."""
        return np.concatenate([np.empty((0, 4), np.int64)] + [self._heads[s].rows(s) for s in sorted(self.scopes)])

    @classmethod
    def from_rows(cls, rows: Rows, scopes: Sequence[ChainScope] = tuple(ChainScope)) -> Chains:
        """Restore what `rows` gave."""
        chains = cls(scopes)
        for scope, kept in chains._heads.items():
            kept.restore(rows[rows[:, 0] == scope])
        return chains


class _Heads:
    """Heads of one scope's chains, by rising id."""

    def __init__(self) -> None:
        self.ids = np.empty(0, np.int64)
        self.heads = np.empty((0, 2), np.int64)

    def extend(self, packed: Packed, epochs: Ints) -> None:
        """Append parts to their chains."""
        begun = np.ones(len(self.ids), np.bool_)
        fresh = np.setdiff1d(packed.ids, self.ids) if not self._knows(packed.ids) else packed.ids[:0]
        if len(fresh):
            ids = np.concatenate((self.ids, fresh))
            order = np.argsort(ids)
            self.ids = ids[order]
            self.heads = np.concatenate((self.heads, np.zeros((len(fresh), 2), np.int64)))[order]
            begun = np.concatenate((begun, np.zeros(len(fresh), np.bool_)))[order]
        place = np.searchsorted(self.ids, packed.ids)
        chain_parts(packed.words, packed.bounds, epochs, place, self.heads, begun)

    def _knows(self, ids: Ints) -> bool:
        place = np.searchsorted(self.ids, ids)
        return not len(ids) or (place.max() < len(self.ids) and bool((self.ids[place] == ids).all()))

    def rows(self, scope: int) -> Rows:
        return np.column_stack((np.full(len(self.ids), scope, np.int64), self.ids, self.heads))

    def restore(self, rows: Rows) -> None:
        rows = rows[np.argsort(rows[:, 1])]
        self.ids, self.heads = rows[:, 1].copy(), rows[:, 2:].copy()


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
        packed = pack(events, scope)
        view = memoryview(packed.words.astype("<i8", copy=False).tobytes())
        limits = (packed.bounds * 8).tolist()
        for position, chain in enumerate(packed.ids.tolist()):
            key = (int(scope), chain)
            if key not in self._hashers:
                self._hashers[key] = blake2b((0).to_bytes(8, "little"), digest_size=SIZE)
            self._hashers[key].update(view[limits[position] : limits[position + 1]])

    def heads(self) -> list[tuple[int, int, int, int]]:
        """(scope, id, head_1, head_2) of every chain, when everything was taken in."""
        self._update(ChainScope.ORDERS, canonical.select(self._held, canonical.ORDER_TYPES))
        self._held = {}
        heads = {key: np.frombuffer(hasher.digest(), "<i8").tolist() for key, hasher in self._hashers.items()}
        return [(scope, chain, head[0], head[1]) for (scope, chain), head in heads.items()]

    def hexdigest(self) -> str:
        """The run's digest, when everything was taken in."""
        return run_digest(self.heads())


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
    packed = pack(events, scope)
    digest = blake2b(packed.words.astype("<i8", copy=False).tobytes(), digest_size=8).digest()
    chain = blake2b(previous.to_bytes(8, "little", signed=True) + digest, digest_size=8).digest()
    count = int(packed.counts.sum())
    return count, int.from_bytes(digest, "little", signed=True), int.from_bytes(chain, "little", signed=True)


def marks(events: Events, scope: ChainScope, groups: Mapping[str, Ints]) -> Rows:
    """Rows (group, count, digest) of all groups of records at once, by rising group; each as `mark` has it."""
    packed = pack(events, scope, groups)
    first = np.flatnonzero(np.diff(packed.groups, prepend=packed.groups[:1] - 1))
    bounds = np.append(packed.bounds[:-1][first], packed.bounds[-1])
    counts = np.add.reduceat(packed.counts, first) if len(first) else first
    return np.column_stack((packed.groups[first], counts, hash_parts(packed.words, bounds)))
