"""Records in the Confluent wire format as DataFrames of their fields, whichever schema version wrote each.

Kinds whose fields are all numbers, nearly all that a run writes, go as Arrow batches through the codec that every other
reader of the log uses; the few with texts go through Spark's from_avro.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as sf
from pyspark.sql.avro.functions import from_avro

from economy.errors import ProtocolError
from schemas import rows as hot
from schemas.catalogue import EVENTS, FLOWS, INDICATORS, TRADES, versions

OFFSET: Final = "offset"  # place of a record in its partition
# What tells two records of a topic apart. A value of the stream that differs from its repeat must show, so it counts.
IDENTITY: Final = {
    FLOWS: ("agent", "n"),
    TRADES: ("instrument", "seq"),
    INDICATORS: ("window", "indicator", "item", "value"),
}
_KEYS: Final = ("kind", "run", "tick", "owner", "number")


def of_events(records: Any, events: Iterable[str]) -> Any:
    """The records (value, ...) of some kinds, by the ids of all their versions."""
    wanted = set(events)
    return _of_ids(records, [i for i, (name, _) in versions().items() if name in wanted])


def _of_ids(records: Any, ids: Sequence[int]) -> Any:
    heads = [sf.lit(bytearray(b"\0" + i.to_bytes(4, "big"))) for i in ids]
    return records.where(sf.expr("substring(value, 1, 5)").isin(*heads))


def together(records: Any, events: Sequence[str]) -> Any:
    """Records (value, offset) of some row types in one frame: (kind, run, tick, owner, number, c0, c1, ..., offset).

    `kind` is the number of the type, (owner, number) its identity within the run, and the fields follow in their order.
    One pass reads them all; `fields_of` takes one kind out. A damaged record ends the job.
    """
    width = max(len(EVENTS[name].fields) for name in events)
    names = [*_KEYS, *(f"c{k}" for k in range(width)), OFFSET]
    columns = ", ".join(f"`{name}` bigint" for name in names)
    return records.select("value", OFFSET).mapInArrow(_reads(tuple(events), names), columns)


def fields_of(rows: Any, event: str) -> Any:
    """The fields of one kind and the offset; enums are names."""
    chosen = rows.where(sf.col("kind") == hot.ROW_TYPES.index(event))
    return chosen.select(*[_named(f"c{k}", f) for k, f in enumerate(EVENTS[event].fields)], OFFSET)


def _named(column: str, field: Any) -> Any:
    if not field.symbols:
        return sf.col(column).alias(field.name)
    names = sf.array(*map(sf.lit, field.symbols))
    return sf.element_at(names, (sf.col(column) + 1).cast("int")).alias(field.name)


def _reads(
    events: Sequence[str], names: Sequence[str]
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    keys = {name: _places(name) for name in events}

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not batch.num_rows:
                continue
            values, offsets = batch.column(0), batch.column(1)
            _, ends, data = values.buffers()
            bounds = np.frombuffer(ends, np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
            found = hot.decode(np.frombuffer(data, np.uint8), bounds[:-1], bounds[1:])
            if sum(map(len, found.rows.values())) != len(values) or not found.rows.keys() <= keys.keys():
                raise _undecodable(events, found, offsets)
            out = np.zeros((len(names) - 1, len(values)), np.int64)
            for name, rows in found.rows.items():
                place = found.index[name]
                out[0, place] = hot.ROW_TYPES.index(name)
                for key, column in enumerate(keys[name], 1):
                    out[key, place] = rows[:, column]
                for k in range(rows.shape[1]):
                    out[len(_KEYS) + k, place] = rows[:, k]
            yield pa.RecordBatch.from_arrays([*map(pa.array, out), offsets], names=list(names))

    return read


def _places(event: str) -> list[int]:
    """Columns of run, tick and identity."""
    kind = EVENTS[event]
    return [kind.column(name) for name in ("run", "tick", *IDENTITY[kind.topic])]


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
