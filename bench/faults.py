"""How long until it works again after `kill -9` of each process: `escape bench faults`, five minutes.

A village runs on the whole stack at ten epochs a second, with a server of GraphQL beside it. Each process is killed
once a round. Seconds count from the kill until what the process does is seen to be done again: for what a run needs,
two more epochs have been matched than when its successor was there; for what fills the tables, these hold what is newer
than that; for the server, a query is answered. Where nobody but the user starts it again: until the command says so,
and from giving the next command until the run goes on.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from confluent_kafka import KafkaException

from bench.market.lab import machine
from bench.outside import write_between
from bench.theatre import Theatre, until
from economy.errors import EscapeError, InputError
from economy.records import events as e
from queries.store import Store
from schemas.catalogue import TRADES
from schemas.log.reader import LogReader, end_offsets

PACE: Final = 10  # epochs a second
PARTITIONS: Final = 2
_SCENARIO: Final = {
    "calendar.rounds": "2", "targets.debt_ratio": "3.0", "calendar.epoch_ticks": "60", "years": "200",
}  # fmt: skip
_BEGIN: Final = "<!-- figures of `escape bench faults`: written by --markdown -->\n"
_END: Final = "<!-- end of the figures -->\n"
Pick = random.Random(1).choice


class Matched:
    """Follows what matching has written of a run, from now on."""

    def __init__(self, bootstrap: str, namespace: str, run: int) -> None:
        places = [(TRADES, partition) for partition in range(PARTITIONS)]
        self._newest = dict.fromkeys(range(PARTITIONS), -1)
        self._run, self._stopping = run, threading.Event()
        self._reader = LogReader(bootstrap, namespace, end_offsets(bootstrap, namespace, places))
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        m = e.EpochMatched
        while not self._stopping.is_set():
            for chunk in self._reader.poll(0.05):
                rows = chunk.rows.get(m.name, np.empty((0, m.width), np.int64))
                mine = rows[rows[:, m.RUN] == self._run, m.EPOCH]
                if len(mine):
                    self._newest[chunk.partition] = int(mine.max())

    @property
    def epoch(self) -> int:
        """Newest epoch that every partition has matched."""
        return min(self._newest.values())

    def stop(self) -> None:
        """Follow no more."""
        self._stopping.set()
        self._thread.join()
        self._reader.close()


class Stage:
    """The theatre, and when what was killed in it works again."""

    def __init__(self, theatre: Theatre) -> None:
        self.theatre = theatre
        self.follow()

    def follow(self) -> None:
        """Look at the stack that runs now."""
        stack = self.theatre.stack
        self.matched = Matched(stack.bootstrap, stack.namespace, self.theatre.run)
        until(lambda: self.matched.epoch >= 0, self.theatre.trouble)

    def _killed(self, component: str) -> float:
        """Kill it and wait for its successor; returns when it was killed."""
        self.theatre.kill(component, pick=Pick)
        return time.monotonic() - self.theatre.seconds[component][-1]

    def _goes_on(self) -> None:
        enough = self.matched.epoch + 2
        until(lambda: self.matched.epoch >= enough, self.theatre.trouble)

    def in_the_run(self, component: str) -> float:
        """Seconds until the run goes on."""
        began = self._killed(component)
        self._goes_on()
        return time.monotonic() - began

    def of_the_tables(self, component: str) -> float:
        """Seconds until the tables hold what is newer than the successor."""
        began = self._killed(component)
        enough = self.matched.epoch * 60  # ticks
        sql = "SELECT max(tick) AS newest FROM order_submitted WHERE run = {run:Int64}"
        until(lambda: self._asked(sql) >= enough, self.theatre.trouble)
        return time.monotonic() - began

    def of_the_figures(self, component: str) -> float:
        """Seconds until the projection has published a window that closed after its successor was there."""
        sql = "SELECT max(window) AS newest FROM stream_indicators WHERE run = {run:Int64}"
        began = self._killed(component)
        enough = self._asked(sql) + 1
        until(lambda: self._asked(sql) >= enough, self.theatre.trouble)
        return time.monotonic() - began

    def _asked(self, sql: str) -> int:
        tables = self.theatre.stack.tables
        assert tables is not None
        try:
            with Store(tables) as store:
                return int(store.rows(sql, {"run": self.theatre.run})[0]["newest"])
        except EscapeError:  # it is away
            return -1

    def of_the_server(self, component: str) -> float:
        """Seconds until a query is answered again."""
        began = self._killed(component)
        self.theatre.ask(f"{{ run(id: {self.theatre.run}) {{ ticks }} }}")
        return time.monotonic() - began

    def of_a_job(self, component: str) -> float:
        """Seconds until the command of a Spark job says that its driver is gone."""
        self.theatre.kill(component, pick=Pick)
        return self.theatre.seconds[component][-1]

    def of_the_supervisor(self, component: str) -> float:
        """Seconds until the run's command says that the stack is gone, and from `escape up` until the run goes on."""
        os.kill(self.theatre.pids("supervisor")[0], signal.SIGKILL)
        began = time.monotonic()
        self.theatre.exit_code()
        return time.monotonic() - began + self._started_again()

    def of_the_command(self, component: str) -> float:
        """Seconds from `escape resume` until the run goes on, the command having been killed."""
        os.kill(self.theatre.pids("command")[0], signal.SIGKILL)
        self.theatre.exit_code()
        return self._started_again()

    def _started_again(self) -> float:
        began = time.monotonic()
        self.matched.stop()
        self.theatre.start_again()
        self.follow()
        self._goes_on()
        return time.monotonic() - began


