"""ClickHouse's engine in this process: connections that may write, and connections that may only read."""

from __future__ import annotations

import os
import queue
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from chdb import ChdbError
from chdb.session import Session

from economy.errors import SetupError
from infra.chguard import Guard, RefusedError

CONNECTIONS: Final = 8  # of each kind; a statement holds one while it runs
HOME: Final = "escape"  # database of statements that name none
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
# Settings that would change what a connection may do, or where it looks for files.
_CLOSED: Final = frozenset({"readonly", "allow_ddl", "default_table_engine", "format_schema", "format_schema_source"})
# Readers send many small statements at once: sharing one among threads would only cost the processors more.
_READER: Final = (
    "SET do_not_merge_across_partitions_select_final = 1, max_execution_time = 120, max_threads = 1, readonly = 1"
)


class Connection:
    """One connection to the store. The database and the settings of a statement are set before it and taken back."""

    def __init__(self, store: Path, read_only: bool) -> None:
        self.read_only = read_only
        self._session = Session(str(store))
        self._database = ""
        self._use(HOME)
        if read_only:
            self._session.query(_READER)

    def _use(self, database: str) -> None:
        if database != self._database:
            if not _NAME.fullmatch(database):
                raise RefusedError(f"database {database!r} does not exist", 81)
            self._session.query(f"USE {database}")
            self._database = database

    @contextmanager
    def prepared(self, database: str, settings: Mapping[str, str]) -> Iterator[Any]:
        """The session with the statement's database and settings."""
        self._use(HOME if database in ("", "default") else database)
        if settings and self.read_only:
            raise RefusedError(f"Cannot modify '{next(iter(settings))}' setting in readonly mode", 164)
        for name in settings:
            if not _NAME.fullmatch(name) or name in _CLOSED:
                raise RefusedError(f"setting {name!r} is not allowed in the embedded server", 452)
        changed = []
        try:
            for name, value in settings.items():
                self._session.query(f"SET {name} = {value if _NUMBER.fullmatch(value) else quote(value)}")
                changed.append(f"{name} = DEFAULT")
            yield self._session
        finally:
            if changed:
                self._session.query(f"SET {', '.join(changed)}")

    def close(self) -> None:
        self._session.close()


def quote(text: str) -> str:
    """A ClickHouse string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


class Engine:
    """The store of one folder. Only one process at a time; the working directory becomes the spool folder."""

    def __init__(self, folder: Path) -> None:
        store, self.spool = folder / "store", folder / "spool"
        self.spool.mkdir(parents=True, exist_ok=True)
        for left in self.spool.iterdir():  # bodies that a killed server was receiving
            left.unlink()
        os.chdir(self.spool)  # bodies are named relative to it, so no path needs quoting
        self._all: list[Connection] = []
        try:
            first = Session(str(store))
        except (ChdbError, RuntimeError) as error:
            raise SetupError(f"the store {store} cannot be opened: {error}", "is another process using it?") from error
        _close_default(first)
        first.query(f"CREATE DATABASE IF NOT EXISTS {HOME}")
        self.guard = Guard(
            _names(first, "table_functions"), [*_names(first, "table_engines"), *_names(first, "database_engines")]
        )
        self.timezone = _text(first, "SELECT timezone()")
        self.version = _text(first, "SELECT version()")
        self._pools: dict[bool, queue.LifoQueue[Connection]] = {}
        for read_only in (False, True):
            pool: queue.LifoQueue[Connection] = queue.LifoQueue()
            for _ in range(CONNECTIONS):
                connection = Connection(store, read_only)
                self._all.append(connection)
                pool.put(connection)
            self._pools[read_only] = pool
        first.close()

    @contextmanager
    def connection(self, read_only: bool) -> Iterator[Connection]:
        """A connection for one statement; waits while all are busy."""
        pool = self._pools[read_only]
        connection = pool.get()
        try:
            yield connection
        finally:
            pool.put(connection)

    def close(self) -> None:
        """Close the store; parts are on the disk already, so a kill loses nothing that was acknowledged."""
        for connection in self._all:
            connection.close()


def _text(session: Session, sql: str) -> str:
    answer: Any = session.query(sql, "TabSeparated")
    return str(answer).strip()


def _names(session: Session, table: str) -> list[str]:
    return _text(session, f"SELECT name FROM system.{table}").split()


def _close_default(session: Session) -> None:
    """Replace the engine's `default` database, which opens any file that is named like a table, by an empty one."""
    session.query("DROP DATABASE IF EXISTS default")
    session.query("CREATE DATABASE default ENGINE = Atomic")
    try:
        session.query(f"SELECT * FROM default.`{__file__}` LIMIT 1 FORMAT Null")
    except ChdbError:
        return
    raise SetupError("database default still reads files", "remove the store's folder and start again")
