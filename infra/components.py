"""The child processes of a stack: their command lines and environments, and when they are ready."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from economy.errors import SetupError
from infra.broker import free_port, port_taken
from infra.settings import Settings

if TYPE_CHECKING:  # imported late at run time: the client of ClickHouse takes half a second
    from queries.config import ClickHouseConfig

PASSWORD: Final = "CLICKHOUSE_PASSWORD"  # environment: passwords never stand in arguments


@dataclass(frozen=True)
class Child:
    """One process that shall keep running."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


def _log(bootstrap: str, namespace: str) -> list[str]:
    return ["--bootstrap", bootstrap, "--namespace", namespace]


def matching(settings: Settings, bootstrap: str) -> Child:
    """The Faust worker that matches orders."""
    where = _log(bootstrap, settings.namespace)
    partitions = ["--partitions", str(settings.partitions), "--data", str(settings.state_folder / "faust")]
    return Child("matching", _module("streams.worker", "matching", *where, *partitions))


def projection(settings: Settings, bootstrap: str) -> Child:
    """The Faust worker that computes balances and indicators."""
    where = _log(bootstrap, settings.namespace)
    partitions = ["--partitions", str(settings.partitions), "--flow-partitions", str(settings.flow_partitions)]
    data = ["--data", str(settings.state_folder / "faust"), "--name", "projection"]
    return Child("projection", _module("streams.worker", "projection", *where, *partitions, *data))


def sinks(settings: Settings, bootstrap: str, tables: ClickHouseConfig) -> list[Child]:
    """The processes that copy the log into ClickHouse, each its part of the partitions."""
    if settings.sinks == 1:
        return [_sink("sink", "0/1", settings, bootstrap, tables)]
    parts = [f"{i}/{settings.sinks}" for i in range(settings.sinks)]
    return [_sink(f"sink-{i}", part, settings, bootstrap, tables) for i, part in enumerate(parts)]


def _sink(name: str, part: str, settings: Settings, bootstrap: str, tables: ClickHouseConfig) -> Child:
    command = _module(
        "streams.sink", *_log(bootstrap, settings.namespace),
        "--partitions", str(settings.partitions), "--flow-partitions", str(settings.flow_partitions),
        "--clickhouse-url", tables.url, "--clickhouse-user", tables.user, "--clickhouse-database", tables.database,
        "--partitions-of", part,
    )  # fmt: skip
    return Child(name, command, {PASSWORD: tables.password})


def clickhouse(folder: Path, port: int) -> Child:
    """The embedded ClickHouse."""
    return Child("clickhouse", _module("infra.clickhouse", "--data", str(folder), "--port", str(port)))


def api(
    reader: ClickHouseConfig, folder: Path, descriptor: int, production: bool, hosts: Sequence[str],
    origins: Sequence[str], workers: int | None = None, proxies: Sequence[str] = (),
) -> Child:  # fmt: skip
    """The server of GraphQL and the reports, on a listening socket that it inherits."""
    command = _module(
        "queries.server", "--clickhouse-url", reader.url, "--user", reader.user, "--database", reader.database,
        "--reports", str(folder / "reports"), "--copies", str(folder / "copies"), "--descriptor", str(descriptor),
        *(["--production"] if production else []), *([] if workers is None else ["--workers", str(workers)]),
        *(f"--allow-host={name}" for name in hosts), *(f"--allow-origin={name}" for name in origins),
        *(f"--trust-proxy={name}" for name in proxies),
    )  # fmt: skip
    return Child("api", command, {PASSWORD: reader.password})


def clickhouse_port(settings: Settings) -> int:
    """A port for the embedded ClickHouse. Raises SetupError when the one of the settings is taken."""
    port = settings.clickhouse_port or free_port()
    if port_taken(port):
        raise SetupError(f"port {port} is taken", "stop what listens there, or set clickhouse_port = 0")
    return port


def wait_for_clickhouse(folder: Path, port: int, log: Path, timeout: float = 60.0) -> None:
    """Return when the embedded ClickHouse answers to its own password."""
    from infra.clickhouse import EmbeddedClickHouse

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
    from infra.clickhouse import EmbeddedClickHouse
    from queries.config import ClickHouseConfig

    if has_external_tables(settings):
        writer = ClickHouseConfig.from_dsn(settings.clickhouse_url) if settings.clickhouse_url else None
        return writer, ClickHouseConfig.from_dsn(settings.clickhouse_reader_url or settings.clickhouse_url)
    server = EmbeddedClickHouse(settings.state_folder / "clickhouse", port)
    return ClickHouseConfig.from_dsn(server.dsn()), ClickHouseConfig.from_dsn(server.dsn("reader"))
