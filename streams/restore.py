"""What a worker reads back when it is given a partition: the newest snapshot and the output written after it."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiokafka

from economy.errors import ProtocolError
from schemas.log import snapshots
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


class Readback:
    """Reads partitions by offset, outside of the group. Use as an asynchronous context manager."""

    def __init__(self, bootstrap: str) -> None:
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
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def bounds(self, name: str, partition: int) -> tuple[int, int]:
        """(first offset that is still there, offset behind the last)."""
        place = aiokafka.TopicPartition(name, partition)
        begin, end = (
            await self._consumer.beginning_offsets([place]),
            await self._consumer.end_offsets([place]),
        )
        return begin[place], end[place]

    async def read(self, name: str, partition: int, start: int) -> tuple[list[Any], int]:
        """(what the consumer fetched from `start` to the present end, offset behind it)."""
        place = aiokafka.TopicPartition(name, partition)
        begin, end = await self.bounds(name, partition)
        if start > end:
            raise ProtocolError(
                f"partition {partition} of {name} ends at {end}, but a snapshot knows of offset {start}",
                "the log was cut off; restore it, or use another namespace",
            )
        self._consumer.assign([place])
        self._consumer.seek(place, max(begin, start))
        found: list[Any] = []
        while await self._consumer.position(place) < end:
            found += (await self._consumer.getmany(place, timeout_ms=200)).get(place, [])
        return found, await self._consumer.position(place)

    async def restored(self, orders: str, trades: str, books: str, partition: int) -> Restored:
        """State, and the output to compare with; `trades` must be hooked by streams.rawfetch, `books` must not.

        Raises ProtocolError when the log contradicts itself or lacks what the snapshot goes on from.
        """
        saved, _ = await self.read(books, partition, 0)
        found = snapshots.newest((record.value for record in saved), partition)
        state = PartitionMatching.load(partition, found[1]) if found else PartitionMatching(partition)
        fetched, tail_end = await self.read(trades, partition, state.output_offset)
        tail = Tail(decode(records.buffer, records.starts, records.ends).rows for records in fetched)
        begin, until = await self.bounds(orders, partition)
        if state.next_offset > until:
            raise ProtocolError(
                f"partition {partition} of {orders} ends at {until}, but its snapshot goes on at {state.next_offset}",
                "the log was cut off; restore it, or use another namespace",
            )
        state.next_offset = max(begin, state.next_offset)  # deleted runs are not waited for
        return Restored(state, found[0] if found else 0, tail, tail_end, until)
