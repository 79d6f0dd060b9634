"""What a worker reads back when it is given a partition: the newest snapshot and the output written after it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiokafka
from aiokafka import TopicPartition

from economy.errors import ProtocolError, SetupError
from schemas.log import snapshots
from schemas.log.reader import SILENCE_SECONDS
from schemas.rows import decode
from streams.matching import PartitionMatching
from streams.tail import Tail


@dataclass(frozen=True)
class Restored:
    """A partition as its last owner left it.

    Until the input offset `until` is reached, a replay may make what the log has: `tail`, which ends at `tail_end`.
    """

    state: PartitionMatching
    version: int
    tail: Tail
    tail_end: int
    until: int


def pass_deleted(state: PartitionMatching, begin: int) -> None:
    """Go on at `begin`: what is before was deleted. Open runs may have lost records: they are left in `failed`."""
    why = f"offsets {state.next_offset} to {begin} of partition {state.partition} were deleted before they were matched"
    for number, run in sorted(state.runs.items()):
        state.failed.append((number, run.epochs().next_epoch, why))
        state.closed.add(number)
    state.runs.clear()
    state.next_offset = begin


class Readback:
    """Reads some partitions by offset, outside of the group. Use as an asynchronous context manager.

    `trades` must be hooked by streams.rawfetch, `books` must not.
    """

    def __init__(self, bootstrap: str, orders: str, trades: str, books: str, partitions: Iterable[int]) -> None:
        self._orders, self._trades, self._books = orders, trades, books
        # All together: one look at the broker's metadata instead of one per topic, a tenth of a second each.
        self._places = [TopicPartition(name, p) for name in (orders, trades, books) for p in partitions]
        self._consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=None,
            enable_auto_commit=False,
            fetch_max_wait_ms=20,
            max_partition_fetch_bytes=32 << 20,
            retry_backoff_ms=100,
        )

    async def __aenter__(self) -> Readback:
        await self._consumer.start()
        self._consumer.assign(self._places)
        for place in self._places:
            self._consumer.seek(place, 0)
        self._consumer.pause(*self._places)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def _bounds(self, place: TopicPartition) -> tuple[int, int]:
        """(first offset that is still there, offset behind the last)."""
        begin, end = await self._consumer.beginning_offsets([place]), await self._consumer.end_offsets([place])
        return begin[place], end[place]

    async def _read(self, name: str, partition: int, start: int) -> tuple[list[Any], int]:
        """(what the consumer fetched from `start` to the present end, offset behind it)."""
        place = TopicPartition(name, partition)
        begin, end = await self._bounds(place)
        if start > end:
            raise ProtocolError(
                f"partition {partition} of {name} ends at {end}, but a snapshot knows of offset {start}",
                "the log was cut off; restore it, or use another namespace",
            )
        self._consumer.seek(place, max(begin, start))
        self._consumer.resume(place)
        found: list[Any] = []
        at, came = await self._consumer.position(place), time.monotonic()
        while at < end:
            found += (await self._consumer.getmany(place, timeout_ms=200)).get(place, [])
            before, at = at, await self._consumer.position(place)
            if at > before:
                came = time.monotonic()
            elif time.monotonic() - came > SILENCE_SECONDS:
                raise SetupError(f"{name}[{partition}] ends at {at}, before offset {end}", "is the broker up?")
        self._consumer.pause(place)
        return found, at

    async def restored(self, partition: int) -> Restored:
        """State of a partition, and the output to compare with.

        Raises ProtocolError when the log contradicts itself or lacks what the snapshot goes on from.
        """
        saved, _ = await self._read(self._books, partition, 0)
        values = (record.value for record in saved)
        found = snapshots.loaded(values, partition, lambda state: PartitionMatching.load(partition, state))
        state = found[1] if found else PartitionMatching(partition)
        fetched, tail_end = await self._read(self._trades, partition, state.output_offset)
        tail = Tail(decode(records.buffer, records.starts, records.ends).rows for records in fetched)
        begin, until = await self._bounds(TopicPartition(self._orders, partition))
        if state.next_offset > until:
            raise ProtocolError(
                f"partition {partition} of {self._orders} ends at {until}, but a snapshot knows of offset "
                f"{state.next_offset}",
                "the log was cut off; restore it, or use another namespace",
            )
        if begin > state.next_offset:
            pass_deleted(state, begin)
        return Restored(state, found[0] if found else 0, tail, tail_end, until)
