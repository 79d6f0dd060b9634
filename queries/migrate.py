"""Numbered migrations: each SQL file of migrations/ is applied once, in order, and must never change afterwards."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from economy.errors import EscapeError
from queries.store import Store
from schemas.clickhouse_server import ClickHouseConfig

FOLDER: Final = Path(__file__).parent / "migrations"
_FILE: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LEDGER: Final = """CREATE TABLE IF NOT EXISTS migrations
(
    version Int32 COMMENT 'Number of the migration',
    name String COMMENT 'Name of its file',
    checksum String COMMENT 'SHA-256 of the file, hex',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was applied [UTC]'
)
ENGINE = ReplacingMergeTree
ORDER BY version
COMMENT 'Migrations that this database has had'"""


class MigrationError(EscapeError):
    """The database and the files disagree about what was applied."""


@dataclass(frozen=True)
class Migration:
    """One file: its number, name, statements and checksum."""

    version: int
    name: str
    statements: tuple[str, ...]
    checksum: str


def load(folder: Path = FOLDER) -> list[Migration]:
    """The migrations in order. Raises MigrationError for a foreign file name or a gap in the numbers."""
    found = []
    for path in sorted(folder.iterdir()):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name} is no migration", "name it 0001_what_it_does.sql")
        text = path.read_text()
        statements = tuple(part.strip() for part in text.split(";\n") if part.strip())
        found.append(Migration(int(match[1]), path.name, statements, hashlib.sha256(text.encode()).hexdigest()))
    if [m.version for m in found] != list(range(1, len(found) + 1)):
        raise MigrationError("the numbers of the migrations have a gap or a repetition", "number them from 0001 on")
    return found


def migrate(config: ClickHouseConfig, migrations: list[Migration] | None = None) -> list[str]:
    """Create the database and apply what it has not had; returns the names of what was applied.

    Safe to repeat: a migration that was cut off in the middle is applied again, so its statements say IF NOT EXISTS.
    Raises MigrationError when an applied file has changed or the database is newer than the files.
    """
    if not _NAME.fullmatch(config.database):
        raise MigrationError(f"database {config.database!r} is not a plain name", "use letters, digits and _")
    with Store(config, database="") as server:
        server.command(f"CREATE DATABASE IF NOT EXISTS {config.database}")
    wanted = load() if migrations is None else migrations
    applied = []
    with Store(config) as store:
        store.command(_LEDGER)
        had = {row["version"]: row for row in store.rows("SELECT version, name, checksum FROM migrations FINAL")}
        unknown = sorted(set(had) - {m.version for m in wanted})
        if unknown:
            raise MigrationError(f"the database has migration {unknown[-1]}, which is not here", "use a newer version")
        for migration in wanted:
            known = had.get(migration.version)
            if known is not None:
                if known["checksum"] != migration.checksum:
                    raise MigrationError(f"{migration.name} has changed since it was applied", "add a new migration")
                continue
            for statement in migration.statements:
                store.command(statement)
            store.insert(
                "migrations",
                {"version": [migration.version], "name": [migration.name], "checksum": [migration.checksum]},
            )
            applied.append(migration.name)
    return applied
