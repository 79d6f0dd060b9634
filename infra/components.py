"""The child processes of a stack: their command lines and environments, and when they are ready."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from economy.errors import SetupError
from infra.broker import free_port, port_taken
from infra.clickhouse import EmbeddedClickHouse, EngineSettings
from infra.settings import Settings
from queries.settings import ServerSettings
from schemas.clickhouse_server import ClickHouseConfig
from streams.settings import MatchingSettings, NamedSettings, ProjectionSettings, SinkSettings
from telemetry.logs import Level, LogOptions


@dataclass(frozen=True)
class Child:
    """One process that shall keep running."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    health: NamedSettings | None = None  # where it tells how it is


def _followed(settings: Settings, bootstrap: str) -> dict[str, Any]:
    """The log, for whoever follows it."""
    return {
        "bootstrap": bootstrap,
        "namespace": settings.namespace,
        "partitions": settings.partitions,
        "flow_partitions": settings.flow_partitions,
    }


def _logged(settings: Settings, name: str, level: Level | None = None) -> dict[str, Any]:
    """The log of a child. `level`: of those who tell little, when the settings ask for nothing else."""
    chosen = level if level is not None and "log_level" not in settings.model_fields_set else settings.log_level
    return LogOptions(name, settings.state_folder / "logs", name, settings.log_format, chosen).settings()


def matching(settings: Settings, bootstrap: str) -> Child:
    """The Faust worker that matches orders."""
    told = MatchingSettings(
        **_followed(settings, bootstrap), data=settings.state_folder / "faust", **_logged(settings, "matching")
    )
    return Child("matching", told.command(), health=told)


def _parts(name: str, count: int) -> dict[str, str]:
    """Name -> part i/n of each of the processes that divide some work."""
    return {name if count == 1 else f"{name}-{i}": f"{i}/{count}" for i in range(count)}


def projections(settings: Settings, bootstrap: str) -> list[Child]:
    """The Faust workers that compute balances and indicators, each of its part of the runs."""
    parts = _parts("projection", settings.projections)
    return [_projection(name, part, settings, bootstrap) for name, part in parts.items()]


def _projection(name: str, part: str, settings: Settings, bootstrap: str) -> Child:
    told = ProjectionSettings(
        **_followed(settings, bootstrap), data=settings.state_folder / "faust", name=name,
        **_logged(settings, name), runs_of=part,
    )  # fmt: skip
    return Child(name, told.command(), health=told)


def sinks(settings: Settings, bootstrap: str, tables: ClickHouseConfig) -> list[Child]:
    """The processes that copy the log into ClickHouse, each its part of the partitions."""
    parts = _parts("sink", settings.sinks)
    return [_sink(name, part, settings, bootstrap, tables) for name, part in parts.items()]


def _sink(name: str, part: str, settings: Settings, bootstrap: str, tables: ClickHouseConfig) -> Child:
    told = SinkSettings(
        **_followed(settings, bootstrap), data=settings.state_folder / "sink", name=name,
        **_logged(settings, name), partitions_of=part, clickhouse_url=tables.address,
    )  # fmt: skip
    return Child(name, told.command(), tables.environment, health=told)


def clickhouse(settings: Settings, port: int) -> Child:
    """The embedded ClickHouse."""
    told = EngineSettings(data=settings.state_folder / "clickhouse", port=port, **_logged(settings, "clickhouse"))
    return Child("clickhouse", told.command())


def api(
    settings: Settings, reader: ClickHouseConfig, descriptor: int, production: bool, hosts: Sequence[str],
    origins: Sequence[str], workers: int | None = None, proxies: Sequence[str] = (),
) -> Child:  # fmt: skip
    """The server of GraphQL and the reports, on a listening socket that it inherits."""
    chosen = _logged(settings, "api", "WARN") | ({} if workers is None else {"query_workers": workers})
    folder = settings.state_folder
    told = ServerSettings(
        clickhouse_url=reader.address, reports=folder / "reports", copies=folder / "copies", descriptor=descriptor,
        production=production, allow_host=tuple(hosts), allow_origin=tuple(origins), trust_proxy=tuple(proxies),
        **chosen,
    )  # fmt: skip
    return Child("api", told.command(), reader.environment)


def clickhouse_port(settings: Settings) -> int:
    """A port for the embedded ClickHouse. Raises SetupError when the one of the settings is taken."""
    port = settings.clickhouse_port or free_port()
    if port_taken(port):
        raise SetupError(f"port {port} is taken", "stop what listens there, or set clickhouse_port = 0")
    return port


def wait_for_clickhouse(folder: Path, port: int, log: Path, timeout: float = 60.0) -> None:
    """Return when the embedded ClickHouse answers to its own password."""
    server = EmbeddedClickHouse(folder, port)
    limit = time.monotonic() + timeout
    while not server.healthy():
        if time.monotonic() > limit:
            raise SetupError("ClickHouse did not start in time", f"see {log}")
        time.sleep(0.05)


def has_external_tables(settings: Settings) -> bool:
    """True when the tables are in a ClickHouse that runs elsewhere."""
    return bool(settings.clickhouse_url or settings.clickhouse_reader_url)


def tables_of(settings: Settings, port: int) -> tuple[ClickHouseConfig | None, ClickHouseConfig]:
    """ClickHouse for those who write, None where nobody may, and for those who only read.

    `port` is the embedded one's.
    """
    if has_external_tables(settings):
        writer = ClickHouseConfig.from_dsn(settings.clickhouse_url) if settings.clickhouse_url else None
        return writer, ClickHouseConfig.from_dsn(settings.clickhouse_reader_url or settings.clickhouse_url)
    server = EmbeddedClickHouse(settings.state_folder / "clickhouse", port)
    return ClickHouseConfig.from_dsn(server.dsn()), ClickHouseConfig.from_dsn(server.dsn("reader"))
