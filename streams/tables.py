"""Writing blocks of the log to ClickHouse: Native format, one token per block and table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import stamina
from clickhouse_connect.driver.exceptions import Error, OperationalError
from numpy.typing import NDArray

from economy.errors import EscapeError
from economy.measures import LAST_MEASURED
from schemas.clickhouse import TABLES, Table, native_block
from schemas.clickhouse_server import ClickHouseConfig, connect, denial, denied, first_line
from schemas.log.reader import Chunk, Place
from streams.runrows import EMPTY, Row

PATIENCE_SECONDS: Final = 60.0  # ClickHouse may be away this long, for a restart
_INDICATORS: Final = (
    ("run", "window", "indicator", "item", "value"),
    ("Int64", "Int32", "String", "Int64", "Decimal(38, 0)"),
)
_OFFSETS: Final = (
    ("namespace", "family", "kafka_partition", "first", "next", "stored", "version"),
    ("String", "String", "Int32", "Int64", "Int64", "UInt8", "Int64"),
)
_DEFECTS: Final = (
    ("namespace", "family", "kafka_partition", "kafka_offset", "defect"),
    ("String", "String", "Int32", "Int64", "String"),
)
_EVENTS: Final = frozenset(table.name for table in TABLES.values())
_BY_RUN: Final = _EVENTS | {"stream_indicators"}  # tables with a partition for each run
_FULL: Final = re.compile(r"NOT_ENOUGH_SPACE|No space left|errno: 28")
Column = NDArray[np.int64] | Sequence[Any]
_retried = stamina.retry(
    on=lambda error: isinstance(error, OperationalError) and not denied(error), attempts=None,
    timeout=PATIENCE_SECONDS, wait_max=2.0,
)  # fmt: skip


class SinkError(EscapeError):
    """ClickHouse refused a block of the log."""


class Tables:
    """The tables that the sink writes. Every insert may be repeated: its token, or its key, makes it happen once."""

    def __init__(self, config: ClickHouseConfig) -> None:
        self._config = config
        self._client = connect(config)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @_retried
    def _insert(self, table: str, names: Sequence[str], block: bytes, token: str = "") -> None:
        settings: dict[str, Any] = {"max_partitions_per_insert_block": 0}
        if token:
            settings["insert_deduplication_token"] = token
        columns = [f"`{name}`" for name in names]
        try:
            self._client.raw_insert(table, columns, block, settings=settings, fmt="Native")
        except Error as error:
            if denied(error):
                raise denial(self._config, error) from error
            if isinstance(error, OperationalError):
                raise
            if _FULL.search(str(error)):
                raise OperationalError(str(error)) from error  # as when it is away: tried again
            raise SinkError(f"{table} was not written: {first_line(error)}", "are the migrations applied?") from error

    @_retried
    def _select(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        try:
            return list(self._client.query(sql, parameters=dict(parameters)).named_results())
        except Error as error:
            if denied(error):
                raise denial(self._config, error) from error
            raise

    # ---- events
    def store(self, chunks: Sequence[Chunk], token: str) -> int:
        """Insert the records of one partition's block; returns their number."""
        stored = 0
        for name, table in TABLES.items():
            parts = [chunk for chunk in chunks if name in chunk.rows]
            cold = [(c.offsets[at], record) for c in chunks for at, kind, record in c.cold if kind == name]
            if parts:
                columns = list(np.concatenate([chunk.rows[name] for chunk in parts]).T)
                offsets = np.concatenate([chunk.offsets_of(name) for chunk in parts])
                stored += self._store(table, columns, chunks[0].partition, offsets, token)
            elif cold:
                columns = [_cold(table, k, [record for _, record in cold]) for k in range(len(table.event.fields))]
                offsets = np.array([offset for offset, _ in cold], np.int64)
                stored += self._store(table, columns, chunks[0].partition, offsets, token)
        measured = [record for c in chunks for _, kind, record in c.cold if kind == "WindowMeasured"]
        if measured:
            columns = [[record[field] for record in measured] for field in _INDICATORS[0]]
            self._insert(
                "stream_indicators", _INDICATORS[0], native_block(*_INDICATORS, columns), f"{token}:stream_indicators"
            )
        return stored + len(measured)

    def held(self, name: str, runs: Sequence[int], partition: int, block: tuple[int, int]) -> set[int]:
        """Those of the runs of which the table of an event holds records of a partition's block.

        An insert makes one part of a run's records, so of a block all or none of them are there.
        """
        sql = f"""SELECT DISTINCT run FROM {TABLES[name].name} WHERE run IN {{runs:Array(Int64)}}
            AND kafka_partition = {{partition:Int32}}
            AND kafka_offset >= {{first:Int64}} AND kafka_offset < {{behind:Int64}}"""
        bounds = {"partition": partition, "first": block[0], "behind": block[1]}
        return {row["run"] for row in self._select(sql, {"runs": list(runs), **bounds})}

    def _store(self, table: Table, columns: list[Any], partition: int, offsets: NDArray[np.int64], token: str) -> int:
        columns += [np.full(len(offsets), partition), offsets]
        self._insert(table.name, table.names, native_block(table.names, table.types, columns), f"{token}:{table.name}")
        return len(offsets)

    def store_defects(self, namespace: str, chunk: Chunk) -> None:
        """Note records that could not be decoded."""
        found = [
            (namespace, chunk.family, chunk.partition, int(chunk.offsets[at]), defect.name.lower())
            for at, defect in chunk.defects
        ]
        if found:
            self._insert("sink_defects", _DEFECTS[0], native_block(*_DEFECTS, list(zip(*found, strict=True))))

    @_retried
    def merge(self, run: int) -> None:
        """Make one part of each table's records of a run, where FINAL then has nothing to compare."""
        sql = """SELECT table FROM system.parts
            WHERE active AND database = currentDatabase() AND partition = {run:String}
            GROUP BY table HAVING count() > 1 OR max(level) = 0 ORDER BY table"""
        for row in self._client.query(sql, parameters={"run": str(run)}).named_results():
            if row["table"] in _EVENTS:
                self._client.command(f"OPTIMIZE TABLE {row['table']} PARTITION {run} FINAL")

    def runs_with_records(self) -> set[int]:
        """Runs of which some table holds records."""
        sql = """SELECT DISTINCT partition, table FROM system.parts
            WHERE active AND rows > 0 AND database = currentDatabase()"""
        return {int(row["partition"]) for row in self._select(sql, {}) if row["table"] in _BY_RUN}

    @_retried
    def forget(self, run: int) -> None:
        """Delete a run's rows of all tables that the sink writes."""
        for table in (*sorted(_BY_RUN), "runs"):
            if self._select(f"SELECT 1 AS one FROM {table} WHERE run = {{run:Int64}} LIMIT 1", {"run": run}):
                self._client.command(f"ALTER TABLE {table} DELETE WHERE run = {int(run)} SETTINGS mutations_sync = 1")

    # ---- offsets
    def offsets(self, namespace: str) -> dict[Place, tuple[int, int, bool]]:
        """Per partition: first offset of the newest block, offset behind it, whether it is stored."""
        sql = "SELECT family, kafka_partition, first, next, stored FROM sink_offsets FINAL WHERE namespace = {n:String}"
        return {
            (row["family"], row["kafka_partition"]): (row["first"], row["next"], bool(row["stored"]))
            for row in self._select(sql, {"n": namespace})
        }

    def positions(self, namespace: str) -> dict[Place, int]:
        """Per partition: offset behind the records that are stored."""
        return {
            place: behind if stored else first for place, (first, behind, stored) in self.offsets(namespace).items()
        }

    def note_offsets(self, namespace: str, blocks: Mapping[Place, tuple[int, int]], stored: bool) -> None:
        """Write which block of each partition is under way, or stored."""
        rows = [
            (namespace, family, partition, first, behind, stored, 2 * behind + stored)
            for (family, partition), (first, behind) in blocks.items()
        ]
        self._insert("sink_offsets", _OFFSETS[0], native_block(*_OFFSETS, list(zip(*rows, strict=True))))

    # ---- runs
    def run(self, namespace: str, run: int) -> Row:
        """The row of a run; an empty one for a run that has none."""
        found = self._select("SELECT * FROM runs FINAL WHERE run = {run:Int64}", {"run": run})
        return found[0] if found else {**EMPTY, "run": run, "namespace": namespace}

    def finished_runs(self, namespace: str) -> list[Row]:
        """Runs that are complete on the log and not yet known to be complete in the tables."""
        sql = "SELECT * FROM runs FINAL WHERE namespace = {n:String} AND state = 'finished'"
        return self._select(sql, {"n": namespace})

    def measured(self, run: int, window: int) -> bool:
        """True when the figures of a window are there."""
        sql = """SELECT 1 AS one FROM stream_indicators WHERE run = {run:Int64} AND window = {window:Int32}
            AND indicator = {last:String} LIMIT 1"""
        return bool(self._select(sql, {"run": run, "window": window, "last": LAST_MEASURED}))

    @_retried
    def put_run(self, row: Row) -> None:
        """Replace the row of a run."""
        row["version"] += 1
        self._client.insert("runs", [list(row.values())], column_names=list(row))


def _cold(table: Table, position: int, records: Sequence[Mapping[str, Any]]) -> list[Any]:
    field = table.event.fields[position]
    values = [record[field.name] for record in records]
    return [field.symbols.index(value) for value in values] if field.symbols else values
