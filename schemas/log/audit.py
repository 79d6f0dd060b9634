"""Integrity of one partition of a run: what each writer sent is there, unchanged, in order, and nothing else is.

Every writer closes an epoch in a partition with a marker that counts its unique records, holds their digest and chains
to the marker before. A record sent again and equal is harmless. What the digests cannot tell is the order of records
of different agents within one epoch, which has no meaning: readers sort them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from economy.records import canonical
from economy.records import events as e
from economy.records.digest import Chains, mark, marks
from economy.records.events import ChainScope, Events, Rows
from schemas.catalogue import DECISIONS, FLOWS, ORDERS, TRADES
from schemas.log.assembly import OPENING, STARTER
from schemas.log.findings import NOBODY, Fault, Finding
from schemas.log.groups import (
    Group,
    Marker,
    before,
    conflicts,
    falling,
    fingerprints,
    holes,
    left_out,
    linked,
    seed_of,
    span,
    unique,
)  # fmt: skip
from schemas.log.reader import Chunk, Place
from schemas.log.strangers import strangers

Ints = NDArray[np.int64]
_SCOPE: Final = {
    DECISIONS: ChainScope.DECISIONS, FLOWS: ChainScope.FLOWS, ORDERS: ChainScope.ORDERS, TRADES: ChainScope.TRADES,
}  # fmt: skip
_TYPES: Final = {
    DECISIONS: canonical.DECISION_TYPES, FLOWS: canonical.FLOW_TYPES, ORDERS: canonical.ORDER_TYPES,
    TRADES: canonical.TRADE_TYPES,
}  # fmt: skip
_OPEN, _SOUND, _APART = 0, 1, 2  # states of a group: its marker is due; is as its marker says; has to be looked at


# (place, events, epoch of each record by type, first epoch that may still come)
OnWhole = Callable[[Place, Events, Mapping[str, Ints], int], None]


class PlaceAudit:
    """One partition of one run, fed in offset order."""

    def __init__(
        self, started: Mapping[str, Any], place: Place, first: int, last: int, chained: bool = True,
        on_whole: OnWhole | None = None,
    ) -> None:  # fmt: skip
        """`first` and `last` are the epochs that count here; those behind `last` are not looked at.

        `on_whole` is handed the records of epochs that are as all their markers say, in rising order of epochs.
        """
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
        self._on_whole = on_whole
        self._groups: dict[tuple[int, int], Group] = {}  # (writer, epoch)
        # A group's code is (epoch + 1) * (shards + 1) + writer + 1. What has been read of groups whose markers are due
        # stays together, so that the groups of many epochs are counted and hashed at once.
        self._state = np.zeros((self.last_epoch + 2) * (self.shards + 1), np.int8)
        self._waiting: dict[str, list[tuple[Rows, Ints, Ints]]] = {}  # type -> (rows, offsets, codes)
        self._prints: list[NDArray[np.uint64]] = []  # of all sound records
        self._sound: dict[str, list[tuple[Rows, Ints]]] = {}  # type -> (rows, epochs), until their epochs are whole
        self._writers = np.zeros(self.last_epoch + 2, np.int64)  # epoch + 1 -> writers whose group is sound
        self._whole = self.first  # first epoch that is not
        self.chain: dict[int, int] = {}  # of the newest marker, by writer
        self._next: dict[int, int] = {}  # epoch whose marker is due, by writer
        if self.first == OPENING and self.family != FLOWS:
            self._whole = 0

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
        for fault, where, said in strangers(chunk, self.run):
            self._find(fault, where, NOBODY, self._epoch_near(), said)
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
        kind = e.EpochMatched if self.family == TRADES else e.EpochClosed
        if kind.name not in chunk.rows:
            return
        closed = []
        for row, offset in zip(chunk.rows[kind.name].tolist(), chunk.offsets_of(kind.name).tolist(), strict=True):
            if row[0] == self.run:
                writer = 0 if self.family == TRADES else row[e.EpochClosed.SHARD]
                at = kind.COUNT
                if self._mark(writer, row[kind.EPOCH], row[kind.PARTITION], Marker(offset, *row[at : at + 4])):
                    closed.append((writer, row[kind.EPOCH]))
        if closed:
            self._settle(closed)

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
        codes = self._code(writers, epochs)
        state = self._state[codes]
        if state.any():
            again, apart = state == _SOUND, state == _APART
            self._repeated(name, rows[again], offsets[again], codes[again])
            self._set_apart(name, rows[apart], offsets[apart], codes[apart])
            new = state == _OPEN
            rows, offsets, codes = rows[new], offsets[new], codes[new]
        self._waiting.setdefault(name, []).append((rows, offsets, codes))

    def _code(self, writer: Any, epoch: Any) -> Any:
        return (epoch + 1) * (self.shards + 1) + writer + 1

    def _group_of(self, code: int) -> tuple[int, int]:
        """(writer, epoch) of a code."""
        return code % (self.shards + 1) - 1, code // (self.shards + 1) - 1

    def _set_apart(self, name: str, rows: Rows, offsets: Ints, codes: Ints) -> None:
        """File records by their groups, which are not as their markers say."""
        for code in np.unique(codes).tolist():
            mine = codes == code
            self._groups.setdefault(self._group_of(code), Group()).add(name, rows[mine], offsets[mine])

    def _repeated(self, name: str, rows: Rows, offsets: Ints, codes: Ints) -> None:
        """Judge records of groups that are complete: only what is known already may come again."""
        if not len(rows):
            return
        known = np.isin(fingerprints(rows, seed_of(name)), np.concatenate([np.empty(0, np.uint64), *self._prints]))
        self.retries += int(known.sum())
        for position in np.flatnonzero(~known).tolist():
            said = f"{name} {rows[position].tolist()} came after the writer had closed the epoch"
            self._find(Fault.FOREIGN, int(offsets[position]), *self._group_of(int(codes[position])), said)

    # ---- markers
    def _mark(self, writer: int, epoch: int, partition: int, marker: Marker) -> bool:
        """Take in a marker; true when it closes a group."""
        if self.upto < epoch <= self.last_epoch:
            return False
        due = self._next.get(writer, OPENING if writer == STARTER else max(0, self.first))
        known = -1 <= writer < self.shards and (writer == STARTER) == (epoch == OPENING)
        if partition != self.partition or not known or not self.first <= epoch <= self.last_epoch:
            self._find(Fault.FOREIGN, marker.offset, writer, epoch, "a marker that does not belong in this partition")
            return False
        group = self._groups.setdefault((writer, epoch), Group())
        if group.marker is not None:
            self.retries += 1
            if group.marker.content != marker.content:
                said = f"the epoch was closed before, at offset {group.marker.offset}, with other contents"
                self._find(Fault.CHANGED, marker.offset, writer, epoch, said)
            return False
        group.marker = marker
        if epoch < due:
            said = f"its marker stands behind that of epoch {due - 1}"
            self._find(Fault.REORDERED, marker.offset, writer, epoch, said)
        elif epoch == due and marker.chain != linked(self.chain.get(writer, 0), marker.digest):
            said = "the marker's chain does not follow from the one before and its digest"
            self._find(Fault.CHANGED, marker.offset, writer, epoch, said)
        if epoch >= due:  # beyond a gap the chain goes on from what is there; the gap is told at the end
            self.chain[writer], self._next[writer] = marker.chain, epoch + 1
        return True

    def _settle(self, closed: list[tuple[int, int]]) -> None:
        """Close the groups that are as their markers say; any other waits for `finish`, when all records are known."""
        codes = np.array([self._code(*group) for group in closed], np.int64)
        markers = [self._groups[group].marker for group in closed]
        limit = np.full(self._state.size, -1, np.int64)  # offset of the marker by code
        limit[codes] = [marker.offset for marker in markers if marker is not None]
        rows, offsets, groups, late = dict[str, Rows](), dict[str, Ints](), dict[str, Ints](), np.zeros(0, np.int64)
        for name, parts in self._waiting.items():
            part, at, of = (np.concatenate(columns) for columns in zip(*parts, strict=True))
            due = limit[of] >= 0
            self._waiting[name] = [(part[~due], at[~due], of[~due])]
            if not due.all():
                part, at, of = part[due], at[due], of[due]
            if len(of):
                rows[name], offsets[name], groups[name] = part, at, of
                late = np.concatenate((late, of[at > limit[of]]))  # read in the same chunk: they may be repeats
        found = {code: (count, digest) for code, count, digest in marks(rows, _SCOPE[self.family], groups).tolist()}
        nothing = mark({}, _SCOPE[self.family], 0)[:2]
        bad = set(late.tolist())
        bad |= {
            code for code, marker in zip(codes.tolist(), markers, strict=True)
            if marker is None or found.get(code, nothing) != (marker.count, marker.digest)
        }  # fmt: skip
        self._state[codes] = _SOUND
        if bad:
            self._state[list(bad)] = _APART
            for name, of in list(groups.items()):
                good = self._state[of] == _SOUND
                self._set_apart(name, rows[name][~good], offsets[name][~good], of[~good])
                rows[name], offsets[name], groups[name] = rows[name][good], offsets[name][good], of[good]
        self._accept(rows, offsets, groups, [group for group in closed if self._code(*group) not in bad])
        for code in sorted(bad):
            self._settle_one(*self._group_of(code))

    def _settle_one(self, writer: int, epoch: int) -> None:
        """Close a group that is as its marker says but for records that were sent again."""
        group = self._groups[writer, epoch]
        marker = group.marker
        assert marker is not None
        rows, offsets, late = before(*group.join(), marker.offset)
        rows, offsets, repeated = unique(rows, offsets)
        if mark(rows, _SCOPE[self.family], 0)[:2] != (marker.count, marker.digest):
            return
        self.retries += repeated
        self._accept_one(writer, epoch, rows, offsets)
        for name, (more, at) in late.items():
            self._repeated(name, more, at, np.full(len(more), self._code(writer, epoch), np.int64))

    def _accept_one(self, writer: int, epoch: int, rows: Events, offsets: dict[str, Ints]) -> None:
        code = self._code(writer, epoch)
        self._state[code] = _SOUND
        codes = {name: np.full(len(part), code, np.int64) for name, part in rows.items()}
        self._accept(rows, offsets, codes, [(writer, epoch)])

    def _accept(
        self, rows: Events, offsets: dict[str, Ints], codes: dict[str, Ints], groups: list[tuple[int, int]]
    ) -> None:
        """Take in groups that are as their markers say, all of their records together."""
        self._check_order(rows, offsets, codes)
        for name, part in rows.items():
            self._prints.append(fingerprints(part, seed_of(name)))
        for writer, epoch in groups:
            group = self._groups[writer, epoch]
            group.sound, group.rows, group.offsets = True, {}, {}
            self._writers[epoch + 1] += 1
        if self.chains is None and self._on_whole is None:
            return
        for name, part in rows.items():
            self._sound.setdefault(name, []).append((part, codes[name] // (self.shards + 1) - 1))
        whole = self._whole
        while whole <= self.last_epoch and self._writers[whole + 1] == (1 if whole == OPENING else self.shards):
            whole += 1
        if whole > self._whole:
            self._go_on(whole)

    def _go_on(self, whole: int) -> None:
        """The epochs below `whole` are complete: append them to the chains, and hand them over."""
        events, epochs = {}, {}
        for name, parts in self._sound.items():
            rows, of = (np.concatenate(columns) for columns in zip(*parts, strict=True))
            done = of < whole
            if done.any():
                events[name], epochs[name] = (rows, of) if done.all() else (rows[done], of[done])
            self._sound[name] = [(rows[~done], of[~done])]
        if self._on_whole is not None:
            self._on_whole(self.place, events, epochs, whole)
        if self.chains is not None:
            if self._whole == OPENING:  # which stands in no chain
                events = {name: rows[epochs[name] > OPENING] for name, rows in events.items()}
                epochs = {name: of[of > OPENING] for name, of in epochs.items()}
            self.chains.extend(events, epochs)
        self._whole = whole

    def _check_order(self, rows: Events, offsets: dict[str, Ints], codes: dict[str, Ints]) -> None:
        """Market output rises in (instrument, seq) over all types; an agent's n rises within each type."""
        first, second = (
            (canonical.INSTRUMENT, canonical.SEQ) if self.family == TRADES else (canonical.AGENT, canonical.N)
        )
        there = [name for name, part in rows.items() if len(part)]
        for names in [there] if self.family == TRADES and there else [[name] for name in there]:
            ids = np.concatenate([rows[name][:, first] for name in names])
            numbers = np.concatenate([rows[name][:, second] for name in names])
            of = np.concatenate([codes[name] for name in names])
            at = np.concatenate([offsets[name] for name in names])
            if len(names) > 1:
                order = np.argsort(at, kind="stable")
                ids, numbers, of, at = ids[order], numbers[order], of[order], at[order]
            for where in falling(of - of.min(), ids, numbers).tolist():
                said = f"number {numbers[where]} of {'instrument' if self.family == TRADES else 'agent'} {ids[where]} "
                group = self._group_of(int(of[where]))
                self._find(Fault.REORDERED, int(at[where]), *group, said + "stands behind a higher one")

    # ---- the end
    def finish(self, ended: bool, closed: bool) -> None:
        """Judge what is left open: with `ended` no epoch may be missing, with `closed` not RunClosed either."""
        for name, parts in self._waiting.items():
            for rows, offsets, codes in parts:
                self._set_apart(name, rows, offsets, codes)
        self._waiting = {}
        for (writer, epoch), group in sorted(self._groups.items()):
            if not group.sound and group.marker is not None:
                self._diagnose(writer, epoch, group, group.marker)
            elif not group.sound and ended:
                low, high = span(group.join()[1])
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
            self._accept_one(writer, epoch, rows, offsets)
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
            gaps = holes(rows) if self.family == TRADES else ""
            said = f"{marker.count - count} of {marker.count} records that the writer counts{gaps}"
            earlier = self._groups.get((writer, epoch - 1))
            low = earlier.marker.offset + 1 if earlier is not None and earlier.marker is not None else low
            self._find(Fault.MISSING, low, writer, epoch, said, marker.offset)
        else:
            said = "one or more records differ from what the writer sent; `escape replay` shows which"
            self._find(Fault.CHANGED, low, writer, epoch, said, high)
