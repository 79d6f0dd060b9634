"""Consumers that begin far behind: they catch up in bounded memory; what was deleted before it was read is told."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from agents.village import VillageModel
from economy.errors import ProtocolError
from economy.records import events as e
from economy.records.events import Events, RunMode
from economy.scenario import load_scenario
from infra.broker import Broker
from infra.clickhouse import EmbeddedClickHouse
from queries.migrate import migrate
from queries.store import Store
from runs.local import run_local
from runs.protocol import RunSpec, open_run
from schemas.catalogue import ORDERS, TRADES, topic
from schemas.clickhouse_server import ClickHouseConfig
from schemas.log import topics
from schemas.log.reader import Chunk, LogReader, read_all
from schemas.log.writer import BULK, LogWriter
from streams.matching import PartitionMatching
from streams.restore import pass_deleted
from tests.integration import test_projection, test_sink, toy
from tests.integration.test_sink import rows_of
from tests.processes import PATIENCE, put_away, stopped, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]
SMALL, LARGE = 300_000, int(os.environ.get("SOAK_RECORDS") or 10_000_000)
MEGABYTES = 900  # no more than this for any backlog: the engine's libraries alone take a third of it
BATCH = 50_000
SIZES = [SMALL, pytest.param(LARGE, marks=pytest.mark.soak)]


def peak_megabytes(pid: int) -> int:
    """The largest resident memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) >> 10


