"""ClickHouse over HTTP as the reader of GraphQL and of the reports."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import OperationalError
from urllib3.exceptions import HTTPError

from economy.errors import SetupError

Row = dict[str, Any]


class HttpReader:
    """Reads by one client per thread, so that statements of several requests run beside each other."""

    def __init__(self, url: str, user: str, password: str, database: str) -> None:
        parts = urlsplit(url)
        self._where: dict[str, Any] = {
            "host": parts.hostname or "127.0.0.1",
            "port": parts.port or (8443 if parts.scheme == "https" else 8123),
            "secure": parts.scheme == "https",
            "username": parts.username or user,
            "password": parts.password or password,
            "database": database,
        }
        self._local = threading.local()

    def _client(self) -> Any:
        client = getattr(self._local, "client", None)
        if client is None:
            client = clickhouse_connect.get_client(
                **self._where, autogenerate_session_id=False, connect_timeout=5, send_receive_timeout=60
            )
            self._local.client = client
        return client

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """The result of a SELECT. Raises SetupError when ClickHouse does not answer."""
        try:
            return list(self._client().query(sql, parameters=dict(parameters)).named_results())
        except (OperationalError, HTTPError, OSError) as error:
            address = f"{self._where['host']}:{self._where['port']}"
            raise SetupError(f"ClickHouse at {address} does not answer", "start it, or set clickhouse_url") from error
