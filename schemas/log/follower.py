"""Following the log by whole record batches, read by the thread that waits for them, without an object per record.

This reader asks, waits and decodes: it suits loops that need each record as soon as it is there, or very many of them.
`LogReader` reads ahead, and gives keys and bytes of each record.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from economy.errors import ProtocolError, SetupError
from schemas.catalogue import CLOCK, topic
from schemas.closing import Closing
from schemas.log import recordbatch, wire
from schemas.log.reader import Chunk, Place, chunk_of_records
from schemas.log.refusal import denied, refusal
from schemas.log.requests import Fetch

_WAIT_MS: Final = 500  # that a fetch may wait at the broker for the first record
_PARTITION_BYTES: Final = 8 << 20
_FETCH_BYTES: Final = 64 << 20
_OUT_OF_RANGE: Final = 1


class Follower(Closing):
    """Follows partitions from given offsets. Not thread-safe; close it, or use it as a context manager."""

    def __init__(self, bootstrap: str, namespace: str, start: Mapping[Place, int]) -> None:
        self.position: dict[Place, int] = dict(start)
        self._places = {(topic(namespace, family), number): (family, number) for family, number in start}
        self._cluster = wire.Cluster(bootstrap)
        self._backoff = wire.Backoff()
        self._asked: dict[int, wire.Connection] = {}  # broker -> connection with a fetch on its way
        self._held: frozenset[Place] = frozenset()

    def close(self) -> None:
        """Leave the broker."""
        self._cluster.forget()

    def hold(self, places: Iterable[Place]) -> None:
        """Ask no more of these partitions for now, and of all others again: for one that is far ahead of the others.

        What was asked for before still comes.
        """
        self._held = frozenset(places)

    def poll(self, timeout: float = 0.5, least: int = 1) -> list[Chunk]:
        """What has arrived, at most one chunk per partition; waits up to `timeout` seconds for the first record.

        A caller who knows that fewer than `least` bytes do not help spares itself, and the broker, to be woken for
        them: less comes after half a second only.

        A broker that is away is waited for. Raises SetupError when it refuses to give what comes next, ProtocolError
        when that was deleted, or a batch is damaged.
        """
        limit = time.monotonic() + timeout
        while True:
            chunks: list[Chunk] = []
            try:
                self._ask(least)
                for connection in wire.ready(list(self._asked.values()), limit - time.monotonic()):
                    self._take(connection, chunks)
            except OSError:
                self._forget()
                if not chunks:
                    self._backoff.pause(limit)
            if chunks or time.monotonic() >= limit:
                return chunks

    def _forget(self) -> None:
        self._cluster.forget()
        self._asked.clear()

    def _ask(self, least: int) -> None:
        wanted = [name for name, place in self._places.items() if place not in self._held]
        for node, places in self._cluster.by_leader(wanted).items():
            if node in self._asked:
                continue
            offsets = {place: self.position[self._places[place]] for place in places}
            connection = self._cluster.connection(node)
            connection.send(Fetch(offsets, _WAIT_MS, least, _FETCH_BYTES, _PARTITION_BYTES))
            self._asked[node] = connection

    def _take(self, connection: wire.Connection, chunks: list[Chunk]) -> None:
        error, found = connection.receive()
        self._asked = {node: other for node, other in self._asked.items() if other is not connection}
        if error:
            self._refused("a fetch", error)
        for (name, number), code, begins, aborted, blob in found:
            place = self._places[name, number]
            if code:
                self._refused(f"{name}[{number}] from offset {self.position[place]} on (it begins at {begins})", code)
            if blob:
                self._backoff.reset()
                chunks += self._chunks(place, blob, aborted)

    def _chunks(self, place: Place, blob: bytes, aborted: Sequence[tuple[int, int]]) -> list[Chunk]:
        records = recordbatch.read(blob, self.position[place], aborted=aborted)
        self.position[place] = records.next_offset
        if not len(records):  # control batches or aborted records only
            return []
        chunk = chunk_of_records(place, records)
        if place[0] == CLOCK:  # few, and read one by one
            chunk.values = [records.value(i) for i in range(len(records))]
        return [chunk]

    def _refused(self, what: str, code: int) -> None:
        if denied(code):
            raise refusal(what, code)
        if code in wire.RETRIABLE:
            raise ConnectionError(f"{what} cannot be read now: Kafka's error {code}")
        if code == _OUT_OF_RANGE:
            raise ProtocolError(
                f"records were deleted before they were read: {what}", "restore the topic, or read it anew"
            )
        raise SetupError(f"{what} cannot be read: Kafka's error {code}", "see the broker's log")
