"""HTTP of the embedded ClickHouse: where a body ends is beyond doubt, and long answers come in pieces or break off."""

from __future__ import annotations

import http.client
import logging
import socket
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra import chhttp
from infra.chguard import RefusedError
from infra.chhttp import Answer, Asked

HEAD = b"POST /?a=%C3%A4 HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


class Served:
    """A server whose answers are the bodies that it was sent."""

    def __init__(self) -> None:
        self.whole: list[bytes] = []
        self.broken: list[str] = []
        self.closed = threading.Event()

    def answer(self, asked: Asked) -> Answer:
        """Of /stream a long one; of /break one that breaks off."""
        try:
            body = b"".join(asked.body)
        except RefusedError as error:
            self.broken.append(str(error))
            return Answer(500, {}, b"refused")
        self.whole.append(body)
        return Answer(200, {}, body if asked.path == "/" else self._pieces(asked.path))

    def _pieces(self, path: str) -> Generator[bytes, None, None]:
        try:
            for k in range(200):
                yield b"%09d\n" % k * 10_000
                if path == "/break" and k == 3:
                    raise RuntimeError("the engine has stopped")
        finally:
            self.closed.set()


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Served, int]]:
    answers, bound = Served(), chhttp.listening(0)
    server = chhttp.server(chhttp.App(answers.answer, 4))
    thread = threading.Thread(target=lambda: server.run(sockets=[bound]), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield answers, bound.getsockname()[1]
    server.should_exit = True
    thread.join(30)


def answered(port: int, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as raw, suppress(ConnectionResetError):
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: raw.recv(65536), b""))
    return b""


def asked(port: int, body: object, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", "/", body, headers, encode_chunked=True)  # type: ignore[arg-type]
        found = connection.getresponse()
        return found.status, found.read()
    finally:
        connection.close()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=200_000), max_size=4), st.booleans())
def test_a_body_is_what_was_sent(served: tuple[Served, int], chunks: list[bytes], chunked: bool) -> None:
    whole = b"".join(chunks)
    assert asked(served[1], iter(chunks) if chunked else whole) == (200, whole)


@pytest.mark.parametrize("size", ["-1", "+1", "0x1", "1_0", " 1", "", "g", "1 1", "-0", "+0", "0x0", "1" * 17])
def test_a_size_of_a_chunk_is_hexadecimal_digits_alone(served: tuple[Served, int], size: str) -> None:
    answers, port = served
    before = len(answers.whole)
    found = answered(port, CHUNKED + size.encode() + b"\r\n" + b"x" * 32 + b"\r\n0\r\n\r\n")
    assert not found.startswith(b"HTTP/1.1 2")
    assert len(answers.whole) == before


@pytest.mark.parametrize(
    "fields",
    [
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        *[b"Content-Length: " + length + b"\r\n" for length in (b"-1", b"+3", b"3.0", b"0x3", b"3, 3", b"9" * 5000)],
    ],
)
def test_a_body_whose_end_is_not_certain_is_refused(served: tuple[Served, int], fields: bytes) -> None:
    answers, port = served
    before = len(answers.whole)
    assert answered(port, HEAD + fields + b"\r\n3\r\nabc\r\n0\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert len(answers.whole) == before


@pytest.mark.parametrize(
    "sent", [CHUNKED + b"5\r\nab", CHUNKED + b"2\r\nab\r\n", HEAD + b"Content-Length: 9\r\n\r\nabc"]
)
def test_a_body_that_breaks_off_is_never_whole(served: tuple[Served, int], sent: bytes) -> None:
    answers, port = served
    whole, broken = len(answers.whole), len(answers.broken)
    assert answered(port, sent) == b""
    while len(answers.broken) == broken:
        time.sleep(0.01)
    assert answers.broken[broken:] == ["the body is truncated"]
    assert len(answers.whole) == whole


def test_a_long_answer_comes_whole_and_one_that_breaks_off_has_no_end(
    served: tuple[Served, int], caplog: pytest.LogCaptureFixture
) -> None:
    _, port = served
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/stream")
    assert len(connection.getresponse().read()) == 200 * 100_000
    with caplog.at_level(logging.CRITICAL):
        connection.request("GET", "/break")
        with pytest.raises(http.client.IncompleteRead):
            connection.getresponse().read()
    connection.close()


def test_an_answer_that_nobody_takes_is_closed(served: tuple[Served, int]) -> None:
    answers, port = served
    answers.closed.clear()
    with socket.create_connection(("127.0.0.1", port), 20) as raw:
        raw.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(100)
    assert answers.closed.wait(20)


def test_slow_bodies_leave_others_served(served: tuple[Served, int]) -> None:
    _, port = served
    slow = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(20)]
    try:
        for raw in slow:
            raw.sendall(CHUNKED + b"5\r\nab")
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda k: asked(port, b"%d" % k), range(40))) == [(200, b"%d" % k) for k in range(40)]
    finally:
        for raw in slow:
            raw.close()
