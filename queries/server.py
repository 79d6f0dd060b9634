"""The server of GraphQL, GraphiQL and the reports: `create_app` builds it, `python -m queries.server` runs it."""

from __future__ import annotations

import asyncio
import html
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from economy.errors import EscapeError, SetupError
from queries import graphiql
from queries.cache import ResponseCache, cache_key
from queries.connections import configured
from queries.copies import emptied
from queries.engine import Answer, Engine, EngineConfig, refusal, too_long
from queries.guard import Guard
from queries.limits import SECONDS
from queries.live import Live, LiveSettings
from queries.over_http import JSON, asked_of, media_type, status_of
from queries.places import ConnectionLimits
from queries.reader import Reader, connect
from queries.settings import ServerSettings
from queries.subscriptions import Subscriptions
from queries.workers import Workers, tune
from schemas.clickhouse_server import ClickHouseConfig
from telemetry.process import run_process

log = logging.getLogger("escape.queries")

# A report is one file of ours with its scripts in it; it may load nothing.
REPORT_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_REPORT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.html")


@dataclass(frozen=True)
class ApiConfig(EngineConfig):
    """Settings of the server. `production` turns introspection and GraphiQL off."""

    reports: Path | None = None
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    cache_bytes: int = 64 << 20  # whole answers
    workers: int = 0  # processes that execute queries; 0 = this one does
    at_work: int = 8 * max(2, os.cpu_count() or 1)  # queries that are executed at once
    live: LiveSettings = field(default_factory=LiveSettings)
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)


class Api:
    """What the routes share."""

    def __init__(self, config: ApiConfig, reader: Reader) -> None:
        self.config = config
        self.reader = reader
        self.engine = Engine(config, reader)
        self.workers = Workers(config, config.workers) if config.workers else None
        self.cache = ResponseCache(self.engine.fingerprints, size=config.cache_bytes)
        self.live = Live(reader, config.live)
        # Those that wait do so in the order in which they came. Were all at work at once, each would be as slow as the
        # slowest, and an answer that is known would wait behind them for the processor.
        self._places = asyncio.Semaphore(config.at_work)

    async def graphql(self, request: Request) -> Response:
        """POST /graphql: one operation as JSON."""
        media = media_type(request.headers.get("accept", ""))
        asked = await asked_of(request)
        if isinstance(asked, Answer):
            return Response(asked.body, asked.status, media_type=media)
        key = cache_key(asked.query, asked.variables, asked.operation, asked.scope)
        try:
            known = await self.cache.get(key)
        except EscapeError:
            known = None  # executed below, where errors are told and logged
        if known is not None:
            return Response(known, media_type=media, headers={"X-Cache": "hit"})
        answering = self.engine if self.workers is None else self.workers
        try:
            async with asyncio.timeout(SECONDS), self._places:
                answer = await answering.answer(asked)
        except TimeoutError:
            answer = too_long()
        if answer.runs:
            self.cache.put(key, answer.body, answer.runs)
        headers = {200: {"X-Cache": "miss"}, 503: {"Retry-After": "1"}}.get(answer.status)
        return Response(answer.body, status_of(answer, media), headers, media)

    def newest(self) -> int:
        """Number of the newest run, 1 when the tables do not tell: it only fills in the examples."""
        try:
            return int(self.reader.rows("SELECT max(run) AS run FROM runs", {})[0]["run"] or 1)
        except EscapeError:
            return 1

    async def health(self, _: Request) -> Response:
        """GET /health: 200 when the tables answer, else 503."""
        try:
            await asyncio.to_thread(self.reader.rows, "SELECT 1 AS one", {})
        except Exception:  # whatever the reason: the answer is that the tables do not answer
            log.exception("the tables do not answer")
            return JSONResponse({"status": "unavailable"}, 503)
        counts = {"hits": self.cache.hits, "misses": self.cache.misses}
        cache = {"entries": len(self.cache), "bytes": self.cache.size, **counts}
        engines = [self.engine.report()] if self.workers is None else await self.workers.report()
        told = {"subscriptions": self.live.active, "cache": cache, "engines": engines}
        return JSONResponse({"status": "ok", **told})

    def _reports(self) -> dict[str, Path]:
        folder = self.config.reports
        if folder is None or not folder.is_dir():
            return {}
        found = (path for path in folder.iterdir() if _REPORT.fullmatch(path.name))
        return {path.name: path for path in sorted(found) if path.is_file() and not path.is_symlink()}

    async def report(self, request: Request) -> Response:
        """GET /reports/NAME.html."""
        path = (await asyncio.to_thread(self._reports)).get(request.path_params["name"])
        if path is None:
            return _refuse(404, "no such report")
        body = await asyncio.to_thread(path.read_bytes)
        return Response(body, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})

    async def index(self, _: Request) -> Response:
        """GET /: where to go."""
        links = [] if self.config.production else ['<li><a href="/graphiql">GraphiQL: ask the tables</a></li>']
        for name in await asyncio.to_thread(self._reports):
            links.append(f'<li><a href="/reports/{html.escape(name)}">{html.escape(name)}</a></li>')
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>EscapeCapitalism</title>'
            "<style>:root{color-scheme:light dark}body{font:1rem system-ui;margin:3rem auto;max-width:40rem}</style>"
            f"<h1>EscapeCapitalism</h1><p>GraphQL answers at <code>/graphql</code>.</p><ul>{''.join(links)}</ul></html>"
        )
        return HTMLResponse(page)


