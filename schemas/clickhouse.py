"""How records lie in ClickHouse: a table per event, a column per field, and blocks of the Native format.

A table's sorting key is the identity of the record, so that a record which stands twice on the log is one row when the
table is read with FINAL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.catalogue import BALANCES, CLOCK, EVENTS, EventType, Field

STORED: Final = "stored"  # state of a run all of whose records and figures are in the tables: it never changes again
PARTITION: Final = Field("kafka_partition", "int", "Partition of the log that the record was read from", "")
OFFSET: Final = Field("kafka_offset", "long", "Offset of the record in its partition", "")
_OWN_IDENTITY: Final = {
    "InstrumentListed": ("run", "instrument"),
    "BalanceRecorded": ("run", "window", "agent", "account", "item"),
    "InterventionApplied": ("run", "epoch", "key"),
}


@dataclass(frozen=True)
class Table:
    """Where the records of one event lie."""

    name: str
    event: EventType
    columns: tuple[Field, ...]
    identity: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [f.name for f in self.columns]

    @property
    def types(self) -> list[str]:
        return [column_type(f) for f in self.columns]


def snake_case(name: str) -> str:
    """Table name of a record name: TradeExecuted -> trade_executed."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def column_type(field: Field) -> str:
    """ClickHouse type of a field. Raises ValueError for a type that no table holds."""
    if field.symbols:
        values = ", ".join(f"'{symbol}' = {number}" for number, symbol in enumerate(field.symbols))
        return f"Enum8({values})" if len(field.symbols) <= 128 else f"Enum16({values})"
    match field.type:
        case "long":
            return "Int64"
        case "int":
            return "Int32"
        case "string":
            return "String"
        case "decimal(38,0)":
            return "Decimal(38, 0)"
    raise ValueError(f"{field.name}: no column type for {field.type}")


def _identity(event: EventType) -> tuple[str, ...] | None:
    """Fields that tell two records apart; None for records that get no table (markers, the clock's own)."""
    if event.name in _OWN_IDENTITY:
        return _OWN_IDENTITY[event.name]
    names = {f.name for f in event.fields}
    if event.topic in (CLOCK, BALANCES):
        return None
    for identity in (("run", "instrument", "seq"), ("run", "agent", "n")):
        if names.issuperset(identity):
            # OrderRejected has both: its own counter is seq, n is the rejected order's.
            return identity
    return None


def _tables() -> dict[str, Table]:
    found = {}
    for event in EVENTS.values():
        identity = _identity(event)
        if identity is not None:
            found[event.name] = Table(snake_case(event.name), event, (*event.fields, PARTITION, OFFSET), identity)
    return found


TABLES: Final[Mapping[str, Table]] = MappingProxyType(_tables())


# ---- Native blocks
def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _varint(len(encoded)) + encoded


_WIDTHS: Final = {"Int64": "<i8", "Int32": "<i4", "Enum8": "<i1", "Enum16": "<i2", "UInt8": "<u1"}


def _column(kind: str, values: NDArray[np.int64] | Sequence[Any]) -> bytes:
    base = kind.split("(")[0]
    if base in _WIDTHS:
        return np.asarray(values, np.int64).astype(_WIDTHS[base]).tobytes()
    if base == "String":
        return b"".join(_text(value) for value in values)
    if base == "Decimal":
        return b"".join(int(value).to_bytes(16, "little", signed=True) for value in values)
    raise ValueError(f"no Native encoding for {kind}")


def native_block(
    names: Sequence[str], types: Sequence[str], columns: Sequence[NDArray[np.int64] | Sequence[Any]]
) -> bytes:
    """One block of ClickHouse's Native format: whole columns, copied as they lie in memory."""
    parts = [_varint(len(names)), _varint(len(columns[0]))]
    for name, kind, values in zip(names, types, columns, strict=True):
        parts += [_text(name), _text(kind), _column(kind, values) if len(values) else b""]
    return b"".join(parts)
