"""Whatever a run on the stream waits for may be gone: no wait is without an end, and the end says how to go on."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from agents.loop import ShardConfig
from agents.registry import Models
from economy.errors import InterruptionError, ProtocolError, SetupError
from runs import kafka
from runs.control import INTERRUPTED
from runs.kafka import LeftOpenError, StreamRun
from runs.protocol import RunSpec
from runs.rayhost import RayLostError
from runs.settings import ClockSettings
from schemas.log.clocklog import ClockLog
from telemetry.logs import LogOptions

SPEC = RunSpec(7, "tests.toy_model:make", "{}", 1, 2, 1, 1)
FINISHED = {"digest": "d", "ticks": 10}


def shard(number: int, cut: int = 3, **told: Any) -> dict[str, Any]:
    counts = {"decisions": 1, "flows": 2, "orders": 3, "trades": 4}
    return {"shard": number, "pid": 100 + number, "cut": cut, "doing": "wait for the cut of 4", "finished": False,
            "stopped": False, **counts, **told}  # fmt: skip


class Host:
    """Stands in for RayHost: what it is asked is answered by `says`."""

    def __init__(self, says: Callable[[], list[dict[str, Any]]]) -> None:
        self.says, self.generation, self.started, self.stopped = says, 1, 0, 0
        self.starts: Callable[[], None] = lambda: None

    def start_shards(self, shards: object) -> None:
        self.starts()
        self.started += 1

    def status(self, run: int) -> list[dict[str, Any]]:
        return self.says()

    def stop_shards(self, run: int) -> None:
        self.stopped += 1

    def restart(self, generation: int) -> None:
        assert generation == self.generation
        self.generation += 1

    def give_up(self, why: str) -> RayLostError:
        return RayLostError(f"Ray is lost: {why}", "see ray.log")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ClockLog:
    """What the log says of the run."""
    state = ClockLog(7, started={"last_epoch": 9, "epoch_ticks": 1}, granted=4)
    monkeypatch.setattr(kafka, "read_clock", lambda *_: state)
    return state


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: ClockLog) -> Iterator[StreamRun]:
    """A run whose clock is a process that does nothing."""
    waits = [sys.executable, "-c", "input()"]
    monkeypatch.setattr(StreamRun, "_start_clock", lambda _: subprocess.Popen(waits, stdin=subprocess.PIPE))
    host: Any = Host(lambda: [shard(0), shard(1)])
    made = StreamRun("nowhere", "n", SPEC, tmp_path, host, models=Models((SPEC.model,)))
    yield made
    made.clock.kill()
    made.clock.wait()
    made._close_pipe()


def test_clock_and_shards_log_as_the_settings_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: commands.append(command))
    host: Any = Host(lambda: [])
    shards: list[tuple[ShardConfig, Path]] = []
    monkeypatch.setattr(host, "start_shards", shards.extend)
    logged = LogOptions("run", format="json", level="DEBUG")
    StreamRun("nowhere", "n", SPEC, tmp_path, host, models=Models((SPEC.model,)), logged=logged)
    clock = ClockSettings.parse(commands[0][3:])
    assert (clock.log_level, clock.log_format) == ("DEBUG", "json")
    assert {config.log_level for config, _ in shards} == {"DEBUG"}


def left(run: StreamRun) -> None:
    assert run.clock.poll() is not None
    assert run.host.stopped == 1  # type: ignore[attr-defined]


def test_a_run_that_stands_still_is_left_open_and_says_for_what_it_waits(
    run: StreamRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "_STILL_SECONDS", 0.0)
    with pytest.raises(
        InterruptionError, match=r"stands at epoch 4 .*shard 1: wait for the cut of 4.*`escape resume 7`"
    ):
        run.wait(every=0)
    left(run)


def test_a_paused_run_may_stand_still(run: StreamRun, clock: ClockLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "_STILL_SECONDS", 0.0)
    clock.paused = True
    looks = iter(range(20))

    def watch() -> None:
        if next(looks) == 19:
            raise InterruptionError("enough", "see there")

    with pytest.raises(InterruptionError, match="enough"):
        run.wait(every=0, watch=watch)


def test_ray_that_is_lost_is_started_again_with_the_shards(run: StreamRun, clock: ClockLog) -> None:
    answers: Iterator[Any] = iter([RayLostError("Ray is lost: its raylet ended", "see ray.log"), [shard(0), shard(1)]])

    def says() -> list[dict[str, Any]]:
        answer = next(answers, None)
        if isinstance(answer, RayLostError):
            raise answer
        if answer is None:
            clock.finished = FINISHED
            run.clock.kill()
            return [shard(0, 9, finished=True), shard(1, 9, finished=True)]
        return answer

    host: Any = run.host
    host.says = says
    result = run.wait(every=0)
    assert (result.digest, result.orders, result.trades, result.flows) == ("d", 6, 4, 4)
    assert (host.generation, host.started) == (2, 2)


def test_ray_that_is_lost_again_and_again_leaves_the_run_open(run: StreamRun) -> None:
    def lost() -> list[dict[str, Any]]:
        raise RayLostError("Ray is lost: its gcs_server ended", "see ray.log")

    host: Any = run.host
    host.says = host.starts = lost
    with pytest.raises(InterruptionError, match=r"dies again and again.*gcs_server.*`escape resume 7`"):
        run.wait(every=0)
    left(run)


def test_ray_that_does_not_start_again_leaves_the_run_open(run: StreamRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> list[dict[str, Any]]:
        raise RayLostError("Ray is lost: its driver ended", "see ray.log")

    def refuses(generation: int) -> None:
        raise SetupError("no Ray cluster answers at 127.0.0.1:1", "start it")

    host: Any = run.host
    host.says, host.restart = lost, refuses
    with pytest.raises(InterruptionError, match=r"no Ray cluster answers.*`escape resume 7`"):
        run.wait(every=0)
    left(run)


def test_ray_that_is_lost_as_it_starts_again_is_started_once_more(run: StreamRun, clock: ClockLog) -> None:
    host: Any = run.host
    restart, tries = host.restart, []

    def lost() -> list[dict[str, Any]]:
        raise RayLostError("Ray is lost: its gcs_server ended", "see ray.log")

    def second_time(generation: int) -> None:
        tries.append(generation)
        if len(tries) == 1:
            raise RayLostError("Ray is lost: its driver ended", "see ray.log")
        restart(generation)
        host.says = lambda: [shard(0), shard(1)]

    host.says, host.restart = lost, second_time
    assert run._look() == []
    assert len(tries) == 2
    assert len(run._look()) == 2


def test_a_shard_that_ray_does_not_start_again_is_a_lost_ray(run: StreamRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "_ABSENT_SECONDS", 0.0)
    host: Any = run.host
    host.says = lambda: [shard(0)]
    with pytest.raises(InterruptionError, match=r"not started the shards \[1\] again.*`escape resume 7`"):
        run.wait(every=0)
    assert host.generation > 1


def test_ray_that_another_run_has_started_again_gets_the_shards_once_more(run: StreamRun, clock: ClockLog) -> None:
    host: Any = run.host
    host.generation = 2

    def says() -> list[dict[str, Any]]:
        if host.started == 1:
            return []
        clock.finished = FINISHED
        run.clock.kill()
        return [shard(0, finished=True), shard(1, finished=True)]

    host.says = says
    assert run.wait(every=0).digest == "d"
    assert host.started == 2


def test_a_run_that_goes_on_elsewhere_is_left_to_that_process(run: StreamRun) -> None:
    host: Any = run.host
    host.says = lambda: [shard(0), shard(1, stopped=True, doing="another process runs shard 1")]
    with pytest.raises(InterruptionError, match="run 7 goes on elsewhere: another process runs shard 1"):
        run.wait(every=0)
    left(run)


def finished_elsewhere(run: StreamRun, clock: ClockLog) -> None:
    """The run is finished and its clock gone; another process took over one of its shards."""
    clock.finished = FINISHED
    run.clock.kill()
    run.clock.wait()
    host: Any = run.host
    host.says = lambda: [shard(0, finished=True), shard(1, stopped=True, doing="another process runs shard 1")]


def test_a_finished_run_whose_shard_was_taken_over_has_its_counts_from_the_log(
    run: StreamRun, clock: ClockLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_elsewhere(run, clock)
    found = iter([None, np.array([[5, 6, 7, 8], [1, 1, 1, 8]], np.int64)])
    monkeypatch.setattr(kafka, "counts_on_log", lambda *_: next(found))
    result = run.wait(every=0)
    assert (result.decisions, result.flows, result.orders, result.trades) == (6, 7, 8, 8)


def test_a_finished_run_whose_shards_do_not_end_is_no_endless_wait(
    run: StreamRun, clock: ClockLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "_STILL_SECONDS", 0.0)
    clock.finished = FINISHED
    run.clock.kill()
    run.clock.wait()
    with pytest.raises(InterruptionError, match="stands at epoch 4"):
        run.wait(every=0)


def test_a_clock_that_cannot_be_kept_leaves_the_run_open(run: StreamRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        StreamRun, "_start_clock", lambda _: subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE)
    )
    monkeypatch.setattr(kafka, "_CLOCK_DEATHS", 1)
    run.clock.kill()
    with pytest.raises(InterruptionError, match=r"clock of run 7 ends again and again.*`escape resume 7`"):
        run.wait(every=0)


def away(*_: object) -> ClockLog:
    raise SetupError("topic n.sim.clock.v1 cannot be read", "is the broker up?")


def test_a_log_that_cannot_be_read_when_the_clock_has_died_leaves_the_run_open(
    run: StreamRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "read_clock", away)
    run.clock.kill()
    with pytest.raises(InterruptionError, match=r"cannot be read: is the broker up\? then `escape resume 7`"):
        run.wait(every=0)
    left(run)


def test_counts_that_cannot_be_read_leave_a_run_that_is_finished(
    run: StreamRun, clock: ClockLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_elsewhere(run, clock)
    monkeypatch.setattr(kafka, "counts_on_log", away)
    with pytest.raises(InterruptionError, match=r"then `escape runs show 7`"):
        run.wait(every=0)


def test_what_is_missing_as_a_run_begins_leaves_it_open(
    run: StreamRun, tmp_path: Path, clock: ClockLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise SetupError("no such actor", "start it")

    host: Any = Host(list)
    host.starts = refused
    with pytest.raises(InterruptionError, match=r"no such actor: start it, then `escape resume 7`"):
        StreamRun("nowhere", "n", SPEC, tmp_path, host, models=Models((SPEC.model,)))
    assert host.stopped == 1


@pytest.mark.parametrize("renewed", [False, True])
def test_ctrl_c_while_the_shards_start_aborts_the_run(
    run: StreamRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renewed: bool
) -> None:
    host: Any = Host(list)

    def pressed() -> None:
        if renewed and host.generation == 1:
            raise RayLostError("Ray is lost: its raylet ended", "see ray.log")
        raise KeyboardInterrupt

    host.starts = pressed
    said: list[str] = []
    monkeypatch.setattr(kafka, "abort_run", lambda *told: said.append(told[-1]))
    with pytest.raises(KeyboardInterrupt):
        StreamRun("nowhere", "n", SPEC, tmp_path, host, models=Models((SPEC.model,)))
    assert said == [INTERRUPTED]
    assert host.stopped == 1


def test_a_run_that_cannot_be_aborted_says_that_it_is_open(run: StreamRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "abort_run", away)

    def watch() -> None:
        raise ProtocolError("a foreign record", "see there")

    with pytest.raises(LeftOpenError, match=r"cannot be aborted \(a foreign record\).*`escape stop 7` or `escape res"):
        run.wait(every=0, watch=watch)
    left(run)


def told_at(run: StreamRun, monkeypatch: pytest.MonkeyPatch, looks: list[list[dict[str, Any]]], seconds: float) -> int:
    """How many looks are made before the run is left open, one every so many seconds."""
    host: Any = run.host
    made = 0
    monkeypatch.setattr(time, "monotonic", lambda: run.began + made * seconds)

    def says() -> list[dict[str, Any]]:
        nonlocal made
        made += 1
        return looks[made - 1]

    host.says = says
    with suppress(InterruptionError):
        for _ in looks:
            run._look()
    return made


def test_a_shard_that_computes_from_its_snapshot_again_moves(run: StreamRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs of three minutes: what was cut before the shard died is there again after half an hour."""
    looks = [[shard(0, 9), shard(1, 9)]]
    looks += [[shard(0, 9), shard(1, cut, pid=201)] for cut in range(10)]
    looks += [[shard(0, 10), shard(1, 10, pid=201)]]
    assert told_at(run, monkeypatch, looks, 180.0) == len(looks)


