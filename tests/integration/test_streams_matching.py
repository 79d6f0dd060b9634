"""The Faust worker against the market called in process."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from economy.events import RunMode, TradeExecuted
from infra.broker import Broker
from schemas.catalogue import ORDERS, dead_letter, topic
from schemas.log import topics
from schemas.log.reader import LogReader
from schemas.log.writer import LogWriter
from tests.integration import toy

pytestmark = pytest.mark.integration


def test_two_runs_at_once_equal_the_market_also_after_kill_9(broker: Broker, namespace: str, tmp_path: Path) -> None:
    partitions, epochs, count = 2, 30, 60
    topics.create(broker.bootstrap, namespace, partitions, 1)
    writer = LogWriter(broker.bootstrap, namespace)
    worker = toy.start_worker(broker.bootstrap, namespace, partitions, tmp_path)
    try:
        for run in (7, 8):
            toy.open_run(writer, run, partitions, epochs - 1)
        writer.send_to(topic(namespace, ORDERS), 0, b"no record", None)
        for epoch in range(epochs):
            for run in (7, 8):
                toy.send_epoch(writer, run, epoch, partitions, epochs - 1, count)
            if epoch in (9, 17, 24):
                toy.matched(broker.bootstrap, namespace, 8, partitions, epoch - 3)
                worker.kill()
                worker.wait()
                worker = toy.start_worker(broker.bootstrap, namespace, partitions, tmp_path)
        for run in (7, 8):
            got = toy.matched(broker.bootstrap, namespace, run, partitions, epochs)
            for a, b in zip(got, toy.expected(run, epochs, count), strict=True):
                assert toy.equal(a, b)
        trades = toy.all_trades(broker.bootstrap, namespace, partitions)[TradeExecuted.name]
        assert len(trades) > 1000
        # The log itself holds no duplicate: the replay reads back what is there and does not write it again.
        identities = trades[:, [TradeExecuted.RUN, TradeExecuted.INSTRUMENT, TradeExecuted.SEQ]]
        assert len(np.unique(identities, axis=0)) == len(trades)
        with LogReader(broker.bootstrap, namespace, {(dead_letter(ORDERS), 0): 0}) as reader:
            buried = reader.poll_messages(10)
        assert buried[0].value() == b"no record"
        assert dict(buried[0].headers() or [])["error"] == b"BAD_MAGIC"
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(15) == 0, (tmp_path / "w0.log").read_text()[-3000:]


def test_free_mode_matches_in_strict_offset_order(broker: Broker, namespace: str, tmp_path: Path) -> None:
    topics.create(broker.bootstrap, namespace, 1, 1)
    writer = LogWriter(broker.bootstrap, namespace)
    worker = toy.start_worker(broker.bootstrap, namespace, 1, tmp_path)
    try:
        toy.open_run(writer, 9, 1, -1, RunMode.FREE)
        rows = np.concatenate([toy.orders(9, 0, epoch, 500) for epoch in range(4)])
        rows = rows[np.argsort(rows[:, 1], kind="stable")]
        for part in np.array_split(rows, 7):
            writer.send_rows("OrderSubmitted", part, 0)
            writer.flush()
        writer.send_rows("RunClosed", np.array([[9]]), 0, ORDERS)
        writer.flush()
        got = {}
        with LogReader(broker.bootstrap, namespace, {("market.trades.v1", 0): 0}) as reader:
            while "EpochMatched" not in got:
                for chunk in reader.poll(1):
                    for name, part in chunk.rows.items():
                        got[name] = np.concatenate([got[name], part]) if name in got else part
        market = toy.Market(9, toy.SEED, toy.L, toy.INSTRUMENTS)
        direct = market.match_free(rows, np.empty((0, 7), np.int64), np.arange(len(rows)))
        marker = got.pop("EpochMatched")
        assert marker[0, 3] == sum(map(len, direct.values()))
        assert toy.equal(got, direct)
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(15) == 0, (tmp_path / "w0.log").read_text()[-3000:]
