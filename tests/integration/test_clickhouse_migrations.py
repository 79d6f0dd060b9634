"""Migrations against the real engine, and the store's face of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from economy.errors import SetupError
from infra.broker import free_port
from infra.clickhouse import EmbeddedClickHouse
from queries.migrate import MigrationError, load, migrate
from queries.store import Store, StoreError
from schemas.clickhouse_server import ClickHouseConfig, DeniedError
from streams.tables import Tables

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseConfig]:
    with EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse")) as server:
        yield ClickHouseConfig.from_dsn(server.dsn())


def test_migrations_are_applied_once_and_a_cut_off_one_again(config: ClickHouseConfig) -> None:
    one = replace(config, database="one")
    names = [m.name for m in load()]
    assert migrate(one) == names
    assert migrate(one) == []
    with Store(one) as store:
        silent = "SELECT table, name FROM system.columns WHERE database = 'one' AND comment = ''"
        assert store.rows(silent) == []
        store.command("ALTER TABLE migrations DELETE WHERE version = 2 SETTINGS mutations_sync = 1")
        store.command("DROP TABLE trade_executed")
        assert migrate(one) == [names[1]]
        assert store.command("SELECT count() FROM trade_executed") == 0
    changed = [replace(load()[0], checksum="0"), *load()[1:]]
    with pytest.raises(MigrationError, match="changed"):
        migrate(one, changed)
    with pytest.raises(MigrationError, match="newer"):
        migrate(one, load()[:1])
    with pytest.raises(MigrationError, match="plain name"):
        migrate(replace(config, database="x; DROP"))


def test_orders_of_many_runs_outlast_the_rebuilding_of_their_table(config: ClickHouseConfig) -> None:
    three = replace(config, database="three")
    migrate(three, [m for m in load() if m.version < 10])
    runs = 150  # more partitions than one INSERT may write by default
    with Store(three) as store:
        for at in range(0, runs, 75):
            store.command(
                "INSERT INTO order_submitted (run, agent, n, `order`, price) "
                f"SELECT number % 75 + {at}, 1, number, number, cityHash64(number) FROM numbers(750)"
            )
        every = "SELECT sum(cityHash64(*)) AS sum, count() AS rows, uniqExact(run) AS runs FROM order_submitted FINAL"
        before = store.rows(every)
        assert migrate(three) == [m.name for m in load() if m.version >= 10]
        assert store.rows(every) == before
        assert (before[0]["rows"], before[0]["runs"]) == (750 * 2, runs)
        made = "SELECT name FROM system.tables WHERE database = 'three' AND name LIKE '%fine'"
        assert store.rows(made) == []


def test_a_jobs_figures_replace_its_older_ones_as_a_whole(config: ClickHouseConfig) -> None:
    two = replace(config, database="two")
    migrate(two)
    with Store(two) as store:
        store.command("CREATE TABLE staging AS batch_indicators")  # as jobs.writer makes one for each attempt
        for value in (5, 10**30):
            store.insert(
                "staging",
                {
                    "run": [7, 7], "window": [0, 1], "indicator": ["gdp_real"] * 2, "item": np.zeros(2, np.int64),
                    "value": [Decimal(value)] * 2, "job": ["gdp"] * 2, "job_version": [1, 1],
                    "start_offsets": ["{}"] * 2, "end_offsets": ["{}"] * 2,
                },
            )  # fmt: skip
            store.command("ALTER TABLE batch_indicators REPLACE PARTITION (7, 'gdp') FROM staging")
            store.command("ALTER TABLE staging DROP PARTITION (7, 'gdp')")
            found = store.columns("SELECT window, value FROM batch_indicators ORDER BY window")
            assert found["window"].tolist() == [0, 1]
            assert [int(v) for v in found["value"]] == [value, value]
        nothing = store.columns("SELECT window FROM batch_indicators WHERE run = {r:Int64}", {"r": 1})
        assert nothing["window"].size == 0


def test_what_is_wrong_is_said_in_one_line(config: ClickHouseConfig) -> None:
    with Store(config) as store, pytest.raises(StoreError, match="nope"):
        store.rows("SELECT nope")
    with pytest.raises(DeniedError, match="refuses the user escape"):
        Store(replace(config, password="wrong"))
    with pytest.raises(DeniedError, match="refuses the user escape"):
        Tables(replace(config, password="wrong"))
    with pytest.raises(SetupError, match="does not answer"):
        Store(replace(config, url=f"http://127.0.0.1:{free_port()}"))
