"""The sink against a real broker and the real engine: what is on the log is in the tables, once, also after kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from economy.records import events as e
from infra.broker import Broker
from infra.clickhouse import EmbeddedClickHouse
from queries.migrate import migrate
from queries.store import Store
from schemas.catalogue import BALANCES, CLOCK, DECISIONS, FLOWS, INDICATORS, ORDERS, TRADES, dead_letter, topic
from schemas.clickhouse import TABLES
from schemas.clickhouse_server import ClickHouseConfig
from schemas.codec import encode_record
from schemas.log import topics
from schemas.log.clocklog import DELETED
from schemas.log.reader import end_offsets
from schemas.log.writer import LogWriter
from streams.health import ailment, file_of
from streams.settings import SinkSettings
from tests.integration.gate import Gate
from tests.processes import PATIENCE, put_away, until

pytestmark = pytest.mark.integration
PARTITIONS, FLOW_PARTITIONS = 2, 2
ROWS = 60_000  # of each kind
PIECE = 1000  # of one kind in a row, so that a block has rows of all that its topic holds
UNDER_WAY = "SELECT count() FROM sink_offsets FINAL WHERE NOT stored"
KEPT_APART = ("order_submitted", "trade_executed", "book_updated", "agent_decided", "money_transferred")
ABORTED = {"run": 9, "incarnation": 1, "epoch": 3, "reason": "a test"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    with EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse")) as running:
        yield running


@pytest.fixture
def store(server: EmbeddedClickHouse, namespace: str) -> Iterator[Store]:
    config = ClickHouseConfig(server.url, "escape", server.password(), namespace)
    migrate(config)
    with Store(config) as opened:
        keep_apart(opened)
        yield opened


def keep_apart(store: Store) -> None:
    """Stop merges, which would hide a row that is there twice."""
    for table in KEPT_APART:
        store.command(f"ALTER TABLE {table} MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1")


def rows_of(event: Any, run: int, count: int, seed: int) -> np.ndarray:
    """Rows of random content with enums within range and a dense identity."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(-(2**40), 2**40, (count, event.width))
    rows[:, event.RUN] = run
    counter = event.SEQ if hasattr(event, "SEQ") else event.N
    rows[:, counter] = np.arange(count)
    owner = event.INSTRUMENT if hasattr(event, "SEQ") else event.AGENT
    rows[:, owner] = np.arange(count) % 7
    for field in ("SIDE", "TYPE", "TIF", "TAKER_SIDE", "USE", "INSTRUMENT_CLASS", "ROLE", "ACTION", "KIND"):
        if hasattr(event, field):
            rows[:, getattr(event, field)] = rng.integers(0, 2, count)
    if hasattr(event, "STRATEGY"):
        rows[:, event.STRATEGY] = 0
    return rows


CHILDREN: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def _leave_no_sink() -> Iterator[None]:
    yield
    while CHILDREN:
        put_away(CHILDREN.pop())


class Process:
    """A sink of its own process."""

    def __init__(
        self, broker: Broker, namespace: str, server: EmbeddedClickHouse, log: Path, part: str = "0/1", url: str = ""
    ) -> None:
        """`url` where the server's address is another for it."""
        tables = ClickHouseConfig(url or server.url, "escape", server.password(), namespace)
        self.data = log.parent
        told = SinkSettings(
            bootstrap=broker.bootstrap, namespace=namespace, partitions=PARTITIONS, flow_partitions=FLOW_PARTITIONS,
            clickhouse_url=tables.address, partitions_of=part, data=self.data,
        )  # fmt: skip
        environment = {**os.environ, **tables.environment}
        with open(log, "ab") as output:
            self.child = subprocess.Popen(told.command(), env=environment, stdout=output, stderr=output)
        CHILDREN.append(self.child)

    def end(self, number: int) -> int:
        self.child.send_signal(number)
        return self.child.wait(PATIENCE)


def started(run: int) -> dict[str, Any]:
    return {
        "run": run, "scenario_name": "village", "scenario": '{"a":1}', "seed": 5, "rules_version": 1,
        "digest_version": 2, "schemas": {}, "environment": {"cpu": "x"}, "shards": 3, "partitions": PARTITIONS,
        "flow_partitions": FLOW_PARTITIONS, "epoch_ticks": 20, "last_epoch": 9, "start_offsets": {FLOWS: [0, 0]},
        "parent": 0, "parent_epoch": -1, "wall_time": 1_700_000_000_123,
    }  # fmt: skip


def finished(run: int, ends: dict[str, list[int]]) -> dict[str, Any]:
    return {"run": run, "incarnation": 1, "end_offsets": ends, "digest": "d1", "root": "r1", "ticks": 200}


