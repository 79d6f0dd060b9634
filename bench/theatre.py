"""A village on the whole stack as a user starts it, whose components are killed with -9 and come back by themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import psutil
from confluent_kafka import KafkaException

from bench import outside
from bench.outside import ESCAPE, PATIENCE, StageError, alive, answer, environment
from economy.errors import EscapeError
from infra.settings import load_settings
from infra.stack import Attached, running
from infra.supervisor import alive as same_process
from runs.settings import CREDIT
from schemas.log.clocklog import read_clock
from schemas.log.writer import LogWriter

CHILDREN: Final = ("broker", "clickhouse", "matching", "projection", "sink")  # of the stack's own supervisor
RAY: Final = {
    "raylet": "raylet/raylet",
    "gcs": "gcs_server",
    "ray agent": "ray::RuntimeEnvAgent",
    "ray driver": "agents.host",
}
COMPONENTS: Final = ("shard", "clock", "api", "api worker", "spark", *RAY, *CHILDREN)
_MANY: Final = {"shard": 2, "api worker": os.cpu_count() or 1}  # processes of a component
_BACK_SECONDS: Final = 2 * PATIENCE
until = partial(outside.until, seconds=_BACK_SECONDS)


class Theatre:
    """`escape up`, `escape serve`, a paced `escape run village` and a Spark job over it. Use as a context manager."""

    def __init__(
        self, folder: Path, scenario: dict[str, str], seed: int, state: Path | None = None, pace: int = 1,
        **settings: str,
    ) -> None:  # fmt: skip
        self.pace = pace
        self.folder, self.scenario, self.seed = folder, scenario, seed
        self.state = state or folder / "state"
        self.where = {"state": str(self.state), "partitions": "2", "flow_partitions": "2", "shards": "2"} | settings
        self.killed: Counter[str] = Counter()
        self.seconds: dict[str, list[float]] = {}
        self._commands: dict[str, subprocess.Popen[bytes]] = {}
        self._seen: dict[int, float] = {}  # pid -> start time: numbers are given again

    def __enter__(self) -> Theatre:
        answer("up", "--json", **self.where)
        try:
            chosen = [f"--set={key}={value}" for key, value in self.scenario.items()]
            self._start("run", "run", "village", "--seed", str(self.seed), "--pace", str(self.pace), "--json", *chosen)
            self._start("serve", "serve")
            self.run = self._run_id()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._commands.values():
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self._commands.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        try:
            answer("down", "--json", **self.where)
        finally:
            left = [found for pid, began in self._seen.items() if (found := same_process(pid, began))]
            for process in self._commands.values():
                process.kill()  # does nothing to one that has ended
                process.wait()
        if left:
            raise StageError(f"left behind: {left}")

    # ---- processes
    def _start(self, name: str, *arguments: str) -> None:
        with open(self.folder / f"{name}.out", "wb") as out, open(self.folder / f"{name}.err", "ab") as err:
            self._commands[name] = subprocess.Popen(
                [ESCAPE, *arguments], env=environment(**self.where), stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    def start_again(self) -> None:
        """What a user does when the stack, or the command itself, was killed."""
        stopped = running(load_settings(state=self.state)) is None
        answer("up", "--json", **self.where)
        self._start("run", "resume", str(self.run), "--json")
        if stopped:
            self._commands["serve"].send_signal(signal.SIGINT)
            self._commands["serve"].wait(_BACK_SECONDS)
            self._start("serve", "serve")

    @property
    def url(self) -> str:
        """Where GraphQL is served."""
        told: str = json.loads(until(lambda: self.said("serve", "out").split("\n")[0], self.trouble))["url"]
        return told

    def said(self, name: str, stream: str) -> str:
        return (self.folder / f"{name}.{stream}").read_text()

    def trouble(self) -> str:
        """Why the run or the server has ended, if one has."""
        for name in ("run", "serve"):
            process = self._commands.get(name)
            if process is not None and process.poll() not in (None, 0):
                return f"`escape {name}` ended with {process.returncode}: {self.said(name, 'err')}"
        return ""

    def _run_id(self) -> int:
        folder = until(lambda: next((self.state / "logs").glob("run-*"), None), self.trouble)
        run = int(folder.name.removeprefix("run-"))
        until(lambda: read_clock(self.stack.bootstrap, self.stack.namespace, run).granted >= 0, self.trouble)
        return run

    @property
    def stack(self) -> Attached:
        settings = load_settings(state=self.state, partitions=2, flow_partitions=2)
        return Attached(settings, until(lambda: running(settings)))

    def pids(self, component: str) -> list[int]:
        """Processes of a component that are there now."""
        found = [pid for pid in self._pids(component) if alive(pid)]
        for pid in found:
            with suppress(psutil.NoSuchProcess):
                self._seen[pid] = psutil.Process(pid).create_time()
        return found

    def _pids(self, component: str) -> list[int]:
        if component in ("supervisor", *CHILDREN):
            told = running(load_settings(state=self.state)) or {"pid": 0, "processes": {}, "broker": {"pid": 0}}
            if component == "supervisor":
                return [told["pid"]] if told["pid"] else []
            one = told["broker"] if component == "broker" else told["processes"].get(component, {"pid": 0})
            return [one["pid"]] if one["pid"] else []
        if component == "command":
            return [self._commands["run"].pid]
        owner, words = {
            "shard": ("run", "ShardActor"), "clock": ("run", "runs.clock"), "api": ("serve", "queries.server"),
            "api worker": ("serve", "queries.workers"), "spark": ("job", "SparkSubmit"),
            **{name: ("run", found) for name, found in RAY.items()},
        }[component]  # fmt: skip
        command = self._commands.get(owner)
        return [p.pid for p in descendants(command.pid) if words in words_of(p)] if command else []

    # ---- killing
    def kill(self, *components: str, pick: Callable[[Sequence[int]], int]) -> None:
        """Kill one process of each at once; returns when all of them are back."""
        if "spark" in components:
            self._let_spark_run(pick(range(12)))
        before = {
            component: self.pids(component) or until(lambda c=component: self.pids(c), self.trouble)  # type: ignore[misc]
            for component in components
        }
        if self.finished:
            raise StageError("the run was over before all had been killed")
        began = time.monotonic()
        for component, pids in before.items():
            victim = pick(pids)
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            self.killed[component] += 1
            before[component] = [victim]
        for component, (victim,) in before.items():
            if component == "spark":  # nobody but the user starts a job again
                self._commands["job"].wait(_BACK_SECONDS)
                self.seconds.setdefault(component, []).append(time.monotonic() - began)
                continue
            wanted = _MANY.get(component, 1)
            until(lambda c=component, v=victim, w=wanted: len(set(self.pids(c)) - {v}) >= w, self.trouble)  # type: ignore[misc]
            if component.startswith("api"):
                self.ask("{ __typename }")
            self.seconds.setdefault(component, []).append(time.monotonic() - began)

    def _let_spark_run(self, seconds: int) -> None:
        """Have a job under way since so many seconds, wherever it is then: it starts, reads, computes or writes."""
        self._start("job", "job", "gdp", "--run", str(self.run), "--incremental", "--json")
        until(lambda: self.pids("spark"), self.trouble)
        time.sleep(seconds)
        if not self.pids("spark"):  # it was done sooner
            self._commands["job"].wait(_BACK_SECONDS)
            self._let_spark_run(seconds // 2)

    def recover(self) -> None:
        """Wait until more epochs are granted than the clock may grant by itself: all have gone on."""
        enough = until(lambda: self._granted() + 1, self.trouble) + CREDIT
        until(lambda: self.finished or self._granted() >= enough, self.trouble)

    def _granted(self) -> int:
        try:
            return read_clock(self.stack.bootstrap, self.stack.namespace, self.run).granted
        except (EscapeError, KafkaException):  # the broker is not ready yet
            return -1

    # ---- what comes of it
    @property
    def finished(self) -> bool:
        return self._commands["run"].poll() is not None

    def hurry(self) -> None:
        """Let the run go on as fast as it can."""
        set_pace(self.stack.bootstrap, self.stack.namespace, self.run, 0)

    def exit_code(self) -> int:
        """Of the command `escape run`, once it has ended."""
        return self._commands["run"].wait(_BACK_SECONDS)

    def result(self) -> dict[str, Any]:
        """What `escape run` prints when it has ended, which is when everything is in ClickHouse too."""
        if self._commands["run"].wait(2 * _BACK_SECONDS):
            raise StageError(self.trouble())
        told: dict[str, Any] = json.loads(self.said("run", "out"))
        return told

    def ask(self, query: str) -> Any:
        """GraphQL's answer; a connection on which the server was killed is tried again, as browsers do."""

        def posted() -> Any:
            try:
                return httpx.post(f"{self.url}/graphql", json={"query": query}, timeout=_BACK_SECONDS).json()
            except (httpx.TransportError, ValueError):
                return None

        return until(posted, self.trouble)


def set_pace(bootstrap: str, namespace: str, run: int, pace: int) -> None:
    """Let a run go on at this speed against real time; 0 is as fast as it can."""
    clock = read_clock(bootstrap, namespace, run)
    writer = LogWriter(bootstrap, namespace)
    writer.send_rows("PaceChanged", np.array([[run, clock.incarnation, pace]], np.int64), 0)
    writer.flush()


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def words_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def chosen(dice: Any, singles: int, pairs: int) -> Iterator[tuple[str, ...]]:
    """Components to kill, one at a time and in pairs, each about as often as the others."""
    bag: list[str] = []
    for count in [1] * singles + [2] * pairs:
        if len(bag) < count:
            rest = [name for name in COMPONENTS if name not in bag]
            dice.shuffle(rest)
            bag += rest
        yield tuple(bag[:count])
        del bag[:count]
