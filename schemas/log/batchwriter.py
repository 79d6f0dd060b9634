"""Writing to the log at the least delay: each flush is one request per broker, with one batch per partition.

`LogWriter` sends in the background and suits bulk; this writer suits loops whose every step waits for the
acknowledgement. It is idempotent as well: what must be sent again has the same sequence numbers, and the broker drops
what it has. Every failure is fatal, as there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from aiokafka.protocol.transaction import InitProducerIdRequest_v0

from economy.records.events import Rows
from schemas import rows as hot
from schemas.catalogue import EVENTS, topic
from schemas.closing import Closing
from schemas.log import framing, recordbatch, wire
from schemas.log.recordbatch import Bytes, Ints, Records
from schemas.log.refusal import denied, refusal
from schemas.log.requests import Place, Produce
from schemas.log.writer import WriteError

_BATCH: Final = 1_000_000  # bytes, as brokers allow unless told otherwise; a larger record has a batch of its own
_OVERHEAD: Final = 64  # bytes of a record beside key and value, at most
_SMALL: Final = 512  # bytes of a batch that is not worth the while of compressing it
_DUPLICATE: Final = 46  # the broker has the batch already
_SEQUENCES: Final = 1 << 31


@dataclass
class _Queue:
    """Records of one partition that were not sent yet."""

    values: list[Bytes] = field(default_factory=list)
    ends: list[Ints] = field(default_factory=list)  # within each of `values`
    keys: list[Bytes] = field(default_factory=list)  # (records, bytes) each, of which key_sizes count
    key_sizes: list[Ints] = field(default_factory=list)

    def batches(self) -> list[tuple[bytearray, int]]:
        """All of it as (batch, number of records)."""
        shifts = np.cumsum([0, *map(len, self.values)])
        ends = np.concatenate([part + shift for part, shift in zip(self.ends, shifts, strict=False)])
        starts = np.concatenate(([0], ends[:-1]))
        sizes, widths = np.concatenate(self.key_sizes), [part.shape[1] for part in self.keys]
        width = max(widths)
        keys = (
            np.concatenate(self.keys)
            if min(widths) == width
            else np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in self.keys])
        )
        whole = recordbatch.HEAD.size + int(ends[-1]) + len(ends) * (_OVERHEAD + width)
        longest = recordbatch.HEAD.size + int((ends - starts).max()) + _OVERHEAD + width
        limit, now = min(whole, max(_BATCH, longest)), time.time_ns() // 1_000_000
        return framing.write(np.concatenate(self.values), starts, ends, keys, sizes, now, limit)


class BatchWriter(Closing):
    """Queues records with explicit partitions; nothing is sent before `post` or `flush`. Not thread-safe; close it."""

    def __init__(self, bootstrap: str, namespace: str, compress: bool = False) -> None:
        """`compress` packs batches by lz4 where that makes them smaller; every reader knows it."""
        self.namespace = namespace
        self._compress = compress
        self._cluster = wire.Cluster(bootstrap)
        self._queues: dict[Place, _Queue] = {}
        self._made: dict[Place, list[tuple[bytearray, int]]] = {}  # whole batches, behind what is queued
        self._producer: tuple[int, int] | None = None
        self._sequences: dict[Place, int] = {}
        self._waiting: dict[Place, list[tuple[bytearray, int]]] = {}  # posted, the last first
        self._flying: dict[Place, bytes] = {}  # sent and not yet acknowledged
        self._asked: list[wire.Connection] = []  # with a request on its way

    def close(self) -> None:
        """Leave the broker. What was not flushed is dropped."""
        self._cluster.forget()

    def send(self, family: str, partition: int, value: bytes, key: bytes) -> None:
        """Queue one encoded record."""
        ends, sizes = np.array([len(value)]), np.array([len(key)])
        self._put(family, partition, np.frombuffer(value, np.uint8), ends, np.frombuffer(key, np.uint8)[None], sizes)

    def send_rows(self, name: str, rows: Rows, partition: int, family: str | None = None) -> None:
        """Queue a batch of one row type, in order, all for one partition."""
        if not len(rows):
            return
        event = EVENTS[name]
        buffer, ends = hot.encode(name, rows)
        column = 0 if event.key_field is None else event.column(event.key_field)
        sizes = np.full(len(rows), 8 if event.key_field is None else 16)
        self._put(family or event.topic, partition, buffer, ends, framing.key_table(rows[:, [0, column]], sizes), sizes)

    def _put(self, family: str, partition: int, values: Bytes, ends: Ints, keys: Bytes, sizes: Ints) -> None:
        queue = self._queues.setdefault((topic(self.namespace, family), partition), _Queue())
        queue.values.append(values)
        queue.ends.append(ends)
        queue.keys.append(keys)
        queue.key_sizes.append(sizes)

    def send_records(self, family: str, partition: int, records: Records) -> None:
        """Queue records that were read with their keys: with these, and with the timestamps that they have."""
        sizes = records.ends - records.starts
        assert records.key_sizes is not None
        longest = recordbatch.HEAD.size + int((sizes + np.maximum(records.key_sizes, 0)).max()) + _OVERHEAD
        place = topic(self.namespace, family), partition
        self._made.setdefault(place, []).extend(framing.rewrite(records, max(_BATCH, longest)))

    def flush(self, timeout: float = 120.0) -> None:
        """Send everything queued and wait for its acknowledgement, see `settle`."""
        self.post()
        self.settle(timeout)

    def post(self) -> dict[Place, int]:
        """Send everything queued without waiting: (topic, partition) -> bytes. What was posted before is settled."""
        assert not self._waiting
        assert not self._flying
        made = {place: queue.batches() for place, queue in self._queues.items()}
        for place, batches in self._made.items():
            made.setdefault(place, []).extend(batches)
        self._waiting = {place: [self._packed(*each) for each in reversed(batches)] for place, batches in made.items()}
        self._queues, self._made = {}, {}
        try:
            self._send()
        except OSError:
            self._lose()  # `settle` sends it again
        return {place: len(batch) for place, batch in self._flying.items()}

    def _packed(self, batch: bytearray, count: int) -> tuple[bytearray, int]:
        return (framing.compress(batch) if self._compress and len(batch) > _SMALL else batch), count

    def settle(self, timeout: float = 120.0) -> None:
        """Wait until all that was posted is acknowledged.

        Raises WriteError on a refusal or after `timeout` seconds; the process must then restart from its snapshot.
        Raises RefusedError for what this user may not do.
        """
        limit = time.monotonic() + timeout
        backoff = wire.Backoff()
        while self._waiting or self._flying:
            try:
                if not self._asked:
                    self._send()
                self._receive()
            except OSError as error:
                self._lose()
                if time.monotonic() > limit:
                    raise _failed(f"no acknowledgement within {timeout:.0f} s: {error}") from error
                backoff.pause(limit)

    def _lose(self) -> None:
        self._cluster.forget()
        self._asked = []

    def _sealed(self, place: Place, batch: bytearray, count: int, producer: tuple[int, int]) -> bytes:
        sequence = self._sequences.get(place, 0)
        self._sequences[place] = (sequence + count) % _SEQUENCES
        return framing.seal(batch, *producer, sequence)

    def _new_producer(self) -> tuple[int, int]:
        told = self._cluster.ask_any(InitProducerIdRequest_v0(None, 0))
        if told.error_code:
            _check("a producer's number", told.error_code)
        return told.producer_id, told.producer_epoch

    def _send(self) -> None:
        """One batch of every partition, in one request to each leader."""
        producer = self._producer = self._producer or self._new_producer()
        for place in self._waiting.keys() - self._flying.keys():
            self._flying[place] = self._sealed(place, *self._waiting[place].pop(), producer)
        self._waiting = {place: left for place, left in self._waiting.items() if left}
        for node, places in self._cluster.by_leader(self._flying).items():
            connection = self._cluster.connection(node)
            batches = {place: self._flying[place] for place in places}
            connection.send(Produce(batches, int(1000 * wire.REQUEST_SECONDS)))
            self._asked.append(connection)

    def _receive(self) -> None:
        """Drop what is acknowledged."""
        while self._asked:
            refused = []
            for place, code in self._asked[-1].receive():
                if code in (0, _DUPLICATE):
                    del self._flying[place]
                else:
                    refused.append((f"{place[0]}[{place[1]}]", code))
            self._asked.pop()
            for what, code in refused:
                _check(what, code)


def _check(what: str, code: int) -> None:
    if denied(code):
        raise refusal(what, code)
    if code in wire.RETRIABLE:
        raise ConnectionError(f"{what} cannot be written now: Kafka's error {code}")
    raise _failed(f"{what} was refused with Kafka's error {code}")


def _failed(why: str) -> WriteError:
    return WriteError(f"the log was not written: {why}", "restart from the snapshot")
