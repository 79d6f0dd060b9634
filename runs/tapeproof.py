"""Proof of a tape: its records are whole, and matching its orders again gives the market output on the log.

A free-running run has no epochs, so no markers or chain: what speaks for it are the output's dense numbers, the count
that closes each partition, and the digest in RunFinished.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from economy.records import canonical
from economy.records import events as e
from economy.records.digest import FreeDigest, run_digest
from economy.records.events import Events, Rows
from runs.divergence import Sides, first_difference
from runs.progress import Told
from runs.rawread import raw_chunks
from schemas.catalogue import CLOCK, ORDERS, TRADES
from schemas.log.findings import NOBODY, Fault, Finding, Verdict
from schemas.log.history import Segment
from schemas.log.reader import Chunk, Place
from schemas.log.strangers import AT_HOME, strangers
from streams.matching import PartitionMatching

_CONTROLS: Final = (e.RunOpened.name, e.RunClosed.name)
_SHOWN: Final = 3  # gaps of an instrument's numbers that are told


class TapeAudit:
    """Fed with all chunks of a tape, each partition's in offset order; matches its orders again on the way."""

    def __init__(self, segment: Segment) -> None:
        self.segment, self.run, self.started = segment, segment.run, segment.started
        self.records = self.retries = 0
        self.findings: list[Finding] = []
        self._recorded = {place: FreeDigest() for place in segment.start if place[0] in (ORDERS, TRADES)}
        self._computed = {place: FreeDigest() for place in segment.start if place[0] == TRADES}
        self._matching = {place: PartitionMatching(place[1]) for place in segment.start if place[0] == ORDERS}
        self._next: dict[int, int] = {}  # seq that is due, by instrument
        self._output = dict.fromkeys(self._computed, 0)  # records of market output, without repeats
        self._counted: dict[Place, int] = {}  # as matching says at its end
        self._controls: dict[str, set[Place]] = {name: set() for name in _CONTROLS}

    def feed(self, chunk: Chunk) -> None:
        """Take in one chunk."""
        for fault, where, said in strangers(chunk, self.run):
            self._find(fault, chunk.place, where, said)
        mine = self.own(chunk)
        for name in _CONTROLS:
            if name in mine.rows:
                self._controls[name].add(chunk.place)
        self._place(mine)
        if chunk.family == ORDERS:
            submitted = canonical.select(mine.rows, canonical.ORDER_TYPES)
            self.records += sum(map(len, submitted.values()))
            self._recorded[chunk.place].submitted(submitted)
            computed = self._computed[TRADES, chunk.partition]
            for events in self._matching[chunk.place].feed(mine):
                computed.traded(canonical.select(events, canonical.TRADE_TYPES))
        elif chunk.family == TRADES:
            self._number(mine)
            m = e.EpochMatched
            for row in mine.rows.get(m.name, np.empty((0, m.width), np.int64)).tolist():
                self._counted[chunk.place] = row[m.COUNT]

    def own(self, chunk: Chunk) -> Chunk:
        """The records of this run alone."""
        kept = {name: rows[:, 0] == self.run for name, rows in chunk.rows.items()}
        rows = {name: chunk.rows[name][keep] for name, keep in kept.items() if keep.any()}
        index = {name: chunk.index[name][keep] for name, keep in kept.items() if keep.any()}
        cold = [held for held in chunk.cold if held[2]["run"] == self.run]
        return Chunk(chunk.family, chunk.partition, chunk.offsets, rows, index, cold)

    def _find(self, fault: Fault, place: Place, offset: int, detail: str) -> None:
        self.findings.append(Finding(fault, *place, offset, -1, NOBODY, -1, detail))

    def _place(self, chunk: Chunk) -> None:
        """Nothing stands where it does not belong."""
        known = {ORDERS: canonical.ORDER_TYPES, TRADES: canonical.TRADE_TYPES}.get(chunk.family, ())
        for name, rows in chunk.rows.items():
            offsets = chunk.offsets_of(name)
            if name not in (*known, *_CONTROLS, e.EpochMatched.name) and name in AT_HOME[chunk.family]:
                self._find(Fault.FOREIGN, chunk.place, int(offsets[0]), f"a tape has no {name} here")
            elif name in known:
                column = e.OrderSubmitted.INSTRUMENT if chunk.family == ORDERS else canonical.INSTRUMENT
                wrong = np.flatnonzero(rows[:, column] % self.started["partitions"] != chunk.partition)
                for at in wrong.tolist():
                    said = f"{name} {rows[at].tolist()} does not belong in this partition"
                    self._find(Fault.FOREIGN, chunk.place, int(offsets[at]), said)

    def _number(self, chunk: Chunk) -> None:
        """The output's numbers rise by one from 0 for each instrument; what comes twice is equal."""
        output = canonical.select(chunk.rows, canonical.TRADE_TYPES)
        if not output:
            return
        self.records += sum(map(len, output.values()))
        fresh = self._recorded[chunk.place].traded(output)
        self._output[chunk.place] += sum(map(len, fresh.values()))
        self.retries += sum(map(len, output.values())) - sum(map(len, fresh.values()))
        keys = np.concatenate([
            np.column_stack((rows[:, [canonical.INSTRUMENT, canonical.SEQ]], chunk.offsets_of(name)))
            for name, rows in output.items()
        ])  # fmt: skip
        keys = keys[np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0]))]
        for instrument in np.unique(keys[:, 0]).tolist():
            own = keys[keys[:, 0] == instrument]
            due = self._next.get(instrument, 0)
            before = np.concatenate(([due - 1], np.maximum(own[:-1, 1], due - 1)))
            for at in np.flatnonzero(own[:, 1] > before + 1)[:_SHOWN].tolist():
                said = f"seq {before[at] + 1} to {own[at, 1] - 1} of instrument {instrument} stand nowhere before"
                self._find(Fault.MISSING, chunk.place, int(own[at, 2]), said)
            self._next[instrument] = max(due, int(own[-1, 1]) + 1)

    # ---- the end
    def verdict(self) -> Verdict:
        """Judge, when everything was taken in."""
        finished = self.segment.clock.finished
        found = run_digest(head for digest in self._recorded.values() for head in digest.heads())
        if finished is not None:
            self._judge(finished, found)
        self.findings.sort(key=lambda f: (f.topic, f.partition, f.offset))
        return Verdict(self.run, -1, -1, self.records, self.retries, found, "", tuple(self.findings))

    def _judge(self, finished: Mapping[str, Any], digest: str) -> None:
        for name, there in self._controls.items():
            for place in self.segment.start:
                if place[0] != TRADES and place not in there:
                    self._find(Fault.MISSING, place, -1, name)
        for place, count in self._output.items():
            told = self._counted.get(place)
            if told is None:
                self._find(Fault.MISSING, place, -1, "EpochMatched, which closes the partition")
            elif told != count:
                fault = Fault.MISSING if told > count else Fault.FOREIGN
                self._find(fault, place, -1, f"{count} records of output where matching counts {told}")
        if digest != finished["digest"] and not self.findings:
            said = f"RunFinished holds the digest {finished['digest']}, but the records give {digest}"
            self.findings.append(Finding(Fault.CHANGED, CLOCK, 0, -1, -1, NOBODY, -1, said))

    def differing(self) -> list[int]:
        """Partitions whose output on the log is not what matching its orders again gives. Call after `verdict`."""
        return [
            place[1] for place, digest in self._computed.items()
            if sorted(digest.heads()) != sorted(self._recorded[place].heads())
        ]  # fmt: skip


def audit_tape(bootstrap: str, namespace: str, segment: Segment, told: Told | None = None) -> TapeAudit:
    """Read all of a tape."""
    start, end = segment.extent(bootstrap, namespace)
    audit, done, total = TapeAudit(segment), 0, sum(end[place] - start[place] for place in start)
    for chunk in raw_chunks(bootstrap, namespace, segment):
        audit.feed(chunk)
        done += len(chunk.offsets)
        if told is not None:
            told(done, total)
    return audit


def tape_difference(chunks: Iterable[Chunk], segment: Segment, partition: int) -> Sides | None:
    """The first event of a partition's market output that differs, as recorded and as matched again."""
    audit, matching = TapeAudit(segment), PartitionMatching(partition)
    recorded: list[Events] = []
    computed: list[Events] = []
    for chunk in chunks:
        if chunk.partition == partition and chunk.family == ORDERS:
            computed += matching.feed(audit.own(chunk))
        elif chunk.partition == partition and chunk.family == TRADES:
            recorded.append(audit.own(chunk).rows)
    return first_difference(_output(recorded), _output(computed), TRADES)


def _output(parts: list[Events]) -> dict[str, Rows]:
    return canonical.select(canonical.merge(parts), canonical.TRADE_TYPES)
