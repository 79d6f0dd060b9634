"""The figures of `bench.spark` by DuckDB or polars, from Parquet: `python -m bench.spark_peers duckdb FILE 2`.

Both get what the log gives Spark: prices of rounds, opening deposits and benefits as small tables. Sums are exact
integers; the Gini coefficient of 500 numbers is the library's own.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench.spark_data import FIRMS, HOUSEHOLDS, OPENING, PRODUCTS, instruments, prices, scenario
from economy.measures import gini
from economy.records import events as e
from economy.records.events import InstrumentClass, Use

Sums = list[tuple[int, int, int, int, int]]  # window, output, intermediate consumption, taxes, consumption
Cash = list[tuple[int, int, int]]  # window, agent, change of deposits


def valuation() -> dict[str, list[int]]:
    """Round, product, price: as jobs.postings.Booked.prices."""
    p, time_ = e.PriceFixed, scenario().time
    fixed = prices()
    rounds = [0] * PRODUCTS + (fixed[:, p.TICK] // time_.round_ticks + 1).tolist()
    items = [*range(PRODUCTS), *fixed[:, p.INSTRUMENT].tolist()]
    return {"round": rounds, "instrument": items, "value": [i.reference_price for i in instruments()]
            + fixed[:, p.PRICE].tolist()}  # fmt: skip


def duckdb_sums(path: Path, threads: int) -> tuple[Sums, Cash]:
    """By SQL."""
    duckdb: Any = importlib.import_module("duckdb")

    t = scenario().time
    held = pa.table(valuation())
    with duckdb.connect() as db:
        db.execute(f"SET threads = {threads}")
        db.register("held", held)
        trades = f"read_parquet('{path}')"
        by_round = db.execute(
            f"""SELECT tick // {t.window_ticks} AS w,
            sum(n) - sum(if(good, q * value * 100, 0)),
            sum(if(used, n, 0)) - sum(if(used AND good, q * value * 100, 0)), sum(x), sum(if(used, 0, n + x))
            FROM (SELECT tick // {t.round_ticks} AS round, any_value(tick) AS tick, instrument,
                  instrument_class = {int(InstrumentClass.GOOD)} AS good, use = {int(Use.INTERMEDIATE)} AS used,
                  sum(quantity) AS q, sum(notional) AS n, sum(tax) AS x
                  FROM {trades} GROUP BY ALL) JOIN held USING (round, instrument) GROUP BY w ORDER BY w"""
        ).fetchall()
        cash = db.execute(
            f"""SELECT tick // {t.window_ticks} AS w, taker_agent AS agent, -sum(notional + tax) FROM {trades}
            WHERE taker_agent >= {HOUSEHOLDS.start} GROUP BY ALL"""
        ).fetchall()
    return by_round, cash


def polars_sums(path: Path, threads: int) -> tuple[Sums, Cash]:
    """By lazy frames; its number of threads is an environment variable."""
    pl: Any = importlib.import_module("polars")

    t = scenario().time
    held = pl.DataFrame(valuation()).lazy()
    trades = pl.scan_parquet(path).with_columns(
        (pl.col("tick") // t.window_ticks).alias("w"), (pl.col("tick") // t.round_ticks).alias("round")
    )
    keys = ["w", "round", "instrument", "instrument_class", "use"]
    by_round = (
        trades.group_by(keys).agg(pl.col("quantity", "notional", "tax").sum()).join(held, on=["round", "instrument"])
    )
    good = pl.col("instrument_class") == int(InstrumentClass.GOOD)
    used = pl.col("use") == int(Use.INTERMEDIATE)
    stock = pl.when(good).then(pl.col("quantity") * pl.col("value") * 100).otherwise(0)
    sums = by_round.group_by("w").agg(
        (pl.col("notional") - stock).sum().alias("output"),
        pl.when(used).then(pl.col("notional") - stock).otherwise(0).sum().alias("ic"),
        pl.col("tax").sum(),
        pl.when(used).then(0).otherwise(pl.col("notional") + pl.col("tax")).sum().alias("consumption"),
    )
    spent = trades.filter(pl.col("taker_agent") >= HOUSEHOLDS.start).group_by("w", "taker_agent")
    cash = spent.agg(-(pl.col("notional") + pl.col("tax")).sum())
    made, flows = pl.collect_all([sums.sort("w"), cash])
    return made.rows(), flows.rows()


def figures(sums: Sums, cash: Cash) -> dict[str, list[int]]:
    """As bench.spark compares them: lists in the order of windows."""
    found: dict[str, list[int]] = {
        name: [int(row[k]) for row in sums]
        for k, name in enumerate(("output", "intermediate_consumption", "taxes_on_products", "consumption"), 1)
    }
    flow = {(w, agent): int(change) for w, agent, change in cash}
    deposits = {agent: OPENING + agent * 10**6 for agent in HOUSEHOLDS}
    found["gini_wealth"] = []
    for w in range(len(sums)):
        for agent in deposits:
            deposits[agent] += flow.get((w, agent), 0)
        found["gini_wealth"].append(gini(list(deposits.values())))
    return found


def main(engine: str, path: str, threads: str) -> None:
    """Print seconds and figures as JSON."""
    assert FIRMS.stop == HOUSEHOLDS.start  # households are told by their number
    compute: Any = {"duckdb": duckdb_sums, "polars": polars_sums}[engine]
    importlib.import_module(engine)  # its start is not measured
    begin = time.monotonic()
    found = figures(*compute(Path(path), int(threads)))
    print(json.dumps({"seconds": time.monotonic() - begin, "figures": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
