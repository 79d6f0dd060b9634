"""Integrity of one partition of a run: what each writer sent is there, unchanged, in order, and nothing else is.

Every writer closes an epoch in a partition with a marker that counts its unique records, holds their digest and chains
to the marker before. A record sent again and equal is harmless. What the digests cannot tell is the order of records
of different agents within one epoch, which has no meaning: readers sort them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from economy import canonical
from economy import events as e
from economy.digest import Chains, mark
from economy.events import ChainScope, Events, Rows
from schemas.catalogue import DECISIONS, FLOWS, ORDERS, TRADES
from schemas.log.assembly import OPENING, STARTER
from schemas.log.groups import (
    Group,
    Marker,
    before,
    conflicts,
    falling,
    fingerprints,
    left_out,
    linked,
    seed_of,
    span,
    unique,
)  # fmt: skip
from schemas.log.reader import Chunk, Place

Ints = NDArray[np.int64]
_SCOPE: Final = {
    DECISIONS: ChainScope.DECISIONS, FLOWS: ChainScope.FLOWS, ORDERS: ChainScope.ORDERS, TRADES: ChainScope.TRADES,
}  # fmt: skip
_TYPES: Final = {
    DECISIONS: canonical.DECISION_TYPES, FLOWS: canonical.FLOW_TYPES, ORDERS: canonical.ORDER_TYPES,
    TRADES: canonical.TRADE_TYPES,
}  # fmt: skip
NOBODY: Final = -9  # a fault that is laid at no writer's door


class Fault(StrEnum):
    """What can be wrong with a record."""

    CHANGED = "changed"
    MISSING = "missing"
    FOREIGN = "foreign"
    REORDERED = "reordered"
    UNDECODABLE = "undecodable"


@dataclass(frozen=True)
class Finding:
    """One fault and its place; `until` > `offset` where it lies somewhere in a range of offsets."""

    fault: Fault
    topic: str
    partition: int
    offset: int
    until: int
    writer: int
    epoch: int
    detail: str

    def __str__(self) -> str:
        where = f"offset {self.offset}" if self.until <= self.offset else f"offsets {self.offset} to {self.until}"
        writer = {STARTER: "the run's starter"}.get(self.writer, f"writer {self.writer}")
        return f"{self.fault}: {self.topic}[{self.partition}] {where}, {writer}, epoch {self.epoch}: {self.detail}"


class PlaceAudit:
    """One partition of one run, fed in offset order."""

    def __init__(
        self, started: Mapping[str, Any], place: Place, first: int, last: int, chained: bool = True
    ) -> None:  # fmt: skip
        """`first` and `last` are the epochs that count here; those behind `last` are not looked at."""
        self.run: int = started["run"]
        self.place, self.family, self.partition = place, place[0], place[1]
        self.ticks: int = started["epoch_ticks"]
        self.first, self.upto = first, last
        self.last_epoch: int = started["last_epoch"]
        self.shards: int = 1 if self.family == TRADES else started["shards"]
        self.partitions = started["partitions" if self.family in (ORDERS, TRADES) else "flow_partitions"]
        self.findings: list[Finding] = []
        self.records = self.retries = 0
        self.opened = self.closed = self.family == TRADES
        self.heads: set[tuple[int, int, int, int]] = set()  # as sealed on the log
        self.chains = Chains((_SCOPE[self.family],)) if chained else None
        self._groups: dict[tuple[int, int], Group] = {}  # (writer, epoch)
        self.chain: dict[int, int] = {}  # of the newest marker, by writer
        self._next: dict[int, int] = {}  # epoch whose marker is due, by writer
        self._chained = max(0, self.first)  # the opening stands in no chain
        self._ready: dict[int, dict[int, Events]] = {}  # epoch -> writer -> its sound records

    def restore_chains(self, rows: Rows) -> None:
        """Begin with the heads that a fork inherits."""
        scope = _SCOPE[self.family]
        mine = (rows[:, 0] == scope) & (rows[:, 1] % self.partitions == self.partition)
        self.chains = Chains.from_rows(rows[mine], (scope,))

    def next_of(self, writer: int) -> int:
        """Epoch whose marker is due from a writer."""
        return self._next.get(writer, max(0, self.first))

    def _find(self, fault: Fault, offset: int, writer: int, epoch: int, detail: str, until: int = -1) -> None:
        self.findings.append(Finding(fault, self.family, self.partition, offset, until, writer, epoch, detail))

    def markers(self) -> Iterator[tuple[int, int, int, int]]:
        """(epoch, writer, count, digest) of every epoch that a writer closed, the opening's apart."""
        for (writer, epoch), group in self._groups.items():
            if group.marker is not None and epoch != OPENING:
                yield epoch, writer, group.marker.count, group.marker.digest

    # ---- taking in
    def feed(self, chunk: Chunk) -> None:
        """Take in one chunk."""
        for position, defect in chunk.defects:
            key = chunk.keys[position] if chunk.keys else None
            if key is not None and int.from_bytes(key[:8], "big", signed=True) == self.run:
                where = int(chunk.offsets[position])
                self._find(Fault.UNDECODABLE, where, NOBODY, self._epoch_near(), f"{defect.name.lower()}")
        for name, rows in chunk.rows.items():
            mine = rows[:, 0] == self.run
            if not mine.any():
                continue
            rows, offsets = rows[mine], chunk.offsets_of(name)[mine]
            if name in _TYPES[self.family]:
                self._file(name, rows, offsets)
            elif name == e.ChainSealed.name:
                self.heads.update(tuple(row[1:5]) for row in rows.tolist())
            elif name == e.RunOpened.name:
                self.opened = True
            elif name == e.RunClosed.name:
                self.closed = True
            elif name not in (e.EpochClosed.name, e.EpochMatched.name):
                self._find(Fault.FOREIGN, int(offsets[0]), NOBODY, self._epoch_near(), f"{name} does not belong here")
        kind = e.EpochMatched if self.family == TRADES else e.EpochClosed
        if kind.name not in chunk.rows:
            return
        for row, offset in zip(chunk.rows[kind.name].tolist(), chunk.offsets_of(kind.name).tolist(), strict=True):
            if row[0] == self.run:
                writer = 0 if self.family == TRADES else row[e.EpochClosed.SHARD]
                at = kind.COUNT
                self._mark(writer, row[kind.EPOCH], row[kind.PARTITION], Marker(offset, *row[at : at + 4]))

    def _epoch_near(self) -> int:
        return max(self._next.values(), default=self.first)

    def _file(self, name: str, rows: Rows, offsets: Ints) -> None:
        self.records += len(rows)
        identifier = rows[:, canonical.INSTRUMENT if self.family == TRADES else canonical.AGENT]
        target = rows[:, e.OrderSubmitted.INSTRUMENT] if self.family == ORDERS else identifier
        epochs = canonical.ticks(rows, name) // self.ticks
        if self.upto < self.last_epoch:
            shared = epochs <= self.upto
            rows, offsets, epochs, identifier, target = (x[shared] for x in (rows, offsets, epochs, identifier, target))
            if not len(rows):
                return
        # Economy-wide parameters of the opening belong to agent -1.
        wrong = (target % self.partitions != self.partition) | (epochs < self.first) | (epochs > self.last_epoch)
        if wrong.any():
            for at in np.flatnonzero(wrong).tolist():
                said = f"{name} {rows[at].tolist()} does not belong in this partition or run"
                self._find(Fault.FOREIGN, int(offsets[at]), NOBODY, int(epochs[at]), said)
            keep = ~wrong
            rows, offsets, epochs, identifier = rows[keep], offsets[keep], epochs[keep], identifier[keep]
            if not len(rows):
                return
        writers = np.zeros(len(rows), np.int64) if self.family == TRADES else identifier % self.shards
        writers = np.where(epochs == OPENING, STARTER, writers)
        code = (epochs + 1) * (self.shards + 1) + writers + 1
        if code[0] == code[-1] and (code == code[0]).all():
            self._file_group(int(writers[0]), int(epochs[0]), name, rows, offsets)
            return
        order = np.argsort(code, kind="stable")
        bounds = np.flatnonzero(np.diff(code[order])) + 1
        for part in np.split(order, bounds):
            self._file_group(int(writers[part[0]]), int(epochs[part[0]]), name, rows[part], offsets[part])

    def _file_group(self, writer: int, epoch: int, name: str, rows: Rows, offsets: Ints) -> None:
        group = self._groups.setdefault((writer, epoch), Group())
        if group.known is None:
            group.add(name, rows, offsets)
            return
        # The group is complete: only what is known already may come again.
        prints = fingerprints(rows, seed_of(name))
        at = np.minimum(np.searchsorted(group.known, prints), max(0, len(group.known) - 1))
        same = group.known[at] == prints if len(group.known) else np.zeros(len(prints), np.bool_)
        self.retries += int(same.sum())
        for position in np.flatnonzero(~same).tolist():
            said = f"{name} {rows[position].tolist()} came after the writer had closed the epoch"
            self._find(Fault.FOREIGN, int(offsets[position]), writer, epoch, said)

    # ---- markers
    def _mark(self, writer: int, epoch: int, partition: int, marker: Marker) -> None:
        if self.upto < epoch <= self.last_epoch:
            return
        due = self._next.get(writer, OPENING if writer == STARTER else max(0, self.first))
        known = -1 <= writer < self.shards and (writer == STARTER) == (epoch == OPENING)
        if partition != self.partition or not known or not self.first <= epoch <= self.last_epoch:
            self._find(Fault.FOREIGN, marker.offset, writer, epoch, "a marker that does not belong in this partition")
            return
        group = self._groups.setdefault((writer, epoch), Group())
        if group.marker is not None:
            self.retries += 1
            if group.marker.content != marker.content:
                said = f"the epoch was closed before, at offset {group.marker.offset}, with other contents"
                self._find(Fault.CHANGED, marker.offset, writer, epoch, said)
            return
        group.marker = marker
        if epoch < due:
            said = f"its marker stands behind that of epoch {due - 1}"
            self._find(Fault.REORDERED, marker.offset, writer, epoch, said)
        elif epoch == due and marker.chain != linked(self.chain.get(writer, 0), marker.digest):
            said = "the marker's chain does not follow from the one before and its digest"
            self._find(Fault.CHANGED, marker.offset, writer, epoch, said)
        if epoch >= due:  # beyond a gap the chain goes on from what is there; the gap is told at the end
            self.chain[writer], self._next[writer] = marker.chain, epoch + 1
        self._settle(writer, epoch, group)

    def _settle(self, writer: int, epoch: int, group: Group) -> None:
        """Close a group that is as its marker says; any other waits for `finish`, when all its records are known."""
        marker = group.marker
        assert marker is not None
        rows, offsets = group.join()
        late: dict[str, tuple[Rows, Ints]] = {}
        if span(offsets)[1] > marker.offset:  # read in the same chunk: they may be repeats
            rows, offsets, late = before(rows, offsets, marker.offset)
        count, digest, _ = mark(rows, _SCOPE[self.family], 0)
        if (count, digest) != (marker.count, marker.digest):
            rows, offsets, repeated = unique(rows, offsets)
            count, digest, _ = mark(rows, _SCOPE[self.family], 0)
            if (count, digest) != (marker.count, marker.digest):
                return
            self.retries += repeated
        self._accept(writer, epoch, group, rows, offsets)
        for name, (more, at) in late.items():
            self._file_group(writer, epoch, name, more, at)

    def _accept(self, writer: int, epoch: int, group: Group, rows: Events, offsets: dict[str, Ints]) -> None:
        self._check_order(writer, epoch, rows, offsets)
        prints = [fingerprints(part, seed_of(name)) for name, part in rows.items()]
        group.known = np.sort(np.concatenate(prints)) if prints else np.empty(0, np.uint64)
        group.rows, group.offsets = {}, {}
        if self.chains is None or epoch == OPENING:
            return
        self._ready.setdefault(epoch, {})[writer] = rows
        while len(self._ready.get(self._chained, ())) == self.shards:
            self.chains.update(self._chained, canonical.merge(list(self._ready.pop(self._chained).values())))
            self._chained += 1

    def _check_order(self, writer: int, epoch: int, rows: Events, offsets: dict[str, Ints]) -> None:
        """Market output rises in (instrument, seq) over all types; an agent's n rises within each type."""
        if not rows:
            return
        first, second = (
            (canonical.INSTRUMENT, canonical.SEQ) if self.family == TRADES else (canonical.AGENT, canonical.N)
        )
        sets = [list(rows)] if self.family == TRADES else [[name] for name in rows]
        for names in sets:
            ids = np.concatenate([rows[name][:, first] for name in names])
            numbers = np.concatenate([rows[name][:, second] for name in names])
            at = np.concatenate([offsets[name] for name in names])
            order = np.argsort(at, kind="stable")
            wrong = int(falling(ids[order], numbers[order]))
            if wrong >= 0:
                where = order[wrong]
                said = f"number {numbers[where]} of {'instrument' if self.family == TRADES else 'agent'} {ids[where]} "
                self._find(Fault.REORDERED, int(at[where]), writer, epoch, said + "stands behind a higher one")

    # ---- the end
    def finish(self, ended: bool, closed: bool) -> None:
        """Judge what is left open: with `ended` no epoch may be missing, with `closed` not RunClosed either."""
        for (writer, epoch), group in sorted(self._groups.items()):
            if group.known is None and group.marker is not None:
                self._diagnose(writer, epoch, group, group.marker)
            elif group.known is None and ended:
                _, offsets = group.join()
                low, high = span(offsets)
                self._find(Fault.MISSING, low, writer, epoch, "no marker closes the writer's epoch", high)
        for writer, due in self._expected().items():
            reached = self._next.get(writer, due)
            upto = max(reached, (0 if writer == STARTER else self.upto + 1) if ended else reached)
            for epoch in range(due, upto):
                group = self._groups.get((writer, epoch), Group())
                if group.marker is None and not group.rows:
                    self._find(Fault.MISSING, -1, writer, epoch, "neither marker nor records of the writer's epoch")
        if closed and not (self.opened and self.closed):
            which = "RunOpened" if not self.opened else "RunClosed"
            self._find(Fault.MISSING, -1, NOBODY, self.first if not self.opened else self.last_epoch, which)

    def _expected(self) -> dict[int, int]:
        """First epoch of each writer."""
        found = {writer: max(0, self.first) for writer in range(self.shards)}
        return found | ({STARTER: OPENING} if self.first == OPENING and self.family == FLOWS else {})

    def _diagnose(self, writer: int, epoch: int, group: Group, marker: Marker) -> None:
        """Say which record makes the group differ from its marker, as far as the log alone tells."""
        scope = _SCOPE[self.family]
        rows, offsets = group.join()
        doubled = conflicts(rows, offsets, self.family)
        rows, offsets, repeated = unique(rows, offsets)
        self.retries += repeated
        count, digest, _ = mark(rows, scope, 0)
        low, high = span(offsets)
        if (count, digest) == (marker.count, marker.digest):
            for name, at in offsets.items():
                for position in np.flatnonzero(at > marker.offset).tolist():
                    said = f"{name} {rows[name][position].tolist()} stands behind the marker of its epoch"
                    self._find(Fault.REORDERED, int(at[position]), writer, epoch, said)
            self._accept(writer, epoch, group, rows, offsets)
            return
        if count > marker.count:
            found = left_out(rows, offsets, scope, marker) if count - marker.count == 1 else None
            if found is not None:
                name, position = found
                said = f"{name} {rows[name][position].tolist()} is not one of the {marker.count} that the writer counts"
                self._find(Fault.FOREIGN, int(offsets[name][position]), writer, epoch, said)
                return
            extra = f"{count} records where the writer counts {marker.count}"
            for a, b in doubled:
                extra += f"; offsets {a} and {b} hold two contents under one identity"
            self._find(Fault.FOREIGN, low, writer, epoch, extra, high)
        elif count < marker.count:
            said = f"{marker.count - count} of {marker.count} records that the writer counts{self._gap(rows, epoch)}"
            earlier = self._groups.get((writer, epoch - 1))
            low = earlier.marker.offset + 1 if earlier is not None and earlier.marker is not None else low
            self._find(Fault.MISSING, low, writer, epoch, said, marker.offset)
        else:
            said = "one or more records differ from what the writer sent; `escape replay` shows which"
            self._find(Fault.CHANGED, low, writer, epoch, said, high)

    def _gap(self, rows: Events, epoch: int) -> str:
        """Numbers missing within the market's output, whose seq is dense."""
        if self.family != TRADES or not rows:
            return ""
        pairs = np.concatenate([part[:, [canonical.INSTRUMENT, canonical.SEQ]] for part in rows.values()])
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        holes = np.flatnonzero((np.diff(pairs[:, 0]) == 0) & (np.diff(pairs[:, 1]) > 1))
        return "".join(f"; seq {pairs[at, 1] + 1} of instrument {pairs[at, 0]}" for at in holes.tolist()[:3])
