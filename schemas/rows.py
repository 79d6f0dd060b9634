"""The hot codec: whole batches of integer records to and from the Confluent wire format, without an object per record.

Wire format: byte 0, schema id (4 bytes, big endian), Avro body. In a row record every field is a long, an int or an
enum, and Avro writes all three as a zigzag varint, so one kernel serves every schema; what differs is a table. Another
version than today's is read by mapping its columns onto today's and filling the rest with defaults, where that is all
that Avro's resolution would do; any other version goes through fastavro, record by record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from economy.records.events import Events, Rows
from schemas.catalogue import EVENTS, EventType, versions
from schemas.codec import UndecodableRecordError, decode_record
from schemas.generate import is_row

Bytes = NDArray[np.uint8]
HEADER: Final = 5
MAX_VARINT: Final = 10


class Defect(IntEnum):
    """Why a record could not be decoded; 0 is a sound record."""

    NONE = 0
    TOO_SHORT = 1
    BAD_MAGIC = 2
    UNKNOWN_SCHEMA = 3
    TRUNCATED = 4
    OVERLONG_VARINT = 5
    ENUM_OUT_OF_RANGE = 6
    TRAILING_BYTES = 7
    UNDECODABLE = 8  # a record that fastavro refuses


class Tables(NamedTuple):
    """Flat decode tables, indexed by schema id; usable inside any numba kernel."""

    type_of: NDArray[np.int64]  # (ids,) index of the record type, or UNKNOWN, COLD, RESOLVED
    fields: NDArray[np.int64]  # (ids,) number of fields that the writer wrote
    column: NDArray[np.int64]  # (ids, fields) column of the reader for each written field, -1 = skip
    symbols: NDArray[np.int64]  # (ids, fields) number of symbols of an enum, 0 = not an enum
    defaults: Rows  # (types, fields) default of each column
    width: NDArray[np.int64]  # (types,) columns of each type


ROW_TYPES: Final = tuple(name for name, event in EVENTS.items() if event.is_row)
UNKNOWN: Final = -1
COLD: Final = -2  # not a row type
RESOLVED: Final = -3  # a row type in a version that columns cannot be mapped from


def _default(raw: dict[str, Any]) -> int:
    if "default" not in raw:
        return 0
    kind = raw["type"]
    return kind["symbols"].index(raw["default"]) if isinstance(kind, dict) else int(raw["default"])


def _maps(writer: Mapping[str, Any], reader: EventType) -> bool:
    """Whether Avro's resolution of a writer's version is no more than a choice of columns and defaults."""
    if not is_row(dict(writer)) or "aliases" in reader.schema:
        return False
    wrote = {raw["name"]: raw["type"] for raw in writer["fields"]}
    for raw in reader.schema["fields"]:
        if "aliases" in raw or (raw["name"] not in wrote and "default" not in raw):
            return False
        if raw["name"] in wrote and not _begins(_symbols(raw["type"]), _symbols(wrote[raw["name"]])):
            return False
    return True


def _begins(reader: list[str], writer: list[str]) -> bool:
    """Whether a writer's symbols have the reader's numbers: both are none, or the reader has got more at the end."""
    return bool(reader) == bool(writer) and reader[: len(writer)] == writer


def _symbols(kind: Any) -> list[str]:
    return kind["symbols"] if isinstance(kind, dict) else []


@cache
def tables() -> Tables:
    """Decode tables for every schema ever committed."""
    known = versions()
    ids = 1 + max(known)
    widest = max(len(schema["fields"]) for _, schema in known.values())
    type_of = np.full(ids, UNKNOWN, np.int64)
    fields = np.zeros(ids, np.int64)
    column = np.full((ids, widest), -1, np.int64)
    symbols = np.zeros((ids, widest), np.int64)
    defaults = np.zeros((len(ROW_TYPES), widest), np.int64)
    width = np.array([len(EVENTS[name].fields) for name in ROW_TYPES], np.int64)
    for index, name in enumerate(ROW_TYPES):
        for position, raw in enumerate(EVENTS[name].schema["fields"]):
            defaults[index, position] = _default(raw)
    for schema_id, (name, schema) in known.items():
        event = EVENTS[name]
        if not event.is_row or not _maps(schema, event):
            type_of[schema_id] = RESOLVED if event.is_row else COLD
            continue
        reader = {f.name: position for position, f in enumerate(event.fields)}
        type_of[schema_id] = ROW_TYPES.index(name)
        fields[schema_id] = len(schema["fields"])
        for position, raw in enumerate(schema["fields"]):
            column[schema_id, position] = reader.get(raw["name"], -1)
            symbols[schema_id, position] = len(_symbols(raw["type"]))
    return Tables(type_of, fields, column, symbols, defaults, width)


@njit(cache=True)
def schema_id_at(buffer: Bytes, start: int, end: int) -> np.int64 | int:
    """Schema id of the record in buffer[start:end]; -Defect when there is none."""
    if end - start < HEADER:
        return -1
    if buffer[start] != 0:
        return -2
    return (
        (np.int64(buffer[start + 1]) << 24)
        | (np.int64(buffer[start + 2]) << 16)
        | (np.int64(buffer[start + 3]) << 8)
        | np.int64(buffer[start + 4])
    )


@njit(cache=True)
def decode_body(
    buffer: Bytes,
    start: int,
    end: int,
    fields: int,
    column: NDArray[np.int64],
    symbols: NDArray[np.int64],
    row: NDArray[np.int64],
) -> int:
    """Decode buffer[start:end] (behind the header) into `row`, which holds the defaults. Returns a Defect."""
    at = start
    for k in range(fields):
        value = np.uint64(0)
        shift = 0
        while True:
            if at >= end:
                return 4
            if shift >= 70:
                return 5
            byte = np.uint64(buffer[at])
            at += 1
            if shift == 63 and byte > np.uint64(1):
                return 5
            value |= (byte & np.uint64(127)) << np.uint64(shift)
            if byte < np.uint64(128):
                break
            shift += 7
        number = np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1))
        if symbols[k] > 0 and (number < 0 or number >= symbols[k]):
            return 6
        if column[k] >= 0:
            row[column[k]] = number
    return 0 if at == end else 7


@njit(cache=True, nogil=True)
def _classify(
    buffer: Bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], type_of: NDArray[np.int64], types: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(type index, COLD, or -10 - Defect) of each record, and the number of records of each type."""
    kind = np.empty(starts.size, np.int64)
    count = np.zeros(types, np.int64)
    for i in range(starts.size):
        schema = schema_id_at(buffer, starts[i], ends[i])
        if schema < 0:
            kind[i] = -10 + schema
        elif schema >= type_of.size or type_of[schema] == UNKNOWN:
            kind[i] = -13
        else:
            kind[i] = type_of[schema]
            if kind[i] >= 0:
                count[kind[i]] += 1
    return kind, count


