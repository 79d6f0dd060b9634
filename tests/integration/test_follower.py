"""The reader and the writer of the least delay, held to librdkafka's on the same real broker."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from economy.errors import ProtocolError
from economy.records import events as e
from economy.records.events import Rows
from infra.broker import Broker
from schemas.catalogue import AGENT_SNAPSHOTS, CLOCK, FLOWS, TRADES, topic
from schemas.log import topics, wire
from schemas.log.batchwriter import BatchWriter
from schemas.log.follower import Follower
from schemas.log.reader import Chunk, end_offsets, read_all
from schemas.log.requests import Fetch, Produce
from schemas.log.writer import LogWriter, WriteError
from schemas.rows import Defect, encode
from tests.processes import PATIENCE

pytestmark = pytest.mark.integration
M = e.MoneyTransferred
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


@pytest.fixture
def there(broker: Broker, namespace: str) -> tuple[str, str]:
    topics.create(broker.bootstrap, namespace, 1, 2)
    return broker.bootstrap, namespace


def payments(count: int, first: int = 0) -> Rows:
    rows = np.random.default_rng(first).integers(0, 10**12, (count, M.width))
    rows[:, 0], rows[:, M.KIND], rows[:, 3] = 7, np.arange(count) % 5, first + np.arange(count)
    return rows


def follow(reader: Follower, end: dict[tuple[str, int], int], seconds: float = PATIENCE) -> list[Chunk]:
    """All chunks until the reader is at `end`."""
    chunks, limit = [], time.monotonic() + seconds
    while reader.position != end:
        assert time.monotonic() < limit, (reader.position, end)
        chunks += reader.poll(0.2)
    return chunks


def rows_of(chunks: list[Chunk], place: tuple[str, int]) -> tuple[list[list[int]], list[int]]:
    mine = [chunk for chunk in chunks if chunk.place == place and M.name in chunk.rows]
    rows = [row for chunk in mine for row in chunk.rows[M.name].tolist()]
    return rows, [offset for chunk in mine for offset in chunk.offsets_of(M.name).tolist()]


@pytest.mark.parametrize("codec", CODECS)
def test_what_any_producer_wrote_is_read_as_librdkafka_reads_it(there: tuple[str, str], codec: str) -> None:
    writer = LogWriter(*there, **{"compression.type": codec})
    for first in range(0, 600, 200):
        writer.send_rows(M.name, payments(200, first), 0)
        writer.flush()
        writer.send_rows(M.name, payments(10, first), 1)
    writer.send(FLOWS, 1, b"\0\0\0\xff\xff" + b"no such schema")
    writer.send_record("EpochGranted", {"run": 7, "epoch": 3, "incarnation": 1, "offsets": [5]}, 0)
    writer.flush()
    places = [(FLOWS, 0), (FLOWS, 1), (CLOCK, 0)]
    expected = list(read_all(*there, places))
    for skip in (0, 137):  # from the middle of a batch as well
        with Follower(*there, {place: skip if place == (FLOWS, 0) else 0 for place in places}) as reader:
            chunks = follow(reader, end_offsets(*there, places))
        rows, offsets = rows_of(expected, (FLOWS, 0))
        assert rows_of(chunks, (FLOWS, 0)) == (rows[skip:], offsets[skip:])
        assert rows_of(chunks, (FLOWS, 1)) == rows_of(expected, (FLOWS, 1))
        clock = [chunk for chunk in chunks if chunk.family == CLOCK]
        assert [v for chunk in clock for v in chunk.values] == [
            v for chunk in expected if chunk.family == CLOCK for v in chunk.values
        ]
        assert [cold[1:] for chunk in clock for cold in chunk.cold] == [
            ("EpochGranted", {"run": 7, "epoch": 3, "incarnation": 1, "offsets": [5]})
        ]
        assert [why for chunk in chunks for _, why in chunk.defects] == [Defect.UNKNOWN_SCHEMA]


def test_aborted_transactions_are_stepped_over(there: tuple[str, str]) -> None:
    bootstrap, namespace = there
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": namespace})
    producer.init_transactions(20)
    for number, kept in enumerate((False, True, False)):
        producer.begin_transaction()
        buffer, ends = encode(M.name, payments(20, 100 * number))
        for start, end in itertools.pairwise([0, *ends.tolist()]):
            producer.produce(topic(namespace, FLOWS), buffer[start:end].tobytes(), partition=0)
        producer.flush(20)
        (producer.commit_transaction if kept else producer.abort_transaction)(20)
    with Follower(*there, {(FLOWS, 0): 0}) as reader:
        chunks = follow(reader, end_offsets(*there, [(FLOWS, 0)]))
    assert rows_of(chunks, (FLOWS, 0))[0] == payments(20, 100).tolist()
    # A range that ends in what a transaction leaves is read to its end, and nothing else is waited for.
    assert rows_of(list(read_all(*there, [(FLOWS, 0), (FLOWS, 1)])), (FLOWS, 0))[0] == payments(20, 100).tolist()


def messages(bootstrap: str, name: str, partition: int, count: int) -> list[Any]:
    """What librdkafka reads, with its check of checksums."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "check.crcs": True})
    consumer.assign([TopicPartition(name, partition, 0)])
    found: list[Any] = []
    while len(found) < count:
        found += consumer.consume(count - len(found), 10)
    consumer.close()
    assert all(message.error() is None for message in found)
    return found


