"""A real uvicorn in a thread, so that tests speak HTTP and websockets as clients do."""

from __future__ import annotations

import json
import socket as socket_
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from queries.connections import configured
from queries.places import ConnectionLimits
from queries.server import listen
from tests.processes import PATIENCE, until


class Client:
    """A client of a served application."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.http = httpx.Client(base_url=f"http://{address}", timeout=PATIENCE)

    def post(self, query: str, headers: dict[str, str] | None = None, **variables: Any) -> httpx.Response:
        return self.http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of an answer without errors."""
        answer = self.post(query, **variables).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def errors(self, query: str, **variables: Any) -> list[dict[str, Any]]:
        """The errors of an answer."""
        found: list[dict[str, Any]] = self.post(query, **variables).json()["errors"]
        return found

    @contextmanager
    def subscribe(
        self, *queries: str, origin: str | None = None, receive_buffer: int | None = None
    ) -> Iterator[ClientConnection]:
        """A websocket with subscriptions named by their queries."""
        headers = {"Origin": origin} if origin else None
        protocol = Subprotocol("graphql-transport-ws")
        plain = socket_.socket()
        if receive_buffer is not None:
            plain.setsockopt(socket_.SOL_SOCKET, socket_.SO_RCVBUF, receive_buffer)
        host, _, port = self.address.rpartition(":")
        plain.connect((host, int(port)))
        with connect(
            f"ws://{self.address}/graphql", sock=plain, subprotocols=[protocol], additional_headers=headers,
            max_queue=16 if receive_buffer is None else 4, compression="deflate" if receive_buffer is None else None,
        ) as socket:  # fmt: skip
            socket.send(json.dumps({"type": "connection_init"}))
            assert json.loads(socket.recv(PATIENCE)) == {"type": "connection_ack"}
            for query in queries:
                payload = {"query": f"subscription {{ {query} }}"}
                socket.send(json.dumps({"id": query, "type": "subscribe", "payload": payload}))
            yield socket


@contextmanager
def serving(app: ASGIApp, send_buffer: int | None = None, limits: ConnectionLimits | None = None) -> Iterator[Client]:
    """Serve an application on a free port for the length of the block."""
    bound = listen("127.0.0.1", 0)
    if send_buffer is not None:
        bound.setsockopt(socket_.SOL_SOCKET, socket_.SO_SNDBUF, send_buffer)
    settings = configured(app, limits or ConnectionLimits(), log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    assert server.started
    client = Client("{}:{}".format(*bound.getsockname()[:2]))
    try:
        yield client
    finally:
        client.http.close()
        server.should_exit = True
        thread.join(PATIENCE)
        bound.close()
