"""Records that stand on the log twice, because a process was killed and wrote again what it had written.

Whoever writes gives rising numbers, so a glance at the order mostly tells that nothing stands twice, without the
shuffle of all identities that finding repeats would need.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as sf

from jobs.decoding import OFFSET

Spans = tuple[Any, Any, Any, Any, Any]


def unique(known: Any, identity: Sequence[str]) -> Any:
    """The first of the records with one identity, by offset: all of them are in one partition of the log."""
    # Repeats are few. To find them needs the identities alone; to drop them by dropDuplicates would sort all records.
    counted = known.groupBy(*identity).agg(sf.count("*").alias("times"), sf.min(OFFSET).alias("first"))
    repeated = counted.where("times > 1").select(*identity, "first").localCheckpoint()
    if repeated.isEmpty():
        return known
    marked = known.join(sf.broadcast(repeated), list(identity), "left")
    return marked.where(f"first is null or {OFFSET} = first")


def rising(known: Any) -> bool:
    """Whether the numbers of each (kind, owner) rise within every task's records, and no two tasks share a span.

    Then no (kind, owner, number) is there twice. Of each task, kind and owner one span goes through the shuffle.
    """
    columns = "kind bigint, owner bigint, low bigint, high bigint, rises boolean"
    spans = known.select("kind", "owner", "number").mapInArrow(_spans, columns)
    told = spans.withColumn("before", sf.lag("high").over(Window.partitionBy("kind", "owner").orderBy("low", "high")))
    return bool(told.where("not rises or before >= low").isEmpty())


def _spans(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """(kind, owner, low, high, rises) of a task's records (kind, owner, number)."""
    seen = [_spans_of(*map(np.asarray, b.columns)) for b in batches if b.num_rows]
    if seen:
        kinds, owners, low, high, rises = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        spans = _joined(kinds, owners, low, high, rises)
        yield pa.RecordBatch.from_arrays([*map(pa.array, spans)], names=["kind", "owner", "low", "high", "rises"])


def _spans_of(kinds: Any, owners: Any, numbers: Any) -> Spans:
    return _joined(kinds, owners, numbers, numbers, np.ones(len(numbers), np.bool_))


def _joined(kinds: Any, owners: Any, low: Any, high: Any, rises: Any) -> Spans:
    """Spans that follow each other, joined by kind and owner: they rise where each does and begins above the last."""
    order = np.lexsort((np.arange(len(low)), owners, kinds))
    kinds, owners, low, high, rises = (column[order] for column in (kinds, owners, low, high, rises))
    other = np.append(True, (owners[1:] != owners[:-1]) | (kinds[1:] != kinds[:-1]))
    first = np.flatnonzero(other)
    last = np.append(first[1:], len(owners)) - 1
    rises &= other | np.append(True, low[1:] > high[:-1])
    return kinds[first], owners[first], low[first], high[last], np.logical_and.reduceat(rises, first)
