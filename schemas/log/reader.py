"""Reading the log by explicit offsets: whole fetched batches, decoded per partition without an object per record."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from numpy.typing import NDArray

from economy.errors import ProtocolError, SetupError
from economy.records.events import Events
from schemas.catalogue import topic
from schemas.closing import Closing
from schemas.codec import UndecodableRecordError, decode_record
from schemas.log import refusal
from schemas.log.recordbatch import NO_RUN, Records
from schemas.rows import DecodedBatch, Defect, decode, decode_values

Place = tuple[str, int]  # (family, partition)
_BATCH: Final = 10_000
SILENCE_SECONDS: Final = 60.0  # of a log that has more to tell
_RUN_BYTES: Final = 8  # that every key begins with
_SETTINGS: Final = {
    "group.id": "none",  # required by the client; no group is joined since partitions are assigned by hand
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 1,
    "fetch.error.backoff.ms": 50,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 500,
    "max.partition.fetch.bytes": 4 << 20,
    "enable.partition.eof": False,
    "log_level": 0,
}


@dataclass
class Chunk:
    """Consecutive records of one partition: integer records as rows, the others as (position, name, fields)."""

    family: str
    partition: int
    offsets: NDArray[np.int64]
    rows: Events
    index: dict[str, NDArray[np.int64]]  # position in `offsets` of each row
    cold: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    defects: list[tuple[int, Defect]] = field(default_factory=list)
    values: Sequence[bytes] = ()
    keys: Sequence[bytes | None] = ()  # of chunks with defects only: a sound record repeats its key
    runs: NDArray[np.int64] | None = None  # that the keys name, where whole batches were read with their keys

    @property
    def place(self) -> Place:
        return self.family, self.partition

    def run_at(self, position: int) -> int:
        """The run that the key of a record names, NO_RUN where it names none or is not known."""
        if self.runs is not None:
            return int(self.runs[position])
        key = self.keys[position] if self.keys else None
        return int.from_bytes(key[:_RUN_BYTES], "big", signed=True) if key and len(key) >= _RUN_BYTES else NO_RUN

    def offsets_of(self, name: str) -> NDArray[np.int64]:
        """Log offset of each row of a type."""
        return self.offsets[self.index[name]]


def chunk_of(
    family: str, partition: int, values: Sequence[bytes], offsets: NDArray[np.int64], keys: Sequence[bytes | None] = ()
) -> Chunk:
    """Decode consecutive records of a partition; what cannot be decoded is listed in `defects`, never raised."""
    chunk = chunk_of_batch((family, partition), offsets, decode_values(values), values.__getitem__)
    chunk.values, chunk.keys = values, keys
    return chunk


def chunk_of_batch(
    place: Place, offsets: NDArray[np.int64], batch: DecodedBatch, value: Callable[[int], bytes]
) -> Chunk:
    """As `chunk_of` for a batch whose rows are decoded: `value(position)` gives the bytes of a record."""
    cold, defects = [], batch.defects
    for position in batch.cold.tolist():
        try:
            cold.append((position, *decode_record(value(position))))
        except UndecodableRecordError:
            defects.append((position, Defect.UNDECODABLE))
    return Chunk(*place, offsets, batch.rows, batch.index, cold, defects)


def chunk_of_records(place: Place, records: Records) -> Chunk:
    """As `chunk_of_batch` for records whose batches were fetched whole."""
    batch = decode(records.buffer, records.starts, records.ends)
    chunk = chunk_of_batch(place, records.offsets, batch, records.value)
    chunk.runs = records.runs()
    return chunk


def _chunk(family: str, partition: int, messages: Sequence[Message]) -> Chunk:
    offsets = np.fromiter([m.offset() for m in messages], np.int64, len(messages))
    chunk = chunk_of(family, partition, [m.value() or b"" for m in messages], offsets)
    if chunk.defects:
        chunk.keys = [m.key() for m in messages]
    return chunk


class LogReader(Closing):
    """Follows partitions from given offsets. Not thread-safe; close it, or use it as a context manager."""

    def __init__(self, bootstrap: str, namespace: str, start: Mapping[Place, int], **options: Any) -> None:
        self.namespace = namespace
        self.position: dict[Place, int] = dict(start)
        self._held: set[Place] = set()
        self._stepped: dict[Place, int] = {}  # ends that were reached over what is no record: `enable.partition.eof`
        self._families = {topic(namespace, family): family for family, _ in start}
        self._consumer = Consumer({"bootstrap.servers": bootstrap, **_SETTINGS, **options})
        self._consumer.assign([TopicPartition(topic(namespace, f), p, o) for (f, p), o in start.items()])

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def hold(self, places: Iterable[Place]) -> None:
        """Read these partitions no further for now, and all others on: for one that is far ahead of the others."""
        wanted = set(places)
        for change, changed in (
            (self._consumer.pause, wanted - self._held),
            (self._consumer.resume, self._held - wanted),
        ):
            if changed:
                change([TopicPartition(topic(self.namespace, family), p) for family, p in changed])
        self._held = wanted

    def poll(self, timeout: float = 0.5) -> list[Chunk]:
        """What has arrived, at most one chunk per partition; waits up to `timeout` seconds for the first record.

        consume(n, timeout) would wait the whole timeout to fill n, so one poll waits and consume takes what is there.
        """
        return [_chunk(*place, messages) for place, messages in self.poll_placed(timeout).items()]

    def poll_placed(self, timeout: float = 0.5) -> dict[Place, list[Message]]:
        """The raw messages of `poll` by their places, for readers of keys and bytes."""
        messages = self.poll_messages(timeout)
        by_place: dict[Place, list[Message]] = {}
        if len(self.position) == 1 and messages:
            by_place = {place: messages for place in self.position}
        else:
            by_name: dict[tuple[str | None, int | None], list[Message]] = defaultdict(list)
            for message in messages:
                by_name[message.topic(), message.partition()].append(message)
            by_place = {(self._families[name or ""], p or 0): part for (name, p), part in by_name.items()}
        for place, part in by_place.items():
            self.position[place] = (part[-1].offset() or 0) + 1
        for place, offset in self._stepped.items():
            self.position[place] = max(self.position[place], offset)
        self._stepped.clear()
        return by_place

    def poll_messages(self, timeout: float = 0.5) -> list[Message]:
        """The raw messages of `poll` in the order of their coming; positions are not advanced."""
        first = self._consumer.poll(timeout)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(_BATCH, 0)]
        for message in (told := [message for message in messages if message.error() is not None]):
            self._heed(message)
        return [message for message in messages if message.error() is None] if told else messages

    def _heed(self, told: Message) -> None:
        """Take in what the client tells in place of a record: the end of a partition, or an error."""
        error = told.error()
        assert error is not None
        if error.code() == KafkaError._PARTITION_EOF:
            self._stepped[self._families[told.topic() or ""], told.partition() or 0] = told.offset() or 0
            return
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise ProtocolError(
                f"records were deleted before they were read: {error.str()}", "restore the topic, or read it anew"
            )
        refusal.check("the log cannot be read", error)
        if not error.retriable():
            raise KafkaException(error)

    def end_offsets(self, places: Sequence[Place], timeout: float = 20.0) -> dict[Place, int]:
        """Offset behind the last record of each partition. Raises SetupError when the broker does not answer."""
        return {place: self._watermarks(place, timeout)[1] for place in places}

    def begin_offsets(self, places: Sequence[Place], timeout: float = 20.0) -> dict[Place, int]:
        """Offset of the first record still there of each partition."""
        return {place: self._watermarks(place, timeout)[0] for place in places}

    def _watermarks(self, place: Place, timeout: float) -> tuple[int, int]:
        limit = time.monotonic() + timeout
        name, partition = topic(self.namespace, place[0]), place[1]
        while True:
            try:
                low, high = self._consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=5)
            except KafkaException as error:
                refusal.check(f"topic {name} cannot be read", error)
                if time.monotonic() > limit:
                    raise SetupError(f"topic {name} cannot be read: {error}", "is the broker up?") from error
                time.sleep(0.1)
            else:
                return low, high


def end_offsets(bootstrap: str, namespace: str, places: Sequence[Place]) -> dict[Place, int]:
    """Present end of each partition."""
    with LogReader(bootstrap, namespace, {}) as reader:
        return reader.end_offsets(places)


def read_range(bootstrap: str, namespace: str, start: Mapping[Place, int], end: Mapping[Place, int]) -> Iterator[Chunk]:
    """Every record from `start` up to, not including, `end`, each partition in offset order; see `message_range`."""
    for place, messages in message_range(bootstrap, namespace, start, end):
        yield _chunk(*place, messages)


def message_range(
    bootstrap: str, namespace: str, start: Mapping[Place, int], end: Mapping[Place, int]
) -> Iterator[tuple[Place, list[Message]]]:
    """The same as consecutive raw messages of a place at a time. Whatever is there is awaited here, and not for ever.

    Raises ProtocolError when the log ends before, SetupError when nothing comes any more.
    """
    left, came = {place for place in start if start[place] < end[place]}, time.monotonic()
    # What ends a transaction, or was aborted in one, has an offset and is no record: the client tells when it is past.
    told: dict[str, Any] = {"enable.partition.eof": True}
    asked = frozenset(left)
    with LogReader(bootstrap, namespace, {place: start[place] for place in asked}, **told) as reader:
        while left:
            reader.hold(asked - left)  # a partition that goes on must not hide one of which nothing comes
            found = reader.poll_placed(0.5)
            if not found:
                check_ends(reader.end_offsets(list(left), SILENCE_SECONDS), end)
            for place, messages in found.items():
                below = [message for message in messages if (message.offset() or 0) < end[place]]
                if below:
                    yield place, below
                if place in left:
                    came = time.monotonic()
            if time.monotonic() - came > SILENCE_SECONDS:
                family, partition = min(left)
                name = f"{topic(namespace, family)}[{partition}]"
                raise SetupError(f"{name} ends before offset {end[family, partition]}", "is the broker up?")
            left = {place for place in left if reader.position[place] < end[place]}


def check_ends(there: Mapping[Place, int], wanted: Mapping[Place, int]) -> None:
    """Raises ProtocolError where the log ends before it is wanted to: waiting for the rest would never end."""
    for (family, partition), end in there.items():
        if end < wanted[family, partition]:
            raise ProtocolError(
                f"{family}[{partition}] ends at offset {end}, but a record names offset {wanted[family, partition]}",
                "the log was cut off, restore it; or the record is forged",
            )


def read_all(bootstrap: str, namespace: str, places: Sequence[Place]) -> Iterator[Chunk]:
    """Every record that is there now."""
    with LogReader(bootstrap, namespace, {}) as reader:
        start, end = reader.begin_offsets(places), reader.end_offsets(places)
    yield from read_range(bootstrap, namespace, start, end)
