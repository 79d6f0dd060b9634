"""Kafka's RecordBatch format, version 2, without a Python object per record.

Reading gives the place of every record's value in one buffer, ready for `schemas.rows.decode`; headers of batches are
read in Python (a few per fetch), records in numba. Format: https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from aiokafka.record.util import calc_crc32c
from numba import njit
from numpy.typing import NDArray

from economy.errors import ProtocolError
from schemas.compression import Codec, CompressionError, ExpansionError, decompressed

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

# base offset, length, leader epoch, magic, crc, attributes, last offset delta, first and largest timestamp,
# producer id, epoch and sequence, number of records
HEAD: Final = struct.Struct(">qiibIhiqqqhii")
FRAME: Final = 12  # base offset and length, which the length does not count
CRC_FROM: Final = 21  # the checksum covers everything from the attributes on
_SMALLEST: Final = 7  # bytes of an empty record
NO_RUN: Final = int(np.iinfo(np.int64).min)  # a key that names none: null, or shorter than a run's number
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
LZ4: Final = 3
_CODECS: Final = {1: Codec.GZIP, 2: Codec.SNAPPY, LZ4: Codec.LZ4, 4: Codec.ZSTD}
MOST: Final = 64 << 20  # bytes of a batch when decompressed: a record has at most 32 MiB
_REMEDY: Final = "the log is damaged; verify the topic and restore it from a replica"
_BOMB: Final = "none of our programs wrote it: find who may write to this topic, and restore the topic without it"


@dataclass(slots=True)
class Records:
    """Records of one partition in log order: the value of record i is buffer[starts[i]:ends[i]].

    A null value is empty. They are all that the log holds from `first_offset` to below `next_offset`, where control
    batches, aborted and compacted records leave holes. `token` tells after which seek they were fetched. The key of
    record i, where keys were asked for, has key_sizes[i] bytes from key_starts[i] on; a null has -1.
    """

    buffer: Bytes
    starts: Ints
    ends: Ints
    offsets: Ints
    timestamps: Ints
    first_offset: int
    next_offset: int
    token: int = 0
    key_starts: Ints | None = None
    key_sizes: Ints | None = None

    def __len__(self) -> int:
        return int(self.offsets.size)

    def value(self, i: int) -> bytes:
        """Value of one record, for the few that are not rows."""
        return self.buffer[self.starts[i] : self.ends[i]].tobytes()

    def runs(self) -> Ints | None:
        """The run that each key begins with, NO_RUN where there is none; None where keys were not asked for."""
        if self.key_starts is None or self.key_sizes is None:
            return None
        return _runs(self.buffer, self.key_starts, self.key_sizes)

    def until(self, offset: int) -> Records:
        """The records below `offset`; they share this buffer."""
        if offset >= self.next_offset:
            return self
        k = int(np.searchsorted(self.offsets, offset))
        keys = (
            (None, None)
            if self.key_starts is None or self.key_sizes is None
            else (self.key_starts[:k], self.key_sizes[:k])
        )
        return Records(
            self.buffer, self.starts[:k], self.ends[:k], self.offsets[:k], self.timestamps[:k], self.first_offset,
            max(offset, self.first_offset), self.token, *keys,
        )  # fmt: skip

    def since(self, offset: int) -> Records:
        """The records from `offset` on, without keys; they share this buffer."""
        if offset <= self.first_offset:
            return self
        k = int(np.searchsorted(self.offsets, offset))
        return Records(
            self.buffer, self.starts[k:], self.ends[k:], self.offsets[k:], self.timestamps[k:], offset,
            self.next_offset, self.token,
        )  # fmt: skip


def joined(parts: Sequence[Records]) -> Records:
    """Consecutive records of one partition and token as one."""
    if len(parts) == 1:
        return parts[0]
    shifts = np.cumsum([0, *(part.buffer.size for part in parts[:-1])]).tolist()
    moved = list(zip(parts, shifts, strict=True))
    return Records(
        np.concatenate([part.buffer for part in parts]),
        np.concatenate([part.starts + shift for part, shift in moved]),
        np.concatenate([part.ends + shift for part, shift in moved]),
        np.concatenate([part.offsets for part in parts]),
        np.concatenate([part.timestamps for part in parts]),
        parts[0].first_offset, parts[-1].next_offset, parts[0].token,
    )  # fmt: skip


@njit(cache=True)
def varint(buffer: Bytes, at: int, end: int) -> tuple[np.int64, int]:
    """Zigzag varint at `at` and the place behind it, which is -1 when it is cut off or overlong."""
    value = np.uint64(0)
    shift = 0
    while 0 <= at < end and shift < 70:
        byte = np.uint64(buffer[at])
        at += 1
        value |= (byte & np.uint64(127)) << np.uint64(shift)
        if byte < np.uint64(128):
            return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1)), at
        shift += 7
    return np.int64(0), -1


@njit(cache=True)
def _skip(buffer: Bytes, at: int, end: int) -> tuple[int, int]:
    """(start, end) of a length-prefixed field, both -1 when it is broken; a null has start == end."""
    size, at = varint(buffer, at, end)
    if at < 0 or size > end - at or size < -1:
        return -1, -1
    return at, at + max(size, 0)


@njit(cache=True)
def _runs(buffer: Bytes, starts: Ints, sizes: Ints) -> Ints:
    """The run that each key begins with."""
    out = np.empty(starts.size, np.int64)
    for i in range(starts.size):
        number = np.uint64(0)
        for k in range(min(sizes[i], 8)):
            number = (number << np.uint64(8)) | np.uint64(buffer[starts[i] + k])
        out[i] = np.int64(number) if sizes[i] >= 8 else NO_RUN
    return out


@njit(cache=True, nogil=True)
def _walk(
    buffer: Bytes, at: int, end: int, count: int, fetch_offset: int, base: int, first_time: int, append_time: int,
    starts: Ints, ends: Ints, offsets: Ints, timestamps: Ints, key_starts: Ints, key_sizes: Ints,
) -> int:  # fmt: skip
    """Places of the `count` records in buffer[at:end] from `fetch_offset` on; -1 when their framing is broken."""
    n = 0
    for _ in range(count):
        size, at = varint(buffer, at, end)
        if at < 0 or size < _SMALLEST - 1 or size > end - at:
            return -1
        stop = at + size
        since, at = varint(buffer, at + 1, stop)  # behind the attributes, which are unused
        delta, at = varint(buffer, at, stop)
        key_size, key = varint(buffer, at, stop)
        if key < 0 or key_size > stop - key or key_size < -1:
            return -1
        start, value_end = _skip(buffer, key + max(key_size, 0), stop)
        headers, at = varint(buffer, value_end, stop)
        if start < 0 or at < 0 or headers < 0 or headers > stop - at:
            return -1
        for _ in range(2 * headers):
            _, at = _skip(buffer, at, stop)
        if at != stop:
            return -1
        if base + delta < fetch_offset:
            continue
        starts[n], ends[n], offsets[n] = start, value_end, base + delta
        timestamps[n] = append_time if append_time >= 0 else first_time + since
        if key_starts.size:
            key_starts[n], key_sizes[n] = key, key_size
        n += 1
    return n if at == end else -1


def _is_abort(body: bytes) -> bool:
    """Whether the only record of a control batch is an abort marker: its key is version 0, type 0."""
    buffer = np.frombuffer(body, np.uint8)
    _, at = varint(buffer, 0, len(body))
    _, at = varint(buffer, at + 1, len(body)) if at >= 0 else (0, -1)
    _, at = varint(buffer, at, len(body))
    start, stop = _skip(buffer, at, len(body))
    if start < 0 or stop - start < 4:
        raise ProtocolError("a control batch without a control record", _REMEDY)
    return body[start + 2 : start + 4] == b"\0\0"


def read(
    blob: bytes,
    fetch_offset: int = 0,
    check_crc: bool = True,
    aborted: Sequence[tuple[int, int]] | None = None,
    keyed: bool = False,
) -> Records:
    """Records of a fetched blob from `fetch_offset` on; a batch cut off at its end is left for the next fetch, and so
    are those behind MOST decompressed bytes: what a fetch holds is bounded as well as what one batch does.

    `aborted`: (producer id, first offset) of the aborted transactions in the blob; None reads uncommitted records too.
    `keyed` asks for the places of the keys as well. Raises ProtocolError when a checksum or the framing is wrong.
    """
    parts: list[Bytes] = [np.frombuffer(blob, np.uint8)]
    found: list[tuple[Ints, ...]] = []
    waiting = sorted(aborted or (), key=lambda entry: entry[1])
    active: set[int] = set()
    at, shift, next_offset = 0, len(blob), fetch_offset
    view = memoryview(blob)  # a slice of it is not a copy
    while len(blob) - at >= FRAME and shift - len(blob) < MOST:
        base, length = struct.unpack_from(">qi", blob, at)
        stop = at + FRAME + length
        if length < HEAD.size - FRAME:
            raise ProtocolError(f"a record batch at offset {base} has the length {length}", _REMEDY)
        if stop > len(blob):
            break
        _, _, _, magic, crc, attributes, last, first_time, max_time, producer, _, _, count = HEAD.unpack_from(blob, at)
        if magic != 2:
            raise ProtocolError(f"the record batch at offset {base} has format {magic}, not 2", _REMEDY)
        if check_crc and calc_crc32c(view[at + CRC_FROM : stop]) != crc:
            raise ProtocolError(f"the record batch at offset {base} has a wrong checksum", _REMEDY)
        body, at = at + HEAD.size, stop
        behind = base + last + 1
        if aborted is not None and producer != -1:
            while waiting and waiting[0][1] <= base:
                active.add(waiting.pop(0)[0])
            if attributes & _CONTROL and _is_abort(blob[body:stop]):
                active.discard(producer)
        skipped = attributes & _CONTROL or (attributes & _TRANSACTIONAL and producer in active)
        if not skipped and behind > fetch_offset:
            buffer, moved, end = parts[0], 0, stop
            if attributes & _CODEC:
                buffer = _decompressed(blob[body:stop], attributes & _CODEC, base)
                parts.append(buffer)
                body, moved, end = 0, shift, buffer.size
                shift += buffer.size
            found.append(_places(buffer, body, end, count, fetch_offset, base, first_time,
                                 max_time if attributes & _APPEND_TIME else -1, moved, keyed))  # fmt: skip
        next_offset = max(next_offset, behind)
    columns = (
        found[0]
        if len(found) == 1
        else tuple(np.concatenate(column) for column in zip(*found, strict=True))
        if found
        else tuple(np.empty(0, np.int64) for _ in range(6))
    )
    starts, ends, offsets, stamps, *keys = columns
    buffer = parts[0] if len(parts) == 1 else np.concatenate(parts)
    records = Records(buffer, starts, ends, offsets, stamps, fetch_offset, next_offset)
    if keyed:
        records.key_starts, records.key_sizes = keys
    return records


def _decompressed(body: bytes, kind: int, base: int) -> Bytes:
    if kind not in _CODECS:
        raise ProtocolError(f"the record batch at offset {base} has the unknown compression {kind}", _REMEDY)
    try:
        return decompressed(_CODECS[kind], body, MOST)
    except ExpansionError as error:
        raise ProtocolError(f"the record batch at offset {base} is a decompression bomb: {error}", _BOMB) from error
    except CompressionError as error:
        raise ProtocolError(f"the record batch at offset {base} cannot be decompressed: {error}", _REMEDY) from error


def _places(
    buffer: Bytes, at: int, end: int, count: int, fetch_offset: int, base: int, first: int, append: int, moved: int,
    keyed: bool,
) -> tuple[Ints, ...]:  # fmt: skip
    if not 0 <= count <= (end - at) // _SMALLEST:
        raise ProtocolError(f"the record batch at offset {base} cannot hold {count} records", _REMEDY)
    starts, ends, offsets, stamps = (np.empty(count, np.int64) for _ in range(4))
    keys, sizes = (np.empty(count if keyed else 0, np.int64) for _ in range(2))
    n = _walk(buffer, at, end, count, fetch_offset, base, first, append, starts, ends, offsets, stamps, keys, sizes)
    if n < 0:
        raise ProtocolError(f"the record batch at offset {base} has broken records", _REMEDY)
    return starts[:n] + moved, ends[:n] + moved, offsets[:n], stamps[:n], keys[:n] + moved, sizes[:n]
