"""graphql-transport-ws, message by message: what is none of the protocol's closes in order, with the code it names."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from queries.limits import BODY_BYTES
from queries.live import LiveSettings
from queries.server import ApiConfig, create_app
from tests.one_run import Tables
from tests.processes import PATIENCE
from tests.serving import Client, serving

OPEN = "subscription { progress(run: 2) { state } }"  # a run that goes on: the subscription stays


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with serving(create_app(ApiConfig(live=LiveSettings(poll_seconds=0.02)), Tables())) as found:
        yield found


@contextmanager
def fresh(client: Client) -> Iterator[ClientConnection]:
    """A websocket that has said nothing yet."""
    protocol = Subprotocol("graphql-transport-ws")
    with connect(f"ws://{client.address}/graphql", subprotocols=[protocol], compression=None) as found:
        yield found


@contextmanager
def begun(client: Client) -> Iterator[ClientConnection]:
    with fresh(client) as found:
        found.send('{"type": "connection_init"}')
        assert json.loads(found.recv(PATIENCE)) == {"type": "connection_ack"}
        yield found


def subscribe(name: Any = "1", **payload: Any) -> str:
    return json.dumps({"id": name, "type": "subscribe", "payload": {"query": OPEN, **payload}})


def closed(socket: ClientConnection) -> tuple[int, str]:
    """Code and reason of the frame that the server closes with, behind whatever it still says."""
    found = None
    while found is None:
        try:
            socket.recv(PATIENCE)
        except ConnectionClosed as told:
            found = told
    assert found.rcvd is not None, "the connection was torn down without a close frame"
    return found.rcvd.code, found.rcvd.reason


@pytest.mark.parametrize("first", [{}, {"payload": None}, {"payload": {}}, {"payload": {"token": "x"}}, {"more": 1}])
def test_a_first_message_may_have_a_payload(client: Client, first: dict[str, Any]) -> None:
    with fresh(client) as socket:
        socket.send(json.dumps({"type": "connection_init", **first}))
        assert json.loads(socket.recv(PATIENCE)) == {"type": "connection_ack"}


WRONG = [
    # What is no message.
    "[]", "1", "null", "true", '"connection_init"', "{}", '[{"type": "ping"}]', "", " ", "{", "nul",
    "{'type': 'ping'}",
    '{"type": "ping"} {"type": "ping"}', "[" * 50_000, "1" * 5_000, '{"type": 1}', '{"type": null}',
    '{"type": ["ping"]}',
    '{"type": {}}', '{"type": "start"}', '{"type": "connection_ack"}', '{"type": "next", "id": "1", "payload": {}}',
    '{"type": "error", "id": "1", "payload": []}', '{"type": "Ping"}',
    # Payloads of messages that may have none.
    *(json.dumps({"type": kind, "payload": payload})
      for kind in ("connection_init", "ping", "pong") for payload in ([], 1, "x", False)),
    # Subscriptions.
    '{"type": "subscribe"}', '{"type": "subscribe", "id": "1"}',
    json.dumps({"type": "subscribe", "payload": {"query": OPEN}}),
    *(json.dumps({"type": "subscribe", "id": "1", "payload": payload}) for payload in (None, [], 1, "x", True, {})),
    *(subscribe(name) for name in (None, "", 1, True, [], {}, "\ud800")),
    *(subscribe(query=text) for text in (None, 1, [], {}, True)),
    *(subscribe(variables=given) for given in ([], 1, "x", False)),
    *(subscribe(operationName=name) for name in ([], 1, {}, False)),
    *(subscribe(extensions=given) for given in ([], 1, "x")),
    # Completions.
    '{"type": "complete"}', *(json.dumps({"type": "complete", "id": name}) for name in (None, 1, [], {})),
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:60])
def test_what_is_no_message_of_the_protocol_is_closed_with_4400(client: Client, text: str) -> None:
    with begun(client) as socket:
        socket.send(subscribe("running"))
        assert json.loads(socket.recv(PATIENCE))["type"] == "next"
        socket.send(text)
        code, reason = closed(socket)
    assert code == 4400
    assert reason


@pytest.mark.parametrize("text", ["[]", "null", "{", '{"type": "connection_init", "payload": []}'])
def test_also_as_the_first_message(client: Client, text: str) -> None:
    with fresh(client) as socket:
        socket.send(text)
        assert closed(socket)[0] == 4400


@pytest.mark.parametrize("data", [b"", b"{}", b'{"type": "connection_init"}', b"\xff\xfe"])
def test_a_binary_message_is_closed_with_4400(client: Client, data: bytes) -> None:
    for opened in (fresh, begun):
        with opened(client) as socket:
            socket.send(data)
            assert closed(socket)[0] == 4400


@pytest.mark.parametrize("data", [b"\xff", b'{"type": "ping\xc3"}', b"\xed\xa0\x80"])
def test_a_text_that_is_no_utf8_is_closed_with_1007(client: Client, data: bytes) -> None:
    with begun(client) as socket:
        socket.send(data, text=True)
        assert closed(socket)[0] == 1007


@pytest.mark.parametrize("parts", [1, 4])
def test_a_message_that_is_too_large_is_closed_with_1009(client: Client, parts: int) -> None:
    with begun(client) as socket:
        text = subscribe(query="#" * (BODY_BYTES + 1))
        length = -(-len(text) // parts)
        pieces = [text[i : i + length] for i in range(0, len(text), length)]
        with suppress(ConnectionClosed):  # before the last part
            socket.send(pieces[0] if parts == 1 else iter(pieces))
        assert closed(socket)[0] == 1009


def test_a_message_that_is_too_large_once_it_is_unpacked_is_closed_with_1009(client: Client) -> None:
    protocol = Subprotocol("graphql-transport-ws")
    with connect(f"ws://{client.address}/graphql", subprotocols=[protocol]) as socket:
        socket.send(" " * (64 << 20))  # some 64 kB on their way
        assert closed(socket)[0] == 1009


def test_what_comes_out_of_turn_is_closed_with_its_code(client: Client) -> None:
    with fresh(client) as socket:
        socket.send(subscribe())
        assert closed(socket)[0] == 4401
    with begun(client) as socket:
        socket.send('{"type": "connection_init"}')
        assert closed(socket)[0] == 4429
    for name in ("1", "x" * 500, "🦆" * 40):  # a reason has room for 123 bytes
        with begun(client) as socket:
            socket.send(subscribe(name))
            socket.send(subscribe(name))
            code, reason = closed(socket)
            assert code == 4409
            assert reason.startswith("Subscriber for ")
    with connect(f"ws://{client.address}/graphql", subprotocols=[Subprotocol("graphql-ws")]) as socket:
        assert closed(socket)[0] == 4406


def test_an_id_is_free_again_once_its_subscription_has_ended(client: Client) -> None:
    with begun(client) as socket:
        for _ in range(3):
            socket.send(subscribe("1", query="subscription { progress(run: 1) { state } }"))
            kinds = [json.loads(socket.recv(PATIENCE))["type"] for _ in range(2)]
            assert kinds == ["next", "complete"]
        for _ in range(3):
            socket.send(subscribe("1"))
            assert json.loads(socket.recv(PATIENCE))["type"] == "next"
            socket.send('{"type": "complete", "id": "1"}')
        socket.send('{"type": "complete", "id": "none such"}')
        socket.send('{"type": "ping", "payload": null}')
        assert {"type": "pong"} in [json.loads(socket.recv(PATIENCE)) for _ in range(1)]


FAULTY = {
    "syntax": {"query": "subscription {"},
    "empty": {"query": ""},
    "a comment": {"query": "# nothing"},
    "no such field": {"query": "subscription { walk }"},
    "fragments alone": {"query": "fragment F on Query { measures { name } }"},
    "no such operation": {"query": OPEN, "operationName": "B"},
    "which of two": {"query": f"{OPEN.replace('{', 'A {', 1)} {OPEN.replace('{', 'B {', 1)}"},
    "two fields": {"query": "subscription { progress(run: 1) { state } windows(run: 1) { number } }"},
    "a mutation": {"query": "mutation { x }"},
    "a variable of another type": {
        "query": "subscription ($r: BigInt!) { progress(run: $r) { state } }", "variables": {"r": "x"}
    },
    "a variable that is missing": {"query": "subscription ($r: BigInt!) { progress(run: $r) { state } }"},
    "a text that no table holds": {
        "query": "subscription ($r: BigInt!) { progress(run: $r) { state } }", "variables": {"r": "\ud800"}
    },
    "too many tokens": {"query": "subscription { progress(run: 1) {" + " state" * 3_000 + " } }"},
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTY)
def test_a_faulty_subscription_is_an_error_of_its_own_and_ends_no_other(client: Client, kind: str) -> None:
    with begun(client) as socket:
        socket.send(subscribe("running"))
        assert json.loads(socket.recv(PATIENCE))["type"] == "next"
        socket.send(subscribe("faulty", **FAULTY[kind]))
        told = json.loads(socket.recv(PATIENCE))
        assert (told["id"], told["type"]) == ("faulty", "error")
        assert all(error["message"] for error in told["payload"])
        assert "internal error" not in json.dumps(told)
        # The others go on, and so may the id.
        socket.send(subscribe("running"))
        assert closed(socket)[0] == 4409


def test_an_operation_is_chosen_by_its_name(client: Client) -> None:
    two = "subscription A { progress(run: 1) { state } } subscription B { progress(run: 2) { digest } }"
    with begun(client) as socket:
        socket.send(subscribe("b", query=two, operationName="B"))
        assert json.loads(socket.recv(PATIENCE))["payload"] == {"data": {"progress": {"digest": None}}}
        socket.send(subscribe("a", operationName=None, variables=None, extensions=None))
        assert json.loads(socket.recv(PATIENCE))["type"] == "next"
        socket.send(subscribe("c", operationName=""))
        assert json.loads(socket.recv(PATIENCE))["type"] == "next"


def test_frames_that_are_none_are_closed_in_order(client: Client) -> None:
    """Below the messages: what websockets itself refuses."""
    for data, code in (
        (Frame(Opcode.TEXT, b"{}").serialize(mask=False), 1002),  # a client must mask
        (Frame(Opcode.CONT, b"{}").serialize(mask=True), 1002),  # nothing was begun
        (b"\xc1\x82\0\0\0\0{}", 1002),  # compressed, which was not agreed on
        (b"\x83\x82\0\0\0\0{}", 1002),  # of no known kind
    ):
        with begun(client) as found:
            found.socket.sendall(data)
            assert closed(found)[0] == code


def test_a_client_that_goes_in_the_middle_leaves_nothing(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    for left in (b"", b"\x81", Frame(Opcode.TEXT, b"[]").serialize(mask=True)):
        with begun(client) as found:
            found.send(subscribe())
            found.recv(PATIENCE)
            found.socket.sendall(left)
            found.socket.shutdown(socket.SHUT_RDWR)
    with begun(client) as found:
        found.send(subscribe())
        assert json.loads(found.recv(PATIENCE))["type"] == "next"
    assert "Traceback" not in caplog.text
