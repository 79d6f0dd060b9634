"""The Faust worker process: `python -m streams.worker matching --bootstrap … --namespace … --partitions …`.

Recovery: on every assignment the newest snapshot of a partition is restored, the output behind it is read back, and the
input is replayed from the snapshot's offset; what is on the log already is compared and not written again. Only the
input offset of an acknowledged snapshot is committed. Any exception ends the process: the supervisor restarts it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final

import aiokafka
import faust
import numpy as np
from faust.serializers import codecs
from faust.types import TP

from economy import events as e
from economy.errors import NonDeterministicError, ProtocolError
from economy.events import Events
from schemas.catalogue import BOOK_SNAPSHOTS, ORDERS, TRADES, dead_letter, topic
from schemas.codec import UndecodableRecordError, decode_record
from schemas.log import snapshots
from schemas.log.reader import Chunk
from schemas.rows import Defect, decode, decode_values, encode
from streams import rawfetch, rawproduce, recordbatch
from streams.matching import PartitionMatching, output_order
from streams.projection import ProjectionWorker
from streams.recordbatch import Records
from streams.transport import BATCHES, SCHEME, Consumer

log = logging.getLogger("escape.matching")
_RUN_KEYED: Final = (e.EpochMatched.name, e.ChainSealed.name)  # markers, whose key is the run alone
SNAPSHOT_SECONDS: Final = 2.0
UNACKNOWLEDGED: Final = 500  # batches sent and not yet acknowledged before the worker waits


@dataclass
class Partition:
    """Matching of one partition plus what its recovery needs."""

    state: PartitionMatching
    tail: dict[tuple[int, ...], bytes] = field(default_factory=dict)  # output already on the log, by identity
    pending: list[tuple[Any, int]] = field(default_factory=list)
    version: int = 0
    snapshot_at: float = field(default_factory=time.monotonic)
    snapshot_task: asyncio.Task[None] | None = None
    changed: bool = False


class _Raw(codecs.Codec):
    """Batches pass through as they are."""

    def _loads(self, s: Any) -> Any:
        return s

    def _dumps(self, s: Any) -> bytes:
        raise TypeError("batches are never sent through this codec")


codecs.register("batch", _Raw())


def identity(name: str, row: list[int]) -> tuple[int, ...]:
    """What makes an output record the same record."""
    if name == e.EpochMatched.name:
        return (row[0], -1, row[e.EpochMatched.EPOCH])
    if name == e.ChainSealed.name:
        return (row[0], -2, row[e.ChainSealed.SCOPE], row[e.ChainSealed.ID])
    return (row[0], row[1], row[2])


class MatchingWorker:
    """Couples PartitionMatching with Faust: assignment, recovery, sending, snapshots."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.bootstrap: str = options.bootstrap
        self.namespace: str = options.namespace
        self.orders, self.trades = (topic(options.namespace, family) for family in (ORDERS, TRADES))
        self.books = topic(options.namespace, BOOK_SNAPSHOTS)
        self.dead = topic(options.namespace, dead_letter(ORDERS))
        self.partitions: dict[int, Partition] = {}
        self.restoring = asyncio.Lock()
        self.generation: tuple[int, frozenset[TP]] | None = None
        rawfetch.install(self.orders)
        rawproduce.check()
        recordbatch.warm_up()
        BATCHES.topics.add(self.orders)
        BATCHES.after_seek = self.restore
        self.app: Any = faust.App(
            f"{options.namespace}-matching",
            broker=f"{SCHEME}://{options.bootstrap}",
            web_enabled=False,  # its server would listen on all interfaces
            topic_partitions=options.partitions,
            topic_disable_leader=True,
            topic_allow_declare=False,
            store="memory://",
            datadir=os.path.join(options.data, f"faust-{options.name}"),
            broker_max_poll_records=20_000,
            consumer_max_fetch_size=4 << 20,
            consumer_auto_offset_reset="earliest",
            producer_acks=-1,
            producer_linger=0,
            producer_max_batch_size=1 << 18,
            producer_max_request_size=32 << 20,
            broker_commit_interval=1.0,
            broker_session_timeout=options.session_timeout,
            broker_heartbeat_interval=min(0.5, options.session_timeout / 4),
            broker_request_timeout=30.0,
            broker_rebalance_timeout=10.0,
            stream_buffer_maxsize=4096,
        )
        source = self.app.topic(
            self.orders, value_serializer="batch", key_serializer="raw", partitions=options.partitions
        )
        self.app.agent(source, name="matching")(self.match)
        revoked: Any = self.revoked
        self.app.on_partitions_revoked.connect(revoked)
        self.app.in_worker = True
        self.app.finalize()
        self.app.worker_init()

    # ---- the agent
    async def match(self, stream: Any) -> None:
        """Faust agent: one message is one fetched batch."""
        async for batch in stream:
            try:
                await self._take(current_partition(), batch)
            except BaseException as error:
                # Faust would skip the batch and go on; a matching worker must not.
                end(error)

    async def _take(self, partition: int, batch: Records) -> None:
        part = self.partitions.get(partition)
        if part is None or batch.offsets[-1] < part.state.next_offset:
            return  # fetched under an assignment that is gone
        state = part.state
        chunk = self._decode(partition, batch.since(state.next_offset))
        for events in state.feed(chunk):
            await self._write(part, events)
        for positions, why in state.refused:
            for i in positions.tolist():
                self._bury(partition, int(chunk.offsets[i]), batch.since(int(chunk.offsets[i])).value(0), why)
        part.changed = True
        if len(part.pending) > UNACKNOWLEDGED:
            await self._settle(part, part.pending[:-100])
            del part.pending[:-100]
        if time.monotonic() - part.snapshot_at >= SNAPSHOT_SECONDS:
            self.snapshot(part)

    def _decode(self, partition: int, records: Records) -> Chunk:
        found = decode(records.buffer, records.starts, records.ends)
        chunk = Chunk(ORDERS, partition, records.offsets, found.rows, found.index, defects=found.defects)
        buried = [(i, defect.name) for i, defect in chunk.defects]
        for i in found.cold.tolist():
            try:
                chunk.cold.append((i, *decode_record(records.value(i))))
            except UndecodableRecordError:
                buried.append((i, Defect.UNDECODABLE.name))
        for i, why in buried:
            self._bury(partition, int(records.offsets[i]), records.value(i), why)
        return chunk

    def _bury(self, partition: int, offset: int, value: bytes, why: str) -> None:
        """An undecodable record goes to the dead letters, with its place and error; the stream goes on."""
        log.warning("record %d of %s[%d] goes to the dead letters: %s", offset, self.orders, partition, why)
        headers = [("error", why.encode()), ("topic", self.orders.encode())]
        headers += [("partition", str(partition).encode()), ("offset", str(offset).encode())]
        task = asyncio.ensure_future(self._producer().send(self.dead, value, partition=0, headers=headers))
        task.add_done_callback(check)

    def _producer(self) -> Any:
        return self.app.producer._producer

    async def _write(self, part: Partition, events: Events) -> None:
        names, kind, row = output_order(events)
        if not names:
            return
        encoded = [encode(name, events[name]) for name in names]
        sizes = [len(ends) for _, ends in encoded]
        shifts = np.cumsum([0, *(len(buffer) for buffer, _ in encoded)])
        values = np.concatenate([buffer for buffer, _ in encoded])
        ends = np.concatenate([ends + shift for (_, ends), shift in zip(encoded, shifts, strict=False)])
        starts = np.concatenate([[0], ends[:-1]])
        identities = np.concatenate([events[name][:, :2] for name in names])
        place = np.cumsum([0, *sizes])[kind] + row
        if part.tail:
            new = [not self._known(part, names[k], events[names[k]][r].tolist(), values[starts[i] : ends[i]].tobytes())
                   for k, r, i in zip(kind.tolist(), row.tolist(), place.tolist(), strict=True)]  # fmt: skip
            kind, place = kind[new], place[new]
        if len(place):
            key_sizes = np.array([8 if name in _RUN_KEYED else 16 for name in names])[kind]
            keys = rawproduce.key_table(identities[place], key_sizes)
            sent = await self.app.producer.send_records(
                self.trades, part.state.partition, values, starts[place], ends[place], keys, key_sizes
            )
            for future, _ in sent:
                future.add_done_callback(check)
            part.pending += sent

    def _known(self, part: Partition, name: str, row: list[int], value: bytes) -> bool:
        """Whether a replayed record is on the log already; raises NonDeterministicError when another one is."""
        known = part.tail.pop(identity(name, row), None)
        if known is not None and known != value:
            raise NonDeterministicError(
                f"replaying wrote another {name} than the log has: {row} against {decode_record(known)}",
                "the run cannot go on; compare the workers' code and lock files",
            )
        return known is not None

    async def _settle(self, part: Partition, pending: list[tuple[Any, int]]) -> None:
        for future, count in pending:
            part.state.output_offset = max(part.state.output_offset, (await future).offset + count)

    # ---- snapshots
    def snapshot(self, part: Partition) -> None:
        """Copy the state now; write it when all output before it is acknowledged; only then commit its offset."""
        if not part.changed or (part.snapshot_task is not None and not part.snapshot_task.done()):
            return
        part.snapshot_at, part.changed = time.monotonic(), False
        part.version += 1
        pending, part.pending = part.pending, []
        dumped, whole = part.state.dump(), not part.tail
        part.snapshot_task = asyncio.ensure_future(self._save(part, part.version, dumped, pending, whole))
        part.snapshot_task.add_done_callback(check)

    async def _save(self, part: Partition, version: int, state: Any, pending: Any, whole: bool) -> None:
        await self._settle(part, pending)
        if whole:  # during a replay the old output offset stays, so that the rest of the tail is still read
            state["head"][1] = part.state.output_offset
        number = part.state.partition
        for key, value in await asyncio.to_thread(snapshots.pack, number, version, state):
            await (await self._producer().send(self.books, value, key=key, partition=number))
        if self.partitions.get(number) is part:
            BATCHES.safe[TP(self.orders, number)] = int(state["head"][0])

    async def snapshots_on_time(self) -> None:
        """Snapshots of idle partitions."""
        while True:
            await asyncio.sleep(SNAPSHOT_SECONDS)
            for part in self.partitions.values():
                if time.monotonic() - part.snapshot_at >= SNAPSHOT_SECONDS:
                    self.snapshot(part)

    # ---- recovery
    async def revoked(self, app: Any, revoked: set[TP], **_: Any) -> None:
        """Partitions go to another worker, which restores them from the log."""
        for tp in revoked:
            self.partitions.pop(tp.partition, None)

    async def restore(self, consumer: Consumer) -> None:
        """Restore and seek every assigned partition, once per generation: Faust may ask twice at the same time."""
        async with self.restoring:
            assigned = frozenset(tp for tp in consumer.assignment() if tp.topic == self.orders)
            generation = (self.app.consumer_generation_id, assigned)
            for tp in sorted(assigned):
                if self.generation != generation or tp.partition not in self.partitions:
                    self.partitions[tp.partition] = await self._restored(tp.partition)
                await consumer.seek(tp, self.partitions[tp.partition].state.next_offset)
            self.generation = generation

    async def _restored(self, partition: int) -> Partition:
        began = time.monotonic()
        saved = [value for _, value in await self._read(self.books, partition, 0)]
        found = snapshots.newest(saved, partition)
        state = PartitionMatching.load(partition, found[1]) if found else PartitionMatching(partition)
        part = Partition(state, version=found[0] if found else 0)
        for _, value in await self._read(self.trades, partition, state.output_offset):
            batch = decode_values([value])
            for name, rows in batch.rows.items():
                known = part.tail.setdefault(identity(name, rows[0].tolist()), value)
                if known != value:
                    raise ProtocolError(f"the log holds two different {name} {rows[0].tolist()}", "verify the run")
        log.info(
            "partition %d: offset %d, %d records of output to compare, %d runs, %.0f ms",
            partition, state.next_offset, len(part.tail), len(state.runs), 1000 * (time.monotonic() - began),
        )  # fmt: skip
        return part

    async def _read(self, name: str, partition: int, start: int) -> list[tuple[int, bytes]]:
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=None,
            enable_auto_commit=False,
            fetch_max_wait_ms=20,
            max_partition_fetch_bytes=32 << 20,
            retry_backoff_ms=100,
        )
        await consumer.start()
        try:
            tp = aiokafka.TopicPartition(name, partition)
            consumer.assign([tp])
            end_, begin = (await consumer.end_offsets([tp]))[tp], (await consumer.beginning_offsets([tp]))[tp]
            consumer.seek(tp, max(begin, start))
            found: list[tuple[int, bytes]] = []
            while await consumer.position(tp) < end_:
                fetched = (await consumer.getmany(tp, timeout_ms=200)).get(tp, [])
                found += [(m.offset, m.value) for m in fetched if m.offset < end_]
            return found
        finally:
            await consumer.stop()


