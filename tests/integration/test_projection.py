"""The projection service on a real broker: records of a village, a worker killed with -9, partial and false output."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from agents.village import VillageModel
from economy.errors import InputError
from economy.indicators import Window
from economy.records import canonical
from economy.records import events as e
from economy.records.digest import mark
from economy.records.events import ChainScope, Events
from economy.scenario import load_scenario
from infra.broker import Broker
from runs.accounts import read_accounts, read_scales, render, to_json, windows_of
from runs.local import run_local
from runs.log import find_run
from runs.protocol import RunSpec, open_run
from schemas.catalogue import BALANCES, DECISIONS, FLOWS, INDICATORS, ORDERS, topic
from schemas.log.founding import founding
from schemas.log.reader import read_all
from schemas.log.topics import create
from schemas.log.writer import LogWriter
from streams.settings import ProjectionSettings
from tests import toy_model
from tests.processes import PATIENCE, stopped

pytestmark = pytest.mark.integration
PARTITIONS, FLOW_PARTITIONS, SHARDS, SEED = 2, 2, 2, 5
GOOD, FALSE, TOY, GONE, STOPPED = 101, 102, 103, 104, 105
SCENARIO = load_scenario("village", {"years": "1", "calendar.rounds": "2", "targets.debt_ratio": "3.0"})


def send_epoch(writer: LogWriter, run: int, epoch: int, events: Events, last: int) -> None:
    """Flows of two shards and trades of two partitions with their markers, the flows of shard 1 twice."""
    flows, trades = canonical.sort_flows(events), canonical.sort_trades(events)
    for rows in (*flows.values(), *trades.values()):
        rows[:, 0] = run
    for shard in range(SHARDS):
        for p in range(FLOW_PARTITIONS):
            part = {
                name: rows[(rows[:, 2] % SHARDS == shard) & (rows[:, 2] % FLOW_PARTITIONS == p)]
                for name, rows in flows.items()
            }
            part = {name: rows for name, rows in part.items() if len(rows)}
            for _ in range(1 + shard):
                for name, rows in part.items():
                    writer.send_rows(name, rows, p)
            head = [run, epoch, shard, p]
            closed = [*head, *mark(part, ChainScope.FLOWS, 0), int(epoch == last), 1]
            writer.send_rows(e.EpochClosed.name, np.array([closed], np.int64), p, FLOWS)
            for family in (DECISIONS, ORDERS):
                empty = [*head, *mark({}, ChainScope.FLOWS, 0), int(epoch == last), 1]
                writer.send_rows(e.EpochClosed.name, np.array([empty], np.int64), p, family)
    for p in range(PARTITIONS):
        part = {name: rows[rows[:, 1] % PARTITIONS == p] for name, rows in trades.items()}
        part = {name: rows for name, rows in part.items() if len(rows)}
        for name, rows in part.items():
            writer.send_rows(name, rows, p)
        matched = [run, epoch, p, *mark(part, ChainScope.TRADES, 0), int(epoch == last)]
        writer.send_rows(e.EpochMatched.name, np.array([matched], np.int64), p)
    writer.flush()


def start_worker(broker: Broker, namespace: str, folder: Path, runs_of: str = "0/1") -> subprocess.Popen[bytes]:
    told = ProjectionSettings(
        bootstrap=broker.bootstrap, namespace=namespace, partitions=PARTITIONS, flow_partitions=FLOW_PARTITIONS,
        data=folder, name=f"w{runs_of[0]}", runs_of=runs_of,
    )  # fmt: skip
    with open(folder / "projection.log", "ab") as log:
        return subprocess.Popen(told.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def figures(broker: Broker, namespace: str, run: int) -> list[tuple[int, str, int, int]]:
    """(window, indicator, item, value) of every WindowMeasured of a run on the log."""
    return [
        (r["window"], r["indicator"], r["item"], int(r["value"]))
        for chunk in read_all(broker.bootstrap, namespace, [(INDICATORS, 0)])
        for _, _, r in chunk.cold
        if r["run"] == run
    ]


def balances(broker: Broker, namespace: str, run: int) -> list[tuple[int, ...]]:
    chunks = read_all(broker.bootstrap, namespace, [(BALANCES, 0)])
    rows = [row for chunk in chunks for row in chunk.rows["BalanceRecorded"].tolist()]
    return [tuple(row[1:]) for row in rows if row[0] == run]


def wait_logged(folder: Path, *messages: str, seconds: float = PATIENCE) -> None:
    """Until the worker has said all of this."""
    limit = time.monotonic() + seconds
    while missing := [m for m in messages if m not in (folder / "projection.log").read_text()]:
        assert time.monotonic() < limit, missing
        time.sleep(0.1)


def wait_for(broker: Broker, namespace: str, run: int, window: int, folder: Path) -> None:
    limit = time.monotonic() + PATIENCE
    while not any(f[:2] == (window, "gdp_production") for f in figures(broker, namespace, run)):
        assert time.monotonic() < limit, (folder / "projection.log").read_text()
        time.sleep(0.2)


def delete_before(broker: Broker, namespace: str, offsets: dict[str, list[int]]) -> None:
    """Delete the log's front, as the removal of the oldest run does."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    asked = [
        TopicPartition(topic(namespace, family), p, offset)
        for family, part in offsets.items()
        for p, offset in enumerate(part)
        if offset
    ]
    for future in admin.delete_records(asked).values():
        future.result(PATIENCE)


