"""The sink: follows the log and copies every record into ClickHouse once: `python -m streams.sink --bootstrap … `.

It reads by explicit offsets and gathers a block per partition. Before a block is inserted its bounds are written to
sink_offsets; every insert of it carries the token `topic:partition:start:end:table`. A sink that was killed in between
reads the same bounds again and repeats the block: what is there already is dropped by its token, the rest is added. So
no record is lost, and none is there twice, even before ClickHouse merges equal rows.

Several sinks divide the partitions (streams/share.py). They know of each other by sink_offsets alone; bounds and tokens
are each partition's own, so one that dies is no matter of the others.

Records of a deleted run may still come, of a matching or a projection that was behind: they are passed over, and what
was stored before its deletion was read is deleted then. Every sink reads the clock for deletions, and deletes once it
will store no more of the run: whoever is last leaves nothing behind.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from clickhouse_connect.driver.exceptions import Error
from confluent_kafka import KafkaException

from economy.errors import ProtocolError, SetupError
from economy.records.events import Rows
from schemas.catalogue import CLOCK, ORDERS, topic
from schemas.clickhouse import TABLES
from schemas.clickhouse_server import ClickHouseConfig
from schemas.log import deadletters
from schemas.log.clocklog import DELETED, ClockLog, read_clocks
from schemas.log.reader import Chunk, LogReader, Place, read_range
from streams.health import Watch
from streams.process import end
from streams.runkeeper import RunKeeper
from streams.settings import SinkSettings
from streams.share import Share
from streams.tables import Tables
from telemetry.process import run_process

log = logging.getLogger("escape.sink")
BLOCK_ROWS: Final = 200_000
BLOCK_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 1.0  # between looks whether all sinks have stored all of a finished run
_CLOCK: Final = (CLOCK, 0)


class Sink:
    """One sink of one namespace. `position` is what the tables hold, per partition that it follows."""

    def __init__(self, bootstrap: str, namespace: str, followed: Sequence[Place], tables: Tables) -> None:
        self.bootstrap, self.namespace = bootstrap, namespace
        self.tables = tables
        self.position: dict[Place, int] = {}
        self.reached: Mapping[Place, int] = {}  # read and stored; made anew each time, for another thread that looks
        self.stored = 0
        self._followed = frozenset(followed)
        self._keeper = RunKeeper(bootstrap, namespace, tables) if _CLOCK in self._followed else None
        self._clock_read = 0  # up to where the clock's topic was read for deletions
        self._gathered: dict[Place, list[Chunk]] = {}
        self._undecodable: dict[str, list[deadletters.Letter]] = {}
        self._rows = 0
        self._since = 0.0
        self._looked = 0.0
        self._deleted: set[int] = set()
        self._newly_deleted: set[int] = set()

    def run(self, stopping: threading.Event) -> None:
        """Follow the log until `stopping`, then store what was gathered."""
        self._recover()
        with LogReader(self.bootstrap, self.namespace, {_CLOCK: self._clock_read, **self.position}) as reader:
            while not stopping.is_set():
                for chunk in reader.poll(0.1):
                    self._gather(chunk)
                late = time.monotonic() - self._since >= BLOCK_SECONDS
                if self._rows >= BLOCK_ROWS or (self._rows and late) or self._newly_deleted:
                    self._store()
                if time.monotonic() - self._looked >= LOOK_SECONDS:
                    self._complete()
                held_back = {place: self.position[place] for place in self._gathered}
                self.reached = {place: reader.position[place] for place in self._followed} | held_back
        self._store()

    def _recover(self) -> None:
        """Find where the last sink stopped, and repeat the blocks that it may not have finished."""
        noted = self.tables.offsets(self.namespace)
        known = {place: noted[place] for place in self._followed & noted.keys()}
        with LogReader(self.bootstrap, self.namespace, {}) as reader:
            begin = reader.begin_offsets(sorted(self._followed))
            self._clock_read = reader.end_offsets([_CLOCK])[_CLOCK]  # all before it is read now
        self.position = begin | {place: behind for place, (_, behind, _) in known.items()}
        open_blocks = {place: (first, behind) for place, (first, behind, stored) in known.items() if not stored}
        clocks = list(read_clocks(self.bootstrap, self.namespace))
        self._deleted = {clock.run for clock in clocks if clock.aborted == DELETED}
        self._newly_deleted = self._deleted & self.tables.runs_with_records()
        self._check_deleted(clocks, self.position | {place: block[0] for place, block in open_blocks.items()}, begin)
        if open_blocks:
            log.info("repeating %d blocks", len(open_blocks))
            first = {place: max(block[0], begin[place]) for place, block in open_blocks.items()}
            for chunk in read_range(self.bootstrap, self.namespace, first, self.position):
                self._gather(chunk)
            self._leave_out_held(open_blocks)
        self._insert(open_blocks)
        self.position = {place: max(offset, begin[place]) for place, offset in self.position.items()}
        # Whoever completes runs sees what other sinks hold by their notes alone, of empty partitions too.
        nothing = {place: (offset, offset) for place, offset in self.position.items()}
        self.tables.note_offsets(self.namespace, nothing, stored=True)
        log.info("following %d partitions", len(self._followed))

    def _leave_out_held(self, blocks: Mapping[Place, tuple[int, int]]) -> None:
        """Drop of the gathered blocks what the tables hold: while this sink was away, others may have inserted more
        blocks than a table remembers tokens."""
        for place, block in blocks.items():
            runs: dict[str, set[int]] = {}
            for chunk in self._gathered.get(place, ()):
                for name, rows in chunk.rows.items():
                    runs.setdefault(name, set()).update(np.unique(rows[:, 0]).tolist())
                for _, name, record in chunk.cold:
                    runs.setdefault(name, set()).add(record["run"])
            for name in runs.keys() & TABLES.keys():
                held = self.tables.held(name, sorted(runs[name]), place[1], block)
                for chunk in self._gathered[place]:
                    _leave_out(chunk, held, {name})

    def _check_deleted(
        self, clocks: Sequence[ClockLog], wanted: Mapping[Place, int], begin: Mapping[Place, int]
    ) -> None:
        """Raise ProtocolError when a run that was not deleted needs records that were, before they were read."""
        gaps = {place: (offset, begin[place]) for place, offset in wanted.items() if offset < begin[place]}
        if not gaps:
            return
        for clock in clocks:
            if clock.started is None or clock.aborted == DELETED:
                continue
            ends = clock.finished["end_offsets"] if clock.finished else {}
            for (family, partition), (first, behind) in gaps.items():
                starts = clock.started["start_offsets"].get(family, [])
                if partition >= len(starts) or starts[partition] >= behind:
                    continue
                if family not in ends or ends[family][partition] > first:
                    raise ProtocolError(
                        f"records of run {clock.run} on {family}[{partition}] were deleted before they were stored: "
                        f"offsets {max(first, starts[partition])} to {behind}",
                        f"restore the topic, or `escape runs delete {clock.run}`",
                    )
        log.info("passing what was deleted with its runs: %s", gaps)

    def _gather(self, chunk: Chunk) -> None:
        if chunk.family == CLOCK:
            self._newly_deleted |= {
                record["run"] for _, name, record in chunk.cold
                if name == "RunAborted" and record["reason"] == DELETED
            }  # fmt: skip
        if chunk.place not in self._followed:
            return
        if not self._rows:
            self._since = time.monotonic()
        if chunk.defects and chunk.family != ORDERS:  # matching buries those of the orders
            self._undecodable.setdefault(chunk.family, []).extend(
                (chunk.partition, int(chunk.offsets[i]), defect.name, chunk.values[i]) for i, defect in chunk.defects
            )
        # The bytes are not needed any more; a block of them would take hundreds of megabytes.
        chunk.values, chunk.keys = (), ()
        self._gathered.setdefault(chunk.place, []).append(chunk)
        self._rows += len(chunk.offsets)

    def _store(self) -> None:
        blocks = {
            place: (self.position[place], int(chunks[-1].offsets[-1]) + 1) for place, chunks in self._gathered.items()
        }
        if blocks:
            self._check_alone(blocks)
            self.tables.note_offsets(self.namespace, blocks, stored=False)
        self._insert(blocks)

    def _check_alone(self, places: Iterable[Place]) -> None:
        """Raise SetupError when the tables have moved under us: tokens cannot tell two sinks' records apart."""
        noted = self.tables.offsets(self.namespace)
        for place in places:
            if noted.get(place, (0, -1, False))[1:] != (self.position[place], True):
                raise SetupError(
                    f"another sink stores {place[0]}[{place[1]}] as well",
                    "give each of n sinks a part of its own: --partitions-of 0/n to n-1/n",
                )

    def _insert(self, blocks: Mapping[Place, tuple[int, int]]) -> None:
        """Store what was gathered, then delete what was stored of runs that have been deleted meanwhile."""
        began, rows = time.monotonic(), self._rows
        self._deleted |= self._newly_deleted
        for place, (first, behind) in blocks.items():
            chunks = self._gathered.pop(place, [])
            if not chunks:
                continue  # the block held only offsets without records
            for chunk in chunks:
                _leave_out(chunk, self._deleted)
            token = f"{topic(self.namespace, place[0])}:{place[1]}:{first}:{behind}"
            self.stored += self.tables.store(chunks, token)
            for chunk in chunks:
                if chunk.defects:
                    log.warning("%s %d: %d records cannot be decoded", *place, len(chunk.defects))
                    self.tables.store_defects(self.namespace, chunk)
            if self._keeper and place == _CLOCK:
                self._keeper.take(chunks)
        for family, letters in self._undecodable.items():
            deadletters.bury(self.bootstrap, self.namespace, family, letters)
        self._undecodable.clear()
        for run in self._newly_deleted:
            self.tables.forget(run)
            if self._keeper:
                self._keeper.forget(run)
        self._newly_deleted.clear()
        if blocks:
            self.tables.note_offsets(self.namespace, blocks, stored=True)
            self.position |= {place: behind for place, (_, behind) in blocks.items()}
            log.info("%d records in %.0f ms", rows, 1000 * (time.monotonic() - began))
        self._rows = 0
        self._complete()

    def _complete(self) -> None:
        self._looked = time.monotonic()
        if self._keeper:
            self._keeper.complete()


