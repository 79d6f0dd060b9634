"""ClickHouse's engine in this process as the reader of GraphQL and the reports, with tables filled from plain rows."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from chdb.session import Session

from queries.migrate import load

Row = dict[str, Any]
_FIELD = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n"})


def bound(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Values as the engine reads them: a text is one field of a tab-separated file."""
    return {k: v.translate(_FIELD) if isinstance(v, str) else str(v) for k, v in parameters.items()}


class LocalTables:
    """The tables in one chdb session; counts the statements that it answers."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()  # a session answers one statement at a time
        self.statements: list[str] = []
        self.failure: Exception | None = None  # raised instead of an answer

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """As queries.reader.Reader."""
        with self._lock:
            self.statements.append(sql)
            if self.failure is not None:
                raise self.failure
            answer = self._session.query(sql, "Arrow", params=bound(parameters))
        found: list[Row] = pa.ipc.open_file(answer.bytes()).read_all().to_pylist()
        return found

    def packed(self, sql: str, parameters: Mapping[str, Any]) -> Iterator[bytes]:
        """As queries.reader.Reader."""
        with self._lock:
            self.statements.append(sql)
            answer = self._session.query(sql, "RowBinary", params=bound(parameters))
        yield answer.bytes()

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
        for migration in load():
            for statement in migration.statements:
                session.query(statement)
        tables = LocalTables(session)
        for run in runs:
            tables.fill(run)
        yield tables
    finally:
        session.close()