def current_partition() -> int:
    """Partition of the message that the running agent handles."""
    event: Any = faust.current_event()
    return int(event.message.tp.partition)


def end(error: BaseException) -> None:
    """Log and end the process at once: the supervisor restarts it from its snapshot."""
    log.critical("the worker ends: %r", error, exc_info=error)
    logging.shutdown()
    os._exit(3)


def check(done: Any) -> None:
    """Callback that ends the process when a send or a snapshot failed."""
    if not done.cancelled() and done.exception() is not None:
        end(done.exception())


async def serve(options: argparse.Namespace) -> None:
    """Run until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    worker = ProjectionWorker(options) if options.service == "projection" else MatchingWorker(options)
    await worker.app.start()
    timer = asyncio.ensure_future(worker.snapshots_on_time()) if isinstance(worker, MatchingWorker) else None
    log.info("%s started", options.service)
    await stopping.wait()
    if timer is not None:
        timer.cancel()
    loop.call_later(8, os._exit, 0)  # a broker that is already gone must not hold the exit
    await worker.app.stop()


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m streams.worker", description="Faust worker of EscapeCapitalism")
    parser.add_argument("service", choices=["matching", "projection"])
    parser.add_argument("--bootstrap", required=True, help="address of the broker")
    parser.add_argument("--namespace", default="escape", help="prefix of the topics")
    parser.add_argument("--partitions", type=int, default=1, help="order partitions of the namespace")
    parser.add_argument("--flow-partitions", type=int, default=1, help="flow partitions of the namespace")
    parser.add_argument("--data", default=".escape", help="folder for Faust's own files")
    parser.add_argument("--name", default="w0", help="name of this worker in its folder")
    parser.add_argument(
        "--session-timeout", type=float, default=3.0, help="seconds after which a dead worker is noticed"
    )
    options = parser.parse_args()
    os.makedirs(options.data, exist_ok=True)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for noisy in ("faust", "mode", "aiokafka"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()
