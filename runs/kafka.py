"""The stream carrier: Ray shards, a clock process and the Faust workers of the stack, coupled by the log alone."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from agents.actor import ShardConfig, start_actor
from economy.errors import EscapeError, InterruptionError, ProtocolError
from runs.local import RunResult
from runs.protocol import RunSpec, close_run
from runs.settings import ClockSettings
from schemas.log.clocklog import DELETED, read_clock
from schemas.log.writer import LogWriter
from telemetry.logs import bound


@dataclass(frozen=True)
class Progress:
    """Where a run stands; counts are of the slowest shard's view."""

    epoch: int
    last_epoch: int
    epoch_ticks: int
    orders: int
    trades: int
    decisions: int
    seconds: float


_CLOCK_DEATHS: Final = 10  # without a single grant in between
OnProgress = Callable[[Progress], None]


class StreamRun:
    """One run on the stream. `wait` returns its result; `abort` ends it with RunAborted on the log."""

    def __init__(
        self, bootstrap: str, namespace: str, spec: RunSpec, folder: Path, snapshot_every: int = 100, pace: int = 0
    ) -> None:
        self.bootstrap, self.namespace, self.spec = bootstrap, namespace, spec
        self._folder = folder / f"run-{spec.run}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._pace = pace
        self._shape: tuple[int, int] | None = None  # (last epoch, ticks per epoch), known once the clock has started
        self.began = time.monotonic()
        self.clock = self._start_clock()
        self.actors = [
            start_actor(
                ShardConfig(bootstrap, namespace, spec.run, shard, snapshot_every),
                str(self._folder / f"shard-{shard}.jsonl"),
            )
            for shard in range(spec.shards)
        ]

    def _start_clock(self) -> subprocess.Popen[bytes]:
        path = self._folder / "spec.json"
        path.write_text(json.dumps(asdict(self.spec)))
        told = ClockSettings(
            spec=path,
            bootstrap=self.bootstrap,
            namespace=self.namespace,
            pace=self._pace,
            follow_parent=True,
            log_folder=self._folder,
        )
        bound(self._folder / "clock.log")
        with open(self._folder / "clock.log", "ab") as log:
            return subprocess.Popen(
                told.command(), stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )

    def _close_pipe(self) -> None:
        if self.clock.stdin is not None:
            self.clock.stdin.close()

    def status(self) -> list[dict[str, Any]]:
        """Progress of the shards that answer; a restarting one is left out."""
        import ray

        found = []
        for actor in self.actors:
            try:
                found.append(ray.get(actor.status.remote(), timeout=2))
            except (ray.exceptions.RayError, TimeoutError):  # GetTimeoutError is a TimeoutError
                continue
        return found

    def wait(
        self, on_progress: OnProgress | None = None, every: float = 0.3, watch: Callable[[], None] | None = None
    ) -> RunResult:
        """Supervise until RunFinished. Raises ProtocolError when the run was aborted or its clock cannot go on.

        `watch` is called at every look and may raise: after InterruptionError the run stays open for `escape resume`,
        after any other error it is aborted with that reason.
        """
        deaths, granted = 0, -2
        while True:
            code = self.clock.poll()
            if code is not None:
                self._close_pipe()
                state = read_clock(self.bootstrap, self.namespace, self.spec.run)
                if state.aborted is not None:
                    self.stop_actors()
                    if state.started is not None:  # whoever gave it up has closed it in his own partition at most
                        writer = LogWriter(self.bootstrap, self.namespace)
                        close_run(writer, self.spec.run, self.spec.partitions, self.spec.flow_partitions)
                    raise ProtocolError(f"run {self.spec.run} was aborted: {state.aborted}", "start another run")
                if state.finished is not None:
                    break
                deaths, granted = (deaths + 1 if state.granted == granted else 1), state.granted
                if deaths > _CLOCK_DEATHS:
                    raise ProtocolError(
                        f"the clock of run {self.spec.run} ends again and again", f"see {self._folder / 'clock.log'}"
                    )
                self.clock = self._start_clock()  # it died: a successor goes on from the log
            if watch:
                try:
                    watch()
                except InterruptionError as error:
                    self.leave()
                    raise InterruptionError(
                        error.message, f"{error.remedy}, then `escape resume {self.spec.run}`"
                    ) from error
                except EscapeError as error:
                    self.abort(error.message)
                    raise
            status = self.status()
            if on_progress and len(status) == self.spec.shards:
                on_progress(self._progress(status))
            time.sleep(every)
        seconds = time.monotonic() - self.began
        status = self._finished_status()
        self.stop_actors()
        total = {key: sum(s[key] for s in status) for key in ("orders", "decisions", "flows")}
        finished = state.finished
        return RunResult(
            run=self.spec.run, digest=finished["digest"], ticks=finished["ticks"], trades=status[0]["trades"],
            seconds=seconds, **total,
        )  # fmt: skip

    def _finished_status(self) -> list[dict[str, Any]]:
        while True:
            status = self.status()
            if len(status) == self.spec.shards and all(s["finished"] for s in status):
                return status
            time.sleep(0.05)

    def _progress(self, status: list[dict[str, Any]]) -> Progress:
        if self._shape is None:
            started = read_clock(self.bootstrap, self.namespace, self.spec.run).started
            if started is not None:
                self._shape = started["last_epoch"], started["epoch_ticks"]
        last, ticks = self._shape or (0, 0)
        return Progress(
            min(s["cut"] for s in status), last, ticks, sum(s["orders"] for s in status),
            max(s["trades"] for s in status), sum(s["decisions"] for s in status), time.monotonic() - self.began,
        )  # fmt: skip

    def abort(self, reason: str) -> None:
        """Write RunAborted and RunClosed and end the run's processes."""
        self.clock.terminate()
        self.clock.wait(10)
        self._close_pipe()
        abort_run(self.bootstrap, self.namespace, self.spec.run, reason)
        self.stop_actors()

    def leave(self) -> None:
        """End the run's processes and write nothing: the log may not take anything now."""
        self.clock.kill()
        self.clock.wait()
        self._close_pipe()
        self.stop_actors()

    def stop_actors(self) -> None:
        """End the shards' processes."""
        import ray

        for actor in self.actors:
            ray.kill(actor)
        self.actors = []


