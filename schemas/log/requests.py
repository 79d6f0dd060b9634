"""Kafka's Fetch (version 10) and Produce (version 7), the requests of every epoch, written and read in one pass.

aiokafka's structures, which describe every version field by field, take several times as long.
Format: https://kafka.apache.org/protocol
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

Place = tuple[str, int]  # (topic, partition)
CLIENT: Final = b"escape"
_HEAD: Final = struct.Struct(f">hhih{len(CLIENT)}s")  # key, version, number of the request, name of the client
_FETCH: Final = struct.Struct(">iiiibiii")  # replica, wait, least, most, isolation, session, its epoch, topics
_WANTED: Final = struct.Struct(">iiqqi")  # partition, leader's epoch, offset, start of the log, most
_FETCHED: Final = struct.Struct(">ihii")  # throttled, error, session, topics
_FOUND: Final = struct.Struct(">ihqqqi")  # partition, error, high water, stable, start of the log, aborted ones
_ABORTED: Final = struct.Struct(">qq")  # producer, first offset
_PRODUCE: Final = struct.Struct(">hhii")  # no transaction, acknowledgements, timeout, topics
_WRITTEN: Final = struct.Struct(">ihqqq")  # partition, error, offset, time of appending, start of the log
_INT: Final = struct.Struct(">i")
_PAIR: Final = struct.Struct(">ii")
_SHORT: Final = struct.Struct(">h")
_READ_COMMITTED: Final = 1  # as every other reader of the log
_ALL: Final = -1  # replicas that acknowledge


class Found(NamedTuple):
    """What a fetch brought of one partition."""

    place: Place
    error: int
    begins: int  # offset at which the log begins now
    aborted: list[tuple[int, int]]  # (producer, first offset) of transactions
    blob: bytes


def _by_topic(places: Mapping[Place, object]) -> dict[str, list[Place]]:
    found: dict[str, list[Place]] = {}
    for place in places:
        found.setdefault(place[0], []).append(place)
    return found


def _topic(name: str, partitions: int) -> bytes:
    text = name.encode()
    return _SHORT.pack(len(text)) + text + _INT.pack(partitions)


def _topic_at(body: bytes, at: int) -> tuple[str, int, int]:
    """(name, number of partitions, place behind them) of a topic in an answer."""
    (size,) = _SHORT.unpack_from(body, at)
    if size < 0:  # it would lead backwards, for ever
        raise ValueError(f"the name of a topic has {size} bytes")
    at += _SHORT.size
    return body[at : at + size].decode(), _INT.unpack_from(body, at + size)[0], at + size + _INT.size


@dataclass(frozen=True)
class Fetch:
    """Read from offsets on: answered when there are `least` bytes, or after `wait` ms."""

    offsets: Mapping[Place, int]
    wait: int
    least: int
    most: int  # bytes of all
    most_each: int  # bytes of a partition

    def encode(self, number: int) -> bytes:
        """The bytes to send."""
        topics = _by_topic(self.offsets)
        parts = [
            _HEAD.pack(1, 10, number, len(CLIENT), CLIENT),
            _FETCH.pack(-1, self.wait, self.least, self.most, _READ_COMMITTED, 0, -1, len(topics)),
        ]
        for name, places in topics.items():
            parts.append(_topic(name, len(places)))
            parts += [_WANTED.pack(place[1], -1, self.offsets[place], -1, self.most_each) for place in places]
        return b"".join((*parts, _INT.pack(0)))  # no topic of the session is forgotten

    @staticmethod
    def decode(body: bytes) -> tuple[int, list[Found]]:
        """(error, what each partition has). Raises ValueError or struct.error for what is no such answer."""
        _, error, _, topics = _FETCHED.unpack_from(body)
        at, found = _FETCHED.size, []
        for _ in range(topics):
            name, partitions, at = _topic_at(body, at)
            for _ in range(partitions):
                number, code, _, _, begins, count = _FOUND.unpack_from(body, at)
                at += _FOUND.size
                upto = at + _ABORTED.size * max(count, 0)  # null where nothing is transactional
                aborted = list(_ABORTED.iter_unpack(body[at:upto]))
                (size,) = _INT.unpack_from(body, upto)
                at = upto + _INT.size + max(size, 0)
                if at > len(body):
                    raise ValueError(f"{size} bytes of {name}[{number}] do not fit into the answer")
                found.append(Found((name, number), code, begins, aborted, body[at - max(size, 0) : at]))
        return error, found


@dataclass(frozen=True)
class Produce:
    """Append one batch to each of several partitions; answered when all replicas have them, or after `wait` ms."""

    batches: Mapping[Place, bytes]
    wait: int

    def encode(self, number: int) -> bytes:
        """The bytes to send."""
        topics = _by_topic(self.batches)
        parts = [_HEAD.pack(0, 7, number, len(CLIENT), CLIENT), _PRODUCE.pack(-1, _ALL, self.wait, len(topics))]
        for name, places in topics.items():
            parts.append(_topic(name, len(places)))
            for place in places:
                parts += [_PAIR.pack(place[1], len(self.batches[place])), self.batches[place]]
        return b"".join(parts)

    @staticmethod
    def decode(body: bytes) -> list[tuple[Place, int]]:
        """The error code of each partition. Raises ValueError or struct.error for what is no such answer."""
        (topics,) = _INT.unpack_from(body)
        at, found = _INT.size, []
        for _ in range(topics):
            name, partitions, at = _topic_at(body, at)
            for _ in range(partitions):
                number, code, *_ = _WRITTEN.unpack_from(body, at)
                at += _WRITTEN.size
                found.append(((name, number), code))
        return found