@njit(cache=True, nogil=True)
def _decode_type(
    buffer: Bytes,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    kind: NDArray[np.int64],
    wanted: int,
    fields: NDArray[np.int64],
    column: NDArray[np.int64],
    symbols: NDArray[np.int64],
    defaults: NDArray[np.int64],
    out: Rows,
    index: NDArray[np.int64],
) -> int:
    """Decode all records of one type in order; a broken one gets kind -10 - Defect. Returns the sound ones."""
    n = 0
    for i in range(starts.size):
        if kind[i] != wanted:
            continue
        schema = schema_id_at(buffer, starts[i], ends[i])
        for k in range(out.shape[1]):
            out[n, k] = defaults[k]
        defect = decode_body(
            buffer, starts[i] + HEADER, ends[i], fields[schema], column[schema], symbols[schema], out[n]
        )
        if defect != 0:
            kind[i] = -10 - defect
            continue
        index[n] = i
        n += 1
    return n


@dataclass
class DecodedBatch:
    """Records of one buffer by type. `index[name][k]` is the input position of `rows[name][k]`."""

    rows: Events = field(default_factory=dict)
    index: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    cold: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))  # positions of non-row records
    broken: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))  # positions of the undecodable
    why: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))  # their Defects

    @property
    def defects(self) -> list[tuple[int, Defect]]:
        """(position, why) of each record that cannot be decoded."""
        return [(i, Defect(why)) for i, why in zip(self.broken.tolist(), self.why.tolist(), strict=True)]


