"""Orders from outside through the stream: a free-running run, matched in strict offset order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from economy import canonical
from economy import events as e
from economy.digest import DIGEST_VERSION, digest_of
from economy.errors import ProtocolError
from economy.events import Events, Rows, RunMode
from economy.instruments import Instrument
from runs.protocol import by_family, environment
from schemas.catalogue import EVENTS, ORDERS, TRADES, locked_ids, partition_of
from schemas.log.reader import LogReader, end_offsets
from schemas.log.writer import LogWriter

OnTrades = Callable[[int, int], None]  # (orders sent, trades seen)


@dataclass(frozen=True)
class Ingested:
    """A tape that went through the stream; `events` is the market's output, duplicates dropped."""

    run: int
    orders: int
    events: Events
    digest: str
    seconds: float


def ingest(
    bootstrap: str,
    namespace: str,
    partitions: int,
    run: int,
    name: str,
    instrument: Instrument,
    orders: Rows,
    cancels: Rows,
    arrival: NDArray[np.int64],
    on_progress: OnTrades | None = None,
    patience: float = 120.0,
) -> Ingested:
    """Send a tape to its order partition and wait until all of it is matched.

    `arrival` (len(orders) + len(cancels),) gives the place of each record, orders first. Raises ProtocolError when the
    matching worker makes no progress for `patience` seconds.
    """
    began = time.monotonic()
    partition = partition_of(instrument.instrument, partitions)
    place = (TRADES, partition)
    start = end_offsets(bootstrap, namespace, [place, (ORDERS, partition)])
    writer = LogWriter(bootstrap, namespace)
    opened = [[run, RunMode.FREE, 0, 1, partitions, 1, 1, -1]]
    writer.send_rows(e.RunOpened.name, np.array(opened, np.int64), partition)
    writer.send_record("InstrumentListed", instrument.record(run), partition)
    _announce(writer, run, name, partitions, by_family(start))
    parts: dict[str, Rows] = {}
    for kind, rows in ((e.OrderSubmitted, orders), (e.OrderCancelRequested, cancels)):
        rows = rows.copy()
        rows[:, 0] = run
        parts[kind.name] = rows
    writer.send_interleaved(parts, np.argsort(arrival, kind="stable"), partition)
    writer.send_rows(e.RunClosed.name, np.array([[run]], np.int64), partition, ORDERS)
    writer.flush()
    got = _collect(bootstrap, namespace, run, (TRADES, partition), start[place], len(orders), on_progress, patience)
    digest = digest_of([(0, parts | got)])
    finished = {
        "run": run,
        "incarnation": 1,
        "end_offsets": by_family(end_offsets(bootstrap, namespace, [place, (ORDERS, partition)])),
        "digest": digest,
        "root": "",
        "ticks": int(orders[:, e.OrderSubmitted.TICK].max(initial=0)),
    }
    writer.send_record("RunFinished", finished, 0)
    writer.flush()
    return Ingested(run, len(orders), got, digest, time.monotonic() - began)


def _announce(writer: LogWriter, run: int, name: str, partitions: int, start: dict[str, list[int]]) -> None:
    started = {
        "run": run,
        "scenario_name": name,
        "scenario": "{}",
        "seed": 0,
        "rules_version": 1,
        "digest_version": DIGEST_VERSION,
        "schemas": {str(EVENTS[n].schema_id): entries[-1]["fingerprint"] for n, entries in locked_ids().items()},
        "environment": environment(""),
        "shards": 1,
        "partitions": partitions,
        "flow_partitions": 1,
        "epoch_ticks": 1,
        "last_epoch": -1,
        "start_offsets": start,
        "parent": 0,
        "parent_epoch": -1,
        "wall_time": time.time_ns() // 1_000_000,
    }
    writer.send_rows("ClockStarted", np.array([[run, 1]], np.int64), 0)
    writer.send_record("RunStarted", started, 0)


def _collect(
    bootstrap: str, namespace: str, run: int, place: tuple[str, int], start: int, orders: int,
    on_progress: OnTrades | None, patience: float,
) -> Events:  # fmt: skip
    """All output of the run behind `start`, up to its EpochMatched; repeats of a seq are dropped."""
    parts: list[Events] = []
    trades, limit = 0, time.monotonic() + patience
    with LogReader(bootstrap, namespace, {place: start}) as reader:
        while True:
            for chunk in reader.poll(0.5):
                limit = time.monotonic() + patience
                mine = {name: rows[rows[:, 0] == run] for name, rows in chunk.rows.items()}
                parts.append(canonical.select(mine, canonical.TRADE_TYPES))
                trades += len(mine.get(e.TradeExecuted.name, ()))
                if len(mine.get(e.EpochMatched.name, ())):
                    merged = canonical.merge(parts)
                    return {name: _distinct(rows) for name, rows in merged.items()}
            if on_progress:
                on_progress(orders, trades)
            if time.monotonic() > limit:
                raise ProtocolError(
                    f"matching of run {run} stands still since {patience:.0f} s", "see matching.log in the logs folder"
                )


def _distinct(rows: Rows) -> Rows:
    ordered = canonical.sort_traded(rows)
    repeated = (ordered[1:, [1, 2]] == ordered[:-1, [1, 2]]).all(1)
    return ordered[np.r_[True, ~repeated]]
