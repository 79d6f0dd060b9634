"""Orders from outside through the stream: a free-running run, matched in strict offset order."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np

from economy.errors import ProtocolError
from economy.records import canonical
from economy.records import events as e
from economy.records.digest import DIGEST_VERSION, FreeDigest
from economy.records.events import Events, RejectReason, RunMode
from economy.scenario import RULES_VERSION
from runs.protocol import by_family, close_run, environment, places
from runs.tapes.flow import Batch, Flow
from schemas.catalogue import EVENTS, FLOWS, TRADES, locked_ids, partition_of
from schemas.log.reader import LogReader, Place, end_offsets
from schemas.log.writer import BULK, LogWriter, WriteError

OnProgress = Callable[[int, int], None]  # (orders and cancels sent, trades seen)
OnOutput = Callable[[Events], None]  # the market's output as it comes, without repeats


@dataclass
class Ingested:
    """A tape that went through the stream. `rejected` counts by reason."""

    run: int
    orders: int = 0
    cancels: int = 0
    trades: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    digest: str = ""
    seconds: float = 0.0


def ingest(
    bootstrap: str,
    namespace: str,
    partitions: int,
    flow_partitions: int,
    run: int,
    flow: Flow,
    on_output: OnOutput | None = None,
    on_progress: OnProgress | None = None,
    patience: float = 120.0,
) -> Ingested:
    """Send a tape to the order partitions of its instruments and wait until all of it is matched.

    Memory does not grow with the tape. Whatever ends it early (a tape that turns out to be wrong, an interruption) is
    written on the log as RunAborted and raised. Raises ProtocolError when the matching worker makes no progress for
    `patience` seconds.
    """
    began = time.monotonic()
    told = _Ingestion(bootstrap, namespace, partitions, flow_partitions, run, on_output, on_progress, patience).go(flow)
    told.seconds = time.monotonic() - began
    return told


class _Ingestion:
    def __init__(
        self, bootstrap: str, namespace: str, partitions: int, flow_partitions: int, run: int,
        on_output: OnOutput | None, on_progress: OnProgress | None, patience: float,
    ) -> None:  # fmt: skip
        self.bootstrap, self.namespace = bootstrap, namespace
        self.partitions, self.flow_partitions = partitions, flow_partitions
        self.run, self.told = run, Ingested(run)
        self._on_output, self._on_progress, self._patience = on_output, on_progress, patience
        self._writer = LogWriter(bootstrap, namespace, **BULK)
        self._digest = FreeDigest()
        self._ticks = 0
        self._matched: set[int] = set()  # partitions whose last output is there
        self._limit = 0.0

    def go(self, flow: Flow) -> Ingested:
        start = self._ends()
        self._open(flow, start)
        with self._aborted_on_failure(), LogReader(self.bootstrap, self.namespace, _trades(start)) as reader:
            for batch in flow.batches:
                self._send(batch)
                while self._take(reader, 0.0):
                    pass
            close_run(self._writer, self.run, self.partitions, self.flow_partitions)
            self._limit = time.monotonic() + self._patience
            while len(self._matched) < self.partitions:
                self._take(reader, 0.5)
                if time.monotonic() > self._limit:
                    raise ProtocolError(
                        f"matching of run {self.run} stands still since {self._patience:.0f} s",
                        "see matching.jsonl in the logs folder",
                    )
            self._finish()
        return self.told

    def _ends(self) -> dict[Place, int]:
        return end_offsets(self.bootstrap, self.namespace, places(self.partitions, self.flow_partitions))

    def _open(self, flow: Flow, start: dict[Place, int]) -> None:
        """RunOpened everywhere, the instruments and agents, then RunStarted."""
        writer, run = self._writer, self.run
        opened = [[run, RunMode.FREE, 0, 1, self.partitions, self.flow_partitions, 1, -1]]
        for family, partition in places(self.partitions, self.flow_partitions):
            if family != TRADES:
                writer.send_rows(e.RunOpened.name, np.array(opened, np.int64), partition, family)
        for instrument in flow.instruments:
            partition = partition_of(instrument.instrument, self.partitions)
            writer.send_record("InstrumentListed", instrument.record(run), partition)
        for agent, name in enumerate(flow.agents):
            record = {"run": run, "tick": 0, "agent": agent, "n": 0, "name": name, "role": "gateway"}
            writer.send_record("AgentFounded", record, partition_of(agent, self.flow_partitions), FLOWS)
        writer.flush()
        writer.send_rows("ClockStarted", np.array([[run, 1]], np.int64), 0)
        writer.send_record("RunStarted", self._started(flow.name, start), 0)
        writer.flush()

    def _started(self, name: str, start: dict[Place, int]) -> dict[str, object]:
        return {
            "run": self.run,
            "scenario_name": name,
            "scenario": "{}",
            "seed": 0,
            "rules_version": RULES_VERSION,
            "digest_version": DIGEST_VERSION,
            "schemas": {str(EVENTS[n].schema_id): entries[-1]["fingerprint"] for n, entries in locked_ids().items()},
            "environment": environment(""),
            "shards": 1,
            "partitions": self.partitions,
            "flow_partitions": self.flow_partitions,
            "epoch_ticks": 1,
            "last_epoch": -1,
            "start_offsets": by_family(start),
            "parent": 0,
            "parent_epoch": -1,
            "wall_time": time.time_ns() // 1_000_000,
        }

    def _send(self, batch: Batch) -> None:
        orders, cancels = batch.orders.copy(), batch.cancels.copy()
        orders[:, 0] = cancels[:, 0] = self.run
        names = (e.OrderSubmitted.name, e.OrderCancelRequested.name)
        for partition, part in Batch(orders, cancels, batch.arrival).split(self.partitions):
            rows = dict(zip(names, (part.orders, part.cancels), strict=True))
            self._writer.send_interleaved(rows, np.argsort(part.arrival, kind="stable"), partition)
        self._digest.submitted(dict(zip(names, (orders, cancels), strict=True)))
        self.told.orders += len(orders)
        self.told.cancels += len(cancels)
        for records in (orders, cancels):
            self._ticks = max(self._ticks, int(records[:, canonical.TICK].max(initial=0)))
        self._tell()

    def _take(self, reader: LogReader, timeout: float) -> bool:
        """Take in the output that is there; False when there was none."""
        chunks = reader.poll(timeout)
        m = e.EpochMatched
        for chunk in chunks:
            self._limit = time.monotonic() + self._patience
            mine = {name: rows[rows[:, 0] == self.run] for name, rows in chunk.rows.items()}
            fresh = self._digest.traded(canonical.select(mine, canonical.TRADE_TYPES))
            self.told.trades += len(fresh.get(e.TradeExecuted.name, ()))
            r = e.OrderRejected
            for reason, count in enumerate(np.bincount(fresh[r.name][:, r.REASON]) if r.name in fresh else ()):
                if count:
                    self.told.rejected[RejectReason(reason).name.lower()] += int(count)
            if self._on_output is not None:
                self._on_output(fresh)
            self._matched |= {row[m.PARTITION] for row in mine.get(m.name, np.empty((0, m.width), np.int64)).tolist()}
        self._tell()
        return bool(chunks)

    def _tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self.told.orders + self.told.cancels, self.told.trades)

    def _finish(self) -> None:
        self.told.digest = self._digest.hexdigest()
        finished = {
            "run": self.run,
            "incarnation": 1,
            "end_offsets": by_family(self._ends()),
            "digest": self.told.digest,
            "root": "",
            "ticks": self._ticks,
        }
        self._writer.send_record("RunFinished", finished, 0)
        self._writer.flush()

    @contextmanager
    def _aborted_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            record = {"run": self.run, "incarnation": 1, "epoch": -1, "reason": f"the tape was not taken in: {reason}"}
            with suppress(WriteError):  # the broker may be what failed; the first error counts
                self._writer.send_record("RunAborted", record, 0)
                close_run(self._writer, self.run, self.partitions, self.flow_partitions)
            raise


def _trades(start: dict[Place, int]) -> dict[Place, int]:
    return {place: offset for place, offset in start.items() if place[0] == TRADES}
