"""The stream carrier: Ray shards, a clock process and the Faust workers of the stack, coupled by the log alone."""

from __future__ import annotations

import json
import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray

from agents.loop import ShardConfig
from agents.registry import OWN_MODELS, Models
from agents.snapshot import COUNTS, counts_on_log
from economy.errors import EscapeError, InterruptionError, ProtocolError, SetupError
from runs.control import INTERRUPTED, abort_run
from runs.local import RunResult
from runs.protocol import RunSpec, close_run
from runs.rayhost import RayHost, RayLostError
from runs.settings import ClockSettings
from runs.stillness import Movement
from schemas.log.clocklog import ClockLog, read_clock
from schemas.log.writer import LogWriter
from telemetry.logs import LogOptions, bound

log = logging.getLogger("escape.run")


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


_LOGGED: Final = LogOptions("run")
_CLOCK_DEATHS: Final = 10  # without a single grant in between
_RAY_DEATHS: Final = 5  # without a single cut in between
_ABSENT_SECONDS: Final = 120.0  # without a word of a shard that Ray should have started again
_STILL_SECONDS: Final = 300.0  # without movement, while shards give up and start again every 120 s
_BUSY_SECONDS: Final = 10.0  # of processor time in as many: a clock that reads the log, and not one that waits
OnProgress = Callable[[Progress], None]
Status = dict[str, Any]


class LeftOpenError(InterruptionError):
    """A run was left open on the log, and its processes have ended; the remedy names the command that goes on."""


