"""Where the tables are."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from economy.errors import InputError


@dataclass(frozen=True)
class ClickHouseConfig:
    """A ClickHouse server: HTTP address, user, password, database."""

    url: str
    user: str = "escape"
    password: str = ""
    database: str = "escape"

    @classmethod
    def from_dsn(cls, dsn: str) -> ClickHouseConfig:
        """Read `http[s]://user:password@host:port/database`. Raises InputError without showing the password."""
        parts = urlsplit(dsn)
        shown = f"{parts.scheme}://{parts.hostname or ''}"
        try:
            port = parts.port
        except ValueError as error:
            raise InputError("clickhouse_url", shown, "write it as http://user:password@host:port/database") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError("clickhouse_url", shown, "write it as http://user:password@host:port/database")
        default = 8443 if parts.scheme == "https" else 8123
        return cls(
            f"{parts.scheme}://{parts.hostname}:{port or default}",
            unquote(parts.username or "default"),
            unquote(parts.password or ""),
            parts.path.strip("/") or "escape",
        )

    def __repr__(self) -> str:
        return f"ClickHouseConfig({self.url!r}, {self.user!r}, '***', {self.database!r})"
