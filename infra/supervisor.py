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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from economy.errors import SetupError

log = logging.getLogger("escape.supervisor")
_RESTART_PAUSE = 0.2  # seconds between looks at the children
_GIVE_UP_AFTER = 20  # restarts of one child within a minute


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
        draft = self._path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        draft.write_text(json.dumps(state))
        draft.replace(self._path)


class Supervisor:
    """Starts children and keeps them running until `stop`."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self._folder = folder
        self._registry = registry
        self._wanted: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._restarts: dict[str, list[float]] = {}
        self._stopping = threading.Event()
        self._lock = threading.RLock()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="supervisor")

    def spawn(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        """Start a child that shall keep running; its output goes to <name>.log."""
        with self._lock:
            self._wanted[name] = (list(command), environment or {})
            self._start(name)
            if not self._thread.is_alive():
                self._thread.start()

    def _start(self, name: str) -> None:
        command, environment = self._wanted[name]
        with open(self._folder / f"{name}.log", "ab") as output:
            child = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the command line, which then stops things in order
            )
        self._running[name] = child
        self._registry.add(name, child.pid)

    def _watch(self) -> None:
        while not self._stopping.wait(_RESTART_PAUSE):
            with self._lock:
                for name, child in list(self._running.items()):
                    if child.poll() is None:
                        continue
                    recent = [t for t in self._restarts.get(name, []) if time.monotonic() - t < 60]
                    self._restarts[name] = [*recent, time.monotonic()]
                    if len(recent) < _GIVE_UP_AFTER:
                        self._start(name)

    def status(self) -> dict[str, dict[str, Any]]:
        """Per child: pid, whether it runs, how often it was restarted."""
        with self._lock:
            return {
                name: {
                    "pid": child.pid,
                    "running": child.poll() is None,
                    "restarts": len(self._restarts.get(name, [])),
                }
                for name, child in self._running.items()
            }

    def stop(self, timeout: float = 6.0) -> None:
        """End all children together."""
        self._stopping.set()
        with self._lock:
            for child in self._running.values():
                if child.poll() is None:
                    child.send_signal(signal.SIGTERM)
            limit = time.monotonic() + timeout
            for child in self._running.values():
                try:
                    child.wait(max(0.1, limit - time.monotonic()))
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
            for name, child in self._running.items():
                log.info("%s (pid %d) has ended with %s", name, child.pid, child.returncode)
            self._running.clear()