class StreamRun:
    """One run on the stream. `wait` returns its result; `abort` ends it with RunAborted on the log."""

    def __init__(
        self, bootstrap: str, namespace: str, spec: RunSpec, folder: Path, host: RayHost, snapshot_every: int = 100,
        pace: int = 0, tell: Callable[[str], None] = log.warning, models: Models = OWN_MODELS, compress: bool = False,
        logged: LogOptions = _LOGGED,
    ) -> None:  # fmt: skip
        """`tell` is given the line of what was mended, for whoever watches; `logged` has the level of clock and shards.

        Raises InputError for a model that is not among those that may be made.
        """
        models.check(spec.model)
        self.bootstrap, self.namespace, self.spec, self.host = bootstrap, namespace, spec, host
        self._folder = folder / f"run-{spec.run}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._pace, self._tell, self._models = pace, tell, models
        self._snapshot_every, self._compress, self._logged = snapshot_every, compress, logged
        self._began = int(time.time())
        self._shape: tuple[int, int] | None = None  # (last epoch, ticks per epoch), known once the clock has started
        self._clock_deaths, self._granted = 0, -2
        self._ray_deaths, self._generation = 0, 0
        self._closed: dict[str, Any] | None = None  # RunFinished
        self._ended = False  # by this process, so that nothing of it is started again
        self._clock_spent = 0.0  # processor seconds, at the last look
        self.began = self._whole = time.monotonic()  # whole: every shard has answered
        self._movement = Movement(self.began)
        self.clock = self._start_clock()
        with self._open_for_another():
            try:
                self._begin()
            except KeyboardInterrupt:
                self.abort(INTERRUPTED)
                raise

    # ---- the run's processes
    def _start_clock(self) -> subprocess.Popen[bytes]:
        path = self._folder / "spec.json"
        path.write_text(json.dumps(asdict(self.spec)))
        told = ClockSettings(
            spec=path,
            bootstrap=self.bootstrap,
            namespace=self.namespace,
            pace=self._pace,
            follow_parent=True,
            models=self._models.trusted,
            log_folder=self._folder,
            log_format=self._logged.format,
            log_level=self._logged.level,
        )
        bound(self._folder / "clock.log")
        self._clock_spent = 0.0
        with open(self._folder / "clock.log", "ab") as out:
            return subprocess.Popen(
                told.command(), stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
            )

    def _end_clock(self) -> None:
        """End the clock, however deaf it is."""
        self.clock.terminate()
        try:
            self.clock.wait(10)
        except subprocess.TimeoutExpired:
            self.clock.kill()
            self.clock.wait()
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self.clock.stdin is not None:
            self.clock.stdin.close()

    def _begin(self) -> None:
        try:
            self._start_shards()
        except RayLostError as error:
            self._renew_ray(error)

    def _start_shards(self) -> None:
        self._generation = self.host.generation
        self._whole = time.monotonic()
        self._movement.renew(self._whole)
        self.host.start_shards(
            [
                (
                    ShardConfig(
                        self.bootstrap,
                        self.namespace,
                        self.spec.run,
                        shard,
                        self._snapshot_every,
                        trusted=self._models.trusted,
                        compress=self._compress,
                        log_level=self._logged.level,
                        began=self._began,
                    ),
                    self._folder / f"shard-{shard}.jsonl",
                )
                for shard in range(self.spec.shards)
            ]
        )

    def _renew_ray(self, lost: RayLostError) -> None:
        """Start Ray again, and the shards, which go on from their snapshots.

        Raises InterruptionError when that is of no use.
        """
        while True:
            self._ray_deaths += 1
            if self._ray_deaths > _RAY_DEATHS:
                raise InterruptionError(f"Ray dies again and again: {lost.message}", lost.remedy)
            self._tell(f"{lost.message}; it is started again, and run {self.spec.run} goes on from its snapshots")
            try:
                self.host.restart(self._generation)
                self._start_shards()
                return
            except RayLostError as error:
                lost = error
            except SetupError as error:
                raise InterruptionError(error.message, error.remedy) from error

    # ---- waiting
    def status(self) -> list[Status]:
        """Progress of the shards that answer; one that is being started again is left out."""
        try:
            return self.host.status(self.spec.run)
        except RayLostError:
            return []

    def wait(
        self, on_progress: OnProgress | None = None, every: float = 0.3, watch: Callable[[], None] | None = None
    ) -> RunResult:
        """Supervise until RunFinished. Raises ProtocolError when the run was aborted.

        `watch` is called at every look and may raise: after InterruptionError the run stays open for `escape resume`,
        after any other error it is aborted with that reason. It also stays open when its clock or Ray cannot be kept
        running, when the log cannot be read, or when nothing moves any more: LeftOpenError says how to go on.
        """
        with self._open_for_another():
            while (finished := self._finished()) is None:
                self._watched(watch)
                status = self._look()
                if on_progress and len(status) == self.spec.shards:
                    on_progress(self._progress(status))
                time.sleep(every)
            seconds = time.monotonic() - self.began
            counts = self._final_counts()
        self._stop_shards()
        decisions, flows, orders = (int(n) for n in counts[:, :3].sum(axis=0))
        return RunResult(
            run=self.spec.run, digest=finished["digest"], ticks=finished["ticks"], orders=orders,
            trades=int(counts[0, 3]), decisions=decisions, flows=flows, seconds=seconds,
        )  # fmt: skip

    def _finished(self) -> dict[str, Any] | None:
        """RunFinished once it is there. A clock that died has a successor, which goes on from the log."""
        if self._ended:
            raise LeftOpenError(f"run {self.spec.run} was left", f"`escape resume {self.spec.run}` goes on with it")
        if self.clock.poll() is None:
            return None
        self._close_pipe()
        state = read_clock(self.bootstrap, self.namespace, self.spec.run)
        if state.aborted is not None:
            self._stop_shards()
            if state.started is not None:  # whoever gave it up has closed it in his own partition at most
                writer = LogWriter(self.bootstrap, self.namespace)
                try:
                    close_run(writer, self.spec.run, self.spec.partitions, self.spec.flow_partitions)
                except EscapeError as error:  # why it was aborted is what has to be told
                    log.warning("run %d was aborted and is not closed everywhere: %s", self.spec.run, error)
            raise ProtocolError(f"run {self.spec.run} was aborted: {state.aborted}", "start another run")
        if state.finished is not None:
            self._closed = state.finished
            return state.finished
        self._clock_deaths = self._clock_deaths + 1 if state.granted == self._granted else 1
        self._granted = state.granted
        if self._clock_deaths > _CLOCK_DEATHS:
            raise InterruptionError(
                f"the clock of run {self.spec.run} ends again and again", f"see {self._folder / 'clock.jsonl'}"
            )
        self.clock = self._start_clock()
        return None

    def _watched(self, watch: Callable[[], None] | None) -> None:
        if watch is None:
            return
        try:
            watch()
        except InterruptionError:
            raise
        except EscapeError as error:
            self.abort(error.message)
            raise

    def _look(self) -> list[Status]:
        """Statuses of the shards that answer, with Ray started again where it is lost.

        Raises InterruptionError when it cannot be, when another process runs a shard, or when nothing moves.
        """
        try:
            status = self.host.status(self.spec.run)
            if self._generation != self.host.generation:  # another run in it has started it again
                self._start_shards()
            self._check_whole(status)
        except RayLostError as error:
            self._renew_ray(error)
            return []
        self._check_still(status)
        return status

    def _check_whole(self, status: list[Status]) -> None:
        now = time.monotonic()
        if len(status) == self.spec.shards:
            self._whole = now
        elif now - self._whole > _ABSENT_SECONDS:
            absent = sorted(set(range(self.spec.shards)) - {one["shard"] for one in status})
            raise self.host.give_up(f"it has not started the shards {absent} again for {_ABSENT_SECONDS:.0f} s")

    def _check_still(self, status: list[Status]) -> None:
        stopped = [one["doing"] for one in status if one["stopped"]]
        if stopped and not read_clock(self.bootstrap, self.namespace, self.spec.run).ended:
            raise InterruptionError(f"run {self.spec.run} goes on elsewhere: {stopped[0]}", "wait for that one")
        now = time.monotonic()
        if self._movement.look(status, now):
            self._ray_deaths = 0
        elif self._movement.still(now) > _STILL_SECONDS:
            state = read_clock(self.bootstrap, self.namespace, self.spec.run)
            if state.paused or self._is_closing(status, state):
                self._movement.excuse(now)
                return
            doing = "; ".join(f"shard {one['shard']}: {one['doing']}" for one in status) or "no shard answers"
            raise InterruptionError(
                f"run {self.spec.run} stands at epoch {state.granted} since {_STILL_SECONDS:.0f} s ({doing})",
                f"see {self._folder} and the log of matching",
            )

    def _is_closing(self, status: list[Status], state: ClockLog) -> bool:
        """Whether every cut is made and the clock reads the log for what closes the run, which may take it minutes."""
        if state.started is None or self._closed is not None or len(status) < self.spec.shards:
            return False
        before = self._clock_spent
        try:
            self._clock_spent = sum(psutil.Process(self.clock.pid).cpu_times()[:2])
        except psutil.NoSuchProcess:  # its successor is started at the next look
            return False
        cut = min(one["cut"] for one in status)
        return bool(cut >= state.started["last_epoch"] and self._clock_spent - before > _BUSY_SECONDS)

    def _final_counts(self) -> NDArray[np.int64]:
        """(decisions, flows, orders, trades) of each shard of a run that is finished on the log.

        Where another process has taken a shard over, its last snapshot has them.
        """
        self._movement.excuse(time.monotonic())
        while True:
            status = self._look()
            if len(status) == self.spec.shards and all(one["finished"] for one in status):
                return np.array([[one[name] for name in COUNTS] for one in status], np.int64)
            if any(one["stopped"] for one in status):
                counts = counts_on_log(self.bootstrap, self.namespace, self.spec.run, self.spec.shards)
                if counts is not None:
                    return counts
            time.sleep(0.05)

    def _progress(self, status: list[Status]) -> Progress:
        if self._shape is None:
            started = read_clock(self.bootstrap, self.namespace, self.spec.run).started
            if started is not None:
                self._shape = started["last_epoch"], started["epoch_ticks"]
        last, ticks = self._shape or (0, 0)
        return Progress(
            min(s["cut"] for s in status), last, ticks, sum(s["orders"] for s in status),
            max(s["trades"] for s in status), sum(s["decisions"] for s in status), time.monotonic() - self.began,
        )  # fmt: skip

    # ---- the end
    def abort(self, reason: str) -> None:
        """Write RunAborted and RunClosed and end the run's processes.

        Raises LeftOpenError when the log does not take them: the run is still open.
        """
        self._end_clock()
        self._ended = True
        try:
            abort_run(self.bootstrap, self.namespace, self.spec.run, reason)
        except EscapeError as error:
            self.leave()
            raise LeftOpenError(
                f"run {self.spec.run} cannot be aborted ({reason}): {error.message}",
                _then(error.remedy, f"`escape stop {self.spec.run}` or `escape resume {self.spec.run}`"),
            ) from error
        self._stop_shards()

    def leave(self) -> None:
        """End the run's processes and write nothing: the log may not take anything now. A `wait` beside it ends too."""
        self._ended = True
        self.clock.kill()
        self.clock.wait()
        self._close_pipe()
        self._stop_shards()

    @contextmanager
    def _open_for_another(self) -> Iterator[None]:
        """Where the block lacks something, end the run's processes. Raises LeftOpenError."""
        try:
            yield
        except SetupError as error:
            if self._ended:  # by abort or leave, whose word is the last
                raise
            raise self._left_open(error.message, error.remedy) from error
        except OSError as error:  # of files and processes on this machine
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise self._left_open(what, "make room, or see what is wrong there") from error

    def _left_open(self, what: str, remedy: str) -> LeftOpenError:
        self.leave()
        command = "resume" if self._closed is None else "runs show"
        return LeftOpenError(what, _then(remedy, f"`escape {command} {self.spec.run}`"))

    def _stop_shards(self) -> None:
        self.host.stop_shards(self.spec.run)


def _then(remedy: str, commands: str) -> str:
    return f"{remedy}{'' if remedy.endswith('?') else ','} then {commands}" if remedy else f"give {commands}"
