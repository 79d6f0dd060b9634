"""Bytes of anybody where a broker's, or our own, are expected: a clean error, at once, and no memory by their leave."""

from __future__ import annotations

import io
import socket
import struct
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import lz4.frame
import numpy as np
import pytest
from aiokafka.protocol.metadata import MetadataRequest_v4
from aiokafka.protocol.transaction import InitProducerIdRequest_v0
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given, settings
from hypothesis import strategies as st

from economy.errors import ProtocolError, SetupError
from schemas.catalogue import ORDERS
from schemas.log import recordbatch, refusal, snapshots, wire
from schemas.log.batchwriter import BatchWriter
from schemas.log.follower import Follower
from schemas.log.refusal import RefusedError
from schemas.log.requests import Fetch, Produce
from schemas.log.writer import LogWriter, WriteError

PLACE = ("t", 0)
REQUESTS: list[Any] = [
    Fetch({PLACE: 0}, 1, 1, 1, 1),
    Produce({PLACE: b""}, 1),
    wire.Rare(MetadataRequest_v4(["t"], False)),
    wire.Rare(InitProducerIdRequest_v0(None, 0)),
]
ALERT = b"\x15\x03\x03\x00\x02\x02\x16"  # TLS: a fatal alert, which a TLS port answers a plain request with


