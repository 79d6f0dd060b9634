"""An exported run, checked record by record: decoded, counted, and compared with its digest, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from economy.records.digest import FreeDigest, run_digest
from runs.blocks import Batch, Content, Logged, renumber
from runs.container import Container
from runs.portable import positions
from runs.progress import Told
from runs.verify import Audit
from schemas.catalogue import CLOCK, DECISIONS, FLOWS, ORDERS, TRADES, locked_ids, schema_fingerprint
from schemas.codec import decode_record
from schemas.log.assembly import OPENING
from schemas.log.clocklog import KINDS, ClockLog
from schemas.log.history import Segment, by_place
from schemas.log.reader import Chunk, Place, chunk_of_records


class _Free:
    """The digest of a free-running run, which has no markers to verify."""

    def __init__(self) -> None:
        self._digests: dict[Place, FreeDigest] = {}  # ticks rise within a partition only

    def feed(self, chunk: Chunk) -> None:
        """Take in consecutive records of one partition."""
        if chunk.family == ORDERS:
            self._digests.setdefault(chunk.place, FreeDigest()).submitted(chunk.rows)
        elif chunk.family == TRADES:
            self._digests.setdefault(chunk.place, FreeDigest()).traded(chunk.rows)

    def faults(self, digest: str) -> list[str]:
        """What is wrong, when everything was taken in."""
        found = run_digest(head for part in self._digests.values() for head in part.heads())
        return [f"the records give the digest {found}, RunFinished says {digest}"] if digest not in ("", found) else []


class _Epochs:
    """The audit of a run by epochs: markers, chains and digest. A fork's digest begins in its parent's log, where
    `escape verify` finds it."""

    def __init__(self, clock: ClockLog, started: Mapping[str, Any]) -> None:
        fork = bool(started["parent"])
        first = started["parent_epoch"] + 1 if fork else OPENING
        segment = Segment(clock, first, started["last_epoch"], by_place(started["start_offsets"]), {})
        self._audit = Audit(segment, chained=not fork)

    def feed(self, chunk: Chunk) -> None:
        """Take in consecutive records of one partition."""
        self._audit.feed(chunk)

    def faults(self, _: str) -> list[str]:
        """What is wrong, when everything was taken in."""
        return [str(finding) for finding in self._audit.verdict().findings]


class CheckedRun:
    """A file that holds a whole run. Raises InputError for anything in it that is wrong.

    `clock` are the records of the clock, decoded; `content` identifies the others; `ranks[p][offset]` is how many
    records of trade partition p precede an offset that a grant of the clock names.
    """

    def __init__(self, file: Container, on_progress: Told | None = None) -> None:
        self.file, self.manifest = file, file.manifest
        self.count = sum(map(sum, self.manifest.records.values()))
        self.clock: list[tuple[Logged, str, dict[str, Any]]] = []
        self.ranks: dict[int, dict[int, int]] = {}
        self._on_progress = on_progress
        self._check_places()
        self._numbers = self._own_numbers()
        self._newest: dict[Place, int] = {}  # offset of the last record that was checked
        self.content = self._check()

    @property
    def started(self) -> dict[str, Any]:
        """The run's RunStarted."""
        for _, name, record in self.clock:
            if name == "RunStarted":
                return record
        raise self.file.wrong("it holds no RunStarted")

    def _check_places(self) -> None:
        m = self.manifest
        wanted = {CLOCK: 1, DECISIONS: m.flow_partitions, FLOWS: m.flow_partitions}
        wanted |= {ORDERS: m.partitions, TRADES: m.partitions}
        if {family: len(counts) for family, counts in m.records.items()} != wanted:
            raise self.file.wrong(f"its topics and partitions are not those of a run: {m.records}")

    def _own_numbers(self) -> dict[int, int]:
        """Number of each schema in the file -> its number here, by fingerprint."""
        found = {}
        for number, entry in self.manifest.schemas.items():
            name, print_ = entry["name"], entry["fingerprint"]
            if not number.isascii() or not number.isdigit():
                raise self.file.wrong(f"the schema of {name} has the number {number!r}: it is damaged")
            if schema_fingerprint(entry["schema"]) != print_:
                raise self.file.wrong(f"the schema {number} of {name} does not have its fingerprint: it is damaged")
            known = [here["id"] for here in locked_ids().get(name, []) if here["fingerprint"] == print_]
            if not known:
                raise self.file.wrong(f"it holds {name} in a version that is not known here: use a newer version")
            found[int(number)] = int(known[0])
        return found

    def batches(self) -> Iterator[Batch]:
        """All records, with the numbers that their schemas have here."""
        done = 0
        for batch in self.file.batches():
            foreign = renumber(batch, self._numbers)
            if foreign >= 0:
                said = f"record {done + foreign} has a schema that the manifest does not give: it is damaged"
                raise self.file.wrong(said)
            if self._on_progress is not None:
                self._on_progress(done, self.count)
            done += len(batch)
            yield batch

    def _chunk(self, batch: Batch) -> Chunk:
        """The records decoded; every one is of the run."""
        chunk = chunk_of_records(batch.place, batch.records)
        foreign = len(positions(chunk, self.manifest.run)) < len(batch)
        newest = self._newest.get(batch.place, -1)
        if foreign or (np.diff(batch.records.offsets, prepend=newest) <= 0).any():
            raise self.file.wrong("it holds records of another run, or not in their order: it is damaged")
        self._newest[batch.place] = int(batch.records.offsets[-1])
        return chunk

    def _check(self) -> str:
        content = Content()
        counts: dict[Place, int] = {}
        newest: Place = (CLOCK, 0)
        proof: _Free | _Epochs | None = None
        for batch in self.batches():
            chunk = self._chunk(batch)
            if (chunk.place != newest and chunk.place in counts) or (chunk.family != CLOCK and not self.clock):
                raise self.file.wrong("its records are not in the order of topics and partitions, the clock's first")
            newest = chunk.place
            counts[newest] = counts.get(newest, 0) + len(batch)
            if chunk.family == CLOCK:
                self._take_clock(batch)
                continue
            proof = proof or self._proof()
            proof.feed(chunk)
            self._count_before(chunk)
            content.add(batch)
        told = {(f, p): count for f, found in self.manifest.records.items() for p, count in enumerate(found) if count}
        if counts != told:
            raise self.file.wrong(f"it holds {counts}, its manifest says {told}")
        self._check_clock()
        faults = (proof or self._proof()).faults(self.manifest.digest)
        if faults:
            raise self.file.wrong(f"its records were changed or are not complete: {faults[0]}")
        return content.hexdigest()

    def _proof(self) -> _Free | _Epochs:
        if self.started["last_epoch"] < 0:
            return _Free()
        clock = ClockLog(self.manifest.run)
        for _, name, record in self.clock:
            clock.apply(name, record)
        return _Epochs(clock, self.started)

    def _take_clock(self, batch: Batch) -> None:
        self.clock += [(record, *decode_record(record.value)) for record in batch.logged()]
        if any(name not in KINDS for _, name, _ in self.clock):
            raise self.file.wrong("its clock has records of other topics: it is damaged")
        for _, name, record in self.clock:
            if name == "EpochGranted":
                for partition, offset in enumerate(record["offsets"]):
                    self.ranks.setdefault(partition, {})[offset] = 0

    def _count_before(self, chunk: Chunk) -> None:
        asked = self.ranks.get(chunk.partition) if chunk.family == TRADES else None
        if asked:
            before = np.searchsorted(chunk.offsets, list(asked)).tolist()
            self.ranks[chunk.partition] = {o: n + more for (o, n), more in zip(asked.items(), before, strict=True)}

    def _check_clock(self) -> None:
        m, s = self.manifest, self.started
        same = ("shards", "partitions", "flow_partitions", "parent", "parent_epoch")
        if any(getattr(m, name) != s[name] for name in same):
            raise self.file.wrong("its manifest and its RunStarted do not agree")
        digests = {record["digest"] for _, name, record in self.clock if name == "RunFinished"}
        if digests != ({m.digest} if m.state == "finished" else set()):
            raise self.file.wrong("its manifest and its RunFinished do not agree")
