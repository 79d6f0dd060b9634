"""The embedded ClickHouse: ClickHouse's own engine behind its HTTP interface, for clients such as clickhouse-connect.

One request is one statement. A body is received whole, on disk, before anything of it is inserted: a connection that
breaks leaves nothing. Passwords are compared in constant time; a Host header that is not ours is refused, so that a web
page cannot reach the server through a name of its own. How requests come and answers go is a matter of `chhttp`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import logging
import re
import secrets
import uuid
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final

from chdb import ChdbError

from infra import chhttp
from infra.chengine import CONNECTIONS, Engine
from infra.chguard import RefusedError, Statement
from infra.chhttp import Answer, Asked
from schemas.clickhouse import native_block
from schemas.files import replacing

log = logging.getLogger("escape.clickhouse")
WRITER: Final = "escape"
READER: Final = "reader"
_FRAMELESS: Final = ("Native", "RowBinary")  # pieces of an answer are handed on as they come
_PIECE: Final = 1 << 20  # bytes of a long answer that are handed on at once
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


class Server:
    """Answers to the requests of one store."""

    def __init__(self, engine: Engine, port: int, passwords: Mapping[str, str]) -> None:
        self.engine = engine
        self.passwords = passwords
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}

    def answer(self, asked: Asked) -> Answer:
        """The answer to any request; every error is one."""
        if asked.headers.get("host", "") not in self.hosts:
            return self._refusal(asked, 421, 516, "this server answers to 127.0.0.1 and localhost only")
        if asked.method not in ("GET", "POST"):
            return self._refusal(asked, 501, 48, f"method {asked.method} is not known")
        if asked.path == "/ping":
            return self._answer(asked, b"Ok.\n", {})
        if asked.path != "/":
            return self._refusal(asked, 404, 77, f"there is nothing at {asked.path}")
        user = self._user(asked)
        if user is None:
            return self._refusal(
                asked, 403, 516, "Authentication failed: password is incorrect, or there is no user with such name"
            )
        wanted = asked.query.pop("readonly", "0")
        try:
            return self._execute(asked, asked.method == "GET" or user == READER or wanted in ("1", "2"))
        except (RefusedError, ChdbError, RuntimeError, UnicodeDecodeError) as error:
            code = error.code if isinstance(error, RefusedError) else 1
            found = _CODE.search(str(error))
            return self._refusal(asked, 500, int(found[1]) if found else code, str(error))

    def _user(self, asked: Asked) -> str | None:
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        user, password = asked.query.get("user", ""), asked.query.get("password", "")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(token, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return None
        elif "x-clickhouse-user" in asked.headers:
            user, password = asked.headers["x-clickhouse-user"], asked.headers.get("x-clickhouse-key", "")
        known = self.passwords.get(user, "")
        return user if known and hmac.compare_digest(known.encode(), password.encode()) else None

    # ---- statements
    def _execute(self, asked: Asked, read_only: bool) -> Answer:
        if asked.headers.get("content-type", "").startswith("multipart/"):
            raise RefusedError("forms and external tables are not accepted by the embedded server", 48)
        body = asked.decoded()
        head = asked.query.get("query", "").encode()
        head += b"\n" if head else b""
        insert = _INSERT.match(head)
        while insert is None and (piece := next(body, None)) is not None:
            head += piece
            insert = _INSERT.match(head) if _BEGINS.match(head) else None
            if len(head) > STATEMENT_LIMIT:
                raise RefusedError("the statement is too long", 62)
        insert = insert or _INSERT.match(head + b"\n")
        guard = self.engine.guard
        if insert is not None:
            guard.check(insert.group().decode(), read_only)
            self._insert(asked, insert, chain([head[insert.end() :]], body))
            return self._answer(asked, b"", {})
        statement = guard.check(head.decode(), read_only)
        wanted = asked.headers.get("x-clickhouse-format") or asked.query.get("default_format") or "TabSeparated"
        return self._query(asked, statement, statement.format or wanted, read_only)

    def _query(self, asked: Asked, statement: Statement, wanted: str, read_only: bool) -> Answer:
        headers = {"X-ClickHouse-Format": wanted} if statement.reads else {}
        pieces = self._pieces(asked, statement, wanted, read_only)
        first = next(pieces)  # an error before the first byte has a status of its own
        second = next(pieces, None)
        if second is None:
            return self._answer(asked, first, headers)
        return Answer(200, self._headers(asked, headers), self._logged(chain([first, second], pieces), pieces))

    def _pieces(self, asked: Asked, statement: Statement, wanted: str, read_only: bool) -> Generator[bytes, None, None]:
        """The answer as the engine makes it, at least one piece; a connection is held until its end."""
        parameters = {k[6:]: v for k, v in asked.query.items() if k.startswith("param_")} or None
        with (
            self.engine.connection(read_only) as connection,
            connection.prepared(asked.query.get("database", ""), _settings(asked)) as session,
        ):
            if statement.verb not in ("select", "with") or wanted not in _FRAMELESS:
                result = session.query(statement.text, wanted, params=parameters)
                yield result.bytes() if result is not None else b""
                return
            with closing(session.send_query(statement.text, wanted, params=parameters)) as stream:
                piece = stream.fetch()
                if piece is None:
                    yield _header(session, statement, parameters) if wanted == "Native" else b""
                while piece is not None:
                    yield piece.bytes()
                    piece = stream.fetch()

    def _logged(self, pieces: Iterator[bytes], held: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
        """Pieces of some size; of an answer that breaks off the log knows why, the client sees no end."""
        try:
            waiting, size = [], 0
            for piece in pieces:
                waiting.append(piece)
                size += len(piece)
                if size >= _PIECE:
                    yield b"".join(waiting)
                    waiting, size = [], 0
            if waiting:
                yield b"".join(waiting)
        except (ChdbError, RuntimeError) as error:
            log.warning("an answer breaks off: %s", error)
            raise
        finally:
            held.close()

    def _insert(self, asked: Asked, insert: re.Match[bytes], body: Iterator[bytes]) -> None:
        table, columns, inline, wanted = (part.decode() if part else "" for part in insert.groups())
        name = uuid.uuid4().hex
        path = self.engine.spool / name
        try:
            with open(path, "wb", 1 << 20) as spool:
                for piece in body:
                    spool.write(piece)
            clause = f" SETTINGS {inline}" if inline else ""
            with (
                self.engine.connection(False) as connection,
                connection.prepared(asked.query.get("database", ""), _settings(asked)) as session,
            ):
                session.query(f"INSERT INTO {table} {columns} FROM INFILE '{name}'{clause} FORMAT {wanted}")
        finally:
            path.unlink(missing_ok=True)

    # ---- answers
    def _headers(self, asked: Asked, headers: Mapping[str, str]) -> dict[str, str]:
        number = asked.query.get("query_id") or str(uuid.uuid4())
        return {
            "Content-Type": "application/octet-stream",
            "X-ClickHouse-Summary": "{}",
            "X-ClickHouse-Query-Id": re.sub(r"[^\w-]", "", number, flags=re.ASCII),
            "X-ClickHouse-Timezone": self.engine.timezone,
            "X-ClickHouse-Server-Display-Name": "embedded",
            **headers,
        }

    def _answer(self, asked: Asked, body: bytes, headers: Mapping[str, str], status: int = 200) -> Answer:
        return Answer(status, self._headers(asked, headers), body)

    def _refusal(self, asked: Asked, status: int, code: int, message: str) -> Answer:
        with suppress(RefusedError):  # a client reads the answer only after it has sent its body
            for _ in asked.body:
                pass
        text = message if _CODE.search(message) else f"Code: {code}. DB::Exception: {message}"
        headers = {"X-ClickHouse-Exception-Code": str(code), "Connection": "close", "Content-Type": "text/plain"}
        return self._answer(asked, f"{text}\n".encode(), headers, status)


def _settings(asked: Asked) -> dict[str, str]:
    """Of the statement: what the HTTP interface itself has no use for."""
    return {k: v for k, v in asked.query.items() if k not in _PARAMETERS and not k.startswith("param_")}


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
    bound = chhttp.listening(port)
    engine = Engine(folder)
    port = bound.getsockname()[1]
    server = Server(engine, port, passwords(folder / "passwords.json"))
    log.info("ClickHouse %s serves %s on port %d", engine.version, folder, port)
    chhttp.run(chhttp.App(server.answer, 2 * CONNECTIONS), bound)
    engine.close()
