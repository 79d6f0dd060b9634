"""Records whose schema id the catalogue does not know, as a newer version of the program would write them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from economy.records import events as e
from infra.broker import Broker
from runs.log import list_runs
from schemas.catalogue import CLOCK, FACTS, ORDERS, TRADES, locked_ids, topic
from schemas.log import topics
from schemas.log.clocklog import read_clock
from schemas.log.reader import read_all
from schemas.log.writer import LogWriter
from tests.integration import test_projection, test_sink, toy
from tests.processes import put_away

pytestmark = pytest.mark.integration
NEWER = 1 + max(entry["id"] for entries in locked_ids().values() for entry in entries)


def test_they_are_passed_by_every_reader_and_what_is_known_goes_on(
    broker: Broker, namespace: str, tmp_path: Path
) -> None:
    topics.create(broker.bootstrap, namespace, test_projection.PARTITIONS, test_projection.FLOW_PARTITIONS)
    writer = LogWriter(broker.bootstrap, namespace)
    for family in FACTS:
        writer.send_to(topic(namespace, family), 0, b"\0" + struct.pack(">I", NEWER) + b"\2\4\6")
    writer.send_record("RunStarted", test_sink.started(5), 0)
    writer.send_record("RunAborted", {"run": 5, "incarnation": 1, "epoch": 3, "reason": "a test"}, 0)
    toy.open_run(writer, 7, test_projection.PARTITIONS, 0)
    toy.send_epoch(writer, 7, 0, test_projection.PARTITIONS, 0, 50)
    worker = toy.start_worker(broker.bootstrap, namespace, test_projection.PARTITIONS, tmp_path)
    projection = test_projection.start_worker(broker, namespace, tmp_path)
    try:
        assert [info.state for info in list_runs(broker.bootstrap, namespace)] == ["aborted"]
        assert read_clock(broker.bootstrap, namespace, 5).aborted == "a test"
        (made,) = toy.matched(broker.bootstrap, namespace, 7, test_projection.PARTITIONS, 1, 200)
        assert toy.equal(made, toy.expected(7, 1, 50)[0])
        test_projection.wait_logged(tmp_path, "1 runs on the log, 0 to project")
        letters = test_sink.buried(broker, namespace, ORDERS)
        assert [why for _, why in letters] == [f"{topic(namespace, ORDERS)} 0 0 UNKNOWN_SCHEMA"]
        (defects,) = (c.defects for c in read_all(broker.bootstrap, namespace, [(CLOCK, 0)]))
        assert [why.name for _, why in defects] == ["UNKNOWN_SCHEMA"]
        assert e.TradeExecuted.name in {n for c in read_all(broker.bootstrap, namespace, [(TRADES, 0)]) for n in c.rows}
        assert worker.poll() is projection.poll() is None
    finally:
        for process in (worker, projection):
            put_away(process)
