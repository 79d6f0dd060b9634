"""How fast Spark makes GDP and Gini from the log: `escape bench spark`, or `python -m bench.spark --json`.

N synthetic trades lie on a broker that this program starts. Spark reads and decodes them from Kafka and runs the jobs
gdp and gini, on 1 and 2 cores, for N/10 and N trades. DuckDB and polars, where they are installed, compute the same
figures from the same trades as a Parquet file, decoded beforehand; all must agree to the last integer.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pyspark.sql import functions as sf

from bench.spark_data import Filled, fill
from economy.errors import AccountingError, EscapeError
from infra.broker import Broker
from infra.jars import broker_classpath, spark_jars
from infra.java import java_home
from infra.settings import load_settings
from jobs.config import JobConfig
from jobs.decoding import fields_of, together
from jobs.gdp import gdp
from jobs.gini import gini
from jobs.postings import EXACT, Booked
from jobs.session import spark_session
from jobs.source import KafkaRecords, RunLog
from schemas.catalogue import TRADES

CORES: Final = (1, 2)
TRADE: Final = ("TradeExecuted",)
PEERS: Final = ("duckdb", "polars")
# What all engines compute, of every window; the jobs compute 55 figures a window, among them these.
COMMON: Final = ("output", "intermediate_consumption", "taxes_on_products", "consumption", "gini_wealth")

Figures = dict[str, list[int]]  # by indicator, in the order of windows


def _spark(filled: Filled, config: JobConfig, trades: int, cores: int) -> tuple[list[dict[str, Any]], Figures]:
    """Decoding with one exact sum, as the first trial did, then both jobs from the log to their figures."""
    with spark_session(config, "bench") as session:
        extent = filled.extent
        records = KafkaRecords(session, config, extent.extents[0])
        records.of(TRADES, ["PriceFixed"]).count()  # starts what is started once
        begin = time.monotonic()
        plain = fields_of(together(records.of(TRADES, TRADE), TRADE), *TRADE)
        value = sf.sum((sf.col("quantity").cast(EXACT) * sf.col("price")).cast(EXACT))
        plain.groupBy("instrument").agg(value).collect()
        middle = time.monotonic()
        log = RunLog([(extent.extents[0], records)], extent.time)
        booked = Booked(log, extent.time, extent.instruments)
        found: Figures = {name: [0] * extent.windows for name in COMMON}
        for job in (gdp, gini):
            for row in job(log, booked, extent.scenario, extent.windows).collect():
                if row.indicator in found:
                    found[row.indicator][row.window] = int(row.value)
        end = time.monotonic()
    what = {"engine": "spark", "source": "kafka", "cores": cores, "trades": trades}
    return [_told(what, "decode and sum", middle - begin), _told(what, "decode, gdp and gini", end - middle)], found


def _told(what: dict[str, Any], work: str, seconds: float) -> dict[str, Any]:
    rate = round(what["trades"] / seconds)
    return {**what, "work": work, "seconds": round(seconds, 2), "events_per_second": rate}


def _peer(engine: str, filled: Filled, trades: int, cores: int) -> tuple[dict[str, Any], Figures]:
    """In a process of its own: polars takes its number of threads from the environment, once."""
    command = [sys.executable, "-m", "bench.spark_peers", engine, str(filled.parquet), str(cores)]
    environment = {**os.environ, "POLARS_MAX_THREADS": str(cores)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    told = json.loads(done.stdout)
    what = {"engine": engine, "source": "parquet", "cores": cores, "trades": trades}
    return _told(what, "gdp and gini", told["seconds"]), told["figures"]


def measure(total: int) -> list[dict[str, Any]]:
    """All measurements, smallest first. Raises AccountingError when two engines disagree."""
    settings = load_settings()
    home = java_home(settings.java_home, settings.cache_folder)
    results = []
    with tempfile.TemporaryDirectory(prefix="escape-bench-") as name:
        folder = Path(name)
        with Broker(folder / "broker", home, broker_classpath(settings.cache_folder, home)) as broker:
            for trades in sorted({max(10_000, total // 10), total}):
                _say(f"writing {trades:,} trades to Kafka")
                filled = fill(broker.bootstrap, folder, trades)
                for cores in CORES:
                    _say(f"{trades:,} trades on {cores} cores")
                    config = JobConfig(
                        broker.bootstrap, filled.namespace, master=f"local[{cores}]", memory="4g", java_home=str(home),
                        jars=spark_jars(settings.cache_folder, home), scratch=str(folder / "spark"),
                    )  # fmt: skip
                    made, figures = _spark(filled, config, trades, cores)
                    results += made
                    for engine in PEERS:
                        if importlib.util.find_spec(engine) is None:
                            continue
                        row, theirs = _peer(engine, filled, trades, cores)
                        if theirs != figures:
                            wrong = [k for k in COMMON if theirs.get(k) != figures[k]]
                            raise AccountingError(f"spark and {engine} differ in {', '.join(wrong)}", "report it")
                        results.append(row)
    return results


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(
    trades: Annotated[int, typer.Option(min=10_000, help="Trades of the larger run.")] = 10_000_000,
    json_: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Spark: events a second for decoding, gdp and gini, on 1 and 2 cores, beside DuckDB and polars if installed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the broker is ended as for Ctrl-C
    try:
        results = measure(trades)
    except EscapeError as error:
        _say(f"escape: {error}")
        raise typer.Exit(error.exit_code) from error
    if json_:
        print(json.dumps(results, indent=2))
        return
    for row in results:
        print(
            f"{row['trades']:>12,} trades  {row['engine']:<7} {row['cores']} cores  {row['work']:<21} "
            f"{row['seconds']:>8.2f} s  {row['events_per_second']:>12,}/s"
        )
    missing = [engine for engine in PEERS if importlib.util.find_spec(engine) is None]
    if missing:
        _say(f"not installed: {', '.join(missing)}; docs/spark.md tells how")


if __name__ == "__main__":
    typer.run(main)
