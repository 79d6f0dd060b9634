"""A toy run for the matching worker: two submitters' orders, epoch by epoch, and what the market makes of them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from economy.instruments import Instrument
from economy.markets.market import Market
from economy.records import events as e
from economy.records.canonical import merge
from economy.records.digest import mark
from economy.records.events import ChainScope, Events, InstrumentClass, Rows, RunMode
from schemas.catalogue import ORDERS, TRADES
from schemas.log.assembly import EpochAssembler
from schemas.log.reader import LogReader, read_all
from schemas.log.writer import LogWriter
from streams.settings import MatchingSettings
from tests.processes import PATIENCE

L, SHARDS, SEED = 20, 2, 11
INSTRUMENTS = [
    Instrument(i, f"I{i}", InstrumentClass.GOOD, item=i, fixing_ticks=100, reference_price=1000) for i in range(4)
]
INSTRUMENTS.append(  # halts every few epochs, so that a kill meets it in a call too
    replace(INSTRUMENTS[0], instrument=4, item=4, band_bp=170, breaker_bp=120, halt_ticks=15, open_ticks=10)
)


def orders(run: int, shard: int, epoch: int, count: int) -> Rows:
    o = e.OrderSubmitted
    rng = np.random.default_rng([run, shard, epoch])
    rows = np.zeros((count, o.width), np.int64)
    rows[:, o.RUN] = run
    rows[:, o.TICK] = epoch * L + np.sort(rng.integers(0, L, count))  # ids rise with time
    rows[:, o.AGENT] = rng.integers(0, 20, count) * SHARDS + shard
    rows[:, o.N] = rows[:, o.ORDER] = epoch * 10_000 + np.arange(count) + 1
    rows[:, o.INSTRUMENT] = rng.integers(0, len(INSTRUMENTS), count)
    rows[:, o.SIDE] = rng.integers(0, 2, count)
    rows[:, o.TIF] = rng.integers(0, 3, count)
    rows[:, o.PRICE] = 1000 + rng.integers(-20, 21, count)
    rows[:, o.QUANTITY] = rng.integers(1, 100, count)
    rows[:, o.EXPIRES] = np.where(rng.random(count) < 0.5, rows[:, o.TICK] + 30, 0)
    return rows


def open_run(writer: LogWriter, run: int, partitions: int, last: int, mode: RunMode = RunMode.EPOCHS) -> None:
    opened = np.array([[run, mode, SEED, SHARDS, partitions, 1, L, last]])
    for p in range(partitions):
        writer.send_rows("RunOpened", opened, p)
        for instrument in INSTRUMENTS:
            if instrument.instrument % partitions == p:
                writer.send_record("InstrumentListed", instrument.record(run), p)


def send_epoch(writer: LogWriter, run: int, epoch: int, partitions: int, last: int, count: int) -> None:
    for shard in range(SHARDS):
        rows = orders(run, shard, epoch, count)
        for p in range(partitions):
            mine = rows[rows[:, e.OrderSubmitted.INSTRUMENT] % partitions == p]
            writer.send_rows("OrderSubmitted", mine, p)
            n, digest, chain = mark({"OrderSubmitted": mine}, ChainScope.ORDERS, 0)
            closed = np.array([[run, epoch, shard, p, n, digest, chain, int(epoch == last), 1]])
            writer.send_rows("EpochClosed", closed, p, ORDERS)
    writer.flush()


def expected(run: int, epochs: int, count: int) -> list[Events]:
    market = Market(run, SEED, L, INSTRUMENTS)
    none = np.empty((0, e.OrderCancelRequested.width), np.int64)
    return [
        market.match_epoch(x, np.concatenate([orders(run, s, x, count) for s in range(SHARDS)]), none)
        for x in range(epochs)
    ]


def matched(
    bootstrap: str, namespace: str, run: int, partitions: int, epochs: int, timeout: float = PATIENCE
) -> list[Events]:
    """Output of the run, epoch by epoch, duplicates dropped; waits until all is there."""
    assembler = EpochAssembler(run, SHARDS, partitions, 1, L, (TRADES,), next_epoch=0)
    out, limit = [], time.monotonic() + timeout
    with LogReader(bootstrap, namespace, {(TRADES, p): 0 for p in range(partitions)}) as reader:
        while len(out) < epochs:
            assert time.monotonic() < limit, assembler.missing(len(out))
            for chunk in reader.poll(0.2):
                assembler.add(chunk)
            while assembler.complete():
                out.append(assembler.take()[1][TRADES])
    return out


def equal(a: Events, b: Events) -> bool:
    from economy.records.canonical import sort_traded

    return a.keys() == b.keys() and all((sort_traded(a[k]) == sort_traded(b[k])).all() for k in a)


def start_worker(
    bootstrap: str, namespace: str, partitions: int, folder: Path, name: str = "w0", options: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    told = MatchingSettings(bootstrap=bootstrap, namespace=namespace, partitions=partitions, data=folder, name=name)
    command = [*told.command(), *options]
    with open(folder / f"{name}.log", "ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def all_trades(bootstrap: str, namespace: str, partitions: int) -> Events:
    return merge([c.rows for c in read_all(bootstrap, namespace, [(TRADES, p) for p in range(partitions)])])
