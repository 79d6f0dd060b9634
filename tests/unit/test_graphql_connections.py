"""Clients that hold connections, or take their time, keep nobody else from being answered. Loopback only, bounded."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import websockets.exceptions
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from economy.errors import InputError
from queries.places import HEAD_BYTES, ConnectionLimits, Places
from queries.server import ApiConfig, create_app
from queries.settings import ServerSettings
from tests.integration.commands import until
from tests.serving import Client, serving

LIMITS = ConnectionLimits(connections=8, per_address=4, websockets_per_address=2, request_seconds=1, answer_seconds=1)
ATTACKER, OTHER, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"
WAIT = 60  # seconds, far more than any deadline here
PATIENT = replace(LIMITS, request_seconds=WAIT)  # for what is held while something else is asked
HEAD = b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = json.dumps({"query": "{ measures { name } }"}).encode()

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there is all of 127.0.0.0/8 this machine")


class Tables:
    """Tables that answer when they are let."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.asked = 0

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        self.asked += 1
        assert self.open.wait(WAIT)
        return []

    def packed(self, sql: str, parameters: Mapping[str, Any]) -> Iterator[bytes]:
        raise AssertionError("no records here")


@pytest.fixture
def tables() -> Iterator[Tables]:
    found = Tables()
    yield found
    found.open.set()


@contextmanager
def served(tables: Tables, limits: ConnectionLimits = LIMITS) -> Iterator[Client]:
    with serving(create_app(ApiConfig(connections=limits), tables), limits=limits) as client:
        yield client


@pytest.fixture
def client(tables: Tables) -> Iterator[Client]:
    with served(tables) as found:
        yield found


@pytest.fixture
def patient(tables: Tables) -> Iterator[Client]:
    with served(tables, PATIENT) as found:
        yield found


def opened(client: Client, source: str = ATTACKER) -> socket.socket:
    host, _, port = client.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=WAIT, source_address=(source, 0))


def status(client: Client, source: str = OTHER) -> int:
    """Of a query over a connection of its own."""
    host, _, port = client.address.rpartition(":")
    asking = http.client.HTTPConnection(host, int(port), timeout=WAIT, source_address=(source, 0))
    try:
        asking.request("POST", "/graphql", BODY, {"Content-Type": "application/json", "Connection": "close"})
        answer = asking.getresponse()
        assert answer.status != 200 or "measures" in json.load(answer)["data"]
        if answer.status in (429, 503):
            assert int(answer.headers["Retry-After"]) > 0
        return answer.status
    finally:
        asking.close()


def rest(held: socket.socket) -> bytes:
    """All that comes until the server closes."""
    found = b""
    try:
        while piece := held.recv(65_536):
            found += piece
    except ConnectionResetError:
        pass
    return found


SLOW = {
    "nothing": (b"", b""),
    "empty lines": (b"\r\n", b""),
    "a part of the head": (HEAD + b"X-Slow: ", b"HTTP/1.1 408 "),
    "a part of the body": (HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY[:-1]), b"HTTP/1.1 408 "),
    "a part of a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{", b"HTTP/1.1 408 "),
    "a body that nobody reads": (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n", b"HTTP/1.1 200 "),
}


@pytest.mark.parametrize("kind", SLOW)
def test_who_does_not_ask_in_time_is_closed_and_keeps_nobody_out(client: Client, kind: str) -> None:
    begun, told = SLOW[kind]
    with ExitStack() as held:
        slow = [held.enter_context(opened(client)) for _ in range(LIMITS.per_address)]
        for one in slow:
            one.sendall(begun)
        assert status(client) == 200
        found = [rest(one) for one in slow]
        assert all(text.startswith(told) if told else text == b"" for text in found), found
    assert status(client, ATTACKER) == 200


