"""The sink: follows the log and copies every record into ClickHouse once: `python -m streams.sink --bootstrap … `.

It reads by explicit offsets and gathers a block per partition. Before a block is inserted its bounds are written to
sink_offsets; every insert of it carries the token `topic:partition:start:end:table`. A sink that was killed in between
reads the same bounds again and repeats the block: what is there already is dropped by its token, the rest is added. So
no record is lost, and none is there twice, even before ClickHouse merges equal rows.

Records of a deleted run may still come, of a matching or a projection that was behind: they are passed over, and what
was stored before its deletion was read is deleted then.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from clickhouse_connect.driver.exceptions import Error
from confluent_kafka import KafkaException

from economy.errors import EscapeError, ProtocolError, SetupError
from schemas.catalogue import BALANCES, CLOCK, DECISIONS, FACTS, FLOWS, INDICATORS, ORDERS, TRADES, topic
from schemas.log import deadletters
from schemas.log.clocklog import DELETED, ClockLog, read_clocks
from schemas.log.reader import Chunk, LogReader, Place, read_range
from streams.runrows import apply, reached
from streams.tables import Tables

log = logging.getLogger("escape.sink")
BLOCK_ROWS: Final = 200_000
BLOCK_SECONDS: Final = 1.0
PASSWORD: Final = "CLICKHOUSE_PASSWORD"  # environment variable
_PAUSES: Final = ("RunPaused", "RunResumed")


def places(partitions: int, flow_partitions: int) -> list[Place]:
    """Every partition that the sink follows."""
    counts = {ORDERS: partitions, TRADES: partitions, DECISIONS: flow_partitions, FLOWS: flow_partitions}
    counts |= {CLOCK: 1, BALANCES: 1, INDICATORS: 1}
    return [(family, p) for family in FACTS for p in range(counts[family])]


class Sink:
    """One sink of one namespace. `position` is what the tables hold, per partition."""

    def __init__(self, bootstrap: str, namespace: str, followed: Sequence[Place], tables: Tables) -> None:
        self.bootstrap, self.namespace = bootstrap, namespace
        self.tables = tables
        self.position: dict[Place, int] = {}
        self.stored = 0
        self._followed = list(followed)
        self._gathered: dict[Place, list[Chunk]] = {}
        self._undecodable: dict[str, list[deadletters.Letter]] = {}
        self._rows = 0
        self._since = 0.0
        self._deleted: set[int] = set()
        self._newly_deleted: set[int] = set()
        self._waiting = {row["run"]: row for row in tables.finished_runs(namespace)}

    def run(self, stopping: threading.Event) -> None:
        """Follow the log until `stopping`, then store what was gathered."""
        self._recover()
        with LogReader(self.bootstrap, self.namespace, self.position) as reader:
            while not stopping.is_set():
                for chunk in reader.poll(0.1):
                    self._gather(chunk)
                if self._rows >= BLOCK_ROWS or (self._rows and time.monotonic() - self._since >= BLOCK_SECONDS):
                    self._store()
        self._store()

    def _recover(self) -> None:
        """Find where the last sink stopped, and repeat the blocks that it may not have finished."""
        known = self.tables.offsets(self.namespace)
        new = [place for place in self._followed if place not in known]
        with LogReader(self.bootstrap, self.namespace, {}) as reader:
            begin = reader.begin_offsets(self._followed)
        self.position = {place: begin[place] for place in new}
        self.position |= {place: behind for place, (_, behind, _) in known.items() if place in self._followed}
        open_blocks = {
            place: (first, behind)
            for place, (first, behind, stored) in known.items()
            if place in self._followed and not stored
        }
        clocks = list(read_clocks(self.bootstrap, self.namespace))
        self._deleted = {clock.run for clock in clocks if clock.aborted == DELETED}
        self._check_deleted(clocks, self.position | {place: block[0] for place, block in open_blocks.items()}, begin)
        if open_blocks:
            log.info("repeating %d blocks", len(open_blocks))
            first = {place: max(block[0], begin[place]) for place, block in open_blocks.items()}
            for chunk in read_range(self.bootstrap, self.namespace, first, self.position):
                self._gather(chunk)
            self._insert(open_blocks)
        self.position = {place: max(offset, begin[place]) for place, offset in self.position.items()}
        self._complete()

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
        if not self._rows:
            self._since = time.monotonic()
        if chunk.defects and chunk.family != ORDERS:  # matching buries those of the orders
            self._undecodable.setdefault(chunk.family, []).extend(
                (chunk.partition, int(chunk.offsets[i]), defect.name, chunk.values[i]) for i, defect in chunk.defects
            )
        if chunk.family == CLOCK:
            self._newly_deleted |= {
                record["run"] for _, name, record in chunk.cold
                if name == "RunAborted" and record["reason"] == DELETED
            }  # fmt: skip
        # The bytes are not needed any more; a block of them would take hundreds of megabytes.
        chunk.values, chunk.keys = (), ()
        self._gathered.setdefault(chunk.place, []).append(chunk)
        self._rows += len(chunk.offsets)

    def _store(self) -> None:
        if not self._rows:
            return
        blocks = {
            place: (self.position[place], int(chunks[-1].offsets[-1]) + 1) for place, chunks in self._gathered.items()
        }
        self.tables.note_offsets(self.namespace, blocks, stored=False)
        self._insert(blocks)

    def _insert(self, blocks: Mapping[Place, tuple[int, int]]) -> None:
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
            if place[0] == CLOCK:
                self._clock(chunks)
        for family, letters in self._undecodable.items():
            deadletters.bury(self.bootstrap, self.namespace, family, letters)
        self._undecodable.clear()
        for run in self._newly_deleted:
            self.tables.forget(run)
            self._waiting.pop(run, None)
        self._newly_deleted.clear()
        self.tables.note_offsets(self.namespace, blocks, stored=True)
        self.position |= {place: behind for place, (_, behind) in blocks.items()}
        self._rows = 0
        self._complete()
        log.info("%d records in %.0f ms", rows, 1000 * (time.monotonic() - began))

    def _clock(self, chunks: Sequence[Chunk]) -> None:
        """Bring the rows of the runs up to the clock's records, in their order."""
        records: list[tuple[int, str, dict[str, Any]]] = []
        for chunk in chunks:
            records += [(int(chunk.offsets[at]), name, record) for at, name, record in chunk.cold]
            for name in _PAUSES:
                for at, row in zip(chunk.index.get(name, ()), chunk.rows.get(name, ()), strict=True):
                    records.append((int(chunk.offsets[at]), name, {"run": int(row[0])}))
        before = {record["run"]: self.tables.run(self.namespace, record["run"]) for _, _, record in records}
        after = dict(before)
        for _, name, record in sorted(records, key=lambda found: found[0]):
            after[record["run"]] = apply(after[record["run"]], name, record)
        for run, row in after.items():
            if row != before[run]:
                self.tables.put_run(row)
            if row["state"] in ("finished", "projected"):
                self._waiting[run] = row

    def _complete(self) -> None:
        """Mark finished runs whose every record is in the tables by now."""
        for run, row in list(self._waiting.items()):
            if reached(self.position, row):
                del self._waiting[run]
                newest = self.tables.run(self.namespace, run)
                if newest["state"] in ("finished", "projected"):
                    self.tables.put_run({**newest, "state": "stored"})
                self.tables.merge(run)


