"""Records one at a time through fastavro: for the cold ones (texts, maps) and as the reference of the hot codec."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from functools import cache
from typing import Any

import fastavro
from fastavro.read import SchemaResolutionError

from economy.errors import EscapeError
from schemas.catalogue import EVENTS, versions

_HEAD = struct.Struct(">bI")


class UndecodableRecordError(EscapeError):
    """Bytes that are no record of a known schema; such a record goes to the dead letters."""


@cache
def _parsed(schema_id: int) -> Any:
    return fastavro.parse_schema(dict(versions()[schema_id][1]))


def encode_record(name: str, record: Mapping[str, Any]) -> bytes:
    """Confluent wire format of one record; a field left out takes its default. Raises ValueError for a wrong one."""
    event = EVENTS[name]
    out = io.BytesIO()
    out.write(_HEAD.pack(0, event.schema_id))
    fastavro.schemaless_writer(out, _parsed(event.schema_id), record, strict_allow_default=True)
    return out.getvalue()


def written_as(value: bytes) -> str:
    """Name of the record by its schema id, without decoding it; empty when the id is unknown."""
    if len(value) < _HEAD.size:
        return ""
    magic, schema_id = _HEAD.unpack_from(value)
    return versions()[schema_id][0] if magic == 0 and schema_id in versions() else ""


def decode_record(value: bytes) -> tuple[str, dict[str, Any]]:
    """(record name, fields) of one record, read with today's schema. Raises UndecodableRecordError."""
    if len(value) < _HEAD.size:
        raise UndecodableRecordError(f"record of {len(value)} bytes has no schema id", "see its topic and offset")
    magic, schema_id = _HEAD.unpack_from(value)
    if magic != 0 or schema_id not in versions():
        raise UndecodableRecordError(f"schema id {schema_id} (magic {magic}) is unknown", "publish its schema first")
    name = versions()[schema_id][0]
    body = io.BytesIO(value[_HEAD.size :])
    try:
        record: Any = fastavro.schemaless_reader(body, _parsed(schema_id), _parsed(EVENTS[name].schema_id))
    except (EOFError, IndexError, ValueError, OverflowError, struct.error, SchemaResolutionError) as error:
        raise UndecodableRecordError(f"{name} cannot be decoded ({error})", "see its topic and offset") from error
    if body.read(1):
        raise UndecodableRecordError(f"{name} has trailing bytes", "see its topic and offset")
    return name, record