def _refuse(status: int, message: str) -> Response:
    return Response(refusal(status, message).body, status, media_type=JSON)


def create_app(config: ApiConfig, reader: Reader | None = None) -> Starlette:
    """The application. `reader` reads the tables; by default the ClickHouse of the settings."""
    api = Api(config, reader if reader is not None else connect(config.clickhouse))
    live = Subscriptions(api.engine, api.live, config.connections.request_seconds)

    async def subscriptions(websocket: WebSocket) -> None:
        await live(websocket.scope, websocket.receive, websocket.send)

    routes = [
        Route("/", api.index),
        Route("/health", api.health),
        Route("/graphql", api.graphql, methods=["POST"]),
        WebSocketRoute("/graphql", subscriptions),
        Route("/reports/{name}", api.report),
        *([] if config.production else graphiql.routes(api.newest)),
    ]
    guard = Middleware(
        Guard, hosts=config.allow_hosts, origins=config.allow_origins, slow_seconds=config.live.slow_seconds
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with closing(api.live):
            async with nullcontext() if api.workers is None else api.workers:
                yield

    return Starlette(routes=routes, middleware=[guard], lifespan=lifespan)


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; they wait until they are served.

    Raises SetupError when the port is taken or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's delay off: without it each answer waits 40 ms for an ACK.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise SetupError(f"cannot listen on {host}:{port} ({error.strerror})", "choose another port") from error
    return bound


def _end_with_parent(parent: int) -> None:
    """Whoever supervises this server was killed: nobody would end it, and the port would stay taken."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(2)


def serve(config: ApiConfig, bound: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; open requests get three seconds to end."""
    settings = configured(create_app(config), config.connections, log_level="warning", timeout_graceful_shutdown=3)
    tune()
    host, port = bound.getsockname()[:2]
    print(json.dumps({"url": f"http://{host}:{port}", "pid": os.getpid()}), flush=True)
    uvicorn.Server(settings).run(sockets=[bound])


def main(told: ServerSettings) -> None:
    """Serve as the settings say, until SIGTERM or SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again after it has shut down: then the process has only to return.
        signal.signal(number, lambda *_: None)
    config = ApiConfig(
        clickhouse=ClickHouseConfig.from_dsn(told.clickhouse_url), production=told.production, copies=told.copies,
        reports=told.reports, allow_hosts=told.allow_host, allow_origins=told.allow_origin, workers=told.query_workers,
        connections=told.limits(),
    )  # fmt: skip
    if told.descriptor is None:
        bound = listen(told.host, told.port)
    else:
        bound = socket.socket(fileno=told.descriptor)
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    with emptied(config.copies):
        serve(config, bound)


if __name__ == "__main__":
    sys.exit(run_process(ServerSettings, main))
