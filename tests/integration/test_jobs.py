"""Spark jobs over a real run on Kafka, against the fold of the same log in numpy, and published to ClickHouse."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from confluent_kafka import Producer

from agents.registry import VILLAGE
from agents.village import VillageModel
from economy.errors import AccountingError, InputError, ProtocolError, UnknownRunError
from economy.measures import MEASURES
from economy.records import events as e
from economy.scenario import load_scenario
from infra.broker import Broker
from infra.clickhouse import EmbeddedClickHouse
from infra.jars import spark_jars
from infra.java import java_home
from infra.settings import load_settings
from jobs.config import JobConfig
from jobs.main import Figure, Outcome, figures, run_jobs
from jobs.main import __file__ as main_file
from jobs.registry import JOBS
from jobs.session import spark_session
from jobs.source import run_range
from jobs.writer import inserting, publish
from queries.migrate import migrate
from queries.store import Store
from runs.accounts import windows_of
from runs.log import epochs_of, find_run
from schemas.catalogue import CLOCK, FLOWS, INDICATORS, ORDERS, TRADES, topic
from schemas.clickhouse_server import ClickHouseConfig
from schemas.log import topics
from schemas.log.founding import founding
from schemas.log.reader import LogReader, read_all
from schemas.log.writer import LogWriter
from tests.integration.gate import Gate
from tests.integration.lab import Lab
from tests.integration.test_jobs_rules import QUICK, RECORDED
from tests.processes import PATIENCE, child, put_away

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("ray_cluster"),
    # pyspark leaves the sockets over which it fetches results to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
NAMESPACE, PARTITIONS, FLOW_PARTITIONS, WINDOWS = "jobs", 2, 1, 4
SCENARIO = {"years": "1", "calendar.rounds": "2", "targets.debt_ratio": "3.0"}


@dataclass
class Finished:
    run: int
    config: JobConfig
    store: Store
    spark: Any
    outcomes: dict[str, Outcome]

    @property
    def figures(self) -> list[Figure]:
        return figures(outcome for name, outcome in self.outcomes.items() if name in ("gdp", "gini", "activity"))


@pytest.fixture(scope="module")
def finished(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """A village of one year on the log, with repeated records and the projection's figures, and what the jobs say."""
    folder = tmp_path_factory.mktemp("jobs")
    lab = Lab(broker, NAMESPACE, PARTITIONS, FLOW_PARTITIONS, folder)
    try:
        model = VillageModel(load_scenario("village", SCENARIO), 4)
        started = lab.start(1, model, VILLAGE, pace=1)
        lab.wait_epoch(started, 8)
        _repeat_records(broker, started.spec.run)
        assert started.clock.poll() is None
        lab.hurry(started)
        run = started.wait().run
    finally:
        lab.close()
    _project(broker, folder, run)
    settings = load_settings()
    home = java_home(settings.java_home, settings.cache_folder)
    with EmbeddedClickHouse(folder / "clickhouse") as server:
        migrate(ClickHouseConfig.from_dsn(server.dsn()))
        config = JobConfig(
            broker.bootstrap, NAMESPACE, server.dsn(), jars=spark_jars(settings.cache_folder, home),
            java_home=str(home), scratch=str(folder / "spark"), shuffle_partitions=2, java_options=QUICK,
        )  # fmt: skip
        with Store(ClickHouseConfig.from_dsn(server.dsn())) as store, spark_session(config, "tests") as spark:
            # A rerun must double nothing.
            outcomes = run_jobs(["price-stability", *JOBS], config, run, session=spark)
            yield Finished(run, config, store, spark, {each.job.name: each for each in outcomes})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def _repeat_records(broker: Broker, run: int) -> None:
    """What a restarted shard and worker do: equal records again; and records of another run between."""
    writer = LogWriter(broker.bootstrap, NAMESPACE)
    for family, name, partitions in ((FLOWS, e.MoneyTransferred.name, 1), (TRADES, e.TradeExecuted.name, 2)):
        for chunk in read_all(broker.bootstrap, NAMESPACE, [(family, p) for p in range(partitions)]):
            rows = chunk.rows.get(name)
            if rows is not None:
                foreign = rows[:50].copy()
                foreign[:, 0] = run + 1
                writer.send_rows(name, np.concatenate((rows[:200], foreign)), chunk.partition)
    writer.flush()


