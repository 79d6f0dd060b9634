"""What GraphQL reads the tables with, and how it does so in a deployment: a store for each thread that reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from economy.errors import InputError
from queries.store import Store
from schemas.clickhouse_server import ClickHouseConfig


class Reader(Protocol):
    """What reads the tables: Stores in a deployment, ClickHouse's engine in-process in tests."""

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The result of a SELECT; `{name:Type}` in the text are bound by the server."""

    def packed(self, sql: str, parameters: Mapping[str, Any]) -> Iterator[bytes]:
        """The result of a SELECT as RowBinary, in pieces: the values of one row after the other, without names."""


class Stores:
    """Statements of several threads need a store each; a thread keeps its own."""

    def __init__(self, config: ClickHouseConfig) -> None:
        self._config = config
        self._local = threading.local()

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """As Reader. Raises SetupError when ClickHouse does not answer."""
        return self._store().rows(sql, parameters)

    def packed(self, sql: str, parameters: Mapping[str, Any]) -> Iterator[bytes]:
        """As Reader. Raises SetupError when ClickHouse does not answer, or stops to."""
        return self._store().packed(sql, parameters)

    def _store(self) -> Store:
        store: Store | None = getattr(self._local, "store", None)
        if store is None:
            store = self._local.store = Store(self._config)
        return store


def connect(config: ClickHouseConfig | None) -> Stores:
    """The tables of a deployment. Raises SetupError when ClickHouse does not answer."""
    if config is None:
        raise InputError("clickhouse", None, "give the address of ClickHouse")
    found = Stores(config)
    found.rows("SELECT 1 AS one", {})
    return found
