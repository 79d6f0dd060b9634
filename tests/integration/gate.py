"""A door in front of ClickHouse at which a test waits for a statement: what matches is told, and is not answered."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import unquote_plus, urlsplit

from tests.processes import PATIENCE


class Gate:
    """Forwards HTTP to the server of `dsn` until a request holds `moment`; then calls `on_match`, and is silent.

    Such a request goes no further, or is `carried_out` and only its answer is kept back.
    """

    def __init__(self, dsn: str, moment: str, carried_out: bool = False) -> None:
        parts = urlsplit(dsn)
        self.upstream = (parts.hostname or "", parts.port or 0)
        self.moment, self.carried_out = moment, carried_out
        self.matched = False
        self.on_match: Callable[[], None] = lambda: None
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _forward(self) -> None:
                gate._forward(self)

            do_GET = do_POST = _forward  # noqa: N815 (the names that http.server calls)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.dsn = dsn.replace(f"{parts.hostname}:{parts.port}", "127.0.0.1:{1}".format(*self._server.server_address))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Gate:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _forward(self, request: BaseHTTPRequestHandler) -> None:
        body = _body(request)
        matched = self.moment in unquote_plus(request.path) or self.moment.encode() in body[:2000]
        if not matched or self.carried_out:
            status, headers, content = self._asked(request, body)
        if matched:
            self.matched = True
            self.on_match()
            request.close_connection = True
            return
        request.send_response(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _asked(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """What the server answers: status, headers and content."""
        connection = http.client.HTTPConnection(*self.upstream, timeout=PATIENCE)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "transfer-encoding")}
        connection.request(request.command, request.path, body, {**headers, "Content-Length": str(len(body))})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), content


def _body(request: BaseHTTPRequestHandler) -> bytes:
    """The whole body, chunked or not."""
    if request.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length", 0)))
    parts = []
    while size := int(request.rfile.readline().split(b";")[0], 16):
        parts.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(parts)