def write(broker: Broker, namespace: str, run: int, count: int) -> dict[str, np.ndarray]:
    """A small run with every kind of record; returns what was written by table."""
    writer = LogWriter(broker.bootstrap, namespace)
    writer.send_record("RunStarted", started(run), 0)
    sent, split = {}, []
    for event, by, parts in (
        (e.OrderSubmitted, e.OrderSubmitted.INSTRUMENT, PARTITIONS),
        (e.TradeExecuted, e.TradeExecuted.INSTRUMENT, PARTITIONS),
        (e.BookUpdated, e.BookUpdated.INSTRUMENT, PARTITIONS),
        (e.AgentDecided, e.AgentDecided.AGENT, FLOW_PARTITIONS),
        (e.MoneyTransferred, e.MoneyTransferred.AGENT, FLOW_PARTITIONS),
    ):
        rows = sent[event.name] = rows_of(event, run, count, run + event.width)
        if event is e.OrderSubmitted:
            rows[:, by] = rows[:, e.OrderSubmitted.AGENT]
        split.append((event.name, by, parts))
    for start in range(0, count, PIECE):
        for name, by, parts in split:
            writer.send_split(name, sent[name][start : start + PIECE], by, parts)
    for agent in range(3):
        founded = {"run": run, "tick": -1, "agent": agent, "n": 0, "name": f"é {agent}", "role": "household"}
        writer.send_record("AgentFounded", founded, agent % FLOW_PARTITIONS)
    for window in range(4):
        measured = {
            "run": run,
            "window": window,
            "indicator": "gdp_real",
            "item": 0,
            "value": Decimal(-(10**30) - window),
        }
        writer.send_record("WindowMeasured", measured, 0)
        writer.send_record("WindowMeasured", measured, 0)  # a projection that was restarted
    writer.send_rows("BalanceRecorded", np.array([[run, 3, 1, e.Account.GOODS, 2, 77]]), 0)
    writer.flush()
    return sent


def check(store: Store, run: int, sent: dict[str, np.ndarray]) -> None:
    """Every column of every table sums to what was written, without FINAL: nothing is there twice."""
    for table, event in (
        ("order_submitted", e.OrderSubmitted), ("trade_executed", e.TradeExecuted), ("book_updated", e.BookUpdated),
        ("agent_decided", e.AgentDecided), ("money_transferred", e.MoneyTransferred),
    ):  # fmt: skip
        described = "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {t:String}"
        names = [row["name"] for row in store.rows(f"{described} ORDER BY position", {"t": table})]
        sums = ", ".join(f"sum(toInt128(toInt64(`{name}`)))" for name in names[: event.width])
        found = list(store.rows(f"SELECT count(), {sums} FROM {table} WHERE run = {run}")[0].values())
        rows = sent[event.name]
        assert found == [len(rows), *(int(c) for c in rows.sum(0))], table


def killed_in_a_block(
    broker: Broker, namespace: str, server: EmbeddedClickHouse, log: Path, part: str = "0/1", carried_out: bool = False
) -> None:
    """A sink that dies while a block is under way: its bounds are noted, its rows are in one of their two tables alone.

    Or in both, when the last insert is `carried_out` and only its answer is missing.
    """
    with Gate(server.url, "INSERT INTO trade_executed", carried_out) as gate:  # behind those of the changed book
        gate.on_match = lambda: process.child.kill()
        process = Process(broker, namespace, server, log, part, gate.dsn)
        assert process.child.wait(PATIENCE) == -signal.SIGKILL, log.read_text()
    assert gate.matched


def counts(store: Store, tables: str = "trade_executed") -> int:
    return int(store.command(f"SELECT count() FROM {tables}"))


def total(store: Store) -> int:
    return sum(counts(store, table) for table in KEPT_APART)


