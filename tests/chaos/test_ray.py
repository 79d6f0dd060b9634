"""Ray's own processes killed with -9 under `escape run`: it goes on from its snapshots and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from agents.village import VillageModel
from bench.theatre import descendants, set_pace, until, words_of
from economy.scenario import load_scenario
from infra.broker import Broker
from infra.supervisor import alive as same_process
from runs.local import run_local
from runs.settings import CREDIT
from schemas.log.clocklog import read_clock
from tests.integration.commands import ESCAPE, answer, environment, refused
from tests.processes import kill, put_away

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.timeout(900)]
SCENARIO = {"calendar.rounds": "2", "targets.debt_ratio": "3.0", "calendar.epoch_ticks": "60"}
PACE = "3"  # epochs a second
# Of a node of our own. Without one of its agents a raylet ends by itself; the log monitor nobody misses.
VICTIMS = (
    "raylet/raylet", "gcs_server", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "log_monitor.py", "agents.host",
)  # fmt: skip


class Run:
    """`escape run village` in a process of its own, on the broker of the tests; a context that leaves nothing of it."""

    def __init__(self, broker: Broker, namespace: str, folder: Path, years: int) -> None:
        self.broker, self.namespace, self.folder = broker, namespace, folder
        self.scenario = SCENARIO | {"years": str(years)}
        self.where = {
            "state": str(folder / "state"), "bootstrap": broker.bootstrap, "namespace": namespace, "partitions": "2",
            "flow_partitions": "2", "shards": "2",
        }  # fmt: skip
        self.seen: dict[int, float] = {}
        with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
            self.process = subprocess.Popen(
                [ESCAPE, "run", "village", "--seed", "7", "--pace", PACE, "--no-store", "--json",
                 *(f"--set={key}={value}" for key, value in self.scenario.items())],
                env=environment(**self.where), stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip

    def __enter__(self) -> Run:
        logs = self.folder / "state" / "logs"
        try:
            self.run = int(until(lambda: next(logs.glob("run-*"), None), self.trouble).name.removeprefix("run-"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:  # a test failed: what is below outlives a command that is killed
            self.find("")
            put_away(self.process)
        for process in self.left():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def expected(self) -> str:
        return run_local(VillageModel(load_scenario("village", self.scenario), 7)).digest

    def trouble(self) -> str:
        return "" if self.process.poll() is None else f"ended with {self.process.poll()}: {self.said()}"

    def said(self) -> str:
        return (self.folder / "err").read_text()

    def granted(self) -> int:
        return read_clock(self.broker.bootstrap, self.namespace, self.run).granted

    def go_on(self) -> None:
        """Wait until more epochs are granted than the clock may grant by itself."""
        enough = self.granted() + CREDIT + 1
        until(lambda: self.granted() > enough, self.trouble)

    def find(self, words: str) -> int:
        """Pid of the process of Ray with these words in its command line; all others are noted."""
        found = 0
        for process in descendants(self.process.pid):
            told = words_of(process)
            self.seen[process.pid] = process.create_time() if process.is_running() else 0.0
            found = process.pid if words in told else found
        return found

    def kill(self, words: str) -> None:
        kill(until(lambda: self.find(words), self.trouble))

    def left(self) -> list[psutil.Process]:
        return [found for pid, began in self.seen.items() if (found := same_process(pid, began))]


def test_each_process_of_ray_killed_once(broker: Broker, namespace: str, tmp_path: Path) -> None:
    with Run(broker, namespace, tmp_path, years=8) as run:
        run.go_on()
        for victim in VICTIMS:
            run.kill(victim)
            run.go_on()
        run.find("")  # notes the last ones as well
        set_pace(broker.bootstrap, namespace, run.run, 0)
        assert run.process.wait(300) == 0, run.said()
        assert json.loads((tmp_path / "out").read_text())["digest"] == run.expected()
        told = [line for line in run.said().splitlines() if "Ray is lost" in line]
        assert len(told) == len(VICTIMS) - 1, run.said()  # a line for each, but for the log monitor
        until(lambda: not run.left())


def test_ray_that_cannot_be_kept_leaves_the_run_open(broker: Broker, namespace: str, tmp_path: Path) -> None:
    with Run(broker, namespace, tmp_path, years=2) as run:
        run.go_on()
        while run.process.poll() is None:  # every new node as well, before a shard of it has made a cut
            if raylet := run.find("raylet/raylet"):
                with suppress(ProcessLookupError):
                    kill(raylet)
        told = run.said().splitlines()[-1]
        refused((run.process.wait(), "", told), 3, "Ray ", f"`escape resume {run.run}`")
        until(lambda: not run.left())
        assert not read_clock(broker.bootstrap, namespace, run.run).ended
        assert answer("resume", str(run.run), "--json", **run.where)["digest"] == run.expected()
