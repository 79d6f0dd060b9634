"""Child processes: started with a log each, restarted when they die, never left behind.

Every child is recorded in a file with its start time. When a command line was killed with -9, the next start finds the
record, sees that the owner is gone, and ends what is left; a pid that now belongs to another process is not touched.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from economy.errors import InterruptionError, SetupError
from schemas.files import replacing
from telemetry.logs import bound

log = logging.getLogger("escape.supervisor")
_LOOK_SECONDS = 0.1  # between looks at the children
_GIVE_UP_AFTER = 8  # failures of one child in a row; one that is killed from outside is started again at once
_SETTLED_SECONDS = 60.0  # of life after which a child has not failed at its start
_LONGEST_PAUSE = 2.0  # seconds before a child that failed is started again, from 0.1 doubling up to this
_GIVEN_UP_PAUSE = 15.0  # seconds between the starts of one that was given up: who mends the cause need do nothing else
_LAST_BYTES, _LAST_WIDTH = 4096, 200
_BOUND_SECONDS = 10.0  # between looks at the size of what the children write
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)


def alive(pid: int, created: float) -> psutil.Process | None:
    """The process of that pid that started then; None when it has ended, even if the pid is another's now."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < 1 and process.status() != psutil.STATUS_ZOMBIE
        return process if same else None
    except psutil.NoSuchProcess:
        return None


def descendants() -> list[int]:
    """Pids of all processes below this one."""
    return [process.pid for process in psutil.Process().children(recursive=True)]


def end_processes(processes: Sequence[psutil.Process], timeout: float = 6.0) -> None:
    """SIGTERM with all their descendants, after `timeout` seconds SIGKILL."""
    everybody: dict[int, psutil.Process] = {}
    for process in processes:
        try:
            everybody |= {p.pid: p for p in [process, *process.children(recursive=True)]}
        except psutil.NoSuchProcess:
            continue
    for process in processes:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, left = psutil.wait_procs(list(everybody.values()), timeout)
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, 3)


