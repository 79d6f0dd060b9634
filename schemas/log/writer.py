"""Writing to the log: an idempotent producer that sends whole batches and treats every failure as fatal."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from numpy.typing import NDArray

from economy.errors import EscapeError
from economy.records.events import Rows
from schemas import rows as hot
from schemas.catalogue import EVENTS, partition_of, topic
from schemas.codec import encode_record
from schemas.log.refusal import denied

_KEY: Final = struct.Struct(">qq")
MESSAGE_LIMIT: Final = 32 << 20
BULK: Final = {"queue.buffering.max.messages": 100_000}  # options of a writer that sends more than memory holds


class WriteError(EscapeError):
    """The broker refused a record or could not be reached in time; the process must restart from its snapshot."""


class LogWriter:
    """Sends records with explicit partitions. `flush` returns when all are acknowledged, or raises WriteError."""

    def __init__(self, bootstrap: str, namespace: str, **options: Any) -> None:
        self.namespace = namespace
        self._failure: str | None = None
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                # Records wait for the flush that ends an epoch, which sends one batch per partition at once.
                "linger.ms": 20,
                "message.max.bytes": MESSAGE_LIMIT,
                "queue.buffering.max.messages": 2_000_000,
                "queue.buffering.max.kbytes": 1 << 20,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 500,
                "message.timeout.ms": 120_000,
                "delivery.report.only.error": True,  # a call into Python per record would cost as much as sending it
                "log_level": 0,
                "error_cb": self._on_error,
                **options,
            }
        )

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or denied(error.code()):  # the records would wait for a login that cannot succeed
            self._failure = str(error)

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failure = str(error)

    def send(self, family: str, partition: int, value: bytes, key: bytes | None = None, **extra: Any) -> None:
        """Queue one encoded record. Raises WriteError when an earlier one failed."""
        self.send_to(topic(self.namespace, family), partition, value, key, **extra)

    def send_to(self, name: str, partition: int, value: bytes, key: bytes | None = None, **extra: Any) -> None:
        """Queue one encoded record for a topic by its full name."""
        while True:
            if self._failure:
                raise WriteError(f"a record for {name} was not written: {self._failure}", "restart from the snapshot")
            try:
                self._producer.produce(name, value, key, partition, on_delivery=self._on_delivery, **extra)
                return
            except BufferError:
                self._producer.poll(0.01)
            except KafkaException as error:
                self._failure = str(error)

    def send_record(self, name: str, record: Mapping[str, Any], partition: int, family: str | None = None) -> None:
        """Queue one cold record given as fields, keyed as the catalogue says."""
        event = EVENTS[name]
        key = struct.pack(">q", record["run"])
        if event.key_field is not None:
            key = _KEY.pack(record["run"], record[event.key_field])
        self.send(family or event.topic, partition, encode_record(name, record), key)

    def send_rows(self, name: str, rows: Rows, partition: int, family: str | None = None) -> None:
        """Queue a batch of one row type, in order, all for one partition."""
        if not len(rows):
            return
        event = EVENTS[name]
        buffer, ends = hot.encode(name, rows)
        data = buffer.tobytes()
        keys: list[bytes]
        if event.key_field is None:
            keys = [struct.pack(">q", run) for run in rows[:, 0].tolist()]
        else:
            pairs = np.ascontiguousarray(rows[:, [0, event.column(event.key_field)]]).astype(">i8").tobytes()
            keys = [pairs[i : i + 16] for i in range(0, len(pairs), 16)]
        full = topic(self.namespace, family or event.topic)
        produce, delivered = self._producer.produce, self._on_delivery
        start = 0
        for end, key in zip(ends.tolist(), keys, strict=True):
            try:
                produce(full, data[start:end], key, partition, delivered)
            except BufferError:
                self.send_to(full, partition, data[start:end], key)
            start = end

    def send_interleaved(self, parts: Mapping[str, Rows], order: NDArray[np.int64], partition: int) -> None:
        """Queue batches of several row types in one order: `order` lists positions in their concatenation."""
        values: list[bytes] = []
        keys: list[bytes] = []
        for name, rows in parts.items():
            if not len(rows):
                continue
            event = EVENTS[name]
            assert event.key_field is not None
            buffer, ends = hot.encode(name, rows)
            data, starts = buffer.tobytes(), [0, *ends.tolist()[:-1]]
            values += [data[start:end] for start, end in zip(starts, ends.tolist(), strict=True)]
            pairs = rows[:, [0, event.column(event.key_field)]].astype(">i8").tobytes()
            keys += [pairs[i : i + 16] for i in range(0, len(pairs), 16)]
        full = topic(self.namespace, EVENTS[next(iter(parts))].topic)
        for position in order.tolist():
            self.send_to(full, partition, values[position], keys[position])

    def send_split(self, name: str, rows: Rows, column: int, partitions: int, family: str | None = None) -> None:
        """Queue a batch, each row to the partition of its `column` (agent or instrument)."""
        target = rows[:, column] % partitions
        for partition in np.unique(target).tolist():
            assert partition == partition_of(partition, partitions)
            self.send_rows(name, rows[target == partition], partition, family)

    def poll(self) -> None:
        """Serve delivery reports without waiting."""
        self._producer.poll(0)

    def flush(self, timeout: float = 120.0) -> None:
        """Wait until everything queued is acknowledged. Raises WriteError on any failure or after `timeout` seconds."""
        waited = 0.0
        while self._producer.flush(0.5) and not self._failure:
            waited += 0.5
            if waited >= timeout:
                self._failure = f"no acknowledgement within {timeout:.0f} s"
        if self._failure:
            raise WriteError(f"the log was not written: {self._failure}", "restart from the snapshot")
