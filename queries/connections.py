"""Deadlines of connections: uvicorn's protocols, whose connections have a place and no longer than is allowed.

A connection that waits for a request to come whole, or for a client to take its answer, has a deadline, which what
trickles in does not move. uvicorn's protocols, which know of none, are extended where asyncio and the parser call
them and where they hand a websocket over.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from functools import partial
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from queries.limits import BODY_BYTES
from queries.places import EARLY, HEAD_BYTES, LARGE_HEAD, LATE, NO_WEBSOCKET, ConnectionLimits, Places, Refusal

_LEAVE_SECONDS: Final = 1.0  # in which a client that was refused may read why


class _Stage(Enum):
    """What of a request has come."""

    NOTHING = 0
    HEAD = 1  # a part of the head
    BODY = 2  # the head
    ALL = 3


class _Timer:
    """At most one call later."""

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float, call: Any) -> None:
        """Call in so many seconds instead of what was to be called."""
        self.stop()
        self._handle = asyncio.get_running_loop().call_later(seconds, call)

    def stop(self) -> None:
        """Call nothing."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class HttpConnection(HttpToolsProtocol):
    """A connection of HTTP."""

    def __init__(self, places: Places, **given: Any) -> None:
        super().__init__(**given)
        self._places = places
        self._limits = places.limits
        self._host: str | None = None  # while it has a place
        self._leaving = self._upgraded = False
        self._stage = _Stage.NOTHING
        self._awaited: _Stage | None = None  # what the deadline is for
        self._head = 0  # bytes that came since the last request
        self._working: Any = None  # the request that is answered; uvicorn's `cycle` is the last one that came
        self._reading, self._writing = _Timer(), _Timer()

    # ---- as asyncio calls it
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Take a place, or refuse."""
        super().connection_made(transport)
        host = self.client[0] if self.client else ""
        refusal = self._places.enter(host)
        if refusal is not None:
            self._refuse(refusal)
            return
        self._host = host
        self._places.idle(self)
        self._await(_Stage.NOTHING)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        super().connection_lost(exc)
        self._abandon()
        self._reading.stop()
        self._writing.stop()
        self._give_back()
        if self._leaving:
            self._places.left()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request in."""
        if self._leaving or self.transport.is_closing():
            return
        self._head += len(data)
        super().data_received(data)
        if self._leaving or self._upgraded:
            return
        if self.transport.is_closing():  # it was no HTTP
            self._give_up_later()
            return
        if self._stage is _Stage.HEAD and self._head > HEAD_BYTES:
            self._refuse(LARGE_HEAD)
        elif self._stage in (_Stage.HEAD, _Stage.BODY):
            self._await(self._stage)
        elif self._answering:
            self._awaited = None
            self._reading.stop()
            self._places.busy(self)
        else:  # empty lines before a request, which end uvicorn's own deadline, or the rest of one that was answered
            self._await(_Stage.NOTHING)

    def pause_writing(self) -> None:
        """The client does not take what is sent."""
        super().pause_writing()
        self._give_up_later()

    def resume_writing(self) -> None:
        """The client has taken what was sent."""
        super().resume_writing()
        if not (self._leaving or self.transport.is_closing()):
            self._writing.stop()

    # ---- as the parser and the answer call it
    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._stage = _Stage.HEAD

    def on_headers_complete(self) -> None:
        """Its head is there."""
        super().on_headers_complete()
        self._stage = _Stage.BODY
        self._head = 0

    def on_message_complete(self) -> None:
        """All of it is there."""
        super().on_message_complete()
        self._stage = _Stage.ALL
        self._head = 0

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """It is to be answered, as the only one at a time."""
        self._working = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """It is answered."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._give_up_later()
        elif not self._answering:
            self._places.idle(self)

    def timeout_keep_alive_handler(self) -> None:
        """No further request came."""
        super().timeout_keep_alive_handler()
        self._give_up_later()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection and its place over to a websocket, if the client may have one more."""
        if self._answering:  # the answer would stand among the websocket's frames
            self._refuse(EARLY)
            return
        host = self._host or ""
        client = self._places.client(host, self.headers)
        refusal = self._places.enter_socket(client)
        if refusal is not None:
            self._refuse(refusal)
            return
        self._reading.stop()
        self._places.busy(self)
        self._host = None
        self._upgraded = True
        made = partial(WebSocketConnection, self._places, host, client)
        self.ws_protocol_class = cast("type[asyncio.Protocol]", made)
        super().handle_websocket_upgrade()

    # ---- deadlines
    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await(self, stage: _Stage) -> None:
        """Set the deadline for what is to come next; one that is set for it already stays."""
        if stage is not self._awaited:
            self._awaited = stage
            self._reading.start(self._limits.request_seconds, self._late)

    def _late(self) -> None:
        """The deadline has passed."""
        if self._stage is _Stage.HEAD and self._answering:
            self.cycle.keep_alive = False  # the request before it is answered first
        elif self._stage is _Stage.HEAD or (
            self._stage is _Stage.BODY and self._answering and not self.cycle.response_started and not self.pipeline
        ):
            self._refuse(LATE)
        else:
            self._close()

    def make_place(self) -> None:
        """End at once, as another needs the place."""
        self._give_back()
        self.transport.abort()

    def _refuse(self, refusal: Refusal) -> None:
        """Tell why and end. What the client still sends is taken in for a while, as closing would throw away the answer
        that lies unread on his side.
        """
        self._reading.stop()
        self._give_back()
        self._abandon()
        self.transport.write(refusal.text)
        if self._places.may_leave_slowly():
            self._leaving = True
            self.transport.write_eof()
            self.flow.resume_reading()
            self._writing.start(_LEAVE_SECONDS, self.transport.abort)
        else:
            self._close()

    def _abandon(self) -> None:
        """Whoever answers is told that the client is gone, and may not answer any more."""
        if self._working is not None:
            self._working.disconnected = True
            self._working.message_event.set()

    def _close(self) -> None:
        self._reading.stop()
        self.transport.close()
        self._give_up_later()

    def _give_back(self) -> None:
        self._places.busy(self)
        if self._host is not None:
            self._places.leave(self._host)
            self._host = None

    def _give_up_later(self) -> None:
        """Closing waits until the client has taken everything: not for ever."""
        if not self._leaving:
            self._writing.start(self._limits.answer_seconds, self.transport.abort)


