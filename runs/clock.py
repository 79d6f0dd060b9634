"""The clock of a run: grants epochs, and recovers from its own topic. `python -m runs.clock SPEC.json …`.

Each start writes an incarnation; readers drop records of older ones, so that a stopped and continued clock is harmless.
Pause, pace and interventions are records on the same partition, written by whoever wants them; the clock obeys them.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final

import numpy as np

from agents.registry import OWN_MODELS, Models
from economy.errors import ProtocolError
from economy.records import events as e
from economy.records.digest import run_digest
from runs.forking import open_fork
from runs.protocol import RunSpec, by_family, close_run, open_run, places
from runs.settings import CREDIT, ClockSettings
from schemas.catalogue import CLOCK, DECISIONS, FLOWS, ORDERS, TRADES
from schemas.log.clocklog import ClockLog, read_clock
from schemas.log.follower import Follower
from schemas.log.reader import Chunk, LogReader, Place, end_offsets
from schemas.log.writer import LogWriter
from telemetry import logs
from telemetry.process import run_process

log = logging.getLogger("escape.clock")
TICKS_PER_SECOND = 60  # at 1x
_NAP: Final = 0.008  # seconds between looks at the log
_ENDING_SECONDS: Final = 300.0  # for the last markers, once all that is there has been read: a shard may catch up


@dataclass(frozen=True)
class ClockConfig:
    """Where the clock writes, and how far it may grant ahead of matching."""

    bootstrap: str
    namespace: str
    credit: int = CREDIT
    pace: int = 0  # speed relative to real time, 0 = as fast as possible
    models: Models = OWN_MODELS


class Ending:
    """What closes a run: the marker of its last epoch from every writer in every partition, and the heads of chains."""

    def __init__(self, run: int, started: Mapping[str, Any]) -> None:
        self._run = run
        counts = dict.fromkeys((DECISIONS, FLOWS), started["flow_partitions"]) | {ORDERS: started["partitions"]}
        self._wanted = {
            (family, p, shard) for family, count in counts.items() for p in range(count)
            for shard in range(started["shards"])
        } | {(TRADES, p, 0) for p in range(started["partitions"])}  # fmt: skip
        self._chains: dict[tuple[str, int, int], int] = {}
        self.heads: set[tuple[int, int, int, int]] = set()

    def absent(self) -> set[tuple[str, int, int]]:
        """(family, partition, writer) of the markers that have not come."""
        return self._wanted - self._chains.keys()

    def feed(self, chunk: Chunk) -> None:
        """Take in what a chunk has of them."""
        c, m, s = e.EpochClosed, e.EpochMatched, e.ChainSealed
        for row in chunk.rows.get(c.name, np.empty((0, c.width), np.int64)).tolist():
            if row[c.RUN] == self._run and row[c.LAST]:
                self._chains[chunk.family, row[c.PARTITION], row[c.SHARD]] = row[c.CHAIN]
        for row in chunk.rows.get(m.name, np.empty((0, m.width), np.int64)).tolist():
            if row[m.RUN] == self._run and row[m.LAST]:
                self._chains[TRADES, row[m.PARTITION], 0] = row[m.CHAIN]
        for row in chunk.rows.get(s.name, np.empty((0, s.width), np.int64)).tolist():
            if row[s.RUN] == self._run:
                self.heads.add((row[s.SCOPE], row[s.ID], row[s.HEAD_1], row[s.HEAD_2]))

    def root(self) -> str:
        """One hash over the chains of all writers."""
        told = json.dumps(sorted([*key, chain] for key, chain in self._chains.items()))
        return blake2b(told.encode(), digest_size=16).hexdigest()


class Clock:
    """One start of the clock process."""

    def __init__(self, config: ClockConfig, spec: RunSpec) -> None:
        self.config, self.spec = config, spec
        self.writer = LogWriter(config.bootstrap, config.namespace)
        # Followed from before it is read: what comes in between counts, and nothing that is read twice does.
        self.follow_from = end_offsets(config.bootstrap, config.namespace, [(CLOCK, 0)])
        self.state: ClockLog = read_clock(config.bootstrap, config.namespace, spec.run)
        self.incarnation = self.state.incarnation + 1
        self.matched: dict[int, int] = {}
        self.marked: dict[int, int] = {}
        self.final: dict[Place, int] | None = None  # where the last epoch's records can begin
        self.stopping = False

    def run(self) -> None:
        """Grant until the last epoch is matched, then close the run."""
        if self.state.ended:
            return
        spec = self.spec
        self.writer.send_rows("ClockStarted", np.array([[spec.run, self.incarnation]], np.int64), 0)
        self.writer.flush()
        if self.state.started is None:
            model = self.config.models.make(spec.model, spec.scenario, spec.seed)
            if spec.parent:
                self.state.started = open_fork(
                    self.config.bootstrap, self.config.namespace, self.writer, spec, model, self.incarnation
                )  # fmt: skip
            else:
                self.state.started = open_run(self.config.bootstrap, self.config.namespace, self.writer, spec, model)
            if self.config.pace:
                pace = np.array([[spec.run, self.incarnation, self.config.pace]], np.int64)
                self.writer.send_rows("PaceChanged", pace, 0)
                self.state.pace = self.config.pace
        started = self.state.started
        self.epoch_ticks, self.last = started["epoch_ticks"], started["last_epoch"]
        self.base = started["parent_epoch"]  # before the run's first epoch
        offsets = self.state.offsets or started["start_offsets"][TRADES]
        self.marked = dict(enumerate(offsets))
        start: dict[Place, int] = {(TRADES, p): offset for p, offset in enumerate(offsets)}
        gc.collect()
        gc.freeze()  # what is loaded stays
        with Follower(self.config.bootstrap, self.config.namespace, start | self.follow_from) as self.reader:
            self._grant_all(started)
        if not self.stopping and not self.state.ended:
            self._finish(started)

    def _poll(self, timeout: float) -> None:
        for chunk in self.reader.poll(timeout):
            self.state.feed(chunk)
            if chunk.family == TRADES:
                self._note(chunk)

    def _note(self, chunk: Chunk) -> None:
        rows = chunk.rows.get(e.EpochMatched.name)
        if rows is None:
            return
        m = e.EpochMatched
        for row, offset in zip(rows.tolist(), chunk.offsets_of(m.name).tolist(), strict=True):
            if row[m.RUN] == self.spec.run and row[m.EPOCH] > self.matched.get(row[m.PARTITION], -1):
                self.matched[row[m.PARTITION]], self.marked[row[m.PARTITION]] = row[m.EPOCH], offset

    def _grant_all(self, started: dict[str, Any]) -> None:
        began, first = time.monotonic(), max(self.base, self.state.granted)
        while not self.stopping and self.state.aborted is None:
            done = min(self.matched.get(p, self.base) for p in range(started["partitions"]))
            if done >= self.last:
                return
            if self.state.paused:
                self._poll(0.2)
                began, first = time.monotonic(), max(self.base, self.state.granted)
                continue
            upto = min(self.last, done + 1 + self.config.credit)
            if self.state.pace:
                per_second = self.state.pace * TICKS_PER_SECOND / self.epoch_ticks
                upto = min(upto, first + 1 + int((time.monotonic() - began) * per_second))
            # Several epochs by one record, while shards still have some: every grant wakes all who read the clock.
            if upto > self.state.granted and self.state.granted - done <= 1 + self.config.credit // 2:
                self._grant(upto, started)
            self._poll(0.005 if self.state.pace else 0.2)
            if not self.state.pace:
                time.sleep(_NAP)  # what comes meanwhile is read at once; the credit hides the delay

    def _grant(self, epoch: int, started: dict[str, Any]) -> None:
        if epoch == self.last and self.final is None:
            self.final = self._ends(started)
        record = {
            "run": self.spec.run,
            "epoch": epoch,
            "incarnation": self.incarnation,
            "offsets": [self.marked[p] for p in range(started["partitions"])],
        }
        self.writer.send_record("EpochGranted", record, 0)
        self.writer.flush()
        self.state.granted = epoch

    def _ends(self, started: dict[str, Any]) -> dict[Place, int]:
        return end_offsets(
            self.config.bootstrap, self.config.namespace, places(started["partitions"], started["flow_partitions"])
        )

    def _finish(self, started: dict[str, Any]) -> None:
        """RunClosed and RunFinished once every marker of the last epoch is on the log, unless the run is aborted first.

        Raises ProtocolError when one does not come.
        """
        partitions, flow_partitions = started["partitions"], started["flow_partitions"]
        start = self.final
        if start is None:  # a successor of the clock that granted the last epoch: search from the run's start
            offsets = started["start_offsets"]
            start = {(family, p): offsets[family][p] for family, p in places(partitions, flow_partitions)}
        ending = Ending(self.spec.run, started)
        told: Place = (CLOCK, 0)
        start = start | {told: self.reader.position[told]}
        with LogReader(self.config.bootstrap, self.config.namespace, start) as reader:
            there = reader.end_offsets(list(start))
            limit = time.monotonic() + _ENDING_SECONDS
            while ending.absent():
                if self.stopping or self.state.aborted is not None:
                    return
                behind = any(reader.position[place] < there[place] for place in start)
                chunks = reader.poll(0.5)
                for chunk in chunks:
                    self.state.feed(chunk)
                    ending.feed(chunk)
                if chunks and behind:
                    limit = time.monotonic() + _ENDING_SECONDS
                elif time.monotonic() > limit:
                    raise ProtocolError(
                        f"run {self.spec.run} cannot be closed: the last epoch of {min(ending.absent())} (topic, "
                        f"partition, writer) is not there after {_ENDING_SECONDS:.0f} s",
                        "see the logs of its shards",
                    )
        close_run(self.writer, self.spec.run, partitions, flow_partitions)
        finished = {
            "run": self.spec.run,
            "incarnation": self.incarnation,
            "end_offsets": by_family(self._ends(started)),
            "digest": run_digest(ending.heads),
            "root": ending.root(),
            "ticks": (self.last + 1) * self.epoch_ticks,
        }
        self.writer.send_record("RunFinished", finished, 0)
        self.writer.flush()

    def stop(self, *_: object) -> None:
        """SIGTERM: grant nothing more; a later start goes on from the log."""
        self.stopping = True


def _end_with_parent() -> None:
    """A parent that was killed closes our standard input: the run then waits for `escape resume`."""
    while os.read(sys.stdin.fileno(), 4096):  # not the buffer: its lock would abort our own exit
        pass
    os._exit(2)


def serve(options: ClockSettings) -> None:
    """Run the clock of the run that the spec file describes."""
    spec = RunSpec.from_json(options.spec.read_text())
    logs.start(replace(options.log(), run=spec.run))
    models = Models(options.models)
    clock = Clock(ClockConfig(options.bootstrap, options.namespace, options.credit, options.pace, models), spec)
    log.info("incarnation %d of the clock starts behind epoch %d", clock.incarnation, clock.state.granted)
    signal.signal(signal.SIGTERM, clock.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command line's to handle, which aborts the run
    if options.follow_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        clock.run()
    except BaseException as error:
        log.critical("the clock ends: %r", error, exc_info=error)
        logging.shutdown()
        os._exit(1)
    log.info("incarnation %d of the clock ends", clock.incarnation)


if __name__ == "__main__":
    sys.exit(run_process(ClockSettings, serve))