def abort_run(bootstrap: str, namespace: str, run: int, reason: str) -> None:
    """Write RunAborted on the clock topic and RunClosed everywhere; does nothing to a run that has ended."""
    state = read_clock(bootstrap, namespace, run)
    if state.ended:
        return
    writer = LogWriter(bootstrap, namespace)
    record = {"run": run, "incarnation": state.incarnation, "epoch": state.granted, "reason": reason}
    writer.send_record("RunAborted", record, 0)
    writer.flush()
    if state.started is not None:
        close_run(writer, run, state.started["partitions"], state.started["flow_partitions"])


def mark_deleted(bootstrap: str, namespace: str, run: int) -> None:
    """Write that a run was deleted: it is listed no more. Its clock has ended, so nobody else writes for it."""
    state = read_clock(bootstrap, namespace, run)
    writer = LogWriter(bootstrap, namespace)
    record = {"run": run, "incarnation": state.incarnation, "epoch": state.granted, "reason": DELETED}
    writer.send_record("RunAborted", record, 0)
    writer.flush()


def control(bootstrap: str, namespace: str, run: int, pause: bool) -> None:
    """Write RunPaused or RunResumed, which the clock obeys. Raises ProtocolError when the run is not going on."""
    state = read_clock(bootstrap, namespace, run)
    if state.started is None or state.ended:
        raise ProtocolError(f"run {run} is not going on", "`escape runs list` shows the runs")
    writer = LogWriter(bootstrap, namespace)
    name = "RunPaused" if pause else "RunResumed"
    writer.send_rows(name, np.array([[run, state.incarnation]], np.int64), 0)
    writer.flush()
