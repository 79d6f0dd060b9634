"""Records in the Confluent wire format as DataFrames of their fields, whichever schema version wrote each.

What happens at a tick, nearly all that a run writes, goes as Arrow batches through the codec that every other reader of
the log uses, all kinds of a topic in one pass: of such records jobs need the numbers alone. The rest goes through
Spark's from_avro.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import functions as sf
from pyspark.sql.avro.functions import from_avro

from economy.errors import ProtocolError
from jobs.spans import Spans
from schemas import rows as hot
from schemas.catalogue import EVENTS, FLOWS, INDICATORS, TRADES, Field, versions
from schemas.codec import UndecodableRecordError, decode_record

OFFSET: Final = "offset"  # place of a record in its partition
# What tells two records of a topic apart. A value of the stream that differs from its repeat must show, so it counts.
IDENTITY: Final = {
    FLOWS: ("agent", "n"),
    TRADES: ("instrument", "seq"),
    INDICATORS: ("window", "indicator", "item", "value"),
}
_KEYS: Final = ("kind", "run", "tick", "owner", "number")
IDENTITY_KEYS: Final = ("kind", "owner", "number")
_KINDS: Final = {name: number for number, name in enumerate(EVENTS)}
# A task tells the spans of its records in rows of their own, so that nothing reads all records again for them.
_SPAN: Final = -1
_SPAN_COLUMNS: Final = {"kind": "run", "owner": "owner", "low": "number", "high": "c0", "rises": "tick"}
Columns = NDArray[np.int64]  # (columns, records)


def of_events(records: Any, events: Iterable[str]) -> Any:
    """The records (value, ...) of some kinds, by the ids of all their versions."""
    wanted = set(events)
    return _of_ids(records, [i for i, (name, _) in versions().items() if name in wanted])


def _of_ids(records: Any, ids: Sequence[int]) -> Any:
    heads = [sf.lit(bytearray(b"\0" + i.to_bytes(4, "big"))) for i in ids]
    return records.where(sf.expr("substring(value, 1, 5)").isin(*heads))


@dataclass(frozen=True)
class Within:
    """The records of a run from a tick on, up to another."""

    run: int
    first: int
    behind: int


def together(records: Any, events: Sequence[str], within: Within | None = None) -> Any:
    """Records (value, offset) of some kinds in one frame: (kind, run, tick, owner, number, c0, c1, ..., offset).

    `kind` is the number of the kind, (owner, number) the record's identity within the run, and the other fields follow
    in their order, texts left out. One pass reads them all; `fields_of` takes one kind out, `spans_of` tells where each
    task's records lie. A damaged record ends the job.
    """
    width = max(len(_columns(name)) for name in events)
    names = [*_KEYS, *(f"c{k}" for k in range(width - len(_KEYS) + 1)), OFFSET]
    columns = ", ".join(f"`{name}` bigint" for name in names)
    return records.select("value", OFFSET).mapInArrow(_reads(tuple(events), names, within), columns)


def fields_of(rows: Any, event: str) -> Any:
    """The fields of one kind that are numbers or enums, and the offset; enums are names."""
    chosen = rows.where(sf.col("kind") == _KINDS[event])
    columns = _columns(event)
    numbers = [_named(columns[field.name], field) for field in EVENTS[event].fields if _is_number(field)]
    return chosen.select(*numbers, OFFSET)


def spans_of(rows: Any) -> Any:
    """(kind, owner, low, high, rises): where the numbers of a kind and owner lie among the records of one task, and
    whether (1) or not (0) they rise on the way."""
    return rows.where(sf.col("kind") == _SPAN).selectExpr(*(f"{c} as {name}" for name, c in _SPAN_COLUMNS.items()))


def records_of(rows: Any) -> Any:
    """The rows without the spans."""
    return rows.where(sf.col("kind") != _SPAN)


def _is_number(field: Field) -> bool:
    return bool(field.symbols) or field.type in ("int", "long")


def _named(column: str, field: Field) -> Any:
    if not field.symbols:
        return sf.col(column).alias(field.name)
    names = sf.array(*map(sf.lit, field.symbols))
    return sf.element_at(names, (sf.col(column) + 1).cast("int")).alias(field.name)


def _reads(
    events: Sequence[str], names: Sequence[str], within: Within | None
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        seen = Spans()
        for batch in batches:
            if batch.num_rows:
                out = _decoded(batch, events, names, within)
                seen.add(*(out[names.index(key)] for key in IDENTITY_KEYS))
                yield pa.RecordBatch.from_arrays(list(map(pa.array, out)), names=list(names))
        spans = dict(zip(_SPAN_COLUMNS.values(), seen.columns(), strict=True))
        count = len(spans["owner"])
        told = {name: np.zeros(count, np.int64) for name in names} | {"kind": np.full(count, _SPAN)}
        told |= {name: column.astype(np.int64) for name, column in spans.items()}
        yield pa.RecordBatch.from_arrays([pa.array(told[name]) for name in names], names=list(names))

    return read


def _decoded(batch: pa.RecordBatch, events: Sequence[str], names: Sequence[str], within: Within | None) -> Columns:
    """The columns of `together` of a batch (value, offset), in its order."""
    values, offsets = batch.column(0), batch.column(1)
    _, ends, data = values.buffers()
    bounds = np.frombuffer(ends, np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
    found = hot.decode(np.frombuffer(data, np.uint8), bounds[:-1], bounds[1:])
    rows, places = dict(found.rows), dict(found.index)
    for name, texts in _with_texts(values, found.cold.tolist()).items():
        rows[name] = np.array([fields for _, fields in texts], np.int64)
        places[name] = np.array([place for place, _ in texts], np.int64)
    if sum(map(len, rows.values())) != len(values) or not rows.keys() <= set(events):
        raise _undecodable(events, found, offsets)
    out = np.zeros((len(names), len(values)), np.int64)
    for name, of_kind in rows.items():
        place = places[name]
        out[0, place] = _KINDS[name]
        for field, column in _columns(name).items():
            out[names.index(column), place] = of_kind[:, EVENTS[name].column(field)]
    out[-1] = offsets.to_numpy()
    if within is None:
        return out
    run, tick = out[_KEYS.index("run")], out[_KEYS.index("tick")]
    return out[:, (run == within.run) & (tick >= within.first) & (tick < within.behind)]


def _with_texts(values: pa.Array, places: Sequence[int]) -> dict[str, list[tuple[int, list[int]]]]:
    """Records that are no rows, by kind: place and fields, 0 for what is no number. Few: one for each agent."""
    found: dict[str, list[tuple[int, list[int]]]] = {}
    for place in places:
        try:
            name, record = decode_record(values[place].as_py())
        except UndecodableRecordError:
            continue  # which the count of records shows
        fields = [_number(field, record[field.name]) for field in EVENTS[name].fields]
        found.setdefault(name, []).append((place, fields))
    return found


def _number(field: Field, value: Any) -> int:
    if not _is_number(field):
        return 0
    return field.symbols.index(value) if field.symbols else int(value)


def _columns(event: str) -> dict[str, str]:
    """Field -> column of `together`: run, tick and identity have columns of their own, the others follow in order."""
    kind = EVENTS[event]
    keys = dict(zip(("run", "tick", *IDENTITY[kind.topic]), _KEYS[1:], strict=False))
    others = [field.name for field in kind.fields if field.name not in keys]
    return keys | {name: f"c{k}" for k, name in enumerate(others)}


def _undecodable(events: Sequence[str], found: hot.DecodedBatch, offsets: pa.Array) -> ProtocolError:
    told = [f"offset {offsets[i].as_py()}: {why.name.lower()}" for i, why in found.defects[:3]]
    return ProtocolError(
        f"records are none of {', '.join(events)}: {', '.join(told) or 'they are of another kind'}",
        "see `escape verify`",
    )


def by_avro(
    records: Any,
    event: str,
    known: Mapping[int, tuple[str, Mapping[str, Any]]] | None = None,
    reader: Mapping[str, Any] | None = None,
) -> Any:
    """Of records (value, offset) those of one kind, by Spark's own decoder, as the fields of `reader` and the offset.

    Whichever of the `known` versions wrote them; both default to the catalogue's. Fields that a writer did not know
    have their defaults.
    """
    wanted = dict(EVENTS[event].schema if reader is None else reader)
    options = {"mode": "FAILFAST", "avroSchema": json.dumps(wanted)}
    parts = [
        _of_ids(records, [i]).select(
            from_avro(sf.expr("substring(value, 6)"), json.dumps(dict(writer)), options).alias("r"), OFFSET
        )
        for i, (name, writer) in (versions() if known is None else known).items()
        if name == event
    ]
    return reduce(lambda a, b: a.unionByName(b), parts).select("r.*", OFFSET)
