"""Cheap ends for the stream under test: producer and consumer of whole record batches, no object per record.

They use the worker's own raw path, so that generator and meter leave the processors to what is measured.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final

import aiokafka
import numpy as np

from bench.market.flow import BOOK, RUN, encoded, instruments
from economy.records import events as e
from economy.records.events import Rows, RunMode
from schemas.catalogue import ORDERS, TRADES, topic
from schemas.codec import encode_record
from schemas.log import framing
from schemas.log.recordbatch import Records
from schemas.rows import decode, encode
from streams import rawfetch, rawproduce

BATCH: Final = 1 << 18  # bytes, as the worker's


class Sender:
    """Sends messages of a flow to the order topic; use within a running event loop and as a context manager."""

    def __init__(self, bootstrap: str, namespace: str, partitions: int = 1) -> None:
        self._topic, self._partitions = topic(namespace, ORDERS), partitions
        self._producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=0, max_request_size=32 << 20
        )
        self._waiting: list[Any] = []

    async def __aenter__(self) -> Sender:
        await self._producer.start()
        await self._producer.partitions_for(self._topic)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.stop()

    async def open(self, books: int) -> None:
        """RunOpened and the instruments in every partition, as a free run begins."""
        opened = np.array([[RUN, RunMode.FREE, 1, 1, self._partitions, 1, 1, -1]], np.int64)
        for partition in range(self._partitions):
            await self._one(encode(e.RunOpened.name, opened)[0].tobytes(), partition)
        for instrument in instruments(books):
            value = encode_record("InstrumentListed", instrument.record(RUN))
            await self._one(value, instrument.instrument % self._partitions)
        await self._producer.flush()

    async def close_run(self) -> None:
        """RunClosed in every partition."""
        for partition in range(self._partitions):
            await self._one(encode(e.RunClosed.name, np.array([[RUN]], np.int64))[0].tobytes(), partition)
        await self.settled()

    async def _one(self, value: bytes, partition: int) -> None:
        await self._producer.send(self._topic, value, partition=partition)

    async def send(self, messages: Rows, first: int, tick: int | None = None) -> None:
        """Queue messages; `first` is the number of the first one and, where no tick is given, its tick."""
        buffer, starts, ends = encoded(messages, first, tick)
        identities = np.column_stack((np.full(len(messages), RUN), messages[:, BOOK]))
        sizes = np.full(len(messages), 16)
        keys = framing.key_table(identities, sizes)
        for partition in range(self._partitions):
            mine: Any = slice(None)
            if self._partitions > 1:
                mine = messages[:, BOOK] % self._partitions == partition
            sent = await rawproduce.send(
                self._producer, self._topic, partition, buffer, starts[mine], ends[mine], keys[mine], sizes[mine], BATCH
            )
            self._waiting += [future for future, _ in sent]
        if len(self._waiting) > 200:
            self._waiting = [future for future in self._waiting if not _finished(future)]

    async def settled(self) -> None:
        """Wait until everything is acknowledged. Raises what the broker refused."""
        await self._producer.flush()
        for future in self._waiting:
            await future
        self._waiting.clear()


def _finished(future: Any) -> bool:
    if not future.done():
        return False
    future.result()  # raises what the broker refused
    return True


class Meter:
    """Reads the trade topic from its beginning in whole fetches."""

    def __init__(self, bootstrap: str, namespace: str, partitions: int = 1, wait_ms: int = 5) -> None:
        self._topic = topic(namespace, TRADES)
        rawfetch.install(self._topic)
        self._places = [aiokafka.TopicPartition(self._topic, p) for p in range(partitions)]
        self._consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, fetch_max_wait_ms=wait_ms,
            max_partition_fetch_bytes=4 << 20,
        )  # fmt: skip

    async def __aenter__(self) -> Meter:
        await self._consumer.start()
        self._consumer.assign(self._places)
        for place in self._places:
            self._consumer.seek(place, 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def take(self, timeout_ms: int = 100) -> list[Records]:
        """What has arrived since the last call."""
        fetched = await self._consumer.getmany(timeout_ms=timeout_ms)
        return [records for batches in fetched.values() for records in batches]


def rows_in(records: Records) -> dict[str, Rows]:
    """The integer records of a fetch by name."""
    return decode(records.buffer, records.starts, records.ends).rows
