"""The projection service: follows every run live and writes its indicators and balances as each window closes.

Recovery: a run is folded again from its start offsets. What the log already holds of its output is compared, not
written again; the figure that is sent last tells that a window is whole. A run whose books do not close, or whose
output differs from what an earlier process wrote, is given up with an error in the worker's log; the other runs go on.
Failures of the log itself end the process: the supervisor restarts it.

Several projections divide the runs (streams/share.py). They need not know of each other: output is each run's own, and
a run's history, its ancestors' records included, is read by whoever has the run.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import faust
import numpy as np
from mode import Service

from economy.errors import EscapeError, NonDeterministicError, SetupError
from economy.indicators import Window, WindowProjection
from economy.measures import LAST_MEASURED
from economy.records import events as e
from economy.records.events import Events
from economy.scenario import Scenario
from schemas.catalogue import BALANCES, CLOCK, FLOWS, INDICATORS, ORDERS, TRADES
from schemas.log.clocklog import ClockLog, clock_records
from schemas.log.follower import Follower
from schemas.log.founding import founding, village_of
from schemas.log.history import Segment, history, read_epochs
from schemas.log.reader import Chunk, LogReader, Place, end_offsets, read_range
from schemas.log.writer import LogWriter, WriteError
from streams.process import end
from streams.settings import ProjectionSettings
from streams.share import RunShare

log = logging.getLogger("escape.projection")
_POLL_SECONDS: Final = 0.2
_THREADS: Final = 16  # reading at the same time; further runs wait their turn
_LEAD_EPOCHS: Final = 50  # that one partition may be read ahead of another while a backlog is worked off
_LAST_SENT: Final = (LAST_MEASURED, 0)
# What folding records that anybody may have written raises.
_NO_RUN: Final = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
Figure = tuple[str, int]


@dataclass
class Tail:
    """Output of one run that is on the log already."""

    figures: dict[int, dict[Figure, int]] = field(default_factory=dict)  # window -> figures
    balances: dict[int, dict[tuple[int, ...], int]] = field(default_factory=dict)  # window -> balances
    fault: str = ""

    def whole(self, window: int) -> bool:
        """True when everything of the window is there."""
        return _LAST_SENT in self.figures.get(window, {})

    def note(self, known: dict[Any, int], identity: Any, value: int) -> None:
        """Take in one record of the output."""
        if known.setdefault(identity, value) != value:
            self.fault = f"its output holds {identity} twice, as {known[identity]} and as {value}"


def read_tails(bootstrap: str, namespace: str, last_window: Mapping[int, int]) -> dict[int, Tail]:
    """Output by run, for those of the runs whose last window is not whole on the log yet."""
    tails: dict[int, Tail] = {run: Tail() for run in last_window}
    figures, balances = (INDICATORS, 0), (BALANCES, 0)
    end = end_offsets(bootstrap, namespace, [figures, balances])
    for chunk in read_range(bootstrap, namespace, {figures: 0}, {figures: end[figures]}):
        for _, name, record in chunk.cold:
            if name != "WindowMeasured":
                continue
            run, window = record["run"], record["window"]
            tail = tails.get(run)
            if tail is not None:
                known = tail.figures.setdefault(window, {})
                tail.note(known, (record["indicator"], record["item"]), int(record["value"]))
                if tail.whole(last_window[run]):
                    del tails[run]
    wanted = np.array(list(tails), np.int64)
    if not len(wanted):
        return tails
    for chunk in read_range(bootstrap, namespace, {balances: 0}, {balances: end[balances]}):
        rows = chunk.rows.get(e.BalanceRecorded.name, np.empty((0, e.BalanceRecorded.width), np.int64))
        for run, window, agent, account, item, quantity in rows[np.isin(rows[:, 0], wanted)].tolist():
            tails[run].note(tails[run].balances.setdefault(window, {}), (agent, account, item), quantity)
    return tails


class RunProjection:
    """Projection of one run: chunks in, output out."""

    def __init__(
        self, bootstrap: str, namespace: str, segments: Sequence[Segment], scenario: Scenario, writer: LogWriter,
        tail: Tail,
    ) -> None:  # fmt: skip
        """`segments` are the run's history: what a fork shares with its ancestors is folded here and now."""
        self.run: int = segments[-1].run
        if tail.fault:
            raise NonDeterministicError(
                f"run {self.run}: {tail.fault}", "two projections have written it: verify the run"
            )
        founded = founding(bootstrap, namespace, segments[0].started)
        self.projection = WindowProjection(self.run, scenario, founded.roles, founded.instruments)
        self.assembler = segments[-1].assembler((FLOWS, TRADES))
        self._writer, self._tail = writer, tail
        self._newest = dict.fromkeys(
            (place for place in segments[-1].start if place[0] in (FLOWS, TRADES)), segments[-1].first
        )
        self.finished = False
        for epoch, families in read_epochs(bootstrap, namespace, segments[:-1], (FLOWS, TRADES)):
            self._fold(epoch, families)

    def add(self, chunk: Chunk) -> None:
        """Take in records; complete epochs are folded, closed windows written and acknowledged."""
        self.assembler.add(chunk)
        marker = e.EpochMatched if chunk.family == TRADES else e.EpochClosed
        marks = chunk.rows.get(marker.name, np.empty((0, marker.width), np.int64))
        mine = marks[marks[:, marker.RUN] == self.run, marker.EPOCH]
        if len(mine):
            self._newest[chunk.place] = max(int(mine.max()), self._newest[chunk.place])
        while not self.finished and self.assembler.complete():
            epoch, families, self.finished = self.assembler.take()
            self._fold(epoch, families)

    def ahead(self) -> list[Place]:
        """Partitions that are so far ahead of the slowest that what they hold would only fill memory."""
        slowest = min(self._newest.values())
        return [place for place, epoch in self._newest.items() if epoch > slowest + _LEAD_EPOCHS]

    def _fold(self, epoch: int, families: Mapping[str, Events]) -> None:
        events: Events = {name: rows for part in families.values() for name, rows in part.items()}
        window = self.projection.feed(epoch, events)
        if window is not None:
            self._write(window)

    def _write(self, window: Window) -> None:
        """Balances first, then the figures; of each only what is not there yet, once it has been compared."""
        number, rows = window.window, window.balances
        figures = {key: value for key, value in window.figures.items() if key != _LAST_SENT}
        figures[_LAST_SENT] = window.figures[_LAST_SENT]
        there, known = self._tail.figures.pop(number, {}), self._tail.balances.pop(number, {})
        self._compare(number, there, figures)
        if known:
            self._compare(number, known, {tuple(row[2:5]): row[5] for row in rows.tolist()})
            rows = rows[[tuple(row[2:5]) not in known for row in rows.tolist()]]
        self._writer.send_rows(e.BalanceRecorded.name, rows, 0)
        self._writer.flush()
        for (indicator, item), value in figures.items():
            if (indicator, item) not in there:
                record = {"run": self.run, "window": number, "indicator": indicator, "item": item}
                self._writer.send_record("WindowMeasured", {**record, "value": Decimal(value)}, 0)
        self._writer.flush()

    def _compare(self, window: int, known: Mapping[Any, int], made: Mapping[Any, int]) -> None:
        for identity, value in known.items():
            if made.get(identity) != value:
                raise NonDeterministicError(
                    f"window {window} of run {self.run} has {identity} = {value} on the log, but {made.get(identity)} "
                    "now",
                    "the rules have changed or the log is damaged: verify the run",
                )