def _leave_out(chunk: Chunk, runs: set[int], names: Collection[str] | None = None) -> None:
    """Drop the records of some runs, whose number is the first field of every event; `names`: of these kinds alone."""
    if not runs:
        return

    def kept(name: str, rows: Rows) -> Rows:
        left = ~np.isin(rows[:, 0], list(runs))
        return np.flatnonzero(left if names is None or name in names else np.ones_like(left))

    at = {name: kept(name, rows) for name, rows in chunk.rows.items()}
    chunk.rows = {name: chunk.rows[name][places] for name, places in at.items() if len(places)}
    chunk.index = {name: chunk.index[name][places] for name, places in at.items() if len(places)}
    chunk.cold = [
        (position, name, record) for position, name, record in chunk.cold
        if record.get("run") not in runs or (names is not None and name not in names)
    ]  # fmt: skip


def serve(options: SinkSettings) -> None:
    """Follow the log until SIGTERM. Raises SetupError when the broker or ClickHouse is away for long."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    config = ClickHouseConfig.from_dsn(options.clickhouse_url)
    try:
        followed = Share.parse(options.partitions_of).of(options.partitions, options.flow_partitions)
        tables = Tables(config)
        sink = Sink(options.bootstrap, options.namespace, followed, tables)
        options.data.mkdir(parents=True, exist_ok=True)
        # Patient: ClickHouse may be busy for minutes, and one that is away ends the sink by itself.
        watch = Watch(options, lambda: sink.reached, end, patient=True)
        watch.start()
        sink.run(stopping)
        watch.stop()
        tables.close()
    except KafkaException as error:
        raise SetupError(f"the broker at {options.bootstrap} failed: {error}", "is it up?") from error
    except Error as error:
        raise SetupError(f"ClickHouse at {config.url} failed: {error}", "is it up?") from error


if __name__ == "__main__":
    sys.exit(run_process(SinkSettings, serve))