def _project(broker: Broker, folder: Path, run: int) -> None:
    """Let the real projection publish the run's figures, then falsify one."""
    (folder / "projection").mkdir()
    command = [sys.executable, "-m", "streams.worker", "projection", "--bootstrap", broker.bootstrap]
    command += ["--namespace", NAMESPACE, "--data", str(folder / "projection"), "--partitions", str(PARTITIONS)]
    command += ["--flow-partitions", str(FLOW_PARTITIONS)]
    newest, limit = -1, time.monotonic() + PATIENCE
    with open(folder / "projection.log", "ab") as log:
        worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while newest < WINDOWS - 1:
                assert time.monotonic() < limit, (folder / "projection.log").read_text()[-2000:]
                time.sleep(0.2)
                found = [
                    record for c in read_all(broker.bootstrap, NAMESPACE, [(INDICATORS, 0)]) for *_, record in c.cold
                ]
                newest = max((r["window"] for r in found if r["run"] == run), default=-1)
        finally:
            put_away(worker)
    writer = LogWriter(broker.bootstrap, NAMESPACE)
    false = {"run": run, "window": 1, "indicator": "trades", "item": 0, "value": Decimal(-5)}
    writer.send_record("WindowMeasured", false, 0)
    writer.flush()


def _rows(finished: Finished, table: str, columns: str = "*") -> list[dict[str, Any]]:
    return finished.store.rows(f"SELECT {columns} FROM {table} WHERE run = {finished.run} ORDER BY ALL")


def test_every_figure_equals_the_fold_of_the_log(finished: Finished) -> None:
    config = finished.config
    info = find_run(config.bootstrap, config.namespace, finished.run)
    founded = founding(config.bootstrap, config.namespace, info.started)
    windows = list(windows_of(epochs_of(config.bootstrap, config.namespace, info), info, founded))
    expected = {(w.window, name, item): value for w in windows for (name, item), value in w.figures.items()}
    found = {(f.window, f.indicator, f.item): f.value for f in finished.figures}
    assert found.keys() == expected.keys()
    assert {indicator for _, indicator, _ in found} == {measure.name for measure in MEASURES}
    assert {key: (value, expected[key]) for key, value in found.items() if value != expected[key]} == {}
    for window in range(WINDOWS):
        approaches = {found[window, f"gdp_{a}", 0] for a in ("production", "expenditure", "income")}
        assert len(approaches) == 1


def test_the_one_false_figure_of_the_stream_is_found(finished: Finished) -> None:
    outcome = finished.outcomes["reconcile"]
    assert outcome.rows == len(finished.figures)
    (wrong,) = outcome.shown
    true = {(f.window, f.indicator): f.value for f in finished.figures if f.item == 0}
    assert wrong == {
        "window": 1, "indicator": "trades", "item": 0, "stream": -5, "batch": true[1, "trades"], "equal": 0
    }  # fmt: skip
    with pytest.raises(
        AccountingError, match=f"1 of {outcome.rows} figures differ; trades 0 of window 1 is -5"
    ) as told:
        outcome.check()
    assert told.value.exit_code == 5
    finished.outcomes["gdp"].check()


def test_figures_are_published_once_with_their_lineage(finished: Finished) -> None:
    rows = finished.store.rows(
        "SELECT job, indicator, window, item, toString(value) AS value, end_offsets FROM batch_indicators "
        f"WHERE run = {finished.run}"
    )
    expected = sorted((f.job, f.indicator, f.window, f.item, str(f.value)) for f in finished.figures)
    assert sorted(tuple(row[k] for k in ("job", "indicator", "window", "item", "value")) for row in rows) == expected
    assert all('"market.trades.v1": [' in row["end_offsets"] for row in rows)
    for name, outcome in finished.outcomes.items():
        job = JOBS[name]
        keys = ", ".join(job.keys)
        (found,) = finished.store.rows(
            f"SELECT count() AS n, uniqExact({keys}) AS different, any(job_version) AS version FROM {job.table} "
            f"WHERE run = {finished.run} AND job = '{name}'"
        )
        assert found == {"n": outcome.rows, "different": outcome.rows, "version": job.version}
    assert _staging(finished) == []


def _staging(finished: Finished) -> list[str]:
    return [
        row["name"] for row in finished.store.rows("SELECT name FROM system.tables WHERE position(name, '_of_') > 0")
    ]


def test_results_agree_with_each_other(finished: Finished) -> None:
    """What two jobs compute by different ways: turnover, closing prices, and the wealth of all households."""
    by_item = {(f.indicator, f.window, f.item): f.value for f in finished.figures}
    for row in _rows(finished, "liquidity"):
        assert int(row["traded_value"]) == by_item["traded_value", row["window"], row["instrument"]]
        assert int(row["traded_quantity"]) == by_item["traded_quantity", row["window"], row["instrument"]]
    for row in _rows(finished, "price_stability"):
        assert row["closing_price"] == by_item["closing_price", row["window"], row["instrument"]]
        assert 0 <= int(row["max_drawdown"]) < 10**9
    columns = "window, role, count() AS agents, sum(trades) AS trades, sum(bought) AS bought, sum(sold) AS sold"
    sides = finished.store.rows(
        f"SELECT {columns} FROM agent_performance WHERE run = {finished.run} GROUP BY window, role"
    )
    for window in range(WINDOWS):
        mine = [row for row in sides if row["window"] == window]
        traded = sum(v for (name, w, _), v in by_item.items() if (name, w) == ("traded_value", window))
        assert sum(int(r["bought"]) for r in mine) == sum(int(r["sold"]) for r in mine) == traded
        assert sum(int(r["trades"]) for r in mine) == 2 * by_item["trades", window, 0]
    told = finished.outcomes["agent-performance"].to_json()
    assert len(told["shown"]) < told["rows"] / 20  # by role: what grows with the agents stays in the tables
    json.dumps(told)
    for row in told["shown"]:
        assert Decimal(row["net_worth"]) == Decimal(row["net_worth_raw"]) / 10**8


