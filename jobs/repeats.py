"""Records that stand on the log twice, because a process was killed and wrote again what it had written.

Whoever writes gives rising numbers, so a glance at the order mostly tells that nothing stands twice, without the
shuffle of all identities that finding repeats would need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import Window
from pyspark.sql import functions as sf

from jobs.decoding import OFFSET, spans_of


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

    Then no (kind, owner, number) is there twice. `known` is what `decoding.together` gives: of each task, kind and
    owner one span goes through the shuffle.
    """
    in_order = Window.partitionBy("kind", "owner").orderBy("low", "high")
    told = spans_of(known).withColumn("before", sf.lag("high").over(in_order))
    return bool(told.where("rises = 0 or before >= low").isEmpty())
