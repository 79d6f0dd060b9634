"""What a measurement runs on: a broker of its own, worker processes, processor time, the machine's name."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import psutil

from economy.errors import SetupError
from infra.broker import Broker
from infra.jars import broker_classpath
from infra.java import java_home
from infra.settings import load_settings
from schemas.log import topics
from streams.settings import MatchingSettings

PATIENCE: Final = 120.0  # seconds that any one step may take
_RESTORED: Final = re.compile(r"^(\S+ \S+),(\d+) .*partition \d+: offset", re.MULTILINE)


def machine() -> dict[str, Any]:
    """Name of the machine: CPU, cores, memory, kernel, and how busy it was before."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        model = found[1] if found else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def new_namespace() -> str:
    """A prefix of topics that nobody used."""
    return f"bench{uuid.uuid4().hex[:8]}"


@contextmanager
def broker(folder: Path) -> Iterator[Broker]:
    """A broker with all its state in the folder."""
    settings = load_settings()
    home = java_home(settings.java_home, settings.cache_folder)
    with Broker(folder / "broker", home, broker_classpath(settings.cache_folder, home)) as running:
        yield running


class Worker:
    """A matching worker as a deployment runs it. Use as a context manager."""

    def __init__(
        self, bootstrap: str, namespace: str, folder: Path, partitions: int = 1, name: str = "w0",
        session_timeout: float = 3.0,
    ) -> None:  # fmt: skip
        self._log = folder / f"{namespace}-{name}.log"
        told = MatchingSettings(
            bootstrap=bootstrap, namespace=namespace, partitions=partitions, data=folder, name=f"{namespace}-{name}",
            session_timeout=session_timeout,
        )  # fmt: skip
        self._command = told.command()
        self.start()

    def start(self) -> None:
        """Start the process, also after it died."""
        with open(self._log, "ab") as sink:
            self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def check(self) -> None:
        """Raise SetupError when the worker has ended."""
        if self.process.poll() is not None:
            raise SetupError(f"the worker ended: {self._log.read_text()[-2000:]}", "see its log")

    def restored(self) -> list[float]:
        """Wall times at which partitions were restored."""
        found = _RESTORED.findall(self._log.read_text())
        return [datetime.fromisoformat(second).timestamp() + int(ms) / 1000 for second, ms in found]

    def wait_restored(self, partitions: int = 1) -> float:
        """Wait until that many partitions were restored; returns when the last one was."""
        limit = time.monotonic() + PATIENCE
        while len(times := self.restored()) < partitions:
            self.check()
            if time.monotonic() > limit:
                raise SetupError("the worker got no partition", f"see {self._log}")
            time.sleep(0.01)
        return max(times)


def cpu(processes: Sequence[subprocess.Popen[Any] | None]) -> float:
    """Seconds of user and system time that running processes have taken."""
    total = 0.0
    for process in processes:
        if process is not None and process.poll() is None:
            times = psutil.Process(process.pid).cpu_times()
            total += times.user + times.system
    return total


def make_topics(bootstrap: str, namespace: str, partitions: int = 1) -> None:
    """The topics of a namespace."""
    topics.create(bootstrap, namespace, partitions, 1)