def test_a_repeated_task_sends_nothing_twice(finished: Finished) -> None:
    """Spark runs a task again when its executor is lost, although its rows may have arrived."""
    import pyarrow as pa

    finished.store.command("CREATE TABLE again AS price_stability")
    finished.store.command("ALTER TABLE again MODIFY SETTING non_replicated_deduplication_window = 100")
    table = pa.table({"run": [1, 1], "window": [0, 1], "job": ["x", "x"]})
    insert = inserting(finished.config.clickhouse, "again")
    for _ in range(2):
        assert [batch.to_pydict() for batch in insert(iter(table.to_batches(1)))] == [{"n": [2]}]
    assert finished.store.command("SELECT count() FROM again") == 2
    finished.store.command("DROP TABLE again")


def test_rows_that_are_not_unique_are_not_published(finished: Finished) -> None:
    extents = run_range(finished.config, finished.run).extents
    before = _rows(finished, "price_stability")
    job = JOBS["price-stability"]
    columns = [name for name in before[0] if name not in ("run", "job", "job_version", "start_offsets", "end_offsets")]
    kinds = ", ".join(f"{c} {'bigint' if c != 'window' else 'int'}" for c in columns if c != "computed_at")
    rows = finished.spark.createDataFrame([(0, *[1] * (len(columns) - 2))] * 2, kinds)
    with pytest.raises(ProtocolError, match=r"holds 2 rows \(1 different\) of 2"):
        publish(rows, finished.config.clickhouse, extents, job)
    assert _rows(finished, "price_stability") == before


