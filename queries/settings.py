"""What the processes of queries/ are told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from queries.places import ConnectionLimits
from telemetry.logs import Level
from telemetry.process import Names, ProcessSettings

# What the libraries tell of ClickHouse stands in our own errors.
_QUIET: Final[Mapping[str, Level]] = {"urllib3": "FATAL", "clickhouse_connect": "FATAL"}


_LIMITS: Final = ConnectionLimits()


class ServerSettings(ProcessSettings):
    """Serves GraphQL and the reports."""

    MODULE: ClassVar[str] = "queries.server"
    SERVICE: ClassVar[str] = "api"
    QUIET: ClassVar[Mapping[str, Level]] = _QUIET
    log_level: Level = Field(default="WARN", description="least level that is logged")
    clickhouse_url: str = Field(description="http[s]://user@host:port/database; the password by CLICKHOUSE_PASSWORD")
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=0, ge=0, le=65535, description="port to listen on; 0 = a free one")
    descriptor: int | None = Field(default=None, description="listening socket to inherit instead of a port")
    reports: Path | None = Field(default=None, description="folder of the reports")
    copies: Path | None = Field(default=None, description="folder for copies of records; default: none")
    query_workers: int = Field(
        default=os.cpu_count() or 1, ge=0, description="processes that execute queries; 0 = this one does"
    )
    production: bool = Field(default=False, description="no introspection, no GraphiQL")
    allow_host: Names = Field(default=(), description="further host name that clients may use")
    allow_origin: Names = Field(default=(), description="further origin that pages may ask from")
    trust_proxy: Names = Field(default=(), description="address or network of a proxy in front")
    connections: int = Field(default=_LIMITS.connections, ge=1, description="connections of all clients")
    connections_per_address: int = Field(default=_LIMITS.per_address, ge=1, description="connections of one address")
    websockets_per_address: int = Field(
        default=_LIMITS.websockets_per_address, ge=0, description="websockets of one address"
    )
    request_seconds: float = Field(
        default=_LIMITS.request_seconds, gt=0,
        description="seconds for a request's head, for its body, for a websocket's first message, and between requests",
    )  # fmt: skip
    answer_seconds: float = Field(default=_LIMITS.answer_seconds, gt=0, description="seconds for taking an answer")

    def limits(self) -> ConnectionLimits:
        """What clients may hold. Raises InputError for a proxy that is no address or network."""
        return ConnectionLimits(
            self.connections, self.connections_per_address, self.websockets_per_address, self.request_seconds,
            self.answer_seconds, self.trust_proxy,
        )  # fmt: skip


class WorkerSettings(ProcessSettings):
    """One process behind queries.server."""

    MODULE: ClassVar[str] = "queries.workers"
    SERVICE: ClassVar[str] = "api-worker"
    QUIET: ClassVar[Mapping[str, Level]] = _QUIET
    log_level: Level = Field(default="WARN", description="least level that is logged")
    descriptor: int = Field(description="connected socket to inherit")