def caught_up(
    name: str, records: int, pids: Sequence[int], done: Callable[[], bool], capsys: pytest.CaptureFixture[str]
) -> None:
    """Wait until the processes of a consumer have worked off its backlog; their memory must not have grown with it."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < 1700, "it did not catch up"
        time.sleep(0.1)
    seconds, peak = round(time.monotonic() - began, 1), max(map(peak_megabytes, pids))
    used = [sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids]
    told = {
        "consumer": name, "processes": len(pids), "records_behind": records, "seconds": seconds,
        "processor_seconds": [round(each, 1) for each in used], "peak_megabytes": peak,
    }  # fmt: skip
    if records >= LARGE:
        with capsys.disabled():
            print(json.dumps(told))
    assert peak < MEGABYTES, told


@pytest.mark.parametrize("sinks", [1, 2])
@pytest.mark.parametrize("records", SIZES)
def test_the_sink(
    broker: Broker, namespace: str, tmp_path: Path, records: int, sinks: int, capsys: pytest.CaptureFixture[str]
) -> None:
    topics.create(broker.bootstrap, namespace, test_sink.PARTITIONS, test_sink.FLOW_PARTITIONS)
    writer = LogWriter(broker.bootstrap, namespace, **BULK)
    t = e.TradeExecuted
    for batch in range(records // BATCH):
        rows = rows_of(t, 7, BATCH, 1)
        rows[:, t.SEQ] += batch * BATCH
        writer.send_split(t.name, rows, t.INSTRUMENT, test_sink.PARTITIONS)
    writer.flush()
    with EmbeddedClickHouse(tmp_path / "clickhouse") as server:
        config = ClickHouseConfig(server.url, "escape", server.password(), namespace)
        migrate(config)
        processes = [
            test_sink.Process(broker, namespace, server, tmp_path / f"sink-{i}.log", f"{i}/{sinks}")
            for i in range(sinks)
        ]
        pids = [process.child.pid for process in processes]
        count = f"SELECT count() FROM {namespace}.trade_executed"
        with Store(config) as store:
            caught_up("sink", records, pids, lambda: int(store.command(count)) >= records, capsys)
            distinct = "SELECT uniqExact(instrument, seq) FROM trade_executed"
            assert int(store.command(distinct)) == records
        assert [process.end(signal.SIGTERM) for process in processes] == [0] * sinks


@pytest.mark.parametrize("records", SIZES)
def test_the_matching_worker(
    broker: Broker, namespace: str, tmp_path: Path, records: int, capsys: pytest.CaptureFixture[str]
) -> None:
    topics.create(broker.bootstrap, namespace, 1, 1)
    writer = LogWriter(broker.bootstrap, namespace, **BULK)
    toy.open_run(writer, 7, 1, 0, RunMode.FREE)
    for batch in range(records // BATCH):
        rows = toy.orders(7, 0, batch, BATCH)
        rows[:, e.OrderSubmitted.N] = rows[:, e.OrderSubmitted.ORDER] = batch * BATCH + np.arange(BATCH) + 1
        writer.send_rows(e.OrderSubmitted.name, rows, 0)
    writer.send_rows(e.RunClosed.name, np.array([[7]]), 0, ORDERS)
    writer.flush()
    worker = toy.start_worker(broker.bootstrap, namespace, 1, tmp_path)
    closed = [0]
    place = (TRADES, 0)
    try:
        with LogReader(broker.bootstrap, namespace, {place: 0}) as reader:

            def done() -> bool:
                for chunk in reader.poll(0.2):
                    closed[0] += len(chunk.rows.get(e.EpochMatched.name, ()))
                return closed[0] > 0

            caught_up("matching", records, [worker.pid], done, capsys)
    finally:
        put_away(worker)


@pytest.mark.parametrize("projections", [1, 2])
@pytest.mark.parametrize("records", SIZES)
def test_the_projection(
    broker: Broker, namespace: str, tmp_path: Path, records: int, projections: int, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = (8, 9)
    years = math.ceil(records / len(runs) / 50_000)  # a year has some more flows and trades, repeats included
    small = {"years": str(years), "calendar.rounds": "2", "targets.debt_ratio": "3.0"}
    village = VillageModel(load_scenario("village", small), 5)
    topics.create(broker.bootstrap, namespace, test_projection.PARTITIONS, test_projection.FLOW_PARTITIONS)
    writer = LogWriter(broker.bootstrap, namespace, **BULK)
    for run in runs:
        spec = RunSpec(run, "agents.village:make", village.scenario_json(), 5, test_projection.SHARDS,
                       test_projection.PARTITIONS, test_projection.FLOW_PARTITIONS)  # fmt: skip
        open_run(broker.bootstrap, namespace, writer, spec, village)
    last = village.last_epoch

    def keep(epoch: int, events: Events) -> None:
        for run in runs if epoch >= 0 else ():
            test_projection.send_epoch(writer, run, epoch, events, last)

    run_local(village, 9, on_epoch=keep)
    ends = _ends(broker, namespace, spec)
    assert ends >= records
    workers = [
        test_projection.start_worker(broker, namespace, tmp_path, f"{i}/{projections}") for i in range(projections)
    ]
    try:
        said = tmp_path / "projection.log"
        caught_up(
            "projection",
            ends,
            [worker.pid for worker in workers],
            lambda: all(f"run {run}: projected up to window {4 * years - 1}" in said.read_text() for run in runs),
            capsys,
        )
        assert [stopped(worker) for worker in workers] == [0] * projections
    finally:
        for worker in workers:
            put_away(worker)


def _ends(broker: Broker, namespace: str, spec: RunSpec) -> int:
    places = [("economy.flows.v1", p) for p in range(spec.flow_partitions)]
    places += [(TRADES, p) for p in range(spec.partitions)]
    with LogReader(broker.bootstrap, namespace, {}) as reader:
        return sum(reader.end_offsets(places).values())


def _delete_before(broker: Broker, namespace: str, family: str, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    asked = [TopicPartition(topic(namespace, family), 0, offset)]
    for future in admin.delete_records(asked).values():
        future.result(PATIENCE)


def test_a_reader_does_not_pass_what_was_deleted(broker: Broker, namespace: str) -> None:
    topics.create(broker.bootstrap, namespace, 1, 1)
    writer = LogWriter(broker.bootstrap, namespace)
    writer.send_rows(e.TradeExecuted.name, rows_of(e.TradeExecuted, 7, 100, 1), 0)
    writer.flush()
    _delete_before(broker, namespace, TRADES, 60)
    assert sum(len(chunk.offsets) for chunk in read_all(broker.bootstrap, namespace, [(TRADES, 0)])) == 40
    with (
        LogReader(broker.bootstrap, namespace, {(TRADES, 0): 10}) as reader,
        pytest.raises(ProtocolError, match="deleted before they were read"),
    ):
        _read(reader, 100)


def _read(reader: LogReader, polls: int) -> None:
    for _ in range(polls):
        assert not reader.poll(0.2), "a gap was passed in silence"


def test_the_sink_says_when_a_run_that_is_kept_was_deleted_before_it_was_stored(
    broker: Broker, namespace: str, tmp_path: Path
) -> None:
    topics.create(broker.bootstrap, namespace, test_sink.PARTITIONS, test_sink.FLOW_PARTITIONS)
    writer = LogWriter(broker.bootstrap, namespace)
    started = test_sink.started(7) | {"start_offsets": {TRADES: [0, 0]}}
    writer.send_rows(e.TradeExecuted.name, rows_of(e.TradeExecuted, 7, 100, 1), 0)
    writer.send_record("RunStarted", started, 0)
    writer.flush()
    with EmbeddedClickHouse(tmp_path / "clickhouse") as server:
        config = ClickHouseConfig(server.url, "escape", server.password(), namespace)
        migrate(config)
        log = tmp_path / "sink.log"
        sink = test_sink.Process(broker, namespace, server, log)
        with Store(config) as store:
            until(lambda: test_sink.counts(store) == 100)
        assert sink.end(signal.SIGTERM) == 0
        writer.send_rows(e.TradeExecuted.name, rows_of(e.TradeExecuted, 7, 200, 1)[100:], 0)
        writer.flush()
        _delete_before(broker, namespace, TRADES, 150)
        stopped = test_sink.Process(broker, namespace, server, log)
        assert stopped.child.wait(PATIENCE) == ProtocolError.exit_code
        said = log.read_text().strip().splitlines()[-1]
        assert (
            f"escape: records of run 7 on {TRADES}[0] were deleted before they were stored: offsets 100 to 150" in said
        )
        aborted = {"run": 7, "incarnation": 1, "epoch": 0, "reason": "deleted by `escape runs delete`"}
        writer.send_record("RunAborted", aborted, 0)
        writer.send_rows(e.TradeExecuted.name, rows_of(e.TradeExecuted, 8, 50, 1), 0)
        writer.flush()
        passed = test_sink.Process(broker, namespace, server, log)
        with Store(config) as store:
            until(lambda: test_sink.counts(store) == 50)  # nothing of the deleted run is left
        assert passed.end(signal.SIGTERM) == 0


def test_runs_whose_input_was_deleted_before_it_was_matched_are_given_up_and_the_others_go_on() -> None:
    o = e.RunOpened
    state = PartitionMatching(0)
    opened = [7, RunMode.FREE, 1, 1, 1, 1, 20, 0]
    state.feed(Chunk(ORDERS, 0, np.array([0]), {o.name: np.array([opened])}, {o.name: np.array([0])}))
    assert (set(state.runs), state.next_offset) == ({7}, 1)
    pass_deleted(state, 50)
    (given_up,) = state.failed
    assert given_up[0] == 7
    assert given_up[2] == "offsets 1 to 50 of partition 0 were deleted before they were matched"
    opened[0] = 8
    state.feed(Chunk(ORDERS, 0, np.array([50]), {o.name: np.array([opened])}, {o.name: np.array([0])}))
    assert (set(state.runs), state.closed, state.next_offset) == ({8}, {7}, 51)
