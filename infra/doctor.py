"""What is missing on this machine, and how to get it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Final

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from economy.errors import EscapeError, SetupError
from infra import jars
from infra.broker import port_taken
from infra.java import java_home, version_of
from infra.settings import Settings
from infra.stack import prepare, running

DISK_GIB: Final = 3
MEMORY_GIB: Final = 4
_GIB: Final = 1 << 30


@dataclass(frozen=True)
class Check:
    """One finding: ok, or what is wrong and the remedy."""

    name: str
    ok: bool
    message: str
    remedy: str = ""


def _python(_: Settings) -> str:
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        raise SetupError(f"Python {sys.version.split()[0]} is not supported", "use Python 3.11, 3.12 or 3.13")
    return sys.version.split()[0]


def _java(settings: Settings) -> str:
    home = java_home(settings.java_home, settings.cache_folder)
    return f"Java {version_of(home / 'bin' / 'java')} at {home}"


def _jars(settings: Settings) -> str:
    home = java_home(settings.java_home, settings.cache_folder)
    for name in jars.locked():
        jars.fetch(name, settings.cache_folder, home)
    return f"complete in {settings.cache_folder / 'jars'}"


def _state(settings: Settings) -> str:
    return f"{prepare(settings)} is writable"


def _disk(settings: Settings) -> str:
    free = shutil.disk_usage(prepare(settings)).free / _GIB
    if free < DISK_GIB:
        raise SetupError(f"{free:.1f} GiB are free where the state is", f"free {DISK_GIB} GiB or set another state")
    return f"{free:.0f} GiB free"


def _memory(_: Settings) -> str:
    available = psutil.virtual_memory().available / _GIB
    if available < MEMORY_GIB:
        raise SetupError(
            f"{available:.1f} GiB of memory are available", f"end other programs: {MEMORY_GIB} GiB are used"
        )
    return f"{available:.0f} GiB available"


def _port(settings: Settings) -> str:
    names = ("broker_port", "clickhouse_port", "api_port")
    wanted = {name: getattr(settings, name) for name in names}
    if running(settings) is not None:
        return "our own stack is running"
    for name, port in wanted.items():
        if port and port_taken(port):
            raise SetupError(f"{name} = {port} is taken by another program", f"stop it, or set {name} = 0")
    return "free"


def _broker(settings: Settings) -> str:
    if not settings.bootstrap:
        return "embedded"
    try:
        answered = AdminClient({"bootstrap.servers": settings.bootstrap, "log_level": 0}).list_topics(timeout=5)
    except KafkaException as error:
        raise SetupError(
            f"no Kafka broker answers at {settings.bootstrap}", "start it, or unset bootstrap to use the embedded one"
        ) from error
    return f"cluster {answered.cluster_id} at {settings.bootstrap}"


def _clickhouse(settings: Settings) -> str:
    address = settings.clickhouse_url or settings.clickhouse_reader_url
    if not address:
        return "embedded"
    from queries.store import Store
    from schemas.clickhouse_server import ClickHouseConfig

    config = ClickHouseConfig.from_dsn(address)
    with Store(config, database="") as store:
        return f"version {store.command('SELECT version()')} at {config.url}"


def _tape(_: Settings) -> str:
    try:
        return f"ob-analytics {metadata.version('ob-analytics')}"
    except metadata.PackageNotFoundError as error:
        raise SetupError(
            "the data of the demo's tape, ob-analytics, is not installed",
            "run `make setup` with all its locks, or bring a tape of your own: `escape ingest tape FILE`",
        ) from error


_CHECKS: Final[dict[str, Callable[[Settings], str]]] = {
    "python": _python,
    "state": _state,
    "disk": _disk,
    "memory": _memory,
    "java": _java,
    "jars": _jars,
    "ports": _port,
    "broker": _broker,
    "clickhouse": _clickhouse,
    "tape": _tape,
}
NAMES: Final = tuple(_CHECKS)


def examine(settings: Settings) -> list[Check]:
    """All checks, each on its own: one failure does not hide the next."""
    found = []
    for name, check in _CHECKS.items():
        try:
            found.append(Check(name, True, check(settings)))
        except EscapeError as error:
            found.append(Check(name, False, error.message, error.remedy))
    return found
