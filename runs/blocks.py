"""Records of an exported run without a Python object per record: places in the buffer of a block of its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit

from schemas.log.reader import Place
from schemas.log.recordbatch import Bytes, Ints, Records, varint

_SLICE: Final = 20_000  # records that are looked at together, whatever a block claims to hold
_HEADER: Final = 5  # bytes of a value before its fields: zero, and the number of its schema
_BROKEN: Final = -1


class Logged(NamedTuple):
    """One record of a run."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one partition as they stand in a file or on a log."""

    place: Place
    records: Records  # with their keys

    def __len__(self) -> int:
        return len(self.records)

    @property
    def keys(self) -> tuple[Ints, Ints]:
        """(starts, sizes) of the keys; a null has the size -1."""
        starts, sizes = self.records.key_starts, self.records.key_sizes
        assert starts is not None
        assert sizes is not None
        return starts, sizes

    @property
    def size(self) -> int:
        """Bytes of keys and values."""
        return int((self.records.ends - self.records.starts).sum() + np.maximum(self.keys[1], 0).sum())

    def logged(self) -> Iterator[Logged]:
        """The records one by one."""
        r, (starts, sizes) = self.records, self.keys
        for i, (start, size) in enumerate(zip(starts.tolist(), sizes.tolist(), strict=True)):
            key = None if size < 0 else r.buffer[start : start + size].tobytes()
            yield Logged(*self.place, int(r.offsets[i]), int(r.timestamps[i]), key, r.value(i))


# ---- reading a block: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
@njit(cache=True, nogil=True)
def _field(buffer: Bytes, at: int) -> tuple[int, int]:
    """(start, end) of a text or bytes at `at`, both -1 where it is broken."""
    size, at = varint(buffer, at, buffer.size)
    if at < 0 or size < 0 or size > buffer.size - at:
        return -1, -1
    return at, at + size


@njit(cache=True, nogil=True)
def _parse(
    buffer: Bytes, at: int, starts: Ints, ends: Ints, offsets: Ints, timestamps: Ints, key_starts: Ints, key_sizes: Ints
) -> Any:
    """Records of one topic and partition from `at` on, as many as there is room for.

    Returns (how many, place behind them, start and end of the topic's name, partition); -1 records where one is broken.
    """
    first, first_end, of = 0, 0, np.int64(0)
    for i in range(starts.size):
        name, name_end = _field(buffer, at)
        partition, after = varint(buffer, name_end, buffer.size)
        if name < 0 or after < 0:
            return -1, at, 0, 0, 0
        if i == 0:
            first, first_end, of = name, name_end, partition
        elif partition != of or name_end - name != first_end - first:
            return i, at, first, first_end, of
        else:
            for k in range(name_end - name):
                if buffer[name + k] != buffer[first + k]:
                    return i, at, first, first_end, of
        offsets[i], after = varint(buffer, after, buffer.size)
        timestamps[i], after = varint(buffer, after, buffer.size)
        branch, after = varint(buffer, after, buffer.size)
        if after < 0 or branch < 0 or branch > 1:
            return -1, at, 0, 0, 0
        key_starts[i], key_sizes[i] = after, -1
        if branch == 1:
            key, after = _field(buffer, after)
            key_starts[i], key_sizes[i] = key, after - key
        starts[i], ends[i] = _field(buffer, after)
        if starts[i] < 0:
            return -1, at, 0, 0, 0
        at = ends[i]
    return starts.size, at, first, first_end, of


def batches(data: bytes | Bytes, count: int) -> Iterator[Batch]:
    """The `count` records of a block. Raises ValueError where they are broken or not all that it holds."""
    buffer = np.frombuffer(bytearray(data), np.uint8)  # which may be written to, for other numbers of schemas
    at = 0
    while count:
        columns = [np.empty(min(count, _SLICE), np.int64) for _ in range(6)]
        n, at, name, name_end, partition = _parse(buffer, at, *columns)
        if n == _BROKEN:
            raise ValueError("a record cannot be decoded")
        starts, ends, offsets, stamps, keys, sizes = (column[:n] for column in columns)
        place = buffer[name:name_end].tobytes().decode(), partition
        first, behind = (int(offsets[0]), int(offsets[-1]) + 1)
        yield Batch(place, Records(buffer, starts, ends, offsets, stamps, first, behind, 0, keys, sizes))
        count -= n
    if at < buffer.size:
        raise ValueError("it has bytes behind its last record")


