"""The matching worker: couples PartitionMatching with Faust. Assignment, recovery, sending, snapshots.

Recovery: on every assignment the newest snapshot of a partition is restored, the output behind it is read back, and the
input is replayed from the snapshot's offset; what is on the log already is compared and not written again. Only the
input offset of an acknowledged snapshot is committed. Any exception ends the process: the supervisor restarts it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from dataclasses import dataclass, field
from typing import Any, Final

import faust
import numpy as np
from faust.serializers import codecs
from faust.types import TP

from economy.errors import ProtocolError, SetupError
from economy.records import events as e
from economy.records.events import Events
from schemas.catalogue import ALSO_IN, BOOK_SNAPSHOTS, CLOCK, EVENTS, ORDERS, TRADES, dead_letter, key, topic
from schemas.codec import UndecodableRecordError, decode_record, encode_record, written_as
from schemas.log import framing, snapshots
from schemas.log.clocklog import OUTSIDER
from schemas.log.reader import Chunk, Place
from schemas.log.recordbatch import Records
from schemas.rows import Defect, decode, encode
from streams import burial, membership, rawfetch, rawproduce
from streams.burial import Found
from streams.matching import PartitionMatching, output_order
from streams.process import check, end, stage
from streams.restore import Readback, Restored
from streams.settings import MatchingSettings
from streams.tail import Tail
from streams.transport import BATCHES, SCHEME, Consumer

log = logging.getLogger("escape.matching")
SNAPSHOT_SECONDS: Final = 2.0
UNACKNOWLEDGED: Final = 500  # batches sent and not yet acknowledged before the worker waits
_RUN_KEYED: Final = (e.EpochMatched.name, e.ChainSealed.name)  # markers, whose key is the run alone
_EXPECTED: Final = frozenset(n for n, event in EVENTS.items() if event.topic == ORDERS or ORDERS in ALSO_IN.get(n, ()))
_UNEXPECTED: Final = "RECORD_OF_ANOTHER_TOPIC"


@dataclass
class Partition:
    """Matching of one partition plus what its recovery needs."""

    state: PartitionMatching
    version: int
    tail: Tail | None  # output that is on the log already, until the replay is over
    tail_end: int
    until: int
    token: int = -1  # of the seek to where it goes on: batches fetched before that, with any other, are not for it
    began: float = field(default_factory=time.monotonic)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while the state is ahead of what was sent
    pending: list[tuple[Any, int]] = field(default_factory=list)  # output: acknowledgement, number of records
    letters: list[Any] = field(default_factory=list)  # acknowledgements of dead letters and aborted runs
    snapshot_at: float = field(default_factory=time.monotonic)
    snapshot_task: asyncio.Task[None] | None = None
    changed: bool = False

    @classmethod
    def of(cls, found: Restored) -> Partition:
        """A partition that goes on from what was read back."""
        return cls(found.state, found.version, found.tail, found.tail_end, found.until)

    def acknowledged(self, sent: Any) -> None:
        """Output is on the log, and shards are at work on it: time for what it did not wait for."""
        check(sent)
        try:
            self.state.settle()
        except BaseException as error:
            end(error)


class _Raw(codecs.Codec):
    """Batches pass through as they are."""

    def _loads(self, s: Any) -> Any:
        return s

    def _dumps(self, s: Any) -> bytes:
        raise TypeError("batches are never sent through this codec")


codecs.register("batch", _Raw())


class MatchingWorker:
    """One member of the group that shares the order partitions of a namespace."""

    def __init__(self, options: MatchingSettings) -> None:
        self.bootstrap: str = options.bootstrap
        self.orders, self.trades = (topic(options.namespace, family) for family in (ORDERS, TRADES))
        self.books = topic(options.namespace, BOOK_SNAPSHOTS)
        self.dead, self.clock = (topic(options.namespace, family) for family in (dead_letter(ORDERS), CLOCK))
        self.partitions: dict[int, Partition] = {}
        self.restoring = asyncio.Lock()
        self.generation: tuple[int, frozenset[TP]] | None = None
        self.leaving = False
        self._tokens = itertools.count(1)
        self._leave_seconds = min(2.0, options.session_timeout / 2)
        rawfetch.install(self.orders)
        rawfetch.install(self.trades)
        rawproduce.check()
        membership.check()
        BATCHES.topics.add(self.orders)
        BATCHES.after_seek = self.restore
        BATCHES.partial = self._partial
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
            stream_buffer_maxsize=32,  # of batches, each up to a fetch large
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

    # ---- health
    def positions(self) -> dict[Place, int] | None:
        """Offset to read next by partition, none while some are being restored; None without a place in the group."""
        if self.restoring.locked():  # which ends by itself, with an error when it is given nothing to read
            return {}
        if BATCHES.consumer is not None and not membership.belongs(BATCHES.consumer):
            return None
        return {(ORDERS, number): part.state.next_offset for number, part in list(self.partitions.items())}

    @staticmethod
    def fault() -> SetupError | None:
        """Why the client of Kafka cannot go on."""
        return membership.fault(BATCHES.consumer, BATCHES.producer)

    # ---- the agent
    async def match(self, stream: Any) -> None:
        """Faust agent: one message is one fetched batch."""
        async for batch in stream:
            event: Any = faust.current_event()
            try:
                await self._take(event.message.tp.partition, batch)
            except BaseException as error:
                # Faust would skip the batch and go on; a matching worker must not.
                end(error)

    def _partial(self, tp: TP, records: Records) -> bool:
        part = self.partitions.get(tp.partition)
        return part is not None and records.token == part.token and part.state.partial(records)

    async def _take(self, partition: int, batch: Records) -> None:
        part = self.partitions.get(partition)
        if part is None or self.leaving:
            return
        async with part.busy:
            state = part.state
            if batch.token != part.token or self.partitions.get(partition) is not part:
                return  # fetched under an assignment that is gone, or before the seek: it comes again where it is due
            if batch.next_offset <= state.next_offset:
                return
            if batch.first_offset > state.next_offset:
                raise ProtocolError(
                    f"partition {partition} of {self.orders} was read from offset {batch.first_offset} on, not from "
                    f"{state.next_offset}", "records are missing: see the broker's log",
                )  # fmt: skip
            fresh = batch.since(state.next_offset)
            await self._feed(part, fresh)
            part.changed = True
            if part.tail is not None and state.next_offset >= part.until:
                self._caught_up(part)
            if len(part.pending) > UNACKNOWLEDGED:
                await self._settle(part, part.pending[:-100])
                del part.pending[:-100]
            if time.monotonic() - part.snapshot_at >= SNAPSHOT_SECONDS:
                self.snapshot(part)

    async def _feed(self, part: Partition, records: Records) -> None:
        if not len(records):  # control batches or aborted records only
            part.state.next_offset = records.next_offset
            return
        chunk, buried = self._decode(part.state.partition, records)
        for events in part.state.feed(chunk, records.next_offset):
            await self._write(part, events)
        buried += part.state.refused
        if buried:
            await self._bury(part, records, buried)
        for run, epoch, why in part.state.failed:
            await self._abort(part, run, epoch, why)

    def _decode(self, partition: int, records: Records) -> tuple[Chunk, Found]:
        found = decode(records.buffer, records.starts, records.ends)
        buried: Found = [(found.broken[found.why == why], Defect(why).name) for why in np.unique(found.why)]
        buried += [(found.index.pop(name), _UNEXPECTED) for name in found.rows.keys() - _EXPECTED]
        rows = {name: part for name, part in found.rows.items() if name in found.index}
        chunk = Chunk(ORDERS, partition, records.offsets, rows, found.index)
        strange: dict[str, list[int]] = {}
        for i in found.cold.tolist():
            value = records.value(i)
            if written_as(value) not in _EXPECTED:
                strange.setdefault(_UNEXPECTED, []).append(i)
                continue
            try:
                chunk.cold.append((i, *decode_record(value)))
            except UndecodableRecordError:
                strange.setdefault(Defect.UNDECODABLE.name, []).append(i)
        return chunk, buried + [(np.array(at, np.int64), why) for why, at in strange.items()]

    # ---- sending
    async def _bury(self, part: Partition, records: Records, buried: Found) -> None:
        """What cannot be taken in goes to the dead letters, with its place and error; the stream goes on."""
        partition = part.state.partition
        told = ", ".join(f"{len(at)} {why}" for at, why in buried)
        log.warning("%s[%d] from offset %d: to the dead letters: %s", self.orders, partition, records.offsets[0], told)
        starts, ends, headers = burial.letters(records, buried, self.orders, partition)
        keys, null = np.zeros((len(starts), 1), np.uint8), np.full(len(starts), -1)
        sent = await self.app.producer.send_records(
            self.dead, 0, records.buffer, starts, ends, keys, null, headers
        )  # fmt: skip
        for future, _ in sent:
            self._await_letter(part, future)

    async def _abort(self, part: Partition, run: int, epoch: int, why: str) -> None:
        """Write RunAborted, which ends the run for its clock, its shards and whoever waits; the other runs go on."""
        log.error("run %d is given up at epoch %d: %s", run, epoch, why)
        record = {"run": run, "incarnation": OUTSIDER, "epoch": epoch, "reason": f"matching: {why}"}
        value = encode_record("RunAborted", record)
        sent = await self.app.producer._producer.send(self.clock, value, key=key(run), partition=0)
        self._await_letter(part, sent)

    def _await_letter(self, part: Partition, sent: Any) -> None:
        sent.add_done_callback(check)
        part.letters = [letter for letter in part.letters if not letter.done()] + [sent]

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
        if part.tail is not None:
            new = np.concatenate([part.tail.new(name, events[name]) for name in names])[place]
            kind, place = kind[new], place[new]
        if len(place):
            key_sizes = np.array([8 if name in _RUN_KEYED else 16 for name in names])[kind]
            keys = framing.key_table(identities[place], key_sizes)
            sent = await self.app.producer.send_records(
                self.trades, part.state.partition, values, starts[place], ends[place], keys, key_sizes
            )
            for future, _ in sent:
                future.add_done_callback(part.acknowledged)
            part.pending += sent

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
        part.snapshot_task = asyncio.ensure_future(
            self._save(part, part.version, part.state.dump(), pending, part.letters[:], part.tail is None)
        )
        part.snapshot_task.add_done_callback(check)

    async def _save(
        self, part: Partition, version: int, state: Any, pending: list[tuple[Any, int]], letters: list[Any], whole: bool
    ) -> None:
        await self._settle(part, pending)
        for letter in letters:
            await letter
        if whole:  # during a replay the old output offset stays, so that the rest of the tail is still read
            state["head"][1] = part.state.output_offset
        number = part.state.partition
        producer = self.app.producer._producer
        for slot, value in await asyncio.to_thread(snapshots.pack, number, version, state):
            await (await producer.send(self.books, value, key=slot, partition=number))
        if self.partitions.get(number) is part:
            BATCHES.safe[TP(self.orders, number)] = int(state["head"][0])

    async def snapshots_on_time(self) -> None:
        """Snapshots of idle partitions."""
        while True:
            await asyncio.sleep(SNAPSHOT_SECONDS)
            for part in self.partitions.values():
                if not part.busy.locked() and time.monotonic() - part.snapshot_at >= SNAPSHOT_SECONDS:
                    self.snapshot(part)

    async def _leave(self, part: Partition) -> None:
        """A last snapshot, so that the next owner has little to replay; given up when it takes long."""
        async with part.busy:
            if part.snapshot_task is not None:
                await asyncio.wait([part.snapshot_task])
            self.snapshot(part)
            if part.snapshot_task is not None:
                await asyncio.wait([part.snapshot_task])

    async def _leave_all(self, parts: list[Partition]) -> None:
        tasks = [asyncio.ensure_future(self._leave(part)) for part in parts]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._leave_seconds)
            for task in late:
                task.cancel()
            if late:  # the next owner replays more, and what is still on its way may come to stand on the log twice
                log.warning("%d partitions go without a last snapshot, after %.1f s", len(late), self._leave_seconds)

    async def leave(self) -> None:
        """Take nothing in any more and hand the partitions over."""
        self.leaving = True
        await self._leave_all(list(self.partitions.values()))

    # ---- recovery
    async def revoked(self, app: Any, revoked: set[TP], **_: Any) -> None:
        """Partitions go to another worker, which restores them from the log."""
        gone = [tp.partition for tp in revoked if tp.topic == self.orders and tp.partition in self.partitions]
        began = time.monotonic()
        await self._leave_all([self.partitions[number] for number in gone])
        for number in gone:
            self.partitions.pop(number, None)
        log.info("gave up partitions %s, %.0f ms", gone, 1000 * (time.monotonic() - began))

    async def restore(self, consumer: Consumer) -> None:
        """Restore and seek every assigned partition, once per generation: Faust may ask twice at the same time."""
        async with self.restoring:
            number = self.app.consumer_generation_id
            assigned = frozenset(tp for tp in consumer.assignment() if tp.topic == self.orders)
            missing = [
                tp.partition
                for tp in sorted(assigned)
                if self.generation != (number, assigned) or tp.partition not in self.partitions
            ]
            if missing:
                stage("assigned")
                async with Readback(self.bootstrap, self.orders, self.trades, self.books, missing) as readback:
                    for partition in missing:
                        await self._restore(readback, partition)
                stage("restored")
            for tp in sorted(assigned):
                part = self.partitions[tp.partition]
                part.token = next(self._tokens)
                await consumer.rewind(tp, part.state.next_offset, part.token)
            self.generation = (number, assigned)

    async def _restore(self, readback: Readback, partition: int) -> None:
        began = time.monotonic()
        part = Partition.of(await readback.restored(partition))
        assert part.tail is not None
        self.partitions[partition] = part
        for run, epoch, why in part.state.failed:
            await self._abort(part, run, epoch, why)
        log.info(
            "partition %d: offset %d, %d records of input to replay, %d of output to compare, %d runs, %.0f ms",
            partition, part.state.next_offset, part.until - part.state.next_offset, len(part.tail),
            len(part.state.runs), 1000 * (time.monotonic() - began),
        )  # fmt: skip
        if part.state.next_offset >= part.until:
            self._caught_up(part)

    def _caught_up(self, part: Partition) -> None:
        """The replay has passed all input that there was: all output on the log has been made again."""
        part.tail = None
        part.state.output_offset = max(part.state.output_offset, part.tail_end)
        log.info("partition %d: replayed, %.0f ms", part.state.partition, 1000 * (time.monotonic() - part.began))
        if all(other.tail is None for other in self.partitions.values()):
            stage("replayed")
