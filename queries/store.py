"""Reading and writing the tables: a thin, typed face of clickhouse-connect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from clickhouse_connect.driver.exceptions import Error, OperationalError
from numpy.typing import NDArray
from urllib3.exceptions import HTTPError

from economy.errors import EscapeError, SetupError
from schemas.clickhouse_server import ClickHouseConfig, connect, denial, denied, first_line
from schemas.closing import Closing

Columns = dict[str, NDArray[Any]]
_PIECE: Final = 1 << 20


class StoreError(EscapeError):
    """ClickHouse refused a statement; the message is its own."""


class Store(Closing):
    """One client. Statements of several threads need a store each."""

    def __init__(self, config: ClickHouseConfig, database: str | None = None) -> None:
        self.config = config
        self.client = connect(config, database)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def _call(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except (Error, HTTPError) as error:
            if denied(error):
                raise denial(self.config, error) from error
            if isinstance(error, OperationalError | HTTPError):
                raise SetupError(f"ClickHouse at {self.config.url} does not answer", "is it still running?") from error
            raise StoreError(first_line(error)) from error

    def columns(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Columns:
        """The result of a SELECT as one array per column; `{name:Type}` in the text are bound by the server."""
        found = self._call(self.client.query, sql, parameters=dict(parameters or {}), column_oriented=True)
        columns = found.result_columns or [()] * len(found.column_names)
        return {name: np.asarray(values) for name, values in zip(found.column_names, columns, strict=True)}

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The result of a SELECT as one dictionary per row."""
        return list(self._call(self.client.query, sql, parameters=dict(parameters or {})).named_results())

    def packed(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Iterator[bytes]:
        """The result of a SELECT as RowBinary, in pieces. Raises SetupError when it does not come to its end."""
        with self._call(self.client.raw_stream, sql, parameters=dict(parameters or {}), fmt="RowBinary") as stream:
            while piece := self._call(stream.read, _PIECE):
                yield piece

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """Run a statement that is no SELECT, or one that gives a single value."""
        return self._call(self.client.command, sql, parameters=dict(parameters or {}))

    def insert(self, table: str, columns: Mapping[str, Sequence[Any] | NDArray[Any]], token: str = "") -> int:
        """Insert rows given as columns; returns their number. A repetition under the same token does nothing."""
        data = [list(values) if not isinstance(values, np.ndarray) else values.tolist() for values in columns.values()]
        settings = {"insert_deduplication_token": token} if token else {}
        if data and data[0]:
            self._call(
                self.client.insert, table, data, column_names=list(columns), column_oriented=True, settings=settings
            )
        return len(data[0]) if data else 0
