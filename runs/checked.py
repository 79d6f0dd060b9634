"""An exported run, checked record by record: decoded, counted, and compared with its digest, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import numpy as np

from economy.digest import FreeDigest, run_digest
from runs.container import Container, Logged
from runs.portable import positions
from runs.progress import Told
from runs.verify import Audit
from schemas.catalogue import CLOCK, DECISIONS, FLOWS, ORDERS, TRADES, locked_ids, schema_fingerprint
from schemas.codec import decode_record
from schemas.log.assembly import OPENING
from schemas.log.clocklog import ClockLog
from schemas.log.history import Segment, by_place
from schemas.log.reader import Chunk, Place, chunk_of

_BATCH: Final = 10_000


class Content:
    """SHA-256 of keys and values by partition, whatever their offsets."""

    def __init__(self) -> None:
        self._hasher = sha256()

    def add(self, record: Logged) -> None:
        """Take in one record."""
        key = record.key or b""
        head = f"{record.topic} {record.partition} {len(key)} {len(record.value)} ".encode()
        self._hasher.update(b"".join((head, key, record.value)))

    def hexdigest(self) -> str:
        """Of all records so far."""
        return self._hasher.hexdigest()


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
        self._ids = self._own_ids()
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

    def _own_ids(self) -> dict[bytes, bytes]:
        """Number of each schema in the file, as it stands in a value -> its number here, by fingerprint."""
        found = {}
        for number, entry in self.manifest.schemas.items():
            name, print_ = entry["name"], entry["fingerprint"]
            if schema_fingerprint(entry["schema"]) != print_:
                raise self.file.wrong(f"the schema {number} of {name} does not have its fingerprint: it is damaged")
            known = [here["id"] for here in locked_ids().get(name, []) if here["fingerprint"] == print_]
            if not known:
                raise self.file.wrong(f"it holds {name} in a version that is not known here: use a newer version")
            found[int(number).to_bytes(4, "big")] = int(known[0]).to_bytes(4, "big")
        return found

    def records(self) -> Iterator[Logged]:
        """All records, with the numbers that their schemas have here."""
        for number, record in enumerate(self.file.records()):
            own = self._ids.get(record.value[1:5])
            if own is None or record.value[0]:
                raise self.file.wrong(f"record {number} has a schema that the manifest does not give: it is damaged")
            if self._on_progress is not None and number % _BATCH == 0:
                self._on_progress(number, self.count)
            yield record._replace(value=b"\0" + own + record.value[5:])

    def _chunks(self) -> Iterator[tuple[Chunk, list[Logged]]]:
        """The records in batches of one partition, decoded; every one is of the run."""
        batch: list[Logged] = []
        for record in self.records():
            if batch and (len(batch) == _BATCH or batch[-1][:2] != record[:2]):
                yield self._chunk(batch), batch
                batch = []
            batch.append(record)
        if batch:
            yield self._chunk(batch), batch

    def _chunk(self, batch: Sequence[Logged]) -> Chunk:
        offsets = np.array([record.offset for record in batch], np.int64)
        chunk = chunk_of(batch[0].topic, batch[0].partition, [record.value for record in batch], offsets)
        if len(positions(chunk, self.manifest.run)) < len(batch) or (np.diff(offsets) <= 0).any():
            raise self.file.wrong("it holds records of another run, or not in their order: it is damaged")
        return chunk

    def _check(self) -> str:
        content = Content()
        counts: dict[Place, int] = {}
        newest: Place = (CLOCK, 0)
        proof: _Free | _Epochs | None = None
        for chunk, batch in self._chunks():
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
            for record in batch:
                content.add(record)
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

    def _take_clock(self, batch: Sequence[Logged]) -> None:
        self.clock += [(record, *decode_record(record.value)) for record in batch]
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
