"""Putting epochs together: files a run's records by epoch until the markers say that the epoch is complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from economy.errors import NonDeterministicError, ProtocolError
from economy.records import canonical
from economy.records import events as e
from economy.records.events import Events, Rows
from schemas.catalogue import DECISIONS, FLOWS, ORDERS, TRADES
from schemas.log.reader import Chunk, Place

OPENING = -1
STARTER = -1  # shard number of the run's starter, who writes the opening
_TYPES: Mapping[str, Sequence[str]] = {
    DECISIONS: canonical.DECISION_TYPES,
    FLOWS: canonical.FLOW_TYPES,
    ORDERS: canonical.ORDER_TYPES,
    TRADES: canonical.TRADE_TYPES,
}


@dataclass
class _Epoch:
    parts: dict[str, dict[str, list[Rows]]] = field(default_factory=dict)  # family -> type -> batches
    marks: dict[tuple[str, int, int], tuple[int, ...]] = field(default_factory=dict)  # (family, partition, writer)
    first: dict[Place, int] = field(default_factory=dict)
    filed: dict[str, int] = field(default_factory=dict)  # records per family, duplicates included


def _unique(rows: Rows, identity: tuple[int, int], name: str) -> Rows:
    """Rows without repeats of an identity. Raises NonDeterministicError when one identity has two contents."""
    order = np.lexsort((rows[:, identity[1]], rows[:, identity[0]]))
    ordered = rows[order]
    same = (ordered[1:, identity[0]] == ordered[:-1, identity[0]]) & (
        ordered[1:, identity[1]] == ordered[:-1, identity[1]]
    )
    if not same.any():
        return rows
    differs = same & (ordered[1:] != ordered[:-1]).any(1)
    if differs.any():
        at = int(np.flatnonzero(differs)[0])
        raise NonDeterministicError(
            f"two {name} records share the identity {ordered[at, list(identity)].tolist()} of run {ordered[at, 0]} but "
            f"differ: {ordered[at].tolist()} and {ordered[at + 1].tolist()}",
            "the run cannot go on; compare the two writers' code and lock files",
        )
    return ordered[np.r_[True, ~same]]


class EpochAssembler:
    """Complete epochs of one run out of chunks in any interleaving, duplicates included.

    `families` are those that the caller reads; an epoch is complete when every writer's marker is there in every
    partition and the unique records are as many as the markers count.
    """

    def __init__(
        self,
        run: int,
        shards: int,
        partitions: int,
        flow_partitions: int,
        epoch_ticks: int,
        families: Sequence[str] = (FLOWS, TRADES),
        next_epoch: int = OPENING,
    ) -> None:
        self.run = run
        self.shards = shards
        self.epoch_ticks = epoch_ticks
        self.families = tuple(families)
        self.next_epoch = next_epoch
        self.seals: list[Rows] = []
        self.late = 0
        self.incarnations: dict[int, int] = {}  # shard -> newest incarnation seen in its markers
        self.newest_matched: dict[int, int] = {}  # order partition -> newest epoch with an EpochMatched
        self._partitions = {
            family: partitions if family in (ORDERS, TRADES) else flow_partitions for family in self.families
        }
        self._epochs: dict[int, _Epoch] = {}

    def _writers(self, family: str, epoch: int) -> range:
        if epoch == OPENING:
            return range(STARTER, 0) if family == FLOWS else range(0)
        return range(1) if family == TRADES else range(self.shards)

    def add(self, chunk: Chunk) -> None:
        """File one chunk. Records of other runs are skipped, those of epochs already taken are counted as late."""
        if chunk.family not in self._partitions:
            return
        known = _TYPES[chunk.family]
        for name, rows in chunk.rows.items():
            mine = rows[:, 0] == self.run
            if not mine.any():
                continue
            offsets = chunk.offsets_of(name)
            if not mine.all():
                rows, offsets = rows[mine], offsets[mine]
            if name in known:
                self._file(chunk, name, rows, canonical.ticks(rows, name) // self.epoch_ticks, offsets)
            elif name == e.EpochClosed.name and chunk.family != TRADES:
                self._mark(chunk, rows, rows[:, e.EpochClosed.SHARD], e.EpochClosed.COUNT, offsets)
                for shard, incarnation in rows[:, [e.EpochClosed.SHARD, e.EpochClosed.INCARNATION]].tolist():
                    self.incarnations[shard] = max(incarnation, self.incarnations.get(shard, 0))
            elif name == e.EpochMatched.name and chunk.family == TRADES:
                self._mark(chunk, rows, np.zeros(len(rows), np.int64), e.EpochMatched.COUNT, offsets)
                newest = int(rows[:, e.EpochMatched.EPOCH].max())
                self.newest_matched[chunk.partition] = max(newest, self.newest_matched.get(chunk.partition, OPENING))
            elif name == e.ChainSealed.name:
                self.seals.append(rows)

    def _epoch(self, number: int) -> _Epoch:
        return self._epochs.setdefault(number, _Epoch())

    def _file(self, chunk: Chunk, name: str, rows: Rows, epochs: Rows, offsets: Rows) -> None:
        low, high = int(epochs.min()), int(epochs.max())
        for number in range(low, high + 1):
            if low == high:
                part, first = rows, int(offsets[0])
            else:
                chosen = epochs == number
                if not chosen.any():
                    continue
                part, first = rows[chosen], int(offsets[np.argmax(chosen)])
            if number < self.next_epoch:
                self.late += len(part)
                continue
            epoch = self._epoch(number)
            epoch.parts.setdefault(chunk.family, {}).setdefault(name, []).append(part)
            epoch.filed[chunk.family] = epoch.filed.get(chunk.family, 0) + len(part)
            epoch.first[chunk.place] = min(first, epoch.first.get(chunk.place, first))

    def _mark(self, chunk: Chunk, rows: Rows, writers: Rows, count: int, offsets: Rows) -> None:
        for row, writer, offset in zip(rows.tolist(), writers.tolist(), offsets.tolist(), strict=True):
            number = row[1]
            if number < self.next_epoch:
                self.late += 1
                continue
            epoch = self._epoch(number)
            key = (chunk.family, chunk.partition, writer)
            content = (row[count], row[count + 1], row[count + 2], row[count + 3])  # count, digest, chain, last
            known = epoch.marks.setdefault(key, content)
            if known != content:
                raise NonDeterministicError(
                    f"writer {writer} closed epoch {number} of run {self.run} twice in {chunk.place} with different "
                    f"contents: {known} and {content}",
                    "the run cannot go on; compare the two writers' code and lock files",
                )
            epoch.first[chunk.place] = min(offset, epoch.first.get(chunk.place, offset))

    def expected(self, number: int) -> set[tuple[str, int, int]]:
        """(family, partition, writer) of every marker that the epoch needs."""
        return {
            (family, partition, writer)
            for family, partitions in self._partitions.items()
            for writer in self._writers(family, number)
            for partition in range(partitions)
        }

    def absent(self, number: int) -> set[tuple[str, int, int]]:
        """(family, partition, writer) of every marker that has not come yet."""
        return self.expected(number) - (self._epochs[number].marks.keys() if number in self._epochs else set())

    def missing(self, number: int) -> str:
        """What the epoch still waits for, for a person."""
        epoch = self._epochs.get(number, _Epoch())
        absent = sorted(self.absent(number))
        if absent:
            return "markers " + ", ".join(f"{family}[{p}] of writer {w}" for family, p, w in absent)
        return f"records: {self._counts(epoch)} (marked, filed with duplicates)"

    def _counts(self, epoch: _Epoch) -> dict[str, tuple[int, int]]:
        marked = dict.fromkeys(self.families, 0)
        for (family, _, _), content in epoch.marks.items():
            marked[family] += content[0]
        return {family: (marked[family], epoch.filed.get(family, 0)) for family in self.families}

    def complete(self) -> bool:
        """True when the next epoch can be taken."""
        epoch = self._epochs.get(self.next_epoch)
        if epoch is None or not self.expected(self.next_epoch) <= set(epoch.marks):
            return False
        for family, (marked, filed) in self._counts(epoch).items():
            if filed < marked:
                return False
            if filed > marked:
                self._collapse(epoch, family)
                if epoch.filed[family] < marked:
                    return False
                if epoch.filed[family] > marked:
                    raise ProtocolError(
                        f"epoch {self.next_epoch} of run {self.run} has {epoch.filed[family]} records on {family}, but "
                        f"its markers count {marked}",
                        "the log holds foreign records: verify the run",
                    )
        return True

    def _collapse(self, epoch: _Epoch, family: str) -> None:
        identity = (canonical.INSTRUMENT, canonical.SEQ) if family == TRADES else (canonical.AGENT, canonical.N)
        parts = epoch.parts.get(family, {})
        for name, batches in parts.items():
            parts[name] = [_unique(np.concatenate(batches), identity, name)]
        epoch.filed[family] = sum(len(batches[0]) for batches in parts.values())

    def take(self) -> tuple[int, dict[str, Events], bool]:
        """The next epoch: (number, family -> events in canonical order, last). Call only when `complete`."""
        number = self.next_epoch
        epoch = self._epochs.pop(number)
        self.next_epoch += 1
        taken: dict[str, Events] = {}
        for family in self.families:
            sort = canonical.sort_traded if family == TRADES else canonical.sort_submitted
            parts = epoch.parts.get(family, {})
            taken[family] = {
                name: sort(np.concatenate(batches)) for name, batches in parts.items() if sum(map(len, batches))
            }
        return number, taken, any(content[3] for content in epoch.marks.values())

    def resume_offsets(self, position: Mapping[Place, int]) -> dict[Place, int]:
        """Where a restored reader must begin: the first buffered record of a later epoch, else the position.

        With positions alone a restart would lose what was already read of the next epoch.
        """
        offsets = dict(position)
        for epoch in self._epochs.values():
            for place, first in epoch.first.items():
                offsets[place] = min(offsets.get(place, first), first)
        return offsets
