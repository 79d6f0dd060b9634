"""One kind of event of a run as a table: its fields as columns, with names for numbers and decimals for counts.

Market output is ordered by instrument and seq, what agents submit by tick, agent and n; repeats that a crash left on
the log are dropped. Prices and quantities of an instrument, and money, are texts with exactly the decimals of their
scale; other integers stay integers. The part of a fork's history that belongs to its ancestors comes first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from economy.errors import InputError
from economy.instruments import Instrument
from economy.numbers.decimals import fixed
from economy.records import canonical
from economy.records import events as e
from economy.records.events import Rows
from runs.event_scales import EventScales
from runs.extsort import ExternalSort
from runs.formats import write_table
from runs.progress import Told
from runs.tapes.columns import texts_of
from schemas.catalogue import ALSO_IN, EVENTS, ORDERS, EventType, Field
from schemas.files import beside
from schemas.log.history import FAMILIES, Segment, read_history
from schemas.log.reader import Chunk, LogReader, Place, read_range

# Columns of an event where not all its fields are wanted, or in another order.
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    e.TradeExecuted.name: (
        "instrument", "seq", "tick", "price", "quantity", "maker_order", "taker_order", "maker_agent", "taker_agent",
        "taker_side", "use", "tax",
    )
}  # fmt: skip
_SUBMITTED: Final = canonical.DECISION_TYPES + canonical.ORDER_TYPES + canonical.FLOW_TYPES
_TEXTS: Final = 4096  # records with texts in a block


def export_events(
    bootstrap: str, namespace: str, run: int, name: str, kind: str, path: Path, on_progress: Told | None = None
) -> int:
    """Write all events of one kind into a file; returns their number. Memory does not grow with the run.

    Raises InputError for an event that is not in the catalogue, UnknownRunError for a run that is not on the log.
    """
    if name not in EVENTS:
        raise InputError("events", name, f"use one of {', '.join(sorted(EVENTS))}")
    event = EVENTS[name]
    segments = read_history(bootstrap, namespace, run)
    table = EventTable(event, instruments_of(bootstrap, namespace, segments[0]))
    chunks = _chunks(bootstrap, namespace, event, segments, on_progress)
    if not event.is_row:
        found = (record for segment, chunk in chunks for _, kind_, record in chunk.cold
                 if kind_ == name and record["run"] == segment.run)  # fmt: skip
        return write_table(path, kind, name, table.schema, table.of_records(found))
    with ExternalSort(_keys(event), len(event.fields), beside(path)) as sort:
        for segment, chunk in chunks:
            if name in chunk.rows:
                sort.add(_own(name, chunk.rows[name], segment, segment is segments[-1]))
        return write_table(path, kind, name, table.schema, map(table.of_rows, sort.sorted()))


def _keys(event: EventType) -> tuple[int, ...]:
    """Columns that order an event and identify it."""
    if event.name in canonical.TRADE_TYPES:
        return canonical.INSTRUMENT, canonical.SEQ
    if event.name in _SUBMITTED:
        return canonical.TICK, canonical.AGENT, canonical.N
    return tuple(range(1, len(event.fields))) or (0,)


def _own(name: str, rows: Rows, segment: Segment, youngest: bool) -> Rows:
    """The rows that belong to a segment: an ancestor's end at its cut."""
    rows = rows[rows[:, 0] == segment.run]
    if youngest:
        return rows
    if name in _SUBMITTED or name in canonical.TRADE_TYPES:
        return rows[canonical.ticks(rows, name) // segment.started["epoch_ticks"] <= segment.last]
    if "epoch" in {field.name for field in EVENTS[name].fields}:
        return rows[rows[:, EVENTS[name].column("epoch")] <= segment.last]
    return rows


def _chunks(
    bootstrap: str, namespace: str, event: EventType, segments: Iterable[Segment], on_progress: Told | None
) -> Iterator[tuple[Segment, Chunk]]:
    """Every chunk of the log that may hold the event, with the segment that it is read for."""
    families = {event.topic, *ALSO_IN.get(event.name, ())}
    ranges = []
    for segment in segments:
        if event.topic in FAMILIES:
            start, end = segment.extent(bootstrap, namespace, sorted(families))
        else:  # topics that belong to no epoch are short, and read from their beginning
            with LogReader(bootstrap, namespace, {}) as reader:
                start, end = reader.begin_offsets([(event.topic, 0)]), reader.end_offsets([(event.topic, 0)])
        ranges.append((segment, start, end))
    total = sum(end[place] - start[place] for _, start, end in ranges for place in start)
    read = 0
    for segment, start, end in ranges:
        for chunk in read_range(bootstrap, namespace, start, end):
            read += len(chunk.offsets)
            if on_progress is not None:
                on_progress(read, total)
            yield segment, chunk


def instruments_of(bootstrap: str, namespace: str, segment: Segment) -> dict[int, Instrument]:
    """The instruments that a run lists at its opening, by number."""
    start, end = segment.extent(bootstrap, namespace, (ORDERS,))
    found: dict[int, Instrument] = {}
    left: set[Place] = {place for place in start if start[place] < end[place]}
    # All of them are listed before the first order or marker.
    begun = (e.OrderSubmitted.name, e.OrderCancelRequested.name, e.EpochClosed.name, e.RunClosed.name)
    for chunk in read_range(bootstrap, namespace, start, end):
        for _, name, record in chunk.cold:
            if name == "InstrumentListed" and record["run"] == segment.run:
                found[record["instrument"]] = Instrument.from_record(record)
        has_begun = any((chunk.rows[name][:, 0] == segment.run).any() for name in begun if name in chunk.rows)
        if has_begun or chunk.offsets[-1] + 1 >= end[chunk.place]:
            left.discard(chunk.place)
        if not left:
            break
    return found


@dataclass(frozen=True)
class EventTable:
    """The columns of one kind of event, and how its records fill them."""

    event: EventType
    instruments: Mapping[int, Instrument]

    @property
    def fields(self) -> list[Field]:
        """The fields that become columns: all but the run, where there are others."""
        alone = len(self.event.fields) == 1
        by_name = {field.name: field for field in self.event.fields if field.name != "run" or alone}
        return [by_name[name] for name in COLUMNS.get(self.event.name, tuple(by_name))]

    @property
    def schema(self) -> Any:
        """The pyarrow schema: int64 and strings, with each field's meaning."""
        return pa.schema(
            [
                pa.field(f.name, pa.string() if self._is_text(f) else pa.int64(), False, {"doc": json.dumps(f.doc)})
                for f in self.fields
            ]
        )

    def _is_text(self, field: Field) -> bool:
        whole = field.type in ("long", "int") and not self._scales.counts(field)
        return not whole or (field.name == "instrument" and self._of_market)

    @property
    def _of_market(self) -> bool:
        return any(field.name == "instrument" for field in self.event.fields)

    @cached_property
    def _scales(self) -> EventScales:
        return EventScales(self.event, self.instruments)

    def of_rows(self, rows: Rows) -> Any:
        """A record batch of integer records."""
        columns = [self._column(field, rows) for field in self.fields]
        return pa.record_batch(columns, schema=self.schema)

    def _column(self, field: Field, rows: Rows) -> Any:
        values = np.ascontiguousarray(rows[:, self.event.column(field.name)])
        if field.symbols:
            return pa.array(field.symbols).take(pa.array(values))
        if field.name == "instrument" and self._of_market:
            there, at = np.unique(values, return_inverse=True)
            names = [self.instruments[n].symbol if n in self.instruments else str(n) for n in there.tolist()]
            return pa.array(names, pa.string()).take(pa.array(at))
        if self._scales.counts(field):
            return texts_of(values, self._scales.of_rows(field, rows))
        return pa.array(values)

    def of_records(self, records: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
        """Record batches of records with texts, in the order of the log; equal ones in a row are one."""
        block: list[dict[str, Any]] = []
        last = None
        for record in records:
            if record == last:
                continue
            last = record
            block.append({field.name: self._cell(field, record) for field in self.fields})
            if len(block) == _TEXTS:
                yield pa.RecordBatch.from_pylist(block, self.schema)
                block = []
        if block:
            yield pa.RecordBatch.from_pylist(block, self.schema)

    def _cell(self, field: Field, record: Mapping[str, Any]) -> Any:
        value = record[field.name]
        if field.name == "instrument" and self._of_market:
            return record.get("symbol", str(value))
        if isinstance(value, str) or (isinstance(value, int) and not self._is_text(field)):
            return value
        if self._scales.counts(field):
            return fixed(value, self._scales.of_record(field, record))
        return json.dumps(value)