def test_a_sink_killed_in_mid_stream_neither_loses_nor_doubles(
    broker: Broker, namespace: str, server: EmbeddedClickHouse, store: Store, tmp_path: Path
) -> None:
    topics.create(broker.bootstrap, namespace, PARTITIONS, FLOW_PARTITIONS)
    sent = write(broker, namespace, 7, ROWS)
    places = [(f, p) for f in (ORDERS, TRADES, DECISIONS, FLOWS) for p in range(2)]
    ends: dict[str, list[int]] = {}
    for (family, _), offset in sorted(end_offsets(broker.bootstrap, namespace, places).items()):
        ends.setdefault(family, []).append(offset)
    killed_in_a_block(broker, namespace, server, tmp_path / "sink.log")
    assert store.command(UNDER_WAY) > 0
    assert counts(store, "book_updated") > counts(store) == 0
    second = Process(broker, namespace, server, tmp_path / "sink.log")
    writer = LogWriter(broker.bootstrap, namespace)
    writer.send_record("RunFinished", finished(7, ends), 0)
    writer.flush()
    until(lambda: store.command("SELECT state FROM runs FINAL WHERE run = 7") == "stored")
    check(store, 7, sent)
    row = store.rows("SELECT * FROM runs FINAL")[0]
    assert (row["scenario"], row["config"], row["seed"], row["epochs"], row["ticks"]) == (
        "village",
        '{"a":1}',
        5,
        10,
        200,
    )
    assert (row["digest"], row["root"], row["started_at"].microsecond) == ("d1", "r1", 123_000)
    assert [r["name"] for r in store.rows("SELECT name FROM agent_founded ORDER BY agent")] == ["é 0", "é 1", "é 2"]
    measured = store.rows("SELECT window, value FROM stream_indicators FINAL ORDER BY window")
    assert [(r["window"], int(r["value"])) for r in measured] == [(w, -(10**30) - w) for w in range(4)]
    balance = store.rows("SELECT window, agent, toString(account) AS account, item, quantity FROM balance_recorded")
    assert balance == [{"window": 3, "agent": 1, "account": "goods", "item": 2, "quantity": 77}]
    # What is gathered when the sink is asked to end is stored.
    more = rows_of(e.TradeExecuted, 8, 1000, 1)
    writer.send_split("TradeExecuted", more[:999], 1, PARTITIONS)
    writer.flush()
    time.sleep(0.3)
    assert second.end(signal.SIGTERM) == 0
    third = Process(broker, namespace, server, tmp_path / "sink.log")
    writer.send_split("TradeExecuted", more[999:], 1, PARTITIONS)
    writer.flush()
    until(lambda: counts(store) >= ROWS + 1000)
    assert third.end(signal.SIGTERM) == 0
    found = store.rows("SELECT count() AS c, sum(notional) AS s FROM trade_executed WHERE run = 8")
    assert found == [{"c": 1000, "s": int(more[:, e.TradeExecuted.NOTIONAL].sum())}]


def test_clickhouse_killed_in_mid_insert_neither_loses_nor_doubles(
    broker: Broker, namespace: str, tmp_path: Path
) -> None:
    topics.create(broker.bootstrap, namespace, PARTITIONS, FLOW_PARTITIONS)
    sent = write(broker, namespace, 5, ROWS)
    with EmbeddedClickHouse(tmp_path / "clickhouse") as server:
        config = ClickHouseConfig(server.url, "escape", server.password(), namespace)
        migrate(config)
        with Store(config) as store:
            keep_apart(store)
            sink = Process(broker, namespace, server, tmp_path / "sink.log")
            until(lambda: counts(store, "agent_decided") + counts(store, "book_updated") > 0)
            assert server.process is not None
            server.process.kill()
            server.process.wait()
            time.sleep(0.5)
            server.start()
            # Sums would hide what is missing in one table and doubled in another: check() follows.
            until(lambda: total(store) >= 5 * ROWS)
            assert sink.end(signal.SIGTERM) == 0, (tmp_path / "sink.log").read_text()
            check(store, 5, sent)


def test_of_a_deleted_run_nothing_is_left_whenever_its_records_come(
    broker: Broker, server: EmbeddedClickHouse, store: Store, namespace: str, tmp_path: Path
) -> None:
    topics.create(broker.bootstrap, namespace, PARTITIONS, FLOW_PARTITIONS)
    write(broker, namespace, 5, 100)
    first = Process(broker, namespace, server, tmp_path / "sink.log")
    until(lambda: total(store) >= 5 * 100)
    writer = LogWriter(broker.bootstrap, namespace)
    writer.send_record("RunAborted", {"run": 5, "incarnation": 1, "epoch": 0, "reason": DELETED}, 0)
    writer.flush()
    until(lambda: total(store) == 0)
    assert first.end(signal.SIGTERM) == 0, (tmp_path / "sink.log").read_text()
    second = Process(broker, namespace, server, tmp_path / "sink.log")
    write(broker, namespace, 5, 100)  # as of a matching that was far behind
    sent = write(broker, namespace, 6, 100)
    until(lambda: total(store) >= 5 * 100)
    assert second.end(signal.SIGTERM) == 0, (tmp_path / "sink.log").read_text()
    check(store, 6, sent)
    for table in (*(table.name for table in TABLES.values()), "stream_indicators", "runs"):
        assert store.rows(f"SELECT * FROM {table} WHERE run = 5") == [], table