class ProjectionService(Service):
    """Follows the clock for runs, and each run of its share until it ends."""

    def __init__(self, bootstrap: str, namespace: str, share: RunShare, **options: Any) -> None:
        super().__init__(**options)
        self.bootstrap, self.namespace, self.share = bootstrap, namespace, share
        self.clocks: dict[int, ClockLog] = {}  # of all runs: one of the share may be a fork of any other
        self.position: dict[Place, int] = {}  # on the clock topic
        self._seen: set[int] = set()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="projection")
        self._writer = LogWriter(bootstrap, namespace)

    async def _call(self, function: Any, *arguments: Any) -> Any:
        """Run in a thread; a cancelled caller waits for the thread, which may be using the caller's reader."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise

    @Service.task
    async def follow_clock(self) -> None:
        """Find the runs: those of the past that lack output, then every new one."""
        try:
            place: Place = (CLOCK, 0)
            end = (await self._call(end_offsets, self.bootstrap, self.namespace, [place]))[place]
            with LogReader(self.bootstrap, self.namespace, {place: 0}) as reader:
                self.position = reader.position
                while reader.position[place] < end:
                    self._take(await self._call(reader.poll, _POLL_SECONDS))
                found = {run: village_of(clock) for run, clock in self.clocks.items() if self.share.has(run)}
                last = {
                    run: scenario.time.ticks // scenario.time.window_ticks - 1
                    for run, scenario in found.items()
                    if scenario
                }
                tails = await self._call(read_tails, self.bootstrap, self.namespace, last)
                log.info("%d runs on the log, %d to project", len(found), len(tails))
                for run, tail in tails.items():
                    self._begin(run, tail)
                self.new_runs()  # of which none is new
                while not self.should_stop:
                    self._take(await self._call(reader.poll, _POLL_SECONDS))
                    for run in self.new_runs():
                        self._begin(run, Tail())
        except Exception as error:
            end(error)

    def _take(self, chunks: list[Chunk]) -> None:
        for name, record in (found for chunk in chunks for found in clock_records(chunk)):
            self.clocks.setdefault(record["run"], ClockLog(record["run"])).apply(name, record)

    def new_runs(self) -> list[int]:
        """Runs of the share that have started since the last call."""
        started = {run for run, clock in self.clocks.items() if clock.started is not None and self.share.has(run)}
        new = sorted(started - self._seen)
        self._seen |= started
        return new

    def _begin(self, run: int, tail: Tail) -> None:
        scenario = village_of(self.clocks[run])
        if scenario is None:
            log.info("run %d has no village to keep accounts of", run)
            return
        self.add_future(self.follow(self.clocks[run], scenario, tail))

    async def follow(self, clock: ClockLog, scenario: Scenario, tail: Tail) -> None:
        """Project one run until its end."""
        try:
            await self._follow(clock, scenario, tail)
        except (WriteError, SetupError) as error:
            end(error)
        except EscapeError as error:
            log.error("run %d is projected no further: %s", clock.run, error)
        except _NO_RUN as error:  # its records do not add up to a run: the next start would meet them again
            log.error("run %d is projected no further: %r", clock.run, error, exc_info=error)
        except Exception as error:
            end(error)

    async def _follow(self, clock: ClockLog, scenario: Scenario, tail: Tail) -> None:
        segments = history(self.clocks, clock.run)
        eldest: Mapping[str, list[int]] = segments[0].started["start_offsets"]
        if not await self._call(still_there, self.bootstrap, self.namespace, eldest):
            log.info("run %d has been deleted", clock.run)
            return
        made = await self._call(RunProjection, self.bootstrap, self.namespace, segments, scenario, self._writer, tail)
        start = {place: offset for place, offset in segments[-1].start.items() if place[0] in (FLOWS, TRADES)}
        end: dict[Place, int] | None = None
        with Follower(self.bootstrap, self.namespace, start) as reader:
            while not self.should_stop and not made.finished:
                await self._call(_advance, reader, made)
                if clock.aborted is not None and end is None:
                    end = await self._call(end_offsets, self.bootstrap, self.namespace, list(start))
                if end is not None and all(reader.position[place] >= end[place] for place in start):
                    break
        log.info("run %d: projected up to window %d", clock.run, made.projection.window - 1)

    async def on_stop(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _advance(reader: Follower, made: RunProjection) -> None:
    for chunk in reader.poll(_POLL_SECONDS):
        made.add(chunk)
    reader.hold(made.ahead())


def still_there(bootstrap: str, namespace: str, offsets: Mapping[str, list[int]]) -> bool:
    """True when the log reaches back to the offsets at which a run starts."""
    start: dict[Place, int] = {(f, p): o for f in (FLOWS, ORDERS, TRADES) for p, o in enumerate(offsets[f])}
    with LogReader(bootstrap, namespace, {}) as reader:
        begin = reader.begin_offsets(list(start))
    return all(begin[place] <= start[place] for place in start)


class ProjectionWorker:
    """The service under a Faust app of its own, which neither consumes nor keeps tables."""

    def __init__(self, options: ProjectionSettings) -> None:
        self.app: Any = faust.App(
            f"{options.namespace}-projection",
            broker=f"kafka://{options.bootstrap}",
            web_enabled=False,  # its server would listen on all interfaces
            topic_disable_leader=True,
            topic_allow_declare=False,
            store="memory://",
            datadir=os.path.join(options.data, f"faust-{options.name}"),
        )
        self.app.producer_only = True
        share = RunShare.parse(options.runs_of)
        service: Any = ProjectionService(options.bootstrap, options.namespace, share)
        self._service = service
        self.app.service(service)
        self.app.in_worker = True
        self.app.finalize()
        self.app.worker_init()

    def positions(self) -> Mapping[Place, int]:
        """Offset to read next of the clock topic, which the same loop follows that finds the runs."""
        return dict(self._service.position)
