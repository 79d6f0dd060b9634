"""A synthetic run for `bench.spark`: N trades on Kafka, with the few other records that GDP and Gini need beside them.

The same trades lie as columns in a Parquet file for the engines that cannot read the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from economy.instruments import Instrument
from economy.records import events as e
from economy.records.events import Account, InstrumentClass, Role, Side, TransferKind, Use
from economy.scenario import Scenario, load_scenario
from jobs.source import Extent, RunRange
from schemas.catalogue import FLOWS, TRADES
from schemas.log import topics
from schemas.log.reader import end_offsets
from schemas.log.writer import LogWriter

RUN: Final = 1
PARTITIONS: Final = 4  # of the trades topic: what 2 cores can share out
PRODUCTS: Final = 13  # the last three are services
FIRMS: Final = range(10, 40)
HOUSEHOLDS: Final = range(40, 540)
OPENING: Final = 10**13  # deposits of each household, in 1e-8 of the currency
CHUNK: Final = 500_000
_VAT: Final = 10  # 1/10 on consumption


def scenario() -> Scenario:
    """Ten years: 40 windows of 10 rounds."""
    return load_scenario("village", {"years": "10"})


def instruments() -> tuple[Instrument, ...]:
    """Goods, then services."""
    return tuple(
        Instrument(
            i, f"P{i}", InstrumentClass.GOOD if i < PRODUCTS - 3 else InstrumentClass.SERVICE, i,
            fixing_ticks=scenario().time.round_ticks, reference_price=10_000,
        )
        for i in range(PRODUCTS)
    )  # fmt: skip


def trades(first: int, count: int, total: int) -> NDArray[np.int64]:
    """Rows `first` to `first + count` of `total` TradeExecuted, spread evenly over time."""
    t, rng = e.TradeExecuted, np.random.default_rng([first, total])
    rows = np.zeros((count, t.width), np.int64)
    number = np.arange(first, first + count)
    rows[:, t.RUN], rows[:, t.SEQ] = RUN, number // PRODUCTS
    rows[:, t.INSTRUMENT] = number % PRODUCTS
    rows[:, t.TICK] = number * scenario().time.ticks // total
    rows[:, t.PRICE] = rng.integers(8_000, 12_000, count)
    rows[:, t.QUANTITY] = rng.integers(1, 500, count)
    rows[:, t.MAKER_AGENT] = rng.integers(FIRMS.start, FIRMS.stop, count)
    eaten = rng.random(count) < 0.6
    household, firm = (rng.integers(r.start, r.stop, count) for r in (HOUSEHOLDS, FIRMS))
    rows[:, t.TAKER_AGENT] = np.where(eaten, household, firm)
    rows[:, t.MAKER_ORDER], rows[:, t.TAKER_ORDER] = number, number + 1
    rows[:, t.TAKER_SIDE] = Side.BUY
    rows[:, t.USE] = np.where(eaten, Use.CONSUMPTION, Use.INTERMEDIATE)
    service = rows[:, t.INSTRUMENT] >= PRODUCTS - 3
    rows[:, t.INSTRUMENT_CLASS] = np.where(service, InstrumentClass.SERVICE, InstrumentClass.GOOD)
    rows[:, t.NOTIONAL] = rows[:, t.PRICE] * rows[:, t.QUANTITY] * 100
    rows[:, t.TAX] = np.where(eaten, rows[:, t.NOTIONAL] // _VAT, 0)
    return rows


def prices() -> NDArray[np.int64]:
    """PriceFixed at the end of every round."""
    p, time = e.PriceFixed, scenario().time
    rounds = time.ticks // time.round_ticks
    rows = np.zeros((rounds * PRODUCTS, p.width), np.int64)
    number = np.arange(len(rows))
    rows[:, p.RUN], rows[:, p.INSTRUMENT] = RUN, number % PRODUCTS
    rows[:, p.TICK] = (number // PRODUCTS + 1) * time.round_ticks - 1
    rows[:, p.SEQ] = 10**12 + number
    rows[:, p.PRICE] = 9_000 + number * 7_919 % 2_000
    return rows


@dataclass(frozen=True)
class Filled:
    """Where the data lie."""

    namespace: str
    extent: RunRange
    parquet: Path


def fill(bootstrap: str, folder: Path, total: int) -> Filled:
    """Write a run of `total` trades to a namespace of its own and to Parquet."""
    namespace = f"bench{total}"
    topics.create(bootstrap, namespace, PARTITIONS, 1)
    writer = LogWriter(bootstrap, namespace, **{"compression.type": "lz4", "linger.ms": 5})
    _founding(writer)
    path = folder / f"{total}.parquet"
    t = e.TradeExecuted
    columns = [name for name in vars(t) if name.isupper()]
    schema = pa.schema([(name.lower(), pa.int64()) for name in columns])
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for first in range(0, total, CHUNK):
            rows = trades(first, min(CHUNK, total - first), total)
            writer.send_split(t.name, rows, t.INSTRUMENT, PARTITIONS)
            file.write_table(pa.table([rows[:, getattr(t, name)] for name in columns], schema=schema))
            writer.flush()
    writer.send_split(e.PriceFixed.name, prices(), e.PriceFixed.INSTRUMENT, PARTITIONS)
    writer.flush()
    places = {FLOWS: 1, TRADES: PARTITIONS}
    start = {family: [0] * count for family, count in places.items()}
    found = end_offsets(bootstrap, namespace, [(family, p) for family, count in places.items() for p in range(count)])
    end = {family: [found[family, p] for p in range(count)] for family, count in places.items()}
    time = scenario().time
    windows = time.ticks // time.window_ticks
    return Filled(
        namespace, RunRange((Extent(RUN, start, end, -1, time.last_epoch),), windows, scenario(), instruments()), path
    )


def _founding(writer: LogWriter) -> None:
    """Agents, the households' deposits, and one benefit each."""
    for agents, role in ((FIRMS, Role.CORPORATION), (HOUSEHOLDS, Role.HOUSEHOLD)):
        for agent in agents:
            record = {"run": RUN, "tick": -1, "agent": agent, "n": 0, "name": str(agent), "role": role.name.lower()}
            writer.send_record("AgentFounded", record, 0)
    o, m = e.OpeningBalance, e.MoneyTransferred
    opening = np.zeros((len(HOUSEHOLDS), o.width), np.int64)
    paid = np.zeros((len(HOUSEHOLDS), m.width), np.int64)
    who = np.array(HOUSEHOLDS)
    opening[:, [o.RUN, o.TICK, o.N]] = RUN, -1, 1
    opening[:, o.AGENT], opening[:, o.ACCOUNT], opening[:, o.QUANTITY] = who, Account.CASH, OPENING
    paid[:, [m.RUN, m.TICK, m.N, m.AGENT]] = RUN, 0, 2, 0
    paid[:, m.N] = np.arange(len(who))
    paid[:, m.PAYEE], paid[:, m.KIND], paid[:, m.AMOUNT] = who, TransferKind.BENEFIT, who * 10**6
    writer.send_rows(o.name, opening, 0)
    writer.send_rows(m.name, paid, 0)
