"""Producing whole record batches that numba wrote, through aiokafka's own queue, retries and idempotence."""

from __future__ import annotations

import inspect
import time
from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder, MessageBatch

from economy.errors import SetupError
from schemas.log import framing
from schemas.log.framing import Headers
from schemas.log.recordbatch import Bytes, Ints


class RawBuilder(BatchBuilder):  # type: ignore[misc]
    """A closed BatchBuilder with ready bytes; aiokafka sets the producer's fields before it sends them."""

    def __init__(self, batch: bytearray, count: int) -> None:
        self._batch = batch
        self._relative_offset = count
        self._buffer: bytes | None = None
        self._closed = True
        self._producer = (-1, -1, -1)

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytes:
        if self._buffer is None:
            self._buffer = framing.seal(self._batch, *self._producer)
        return self._buffer

    def size(self) -> int:
        """Bytes of the batch."""
        return len(self._batch)


def check() -> None:
    """Raise SetupError when aiokafka's batches are not the ones that RawBuilder was written for."""
    uses = set(inspect.getsource(MessageBatch).split("self._builder.")[1:])
    called = {text.split("(")[0] for text in uses}
    own = {"append", "record_count", "closed", "_set_producer_state", "_build", "size", "close"}
    parameters = tuple(inspect.signature(BatchBuilder._set_producer_state).parameters)
    if not called <= own or parameters != ("self", "producer_id", "producer_epoch", "base_sequence"):
        raise SetupError("aiokafka's producer batches have changed", "install the locked version of aiokafka")


async def send(
    producer: Any, topic: str, partition: int, values: Bytes, starts: Ints, ends: Ints, keys: Bytes, key_sizes: Ints,
    limit: int, headers: Headers | None = None,
) -> list[tuple[Any, int]]:  # fmt: skip
    """Queue records in order; returns (future of the acknowledgement, number of records) per batch."""
    now = time.time_ns() // 1_000_000
    sent = []
    for batch, count in framing.write(values, starts, ends, keys, key_sizes, now, limit, headers):
        sent.append((await producer.send_batch(RawBuilder(batch, count), topic, partition=partition), count))
    return sent
