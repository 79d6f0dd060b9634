"""Reading a closed range of the log at full speed: whole fetched batches, without a Python object per record.

Several times as fast as `schemas.log.reader`; for replays, which read all of a run.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import aiokafka
from aiokafka.errors import KafkaError

from economy.errors import SetupError
from schemas.catalogue import topic
from schemas.log.history import FAMILIES, Segment
from schemas.log.reader import Chunk, Place, check_ends, chunk_of_records
from schemas.log.recordbatch import Records
from streams import rawfetch

_FETCH_BYTES: Final = 4 << 20
_PATIENCE: Final = 60.0  # seconds without a single record before the broker counts as gone


async def _consumer(bootstrap: str, start: Mapping[aiokafka.TopicPartition, int]) -> Any:
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, isolation_level="read_committed",
        max_partition_fetch_bytes=_FETCH_BYTES, fetch_max_wait_ms=50, auto_offset_reset="none",
    )  # fmt: skip
    await consumer.start()
    consumer.assign(list(start))
    for tp, offset in start.items():
        consumer.seek(tp, offset)
    return consumer


def raw_records(
    bootstrap: str, namespace: str, start: Mapping[Place, int], end: Mapping[Place, int]
) -> Iterator[tuple[Place, Records]]:
    """Every record from `start` up to, not including, `end`, with its key; each partition in offset order.

    Raises SetupError when the broker does not answer or no longer holds the range, ProtocolError when the log ends
    before.
    """
    places = {aiokafka.TopicPartition(topic(namespace, place[0]), place[1]): place for place in start}
    left = {tp: place for tp, place in places.items() if start[place] < end[place]}
    if not left:
        return
    for tp in left:
        rawfetch.install(tp.topic, keyed=True)
    # The loop has a thread of its own, so that the next batches are fetched while these are worked on.
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True, name="rawread")
    thread.start()

    def call(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    consumer: Any = None
    try:
        consumer = call(_consumer(bootstrap, {tp: start[place] for tp, place in left.items()}))
        check_ends({places[tp]: at for tp, at in call(consumer.end_offsets(list(left))).items()}, end)
        while left:
            fetched = call(consumer.getmany(*left, timeout_ms=int(_PATIENCE * 1000)))
            if not fetched:
                raise SetupError(f"{next(iter(left)).topic} gives no more records", "is the broker up?")
            for tp, batches in fetched.items():
                for records in batches:
                    if len(records) and tp in left:
                        yield places[tp], records.until(end[places[tp]])
                    if records.next_offset >= end[places[tp]]:
                        left.pop(tp, None)
    except KafkaError as error:
        raise SetupError(f"the log cannot be read: {error}", "is the broker up?") from error
    finally:
        if consumer is not None:
            call(consumer.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def raw_range(bootstrap: str, namespace: str, start: Mapping[Place, int], end: Mapping[Place, int]) -> Iterator[Chunk]:
    """The same, decoded."""
    for place, records in raw_records(bootstrap, namespace, start, end):
        yield chunk_of_records(place, records)


def raw_chunks(bootstrap: str, namespace: str, segment: Segment, families: Sequence[str] = FAMILIES) -> Iterator[Chunk]:
    """As schemas.log.history.read_chunks."""
    yield from raw_range(bootstrap, namespace, *segment.extent(bootstrap, namespace, families))
