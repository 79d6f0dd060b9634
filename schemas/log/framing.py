"""Framing records as Kafka's RecordBatches, version 2: what `recordbatch` reads, without a Python object per record."""

from __future__ import annotations

import struct
from typing import Any, Final

import lz4.frame
import numpy as np
from aiokafka.record.util import calc_crc32c
from numba import njit

from economy.errors import ProtocolError
from schemas.log.recordbatch import CRC_FROM, FRAME, HEAD, LZ4, Bytes, Ints, Records

Headers = tuple[Bytes, Ints, Ints]
_NO_STAMPS: Final[Ints] = np.empty(0, np.int64)  # all records of a batch have its timestamp


@njit(cache=True)
def put_varint(buffer: Bytes, at: int, number: int) -> int:
    """Write a zigzag varint at `at`; returns the place behind it."""
    value = (np.uint64(number) << np.uint64(1)) ^ np.uint64(number >> np.int64(63))
    while value >= np.uint64(128):
        buffer[at] = np.uint8((value & np.uint64(127)) | np.uint64(128))
        value >>= np.uint64(7)
        at += 1
    buffer[at] = np.uint8(value)
    return at + 1


@njit(cache=True)
def _size(number: int) -> int:
    value = (np.uint64(number) << np.uint64(1)) ^ np.uint64(number >> np.int64(63))
    n = 1
    while value >= np.uint64(128):
        value >>= np.uint64(7)
        n += 1
    return n


@njit(cache=True, nogil=True)
def _frame(
    values: Bytes, starts: Ints, ends: Ints, keys: Bytes, key_starts: Ints, key_sizes: Ints, headers: Bytes,
    head_starts: Ints, head_ends: Ints, timestamps: Ints, first: int, buffer: Bytes, at: int,
) -> tuple[int, int]:  # fmt: skip
    """Write records from `first` on into buffer[at:] while they fit; returns (next record, end of the bytes)."""
    i = first
    while i < starts.size:
        size = ends[i] - starts[i]
        key_bytes = max(key_sizes[i], 0)
        head_size = head_ends[i] - head_starts[i]
        since = timestamps[i] - timestamps[first] if timestamps.size else np.int64(0)
        body = 1 + _size(since) + _size(i - first) + _size(key_sizes[i]) + key_bytes + _size(size) + size + head_size
        if at + _size(body) + body > buffer.size:
            break
        at = put_varint(buffer, at, body)
        buffer[at] = 0  # attributes
        at = put_varint(buffer, at + 1, since)
        at = put_varint(buffer, at, i - first)
        at = put_varint(buffer, at, key_sizes[i])
        for k in range(key_bytes):
            buffer[at + k] = keys[key_starts[i] + k]
        at = put_varint(buffer, at + key_bytes, size)
        for k in range(size):
            buffer[at + k] = values[starts[i] + k]
        at += size
        for k in range(head_size):
            buffer[at + k] = headers[head_starts[i] + k]
        at += head_size
        i += 1
    return i, at


def key_table(identities: Ints, sizes: Ints) -> Bytes:
    """Keys as (records, 16) bytes: big-endian columns of (run, instrument), of which `sizes` bytes count."""
    return np.ascontiguousarray(identities.astype(">i8")).view(np.uint8).reshape(len(sizes), 16)


def write(
    values: Bytes, starts: Ints, ends: Ints, keys: Bytes, key_sizes: Ints, timestamp: int, limit: int,
    headers: Headers | None = None,
) -> list[tuple[bytearray, int]]:  # fmt: skip
    """(batch, number of records) for the records values[starts[i]:ends[i]] with the keys keys[i, :key_sizes[i]].

    A key of size -1 is null. `headers` are (buffer, starts, ends) of each record's headers in the format of records,
    their number first. No batch is larger than `limit` bytes. Checksum and producer fields are set by `seal`.
    """
    if headers is None:
        headers = np.zeros(1, np.uint8), np.zeros(starts.size, np.int64), np.ones(starts.size, np.int64)
    key_starts = np.arange(starts.size) * keys.shape[1]
    return _batches(
        (values, starts, ends, keys.reshape(-1), key_starts, key_sizes, *headers), _NO_STAMPS, timestamp, limit
    )


def rewrite(records: Records, limit: int) -> list[tuple[bytearray, int]]:
    """As `write` for records that were read with their keys: with these, and with the timestamps that they have."""
    assert records.key_starts is not None
    assert records.key_sizes is not None
    headers = np.zeros(1, np.uint8), np.zeros(len(records), np.int64), np.ones(len(records), np.int64)
    columns = (
        records.buffer, records.starts, records.ends, records.buffer, records.key_starts, records.key_sizes, *headers,
    )  # fmt: skip
    return _batches(columns, records.timestamps, 0, limit)


def _batches(columns: tuple[Any, ...], timestamps: Ints, timestamp: int, limit: int) -> list[tuple[bytearray, int]]:
    """`columns` are values, their starts and ends, keys, their starts and sizes, and headers as `write` has them."""
    batches = []
    at, starts, ends = 0, columns[1], columns[2]
    buffer = np.empty(limit, np.uint8)
    while at < starts.size:
        upto, end = _frame(*columns, timestamps, at, buffer, HEAD.size)
        if upto == at:
            raise ProtocolError(f"a record of {ends[at] - starts[at]} bytes exceeds a batch", "raise the batch size")
        count = upto - at
        first, last = timestamp, timestamp
        if timestamps.size:
            first, last = int(timestamps[at]), int(timestamps[at:upto].max())
        batch = bytearray(buffer[:end])
        HEAD.pack_into(batch, 0, 0, end - FRAME, -1, 2, 0, 0, count - 1, first, last, -1, -1, -1, count)
        batches.append((batch, count))
        at = upto
    return batches


def compress(batch: bytearray) -> bytearray:
    """The batch with its records as an lz4 frame, where that is smaller. Kafka's own reader refuses linked blocks."""
    body = lz4.frame.compress(memoryview(batch)[HEAD.size :], block_linked=False, store_size=False)
    if HEAD.size + len(body) >= len(batch):
        return batch
    made = batch[: HEAD.size] + body
    (attributes,) = struct.unpack_from(">h", made, CRC_FROM)
    struct.pack_into(">i", made, 8, len(made) - FRAME)
    struct.pack_into(">h", made, CRC_FROM, attributes | LZ4)
    return made


def seal(batch: bytearray, producer: int, epoch: int, sequence: int) -> bytes:
    """The batch with the fields of an idempotent producer (-1, -1, -1 for none) and its checksum."""
    struct.pack_into(">qhi", batch, 43, producer, epoch, sequence)
    struct.pack_into(">I", batch, 17, calc_crc32c(memoryview(batch)[CRC_FROM:]))
    return bytes(batch)