def test_shards_of_a_new_ray_compute_again_however_often_it_died(
    run: StreamRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [[shard(0, 9), shard(1, 9)]]
    made = told_at(run, monkeypatch, looks, 180.0)
    for start in range(1, 5):
        run._start_shards()
        looks = [[shard(0, cut, pid=10 * start), shard(1, cut, pid=10 * start + 1)] for cut in range(10)]
        made += told_at(run, monkeypatch, looks, 180.0)
    assert made == 1 + 4 * 10


def test_a_shard_that_dies_again_and_again_before_a_new_cut_stands_still(
    run: StreamRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [[shard(0, 9), shard(1, 9)]]
    looks += [[shard(0, 9), shard(1, cut, pid=200 + start)] for start in range(50) for cut in range(10)]
    assert told_at(run, monkeypatch, looks, 60.0) < 60


@pytest.mark.parametrize(("per_look", "made"), [(30, 20), (0.1, 3)])
def test_a_clock_is_waited_for_as_long_as_it_reads_the_log_to_close_the_run(
    run: StreamRun, clock: ClockLog, per_look: float, made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cut is made; `per_look` is the processor time of the clock, which a clock that only waits has little of."""
    spent = iter(1 + per_look * look for look in range(1, 100))
    monkeypatch.setattr(psutil.Process, "cpu_times", lambda _: (next(spent), 0.0, 0.0, 0.0))
    assert told_at(run, monkeypatch, [[shard(0, 9), shard(1, 9)] for _ in range(20)], 180.0) == made


def test_a_full_disk_under_whoever_watches_leaves_the_run_open(run: StreamRun) -> None:
    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/state/processes.json")

    with pytest.raises(LeftOpenError, match=r"processes.json: No space left .*make room.*`escape resume 7`"):
        run.wait(full, every=0)
    left(run)


def test_a_run_that_was_left_meanwhile_starts_nothing_again(run: StreamRun) -> None:
    run.leave()
    with pytest.raises(LeftOpenError, match=r"`escape resume 7`"):
        run.wait(every=0)
    left(run)


def test_why_a_run_was_aborted_is_told_when_it_cannot_be_closed(
    run: StreamRun, clock: ClockLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.aborted = "by somebody"
    monkeypatch.setattr(kafka, "LogWriter", lambda *_: None)
    monkeypatch.setattr(kafka, "close_run", away)
    run.clock.kill()
    with pytest.raises(ProtocolError, match="run 7 was aborted: by somebody"):
        run.wait(every=0)
