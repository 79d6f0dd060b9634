"""Faust's Kafka transport, batch-wise: one Faust message per fetched batch of a partition.

Stock Faust hands over one record at a time (5-13 thousand a second). On the topics in `Batches.topics`, which
`streams.rawfetch` hooks as well, this transport yields a whole fetch as one message, whose value is a Records, and it
commits only the offsets that the application names in `Batches.safe`: those of acknowledged snapshots. Group
membership, rebalancing and fetching stay Faust's and aiokafka's. It overrides private methods of both, hence their
pinned versions and the integration tests that would fail.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka.errors import IllegalStateError, KafkaError
from faust.transport import drivers
from faust.transport.drivers import aiokafka as driver
from faust.transport.drivers.aiokafka import ensure_aiokafka_TP
from faust.types import TP, ConsumerMessage

from schemas.log import recordbatch
from schemas.log.framing import Headers
from schemas.log.recordbatch import Bytes, Ints, Records
from streams import rawproduce

log = logging.getLogger("escape.transport")
SCHEME: Final = "kafkabatch"
_FETCH_WAIT_MS: Final = 10  # the driver's own 1,500 ms would be the latency of an idle topic


@dataclass
class Batches:
    """What the application tells the transport; one per process, since Faust builds transports by URL."""

    topics: set[str] = field(default_factory=set)
    safe: dict[TP, int] = field(default_factory=dict)  # partition -> offset that may be committed
    after_seek: Callable[[Consumer], Awaitable[None]] | None = None
    # Whether what was fetched of a partition is of no use before more comes; asked in the consumer's thread.
    partial: Callable[[TP, Records], bool] | None = None
    consumer: Any = None  # aiokafka's, of this process
    producer: Any = None


BATCHES: Final = Batches()


class _Thread(driver.AIOKafkaConsumerThread):
    """The thread of aiokafka's consumer: what it fetches of a hot topic carries the token of the seek before it."""

    def on_init(self) -> None:
        self._tokens: dict[TP, int] = {}

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = _FETCH_WAIT_MS
        consumer._isolation_level = "read_committed"  # as every other reader of the log; Faust ties it to exactly_once
        BATCHES.consumer = consumer
        return consumer

    async def rewind(self, tp: TP, offset: int, token: int) -> None:
        """Seek in this thread: from Faust's own it would meet aiokafka in the midst of handing over what it fetched."""
        self.seek(tp, offset)
        self._tokens[tp] = token

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        """As the driver's, but straight into this thread's loop: its queue of calls makes several tasks for each."""
        consumer = self._ensure_consumer()
        fetch = self._fetch_records(
            consumer, active_partitions, timeout=timeout, max_records=consumer._max_poll_records
        )  # fmt: skip
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(fetch, self.thread_loop))

    async def _fetch_records(self, *args: Any, **options: Any) -> Any:
        found = await self._fetch(*args, **options)
        while found and self._partial(found):  # what helps nobody yet would only wake Faust's loop
            more = await self._fetch(*args, **options)
            if not more:
                break
            for place, batches in more.items():
                found[place] = [*found.get(place, ()), *batches]
        return found

    def _partial(self, found: dict[Any, list[Any]]) -> bool:
        if BATCHES.partial is None:
            return False
        for place, batches in found.items():
            tp = TP(place.topic, place.partition)
            tokens = {batch.token for batch in batches} if tp.topic in BATCHES.topics else set()
            if len(tokens) != 1:
                return False
            found[place] = [recordbatch.joined(batches)]
            if not BATCHES.partial(tp, found[place][0]):
                return False
        return True

    async def _fetch(self, *args: Any, **options: Any) -> Any:
        records = await super()._fetch_records(*args, **options)
        for place, batches in records.items():  # nobody has sought since they were taken: nothing was awaited
            tp = TP(place.topic, place.partition)
            if tp.topic in BATCHES.topics:
                for batch in batches:
                    batch.token = self._tokens.get(tp, 0)
        return records

    async def _commit(self, offsets: Any) -> bool:
        """Commit; a broker that is away or a group that has moved on is no reason to end: snapshots hold the state."""
        wanted = {ensure_aiokafka_TP(tp): offset for tp, offset in offsets.items() if tp in self.assignment()}
        try:
            await self._ensure_consumer().commit(wanted)
        except KafkaError as error:
            log.warning("offsets were not committed: %r", error)
            return False
        return True