def test_output_survives_kill_9_without_gap_or_double(broker: Broker, namespace: str, tmp_path: Path) -> None:
    village, epochs = VillageModel(SCENARIO, SEED), []
    run_local(village, GOOD, on_epoch=lambda epoch, events: epochs.append(events) if epoch >= 0 else None)
    create(broker.bootstrap, namespace, PARTITIONS, FLOW_PARTITIONS)
    writer = LogWriter(broker.bootstrap, namespace)
    toy = toy_model.ToyModel({"agents": 4, "epochs": 2}, 1)
    for run, model, scenario in (
        (GONE, village, village.scenario_json()),
        (TOY, toy, toy.scenario_json()),
        (FALSE, village, village.scenario_json()),
        (STOPPED, village, village.scenario_json()),
        (GOOD, village, village.scenario_json()),
    ):
        spec = RunSpec(run, "agents.village:make", scenario, SEED, SHARDS, PARTITIONS, FLOW_PARTITIONS)
        open_run(broker.bootstrap, namespace, writer, spec, model)
    last = len(epochs) - 1
    for run in (FALSE, STOPPED, GOOD):
        for epoch in range(15):
            send_epoch(writer, run, epoch, epochs[epoch], last)
    aborted = {"run": STOPPED, "incarnation": 1, "epoch": 14, "reason": "interrupted"}
    writer.send_record("RunAborted", aborted, 0)
    info = find_run(broker.bootstrap, namespace, GOOD)
    founded = founding(broker.bootstrap, namespace, info.started)
    opening = canonical.sort_flows(village.opening(GOOD)[0])
    told = [{"all": events} for events in (opening, *epochs)]
    expected: list[Window] = list(windows_of(zip(range(-1, len(epochs)), told, strict=True), info, founded))

    # A process that died left the first window half written; of run FALSE, with a figure that is not so.
    writer.send_rows(e.BalanceRecorded.name, expected[0].balances[:500], 0)
    some = dict(list(expected[0].figures.items())[3:9])
    for run, wrong in ((GOOD, 0), (FALSE, 1)):
        for (name, item), value in some.items():
            record = {"run": run, "window": 0, "indicator": name, "item": item, "value": Decimal(value + wrong)}
            writer.send_record("WindowMeasured", record, 0)
    writer.flush()

    delete_before(broker, namespace, find_run(broker.bootstrap, namespace, TOY).started["start_offsets"])
    worker = start_worker(broker, namespace, tmp_path)
    try:
        wait_for(broker, namespace, GOOD, 0, tmp_path)
        worker.kill()
        worker.wait()
        for epoch in range(15, 30):
            send_epoch(writer, GOOD, epoch, epochs[epoch], last)
        worker = start_worker(broker, namespace, tmp_path)
        wait_for(broker, namespace, GOOD, 2, tmp_path)
        for epoch in range(30, last + 1):
            send_epoch(writer, GOOD, epoch, epochs[epoch], last)
        wait_for(broker, namespace, GOOD, 3, tmp_path)
        wait_logged(tmp_path, f"run {STOPPED}: projected up to window 0", f"run {GONE} has been deleted")
    finally:
        assert stopped(worker) == 0

    found = figures(broker, namespace, GOOD)
    assert max(Counter(f[:3] for f in found).values()) == 1
    assert sorted(found) == sorted((w.window, name, i, v) for w in expected for (name, i), v in w.figures.items())
    rows = balances(broker, namespace, GOOD)
    assert sorted(rows) == sorted(tuple(row[1:]) for w in expected for row in w.balances.tolist())
    assert len(figures(broker, namespace, FALSE)) == len(some), "output that differs was written over"
    assert balances(broker, namespace, FALSE) == []
    found = figures(broker, namespace, STOPPED)
    assert sorted(found) == sorted((0, name, item, value) for (name, item), value in expected[0].figures.items())
    assert figures(broker, namespace, TOY) + figures(broker, namespace, GONE) == []

    read = read_accounts(broker.bootstrap, namespace, info)
    assert read.figures == expected[-1].figures
    assert read.balance_sheet == expected[-1].balance_sheet
    assert read.transaction_flows == expected[-1].transaction_flows
    told = to_json(read, read_scales(broker.bootstrap, namespace, info))["figures"][0]
    assert told["value_raw"] == str(read.figures["gdp_production", 0])
    assert Decimal(told["value"]) == Decimal(told["value_raw"]) / 10**8
    assert all(matrix.render() in render(read) for matrix in (read.balance_sheet, read.transaction_flows))
    with pytest.raises(InputError, match="give 0 to 3"):
        read_accounts(broker.bootstrap, namespace, info, 4)
