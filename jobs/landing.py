"""Incremental reading: a run's records are landed in Parquet as they come, each once, and jobs read them from there.

Structured Streaming keeps in a checkpoint how far it has come; its file sink commits the files of a batch together,
so a crash lands nothing twice. The transforms are the batch's own, over all records landed so far: what is saved is
the reading of the log, and what is gained is that a run may be looked at while it goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pyspark.sql import functions as sf

from economy.errors import ProtocolError
from jobs.config import JobConfig
from jobs.decoding import OFFSET, by_avro, of_events
from jobs.source import Extent, RunRange, described, extents, run_history
from schemas.catalogue import FLOWS, INDICATORS, TRADES, topic

_FAMILIES: Final = (FLOWS, TRADES, INDICATORS)
_FORMAT: Final = 2  # of the landed files: what has another one is landed again
_SCHEMA: Final = "partition int, offset bigint, value binary, family string"


class LandedRecords:
    """Records of a run that have been landed."""

    def __init__(self, session: Any, folder: str) -> None:
        self.records = session.read.schema(_SCHEMA).parquet(f"{folder}/records")

    def of(self, family: str, events: Sequence[str]) -> Any:
        """As jobs.source.Records."""
        return of_events(self.records.where(sf.col("family") == family).select("value", OFFSET), events)


def landed_range(session: Any, config: JobConfig, run: int, folder: str) -> tuple[RunRange, LandedRecords]:
    """Land what is new of a run and say how far its windows are closed.

    Raises UnknownRunError, and ProtocolError where no window is closed yet.
    """
    segments = run_history(config, run)
    own, place = segments[-1], f"{folder.rstrip('/')}/{run}.{_FORMAT}"
    *ancestors, whole = extents(config, segments)
    start = {family: list(whole.start[family]) for family in _FAMILIES}
    _land(session, config, start, place)
    records = LandedRecords(session, place)
    last = max(_last_epoch(records, own.started), own.first - 1)
    landed = Extent(run, start, _ends(records, start), own.first, last)
    found = described(config, segments, (*ancestors, landed), last)
    if found.windows == 0:
        raise ProtocolError(f"no window of run {run} has closed yet", "wait: a window is a quarter of simulated time")
    return found, records


def _land(session: Any, config: JobConfig, start: Mapping[str, Sequence[int]], place: str) -> None:
    """Everything between the checkpoint and the present ends of the partitions."""
    names = {topic(config.namespace, family): family for family in _FAMILIES}
    partitions = {name: list(range(len(start[family]))) for name, family in names.items()}
    offsets = {name: {str(p): offset for p, offset in enumerate(start[family])} for name, family in names.items()}
    stream = (
        session.readStream.format("kafka")
        .option("kafka.bootstrap.servers", config.bootstrap)
        .option("assign", json.dumps(partitions))
        .option("startingOffsets", json.dumps(offsets))
        .option("failOnDataLoss", "true")
        .option("minPartitions", str(config.shuffle_partitions))
        .load()
        .where("value is not null and length(value) > 5")
    )
    families = sf.create_map(*[sf.lit(text) for pair in names.items() for text in pair])
    landed = stream.select("partition", OFFSET, "value", families[sf.col("topic")].alias("family"))
    query = (
        landed.writeStream.format("parquet")
        .option("path", f"{place}/records")
        .option("checkpointLocation", f"{place}/checkpoint")
        .partitionBy("family")
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()


def _ends(records: LandedRecords, start: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Offset behind the last landed record of each partition: as many numbers as partitions."""
    newest = records.records.groupBy("family", "partition").agg(sf.max("offset").alias("offset")).collect()
    known = {(row.family, row.partition): int(row.offset) + 1 for row in newest}
    return {family: [known.get((family, p), first) for p, first in enumerate(of)] for family, of in start.items()}


def _last_epoch(records: LandedRecords, started: Mapping[str, Any]) -> int:
    """The last epoch of which every shard and every partition has said that all of it is on the log; -1 for none.

    Markers follow what they close in their partition, and a batch ends anywhere: only they tell what is complete.
    """
    run = started["run"]
    closed = by_avro(records.of(FLOWS, ["EpochClosed"]), "EpochClosed")
    closed = closed.where((sf.col("run") == run) & (sf.col("shard") >= 0))  # -1 is who wrote the opening
    matched = by_avro(records.of(TRADES, ["EpochMatched"]), "EpochMatched").where(sf.col("run") == run)
    ends = closed.groupBy("shard", "partition").agg(sf.max("epoch").alias("epoch")).collect()
    ends += matched.groupBy("partition").agg(sf.max("epoch").alias("epoch")).collect()
    if len(ends) < started["shards"] * started["flow_partitions"] + started["partitions"]:
        return -1
    return min(int(row.epoch) for row in ends)
