"""The catalogue of events: every record, its topic, key, schema id, fields and units, from the committed schemas."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import numpy as np
from fastavro.schema import fingerprint, to_parsing_canonical_form
from numpy.typing import NDArray

from schemas.generate import is_row

Ids = TypeVar("Ids", int, NDArray[np.int64])

AVRO: Final = Path(__file__).parent / "avro"
HISTORY: Final = AVRO / "history"
LOCK: Final = Path(__file__).parent / "ids.lock"

CLOCK: Final = "sim.clock.v1"
DECISIONS: Final = "agents.decisions.v1"
ORDERS: Final = "market.orders.v1"
TRADES: Final = "market.trades.v1"
FLOWS: Final = "economy.flows.v1"
BALANCES: Final = "ledger.balances.v1"
INDICATORS: Final = "indicators.windows.v1"
BOOK_SNAPSHOTS: Final = "books.snapshots.v1"
AGENT_SNAPSHOTS: Final = "agents.snapshots.v1"
FACTS: Final = (CLOCK, DECISIONS, ORDERS, TRADES, FLOWS, BALANCES, INDICATORS)
SNAPSHOTS: Final = (BOOK_SNAPSHOTS, AGENT_SNAPSHOTS)

# The field beside `run` that forms a record's key. Markers stand in every partition and carry the run alone.
KEY_FIELD: Final = {
    CLOCK: None,
    DECISIONS: "agent",
    ORDERS: "instrument",
    TRADES: "instrument",
    FLOWS: "agent",
    BALANCES: "agent",
    INDICATORS: None,
}
# Records that also stand in partitions of other topics than their namespace's.
ALSO_IN: Final = {
    "EpochClosed": (DECISIONS, FLOWS),
    "RunOpened": (DECISIONS, FLOWS),
    "RunClosed": (DECISIONS, FLOWS),
    "ChainSealed": (TRADES,),
}


@dataclass(frozen=True)
class Field:
    """One field: Avro type in short, what it means and its unit ('' for names and counters)."""

    name: str
    type: str
    doc: str
    unit: str
    symbols: tuple[str, ...] = ()


@dataclass(frozen=True)
class EventType:
    """One kind of record with its pinned schema id; `is_row` when all fields are integers or enums."""

    name: str
    namespace: str
    topic: str
    doc: str
    schema_id: int
    schema: Mapping[str, Any]
    fields: tuple[Field, ...]
    is_row: bool
    key_field: str | None

    def column(self, field: str) -> int:
        """Position of a field. Raises KeyError for an unknown one."""
        for position, known in enumerate(self.fields):
            if known.name == field:
                return position
        raise KeyError(f"{self.name} has no field {field!r}")


def topic(namespace: str, family: str) -> str:
    """Full topic name of a family in a namespace: topics of two namespaces never meet."""
    return f"{namespace}.{family}"


def dead_letter(family: str) -> str:
    """Family that holds what a reader of `family` could not decode."""
    return f"{family}.dead"


def partition_of(identifier: Ids, partitions: int) -> Ids:
    """Partition of an instrument (orders, trades) or agent (decisions, flows). The only place that decides it."""
    return identifier % partitions


_PAIR = struct.Struct(">qq")
_RUN = struct.Struct(">q")


def key(run: int, identifier: int | None = None) -> bytes:
    """Record key: the run, then the instrument or agent where the topic is keyed by one."""
    return _RUN.pack(run) if identifier is None else _PAIR.pack(run, identifier)


def schema_fingerprint(schema: Mapping[str, Any]) -> str:
    """SHA-256 of the parsing canonical form: names, types and order count; texts, units and defaults do not."""
    return str(fingerprint(to_parsing_canonical_form(dict(schema)), "sha256"))


@cache
def locked_ids() -> Mapping[str, list[dict[str, Any]]]:
    """ids.lock: record name -> [{id, fingerprint}, …], the newest last. Ids are never reused."""
    loaded: dict[str, list[dict[str, Any]]] = json.loads(LOCK.read_text())
    return loaded


def _field(raw: Mapping[str, Any]) -> Field:
    kind = raw["type"]
    symbols: tuple[str, ...] = ()
    if isinstance(kind, str):
        short = kind
    elif kind["type"] == "enum":
        short, symbols = f"enum {kind['name']}", tuple(kind["symbols"])
    elif "logicalType" in kind:
        short = f"{kind['logicalType']}({kind['precision']},{kind['scale']})"
    elif kind["type"] == "map":
        short = "map"
    else:
        short = str(kind["type"])
    return Field(raw["name"], short, raw.get("doc", ""), raw.get("unit", ""), symbols)


def _load() -> dict[str, EventType]:
    events = {}
    for path in sorted(AVRO.glob("*.avsc")):
        schema = json.loads(path.read_text())
        name, namespace = schema["name"], schema["namespace"]
        family = f"{namespace}.v1"
        fields = tuple(_field(f) for f in schema["fields"])
        key_field = KEY_FIELD[family]
        if key_field not in {f.name for f in fields}:
            key_field = None
        schema_id = locked_ids()[name][-1]["id"]
        events[name] = EventType(
            name, namespace, family, schema["doc"], schema_id, schema, fields, is_row(schema), key_field
        )
    return events


EVENTS: Final[Mapping[str, EventType]] = MappingProxyType(_load())


@cache
def versions() -> Mapping[int, tuple[str, Mapping[str, Any]]]:
    """Every schema ever committed: id -> (record name, writer schema)."""
    found: dict[int, tuple[str, Mapping[str, Any]]] = {}
    for name, entries in locked_ids().items():
        for position, entry in enumerate(entries):
            newest = position == len(entries) - 1
            schema = EVENTS[name].schema if newest else json.loads((HISTORY / f"{name}.{entry['id']}.avsc").read_text())
            found[entry["id"]] = (name, schema)
    return MappingProxyType(found)


def relock() -> dict[str, list[dict[str, Any]]]:
    """The lock as it should be: known ids kept, a new id for each record whose schema changed or is new."""
    lock: dict[str, list[dict[str, Any]]] = json.loads(LOCK.read_text()) if LOCK.exists() else {}
    following = 1 + max((entry["id"] for entries in lock.values() for entry in entries), default=0)
    for path in sorted(AVRO.glob("*.avsc")):
        schema = json.loads(path.read_text())
        print_ = schema_fingerprint(schema)
        entries = lock.setdefault(schema["name"], [])
        if not entries or entries[-1]["fingerprint"] != print_:
            entries.append({"id": following, "fingerprint": print_})
            following += 1
    return lock
