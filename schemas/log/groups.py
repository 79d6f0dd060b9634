"""The records of one writer and epoch in one partition, and how they differ from what their marker says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from economy.records import canonical
from economy.records.digest import mark
from economy.records.events import ChainScope, Events, Rows
from schemas.catalogue import TRADES

Ints = NDArray[np.int64]
_SEARCHED: Final = 5_000  # records of a group among which a foreign one is sought by leaving out each


@njit(cache=True)
def falling(groups: Ints, ids: Ints, numbers: Ints) -> Ints:
    """Position of the first record of each group, 0 to k, whose number is not above the one before of the same id."""
    last = {np.int64(-1): np.int64(-1)}
    low, span = ids.min(), ids.max() - ids.min() + 1
    found = np.full(groups.max() + 1, -1, np.int64)
    for i in range(ids.size):
        key = groups[i] * span + ids[i] - low
        if key in last and numbers[i] <= last[key] and found[groups[i]] < 0:
            found[groups[i]] = i
        last[key] = numbers[i]
    return found[found >= 0]


@njit(cache=True)
def fingerprints(rows: Rows, seed: int) -> NDArray[np.uint64]:
    """64 bits of each record, to know a repeated one by."""
    out = np.empty(rows.shape[0], np.uint64)
    for i in range(rows.shape[0]):
        x = np.uint64(seed)
        for k in range(rows.shape[1]):
            x = (x ^ np.uint64(rows[i, k])) * np.uint64(0x9E3779B97F4A7C15)
            x ^= x >> np.uint64(29)
        out[i] = x
    return out


@dataclass
class Marker:
    """What a writer says of an epoch that it has closed, and where it says so."""

    offset: int
    count: int
    digest: int
    chain: int
    last: int

    @property
    def content(self) -> tuple[int, int, int, int]:
        """What must be equal when the marker is written again."""
        return self.count, self.digest, self.chain, self.last


@dataclass
class Group:
    """Records of one writer and epoch in one partition."""

    rows: dict[str, list[Rows]] = field(default_factory=dict)
    offsets: dict[str, list[Ints]] = field(default_factory=dict)
    marker: Marker | None = None
    sound: bool = False  # as the marker says

    def add(self, name: str, rows: Rows, offsets: Ints) -> None:
        """Take in records with their offsets."""
        self.rows.setdefault(name, []).append(rows)
        self.offsets.setdefault(name, []).append(offsets)

    def join(self) -> tuple[Events, dict[str, Ints]]:
        """All records and their offsets by type."""
        return (
            {name: np.concatenate(parts) for name, parts in self.rows.items()},
            {name: np.concatenate(parts) for name, parts in self.offsets.items()},
        )


def seed_of(name: str) -> int:
    """Start of the fingerprints of a type, so that equal numbers of two types differ."""
    return int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "little")


def linked(previous: int, digest: int) -> int:
    """Chain value of a marker, as economy.records.digest.mark makes it."""
    word = previous.to_bytes(8, "little", signed=True) + digest.to_bytes(8, "little", signed=True)
    return int.from_bytes(blake2b(word, digest_size=8).digest(), "little", signed=True)


def span(offsets: Mapping[str, Ints]) -> tuple[int, int]:
    """Lowest and highest offset, -1 where there is none."""
    parts = [at for at in offsets.values() if len(at)]
    return (min(int(at.min()) for at in parts), max(int(at.max()) for at in parts)) if parts else (-1, -1)


def before(
    rows: Events, offsets: dict[str, Ints], limit: int
) -> tuple[Events, dict[str, Ints], dict[str, tuple[Rows, Ints]]]:
    """Records below an offset, their offsets, and the others."""
    early = {name: at < limit for name, at in offsets.items()}
    return (
        {name: part[early[name]] for name, part in rows.items() if early[name].any()},
        {name: at[early[name]] for name, at in offsets.items() if early[name].any()},
        {
            name: (part[~early[name]], offsets[name][~early[name]])
            for name, part in rows.items()
            if not early[name].all()
        },
    )


def unique(rows: Events, offsets: dict[str, Ints]) -> tuple[Events, dict[str, Ints], int]:
    """The first of equal records, in the order of the log; and how many repeats there were."""
    kept, at, repeated = {}, {}, 0
    for name, part in rows.items():
        _, first = np.unique(part, axis=0, return_index=True)
        first.sort()
        kept[name], at[name] = part[first], offsets[name][first]
        repeated += len(part) - len(first)
    return kept, at, repeated


def conflicts(rows: Events, offsets: dict[str, Ints], family: str) -> list[tuple[int, int]]:
    """Offsets of records with the same identity and different contents."""
    first, second = (canonical.INSTRUMENT, canonical.SEQ) if family == TRADES else (canonical.AGENT, canonical.N)
    seen: dict[tuple[int, int], tuple[str, list[int], int]] = {}
    found = []
    for name, part in rows.items():
        for row, at in zip(part.tolist(), offsets[name].tolist(), strict=True):
            known = seen.setdefault((row[first], row[second]), (name, row, at))
            if known[:2] != (name, row):
                found.append((known[2], at))
    return found


def holes(rows: Events) -> str:
    """Numbers missing within the market's output, whose seq is dense."""
    if not rows:
        return ""
    pairs = np.concatenate([part[:, [canonical.INSTRUMENT, canonical.SEQ]] for part in rows.values()])
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    found = np.flatnonzero((np.diff(pairs[:, 0]) == 0) & (np.diff(pairs[:, 1]) > 1))
    return "".join(f"; seq {pairs[at, 1] + 1} of instrument {pairs[at, 0]}" for at in found.tolist()[:3])


def left_out(rows: Events, offsets: dict[str, Ints], scope: ChainScope, marker: Marker) -> tuple[str, int] | None:
    """The one record without which the others are what the marker says."""
    if sum(map(len, rows.values())) > _SEARCHED:
        return None
    for name, part in rows.items():
        for position in range(len(part)):
            rest = rows | {name: np.delete(part, position, 0)}
            if mark(rest, scope, 0)[1] == marker.digest:
                return name, position
    return None
