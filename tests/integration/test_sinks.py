"""Several sinks of one namespace: together they store what one does, also when one of them is killed with -9."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from agents.village import VillageModel
from economy.measures import LAST_MEASURED
from economy.records import events as e
from economy.scenario import load_scenario
from infra.broker import Broker
from infra.clickhouse import EmbeddedClickHouse
from queries.migrate import migrate
from queries.store import Store
from schemas.catalogue import DECISIONS, FLOWS, ORDERS, TRADES
from schemas.clickhouse import TABLES
from schemas.clickhouse_server import ClickHouseConfig
from schemas.log import topics
from schemas.log.clocklog import DELETED
from schemas.log.reader import end_offsets
from schemas.log.writer import LogWriter
from streams.share import Share
from tests.integration import test_sink
from tests.integration.test_sink import (
    FLOW_PARTITIONS,
    KEPT_APART,
    PARTITIONS,
    ROWS,
    UNDER_WAY,
    Process,
    check,
    keep_apart,
    killed_in_a_block,
    rows_of,
    total,
    write,
)
from tests.processes import PATIENCE, until

pytestmark = pytest.mark.integration
STATE = "SELECT state FROM runs FINAL WHERE run = 7"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    with EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse")) as running:
        yield running


@pytest.fixture
def store(server: EmbeddedClickHouse, namespace: str, broker: Broker) -> Iterator[Store]:
    topics.create(broker.bootstrap, namespace, PARTITIONS, FLOW_PARTITIONS)
    config = ClickHouseConfig(server.url, "escape", server.password(), namespace)
    migrate(config)
    with Store(config) as opened:
        keep_apart(opened)
        yield opened


@pytest.fixture(autouse=True)
def _leave_no_sink() -> Iterator[None]:
    yield
    while test_sink.CHILDREN:
        child = test_sink.CHILDREN.pop()
        child.kill()
        child.wait()


def finish(broker: Broker, namespace: str, ticks: int = 200) -> None:
    """RunFinished of run 7, whose records end where the log does."""
    places = [(f, p) for f in (ORDERS, TRADES, DECISIONS, FLOWS) for p in range(2)]
    ends: dict[str, list[int]] = {}
    for (family, _), offset in sorted(end_offsets(broker.bootstrap, namespace, places).items()):
        ends.setdefault(family, []).append(offset)
    writer = LogWriter(broker.bootstrap, namespace)
    writer.send_record("RunFinished", test_sink.finished(7, ends) | {"ticks": ticks}, 0)
    writer.flush()


def forget_tokens(store: Store) -> None:
    """What the inserts of other sinks do in the end: a table remembers the tokens of its last thousand blocks."""
    for table in KEPT_APART:
        store.command(f"ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = 0")


@pytest.mark.parametrize(("victim", "carried_out"), [(0, False), (1, True)])
def test_one_of_two_killed_in_mid_stream_neither_loses_nor_doubles(
    broker: Broker,
    namespace: str,
    server: EmbeddedClickHouse,
    store: Store,
    tmp_path: Path,
    victim: int,
    carried_out: bool,
) -> None:
    sent = write(broker, namespace, 7, ROWS)
    parts = [f"{i}/2" for i in range(2)]
    other = Process(broker, namespace, server, tmp_path / "other.log", parts[1 - victim])
    killed_in_a_block(broker, namespace, server, tmp_path / "victim.log", parts[victim], carried_out)
    own = Share(victim, 2).of(PARTITIONS, FLOW_PARTITIONS)
    mine = " OR ".join(f"family = '{family}' AND kafka_partition = {p}" for family, p in own)
    under_way = f"{UNDER_WAY} AND ({mine})"
    assert int(store.command(under_way)) > 0
    finish(broker, namespace)
    others = " OR ".join(f"family = '{family}' AND kafka_partition = {p}" for family, p in
                         Share(1 - victim, 2).of(PARTITIONS, FLOW_PARTITIONS))  # fmt: skip
    ends = end_offsets(broker.bootstrap, namespace, Share(1 - victim, 2).of(PARTITIONS, FLOW_PARTITIONS))
    gone_on = f"SELECT sum(next) FROM sink_offsets FINAL WHERE stored AND ({others})"
    until(lambda: int(store.command(gone_on)) == sum(ends.values()))  # the other's part is stored without it
    assert store.command("SELECT count() FROM runs WHERE state = 'stored'") == 0
    forget_tokens(store)
    second = Process(broker, namespace, server, tmp_path / "victim.log", parts[victim])
    until(lambda: store.command(STATE) == "stored")
    check(store, 7, sent)
    measured = store.rows("SELECT window, value FROM stream_indicators FINAL ORDER BY window")
    assert [(r["window"], int(r["value"])) for r in measured] == [(w, -(10**30) - w) for w in range(4)]
    assert store.command("SELECT count() FROM agent_founded FINAL") == 3
    for process in (other, second):
        assert process.end(signal.SIGTERM) == 0
    # One sink alone goes on where two were.
    alone = Process(broker, namespace, server, tmp_path / "alone.log")
    more = rows_of(e.TradeExecuted, 8, 1000, 1)
    writer = LogWriter(broker.bootstrap, namespace)
    writer.send_split("TradeExecuted", more, 1, PARTITIONS)
    writer.flush()
    until(lambda: test_sink.counts(store) >= ROWS + 1000)
    assert alone.end(signal.SIGTERM) == 0
    check(store, 7, sent)


def test_of_a_deleted_run_nothing_is_left_whichever_sink_stored_it(
    broker: Broker, namespace: str, server: EmbeddedClickHouse, store: Store, tmp_path: Path
) -> None:
    write(broker, namespace, 5, 100)
    sinks = [Process(broker, namespace, server, tmp_path / f"{i}.log", f"{i}/3") for i in range(3)]
    until(lambda: total(store) == 5 * 100)
    writer = LogWriter(broker.bootstrap, namespace)
    writer.send_record("RunAborted", {"run": 5, "incarnation": 1, "epoch": 0, "reason": DELETED}, 0)
    writer.flush()
    until(lambda: total(store) == 0)
    write(broker, namespace, 5, 100)  # as of a matching that was far behind
    sent = write(broker, namespace, 6, 100)
    until(lambda: total(store) >= 5 * 100)
    check(store, 6, sent)
    # Of another run the deletion comes while no sink is there: whichever starts first deletes, the next passes it.
    write(broker, namespace, 4, 100)
    until(lambda: total(store) == 2 * 5 * 100)
    for process in sinks:
        assert process.end(signal.SIGTERM) == 0
    writer.send_record("RunAborted", {"run": 4, "incarnation": 1, "epoch": 0, "reason": DELETED}, 0)
    writer.flush()
    write(broker, namespace, 4, 100)
    later = [Process(broker, namespace, server, tmp_path / "1.log", "1/3")]
    until(lambda: total(store) == 5 * 100)
    later += [Process(broker, namespace, server, tmp_path / f"{i}.log", f"{i}/3") for i in (0, 2)]
    until(lambda: store.command("SELECT count() FROM runs FINAL") == 1)
    sent = write(broker, namespace, 7, 100)
    until(lambda: total(store) >= 2 * 5 * 100)
    for process in later:
        assert process.end(signal.SIGTERM) == 0
    check(store, 7, sent)
    for table in (*(table.name for table in TABLES.values()), "stream_indicators", "runs"):
        assert store.rows(f"SELECT * FROM {table} WHERE run IN (4, 5)") == [], table


def test_a_run_is_stored_when_its_figures_and_balances_are(
    broker: Broker, namespace: str, server: EmbeddedClickHouse, store: Store, tmp_path: Path
) -> None:
    village = VillageModel(load_scenario("village", {"years": "1", "calendar.rounds": "2"}), 1)
    time = load_scenario("village", {"years": "1", "calendar.rounds": "2"}).time
    writer = LogWriter(broker.bootstrap, namespace)
    started = test_sink.started(7) | {"scenario": village.scenario_json(), "epoch_ticks": time.epoch_ticks}
    writer.send_record("RunStarted", started, 0)
    writer.flush()
    finish(broker, namespace, 4 * time.window_ticks)
    keeper = Process(broker, namespace, server, tmp_path / "0.log", "0/2")
    until(lambda: store.command("SELECT count() FROM runs FINAL WHERE state = 'finished'") == 1)
    other = Process(broker, namespace, server, tmp_path / "1.log", "1/2")
    positions = "SELECT sum(next) FROM sink_offsets FINAL"

    def measured(window: int, indicator: str) -> None:
        value = {"run": 7, "window": window, "indicator": indicator, "item": 0, "value": Decimal(1)}
        writer.send_record("WindowMeasured", value, 0)
        writer.flush()

    def settled(records: int) -> None:
        until(lambda: int(store.command("SELECT count() FROM stream_indicators")) == records)

    measured(3, "trades")
    measured(2, LAST_MEASURED)
    settled(2)
    assert store.command(STATE) == "finished"
    # The balances are the other sink's: while it is away they are not there, though the last figure is.
    assert other.end(signal.SIGKILL) == -signal.SIGKILL
    before = int(store.command(positions))
    writer.send_rows("BalanceRecorded", np.array([[7, 3, 1, e.Account.GOODS, 2, 77]]), 0)
    measured(3, LAST_MEASURED)
    settled(3)
    assert int(store.command(positions)) == before + 1
    assert store.command(STATE) == "finished"
    other = Process(broker, namespace, server, tmp_path / "1.log", "1/2")
    until(lambda: store.command(STATE) == "stored")
    assert store.command("SELECT count() FROM balance_recorded") == 1
    for process in (keeper, other):
        assert process.end(signal.SIGTERM) == 0


def test_two_sinks_of_one_part_end_with_a_word(
    broker: Broker, namespace: str, server: EmbeddedClickHouse, store: Store, tmp_path: Path
) -> None:
    log = tmp_path / "sink.log"
    both = [Process(broker, namespace, server, log, part) for part in ("0/1", "1/2")]
    until(lambda: all(f"following {n} partitions" in log.read_text() for n in (11, 5)))
    writer = LogWriter(broker.bootstrap, namespace)
    batches = 0

    def ended() -> bool:  # sooner or later one finds what the other has stored
        return any(process.child.poll() is not None for process in both)

    while not ended():
        writer.send_split("TradeExecuted", rows_of(e.TradeExecuted, 8, 1000, batches), 1, PARTITIONS)
        writer.flush()
        batches += 1
        until(lambda sent=1000 * batches: ended() or test_sink.counts(store) >= sent)  # type: ignore[misc]
    assert "another sink stores" in log.read_text()
    assert "--partitions-of 0/n to n-1/n" in log.read_text()


def test_a_part_that_is_none_is_refused_before_anything_is_read(
    broker: Broker, namespace: str, server: EmbeddedClickHouse, tmp_path: Path
) -> None:
    for part, told in (("2/2", "--partitions-of = '2/2'"), ("8/9", "at most")):
        wrong = Process(broker, namespace, server, tmp_path / "sink.log", part)
        assert wrong.child.wait(PATIENCE) != 0
        said = (tmp_path / "sink.log").read_text()
        assert told in said
        assert "Traceback" not in said
