"""The Faust worker against the market called in process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from economy.markets.market import Market
from economy.records import events as e
from economy.records.events import RunMode, TradeExecuted
from infra.broker import Broker
from schemas.catalogue import EVENTS, ORDERS, dead_letter, topic
from schemas.codec import encode_record
from schemas.log import topics
from schemas.log.clocklog import read_clock
from schemas.log.reader import LogReader
from schemas.log.writer import LogWriter
from tests.integration import toy
from tests.processes import stopped

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
        assert stopped(worker) == 0, (tmp_path / "w0.log").read_text()[-3000:]


def test_a_run_that_contradicts_itself_is_aborted_alone(broker: Broker, namespace: str, tmp_path: Path) -> None:
    topics.create(broker.bootstrap, namespace, 1, 1)
    writer = LogWriter(broker.bootstrap, namespace)
    worker = toy.start_worker(broker.bootstrap, namespace, 1, tmp_path)
    try:
        for run in (7, 8):
            toy.open_run(writer, run, 1, 5)
            toy.send_epoch(writer, run, 0, 1, 5, 20)
        twice = toy.orders(7, 0, 1, 1)
        writer.send_rows("OrderSubmitted", twice, 0)
        twice[0, e.OrderSubmitted.PRICE] += 1
        writer.send_rows("OrderSubmitted", twice, 0)
        for epoch in range(1, 6):
            for run in (7, 8):
                toy.send_epoch(writer, run, epoch, 1, 5, 20)
        got = toy.matched(broker.bootstrap, namespace, 8, 1, 6)
        assert all(toy.equal(a, b) for a, b in zip(got, toy.expected(8, 6, 20), strict=True))
        assert toy.equal(toy.matched(broker.bootstrap, namespace, 7, 1, 1)[0], toy.expected(7, 1, 20)[0])
        reason = read_clock(broker.bootstrap, namespace, 7).aborted
        assert reason is not None
        assert "share the identity" in reason
        assert read_clock(broker.bootstrap, namespace, 8).aborted is None
    finally:
        assert stopped(worker) == 0, (tmp_path / "w0.log").read_text()[-3000:]


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
        market = Market(9, toy.SEED, toy.L, toy.INSTRUMENTS)
        direct = market.match_free(rows, np.empty((0, 7), np.int64), np.arange(len(rows)))
        marker = got.pop("EpochMatched")
        assert marker[0, 3] == sum(map(len, direct.values()))
        assert toy.equal(got, direct)
    finally:
        assert stopped(worker) == 0, (tmp_path / "w0.log").read_text()[-3000:]


def test_bad_records_go_to_the_dead_letters_or_are_rejected_and_the_stream_goes_on(
    broker: Broker, namespace: str, tmp_path: Path
) -> None:
    topics.create(broker.bootstrap, namespace, 1, 1)
    writer = LogWriter(broker.bootstrap, namespace)
    worker = toy.start_worker(broker.bootstrap, namespace, 1, tmp_path)
    orders, listed = topic(namespace, ORDERS), EVENTS["InstrumentListed"].schema_id
    try:
        toy.open_run(writer, 11, 1, -1, RunMode.FREE)
        bad = {**toy.INSTRUMENTS[0].record(11), "instrument": 77, "price_scale": 6, "quantity_scale": 6}
        poison = (
            b"no record",
            b"\0" + (999_999).to_bytes(4, "big") + b"\2\2",  # unknown schema id
            b"\0" + listed.to_bytes(4, "big") + b"\2",  # truncated record with texts
            encode_record("InstrumentListed", bad),
        )
        for value in poison:
            writer.send_to(orders, 0, value, None)
        o = e.OrderSubmitted
        good = np.zeros((7, o.width), np.int64)
        good[:, [o.RUN, o.AGENT]] = 11, 1
        good[:, o.N] = good[:, o.ORDER] = np.arange(1, 8)
        good[:, [o.PRICE, o.QUANTITY]] = 1000, 5
        good[1, o.INSTRUMENT] = 999
        good[2, o.PRICE] = -5
        good[3, o.QUANTITY] = 0
        good[4, o.PRICE] = 2**62
        good[5, o.ORDER] = good[0, o.ORDER]  # a second order with the id of the first
        good[6, o.TYPE] = e.OrderType.MARKET  # with a price
        writer.send_rows(o.name, good, 0)
        cancel = np.array([[11, 0, 1, 8, 4711, 0, 0]])
        writer.send_rows("OrderCancelRequested", cancel, 0)
        writer.send_rows("RunClosed", np.array([[11]]), 0, ORDERS)
        writer.flush()
        rejected: list[list[int]] = []
        with LogReader(broker.bootstrap, namespace, {("market.trades.v1", 0): 0}) as reader:
            done = False
            while not done:
                for chunk in reader.poll(1):
                    rejected += chunk.rows.get("OrderRejected", np.empty((0, 8), np.int64)).tolist()
                    done = done or "EpochMatched" in chunk.rows
        r, why = e.OrderRejected, e.RejectReason
        assert {row[r.N]: why(row[r.REASON]) for row in rejected} == {
            2: why.UNKNOWN_INSTRUMENT,
            3: why.PRICE_OUT_OF_RANGE,
            4: why.QUANTITY_OUT_OF_RANGE,
            5: why.PRICE_OUT_OF_RANGE,
            6: why.DUPLICATE_ORDER,
            7: why.MALFORMED,
            8: why.UNKNOWN_ORDER,
        }
        found: list[bytes | None] = []
        with LogReader(broker.bootstrap, namespace, {(dead_letter(ORDERS), 0): 0}) as reader:
            while len(found) < len(poison):
                found += [m.value() for m in reader.poll_messages(5)]
        assert found == list(poison)
    finally:
        assert stopped(worker) == 0, (tmp_path / "w0.log").read_text()[-3000:]
