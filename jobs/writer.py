"""Publishing a job's rows: into a staging table of this attempt, checked, then swapped in as one partition.

A job that dies before the swap leaves the published rows as they were, and a staging table that the next attempt drops.
That also fences a process that lives on when its job is started anew: it has no table left to write to. A task that
Spark repeats sends the same blocks under the same tokens, and ClickHouse takes each once.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from clickhouse_connect.driver.exceptions import Error
from pyspark.sql import functions as sf

from economy.errors import ProtocolError, SetupError
from jobs.registry import Job
from jobs.source import Extent
from schemas.clickhouse_server import ClickHouseConfig, connect, denial, denied

_BLOCKS: Final = 100_000  # insert tokens that a staging table remembers: more than one attempt sends
_TASKS: Final = 2  # that write at once; each block is a part for ClickHouse to merge


def with_lineage(rows: Any, extents: Sequence[Extent], job: Job) -> Any:
    """Rows as the job's table holds them: with run, job, version, offset ranges and time of computation.

    Ranges of a fork's ancestors stand under `run N`.
    """

    *ancestors, own = extents

    def lineage(name: str) -> Any:
        told: dict[str, Any] = {family: list(offsets) for family, offsets in sorted(getattr(own, name).items())}
        told |= {f"run {elder.run}": dict(sorted(getattr(elder, name).items())) for elder in ancestors}
        return sf.lit(json.dumps(told))

    return rows.select(
        sf.lit(own.run).cast("bigint").alias("run"), *rows.columns,
        sf.lit(job.name).alias("job"), sf.lit(job.version).cast("int").alias("job_version"),
        lineage("start").alias("start_offsets"), lineage("end").alias("end_offsets"),
        sf.lit(datetime.now(UTC).replace(tzinfo=None)).cast("timestamp_ntz").alias("computed_at"),
    )  # fmt: skip


def publish(rows: Any, dsn: str, extents: Sequence[Extent], job: Job) -> int:
    """Publish a job's rows of a run in place of its older ones; returns how many.

    Raises ProtocolError when the staging table does not hold each row once, SetupError when ClickHouse refuses.
    """
    run = extents[-1].run
    prefix = f"{job.table}_of_{job.name.replace('-', '_')}_{run}_"
    staging, partition = f"{prefix}{uuid.uuid4().hex[:12]}", f"({run}, '{job.name}')"
    # In an order that a repeated task finds again, so that its blocks are the same.
    placed = with_lineage(rows, extents, job).repartition(_TASKS, *job.keys).sortWithinPartitions(*job.keys)
    config = ClickHouseConfig.from_dsn(dsn)
    client = connect(config)
    try:
        left = client.query(
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, {prefix:String})",
            {"prefix": prefix},
        )
        for (name,) in left.result_rows:
            client.command(f"DROP TABLE IF EXISTS {name}")
        client.command(f"CREATE TABLE {staging} AS {job.table}")
        client.command(f"ALTER TABLE {staging} MODIFY SETTING non_replicated_deduplication_window = {_BLOCKS}")
        sent: int = sum(row.n for row in placed.mapInArrow(inserting(dsn, staging), "n bigint").collect())
        keys = ", ".join(job.keys)
        found = client.query(f"SELECT count(), uniqExact({keys}) FROM {staging}").result_rows[0]
        if tuple(found) != (sent, sent):
            raise ProtocolError(
                f"{staging} holds {found[0]} rows ({found[1]} different) of {sent} of job {job.name}",
                "run the job again",
            )
        # An empty partition cannot replace another.
        swap = f"REPLACE PARTITION {partition} FROM {staging}" if sent else f"DROP PARTITION {partition}"
        client.command(f"ALTER TABLE {job.table} {swap}")
        client.command(f"DROP TABLE {staging}")
        return sent
    except Error as error:
        if denied(error):
            raise denial(config, error) from error
        raise SetupError(f"ClickHouse refuses the rows of {job.name}: {error}", "see its log") from error
    finally:
        client.close()


def inserting(dsn: str, staging: str) -> Any:
    """What a task does: insert its batches, each under a token of its place, and count the rows."""

    def insert(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa
        from pyspark import TaskContext

        context = TaskContext.get()
        task = context.partitionId() if context else 0
        client, count = connect(ClickHouseConfig.from_dsn(dsn)), 0
        for block, batch in enumerate(batches):
            if batch.num_rows:
                token = {"insert_deduplicate": 1, "insert_deduplication_token": f"{staging}:{task}:{block}"}
                client.insert_arrow(staging, pa.Table.from_batches([batch]), settings=token)
                count += batch.num_rows
        client.close()
        yield pa.RecordBatch.from_pydict({"n": pa.array([count], pa.int64())})

    return insert