class Registry:
    """The record of children of one state folder. Only one living owner at a time: it holds a lock on a file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "processes.json"
        self._guard = folder / "owner.lock"
        self._held: int | None = None
        self._lock = threading.Lock()

    def _read(self) -> dict[str, Any]:
        try:
            loaded: dict[str, Any] = json.loads(self._path.read_text())
        except (OSError, json.JSONDecodeError):
            return {"owner": None, "children": []}
        return loaded

    def owner(self) -> int | None:
        """Pid of the living process that owns the state folder, if any."""
        owner = self._read()["owner"]
        return owner[0] if owner and alive(*owner) else None

    def claim(self) -> list[str]:
        """Become the owner and end what a dead one left; returns the names of what was ended."""
        held = os.open(self._guard, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        state = self._read()
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(held)
            owner = f"process {state['owner'][0]}" if state["owner"] else "another process"
            raise SetupError(
                f"{owner} uses this state folder", "wait for it, `escape down`, or set another state"
            ) from error
        self._held = held
        orphans = [(name, p) for name, pid, created in state["children"] if (p := alive(pid, created))]
        end_processes([process for _, process in orphans])
        self._write({"owner": [os.getpid(), psutil.Process().create_time()], "children": []})
        return [name for name, _ in orphans]

    def add(self, name: str, pid: int) -> None:
        """Record a child."""
        self.add_all([(name, pid)])

    def add_all(self, children: Sequence[tuple[str, int]]) -> None:
        """Record processes that the next owner shall end, should this one be killed; known ones are not repeated."""
        new = []
        for name, pid in children:
            with suppress(psutil.NoSuchProcess):  # it died at once; whoever started it sees that
                new.append([name, pid, psutil.Process(pid).create_time()])
        with self._lock, open(self._path.with_suffix(".lock"), "wb") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)  # a command that uses a running stack records its processes as well
            state = self._read()
            kept = [c for c in state["children"] if alive(c[1], c[2])]
            known = {c[1] for c in kept}
            self._write({**state, "children": kept + [c for c in new if c[1] not in known]})

    def release(self) -> None:
        """Give the folder back."""
        if self._held is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._held)
            self._held = None

    def _write(self, state: dict[str, Any]) -> None:
        with replacing(self._path, durable=False) as file:
            file.write(json.dumps(state).encode())


@dataclass
class _Child:
    """A process that shall keep running."""

    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)
    restarts: int = 0
    failures: int = 0  # in a row
    restart_at: float | None = None
    failed: str = ""  # why nobody should wait for it
    descriptors: tuple[int, ...] = ()  # that it inherits


class Supervisor:
    """Starts children and keeps them running until `stop`.

    One that fails again and again is reported as failed, so that nobody waits for it, and tried now and then.
    """

    def __init__(self, folder: Path, registry: Registry) -> None:
        self._folder = folder
        self._registry = registry
        self._children: dict[str, _Child] = {}
        self._stopping = threading.Event()
        self._bounded = time.monotonic()
        self._lock = threading.RLock()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="supervisor")

    def spawn(
        self,
        name: str,
        command: Sequence[str],
        environment: dict[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Start a child that shall keep running; what it writes goes to <name>.log, bounded.

        It inherits the `descriptors`.
        """
        with self._lock:
            process = self._start(name, list(command), environment or {}, descriptors)
            self._children[name] = _Child(list(command), environment or {}, process, descriptors=tuple(descriptors))
            if not self._thread.is_alive():
                self._thread.start()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _start(
        self, name: str, command: list[str], environment: dict[str, str], descriptors: Sequence[int]
    ) -> subprocess.Popen[bytes]:
        bound(self._log(name))
        with open(self._log(name), "ab") as output:
            process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the command line, which then stops things in order
                pass_fds=descriptors,
            )
        try:
            self._registry.add(name, process.pid)
        except OSError:  # a full disk: one that nobody would end later must not run
            process.kill()
            process.wait()
            raise
        return process

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            with self._lock:
                self._bound()
                for name, child in self._children.items():
                    if child.process.poll() is not None:
                        self._try_to_revive(name, child)
                    elif child.failed and time.monotonic() - child.began > _GIVEN_UP_PAUSE:
                        child.failed = ""

    def _bound(self) -> None:
        """Keep what the children write past their logs from filling the disk."""
        if time.monotonic() - self._bounded > _BOUND_SECONDS:
            self._bounded = time.monotonic()
            for name in self._children:
                bound(self._log(name))

    def _try_to_revive(self, name: str, child: _Child) -> None:
        try:
            self._revive(name, child)
        except OSError as error:  # no room for the record of children, or no memory: tried again
            child.restart_at = time.monotonic() + _LONGEST_PAUSE
            log.error("%s cannot be started: %s", name, error)

    def _revive(self, name: str, child: _Child) -> None:
        """Start a dead child again, at once when it was killed, after a growing pause when it failed by itself."""
        now, code = time.monotonic(), child.process.returncode
        if child.restart_at is None:
            child.restart_at = now
            if code not in _KILLED:
                child.failures = 1 if now - child.began > _SETTLED_SECONDS else child.failures + 1
                child.restart_at = now + min(_LONGEST_PAUSE, 0.1 * 2**child.failures)
                if child.failures >= _GIVE_UP_AFTER:
                    child.restart_at = now + _GIVEN_UP_PAUSE
                    child.failed = (
                        f"{name} failed {child.failures} times in a row, the last time with exit code {code}"
                        f" ({self._last_words(name)})"
                    )
                    log.error("%s; see %s", child.failed, self._log(name))
        if now >= child.restart_at:
            child.process = self._start(name, child.command, child.environment, child.descriptors)
            child.began, child.restart_at = time.monotonic(), None
            child.restarts += 1

    def _last_words(self, name: str) -> str:
        """The last line that a child wrote, which of a traceback is the error."""
        with open(self._log(name), "rb") as written:
            written.seek(max(0, written.seek(0, os.SEEK_END) - _LAST_BYTES))
            lines = written.read().decode(errors="replace").split("\n")
        return next((line.strip()[:_LAST_WIDTH] for line in reversed(lines) if line.strip()), "it wrote nothing")

    def status(self) -> dict[str, dict[str, Any]]:
        """Per child: pid, whether it runs, how often it was restarted, why nobody should wait for it."""
        with self._lock:
            return {
                name: {
                    "pid": child.process.pid,
                    "running": child.process.poll() is None,
                    "restarts": child.restarts,
                    "failed": child.failed,
                }
                for name, child in self._children.items()
            }

    def stop(self, timeout: float = 6.0) -> None:
        """End all children together."""
        self._stopping.set()
        with self._lock:
            processes = {name: child.process for name, child in self._children.items()}
            for process in processes.values():
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
            limit = time.monotonic() + timeout
            for process in processes.values():
                try:
                    process.wait(max(0.1, limit - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            for name, process in processes.items():
                log.info("%s (pid %d) has ended with %s", name, process.pid, process.returncode)
            self._children.clear()


def check(status: Mapping[str, Mapping[str, Any]], logs: Path) -> None:
    """Raise InterruptionError for a child that fails again and again. `status`: Supervisor.status."""
    for name, child in status.items():
        if child["failed"]:
            raise InterruptionError(child["failed"], f"see the end of {logs / name}.log")