class WebSocketConnection(WebSocketsSansIOProtocol):
    """A connection that became a websocket; queries.guard tells clients that do not read, this one ends them."""

    def __init__(self, places: Places, host: str, client: str, **given: Any) -> None:
        super().__init__(**given)
        self._places = places
        self._host = host
        self._client = client
        self._writing = _Timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give both places back."""
        super().connection_lost(exc)
        self._writing.stop()
        self._places.leave(self._host)
        self._places.leave_socket(self._client)

    def data_received(self, data: bytes) -> None:
        """Take the head in, which comes first and whole, or a part of a message."""
        super().data_received(data)
        # What websockets takes for no head at all uvicorn passes over, and would wait for ever.
        if not (self.handshake_initiated or self.transport.is_closing()):
            self.transport.write(NO_WEBSOCKET.text)
            self.transport.close()
            self._give_up_later()

    def pause_writing(self) -> None:
        """The client does not take what is sent."""
        super().pause_writing()
        self._give_up_later()

    def resume_writing(self) -> None:
        """The client has taken what was sent."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._writing.stop()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The application is done with it."""
        super().on_task_complete(task)
        self._give_up_later()

    def keepalive_timeout(self) -> None:
        """The client did not answer a ping."""
        super().keepalive_timeout()
        self._give_up_later()

    def _give_up_later(self) -> None:
        if not self.disconnected:
            self._writing.start(self._places.limits.answer_seconds, self.transport.abort)


def configured(app: ASGIApp, limits: ConnectionLimits, **more: Any) -> uvicorn.Config:
    """Settings of uvicorn that serve an application within limits, with `more` of uvicorn's own."""
    return uvicorn.Config(
        cast("Any", app), http=cast("Any", partial(HttpConnection, Places(limits))), ws="websockets-sansio",
        ws_max_size=BODY_BYTES, timeout_keep_alive=cast("int", limits.request_seconds), access_log=False,
        # Whoever asks can write X-Forwarded-For; `Places.client` decides whom to believe.
        # Its log is this process's.
        proxy_headers=False, server_header=False, log_config=None, **more,
    )  # fmt: skip
