"""What `make cluster` shows, inside the namespaces: the documented commands, then a run under kill -9 of every part."""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import numpy as np
from confluent_kafka.admin import AdminClient

from agents.village import VillageModel
from economy.scenario import load_scenario
from runs.local import run_local
from schemas.catalogue import ORDERS, topic
from schemas.log.clocklog import ClockLog, read_clock, read_clocks
from schemas.log.writer import LogWriter
from tests.cluster.documented import Shell, commands
from tests.cluster.engine import Engine, EngineError
from tests.cluster.sandbox import memory

SECTIONS: Final = {"one": "One broker", "three": "Three brokers"}
_SEED: Final = 7
_YEARS: Final = "2"  # of the run that is killed at: some two minutes at real time
_NAMESPACE: Final = "escape"
_ENOUGH_EPOCHS: Final = 20  # granted behind a death: what was in flight then is long used up
_BACK_SECONDS: Final = 120.0  # a bound for a play that hangs, no measure of speed
_SAMPLE_SECONDS: Final = 3.0
_URLS: Final = {"api": "http://127.0.0.1:8000/graphql", "api-2": "http://127.0.0.1:8001/graphql"}


class PlayError(Exception):
    """Something that has to be so is not."""


def need(true: object, what: str) -> None:
    """Raise PlayError unless it is so."""
    if not true:
        raise PlayError(what)


class Told:
    """Lines with the seconds since the beginning, and who held the memory when it was the most."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.peak: Counter[str] = Counter()
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while True:
            self.peak = max(self.peak, memory(), key=Counter.total)
            time.sleep(_SAMPLE_SECONDS)

    def __call__(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)


def local_digest(years: str) -> str:
    """What the same village gives in one process."""
    return run_local(VillageModel(load_scenario("village", {"years": years}), _SEED)).digest


# ---- the documented commands
def follow_page(shell: Shell, lines: list[str], told: Told) -> None:
    """Run the page's commands and hold what they say to what must come out."""
    values: dict[str, str] = {}
    for line in lines:
        said = shell.run(line, values)
        told(line if len(line) < 100 else f"{line[:97]}...")
        if "escape run village" in line:
            values["RUN"] = _field(said, "run")
            digest = _field(said, "digest")
            need(digest == local_digest("1"), f"the digest is {digest}, not the local carrier's {local_digest('1')}")
            told(f"        its digest is the local carrier's: {digest[:16]}...")
        elif "graphql" in line:
            answer = json.loads(said)
            need("errors" not in answer, f"GraphQL answers {said[:500]}")
            windows = answer["data"]["run"]["windows"]
            need(
                len(windows) == 4 and all(w["gdp"]["equal"] for w in windows), f"Spark's figures are not there: {said}"
            )
            told("        GraphQL has the figures of stream and Spark, and they are equal")
    report = shell.folder / "report.html"
    need("<svg" in report.read_text() or "plotly" in report.read_text(), "the API does not serve the report")
    need("escape-gdp" in shell.engine.log("spark"), "the job did not run on the Spark master")


def _field(said: str, name: str) -> str:
    found = re.search(rf"^{name}\s+(\S+)$", said, re.MULTILINE)
    need(found, f"no {name} in {said!r}")
    assert found is not None
    return found[1]


# ---- a run that is killed at
@dataclass(frozen=True)
class Victim:
    """Whom to kill: a name for the report, and the container that it is at that moment."""

    name: str
    container: Callable[[], str]


