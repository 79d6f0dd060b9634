"""Spark jobs over a real run on Kafka, against the fold of the same log in numpy, and published to ClickHouse."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from agents.village import FACTORY, VillageModel
from economy import events as e
from economy.errors import InputError, UnknownRunError
from economy.scenario import load_scenario
from infra.broker import Broker
from infra.clickhouse import EmbeddedClickHouse
from infra.jars import spark_jars
from infra.java import java_home
from infra.settings import load_settings
from jobs.config import JobConfig
from jobs.main import Figure, figures, run_jobs
from queries.config import ClickHouseConfig
from queries.migrate import migrate
from queries.store import Store
from runs.accounts import windows_of
from runs.log import epochs_of, find_run
from schemas.catalogue import FLOWS, TRADES
from schemas.log.founding import founding
from schemas.log.reader import read_all
from schemas.log.writer import LogWriter
from tests.integration.lab import Lab

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("ray_cluster"),
    # pyspark leaves the sockets over which it fetches results to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
NAMESPACE = "jobs"


@dataclass
class Finished:
    run: int
    config: JobConfig
    store: Store
    figures: list[Figure]


@pytest.fixture(scope="module")
def finished(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """A village of one year on the log, with repeated records, and its figures by both jobs."""
    folder = tmp_path_factory.mktemp("jobs")
    lab = Lab(broker, NAMESPACE, 2, 1, folder)
    try:
        model = VillageModel(load_scenario("village", {"years": "1"}), 4)
        started = lab.start(1, model, FACTORY)
        lab.wait_epoch(started, 120)
        _repeat_records(broker, started.spec.run)
        run = started.wait().run
    finally:
        lab.close()
    settings = load_settings()
    home = java_home(settings.java_home, settings.cache_folder)
    with EmbeddedClickHouse(folder / "clickhouse") as server:
        migrate(ClickHouseConfig.from_dsn(server.dsn()))
        config = JobConfig(
            broker.bootstrap, NAMESPACE, server.dsn(), jars=spark_jars(settings.cache_folder, home),
            java_home=str(home), scratch=str(folder / "spark"),
        )  # fmt: skip
        with Store(ClickHouseConfig.from_dsn(server.dsn())) as store:
            found = figures(run_jobs(["gini", "gdp", "activity", "gini"], config, run))  # a rerun must double nothing
            yield Finished(run, config, store, list(dict.fromkeys(found)))
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


def test_every_figure_equals_the_fold_of_the_log(finished: Finished) -> None:
    config = finished.config
    info = find_run(config.bootstrap, config.namespace, finished.run)
    founded = founding(config.bootstrap, config.namespace, info.started)
    windows = list(windows_of(epochs_of(config.bootstrap, config.namespace, info), info, founded))
    expected = {(w.window, name, item): value for w in windows for (name, item), value in w.figures.items()}
    found = {(f.window, f.indicator, f.item): f.value for f in finished.figures}
    assert found.keys() == expected.keys()
    assert len(found) == len(finished.figures)
    assert {key: (value, expected[key]) for key, value in found.items() if value != expected[key]} == {}
    for window in range(4):
        approaches = {found[window, f"gdp_{a}", 0] for a in ("production", "expenditure", "income")}
        assert len(approaches) == 1


def test_figures_are_published_once_with_their_lineage(finished: Finished) -> None:
    rows = finished.store.rows(
        "SELECT job, indicator, window, item, toString(value) AS value, end_offsets FROM batch_indicators "
        f"WHERE run = {finished.run}"
    )
    expected = sorted((f.job, f.indicator, f.window, f.item, str(f.value)) for f in finished.figures)
    assert sorted(tuple(row[k] for k in ("job", "indicator", "window", "item", "value")) for row in rows) == expected
    assert all('"market.trades.v1": [' in row["end_offsets"] for row in rows)


def test_unknown_jobs_and_runs_are_named(finished: Finished) -> None:
    with pytest.raises(InputError, match="known are gdp, gini, activity"):
        run_jobs(["gdpp"], finished.config, finished.run)
    with pytest.raises(UnknownRunError, match="4711"):
        run_jobs(["gdp"], finished.config, 4711)
