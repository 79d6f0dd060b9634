"""ClickHouse's engine in this process as the reader of GraphQL and the reports, with tables filled from plain rows."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from chdb.session import Session

from schemas.catalogue import EVENTS

Row = dict[str, Any]
_EVENTS = (
    "TradeExecuted", "OrderSubmitted", "AgentDecided", "BookUpdated", "InstrumentListed", "AgentFounded",
    "BalanceRecorded",
)  # fmt: skip
_IDENTITY = {
    "trade_executed": "run, instrument, seq", "book_updated": "run, instrument, seq",
    "order_submitted": "run, agent, n", "agent_decided": "run, agent, n", "instrument_listed": "run, instrument",
    "agent_founded": "run, agent", "balance_recorded": "run, window, agent, account, item",
}  # fmt: skip
_RESULTS = """
CREATE TABLE runs (run Int64, scenario String, seed Int64, state String, digest String, root String, epochs Int64,
 ticks Int64, shards Int32, partitions Int32, config String, tape String, started_at DateTime64(3),
 finished_at Nullable(DateTime64(3)), version UInt64) ENGINE ReplacingMergeTree(version) ORDER BY run;
CREATE TABLE stream_indicators (run Int64, window Int32, indicator LowCardinality(String), item Int64,
 value Decimal(38, 0)) ENGINE ReplacingMergeTree PARTITION BY run ORDER BY (run, indicator, item, window);
CREATE TABLE batch_indicators (run Int64, window Int32, indicator LowCardinality(String), item Int64,
 value Decimal(38, 0), job LowCardinality(String), job_version Int32, start_offsets String, end_offsets String,
 computed_at DateTime64(3)) ENGINE MergeTree PARTITION BY (run, job) ORDER BY (run, indicator, item, window);
CREATE TABLE tape_comparisons (run Int64, orders Int64, trades Int64, prints Int64, matched Int64,
 explanation String) ENGINE ReplacingMergeTree ORDER BY run
"""


def _event_table(name: str) -> str:
    table = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    columns = []
    for f in EVENTS[name].fields:
        kinds = {"long": "Int64", "int": "Int32", "string": "String"}
        symbols = ", ".join(f"'{symbol}' = {i}" for i, symbol in enumerate(f.symbols))
        kind = f"Enum16({symbols})" if f.symbols else kinds[f.type]
        columns.append(f"`{f.name}` {kind}")
    columns += ["kafka_partition Int32", "kafka_offset Int64"]
    return (
        f"CREATE TABLE {table} ({', '.join(columns)}) ENGINE ReplacingMergeTree "
        f"PARTITION BY run ORDER BY ({_IDENTITY[table]})"
    )


class LocalTables:
    """The tables in one chdb session; counts the statements that it answers."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()  # a session answers one statement at a time
        self.statements: list[str] = []

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """As queries.loaders.Reader."""
        with self._lock:
            self.statements.append(sql)
            answer = self._session.query(sql, "Arrow", params={k: str(v) for k, v in parameters.items()})
        found: list[Row] = pa.ipc.open_file(answer.bytes()).read_all().to_pylist()
        return found

    def fill(self, tables: Mapping[str, list[Row]]) -> None:
        """Insert rows into their tables."""
        for table, rows in tables.items():
            lines = "\n".join(json.dumps(row) for row in rows)
            with self._lock:
                self._session.query(f"INSERT INTO {table} FORMAT JSONEachRow {lines}")


@contextmanager
def local_tables(folder: Path, *runs: Mapping[str, list[Row]]) -> Iterator[LocalTables]:
    """Tables with the rows of runs."""
    session = Session(str(folder / "store"))
    try:
        session.query("CREATE DATABASE escape")
        session.query("USE escape")
        for statement in (*_RESULTS.split(";"), *(_event_table(name) for name in _EVENTS)):
            session.query(statement)
        tables = LocalTables(session)
        for run in runs:
            tables.fill(run)
        yield tables
    finally:
        session.close()
