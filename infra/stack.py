"""The stack of components that a command needs: embedded unless the settings name an address. One per state folder.

`escape up` leaves it running in a process of its own (`python -m infra.stack`); other commands use that one when it
runs, else they start their own and stop it when they end.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from economy.errors import EscapeError, InterruptionError, SetupError
from infra import components
from infra.broker import Broker
from infra.components import Child
from infra.jars import broker_classpath
from infra.java import java_home
from infra.settings import Settings, load_settings
from infra.supervisor import Registry, Supervisor, alive, check
from schemas.files import replacing
from schemas.log import topics
from streams.health import ailment
from telemetry import logs
from telemetry.logs import LogOptions

if TYPE_CHECKING:  # imported late at run time: the client of ClickHouse takes half a second
    from schemas.clickhouse_server import ClickHouseConfig

log = logging.getLogger("escape.stack")  # not print: where the log is on the full disk too, that would end the stack
_WATCH_SECONDS: Final = 0.5
_FORMAT: Final = 3  # of what `describe` tells and other commands rely on: a change of either needs another number
_EXTERNAL_SECONDS: Final = 5.0  # a broker that somebody else runs has this long to answer


def prepare(settings: Settings) -> Path:
    """Make the state folder. Raises SetupError when it cannot be written."""
    folder = settings.state_folder
    try:
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise SetupError(
            f"the state folder {folder} cannot be written: {error.strerror}", "set another state"
        ) from error
    return folder


def check_room(settings: Settings) -> None:
    """Raise InterruptionError when the disk of the state folder is about to be full: the log must stay whole."""
    free = shutil.disk_usage(settings.state_folder).free >> 20
    if free < settings.reserve_mb:
        raise InterruptionError(
            f"the disk of {settings.state_folder} is full: {free} MB are left, {settings.reserve_mb} are kept free",
            "make room, or set reserve_mb",
        )


class Stack:
    """The components that this process started. Use as a context manager.

    `store` adds ClickHouse, the projection and the sink to the broker and the matching worker.
    """

    def __init__(self, settings: Settings, store: bool = True) -> None:
        self.settings = settings
        self.folder = prepare(settings)
        self.logs = self.folder / "logs"
        self.registry = Registry(self.folder)
        self.supervisor = Supervisor(self.logs, self.registry)
        self.broker: Broker | None = None
        self.bootstrap = settings.bootstrap
        self.namespace = settings.namespace
        self.tables: ClickHouseConfig | None = None
        self.reader: ClickHouseConfig | None = None
        self._store = store
        self._stopping = threading.Event()
        self._children: dict[str, Child] = {}

    def start(self) -> Stack:
        """Start everything and wait until it answers. Raises SetupError with what to do; nothing is left then."""
        self.registry.claim()
        try:
            check_room(self.settings)
            port = self._start_clickhouse()
            if not self.bootstrap:
                self._start_broker()
            topics.create(
                self.bootstrap, self.namespace, self.settings.partitions, self.settings.flow_partitions,
                topics.Replicas(self.settings.replication, self.settings.min_insync),
                30.0 if self.broker else _EXTERNAL_SECONDS,
            )  # fmt: skip
            if self.settings.workers:
                self._spawn(components.matching(self.settings, self.bootstrap))
            if self._store:
                self._open_tables(port)
        except BaseException:
            self.stop()
            raise
        return self

    def _spawn(self, child: Child) -> None:
        self._children[child.name] = child
        self.supervisor.spawn(child.name, child.command, child.environment)

    def _start_clickhouse(self) -> int:
        """Start the embedded ClickHouse, where one is wanted; it loads while the broker starts. Returns its port."""
        if not self._store:
            return 0
        if components.has_external_tables(self.settings):
            from queries.store import Store

            for tables in components.tables_of(self.settings, 0):
                if tables is not None:
                    Store(tables, database="").close()  # does it answer?
            return 0
        port = components.clickhouse_port(self.settings)
        self._spawn(components.clickhouse(self.settings, port))
        return port

    def _open_tables(self, port: int) -> None:
        from queries.migrate import migrate

        if port:
            components.wait_for_clickhouse(self.folder / "clickhouse", port, self.logs / "clickhouse.log")
        self.tables, self.reader = components.tables_of(self.settings, port)
        if self.tables is None:  # whoever writes them has made them, or will
            return
        migrate(self.tables)
        if self.settings.workers:
            for projection in components.projections(self.settings, self.bootstrap):
                self._spawn(projection)
            for sink in components.sinks(self.settings, self.bootstrap, self.tables):
                self._spawn(sink)

    def _start_broker(self) -> None:
        settings = self.settings
        home = java_home(settings.java_home, settings.cache_folder)
        self.broker = Broker(
            self.folder / "kafka",
            home,
            broker_classpath(settings.cache_folder, home),
            settings.broker_port,
            # The optimising compiler would cost a short run more than it gives back.
            options=("-XX:TieredStopAtLevel=1",),
            archive=settings.cache_folder / f"broker-{home.name}-c1.jsa",
            on_start=lambda pid: self.registry.add("broker", pid),
        ).start()
        self.bootstrap = self.broker.bootstrap
        threading.Thread(target=self._watch_broker, daemon=True, name="broker-watch").start()

    def _watch_broker(self) -> None:
        """Start the broker again when it dies; clients go on by themselves."""
        while not self._stopping.wait(_WATCH_SECONDS):
            broker = self.broker
            if broker is None or broker.process is None or broker.process.poll() is None:
                continue
            try:
                broker.start()
            except (SetupError, OSError) as error:  # its port was taken meanwhile, or its disk is full: tried again
                broker.stop()
                log.warning("%s", error)

    def describe(self) -> dict[str, Any]:
        """What runs where; no secrets."""
        broker = self.broker.process.pid if self.broker and self.broker.process else None
        return {
            "format": _FORMAT,
            "pid": os.getpid(),
            "bootstrap": self.bootstrap,
            "namespace": self.namespace,
            "clickhouse": self.reader.url if self.reader else None,
            "state": str(self.folder),
            "logs": str(self.logs),
            "broker": {"pid": broker, "embedded": self.broker is not None},
            "processes": {
                name: {**told, "ill": self._ailment(name, told["pid"])}
                for name, told in self.supervisor.status().items()
            },
        }

    def _ailment(self, name: str, pid: int) -> str:
        told = self._children[name].health
        return ailment(told.data, told.name, pid) if told else ""

    def check(self) -> None:
        """Raise InterruptionError when a component fails or room ends; whoever waits calls this now and then."""
        check_room(self.settings)
        check(self.supervisor.status(), self.logs)

    def stop(self) -> None:
        """Stop everything within ten seconds."""
        self._stopping.set()
        self.supervisor.stop(4)
        if self.broker is not None:
            self.broker.stop(4)
        self.registry.release()

    def __enter__(self) -> Stack:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.stop()
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
        self.stop()
        signal.signal(signal.SIGINT, before)


class Attached:
    """A stack that another process runs."""

    def __init__(self, settings: Settings, described: dict[str, Any]) -> None:
        self.settings = settings
        self.folder = settings.state_folder
        self.logs = self.folder / "logs"
        _same_version(described)
        self.bootstrap: str = described["bootstrap"]
        self.namespace = settings.namespace
        self.tables: ClickHouseConfig | None = None
        self.reader: ClickHouseConfig | None = None
        if described["namespace"] != settings.namespace:
            raise SetupError(
                f"the running stack serves the namespace {described['namespace']}, not {settings.namespace}",
                "`escape down` first, or set another state",
            )
        if described["clickhouse"]:
            port = int(described["clickhouse"].rsplit(":", 1)[1])
            self.tables, self.reader = components.tables_of(settings, port)

    def check(self) -> None:
        """Raise InterruptionError when a component fails, room ends, or the stack has ended."""
        check_room(self.settings)
        described = running(self.settings)
        if described is None:
            raise InterruptionError("the stack has ended meanwhile", f"see {self.logs / 'stack.log'}")
        _same_version(described)
        check(described["processes"], self.logs)


def _same_version(described: Mapping[str, Any]) -> None:
    """Raise InterruptionError for a stack that another version of the program started."""
    if described.get("format") != _FORMAT:
        raise InterruptionError("the running stack was started by another version", "`escape down`, then `escape up`")


def _file(settings: Settings) -> Path:
    return settings.state_folder / "stack.json"


def running(settings: Settings) -> dict[str, Any] | None:
    """Description of the stack that `escape up` left running, None when there is none."""
    try:
        described: dict[str, Any] = json.loads(_file(settings).read_text())
    except (OSError, json.JSONDecodeError):
        return None
    return described if Registry(settings.state_folder).owner() == described["pid"] else None


@contextmanager
def use_stack(settings: Settings, store: bool = True) -> Iterator[Stack | Attached]:
    """The running stack, or one of our own for as long as the block runs."""
    described = running(settings)
    if described is not None:
        yield Attached(settings, described)
        return
    with Stack(settings, store) as stack:
        yield stack


def up(settings: Settings, timeout: float = 90.0) -> dict[str, Any]:
    """Start the stack in the background; returns its description. Does nothing when it runs."""
    described = running(settings)
    if described is not None:
        _same_version(described)
        return described
    folder = prepare(settings)
    _file(settings).unlink(missing_ok=True)
    environment = {**os.environ, **settings.environment()}
    logs.bound(folder / "logs" / "stack.log")
    with open(folder / "logs" / "stack.log", "ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "infra.stack"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    limit = time.monotonic() + timeout
    while time.monotonic() < limit:
        described = running(settings)
        if described is not None:
            return described
        if child.poll() is not None:
            break
        time.sleep(0.1)
    last = (folder / "logs" / "stack.log").read_text().strip().splitlines()[-1:]
    raise SetupError(f"the stack did not start: {' '.join(last)}", f"see {folder / 'logs' / 'stack.log'}")


def down(settings: Settings, timeout: float = 15.0) -> bool:
    """Stop the stack that `escape up` started; False when none ran."""
    described = running(settings)
    if described is None:
        return False
    pid = described["pid"]
    created = psutil.Process(pid).create_time()
    os.kill(pid, signal.SIGTERM)
    limit = time.monotonic() + timeout
    while time.monotonic() < limit and alive(pid, created):
        time.sleep(0.1)
    return True


def serve() -> None:
    """Run the stack until SIGTERM."""
    settings = load_settings()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    logs.start(LogOptions("stack", prepare(settings) / "logs", "", settings.log_format, settings.log_level))
    with Stack(settings) as stack:
        path = _file(settings)
        while not stopping.is_set():
            try:
                with replacing(path, durable=False) as file:
                    file.write(json.dumps(stack.describe()).encode())
            except OSError as error:  # a full disk: the last description stands
                log.warning("%s is not up to date: %s", path, error.strerror)
            stopping.wait(1)
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        serve()
    except EscapeError as problem:
        logs.note(str(problem))
        sys.exit(f"escape: {problem}")