@contextmanager
def answering(answer: Callable[[bytes], bytes], once: bool = False) -> Iterator[int]:
    """A server that answers every request, by what it was, or `once` and hangs up; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:  # the test is over
                    return
                with peer:
                    while asked := peer.recv(1 << 16):
                        peer.sendall(answer(asked))
                        if once:
                            break

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (ALERT, "speaks TLS"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "speaks TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks HTTP"),
        (struct.pack(">i", wire.MOST + 1), "no Kafka broker"),
        (struct.pack(">i", -1), "no Kafka broker"),
        (struct.pack(">i", 3) + b"abc", "no Kafka broker"),
        (framed(struct.pack(">i", 77)), "request 1 is answered as 77"),
    ],
)
def test_what_is_no_broker_is_told_and_gets_no_memory(data: bytes, words: str) -> None:
    with answering(lambda _: data) as port:
        connection = wire.Connection("127.0.0.1", port)
        tracemalloc.start()
        try:
            with pytest.raises(wire.ForeignError, match=words) as told:
                connection.ask(REQUESTS[0])
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()
            connection.close()
    assert not isinstance(told.value, OSError)  # which is asked again
    assert f"127.0.0.1:{port}" in str(told.value)


def test_readers_and_writers_end_at_a_tls_port_instead_of_asking_again() -> None:
    with answering(lambda _: ALERT) as port:
        with Follower(f"127.0.0.1:{port}", "n", {(ORDERS, 0): 0}) as follower, pytest.raises(SetupError, match="TLS"):
            follower.poll(60)
        with BatchWriter(f"127.0.0.1:{port}", "n") as writer:
            writer.send(ORDERS, 0, b"value", b"key")
            with pytest.raises(SetupError, match="TLS"):
                writer.flush(60)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=120), st.sampled_from(REQUESTS), st.booleans())
def test_no_answer_makes_more_than_a_clean_error(body: bytes, request: Any, sound: bool) -> None:
    """Of any request, also behind a sound head."""
    sent = framed(struct.pack(">i", 1) + body) if sound else body + bytes(8)
    with (
        answering(lambda _: sent, once=True) as port,
        closing(wire.Connection("127.0.0.1", port)) as connection,
        suppress(wire.ForeignError, OSError),  # OSError: it hung up before the answer was whole
    ):
        connection.ask(request)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_a_fetch_or_a_produce_go_on_for_ever(body: bytes) -> None:
    for request in REQUESTS[:2]:
        with suppress(ValueError, struct.error):
            request.decode(body)


def test_a_topic_name_that_leads_backwards_is_refused() -> None:
    body = struct.pack(">ihii", 0, 0, 0, 1 << 30) + struct.pack(">h", -6) + bytes(64)
    with pytest.raises(ValueError, match="topic"):
        Fetch.decode(body)


# ---- record batches and snapshots
@settings(deadline=None)
@given(st.data())
def test_no_record_batch_makes_more_than_a_clean_error(data: st.DataObject) -> None:
    head = data.draw(st.binary(min_size=recordbatch.HEAD.size, max_size=recordbatch.HEAD.size + 80))
    fields = list(recordbatch.HEAD.unpack_from(head))
    fields[1], fields[3] = data.draw(st.integers(-5, len(head))), 2
    with suppress(ProtocolError):
        recordbatch.read(recordbatch.HEAD.pack(*fields) + head[recordbatch.HEAD.size :], check_crc=False, aborted=[])


def _npz(shape: tuple[int, ...], content: bytes) -> bytes:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<i8", "fortran_order": False, "shape": shape})  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", head.getvalue() + content)
    return buffer.getvalue()


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 62, 8), (2,), ()])
def test_an_array_that_claims_another_size_than_it_has_is_refused(shape: tuple[int, ...]) -> None:
    data = _npz(shape, bytes(24))
    with pytest.raises(ValueError, match="claims the shape"):
        snapshots.unpacked(data)
    value = snapshots._HEAD.pack(1, 5, 0, 1) + lz4.frame.compress(data)
    assert snapshots.newest([value], 1) is None


def test_a_snapshot_that_grows_without_end_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MOST", 1 << 20)
    value = snapshots._HEAD.pack(1, 5, 0, 1) + lz4.frame.compress(bytes(1 << 28), store_size=False)
    sound = [value for _, value in snapshots.pack(1, 4, {"numbers": np.arange(9)})]
    found = snapshots.newest([value, *sound], 1)
    assert found is not None
    assert found[0] == 4


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(-1, 3), st.data())
def test_no_value_on_a_topic_of_snapshots_hides_a_sound_one(junk: bytes, version: int, data: st.DataObject) -> None:
    sound = [value for _, value in snapshots.pack(1, 1, {"numbers": np.arange(9)})]
    cut = sound[0][: data.draw(st.integers(0, len(sound[0]) - 1))]
    wrong = snapshots._HEAD.pack(1, version + 2, 0, 1) + junk
    turned = bytearray(snapshots._HEAD.pack(1, 9, 0, 1) + sound[0][snapshots._HEAD.size :])
    turned[data.draw(st.integers(snapshots._HEAD.size, len(turned) - 1))] ^= data.draw(st.integers(1, 255))
    found = snapshots.newest([junk, cut, wrong, *sound], 1)
    assert found is not None
    assert found[0] == 1
    assert snapshots.newest([bytes(turned), *sound], 1) is not None


# ---- who may not
def _metadata(error: int) -> Callable[[bytes], bytes]:
    """Answers to Metadata version 4: one broker, one topic with an error and without partitions."""

    def answer(asked: bytes) -> bytes:
        number = asked[8:12]
        body = struct.pack(">i", 0) + struct.pack(">i", 0) + struct.pack(">h", -1) + struct.pack(">i", 0)
        name = b"topic"
        topic = struct.pack(">h", error) + struct.pack(">h", len(name)) + name + b"\0" + struct.pack(">i", 0)
        return framed(number + body + struct.pack(">i", 1) + topic)

    return answer


@pytest.mark.parametrize("code", [29, 31, 58])
def test_whoever_may_not_is_told_so_at_once(code: int) -> None:
    """Not after two minutes of asking again, nor never: a follower would ask for ever."""
    with answering(_metadata(code)) as port:
        with Follower(f"127.0.0.1:{port}", "n", {(ORDERS, 0): 0}) as follower, pytest.raises(RefusedError):
            follower.poll(60)
        cluster = wire.Cluster(f"127.0.0.1:{port}")
        with pytest.raises(RefusedError, match="topic") as told:
            cluster.by_leader([PLACE])
    assert not isinstance(told.value, OSError)


def test_a_login_that_fails_ends_a_writer_and_not_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LogWriter("127.0.0.1:1", "n")
    writer.send(ORDERS, 0, b"value")
    writer._on_error(KafkaError(KafkaError._AUTHENTICATION))
    with pytest.raises(WriteError, match="_AUTHENTICATION"):
        writer.flush(60)
    with pytest.raises(RefusedError, match="password"):
        refusal.check("the log", KafkaException(KafkaError(KafkaError._AUTHENTICATION)))
    refusal.check("the log", KafkaError(KafkaError._TRANSPORT))  # a broker that is away comes back