def _leave_out(chunk: Chunk, runs: set[int]) -> None:
    """Drop the records of some runs, whose number is the first field of every event."""
    if not runs:
        return
    kept = {name: np.flatnonzero(~np.isin(rows[:, 0], list(runs))) for name, rows in chunk.rows.items()}
    chunk.rows = {name: chunk.rows[name][at] for name, at in kept.items() if len(at)}
    chunk.index = {name: chunk.index[name][at] for name, at in kept.items() if len(at)}
    chunk.cold = [found for found in chunk.cold if found[2].get("run") not in runs]


def main() -> None:
    """Parse the arguments and follow the log until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m streams.sink", description="Copies the log into ClickHouse")
    parser.add_argument("--bootstrap", required=True, help="address of the broker")
    parser.add_argument("--namespace", default="escape", help="prefix of the topics")
    parser.add_argument("--partitions", type=int, default=1, help="order and trade partitions of the namespace")
    parser.add_argument("--flow-partitions", type=int, default=1, help="flow and decision partitions")
    parser.add_argument("--clickhouse-url", required=True, help=f"HTTP address; the password is read from {PASSWORD}")
    parser.add_argument("--clickhouse-user", default="escape")
    parser.add_argument("--clickhouse-database", default="escape")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for noisy in ("urllib3", "clickhouse_connect"):  # while ClickHouse restarts, one line per attempt is enough
        logging.getLogger(noisy).setLevel(logging.ERROR)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        tables = Tables(
            options.clickhouse_url,
            options.clickhouse_user,
            os.environ.get(PASSWORD, ""),
            options.clickhouse_database,
        )
        followed = places(options.partitions, options.flow_partitions)
        Sink(options.bootstrap, options.namespace, followed, tables).run(stopping)
        tables.close()
    except KafkaException as error:
        sys.exit(f"escape: {SetupError(f'the broker at {options.bootstrap} failed: {error}', 'is it up?')}")
    except Error as error:
        sys.exit(f"escape: {SetupError(f'ClickHouse at {options.clickhouse_url} failed: {error}', 'is it up?')}")
    except EscapeError as problem:
        sys.exit(f"escape: {problem}")


if __name__ == "__main__":
    main()