@pytest.mark.parametrize("piece", [b"\r\n", b"POST /graphql HTTP/1.1\r\n", b"X: y\r\n"])
@pytest.mark.parametrize("asked_before", [False, True])
def test_what_trickles_in_moves_no_deadline(client: Client, piece: bytes, asked_before: bool) -> None:
    with opened(client) as slow:
        if asked_before:
            slow.sendall(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
            assert slow.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
        if piece.startswith(b"X"):
            slow.sendall(HEAD)
        stop = threading.Event()

        def trickle() -> None:
            while not stop.wait(0.2):
                try:
                    slow.sendall(piece[:1] if piece.startswith(b"POST") else piece)
                except OSError:
                    return

        trickling = threading.Thread(target=trickle)
        trickling.start()
        try:
            rest(slow)  # ends: the server has closed
        finally:
            stop.set()
            trickling.join()


def test_a_body_that_comes_late_ends_without_a_word_in_the_log(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(client) as slow:
        slow.sendall(HEAD + b"Content-Length: 9\r\n\r\n{")
        assert rest(slow).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    with opened(client) as gone:
        gone.sendall(HEAD + b"Content-Length: 9\r\n\r\n{")
    assert status(client) == 200
    assert caplog.text == ""


def test_a_connection_without_a_further_request_is_closed(client: Client) -> None:
    with opened(client) as kept:
        for _ in range(2):
            kept.sendall(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
        assert rest(kept).count(b"HTTP/1.1 200 OK") == 2


def test_an_address_has_its_share_of_connections(patient: Client) -> None:
    with ExitStack() as held:
        mine = [held.enter_context(opened(patient)) for _ in range(LIMITS.per_address)]
        mine[0].sendall(HEAD)  # it is served, so the others before it have been taken in
        assert status(patient, ATTACKER) == 429
        assert status(patient, OTHER) == 200
        mine[0].close()
        until(lambda: status(patient, ATTACKER) == 200)


def test_when_all_places_are_taken_who_waited_longest_makes_place(tables: Tables) -> None:
    limits = ConnectionLimits(connections=8, per_address=4, request_seconds=WAIT)
    with served(tables, limits) as client, ExitStack() as held:
        idle = [held.enter_context(opened(client, f"127.0.1.{i % 2}")) for i in range(limits.connections)]
        for _ in range(2):
            held.enter_context(opened(client, OTHER))
        assert rest(idle[0]) == b""
        assert rest(idle[1]) == b""
        idle[-1].sendall(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
        assert idle[-1].recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"  # the latest are served


def test_when_all_connections_are_at_work_a_further_one_may_come_back(tables: Tables) -> None:
    tables.open.clear()
    asked = json.dumps({"query": "{ run(id: 1) { digest } }"}).encode()
    with served(tables, PATIENT) as client, ExitStack() as held:
        working = [held.enter_context(opened(client, f"127.0.1.{i % 2}")) for i in range(LIMITS.connections)]
        for one in working:
            one.sendall(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(asked), asked))
        until(lambda: status(client) == 503)
        tables.open.set()
        for one in working:
            assert one.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"  # the deadline is for asking, not for answering


def test_a_head_without_end_is_refused(client: Client) -> None:
    with opened(client) as endless:
        endless.sendall(HEAD)
        try:
            for i in range(4 * HEAD_BYTES // 1_000):
                endless.sendall(b"X-%d: %b\r\n" % (i, b"x" * 1_000))
        except OSError:
            pass  # closed while it was being sent
        assert rest(endless)[:13] in (b"HTTP/1.1 431 ", b"")  # what was on its way may take the answer with it
    assert status(client, ATTACKER) == 200


def test_256_idle_connections_stop_nobody(tables: Tables) -> None:
    limits = ConnectionLimits()
    with served(tables, limits) as client, ExitStack() as held:
        idle = [held.enter_context(opened(client)) for _ in range(256)]
        for _ in range(10):
            assert status(client) == 200
        answers = [rest(one) for one in idle]  # all end
        refused = [text for text in answers if text]
        assert len(refused) == 256 - limits.per_address
        assert all(text.startswith(b"HTTP/1.1 429 Too Many Requests\r\n") for text in refused)
        assert status(client, ATTACKER) == 200


# ---- answers that nobody takes
def test_who_does_not_take_an_answer_is_dropped() -> None:
    async def large(_: Request) -> Response:
        return Response(b"x" * (32 << 20))

    limits = ConnectionLimits(per_address=1, answer_seconds=1, request_seconds=1)
    app = Starlette(routes=[Route("/large", large), Route("/graphql", large, methods=["POST"])])
    for closing in (b"", b"Connection: close\r\n"):
        with serving(app, send_buffer=8_192, limits=limits) as client, opened(client) as slow:
            slow.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % closing)
            assert slow.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"

            def again(client: Client = client) -> bool:
                with opened(client) as other:
                    other.sendall(b"GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    return rest(other).startswith(b"HTTP/1.1 404")

            until(again)  # its place is free
            assert len(rest(slow)) < 32 << 20


# ---- websockets
@contextmanager
def websocket(client: Client, source: str = ATTACKER, **headers: str) -> Iterator[ClientConnection]:
    protocol = Subprotocol("graphql-transport-ws")
    with connect(
        f"ws://{client.address}/graphql", sock=opened(client, source), subprotocols=[protocol],
        additional_headers=headers,
    ) as found:  # fmt: skip
        yield found


def test_a_websocket_that_says_nothing_is_closed(client: Client) -> None:
    with websocket(client) as silent:
        silent.ping()  # no first message
        assert status(client) == 200
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            silent.recv(WAIT)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4408, "Connection initialisation timeout")


def test_an_address_has_its_share_of_websockets(patient: Client) -> None:
    with ExitStack() as held:
        mine = [held.enter_context(websocket(patient)) for _ in range(LIMITS.websockets_per_address)]
        for one in mine:
            one.send(json.dumps({"type": "connection_init"}))
            assert json.loads(one.recv(WAIT)) == {"type": "connection_ack"}
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused, websocket(patient):
            pass
        assert refused.value.response.status_code == 429
        assert int(refused.value.response.headers["Retry-After"]) > 0
        assert status(patient, ATTACKER) == 200
        with websocket(patient, OTHER):
            pass
        mine[0].close()

        def again() -> bool:
            try:
                with websocket(patient):
                    return True
            except websockets.exceptions.InvalidStatus:
                return False

        until(again)


def test_a_websocket_keeps_its_place_among_connections(patient: Client) -> None:
    with ExitStack() as held:
        for _ in range(LIMITS.websockets_per_address):
            one = held.enter_context(websocket(patient))
            one.send(json.dumps({"type": "connection_init"}))
            one.recv(WAIT)
        for _ in range(LIMITS.per_address - LIMITS.websockets_per_address):
            held.enter_context(opened(patient))
        assert status(patient, ATTACKER) == 429
    until(lambda: status(patient, ATTACKER) == 200)


UPGRADE = (
    b"GET /graphql HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
NO_OPENING = {
    "a body": b"Content-Length: 5\r\n\r\nhello",
    "a body that does not come": b"Content-Length: 5\r\n\r\n",
    "a chunked body": b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a long header": b"X: %b\r\n\r\n" % (b"x" * 20_000),
    "many headers": b"X: x\r\n" * 300 + b"\r\n",
}


@pytest.mark.parametrize("kind", NO_OPENING)
def test_an_opening_that_no_websocket_has_is_refused(client: Client, kind: str) -> None:
    for _ in range(2 * LIMITS.per_address):
        with opened(client) as odd:
            odd.sendall(UPGRADE + NO_OPENING[kind])
            assert rest(odd).startswith(b"HTTP/1.1 400 ")
    until(lambda: status(client, ATTACKER) == 200)
    with websocket(client):
        pass


ASKED = json.dumps({"query": "{ run(id: 1) { digest } }"}).encode()
FURTHER = {
    "a websocket": (UPGRADE + b"\r\n", b"HTTP/1.1 400 "),
    "a part of a body": (HEAD + b"Content-Length: 9\r\n\r\n{", b""),
    "no HTTP": (b"\0\r\n\r\n", b"HTTP/1.1 400 "),
}


@pytest.mark.parametrize("kind", FURTHER)
def test_what_follows_a_request_that_is_answered_ends_both_in_order(
    client: Client, tables: Tables, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    further, told = FURTHER[kind]
    tables.open.clear()
    with opened(client) as hasty:
        hasty.sendall(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(ASKED), ASKED))
        until(lambda: tables.asked > 0)
        hasty.sendall(further)
        found = rest(hasty)
    tables.open.set()
    assert found.startswith(told)
    assert found.count(b"HTTP/1.1 ") == bool(told)
    for _ in range(3):
        assert status(client) == 200
    assert "Traceback" not in caplog.text


# ---- a proxy in front
def test_behind_a_trusted_proxy_each_client_has_a_share_of_websockets(tables: Tables) -> None:
    limits = ConnectionLimits(per_address=2, websockets_per_address=1, request_seconds=WAIT, proxies=("127.0.0.3/32",))
    with served(tables, limits) as client, ExitStack() as held:
        for i in range(4):
            held.enter_context(websocket(client, THIRD, **{"X-Forwarded-For": f"198.51.100.9, 203.0.113.{i}"}))
        with pytest.raises(websockets.exceptions.InvalidStatus, match="429"):
            held.enter_context(websocket(client, THIRD, **{"X-Forwarded-For": "192.0.2.1, 203.0.113.3"}))
        held.enter_context(websocket(client, OTHER))
        with pytest.raises(websockets.exceptions.InvalidStatus, match="429"):  # who is no proxy is not believed
            held.enter_context(websocket(client, OTHER, **{"X-Forwarded-For": "203.0.113.77"}))


def test_only_what_a_trusted_proxy_wrote_is_believed() -> None:
    places = Places(ConnectionLimits(proxies=("10.0.0.0/8", "2001:db8::1")))

    def client(host: str, *told: str) -> str:
        return places.client(host, [(b"x-forwarded-for", text.encode()) for text in told])

    assert client("192.0.2.1", "203.0.113.7") == "192.0.2.1"
    assert client("10.1.2.3", "203.0.113.7") == "203.0.113.7"
    assert client("10.1.2.3", "198.51.100.1, 203.0.113.7, 10.9.9.9") == "203.0.113.7"
    assert client("10.1.2.3", "198.51.100.1", "203.0.113.7") == "203.0.113.7"
    assert client("2001:db8::1", "203.0.113.7") == "203.0.113.7"
    assert client("10.1.2.3") == "10.1.2.3"
    with pytest.raises(InputError, match=r"trust-proxy = '10\.0\.0\.0/99' is not valid"):
        ConnectionLimits(proxies=("10.0.0.0/99",))


def test_the_bounds_are_settings_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESCAPE_REQUEST_SECONDS", "2.5")
    flags = ["--clickhouse-url=http://127.0.0.1:1/d", "--connections-per-address=3", "--trust-proxy=10.0.0.0/8"]
    told = ServerSettings.parse(flags)
    assert told.limits() == ConnectionLimits(per_address=3, request_seconds=2.5, proxies=("10.0.0.0/8",))
    assert ServerSettings.parse(told.arguments()) == told


def test_an_address_of_ipv6_is_a_network_of_64_bits() -> None:
    places = Places(ConnectionLimits(per_address=2))
    assert [places.enter(f"2001:db8:0:1::{i}") is None for i in (1, 2, 3)] == [True, True, False]
    assert places.enter("2001:db8:0:2::1") is None
    assert [places.enter(host) is None for host in ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1")] == [
        True,
        True,
        False,
    ]