class Survival:
    """A paced run, parts of whose cluster are killed one after the other."""

    def __init__(self, engine: Engine, told: Told) -> None:
        self._engine, self._told = engine, told
        self._brokers = [name for name in engine.project.services if name.startswith("kafka")]
        self._bootstrap = ",".join(f"{name}:9092" for name in self._brokers)
        self._admin = AdminClient({"bootstrap.servers": self._bootstrap, "log_level": 0})
        self._apis = [name for name in engine.project.services if name.startswith("api")]

    def play(self, victims: list[Victim]) -> None:
        """Kill them all; the run must end with the digest of one that nobody disturbed."""
        expected = local_digest(_YEARS)
        chosen = ["--seed", str(_SEED), "--set", f"years={_YEARS}", "--pace", "1", "--json"]
        command = self._engine.begin("ray-head", ["escape", "run", "village", *chosen])
        try:
            run = self._engine.until(self._open_run, _BACK_SECONDS)
            self._advance(run, 0)
            for victim in victims:
                self._kill(run, victim)
            self._hurry(run)
            out, err = command.communicate(timeout=2 * _BACK_SECONDS)
        finally:
            command.kill()
        need(command.returncode == 0, f"`escape run` ends with {command.returncode}: {err[-2000:]}")
        digest = json.loads(out)["digest"]
        need(digest == expected, f"the digest is {digest}, not the local carrier's {expected}")
        self._told(f"{len(victims)} kills, and the digest is the local carrier's: {digest[:16]}...")
        self._engine.execute("ray-head", ["escape", "verify", str(run)])
        self._told("escape verify finds the log of the run sound")

    def victims(self) -> list[Victim]:
        """Everything that the deployment has two or three of."""
        return [
            Victim("the leader of a partition", self._leader),
            Victim("the leader of the controllers", self._controller),
            Victim("a matching worker", lambda: "matching"),
            Victim("a Ray node", self._ray_node),
            Victim("one of two APIs", lambda: "api"),
        ]

    def _kill(self, run: int, victim: Victim) -> None:
        engine, container = self._engine, victim.container()
        before, restarts, began = self._granted(run), engine.restarts[container], time.monotonic()
        engine.kill(container)
        if container in self._apis and len(self._apis) > 1:
            self._ask_others(container)
        self._advance(run, before)
        after = time.monotonic() - began
        engine.until(lambda: engine.restarts[container] > restarts and engine.there(container), _BACK_SECONDS)
        if container in self._brokers:
            engine.until(self._replicated, _BACK_SECONDS)
        if container in self._apis:
            engine.until(lambda: _answers(_URLS[container]), _BACK_SECONDS)
        whole = time.monotonic() - began
        self._told(
            f"kill -9 of {victim.name} ({container}): {_ENOUGH_EPOCHS} epochs further in {after:.1f} s, "
            f"whole again in {whole:.1f} s"
        )

    # ---- the run
    def _clock(self, run: int) -> ClockLog:
        return read_clock(self._bootstrap, _NAMESPACE, run)

    def _open_run(self) -> int:
        return next((c.run for c in read_clocks(self._bootstrap, _NAMESPACE) if c.started and not c.ended), 0)

    def _granted(self, run: int) -> int:
        return self._clock(run).granted

    def _advance(self, run: int, behind: int) -> None:
        """Wait for epochs that were granted after all that had been granted then."""

        def far() -> bool:
            clock = self._clock(run)
            need(not clock.ended, f"run {run} has ended before all was killed: {clock.aborted or 'it was too short'}")
            return clock.granted >= behind + _ENOUGH_EPOCHS

        self._engine.until(far, _BACK_SECONDS)

    def _hurry(self, run: int) -> None:
        writer = LogWriter(self._bootstrap, _NAMESPACE)
        writer.send_rows("PaceChanged", np.array([[run, self._clock(run).incarnation, 0]], np.int64), 0)
        writer.flush()

    # ---- who is who
    def _leader(self) -> str:
        partitions = self._admin.list_topics(topic(_NAMESPACE, ORDERS), timeout=30).topics[topic(_NAMESPACE, ORDERS)]
        return self._broker(partitions.partitions[0].leader)

    def _controller(self) -> str:
        """The leader of the quorum, as a broker has written it down."""
        state = self._engine.volume("kafka") / "__cluster_metadata-0" / "quorum-state"
        return self._broker(json.loads(state.read_text())["leaderId"])

    def _broker(self, number: int) -> str:
        named = {
            s.environment["KAFKA_NODE_ID"]: s.name
            for s in self._engine.project.services.values()
            if s.name in self._brokers
        }
        return named[str(number)]

    def _ray_node(self) -> str:
        running = self._engine.execute("ray-worker", ["pgrep", "-fc", "ray::ShardActor"])
        need(int(running) > 0, "no shard runs on the second Ray node")
        return "ray-worker"

    def _replicated(self) -> bool:
        """True when every partition is in sync on every broker that is to hold it."""
        told = self._admin.list_topics(timeout=30)
        partitions = [p for t in told.topics.values() for p in t.partitions.values()]
        return len(told.brokers) == len(self._brokers) and all(len(p.isrs) == len(p.replicas) for p in partitions)

    def _ask_others(self, dead: str) -> None:
        for name in self._apis:
            need(name == dead or _answers(_URLS[name]), f"{name} does not answer while {dead} is away")

    def check_replicas(self) -> None:
        """Every topic has as many replicas as there are brokers."""
        told = self._admin.list_topics(timeout=30)
        wanted = len(self._brokers)
        wrong = [
            name for name, t in told.topics.items() if any(len(p.replicas) != wanted for p in t.partitions.values())
        ]
        need(not wrong, f"{', '.join(wrong)} have not {wanted} replicas")
        self._told(f"all {len(told.topics)} topics have {wanted} replicas")


def _answers(url: str) -> bool:
    try:
        answer = httpx.post(url, json={"query": "{ runs(first: 1) { nodes { digest } } }"}, timeout=10)
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and "errors" not in answer.json()


def play(form: str, folder: Path, told: Told) -> None:
    """One form, from the first documented command to the last."""
    *lines, down = commands(SECTIONS[form])
    with Shell(folder) as shell:
        try:
            follow_page(shell, lines, told)
            survival = Survival(shell.engine, told)
            survival.check_replicas()
            if form == "three":
                survival.play(survival.victims())
            shell.run(down, {})
            told(down)
        except BaseException:
            if (logs := shell.folder / "containers").exists():
                kept = shell.folder.parent / f"{shell.folder.name}-logs"
                shutil.copytree(logs, kept, ignore=lambda _, names: [n for n in names if "." not in n])
                told(f"the containers' logs are in {kept}")
            raise


def main(form: str, folder: str) -> int:
    """Play, and tell what it took."""
    told = Told()
    try:
        play(form, Path(folder), told)
    except (PlayError, EngineError) as error:
        told(f"FAILED: {error}")
        return 1
    except Exception:
        told(f"FAILED: {traceback.format_exc()}")
        return 1
    held = ", ".join(f"{name or 'this program'} {size / 1e6:.0f}" for name, size in told.peak.most_common())
    told(f"all as it should be; at most {told.peak.total() / 1e9:.1f} GB of memory at once (MB: {held})")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
