"""HTTP of the embedded ClickHouse: uvicorn reads requests and writes answers, threads work on what they ask.

The loop only moves bytes. A request that is there takes one thread from its first byte to its answer, or to the first
piece of a long one; further pieces have threads of their own, so that no answer on its way waits for one that has not
begun.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import uvicorn

from infra.chguard import RefusedError
from schemas import compression

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_PIECE: Final = 1 << 20  # bytes of a body that are handed over at once
_THREADS: Final = 64  # that receive bodies, wait for a connection to the engine, or execute
_IDLE_SECONDS: Final = 600  # that a client may keep a connection without a request
_END_SECONDS: Final = 3  # that statements have to end when the server does
_TRUNCATED: Final = 33  # ClickHouse's CANNOT_READ_ALL_DATA
_UNKNOWN: Final = 89  # UNKNOWN_COMPRESSION_METHOD


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. Headers have names in small letters; `body` is as it was sent, comes while it is read, and raises
    RefusedError where it ends early."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: Iterator[bytes]

    def decoded(self) -> Iterator[bytes]:
        """The decompressed body. clickhouse-connect sends one frame per block: all frames are read, and the last one
        must have ended."""
        encoding = self.headers.get("content-encoding", "")
        if encoding in ("", "identity"):
            yield from self.body
            return
        if encoding not in compression.ENCODINGS:
            raise RefusedError(f"Content-Encoding {encoding} is not known: use lz4, zstd, gzip or none", _UNKNOWN)
        try:
            yield from compression.stream(encoding, self.body)
        except compression.CompressionError as error:
            raise RefusedError(f"the compressed body is damaged: {error}", _TRUNCATED) from error


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: whole, or in pieces, which are closed when they are sent or nobody takes them any more."""

    status: int
    headers: Mapping[str, str]
    body: bytes | Generator[bytes, None, None]


class App:
    """An ASGI application of one function, which is called in a thread."""

    def __init__(self, answer: Callable[[Asked], Answer], streams: int) -> None:
        """`streams`: how many answers can be in pieces at the same time."""
        self._answer = answer
        self._beginning = ThreadPoolExecutor(_THREADS, "statement")
        self._going_on = ThreadPoolExecutor(streams, "stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI calls it."""
        loop = asyncio.get_running_loop()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        body = _body(await receive(), receive, loop)
        asked = Asked(scope["method"], scope["path"], query, headers, body)
        answer = await loop.run_in_executor(self._beginning, self._answer, asked)
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
        whole = answer.body if isinstance(answer.body, bytes) else None
        if whole is not None:
            fields.append((b"content-length", b"%d" % len(whole)))
        await send({"type": "http.response.start", "status": answer.status, "headers": fields})
        if whole is not None:
            await send({"type": "http.response.body", "body": whole})
        else:
            await self._stream(answer.body, receive, send)

    async def _stream(self, pieces: Any, receive: Receive, send: Send) -> None:
        """An answer that breaks off is left without its end, and uvicorn closes the connection."""
        loop = asyncio.get_running_loop()
        gone = asyncio.ensure_future(receive())  # the body has been read: next comes that the client has left
        try:
            while not gone.done():
                piece = await loop.run_in_executor(self._going_on, next, pieces, b"")
                await send({"type": "http.response.body", "body": piece, "more_body": bool(piece)})
                if not piece:
                    return
        finally:
            gone.cancel()
            self._going_on.submit(pieces.close)


def _body(first: MutableMapping[str, Any], receive: Receive, loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """A body in a thread; what has not arrived yet is waited for."""

    async def more() -> tuple[bytes, bool]:
        found, size, goes_on = [], 0, True
        while goes_on and size < _PIECE:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RefusedError("the body is truncated", _TRUNCATED)
            found.append(message["body"])
            size += len(found[-1])
            goes_on = message.get("more_body", False)
        return b"".join(found), goes_on

    if first["type"] == "http.disconnect":
        raise RefusedError("the body is truncated", _TRUNCATED)
    piece, goes_on = first["body"], first.get("more_body", False)
    if piece:
        yield piece
    while goes_on:
        piece, goes_on = asyncio.run_coroutine_threadsafe(more(), loop).result()
        yield piece


def listening(port: int) -> socket.socket:
    """On 127.0.0.1 only. Raises OSError when the port is taken."""
    # With the protocol named, asyncio turns Nagle's delay off: without it each answer waits 40 ms for an ACK.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("127.0.0.1", port))
        bound.listen(128)
    except OSError:
        bound.close()
        raise
    return bound


def server(app: App) -> uvicorn.Server:
    """uvicorn as it serves this application: nothing but HTTP on a socket that is there, and no log of requests."""
    settings = uvicorn.Config(
        app, loop="uvloop", http="httptools", ws="none", lifespan="off", interface="asgi3", log_config=None,
        access_log=False, server_header=False, date_header=False, proxy_headers=False,
        timeout_keep_alive=_IDLE_SECONDS, timeout_graceful_shutdown=_END_SECONDS,
    )  # fmt: skip
    return uvicorn.Server(settings)


def run(app: App, bound: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again after it has shut down: then the process has only to return.
        signal.signal(number, lambda *_: None)
    server(app).run(sockets=[bound])