def _submit(finished: Finished, dsn: str, *command: str) -> subprocess.Popen[bytes]:
    config = finished.config
    options = ["--bootstrap", config.bootstrap, "--namespace", NAMESPACE, "--run", str(finished.run)]
    environment = {
        **os.environ, "ESCAPE_CLICKHOUSE_URL": dsn, "JAVA_HOME": config.java_home, "SPARK_LOCAL_IP": "127.0.0.1",
        "JDK_JAVA_OPTIONS": QUICK, "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable,
    }  # fmt: skip
    return subprocess.Popen(
        [*command, "price-stability", *options], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


@pytest.mark.chaos
@pytest.mark.parametrize("moment", ["INSERT INTO", "REPLACE PARTITION"])
def test_killed_in_the_write_or_before_the_swap(finished: Finished, moment: str) -> None:
    """Driver, JVM and workers are killed with -9 as the statement arrives: the table is as before, a rerun makes it."""
    before = _rows(finished, "price_stability")
    python = [sys.executable, "-m", "jobs.main", "--jars", finished.config.jars]
    with Gate(finished.config.clickhouse, moment) as gate:
        process = _submit(finished, gate.dsn, *python)
        gate.on_match = lambda: os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL, errors[-2000:]
    assert gate.matched
    assert _rows(finished, "price_stability") == before
    assert len(_staging(finished)) == 1
    (outcome,) = run_jobs(["price-stability"], finished.config, finished.run, session=finished.spark)
    after = _rows(finished, "price_stability")
    changing = {"computed_at"}
    assert [{k: v for k, v in row.items() if k not in changing} for row in after] == [
        {k: v for k, v in row.items() if k not in changing} for row in before
    ]
    assert outcome.rows == len(after)
    assert _staging(finished) == []


def test_a_spark_without_connector_is_told_so_at_once() -> None:
    settings = load_settings()
    home = {"JAVA_HOME": str(java_home(settings.java_home, settings.cache_folder))}
    command = [sys.executable, "-m", "jobs.main", "gdp", "--run", "1", "--bootstrap", "127.0.0.1:1"]
    done = subprocess.run(command, env={**os.environ, **home}, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (3, "")
    assert "Spark has no connector to Kafka: pass --packages" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_spark_that_ends_meanwhile_is_told_so(finished: Finished) -> None:
    file = str(RECORDED / "village.avro")
    command = [sys.executable, "-m", "jobs.main", "gdp", "--file", file, "--jars", finished.config.jars]
    home = {"JAVA_HOME": finished.config.java_home, "JDK_JAVA_OPTIONS": QUICK}
    with child(command, env={**os.environ, **home}, stderr=subprocess.PIPE, text=True) as job:
        said = iter(job.stderr)
        assert any(line == "gdp\n" for line in said)  # Spark has read the file, and computes
        (java,) = psutil.Process(job.pid).children()
        java.kill()
        last = list(said)[-1]  # py4j tells on its own what it lost
        assert job.wait(PATIENCE) == 3
    assert last.startswith("escape: Spark's Java process ended while the job ran: run the job again")


def test_spark_submit_runs_the_same_main(finished: Finished) -> None:
    command = [str(Path(sys.executable).parent / "spark-submit"), "--master", "local[1]"]
    command += ["--jars", finished.config.jars]
    command += ["--conf", "spark.driver.host=127.0.0.1", "--conf", "spark.driver.bindAddress=127.0.0.1"]
    process = _submit(finished, "", *command, str(main_file))
    printed, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors[-2000:]
    told = json.loads(printed.splitlines()[-1])  # spark-submit sends what Python writes to stderr there as well
    assert (told["job"], told["published"]) == ("price-stability", False)
    assert told["shown"] == finished.outcomes["price-stability"].to_json()["shown"]


def test_increments_over_a_growing_run_equal_the_batch(finished: Finished, tmp_path: Path) -> None:
    """The run's records arrive in three parts, cut anywhere; each time its closed windows are the batch's."""
    config = replace(finished.config, namespace="grown", clickhouse="")
    topics.create(config.bootstrap, config.namespace, PARTITIONS, FLOW_PARTITIONS)
    families = {ORDERS: PARTITIONS, FLOWS: FLOW_PARTITIONS, TRADES: PARTITIONS, CLOCK: 1}
    places = [(family, p) for family, count in families.items() for p in range(count)]
    with LogReader(config.bootstrap, NAMESPACE, {}) as reader:
        begin = {place: 0 for place in places}
        end = reader.end_offsets(places)
    batch = {(f.window, f.indicator, f.item): f.value for f in finished.figures if f.job == "gdp"}
    producer = Producer({"bootstrap.servers": config.bootstrap, "log_level": 0})
    # Epochs after whose marker each partition is cut, some records later: the slowest one tells what is closed.
    for cuts, windows in (({FLOWS: (17,), TRADES: (10, 15)}, 1), ({FLOWS: (31,), TRADES: (33, 29)}, 3), ({}, WINDOWS)):
        until = {
            place: _behind(config, place, finished.run, cuts[place[0]][place[1]]) if place[0] in cuts else end[place]
            for place in places
        }
        for place in places:
            _copy(config, producer, place, begin[place], until[place])
        producer.flush()
        begin = until
        (outcome,) = run_jobs(
            ["gdp"], config, finished.run, session=finished.spark, incremental=str(tmp_path / "landed")
        )
        found = {(f.window, f.indicator, f.item): f.value for f in outcome.figures}
        assert found == {key: value for key, value in batch.items() if key[0] < windows}
    assert len(list((tmp_path / "landed").glob("*/checkpoint/commits/[0-9]*"))) == 3


def _behind(config: JobConfig, place: tuple[str, int], run: int, epoch: int) -> int:
    """A few records behind the marker of an epoch in a partition."""
    kind = e.EpochClosed if place[0] == FLOWS else e.EpochMatched
    for chunk in read_all(config.bootstrap, NAMESPACE, [place]):
        rows = chunk.rows.get(kind.name, np.empty((0, kind.width), np.int64))
        found = (
            chunk.offsets_of(kind.name)[(rows[:, kind.RUN] == run) & (rows[:, kind.EPOCH] == epoch)]
            if len(rows)
            else np.empty(0, np.int64)
        )
        if len(found):
            return int(found[0]) + 4
    raise AssertionError(f"no epoch {epoch} in {place}")


def _copy(config: JobConfig, producer: Producer, place: tuple[str, int], start: int, end: int) -> None:
    """Records [start, end) of a partition, as they are, to the namespace of the growing run."""
    if start == end:
        return
    with LogReader(config.bootstrap, NAMESPACE, {place: start}) as reader:
        left = end - start
        while left:
            for message in reader.poll_messages()[:left]:
                producer.produce(topic(config.namespace, place[0]), message.value(), message.key(), place[1])
                left -= 1
            producer.poll(0)


def test_unknown_jobs_and_runs_are_named(finished: Finished) -> None:
    with pytest.raises(InputError, match="known are gdp, gini, activity"):
        run_jobs(["gdpp"], finished.config, finished.run)
    with pytest.raises(UnknownRunError, match="4711"):
        run_jobs(["gdp"], finished.config, 4711, session=finished.spark)