class Consumer(driver.Consumer):
    """A consumer whose `getmany` yields batches and which restores state before it seeks."""

    def _new_consumer_thread(self) -> Any:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """A seek on assignment would be overwritten by the committed offset; here ours comes last."""
        await super().perform_seek()
        if BATCHES.after_seek is not None:
            await BATCHES.after_seek(self)

    async def rewind(self, tp: TP, offset: int, token: int) -> None:
        """Seek; batches fetched from there on carry the token, which tells them from those of before."""
        thread: Any = self._thread
        await thread.call_thread(thread.rewind, tp, offset, token)
        self._read_offset[tp] = offset if offset else None

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:  # what was fetched is let go: go back to before it
            with suppress(IllegalStateError):  # a partition that is gone is not missed
                await self.perform_seek()
            return
        for fetched, messages in records.items():
            tp = TP(fetched.topic, fetched.partition)
            if not self.flow_active or self.app.consumer_generation_id != generation:
                break
            if not messages or not (active is None or tp in active or tp in self._buffered_partitions):
                continue
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            if tp.topic not in BATCHES.topics:
                for message in messages:
                    yield tp, self._to_message(tp, message)
                continue
            for batch in messages:
                stamp = int(batch.timestamps[-1]) / 1000.0 if len(batch) else 0.0
                yield (
                    tp,
                    ConsumerMessage(
                        tp.topic, tp.partition, batch.next_offset - 1, stamp, 0, [], None, batch, None, 0, 1, tp,
                        generation_id=generation,
                    ),
                )  # fmt: skip

    async def _add_gap(self, tp: TP, start: int, end: int) -> None:
        if tp.topic not in BATCHES.topics:
            await super()._add_gap(tp, start, end)

    def ack(self, message: Any) -> bool:
        """What is processed is not what may be committed: a batch is done when a snapshot behind it is acknowledged."""
        if message.topic not in BATCHES.topics:
            return bool(super().ack(message))
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    def _new_offset(self, tp: TP) -> int | None:
        if tp.topic not in BATCHES.topics:
            offset: int | None = super()._new_offset(tp)
            return offset
        return BATCHES.safe.get(tp)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        pending = set(super()._filter_tps_with_pending_acks(topics))
        pending.update(tp for tp in BATCHES.safe if tp in self.assignment())
        return iter(pending)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            BATCHES.safe.pop(tp, None)


class Producer(driver.Producer):
    """A producer with whole batches."""

    def _new_producer(self, transactional_id: str | None = None) -> Any:
        BATCHES.producer = super()._new_producer(transactional_id)
        return BATCHES.producer

    async def send_records(
        self, topic: str, partition: int, values: Bytes, starts: Ints, ends: Ints, keys: Bytes, key_sizes: Ints,
        headers: Headers | None = None,
    ) -> list[tuple[Any, int]]:  # fmt: skip
        """Queue records in order; returns (future of the acknowledgement, number of records) per batch."""
        producer: Any = self._producer
        return await rawproduce.send(
            producer, topic, partition, values, starts, ends, keys, key_sizes, self.app.conf.producer_max_batch_size,
            headers,
        )  # fmt: skip


class Transport(driver.Transport):
    """Registered under the URL scheme `kafkabatch`."""

    Consumer = Consumer
    Producer = Producer


drivers.TRANSPORTS.aliases[SCHEME] = "streams.transport:Transport"