def buried(broker: Broker, namespace: str, family: str) -> list[tuple[bytes, str]]:
    """Dead letters of a family: value, and "topic partition offset reason"."""
    dead = TopicPartition(topic(namespace, dead_letter(family)), 0, OFFSET_BEGINNING)
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "test", "enable.partition.eof": True})
    consumer.assign([dead])
    found = []
    while not (message := consumer.consume(1, 20)[0]).error():
        headers: Any = message.headers()
        told = {name: value.decode() for name, value in headers}
        found.append((message.value() or b"", f"{told['topic']} {told['partition']} {told['offset']} {told['error']}"))
    consumer.close()
    return found


def test_a_record_that_cannot_be_decoded_is_noted_and_the_rest_goes_on(
    broker: Broker, namespace: str, server: EmbeddedClickHouse, store: Store, tmp_path: Path
) -> None:
    topics.create(broker.bootstrap, namespace, PARTITIONS, FLOW_PARTITIONS)
    writer = LogWriter(broker.bootstrap, namespace)
    rows = rows_of(e.TradeExecuted, 9, 10, 3)
    writer.send_rows("TradeExecuted", rows[:5], 0)
    writer.send_to(topic(namespace, TRADES), 0, b"\x01 no record")
    writer.send_rows("TradeExecuted", rows[5:], 0)
    writer.send_to(topic(namespace, CLOCK), 0, encode_record("RunAborted", ABORTED)[:-3])
    writer.send_rows("RunPaused", np.array([[9, 1]]), 0, CLOCK)
    writer.flush()
    sink = Process(broker, namespace, server, tmp_path / "sink.log")
    until(lambda: counts(store) == 10 and store.command("SELECT count() FROM runs") == 1)
    assert sink.end(signal.SIGTERM) == 0
    found = store.rows("SELECT family, kafka_partition, kafka_offset, defect FROM sink_defects ORDER BY family")
    assert found == [
        {"family": TRADES, "kafka_partition": 0, "kafka_offset": 5, "defect": "bad_magic"},
        {"family": CLOCK, "kafka_partition": 0, "kafka_offset": 0, "defect": "undecodable"},
    ]
    letters = [buried(broker, namespace, family) for family in (TRADES, CLOCK)]
    assert letters == [
        [(b"\x01 no record", f"{topic(namespace, TRADES)} 0 5 BAD_MAGIC")],
        [(encode_record("RunAborted", ABORTED)[:-3], f"{topic(namespace, CLOCK)} 0 0 UNDECODABLE")],
    ]
    assert store.command("SELECT state FROM runs FINAL WHERE run = 9") == "paused"
    followed = store.columns("SELECT DISTINCT family FROM sink_offsets FINAL WHERE next > 0")["family"]
    assert set(followed.tolist()) == {TRADES, CLOCK}
    assert {BALANCES, INDICATORS}.isdisjoint(followed.tolist())


def test_a_sink_whose_tables_do_not_answer_is_told_ill(broker: Broker, namespace: str, tmp_path: Path) -> None:
    topics.create(broker.bootstrap, namespace, PARTITIONS, FLOW_PARTITIONS)
    with EmbeddedClickHouse(tmp_path / "clickhouse") as own:
        config = ClickHouseConfig(own.url, "escape", own.password(), namespace)
        migrate(config)
        with Store(config) as store:
            write(broker, namespace, 1, 10)
            sink = Process(broker, namespace, own, tmp_path / "sink.log")
            until(lambda: counts(store) == 10)
        until(lambda: file_of(sink.data, "sink").exists())
        assert ailment(sink.data, "sink", sink.child.pid) == ""
        assert own.process is not None
        own.process.send_signal(signal.SIGSTOP)
        try:
            write(broker, namespace, 2, 10)
            until(lambda: "has input and stands at offset" in ailment(sink.data, "sink", sink.child.pid))
        finally:
            own.process.send_signal(signal.SIGCONT)
        until(lambda: ailment(sink.data, "sink", sink.child.pid) == "")
        assert sink.end(signal.SIGTERM) == 0


def test_without_its_partners_the_sink_says_so_in_one_line(server: EmbeddedClickHouse) -> None:
    command = [sys.executable, "-m", "streams.sink", "--bootstrap", "127.0.0.1:1", "--clickhouse-url"]
    wrong = subprocess.run([*command, server.url], capture_output=True, text=True, timeout=PATIENCE)
    assert wrong.returncode != 0
    assert wrong.stderr.strip().splitlines()[-1].startswith("escape: ClickHouse at")
    assert "Traceback" not in wrong.stderr