def counts(buffer: Bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> dict[str, int]:
    """How many records of each row type there are, judged by their schema ids alone."""
    found = _classify(buffer, starts, ends, tables().type_of, len(ROW_TYPES))[1]
    return {ROW_TYPES[i]: int(found[i]) for i in np.flatnonzero(found).tolist()}


def decode(buffer: Bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> DecodedBatch:
    """Decode the records buffer[starts[i]:ends[i]]; never raises for bad bytes, never reads beyond a record."""
    t = tables()
    kind, count = _classify(buffer, starts, ends, t.type_of, len(ROW_TYPES))
    batch = DecodedBatch()
    for wanted in np.flatnonzero(count):
        out = np.empty((count[wanted], t.width[wanted]), np.int64)
        index = np.empty(count[wanted], np.int64)
        n = _decode_type(
            buffer, starts, ends, kind, wanted, t.fields, t.column, t.symbols, t.defaults[wanted], out, index
        )
        if n:
            batch.rows[ROW_TYPES[wanted]] = out[:n]
            batch.index[ROW_TYPES[wanted]] = index[:n]
    resolved = np.flatnonzero(kind == RESOLVED).tolist()
    if resolved:
        _resolve(batch, {i: buffer[starts[i] : ends[i]].tobytes() for i in resolved}, kind)
    batch.cold = np.flatnonzero(kind == COLD)
    batch.broken = np.flatnonzero(kind <= -10)
    batch.why = -10 - kind[batch.broken]
    return batch


def _resolve(batch: DecodedBatch, values: Mapping[int, bytes], kind: NDArray[np.int64]) -> None:
    """Read records of versions that columns cannot be mapped from, and put their rows in their places."""
    found: dict[str, dict[int, list[int]]] = {}
    for position, value in values.items():
        try:
            name, record = decode_record(value)
        except UndecodableRecordError:
            kind[position] = -10 - Defect.UNDECODABLE
            continue
        row = [f.symbols.index(record[f.name]) if f.symbols else record[f.name] for f in EVENTS[name].fields]
        found.setdefault(name, {})[position] = row
    for name, by_position in found.items():
        rows, index = np.array(list(by_position.values()), np.int64), np.array(list(by_position), np.int64)
        if name in batch.rows:
            rows, index = np.concatenate((batch.rows[name], rows)), np.concatenate((batch.index[name], index))
        order = np.argsort(index)
        batch.rows[name], batch.index[name] = rows[order], index[order]


def decode_values(values: Sequence[bytes]) -> DecodedBatch:
    """Decode a sequence of record values, as a Kafka client hands them over."""
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    ends = np.cumsum(lengths)
    return decode(np.frombuffer(b"".join(values), np.uint8), ends - lengths, ends)


@njit(cache=True, nogil=True)
def _encode(
    schema_id: int, rows: Rows, symbols: NDArray[np.int64], buffer: Bytes, ends: NDArray[np.int64]
) -> tuple[int, int]:
    """(bytes written, -1); where an enum is out of range, (its row, its column)."""
    at = 0
    for i in range(rows.shape[0]):
        buffer[at] = 0
        buffer[at + 1] = (schema_id >> 24) & 255
        buffer[at + 2] = (schema_id >> 16) & 255
        buffer[at + 3] = (schema_id >> 8) & 255
        buffer[at + 4] = schema_id & 255
        at += HEADER
        for k in range(rows.shape[1]):
            number = rows[i, k]
            if symbols[k] > 0 and (number < 0 or number >= symbols[k]):
                return i, k
            value = (np.uint64(number) << np.uint64(1)) ^ np.uint64(number >> np.int64(63))
            while value >= np.uint64(128):
                buffer[at] = np.uint8((value & np.uint64(127)) | np.uint64(128))
                value >>= np.uint64(7)
                at += 1
            buffer[at] = np.uint8(value)
            at += 1
        ends[i] = at
    return at, -1


def encode(name: str, rows: Rows) -> tuple[Bytes, NDArray[np.int64]]:
    """Encode rows (records, fields) of a row type. Returns the buffer and the end of each record in it.

    Raises ValueError when the rows have not as many columns as the record has fields, or an enum is out of range.
    """
    event = EVENTS[name]
    if rows.ndim != 2 or rows.shape[1] != len(event.fields):
        raise ValueError(f"{name} needs rows of {len(event.fields)} columns, got shape {rows.shape}")
    buffer = np.empty(rows.shape[0] * (HEADER + MAX_VARINT * rows.shape[1]), np.uint8)
    ends = np.empty(rows.shape[0], np.int64)
    symbols = tables().symbols[event.schema_id]
    used, column = _encode(event.schema_id, np.ascontiguousarray(rows, np.int64), symbols, buffer, ends)
    if column >= 0:
        field = event.fields[column]
        raise ValueError(
            f"{name}.{field.name} must lie in 0..{len(field.symbols) - 1}, got {rows[used, column]} in row {used}"
        )
    return buffer[:used], ends
