"""What stands before every request: known hosts and origins only, safe headers, no client that takes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
SLOW_CLIENT: Final = 4408  # close code of a websocket whose client does not read


def _name(host: str) -> str:
    """A host without its port."""
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host


class Guard:
    """Refuses a Host that is not ours (a rebound DNS name) and an Origin of another page (cross-site requests)."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str], origins: Iterable[str], slow_seconds: float) -> None:
        self._app = app
        self._hosts = LOOPBACK | {host.lower() for host in hosts}
        self._origins = {origin.lower().rstrip("/") for origin in origins}
        self._slow = slow_seconds

    def refusal(self, headers: Headers) -> str | None:
        """Why the request is refused, None when it is not."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _name(hosts[0].lower()) not in self._hosts:
            return f"host {hosts} is not served here: add it to allow-host"
        origin = headers.get("origin")
        own = {f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")}
        if origin is None or origin.lower() in self._origins | own:
            return None
        return f"origin {origin!r} may not ask here: add it to allow-origin"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self.refusal(Headers(scope=scope))
        if refusal is not None and scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "host or origin not allowed"})
        elif refusal is not None:
            await PlainTextResponse(refusal, 403)(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._patient(scope, receive, send)
        else:
            await self._app(scope, receive, _headed(send))

    async def _patient(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a websocket until its client does not take a message in time: then the application is told that the
        client is gone, which ends its subscriptions, and the client, should it read again, is told why.
        """
        slow = asyncio.Event()

        async def forward(message: Message) -> None:
            if slow.is_set():
                return
            try:
                # Not wait_for, which in Python 3.11 loses a cancellation that comes as the sending ends.
                async with asyncio.timeout(self._slow):
                    await send(message)
            except TimeoutError:  # an OSError too, so it stands first
                slow.set()
            except OSError:
                return  # the client is gone: the next receive tells so, and ends the subscriptions

        async def take() -> Message:
            waits = asyncio.ensure_future(receive()), asyncio.ensure_future(slow.wait())
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                return {"type": "websocket.disconnect", "code": SLOW_CLIENT} if slow.is_set() else waits[0].result()
            finally:
                for wait in waits:
                    wait.cancel()

        await self._app(scope, take, forward)
        if slow.is_set():
            with suppress(OSError):  # TimeoutError is one
                close = {"type": "websocket.close", "code": SLOW_CLIENT, "reason": "client too slow"}
                async with asyncio.timeout(self._slow):
                    await send(close)


def _headed(send: Send) -> Send:
    async def forward(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("X-Content-Type-Options", "nosniff")
            headers.setdefault("Referrer-Policy", "no-referrer")
            headers.setdefault("X-Frame-Options", "DENY")
            headers.setdefault("Cache-Control", "no-store")
            headers.setdefault("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        await send(message)

    return forward
