"""The tables of a deployment as the reader of GraphQL: a store for each thread that reads."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from queries.config import ClickHouseConfig
from queries.store import Store


class Stores:
    """Statements of several threads need a store each; a thread keeps its own."""

    def __init__(self, config: ClickHouseConfig) -> None:
        self._config = config
        self._local = threading.local()

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The result of a SELECT. Raises SetupError when ClickHouse does not answer."""
        store: Store | None = getattr(self._local, "store", None)
        if store is None:
            store = self._local.store = Store(self._config)
        return store.rows(sql, parameters)