def test_the_two_writers_write_the_same(there: tuple[str, str]) -> None:
    bootstrap, namespace = there
    ours, theirs = BatchWriter(*there), LogWriter(*there)
    matched = np.arange(2 * e.EpochMatched.width).reshape(2, -1) % 2
    big = np.random.default_rng(1).bytes(3_000_000)
    for writer, flow_partition in ((ours, 0), (theirs, 1)):
        for first in (0, 30_000):
            writer.send_rows(M.name, payments(30_000, first), flow_partition)  # several batches
            writer.send_rows(e.EpochMatched.name, matched, 0, TRADES)
            writer.send(AGENT_SNAPSHOTS, 0, big, b"a key that is longer than those of rows")
            writer.send(AGENT_SNAPSHOTS, 0, b"x", b"k")
            writer.flush()
    writer.flush()
    ours.close()
    flows = [messages(bootstrap, topic(namespace, FLOWS), p, 60_000) for p in (0, 1)]
    assert [(m.key(), m.value()) for m in flows[0]] == [(m.key(), m.value()) for m in flows[1]]
    for family, count in ((TRADES, 8), (AGENT_SNAPSHOTS, 8)):
        found = [(m.key(), m.value()) for m in messages(bootstrap, topic(namespace, family), 0, count)]
        assert found[: count // 2] == found[count // 2 :]
    assert abs(flows[0][0].timestamp()[1] / 1000 - time.time()) < 600


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_what_is_sent_again_is_on_the_log_once(
    there: tuple[str, str], monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    send, receive = wire.Connection.send, wire.Connection.receive
    cut = itertools.count()

    def cut_send(self: wire.Connection, request: Any) -> None:
        if lost == "request" and isinstance(request, Produce) and next(cut) in (0, 2):
            raise ConnectionError("cut off")
        send(self, request)

    def cut_receive(self: wire.Connection) -> Any:
        produced = isinstance(self._asked, Produce)
        answer = receive(self)
        if lost == "answer" and produced and next(cut) in (0, 2, 3):
            raise ConnectionError("cut off")
        return answer

    monkeypatch.setattr(wire.Connection, "send", cut_send)
    monkeypatch.setattr(wire.Connection, "receive", cut_receive)
    with BatchWriter(*there) as writer:
        for first in range(0, 500, 100):
            for partition in (0, 1):
                writer.send_rows(M.name, payments(100, first), partition)
            writer.flush()
    assert next(cut) > 3
    places = [(FLOWS, 0), (FLOWS, 1)]
    chunks = list(read_all(*there, places))
    for place in places:
        assert rows_of(chunks, place)[0] == [
            row for first in range(0, 500, 100) for row in payments(100, first).tolist()
        ]


def test_a_fetch_that_is_cut_off_is_asked_again(there: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    receive, cut = wire.Connection.receive, itertools.count()

    def cut_receive(self: wire.Connection) -> Any:
        fetched = isinstance(self._asked, Fetch)
        answer = receive(self)
        if fetched and next(cut) % 2 == 0:
            raise ConnectionError("cut off")
        return answer

    monkeypatch.setattr(wire.Connection, "receive", cut_receive)
    chunks: list[Chunk] = []
    with BatchWriter(*there) as writer, Follower(*there, {(FLOWS, 0): 0}) as reader:
        for first in range(0, 400, 100):
            writer.send_rows(M.name, payments(100, first), 0)
            writer.flush()
            chunks += follow(reader, {(FLOWS, 0): first + 100})
    rows, offsets = rows_of(chunks, (FLOWS, 0))
    assert rows == [row for first in range(0, 400, 100) for row in payments(100, first).tolist()]
    assert offsets == list(range(400))
    assert next(cut) > 4


def test_a_partition_that_is_held_is_read_no_further_until_it_is_let_go(there: tuple[str, str]) -> None:
    writer = LogWriter(*there)
    writer.send_rows(M.name, payments(50, 0), 0)
    writer.flush()
    with Follower(*there, {(FLOWS, 0): 0, (FLOWS, 1): 0}) as reader:
        follow(reader, {(FLOWS, 0): 50, (FLOWS, 1): 0})
        reader.hold([(FLOWS, 0)])
        writer.send_rows(M.name, payments(50, 50), 1)
        writer.flush()
        follow(reader, {(FLOWS, 0): 50, (FLOWS, 1): 50})  # by now nobody waits for the held one any more
        writer.send_rows(M.name, payments(50, 50), 0)
        writer.flush()
        writer.send_rows(M.name, payments(50, 100), 1)
        writer.flush()
        follow(reader, {(FLOWS, 0): 50, (FLOWS, 1): 100})
        reader.hold([])
        (chunk,) = follow(reader, {(FLOWS, 0): 100, (FLOWS, 1): 100})
        assert chunk.rows[M.name].tolist() == payments(50, 50).tolist()


def test_a_refusal_is_told(there: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        Follower(*there, {(FLOWS, 0): 99}) as reader,
        pytest.raises(ProtocolError, match=r"deleted before they were read.*from offset 99"),
    ):
        reader.poll(10)
    with BatchWriter(*there) as writer:
        writer.send(FLOWS, 0, bytes(3_000_000), b"k")  # a fact as large as no broker takes
        with pytest.raises(WriteError, match="error 10"):
            writer.flush()
    with BatchWriter("127.0.0.1:1", there[1]) as writer:  # nobody listens
        writer.send(FLOWS, 0, b"x", b"k")
        with pytest.raises(WriteError, match="no acknowledgement"):
            writer.flush(0.2)
    with Follower("127.0.0.1:1", there[1], {(FLOWS, 0): 0}) as reader:
        assert reader.poll(0.1) == []


def test_a_damaged_batch_is_never_taken(there: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with BatchWriter(*there) as writer:
        writer.send_rows(M.name, payments(10), 0)
        writer.flush()
    receive = wire.Connection.receive

    def damaged(self: wire.Connection) -> Any:
        fetched = isinstance(self._asked, Fetch)
        answer = receive(self)
        if not fetched:
            return answer
        error, (found,) = answer
        return error, [found._replace(blob=found.blob[:-3] + b"\xff" + found.blob[-2:])]

    monkeypatch.setattr(wire.Connection, "receive", damaged)
    with Follower(*there, {(FLOWS, 0): 0}) as reader, pytest.raises(ProtocolError, match="checksum"):
        reader.poll(10)
