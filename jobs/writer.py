"""Publishing a job's figures: into a staging table, checked, then swapped in as one partition.

A job that dies before the swap leaves the published figures as they were; a rerun gives the same table, never a double.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import Error, OperationalError
from pyspark.sql import functions as sf

from economy.errors import ProtocolError, SetupError
from jobs.source import RunRange

STAGING, TARGET = "batch_indicators_staging", "batch_indicators"


def connect(dsn: str) -> Any:
    """A client for http://user:password@host:port/database. Raises SetupError without showing the password."""
    parts = urlsplit(dsn)
    try:
        return clickhouse_connect.get_client(
            host=parts.hostname, port=parts.port, secure=parts.scheme == "https", username=parts.username or "default",
            password=parts.password or "", database=parts.path.strip("/") or "escape", autogenerate_session_id=False,
        )  # fmt: skip
    except (OperationalError, OSError) as error:
        raise SetupError(
            f"ClickHouse at {parts.hostname}:{parts.port} does not answer", "start it with `escape up`"
        ) from error


def publish(rows: Any, dsn: str, extent: RunRange, job: str, version: int) -> int:
    """Publish (window, indicator, item, value) rows of a run; returns how many.

    Raises ProtocolError when the staging table does not hold each row once, SetupError when ClickHouse is away.
    """

    def lineage(of: Any) -> str:
        return json.dumps({family: list(offsets) for family, offsets in sorted(of.items())})

    staged = rows.select(
        sf.lit(extent.run).cast("bigint").alias("run"), "window", "indicator", "item", "value",
        sf.lit(job).alias("job"), sf.lit(version).cast("int").alias("job_version"),
        sf.lit(lineage(extent.start)).alias("start_offsets"), sf.lit(lineage(extent.end)).alias("end_offsets"),
        sf.lit(datetime.now(UTC).replace(tzinfo=None)).cast("timestamp_ntz").alias("computed_at"),
    ).coalesce(2)  # fmt: skip
    partition = f"({extent.run}, '{job}')"
    client = connect(dsn)
    try:
        client.command(f"ALTER TABLE {STAGING} DROP PARTITION {partition}")
        sent: int = sum(row.n for row in staged.mapInArrow(_insert(dsn), "n bigint").collect())
        found = client.query(
            f"SELECT count(), uniqExact(window, indicator, item) FROM {STAGING} WHERE run = {extent.run} "
            f"AND job = '{job}'"
        ).result_rows[0]
        if tuple(found) != (sent, sent):
            raise ProtocolError(
                f"{STAGING} holds {found[0]} rows ({found[1]} different) of {sent} of job {job}", "run the job again"
            )
        client.command(f"ALTER TABLE {TARGET} REPLACE PARTITION {partition} FROM {STAGING}")
        client.command(f"ALTER TABLE {STAGING} DROP PARTITION {partition}")
        return sent
    except Error as error:
        raise SetupError(f"ClickHouse refuses the figures of {job}: {error}", "see its log") from error
    finally:
        client.close()


def _insert(dsn: str) -> Any:
    def insert(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa

        client, count = connect(dsn), 0
        for batch in batches:
            if batch.num_rows:
                client.insert_arrow(STAGING, pa.Table.from_batches([batch]))
                count += batch.num_rows
        client.close()
        yield pa.RecordBatch.from_pydict({"n": pa.array([count], pa.int64())})

    return insert
