"""Ray as a part that may die: its driver in a process of its own, watched, ended and started again from here."""

from __future__ import annotations

import itertools
import json
import logging
import os
import queue
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import psutil

from agents.cluster import VITAL, ended, ray_folder
from agents.loop import ShardConfig
from economy.errors import InterruptionError, SetupError
from telemetry.logs import bound

log = logging.getLogger("escape.ray")
_DRIVER: Final = ("-m", "agents.host")  # of shards
_START_SECONDS: Final = 150.0  # of Ray's two attempts at its node
_ANSWER_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 0.2


class RayLostError(InterruptionError):
    """A process without which Ray does nothing has ended, or Ray does not answer."""


class RayHost:
    """The process that drives Ray, and Ray's node where it is ours. Use as a context manager; threads may share it."""

    def __init__(self, address: str, logs: Path, cpus: int = 2, driver: Sequence[str] = ()) -> None:
        """Start Ray on loopback, or join the cluster at `address`; output goes to ray.log. Raises SetupError.

        `driver` are the arguments of Python for another driver than that of shards.
        """
        self._address, self._cpus, self._log = address, cpus, logs / "ray.log"
        self._driver = driver or _DRIVER
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self.generation = 0  # rises with every start that succeeds
        try:
            self._start()
        except RayLostError as error:
            raise SetupError(f"Ray did not start: {error.message}", error.remedy) from error

    def __enter__(self) -> RayHost:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # ---- its life
    def _start(self) -> None:
        self._lost = ""
        self._processes: dict[int, psutil.Process] = {}  # all that Ray has started, as far as it is known
        self._vital: list[tuple[str, psutil.Process]] = []
        self._folder: tempfile.TemporaryDirectory[str] = ray_folder()
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        bound(self._log)
        with open(self._log, "ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *self._driver],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the command line, which then stops things in order
            )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        threading.Thread(target=self._listen, args=(self._process, self._answers), daemon=True).start()
        chosen = {"address": self._address, "folder": self._folder.name, "cpus": self._cpus}
        try:
            self.ask(chosen, _START_SECONDS)
            if not self._address and {name for name, _ in self._vital} != set(VITAL):
                raise SetupError("Ray's processes have changed their names", "install the locked version of ray")
        except BaseException:
            self._end()
            raise
        self.generation += 1

    def _know(self, processes: Sequence[tuple[int, float, str]]) -> None:
        """Note processes of Ray, so that they can be ended when nobody is above them any more."""
        for pid, began, name in processes:
            if pid in self._processes:
                continue
            try:
                process = psutil.Process(pid)
                same = process.create_time() == began
            except psutil.NoSuchProcess:
                continue
            if same:
                self._processes[pid] = process
                self._vital += [(name, process)] if name in VITAL else []

    @staticmethod
    def _listen(process: subprocess.Popen[bytes], answers: queue.SimpleQueue[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                answers.put(line)
        answers.put(b"")

    def restart(self, generation: int) -> None:
        """End what is left of Ray and start it anew, unless that was done since `generation`.

        Raises SetupError when it cannot start, RayLostError when something of it ended while it did: try again.
        """
        with self._lock:
            if self.generation == generation:
                self._end()
                self._start()

    def stop(self) -> None:
        """End Ray, or leave the cluster."""
        with self._lock:
            assert self._process.stdin is not None
            try:
                if not self._lost:
                    self.ask({"task": "family"})
                    self._process.stdin.close()
                    self._process.wait(_STOP_SECONDS)
            except (InterruptionError, OSError, subprocess.TimeoutExpired):
                log.warning("Ray did not end by itself; see %s", self._log)
            self._end()

    def _end(self) -> None:
        """End every process that is left, by its own pid."""
        self._lost = self._lost or "it was stopped"
        for process in [*self._below(), *self._processes.values()]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.kill()
        self._process.wait()
        psutil.wait_procs(list(self._processes.values()), _STOP_SECONDS)
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._folder.cleanup()

    def _below(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    # ---- talking
    def ask(self, asked: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        """What the driver answers. Raises RayLostError, SetupError for what it refuses."""
        patience = _ANSWER_SECONDS if patience is None else patience
        with self._lock:
            self._look()
            number, limit = next(self._numbers), time.monotonic() + patience
            self._tell(json.dumps({"n": number, **asked}).encode() + b"\n", limit)
            answer: dict[str, Any] = {}
            while answer.get("n") != number:  # what was asked before Ctrl-C came is answered as well
                answer = json.loads(self._awaited(limit))
            self._know(answer.get("processes", ()))
        if "error" in answer:
            raise SetupError(answer["error"], answer["remedy"])
        return answer

    def _tell(self, line: bytes, limit: float) -> None:
        """Write to the driver, which may hang and read nothing."""
        assert self._process.stdin is not None
        pipe, poller = self._process.stdin.fileno(), select.poll()
        poller.register(pipe, select.POLLOUT)
        while line:
            if not poller.poll(1000 * _LOOK_SECONDS):
                self._look()
                if time.monotonic() > limit:
                    raise self._losing("it takes no orders")
                continue
            try:
                line = line[os.write(pipe, line[: select.PIPE_BUF]) :]  # as much as never blocks
            except BrokenPipeError:
                raise self._losing(self._last_words()) from None

    def _awaited(self, limit: float) -> bytes:
        while True:
            try:
                line = self._answers.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                self._look()
                if time.monotonic() > limit:
                    raise self._losing("it does not answer") from None
                continue
            if not line:
                raise self._losing(self._last_words())
            return line

    def _look(self) -> None:
        """Raise RayLostError when something has ended without which Ray does nothing."""
        if self._lost:
            raise self._losing(self._lost)
        if self._process.poll() is not None:
            raise self._losing(self._last_words())
        for name, process in self._vital:
            if ended(process):
                raise self._losing(f"its {name} ended")

    def give_up(self, why: str) -> RayLostError:
        """Ray does not do what it should: nothing is asked of it any more before `restart`. Returns what to raise."""
        with self._lock:
            return self._losing(why)

    def _losing(self, why: str) -> RayLostError:
        self._lost = why
        return RayLostError(f"Ray is lost: {why}", f"see {self._log}")

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines()[-20:] if line.strip()]
        try:
            how = f"ended with {self._process.wait(_STOP_SECONDS)}"
        except subprocess.TimeoutExpired:  # it aborts, and hangs in that
            how = "says nothing any more"
        return f"its driver {how} ({lines[-1][:200] if lines else 'no word'})"

    # ---- shards
    def start_shards(self, shards: Sequence[tuple[ShardConfig, Path]]) -> None:
        """Start the shards of a run, each with its log. Raises RayLostError."""
        told = [(asdict(config), os.fspath(path)) for config, path in shards]
        self.ask({"task": "start", "run": shards[0][0].run, "shards": told})

    def status(self, run: int) -> list[dict[str, Any]]:
        """Progress of the shards that answer; one that is being started again is left out. Raises RayLostError."""
        with self._lock:
            found: list[dict[str, Any]] = self.ask({"task": "status", "run": run})["shards"]
            if self._vital and not {one["pid"] for one in found} <= self._processes.keys():
                self.ask({"task": "family"})
        return found

    def stop_shards(self, run: int) -> None:
        """End the processes of a run's shards; does nothing when Ray is lost, as they are ended with it."""
        try:
            self.ask({"task": "stop", "run": run})
        except RayLostError as error:
            log.info("the shards of run %d were not told to stop: %s", run, error)