# ---- numbers of schemas, whose record it is, and what it holds
@njit(cache=True, nogil=True)
def _renumber(buffer: Bytes, starts: Ints, ends: Ints, theirs: Ints, ours: Ints) -> int:
    """Put our schema's number for theirs into each value; returns the first record with another one, or -1."""
    for i in range(starts.size):
        at = starts[i]
        if ends[i] - at < _HEADER or buffer[at] != 0:
            return i
        number = np.int64(0)
        for k in range(1, _HEADER):
            number = (number << 8) | np.int64(buffer[at + k])
        known = np.searchsorted(theirs, number)
        if known == theirs.size or theirs[known] != number:
            return i
        own = ours[known]
        for k in range(_HEADER - 1, 0, -1):
            buffer[at + k] = np.uint8(own & 255)
            own >>= 8
    return -1


def renumber(batch: Batch, numbers: Mapping[int, int]) -> int:
    """Put our schemas' numbers for theirs into the values; the first record with another one, or -1."""
    theirs = np.array(sorted(numbers), np.int64)
    ours = np.array([numbers[number] for number in sorted(numbers)], np.int64)
    return int(_renumber(batch.records.buffer, batch.records.starts, batch.records.ends, theirs, ours))


@njit(cache=True, nogil=True)
def _is_of(buffer: Bytes, starts: Ints, ends: Ints, run: int) -> Any:
    """Which values are a run's: it is the first field of every event."""
    out = np.empty(starts.size, np.bool_)
    for i in range(starts.size):
        number, at = varint(buffer, starts[i] + _HEADER, ends[i])
        out[i] = at >= 0 and number == run
    return out


def of_run(place: Place, records: Records, run: int) -> Batch:
    """The records of one run among those read from a log with their keys."""
    mine = _is_of(records.buffer, records.starts, records.ends, run)
    batch = Batch(place, records)
    if mine.all():
        return batch
    keys, sizes = batch.keys
    return Batch(place, Records(
        records.buffer, records.starts[mine], records.ends[mine], records.offsets[mine], records.timestamps[mine],
        records.first_offset, records.next_offset, 0, keys[mine], sizes[mine],
    ))  # fmt: skip


@njit(cache=True, nogil=True)
def _gather(buffer: Bytes, starts: Ints, ends: Ints, keys: Ints, sizes: Ints, out: Bytes) -> None:
    """Keys and values one behind the other."""
    n = 0
    for i in range(starts.size):
        for at in range(keys[i], keys[i] + max(sizes[i], 0)):
            out[n] = buffer[at]
            n += 1
        for at in range(starts[i], ends[i]):
            out[n] = buffer[at]
            n += 1


class Content:
    """SHA-256 of keys and values by partition, whatever their offsets and in whatever batches they come."""

    def __init__(self) -> None:
        self._of: dict[Place, tuple[Any, Any]] = {}  # of the sizes, of the bytes

    def add(self, batch: Batch) -> None:
        """Take in consecutive records of one partition."""
        if not len(batch):
            return
        sizes, content = self._of.setdefault(batch.place, (sha256(), sha256()))
        r, (keys, key_sizes) = batch.records, batch.keys
        lengths = np.maximum(key_sizes, 0)
        sizes.update(np.column_stack((lengths, r.ends - r.starts)).astype("<i8").tobytes())
        out = np.empty(batch.size, np.uint8)
        _gather(r.buffer, r.starts, r.ends, keys, key_sizes, out)
        content.update(out)

    def hexdigest(self) -> str:
        """Of all records so far."""
        whole = sha256()
        for place, parts in sorted(self._of.items()):
            whole.update(f"{place} {[part.hexdigest() for part in parts]}".encode())
        return whole.hexdigest()
