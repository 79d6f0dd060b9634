"""The embedded ClickHouse: ClickHouse's own engine behind its HTTP interface, for clients such as clickhouse-connect.

One request is one statement. A body is received whole, on disk, before anything of it is inserted: a connection that
breaks leaves nothing. Passwords are compared in constant time; a Host header that is not ours is refused, so that a web
page cannot reach the server through a name of its own.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import logging
import re
import secrets
import signal
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from chdb import ChdbError

from infra import chbody
from infra.chengine import Engine
from infra.chguard import RefusedError, Statement
from schemas.clickhouse import native_block
from schemas.files import replacing

log = logging.getLogger("escape.clickhouse")
WRITER: Final = "escape"
READER: Final = "reader"
_FRAMELESS: Final = ("Native", "RowBinary")  # pieces of an answer are handed on as they come
STATEMENT_LIMIT: Final = 64 << 20
_NAME = rb'(?:`[^`]+`|"[^"]+"|\w+)'
_INSERT: Final = re.compile(
    rb"\s*INSERT\s+INTO\s+(?:TABLE\s+)?(" + _NAME + rb"(?:\." + _NAME + rb")?)\s*(\([^()]*\))?"
    rb"\s*(?:SETTINGS\s+([^()]*?))?\s*FORMAT\s+(?!VALUES\b)(\w+)[ \t\r]*[\n; ]",
    re.IGNORECASE,
)  # fmt: skip
_BEGINS: Final = re.compile(rb"\s*INSERT\s", re.IGNORECASE)
_CODE: Final = re.compile(r"Code: (\d+)")
# Parameters of the HTTP interface itself: no settings of the statement.
_PARAMETERS: Final = frozenset(
    {"query", "database", "session_id", "session_timeout", "session_check", "query_id", "default_format"}
    | {"client_protocol_version", "compress", "decompress", "user", "password", "role", "enable_http_compression"}
    | {"wait_end_of_query", "buffer_size", "http_write_exception_in_output_format", "send_progress_in_http_headers"}
    | {"cancel_http_readonly_queries_on_client_close", "http_headers_progress_interval_ms", "quota_key"}
)


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1 only."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, engine: Engine, port: int, passwords: Mapping[str, str]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.engine = engine
        self.passwords = passwords
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.info("a connection ended: %r", sys.exc_info()[1])


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = 1 << 18
    wbufsize = 1 << 16
    timeout = 600
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)

    def do_GET(self) -> None:
        self._serve(read_only=True)

    def do_POST(self) -> None:
        self._serve(read_only=False)

    def _serve(self, read_only: bool) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        self._id = query.get("query_id") or str(uuid.uuid4())
        self._begun = False
        self._body = chbody.pieces(self.rfile, self.headers)
        if self.headers.get("Host", "") not in self.server.hosts:
            self._fail(421, 516, "this server answers to 127.0.0.1 and localhost only")
        elif url.path == "/ping":
            self._answer(200, b"Ok.\n", {})
        elif url.path != "/":
            self._fail(404, 77, f"there is nothing at {url.path}")
        elif (user := self._user(query)) is None:
            self._fail(403, 516, "Authentication failed: password is incorrect, or there is no user with such name")
        else:
            wanted = query.pop("readonly", "0")
            self._run(query, read_only or user == READER or wanted in ("1", "2"))

    def _user(self, query: Mapping[str, str]) -> str | None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        user, password = query.get("user", ""), query.get("password", "")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(token, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return None
        elif "X-ClickHouse-User" in self.headers:
            user, password = self.headers["X-ClickHouse-User"], self.headers.get("X-ClickHouse-Key", "")
        known = self.server.passwords.get(user, "")
        return user if known and hmac.compare_digest(known.encode(), password.encode()) else None

    # ---- statements
    def _run(self, query: Mapping[str, str], read_only: bool) -> None:
        try:
            if self.headers.get("Content-Type", "").startswith("multipart/"):
                raise RefusedError("forms and external tables are not accepted by the embedded server", 48)
            body = chbody.decoded(self._body, self.headers.get("Content-Encoding", ""))
            self._execute(query, body, read_only)
        except (RefusedError, ChdbError, RuntimeError, UnicodeDecodeError) as error:
            code = error.code if isinstance(error, RefusedError) else 1
            found = _CODE.search(str(error))
            self._fail(500, int(found[1]) if found else code, str(error))

    def _execute(self, query: Mapping[str, str], body: Iterator[bytes], read_only: bool) -> None:
        head = query.get("query", "").encode()
        head += b"\n" if head else b""
        insert = _INSERT.match(head)
        while insert is None and (piece := next(body, None)) is not None:
            head += piece
            insert = _INSERT.match(head) if _BEGINS.match(head) else None
            if len(head) > STATEMENT_LIMIT:
                raise RefusedError("the statement is too long", 62)
        insert = insert or _INSERT.match(head + b"\n")
        guard = self.server.engine.guard
        settings = {k: v for k, v in query.items() if k not in _PARAMETERS and not k.startswith("param_")}
        if insert is not None:
            statement = guard.check(insert.group().decode(), read_only)
            self._insert(insert, chain([head[insert.end() :]], body), query.get("database", ""), settings)
            return
        statement = guard.check(head.decode(), read_only)
        parameters = {k[6:]: v for k, v in query.items() if k.startswith("param_")}
        wanted = self.headers.get("X-ClickHouse-Format") or query.get("default_format") or "TabSeparated"
        with (
            self.server.engine.connection(read_only) as connection,
            connection.prepared(query.get("database", ""), settings) as session,
        ):
            self._query(session, statement, statement.format or wanted, parameters or None)

    def _query(self, session: Any, statement: Statement, wanted: str, parameters: dict[str, str] | None) -> None:
        headers = {"X-ClickHouse-Format": wanted} if statement.reads else {}
        if statement.verb not in ("select", "with") or wanted not in _FRAMELESS:
            result = session.query(statement.text, wanted, params=parameters)
            self._answer(200, result.bytes() if result is not None else b"", headers)
            return
        stream = session.send_query(statement.text, wanted, params=parameters)
        try:
            piece = stream.fetch()
            self._head(200, {**headers, "Transfer-Encoding": "chunked", "Content-Type": "application/octet-stream"})
            if piece is None and wanted == "Native":
                self._chunk(_header(session, statement, parameters))
            while piece is not None:
                self._chunk(piece.bytes())
                piece = stream.fetch()
            self.wfile.write(b"0\r\n\r\n")
        finally:
            stream.close()

    def _chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n" % len(data))
            self.wfile.write(data)
            self.wfile.write(b"\r\n")

    def _insert(self, insert: re.Match[bytes], body: Iterator[bytes], database: str, settings: dict[str, str]) -> None:
        table, columns, inline, wanted = (part.decode() if part else "" for part in insert.groups())
        name = uuid.uuid4().hex
        path = self.server.engine.spool / name
        try:
            with open(path, "wb", 1 << 20) as spool:
                for piece in body:
                    spool.write(piece)
            clause = f" SETTINGS {inline}" if inline else ""
            with self.server.engine.connection(False) as connection, connection.prepared(database, settings) as session:
                session.query(f"INSERT INTO {table} {columns} FROM INFILE '{name}'{clause} FORMAT {wanted}")
        finally:
            path.unlink(missing_ok=True)
        self._answer(200, b"", {})

    # ---- answers
    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self._begun = True
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("X-ClickHouse-Summary", "{}")
        self.send_header("X-ClickHouse-Query-Id", re.sub(r"[^\w-]", "", self._id))
        self.send_header("X-ClickHouse-Timezone", self.server.engine.timezone)
        self.send_header("X-ClickHouse-Server-Display-Name", "embedded")
        self.end_headers()

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._head(status, {"Content-Type": "application/octet-stream", "Content-Length": str(len(body)), **headers})
        self.wfile.write(body)

    def _fail(self, status: int, code: int, message: str) -> None:
        self.close_connection = True
        if self._begun:
            return  # the client sees a chunked answer without its end
        with suppress(RefusedError):  # a client reads the answer only after it has sent its body
            for _ in self._body:
                pass
        text = message if _CODE.search(message) else f"Code: {code}. DB::Exception: {message}"
        headers = {"X-ClickHouse-Exception-Code": str(code), "Connection": "close", "Content-Type": "text/plain"}
        self._answer(status, f"{text}\n".encode(), headers)


def _header(session: Any, statement: Statement, parameters: dict[str, str] | None) -> bytes:
    """The block of no rows by which a server tells the columns of an empty result."""
    described = session.query(f"DESCRIBE TABLE ({statement.bare})", "TabSeparatedRaw", params=parameters)
    columns = [line.split("\t")[:2] for line in described.bytes().decode().splitlines()]
    return native_block([name for name, _ in columns], [kind for _, kind in columns], [()] * len(columns))


def passwords(path: Path) -> dict[str, str]:
    """The users' passwords: made once, kept in a file that only its owner reads."""
    if not path.exists():
        fresh = {user: secrets.token_urlsafe(24) for user in (WRITER, READER)}
        with replacing(path, 0o600) as file:
            file.write(json.dumps(fresh).encode())
    path.chmod(0o600)
    known: dict[str, str] = json.loads(path.read_text())
    return known


def serve(folder: Path, port: int) -> None:
    """Serve the store of `folder` until SIGTERM or SIGINT."""
    engine = Engine(folder)
    server = Server(engine, port, passwords(folder / "passwords.json"))
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for the loop, which the handler would interrupt: so it has a thread of its own.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    log.info("ClickHouse %s serves %s on port %d", engine.version, folder, server.server_port)
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    engine.close()