@dataclass(frozen=True)
class Fate:
    """What becomes of a process that is killed."""

    process: str
    component: str
    measured: Callable[[Stage, str], float]
    does: str
    by: str = "by itself"


FATES: Final = (
    Fate("broker", "broker", Stage.in_the_run, "everything that sends or reads waits for it, nothing is lost"),
    Fate("ClickHouse", "clickhouse", Stage.of_the_tables, "queries fail, the sink tries again"),
    Fate("matching worker", "matching", Stage.in_the_run, "no trades; the run waits"),
    Fate("projection", "projection", Stage.of_the_figures, "live figures come later"),
    Fate("sink", "sink", Stage.of_the_tables, "rows come later"),
    Fate("clock", "clock", Stage.in_the_run, "no epoch is granted; the run waits"),
    Fate("a shard", "shard", Stage.in_the_run, "no agent of it decides; the run waits"),
    Fate("raylet", "raylet", Stage.in_the_run, "Ray is started again with all shards"),
    Fate("Ray's GCS", "gcs", Stage.in_the_run, "the same"),
    Fate("an agent of Ray", "ray agent", Stage.in_the_run, "its raylet ends, then the same"),
    Fate("Ray's driver", "ray driver", Stage.in_the_run, "the same"),
    Fate("front of the API", "api", Stage.of_the_server, "open requests and subscriptions break off"),
    Fate("worker of the API", "api worker", Stage.of_the_server, "another worker is asked what it held"),
    Fate("Spark's JVM", "spark", Stage.of_a_job, "the job ends, nothing is published", "say so; run the job again"),
    Fate("supervisor", "supervisor", Stage.of_the_supervisor, "the run is left open, exit code 3",
         "`escape up`, `escape resume`"),
    Fate("`escape run` itself", "command", Stage.of_the_command, "the run is left open", "`escape resume`"),
)  # fmt: skip

_COMPONENTS: Final = tuple(fate.component for fate in FATES)


def measure(rounds: int, only: Sequence[str], tell: Callable[[str], None]) -> dict[str, Any]:
    """Kill each process once a round, or `only` these; the last two of FATES last."""
    named, began = machine(), time.monotonic()
    seconds: dict[str, list[float]] = {fate.process: [] for fate in FATES}
    with tempfile.TemporaryDirectory(prefix="escape-bench-") as folder, Theatre(
        Path(folder), _SCENARIO, 7, pace=PACE
    ) as theatre:  # fmt: skip
        stage = Stage(theatre)
        for number in range(rounds):
            for fate in (fate for fate in FATES if not only or fate.component in only):
                took = fate.measured(stage, fate.component)
                seconds[fate.process].append(round(took, 1))
                tell(f"round {number + 1}: {fate.process}: {took:.1f} s (load {os.getloadavg()[0]:.1f})")
        stage.matched.stop()
    rows = [
        {"process": fate.process, "does": fate.does, "again": fate.by, "seconds": seconds[fate.process]}
        for fate in FATES
    ]
    load = round(os.getloadavg()[0], 2)
    return {"machine": named | {"load_after": load}, "seconds": round(time.monotonic() - began), "fates": rows}


def markdown(told: dict[str, Any]) -> str:
    """The table and the machine."""
    m = told["machine"]
    lines = ["| process | what its death does | works again | after |", "|---|---|---|---|"]
    for row in told["fates"]:
        after = ", ".join(f"{one:.1f} s" for one in row["seconds"]) or "not measured"
        lines.append(f"| {row['process']} | {row['does']} | {row['again']} | {after} |")
    lines.append(
        f"\nMeasured on {m['cores']} cores of {m['cpu']}, {m['memory_gib']} GiB, Python {m['python']}, at a load of "
        f"{m['load_before']} before and {m['load_after']} after.\n"
    )
    return "\n".join(lines)


def write_markdown(told: dict[str, Any], file: Path) -> None:
    """Put the figures between the two marks of a file, or into a new file."""
    write_between(file, _BEGIN, _END, markdown(told))


def main(
    rounds: Annotated[int, typer.Option(min=1, help="How often each process is killed.")] = 1,
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(_COMPONENTS)}; may be repeated.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    markdown_: Annotated[
        Path | None, typer.Option("--markdown", help="Write the table into this file as well.")
    ] = None,
) -> None:
    """Kill every process of the system with -9 and measure how long until it works again."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger().addHandler(logging.NullHandler())  # clients say at length that what was killed is away
    try:
        for name in only or ():
            if name not in _COMPONENTS:
                raise InputError("--only", name, f"known are {', '.join(_COMPONENTS)}")
        told = measure(rounds, only or (), lambda text: print(text, file=sys.stderr, flush=True))
        if markdown_ is not None:
            write_markdown(told, markdown_)
    except (EscapeError, KafkaException) as error:
        print(f"escape: {error}", file=sys.stderr)
        raise typer.Exit(getattr(error, "exit_code", 1)) from error
    print(json.dumps(told) if json_ else markdown(told))


if __name__ == "__main__":
    typer.run(main)
