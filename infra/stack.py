"""The stack of components that a command needs: embedded unless the settings name an address. One per state folder.

`escape up` leaves it running in a process of its own (`python -m infra.stack`); other commands use that one when it
runs, else they start their own and stop it when they end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from economy.errors import SetupError
from infra.broker import Broker, port_taken
from infra.jars import broker_classpath
from infra.java import java_home
from infra.settings import Settings, load_settings
from infra.supervisor import Registry, Supervisor
from schemas.log import topics

_WATCH_SECONDS = 0.5


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


class Stack:
    """The components that this process started. Use as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = prepare(settings)
        self.logs = self.folder / "logs"
        self.registry = Registry(self.folder)
        self.supervisor = Supervisor(self.logs, self.registry)
        self.broker: Broker | None = None
        self.bootstrap = settings.bootstrap
        self.namespace = settings.namespace
        self._stopping = threading.Event()

    def start(self) -> Stack:
        """Start broker and matching worker, and wait until the broker answers."""
        self.registry.claim()
        try:
            if not self.bootstrap:
                self._start_broker()
            topics.create(self.bootstrap, self.namespace, self.settings.partitions, self.settings.flow_partitions)
            self.supervisor.spawn("matching", self._worker())
        except BaseException:
            self.stop()
            raise
        return self

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
        ).start()
        assert self.broker.process is not None
        self.registry.add("broker", self.broker.process.pid)
        self.bootstrap = self.broker.bootstrap
        threading.Thread(target=self._watch_broker, daemon=True, name="broker-watch").start()

    def _watch_broker(self) -> None:
        """Start the broker again when it dies; clients go on by themselves."""
        while not self._stopping.wait(_WATCH_SECONDS):
            broker = self.broker
            if broker is None or broker.process is None or broker.process.poll() is None:
                continue
            broker.start()
            self.registry.add("broker", broker.process.pid)

    def _worker(self) -> list[str]:
        return [
            sys.executable, "-m", "streams.worker", "matching", "--bootstrap", self.bootstrap,
            "--namespace", self.namespace, "--partitions", str(self.settings.partitions),
            "--data", str(self.folder / "faust"),
        ]  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """What runs where."""
        return {
            "pid": os.getpid(),
            "bootstrap": self.bootstrap,
            "namespace": self.namespace,
            "state": str(self.folder),
            "logs": str(self.logs),
            "broker": "embedded" if self.broker else "external",
            "processes": self.supervisor.status(),
        }

    def stop(self) -> None:
        """Stop everything within ten seconds."""
        self._stopping.set()
        self.supervisor.stop(4)
        if self.broker is not None:
            self.broker.stop(5)
        self.registry.release()

    def __enter__(self) -> Stack:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class Attached:
    """A stack that another process runs."""

    def __init__(self, settings: Settings, described: dict[str, Any]) -> None:
        self.settings = settings
        self.folder = settings.state_folder
        self.logs = self.folder / "logs"
        self.bootstrap: str = described["bootstrap"]
        self.namespace: str = described["namespace"]


def _file(settings: Settings) -> Path:
    return settings.state_folder / "stack.json"


def running(settings: Settings) -> dict[str, Any] | None:
    """Description of the stack that `escape up` left running, None when there is none."""
    try:
        described: dict[str, Any] = json.loads(_file(settings).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    alive = Registry(settings.state_folder).owner() == described["pid"]
    port = int(described["bootstrap"].rsplit(":", 1)[1])
    return described if alive and port_taken(port) else None


@contextmanager
def use_stack(settings: Settings) -> Iterator[Stack | Attached]:
    """The running stack, or one of our own for as long as the block runs."""
    described = running(settings)
    if described is not None:
        yield Attached(settings, described)
        return
    with Stack(settings) as stack:
        yield stack


def up(settings: Settings, timeout: float = 90.0) -> dict[str, Any]:
    """Start the stack in the background; returns its description. Does nothing when it runs."""
    described = running(settings)
    if described is not None:
        return described
    folder = prepare(settings)
    _file(settings).unlink(missing_ok=True)
    chosen = {name: str(value) for name, value in settings.model_dump().items()}
    environment = {**os.environ, **{f"ESCAPE_{name.upper()}": value for name, value in chosen.items()}}
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
    os.kill(described["pid"], signal.SIGTERM)
    limit = time.monotonic() + timeout
    while time.monotonic() < limit and Registry(settings.state_folder).owner() is not None:
        time.sleep(0.1)
    return True


def serve() -> None:
    """Run the stack until SIGTERM."""
    settings = load_settings()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with Stack(settings) as stack:
        path = _file(settings)
        while not stopping.is_set():
            path.write_text(json.dumps(stack.describe()))
            stopping.wait(2)
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        serve()
    except SetupError as problem:
        sys.exit(f"escape: {problem}")
